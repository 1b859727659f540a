/* plan.yaml: reading and writing. */
#include "plan/plan.h"

#include "base/file.h"
#include "catalog/data.h"
#include "format/yaml.h"
#include "train/optimizer.h"
#include <math.h>
#include <string.h>

static const char *const method_names[] = {
#define X(name, text) text,
    PLAN_METHODS(X)
#undef X
};
static const char *const kv_names[] = {
#define X(name, text) text,
    PLAN_KV_TYPES(X)
#undef X
};
enum {
    N_METHODS = sizeof method_names / sizeof *method_names,
    N_KV_TYPES = sizeof kv_names / sizeof *kv_names
};

const char *plan_method_text(enum plan_method m) {
    return method_names[m];
}

const char *plan_kv_type_text(enum plan_kv_type t) {
    return kv_names[t];
}

/* ---- reading ---- */

static int read_choice(const struct node *map, const char *key, const char *const names[], int n, int *out,
                       struct err *e) {
    const char *text = NULL;
    int code = node_string(map, key, true, &text, e);
    if (code < 0)
        return code;
    for (int i = 0; i < n; i++)
        if (str_equal(names[i], text)) {
            *out = i;
            return 0;
        }
    node_error(node_get(map, key), e, "plan_from_node", "%s is '%s'", key, text);
    err_hint(e, "known: %s, %s", names[0], names[n - 1]);
    return ERR_INPUT;
}

static int read_count(const struct node *map, const char *key, int64_t least, int64_t most, int64_t *out,
                      struct err *e) {
    int64_t value = 0;
    int code = node_i64(map, key, true, &value, e);
    if (code == 0 && (value < least || value > most)) {
        node_error(node_get(map, key), e, "plan_from_node", "%s is %lld, must be %lld to %lld", key,
                   (long long)value, (long long)least, (long long)most);
        code = ERR_INPUT;
    }
    if (code == 0)
        *out = value;
    return code;
}

static int read_text(struct arena *a, const struct node *map, const char *key, const char **out,
                     struct err *e) {
    const char *text = NULL;
    int code = node_string(map, key, true, &text, e);
    if (code < 0)
        return code;
    *out = arena_strdup(a, text);
    return *out != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "plan_from_node", "out of memory");
}

static int read_estimate(struct arena *a, const struct node *map, const char *key, struct estimate *out,
                         struct err *e) {
    static const char *const keys[] = {"value", "low", "high", "basis", NULL};
    struct node *n = NULL;
    int code = node_map(map, key, false, &n, e);
    *out = (struct estimate){.basis = ""};
    if (code < 0 || n == NULL)
        return code;
    if ((code = node_check_keys(n, keys, e)) < 0 ||
        (code = node_number(n, "value", true, &out->value, e)) < 0 ||
        (code = node_number(n, "low", true, &out->low, e)) < 0 ||
        (code = node_number(n, "high", true, &out->high, e)) < 0)
        return code;
    return read_text(a, n, "basis", &out->basis, e);
}

static int read_tokens(struct plan *p, const struct node *root, struct err *e) {
    static const char *const keys[] = {"prefix", "record", "answer", NULL};
    struct node *n = NULL;
    int code = node_map(root, "tokens", true, &n, e);
    if (code == 0)
        code = node_check_keys(n, keys, e);
    if (code == 0)
        code = read_count(n, "prefix", 0, 1 << 20, &p->prefix_tokens, e);
    if (code == 0)
        code = read_count(n, "record", 0, 1 << 20, &p->record_tokens, e);
    if (code == 0)
        code = read_count(n, "answer", 0, 1 << 20, &p->answer_tokens, e);
    return code;
}

