/* Bodies in and out. */
#include "api.h"
#include "base/clock.h"
#include "format/json.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *path, *method;
    enum api_kind kind;
} places[] = {{"/v1/decide", "POST", API_DECIDE},
              {"/v1/chat/completions", "POST", API_CHAT},
              {"/v1/models", "GET", API_MODELS},
              {"/health", "GET", API_HEALTH},
              {"/metrics", "GET", API_METRICS}};

enum api_kind api_route(const char *path, const char **method) {
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (strcmp(path, places[i].path) == 0) {
            *method = places[i].method;
            return places[i].kind;
        }
    }
    return API_NONE;
}

void reply_release(struct reply *r) {
    str_release(&r->body);
}

/* ---- errors ---- */

void api_error(struct reply *out, int status, const char *format, ...) {
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    out->status = status;
    out->type = "application/json";
    str_clear(&out->body);
    str_add(&out->body, "{\"error\":{\"message\":");
    json_text_string(&out->body, message);
    str_addf(&out->body, ",\"type\":\"%s\",\"code\":%d}}\n",
             status < 500 ? "invalid_request_error" : "server_error", status);
}

static void refuse(struct reply *out, const struct err *e) {
    bool bad = e->code == ERR_INPUT || e->code == ERR_FORMAT || e->code == ERR_USAGE;
    api_error(out, bad ? 400 : 500, "%s%s%s", e->message, e->hint[0] ? "; " : "", e->hint);
}

/* ---- records ---- */

/* One "name: value", a dash in front allowed. */
static int add_line(const char *from, const char *to, struct str *json, bool *first, struct err *e) {
    while (from < to && strchr(" \t\r-", *from))
        from++;
    while (to > from && strchr(" \t\r", to[-1]))
        to--;
    const char *colon = memchr(from, ':', (size_t)(to - from));
    if (from == to)
        return 0;
    if (!colon)
        return err_set(e, ERR_INPUT, "api_record_text", "\"%.*s\" is not \"name: value\"",
                       (int)(to - from < 80 ? to - from : 80), from);
    const char *value = colon + 1;
    while (value < to && *value == ' ')
        value++;
    str_add(json, *first ? "" : ",");
    json_text_string_n(json, from, (size_t)(colon - from));
    str_add_char(json, ':');
    json_text_string_n(json, value, (size_t)(to - value));
    *first = false;
    return 0;
}

/* The field whose name `text` begins with, a colon behind it; NULL: none. */
static const struct task_field *field_named(const struct task *t, const char *text) {
    text += strspn(text, " \t\r-");
    size_t n = strcspn(text, ":\n");
    while (n > 0 && strchr(" \t", text[n - 1]))
        n--;
    for (int i = 0; i < t->n_declared && strchr(text, ':'); i++) {
        const struct task_field *f = &t->fields[i];
        if ((strlen(f->name) == n && memcmp(f->name, text, n) == 0) ||
            (strlen(f->column) == n && memcmp(f->column, text, n) == 0))
            return f;
    }
    return NULL;
}

/* A pair goes to the end of its line, or to a ";". One in a text is part of it, unless another field's name follows. */
static size_t pair_length(const struct task *t, const char *text) {
    const struct task_field *f = field_named(t, text);
    size_t n = strcspn(text, "\n;");
    while (f && f->type == FIELD_TEXT && text[n] == ';' && !field_named(t, text + n + 1))
        n += 1 + strcspn(text + n + 1, "\n;");
    return n;
}

int api_record_text(const struct task *t, const char *text, struct str *json, struct err *e) {
    bool first = true;
    text += strspn(text, " \t\r\n");
    if (*text == '{') {
        str_add(json, text);
        return str_check(json, e);
    }
    str_add_char(json, '{');
    for (const char *at = text; *at;) {
        size_t n = pair_length(t, at);
        int rc = add_line(at, at + n, json, &first, e);
        if (rc < 0)
            return rc;
        at += n + (at[n] != 0);
    }
    str_add_char(json, '}');
    return first ? err_set(e, ERR_INPUT, "api_record_text", "the message holds no record")
                 : str_check(json, e);
}

/* ---- chat ---- */

/* A message's content: a text, or a list of parts whose texts are lines of the record. In the arena; NULL: there is no text. */
static int content_of(struct arena *a, const struct node *message, const char **out, struct err *e) {
    const struct node *content = node_get(message, "content");
    *out = content && content->type == NODE_STRING ? content->text : NULL;
    if (!content || content->type != NODE_LIST)
        return 0;
    for (const struct node *part = content->first; part; part = part->next) {
        const struct node *text = node_get(part, "text");
        if (!text || text->type != NODE_STRING)
            return err_set(e, ERR_INPUT, "api_chat", "a part of the user message is no text");
        *out = *out ? arena_printf(a, "%s\n%s", *out, text->text) : text->text;
        if (!*out)
            return err_set(e, ERR_NO_MEMORY, "api_chat", "no memory for a message");
    }
    return 0;
}

