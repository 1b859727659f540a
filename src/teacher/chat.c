/* Chat completions: bodies out, bodies in. */
#include "teacher/chat.h"
#include "format/json.h"
#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- capabilities ---- */

void chat_caps_init(struct chat_caps *c, bool sampling) {
    *c = (struct chat_caps){.json_schema = true,
                            .json_object = true,
                            .seed = sampling,
                            .temperature = sampling,
                            .max_tokens = true,
                            .logprobs = true,
                            .usage = true,
                            .thinking_off = true};
}

void chat_caps_text(const struct chat_caps *c, struct str *out) {
    const char *gap = "";
#define X(name)                                                                                              \
    str_addf(out, "%s" #name "=%d", gap, c->name);                                                           \
    gap = " ";
    CHAT_CAPS(X)
#undef X
}

/* Where the name begins a word. */
static const char *name_at(const char *text, const char *name) {
    for (const char *at = text; (at = strstr(at, name)); at++)
        if (at == text || at[-1] == ' ')
            return at;
    return NULL;
}

void chat_caps_read(struct chat_caps *c, const char *text) {
    const char *at;
#define X(name)                                                                                              \
    if ((at = name_at(text, #name "=")))                                                                     \
        c->name = at[sizeof #name] == '1';
    CHAT_CAPS(X)
#undef X
}

static bool mentions(const char *body, const char *const words[]) {
    for (; *words; words++)
        if (strcasestr(body, *words))
            return true;
    return false;
}

static bool give_up(bool *capability, const char *what, struct str *message) {
    if (!*capability)
        return false;
    *capability = false;
    str_add(message, what);
    return true;
}

bool chat_caps_degrade(struct chat_caps *c, const char *body, bool schema_asked, struct str *message) {
    static const char *const about_tokens[] = {"max_tokens", "max_completion_tokens", NULL};
    static const char *const about_logprobs[] = {"logprobs", NULL}, *const about_thinking[] = {"thinking",
                                                                                               NULL};
    static const char *const about_seed[] = {"seed", NULL};
    static const char *const about_sampling[] = {"temperature", "top_p", "sampling", NULL};
    static const char *const about_form[] = {"response_format", "json_schema", "json_object",
                                             "schema",          "grammar",     NULL};
    if (mentions(body, about_logprobs) && give_up(&c->logprobs, "logprobs are not asked for", message))
        return true;
    if (mentions(body, about_tokens) &&
        give_up(&c->max_tokens, "max_completion_tokens is used for max_tokens", message))
        return true;
    if (mentions(body, about_seed) && give_up(&c->seed, "seeds are not sent", message))
        return true;
    if (mentions(body, about_sampling) && give_up(&c->temperature, "temperature is not sent", message))
        return true;
    if (mentions(body, about_thinking) &&
        give_up(&c->thinking_off, "it cannot be told not to think", message))
        return true;
    if (!schema_asked || !mentions(body, about_form))
        return false;
    if (c->json_schema)
        return give_up(&c->json_schema, "JSON mode is used in place of a JSON schema", message);
    return give_up(&c->json_object, "JSON is asked for in words only", message);
}

/* ---- requests ---- */

static void add_message(struct str *out, const char *role, const char *text) {
    str_addf(out, "{\"role\":\"%s\",\"content\":", role);
    json_text_string(out, text);
    str_add_char(out, '}');
}

int chat_request(const struct chat_caps *c, const struct chat_question *q, struct str *body, struct err *e) {
    str_add(body, "{\"model\":");
    json_text_string(body, q->model);
    str_add(body, ",\"messages\":[");
    add_message(body, "system", q->system);
    str_add_char(body, ',');
    add_message(body, "user", q->user);
    str_addf(body, "],\"%s\":%lld", c->max_tokens ? "max_tokens" : "max_completion_tokens",
             (long long)q->max_tokens);
    if (c->temperature) {
        str_add(body, ",\"temperature\":");
        json_text_number(body, q->temperature);
    }
    if (c->seed)
        str_addf(body, ",\"seed\":%llu",
                 (unsigned long long)(q->seed & 0x7fffffff)); /* some servers keep it in 32 bits */
    if (q->logprobs && c->logprobs)
        str_add(body, ",\"logprobs\":true,\"top_logprobs\":2");
    if (q->no_thinking && c->thinking_off)
        str_add(body, ",\"thinking\":{\"type\":\"disabled\"}");
    bool schema = q->schema && *q->schema;
    if (q->grammar) {
        str_add(body, ",\"grammar\":");
        json_text_string(body, q->grammar);
    } else if (schema && c->json_schema)
        str_addf(
            body,
            ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"%s\",\"strict\":true,"
            "\"schema\":%s}}",
            q->schema_name, q->schema);
    else if (schema && c->json_object)
        str_add(body, ",\"response_format\":{\"type\":\"json_object\"}");
    str_add_char(body, '}');
    return str_check(body, e);
}

/* ---- replies ---- */

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key)); /* NULL for anything but a string */
}

/* Content may be a string, or a list of parts of which those with text count. */
static bool read_content(const json_t *message, struct str *out) {
    const json_t *content = json_object_get(message, "content");
    if (json_is_string(content)) {
        str_add_bytes(out, json_string_value(content), strlen(json_string_value(content)));
        return true;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const char *text = text_of(json_array_get(content, i), "text");
        if (text)
            str_add(out, text);
    }
    return !content || json_is_null(content) || json_is_array(content);
}

/* "<think>...</think>answer": some servers leave the thoughts in the content. */
static void split_thoughts(struct chat_reply *r, struct arena *a) {
    static const char open[] = "<think>", close[] = "</think>";
    const char *text = r->content + strspn(r->content, " \t\r\n");
    const char *end = NULL;
    for (const char *at = strstr(text, close); at; at = strstr(at + 1, close))
        end = at;
    bool opened = strncmp(text, open, sizeof open - 1) == 0;
    if (!end && !opened)
        return;
    const char *begin = opened ? text + sizeof open - 1 : text;
    const char *thoughts = end ? arena_strndup(a, begin, (size_t)(end - begin)) : begin;
    r->thoughts = r->thoughts ? r->thoughts : thoughts;
    r->content = end ? end + sizeof close - 1 : "";
    r->content += strspn(r->content, " \t\r\n");
}

static int64_t count_of(const json_t *usage, const char *key) {
    const json_t *n = json_object_get(usage, key);
    return json_is_integer(n) && json_integer_value(n) > 0 ? json_integer_value(n) : 0;
}

/* Left out where they are no probabilities. */
static bool read_labels(const json_t *root, struct arena *a, struct chat_reply *r) {
    json_t *map = json_object_get(root, CHAT_LABELS), *value;
    size_t n = json_object_size(map);
    struct chat_label *labels = n > 0 ? arena_calloc(a, n, sizeof *labels) : NULL;
    const char *name;
    double sum = 0;
    int i = 0;
    if (n == 0)
        return true;
    if (!labels)
        return false;
    json_object_foreach(map, name, value) {
        double p = json_is_number(value) ? json_number_value(value) : -1;
        labels[i] = (struct chat_label){arena_strdup(a, name), p};
        if (!labels[i++].name)
            return false;
        sum += p >= 0 ? p : INFINITY;
    }
    if (fabs(sum - 1) < 1e-6) {
        r->labels = labels;
        r->n_labels = i;
    }
    return true;
}

static bool fill_reply(const json_t *root, struct arena *a, struct chat_reply *r) {
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    struct str content = {0};
    if (!json_is_object(message) || !read_content(message, &content)) {
        str_release(&content);
        return false;
    }
    r->content = arena_strdup(a, str_text(&content));
    bool ok = !content.failed && r->content;
    str_release(&content);
    const char *thoughts = text_of(message, "reasoning_content");
    if (!thoughts)
        thoughts = text_of(message, "reasoning");
    r->thoughts = thoughts && *thoughts ? arena_strdup(a, thoughts) : NULL;
    const char *finish = text_of(choice, "finish_reason");
    r->truncated = str_equal(finish, "length");
    r->refused = str_equal(finish, "content_filter") || text_of(message, "refusal");
    const json_t *usage = json_object_get(root, "usage");
    r->has_usage = json_is_integer(json_object_get(usage, "completion_tokens"));
    r->has_logprobs = json_array_size(json_object_get(json_object_get(choice, "logprobs"), "content")) > 0;
    r->tokens_in = count_of(usage, "prompt_tokens");
    r->tokens_out = count_of(usage, "completion_tokens");
    ok = ok && read_labels(root, a, r);
    if (ok)
        split_thoughts(r, a);
    return ok;
}

int chat_reply_read(const char *body, size_t n, struct arena *a, struct chat_reply *out, struct err *e) {
    json_error_t fault;
    json_t *root = json_loadb(body, n, 0, &fault);
    if (!root)
        return err_set(e, ERR_TEACHER, "chat_reply_read", "the answer is not JSON: %s", fault.text);
    struct chat_reply r = {0};
    bool ok = fill_reply(root, a, &r);
    json_decref(root);
    if (!ok)
        return err_set(e, ERR_TEACHER, "chat_reply_read", "the answer is JSON, but no chat completion");
    *out = r;
    return 0;
}

/* ---- the probe ---- */

/* Is the content the document that CHAT_PROBE_SCHEMA allows, and nothing else? */
static bool keeps_to_schema(const char *content) {
    json_t *root = json_loads(content, 0, NULL);
    const char *answer = text_of(root, "answer");
    bool ok = json_object_size(root) == 1 && (str_equal(answer, "yes") || str_equal(answer, "no"));
    json_decref(root);
    return ok;
}

static void learn_one(bool *capability, bool shown, const char *what, struct str *message) {
    if (*capability && !shown)
        str_addf(message, "%s%s", message->len ? "; " : "", what);
    *capability = *capability && shown;
}

void chat_caps_learn(struct chat_caps *c, const struct chat_reply *r, struct str *message) {
    learn_one(&c->json_schema, r->truncated || keeps_to_schema(r->content),
              "a JSON schema is taken and not kept to, so JSON mode is used", message);
    learn_one(&c->usage, r->has_usage, "it does not count tokens, so they are estimated from the texts",
              message);
    learn_one(&c->logprobs, r->has_logprobs, "it gives no probabilities", message);
    c->thinks = r->thoughts != NULL;
    if (c->thinks)
        str_addf(message, "%sit thinks before it answers, which is billed as output",
                 message->len ? "; " : "");
    c->probed = true;
}

/* ---- errors ---- */

static const char *message_in(const json_t *root) {
    const json_t *error = json_object_get(root, "error");
    const char *text = text_of(error, "message");
    if (!text)
        text = json_string_value(error);
    if (!text)
        text = text_of(root, "message");
    return text ? text : text_of(root, "detail");
}

void chat_error_text(const char *body, size_t n, struct str *out) {
    enum { MOST = 240 };
    json_t *root = json_loadb(body, n, 0, NULL);
    const char *text = root ? message_in(root) : NULL;
    size_t length = text ? strlen(text) : n;
    text = text ? text : body;
    if (length > MOST)
        length = MOST;
    for (size_t i = 0; i < length;
         i++) /* one line, printable, and no start of a character whose end is cut off */
        str_add_char(out, (unsigned char)text[i] < 0x20 || (unsigned char)text[i] > 0x7e ? ' ' : text[i]);
    json_decref(root);
}