/* Plans of before these keys say neither. */
static int read_schedule(struct plan *p, const struct node *root, struct err *e) {
    const char *name = NULL;
    int code = node_string(root, "schedule", false, &name, e);
    p->warmup = -1;
    if (code == 0 && node_get(root, "warmup"))
        code = node_number(root, "warmup", true, &p->warmup, e);
    if (code < 0)
        return code;
    if (name && schedule_find(name) < 0)
        return node_error(node_get(root, "schedule"), e, "plan_from_node",
                          "schedule is cosine, linear or constant, not '%s'", name);
    if (node_get(root, "warmup") && !(p->warmup >= 0 && p->warmup < 1))
        return node_error(node_get(root, "warmup"), e, "plan_from_node",
                          "warmup is a share of the steps from 0 to below 1, not %g", p->warmup);
    p->schedule = name ? arena_strdup(&p->arena, name) : NULL;
    return name && !p->schedule ? err_set(e, ERR_NO_MEMORY, "plan_from_node", "out of memory") : 0;
}

static int read_settings(struct plan *p, const struct node *root, struct err *e) {
    int method = 0, kv = 0;
    int64_t rank = 0, threads = 0;
    int code = read_choice(root, "method", method_names, N_METHODS, &method, e);
    if (code == 0)
        code = read_count(root, "rank", 0, 1024, &rank, e);
    if (code == 0)
        code = node_number(root, "alpha", true, &p->alpha, e);
    if (code == 0)
        code = read_count(root, "context", 16, 1 << 20, &p->context, e);
    if (code == 0)
        code = read_count(root, "ubatch", 1, 1 << 16, &p->ubatch, e);
    if (code == 0)
        code = read_count(root, "threads", 1, 1024, &threads, e);
    if (code == 0)
        code = read_choice(root, "kv_type", kv_names, N_KV_TYPES, &kv, e);
    if (code == 0)
        code = node_bool(root, "label_scoring", true, &p->label_scoring, e);
    if (code == 0)
        code = node_bool(root, "prefix_state", true, &p->prefix_state, e);
    if (code == 0)
        code = node_bool(root, "trim_vocabulary", false, &p->trim_vocabulary, e);
    if (code == 0)
        code = read_schedule(p, root, e);
    if (code == 0 && method == PLAN_LORA && (rank < 1 || !(p->alpha > 0) || !isfinite(p->alpha))) {
        node_error(node_get(root, "rank"), e, "plan_from_node",
                   "method lora needs a rank and an alpha over 0");
        code = ERR_INPUT;
    }
    p->method = (enum plan_method)method;
    p->kv_type = (enum plan_kv_type)kv;
    p->rank = (int)rank;
    p->threads = (int)threads;
    return code;
}