/* The last user message, in the arena. */
static int read_chat(struct arena *a, const char *body, size_t n, const char **text, struct err *e) {
    struct node *root = NULL, *messages = NULL;
    bool stream = false;
    int64_t n_answers = 1;
    int rc = json_node_parse(a, "request", 1, body, n, &root, e);
    if (rc == 0 && root->type != NODE_MAP)
        rc = err_set(e, ERR_INPUT, "api_chat", "the request is not a JSON object");
    if (rc < 0 || (rc = node_bool(root, "stream", false, &stream, e)) < 0 ||
        (rc = node_i64(root, "n", false, &n_answers, e)) < 0 ||
        (rc = node_list(root, "messages", true, &messages, e)) < 0)
        return rc;
    if (stream)
        return err_set(e, ERR_INPUT, "api_chat", "this server does not stream: an answer is one label");
    if (n_answers != 1)
        return err_set(e, ERR_INPUT, "api_chat", "\"n\" is %lld: a record has one answer here",
                       (long long)n_answers);
    const struct node *last = NULL;
    for (const struct node *m = messages->first; m; m = m->next) {
        const struct node *role = node_get(m, "role");
        if (role && str_equal(role->text, "user"))
            last = m;
    }
    rc = last ? content_of(a, last, text, e) : 0;
    return rc < 0  ? rc
           : *text ? 0
                   : err_set(e, ERR_INPUT, "api_chat", "there is no user message with a text");
}

static int write_chat(struct runner *r, const struct decision *d, struct str *out, struct err *e) {
    const char *label = d->answer ? d->answer : r->bundle.task.labels[d->label].name;
    int32_t ids[256];
    int64_t n_out = lm_tokenize(r->lm, label, strlen(label), LM_PLAIN, ids, 256, NULL);
    int64_t n_in = classifier_prefix_tokens(r->classifier) + classifier_last(r->classifier).n_tokens;
    str_addf(out, "{\"id\":\"decision-%lld\",\"object\":\"chat.completion\",\"created\":%lld,\"model\":",
             (long long)clock_unix_ms(), (long long)(clock_unix_ms() / 1000));
    json_text_string(out, r->bundle.name);
    str_add(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    json_text_string(out, d->other ? d->other : label);
    str_addf(out,
             "},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
             "\"total_tokens\":%lld},\"edgestill\":",
             (long long)n_in, (long long)(n_out > 0 ? n_out : 0),
             (long long)(n_in + (n_out > 0 ? n_out : 0)));
    int rc = runner_write(r, d, out, e);
    str_add_char(out, '}');
    return rc;
}

/* ---- the whole ---- */

static int answer(struct runner *r, enum api_kind kind, struct arena *a, const char *body, size_t n,
                  struct reply *out, struct err *e) {
    struct decision d;
    struct str record = {0};
    const char *text = NULL;
    int rc = kind == API_CHAT ? read_chat(a, body, n, &text, e) : 0;
    if (rc == 0 && text)
        rc = api_record_text(&r->bundle.task, text, &record, e);
    if (rc == 0)
        rc = text ? runner_decide(r, str_text(&record), record.len, 1, &d, e)
                  : runner_decide(r, body, n, 1, &d, e);
    str_release(&record);
    if (rc < 0)
        return rc;
    out->decided = true;
    out->abstained = d.abstained;
    out->missing = d.missing != NULL;
    out->outside = d.outside != NULL;
    out->label = d.label;
    out->seconds = d.ms / 1e3;
    rc = kind == API_CHAT ? write_chat(r, &d, &out->body, e) : runner_write(r, &d, &out->body, e);
    str_add_char(&out->body, '\n');
    return rc < 0 ? rc : str_check(&out->body, e);
}

void api_decide(struct runner *r, enum api_kind kind, const char *body, size_t n, struct reply *out) {
    struct err e = {0};
    struct arena a;
    arena_init(&a);
    out->status = 200;
    out->type = "application/json";
    if (answer(r, kind, &a, body, n, out, &e) < 0)
        refuse(out, &e);
    arena_release(&a);
}

void api_models(const struct bundle *b, struct reply *out) {
    out->status = 200;
    out->type = "application/json";
    str_add(&out->body, "{\"object\":\"list\",\"data\":[{\"id\":");
    json_text_string(&out->body, b->name);
    str_add(&out->body, ",\"object\":\"model\",\"owned_by\":\"edgestill\"}]}\n");
}
