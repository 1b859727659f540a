/* Opening a teacher: configuration checked, credential read, price found, capabilities remembered. */
#include "base/file.h"
#include "base/thread.h"
#include "model/file.h"
#include "teacher/internal.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define ORIGIN "teacher_open"

/* Questions at once to a model file of the user's: a pass over its weights serves them all, and each takes memory. */
enum { LOCAL_PARALLEL = 4, LOCAL_PARALLEL_MAX = 32 };

/* ---- prices: as published, with source and date; what is not here is unknown until the user says it ---- */

static const struct {
    const char *model; /* as a prefix of the model's name */
    double in, out;    /* US dollars per million tokens */
    const char *source;
} prices[] = {
    {"kimi-k2.6", 0.95, 4.00, "tokenmix.ai, 2026-05"},
};

static struct teacher_price find_price(const struct teacher_config *c, bool embedded) {
    if (embedded)
        return (struct teacher_price){.source = "runs on this machine", .known = true};
    if (c->price_given || c->price_in > 0 || c->price_out > 0)
        return (struct teacher_price){c->price_in, c->price_out, "as given", true};
    for (size_t i = 0; i < sizeof prices / sizeof *prices; i++)
        if (strncasecmp(c->model, prices[i].model, strlen(prices[i].model)) == 0)
            return (struct teacher_price){prices[i].in, prices[i].out, prices[i].source, true};
    return (struct teacher_price){.source = "unknown"};
}

double teacher_cost(const struct teacher *t, int64_t tokens_in, int64_t tokens_out) {
    return ((double)tokens_in * t->price.in + (double)tokens_out * t->price.out) / 1e6;
}

/* ---- the credential ---- */

static int read_key_file(const char *path, struct str *out, struct err *e) {
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077)) {
        err_set(e, ERR_AUTH, ORIGIN, "others may read the key file %s", path);
        return err_hint(e, "chmod 600 %s", path);
    }
    int rc = file_read(path, TEACHER_KEY_MAX, out, e);
    return rc < 0 ? err_context(e, "reading the teacher's key") : 0;
}

static int read_key(struct teacher *t, struct err *e) {
    const struct teacher_config *c = &t->config;
    struct str text = {0};
    if (c->key_env) {
        const char *value = getenv(c->key_env);
        if (!value || !*value) {
            err_set(e, ERR_AUTH, ORIGIN,
                    "the environment variable %s, which holds the teacher's key, is not set", c->key_env);
            return err_hint(e, "export %s=... and run the same command again", c->key_env);
        }
        str_add(&text, value);
    } else if (c->key_file) {
        int rc = read_key_file(c->key_file, &text, e);
        if (rc < 0) {
            str_release(&text);
            return rc;
        }
    } else {
        return 0;
    }
    char *raw = str_take(&text), *trimmed = raw ? str_trim(raw) : NULL;
    t->key = trimmed ? arena_strdup(&t->arena, trimmed) : NULL;
    free(raw);
    if (!t->key)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (const char *k = t->key; *k; k++)
        if (*k <= ' ' || *k > '~')
            return err_set(e, ERR_AUTH, ORIGIN, "the teacher's key has a blank or control character in it");
    return *t->key ? 0 : err_set(e, ERR_AUTH, ORIGIN, "the teacher's key is empty");
}

void teacher_redact(const struct teacher *t, struct str *text) {
    size_t n = t->key ? strlen(t->key) : 0;
    if (n < 4 || !text->data) /* shorter is no secret, and would blank out ordinary words */
        return;
    for (char *at = text->data; (at = memmem(at, text->len - (size_t)(at - text->data), t->key, n)); at += n)
        memset(at, '*', n);
}

/* ---- configuration ---- */

static int copy_config(struct teacher *t, const struct teacher_config *c, struct err *e) {
    t->config = *c;
    const char **texts[] = {&t->config.kind,     &t->config.url,   &t->config.model, &t->config.key_env,
                            &t->config.key_file, &t->config.style, &t->config.gguf};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *from = *texts[i];
        *texts[i] = arena_strdup(&t->arena, from);
        if (from && !*texts[i])
            return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    }
    return 0;
}

static int check_url(const char *url, struct err *e) {
    if (!url || (!str_starts(url, "http://") && !str_starts(url, "https://"))) {
        err_set(e, ERR_INPUT, ORIGIN, "the teacher's url '%s' is no http or https address", url ? url : "");
        return err_hint(e, "it ends before /chat/completions, as in https://api.moonshot.ai/v1");
    }
    if (strpbrk(url, "@?# \t\r\n")) {
        err_set(e, ERR_INPUT, ORIGIN, "the teacher's url has a blank, '@', '?' or '#' in it");
        return err_hint(e, "a key belongs into key_env or key_file");
    }
    return 0;
}