static int read_plan(struct plan *p, const struct node *root, struct err *e) {
    static const char *const keys[] = {
        "format",          "device",   "base",   "base_path", "method",  "rank",          "alpha",
        "quantisation",    "context",  "ubatch", "threads",   "kv_type", "label_scoring", "prefix_state",
        "trim_vocabulary", "schedule", "warmup", "tokens",    "reason",  "predicted",     NULL};
    static const char *const predictions[] = {
#define X(name, text, unit) #name,
        PLAN_PREDICTIONS(X)
#undef X
            NULL};
    const char *format = NULL;
    int code = node_string(root, "format", true, &format, e);
    if (code == 0 && !str_equal(format, PLAN_FORMAT)) {
        node_error(node_get(root, "format"), e, "plan_from_node", "format is '%s', expected '%s'", format,
                   PLAN_FORMAT);
        code = ERR_INPUT;
    }
    struct node *predicted = NULL;
    if (code < 0 || (code = node_check_keys(root, keys, e)) < 0 ||
        (code = read_text(&p->arena, root, "device", &p->device, e)) < 0 ||
        (code = read_text(&p->arena, root, "base", &p->base, e)) < 0 ||
        (code = read_text(&p->arena, root, "base_path", &p->base_path, e)) < 0 ||
        (code = read_text(&p->arena, root, "quantisation", &p->quantisation, e)) < 0 ||
        (code = read_text(&p->arena, root, "reason", &p->reason, e)) < 0 ||
        (code = read_settings(p, root, e)) < 0 || (code = read_tokens(p, root, e)) < 0 ||
        (code = node_map(root, "predicted", true, &predicted, e)) < 0 ||
        (code = node_check_keys(predicted, predictions, e)) < 0)
        return code;
#define X(name, text, unit)                                                                                  \
    if (code == 0)                                                                                           \
        code = read_estimate(&p->arena, predicted, #name, &p->predicted.name, e);
    PLAN_PREDICTIONS(X)
#undef X
    return code;
}

int plan_from_node(struct plan *p, const struct node *root, struct err *e) {
    struct plan read = {0};
    arena_init(&read.arena);
    int code = read_plan(&read, root, e);
    if (code < 0) {
        arena_release(&read.arena);
        return code;
    }
    *p = read;
    return 0;
}

void plan_release(struct plan *p) {
    if (p == NULL)
        return;
    arena_release(&p->arena);
    *p = (struct plan){0};
}

/* ---- writing ---- */

static void add_text(struct str *out, const char *key, const char *text) {
    str_addf(out, "%s: ", key);
    yaml_text_string(out, text);
    str_add_char(out, '\n');
}

static void add_estimate(struct str *out, const char *key, const struct estimate *x, const char *text,
                         const char *unit) {
    if (x->value <= 0 || x->basis == NULL || x->basis[0] == '\0')
        return;
    str_addf(out, "  # %s, %s\n  %s: {value: %.6g, low: %.6g, high: %.6g, basis: ", text, unit, key, x->value,
             x->low, x->high);
    yaml_text_string(out, x->basis);
    str_add(out, "}\n");
}

int plan_to_yaml(const struct plan *p, struct str *out, struct err *e) {
    str_add(out, "# The accepted plan, written by edgestill plan --accept. Edit it and accept again: "
                 "edgestill plan --accept 0\n");
    add_text(out, "format", PLAN_FORMAT);
    add_text(out, "device", p->device);
    add_text(out, "base", p->base);
    add_text(out, "base_path", p->base_path);
    str_addf(out, "method: %s # lora: low-rank adapters on all linear layers\nrank: %d\nalpha: %g\n",
             plan_method_text(p->method), p->rank, p->alpha);
    if (p->schedule)
        str_addf(out, "schedule: %s # of the learning rate after the warm-up: cosine, linear or constant\n",
                 p->schedule);
    if (p->warmup >= 0)
        str_addf(out, "warmup: %g # share of the steps in which it climbs to its peak\n", p->warmup);
    add_text(out, "quantisation", p->quantisation);
    str_addf(out,
             "context: %lld # tokens of prompt and answer together\nubatch: %lld # tokens computed at "
             "once\nthreads: %d\n",
             (long long)p->context, (long long)p->ubatch, p->threads);
    str_addf(out,
             "kv_type: %s\nlabel_scoring: %s # score the labels instead of writing one\nprefix_state: %s # "
             "keep the shared prefix computed\ntrim_vocabulary: %s # the predictions count on compress "
             "cutting it\n",
             plan_kv_type_text(p->kv_type), p->label_scoring ? "true" : "false",
             p->prefix_state ? "true" : "false", p->trim_vocabulary ? "true" : "false");
    str_addf(out, "tokens: {prefix: %lld, record: %lld, answer: %lld}\n", (long long)p->prefix_tokens,
             (long long)p->record_tokens, (long long)p->answer_tokens);
    add_text(out, "reason", p->reason);
    str_add(out, "\n# Truth is expected between low and high 19 times of 20. The report shows what was "
                 "measured beside it.\npredicted:\n");
#define X(name, text, unit) add_estimate(out, #name, &p->predicted.name, text, unit);
    PLAN_PREDICTIONS(X)
#undef X
    return str_check(out, e);
}

int plan_base_file(const struct plan *p, struct str *out, struct err *e) {
    if (str_starts(p->base_path, "data:"))
        return data_path(p->base_path + strlen("data:"), out, e);
    if (!file_exists(p->base_path)) {
        err_set(e, ERR_NOT_FOUND, "plan_base_file", "the base's file %s is gone", p->base_path);
        return err_hint(e, "bring it back, or choose again: edgestill plan");
    }
    str_add(out, p->base_path);
    return str_check(out, e);
}