static int name_openai(struct teacher *t, struct err *e) {
    const struct teacher_config *c = &t->config;
    int rc = check_url(c->url, e);
    if (rc < 0)
        return rc;
    if (!c->model || !*c->model) {
        err_set(e, ERR_INPUT, ORIGIN, "no model is named for the teacher %s", c->url);
        return err_hint(e, "set teacher: model: in edgestill.yaml");
    }
    size_t n = strlen(c->url);
    while (n > 0 && c->url[n - 1] == '/')
        n--;
    t->name = arena_printf(&t->arena, "%.*s %s", (int)n, c->url, c->model);
    t->chat_url[0] = arena_printf(&t->arena, "%.*s/chat/completions", (int)n, c->url);
    return t->name && t->chat_url[0] ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

/* The model's hash names it: a new teacher file means new questions. */
static int name_embedded(struct teacher *t, struct err *e) {
    char hex[SHA256_HEX];
    if (!t->config.gguf)
        return err_set(e, ERR_NOT_FOUND, ORIGIN, "no model file is given for the embedded teacher");
    int rc = sha256_file(t->config.gguf, hex, e);
    if (rc < 0) {
        err_context(e, "opening the %s teacher", t->config.kind);
        return err_hint(e, "seed/README.md says how it is made; or choose another teacher in edgestill.yaml");
    }
    t->name = arena_printf(&t->arena, "%s:%.16s", t->config.kind, hex);
    t->config.model = t->config.kind;
    return t->name ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

/* A model of the user's, not the small one that comes along. */
static bool is_any_gguf(const struct teacher_config *c) {
    return str_equal(c->kind, "gguf");
}

/* The embedded teacher knows the short texts alone, wherever its file lies, whatever that is called and however it was quantised. */
static bool is_embedded_model(const char *gguf) {
    struct model_file *f;
    if (model_file_open(&f, gguf, NULL) < 0)
        return false; /* opening it as a teacher will say why */
    const char *name = model_file_text(f, "general.name");
    bool is = name && strcmp(name, TEACHER_EMBEDDED_NAME) == 0;
    model_file_close(f);
    return is;
}

static int choose_style(struct teacher *t, bool embedded, struct err *e) {
    const char *style = t->config.style ? t->config.style
                        : embedded && (!is_any_gguf(&t->config) || is_embedded_model(t->config.gguf))
                            ? "plain"
                            : "full";
    if (strcmp(style, "plain") != 0 && strcmp(style, "full") != 0)
        return err_set(e, ERR_INPUT, ORIGIN, "the teacher's style '%s' is neither plain nor full", style);
    t->style = style[0] == 'p' ? PROTOCOL_PLAIN : PROTOCOL_FULL;
    return 0;
}

static int choose_parallel(const struct teacher_config *c, bool embedded) {
    int n = c->parallel, most = is_any_gguf(c) ? LOCAL_PARALLEL_MAX : TEACHER_PARALLEL_MAX;
    if (n <= 0) {
        n = is_any_gguf(c) ? LOCAL_PARALLEL : embedded ? 2 * thread_core_count() : 8;
        n = is_any_gguf(c) ? n : n < 4 ? 4 : n > 16 ? 16 : n;
    }
    return n > most ? most : n;
}

/* ---- capabilities ---- */

static const char *caps_note(struct teacher *t) {
    return arena_printf(&t->arena, "caps %s", t->name);
}

int teacher_keep_caps(struct teacher *t, struct err *e) {
    struct str text = {0};
    const char *key = caps_note(t);
    struct chat_caps caps = t->caps;
    if (!teacher_is_embedded(t) && !t->config.sampling) /* not sent is not the same as not supported */
        caps.seed = caps.temperature = true;
    chat_caps_text(&caps, &text);
    int rc = str_check(&text, e);
    if (rc == 0)
        rc = key ? store_note_set(t->store, key, text.data, e)
                 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    str_release(&text);
    return rc;
}

static int recall_caps(struct teacher *t, bool sampling, struct err *e) {
    const char *text = NULL, *key = caps_note(t);
    if (!key)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int rc = store_note_get(t->store, key, &t->arena, &text, e);
    if (rc < 0)
        return rc;
    struct chat_caps known;
    chat_caps_init(&known, true);
    if (text)
        chat_caps_read(&known, text);
    t->caps = known;
    t->caps.seed = t->caps.seed && sampling;
    t->caps.temperature = t->caps.temperature && sampling;
    return 0;
}

/* ---- opening and closing ---- */

static int check_kind(const struct teacher_config *c, bool *embedded, struct err *e) {
    *embedded = str_equal(c->kind, "embedded") || is_any_gguf(c);
    if (*embedded || str_equal(c->kind, "openai"))
        return 0;
    err_set(e, ERR_INPUT, ORIGIN, "there is no teacher of kind '%s'", c->kind ? c->kind : "");
    return err_hint(e, "the kinds are embedded, gguf, openai and none");
}

static int set_up(struct teacher *t, const struct teacher_config *c, struct err *e) {
    bool embedded = false;
    int rc = copy_config(t, c, e);
    if (rc < 0 || (rc = check_kind(c, &embedded, e)) < 0)
        return rc;
    if ((rc = embedded ? name_embedded(t, e) : name_openai(t, e)) < 0 ||
        (rc = choose_style(t, embedded, e)) < 0 || (rc = read_key(t, e)) < 0 ||
        (rc = recall_caps(t, embedded || c->sampling, e)) < 0)
        return rc;
    t->price = find_price(&t->config, embedded);
    t->parallel = choose_parallel(c, embedded);
    t->n_slots = embedded ? t->parallel : 2 * t->parallel;
    t->slots = arena_calloc(&t->arena, (size_t)t->n_slots, sizeof *t->slots);
    if (!t->slots)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (int i = 0; i < t->n_slots; i++) {
        t->slots[i].teacher = t;
        arena_init(&t->slots[i].arena);
    }
    struct store_ledger l;
    rc = store_ledger(t->store, NULL, &l, e);
    if (rc == 0)
        t->spent = l.used.money + l.reserved.money;
    return rc;
}

struct teacher_traits teacher_traits(const struct teacher *t) {
    return (struct teacher_traits){.style = t->style,
                                   .runs_here = teacher_is_embedded(t),
                                   .scores = teacher_scores(t),
                                   .thinks = teacher_thinks(t),
                                   .parallel = t->parallel,
                                   .model_file = teacher_model_file(t),
                                   .price = t->price};
}

int teacher_foresee(const struct teacher_config *c, struct store *s, struct teacher_traits *out,
                    struct err *e) {
    struct teacher t = {.config = *c, .store = s};
    bool embedded = false;
    arena_init(&t.arena);
    int rc = check_kind(c, &embedded, e);
    if (rc == 0 && !embedded)
        rc = name_openai(&t, e);
    if (rc == 0)
        rc = choose_style(&t, embedded, e);
    if (rc == 0 && !embedded && s)
        rc = recall_caps(&t, c->sampling, e);
    if (rc == 0) {
        t.price = find_price(c, embedded);
        t.parallel = choose_parallel(c, embedded);
        *out = teacher_traits(&t);
    }
    arena_release(&t.arena);
    return rc;
}

int teacher_open(struct teacher **out, const struct teacher_config *c, struct store *s, struct err *e) {
    struct teacher *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    arena_init(&t->arena);
    t->store = s;
    int rc = set_up(t, c, e);
    if (rc < 0) {
        teacher_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

void teacher_close(struct teacher *t) {
    if (!t)
        return;
    teacher_disconnect(t);
    for (int i = 0; t->slots && i < t->n_slots; i++) {
        struct slot *s = &t->slots[i];
        arena_release(&s->arena);
        protocol_release(&s->request);
        str_release(&s->body);
        str_release(&s->answer);
    }
    if (t->key)
        explicit_bzero(t->key, strlen(t->key));
    arena_release(&t->arena);
    free(t);
}

bool teacher_scores(const struct teacher *t) {
    return is_any_gguf(&t->config);
}

const char *teacher_model_file(const struct teacher *t) {
    return teacher_is_embedded(t) ? t->config.gguf : NULL;
}

const char *teacher_name(const struct teacher *t) {
    return t->name;
}

enum protocol_style teacher_style(const struct teacher *t) {
    return t->style;
}

bool teacher_is_embedded(const struct teacher *t) {
    return t->config.kind[0] != 'o';
}

int teacher_thinks(const struct teacher *t) {
    return t->caps.probed ? t->caps.thinks : -1;
}

int teacher_parallel(const struct teacher *t) {
    return t->parallel;
}

struct store *teacher_store(struct teacher *t) {
    return t->store;
}

struct teacher_price teacher_list_price(const char *model) {
    return find_price(&(struct teacher_config){.model = model != NULL ? model : ""}, false);
}

struct teacher_price teacher_price(const struct teacher *t) {
    return t->price;
}

void teacher_say(const struct teacher *t, const char *format, ...) {
    if (!t->config.say)
        return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    t->config.say(t->config.say_context, line);
}
