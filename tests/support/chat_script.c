/* See chat_script.h. */
#include "chat_script.h"
#include "base/hash.h"
#include "base/rng.h"
#include "format/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char right_draft[] =
    "{\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":60,\"unit\":\"days\"},"
    "{\"name\":\"approved share\",\"type\":\"number\",\"min\":0.00,\"max\":1.00,\"decimals\":2},"
    "{\"name\":\"visit type\",\"type\":\"category\",\"values\":[\"routine\",\"emergency\"]}],"
    "\"labels\":[{\"name\":\"suspicious\",\"definition\":\"the delay is under 2 days, or under 7 days and "
    "the approved share is"
    " below 0.80\"},{\"name\":\"normal\",\"definition\":\"otherwise\"}]}";

static const char *const labels[] = {"suspicious", "normal"};

int chat_script_rule(double delay, double share) {
    return delay < 2 || (delay < 7 && share < 0.80) ? 0 : 1;
}

int chat_script_task(struct task *t, struct err *e) {
    struct arena a;
    arena_init(&a);
    struct node *draft = NULL;
    int rc = json_node_parse(&a, "draft", 0, right_draft, strlen(right_draft), &draft, e);
    if (rc == 0)
        rc = task_from_draft(t, "claims", CHAT_SCRIPT_SENTENCE, draft, e);
    arena_release(&a);
    return rc;
}

/* ---- content ---- */

struct asked_range {
    int low, high;             /* of the delay */
    int share_low, share_high; /* hundredths */
    int visit;                 /* -1: any */
};

static struct asked_range read_range(const char *user) {
    struct asked_range r = {0, 60, 0, 100, -1};
    double low, high;
    const char *at = strstr(user, " with ");
    if (!at)
        return r;
    if (sscanf(at, " with delay from %lf to %lf", &low, &high) == 2) {
        r.low = (int)low;
        r.high = (int)high;
    } else if (sscanf(at, " with approved share from %lf to %lf", &low, &high) == 2) {
        r.share_low = (int)(low * 100 + 0.5);
        r.share_high = (int)(high * 100 + 0.5);
    } else {
        r.visit = strstr(at, "emergency") != NULL;
    }
    return r;
}

static void add_record(struct rng *rng, const struct chat_script *c, const char *user, struct str *out) {
    struct asked_range range = read_range(user);
    int label = strstr(user, " labelled normal") ? 1 : 0, delay = 0, share = 0;
    int wanted = rng_chance(rng, c->wrong_share) ? 1 - label : label;
    if (c->never && strcmp(labels[label], c->never) == 0) { /* whatever corner it is asked for */
        wanted = 1 - label;
        range = (struct asked_range){0, 60, 0, 100, -1};
    }
    for (int i = 0; i < 1000; i++) {
        delay = (int)rng_range(rng, range.low, range.high);
        share = (int)rng_range(rng, range.share_low, range.share_high);
        if (rng_chance(rng, 0.5) && range.low < 7)
            delay = (int)rng_range(rng, range.low, range.high < 7 ? range.high : 7);
        if (chat_script_rule(delay, share / 100.0) == wanted)
            break;
    }
    int visit = range.visit >= 0 ? range.visit : (int)rng_range(rng, 0, 1);
    if (rng_chance(rng, c->copy_share))
        delay = label ? 30 : 1, share = 50, visit = 0;
    if (rng_chance(rng, c->invalid_share))
        delay = 99;
    str_addf(out, "{\"delay\":%d,\"approved share\":%d.%02d,\"visit type\":\"%s\"}", delay, share / 100,
             share % 100, visit ? "emergency" : "routine");
}

static void add_claim(struct str *out, int delay, int share, int visit) {
    str_addf(out, "%s{\"delay\":%d,\"approved share\":%d.%02d,\"visit type\":\"%s\"}",
             out->data[out->len - 1] == '[' ? "" : ",", delay, share / 100, share % 100,
             visit ? "emergency" : "routine");
}

/* Two that differ in the field asked about alone, suspicious and then normal; the other way round where it is wrong. */
static void add_pair(struct rng *rng, const struct chat_script *c, const char *user, struct str *out) {
    struct asked_range range = read_range(user);
    bool by_share = strstr(user, " with approved share ") != NULL;
    int a[2] = {0}, b[2] = {0};
    for (int i = 0; i < 2000; i++) {
        a[0] = b[0] = (int)rng_range(rng, range.low, range.high);
        a[1] = b[1] = (int)rng_range(rng, range.share_low, range.share_high);
        if (by_share)
            b[1] = (int)rng_range(rng, range.share_low, range.share_high);
        else
            b[0] = (int)rng_range(rng, range.low, range.high);
        if (chat_script_rule(a[0], a[1] / 100.0) == 0 && chat_script_rule(b[0], b[1] / 100.0) == 1)
            break;
    }
    int visit = (int)rng_range(rng, 0, 1);
    bool swapped = rng_chance(rng, c->wrong_share);
    const int *first = swapped ? b : a, *second = swapped ? a : b;
    add_claim(out, rng_chance(rng, c->invalid_share) ? 99 : first[0], first[1], visit);
    add_claim(out, second[0], second[1], visit);
}

static void write_content(struct chat_script *c, const char *user, struct rng *rng, struct str *out) {
    int n = 0;
    sscanf(user, "Write %d", &n);
    bool pairs = strstr(user, " pairs of records") != NULL;
    c->n_pairs += pairs;
    c->n_shown += strstr(user, "\n{") != NULL;
    str_add(out, "{\"records\":[");
    for (int i = 0; i < n && pairs; i++)
        add_pair(rng, c, user, out);
    for (int i = 0; i < n && !pairs; i++) {
        str_add(out, i ? "," : "");
        add_record(rng, c, user, out);
    }
    str_add(out, "]}");
    c->n_write++;
}

static void label_content(struct chat_script *c, const char *user, struct rng *rng, struct str *out) {
    double delay = 0, share = 0;
    sscanf(user, "Record: delay: %lf; approved share: %lf", &delay, &share);
    int label = chat_script_rule(delay, share);
    if (rng_chance(rng, c->fickle_share))
        label = 1 - label;
    str_addf(out, "- delay: %g under 2: %s\nAnswer: %s", delay, delay < 2 ? "yes" : "no", labels[label]);
    c->n_label++;
}

static void draft_content(struct chat_script *c, struct str *out) {
    str_add(out, ++c->n_draft <= c->bad_drafts ? "{\"fields\":[],\"labels\":[]}"
                 : c->draft                    ? c->draft
                                               : right_draft);
}

static void probe_content(struct chat_script *c, struct str *out) {
    str_add(out, c->ignore_schema ? "Sure! {\"answer\":\"yes\"}" : "{\"answer\":\"yes\"}");
    c->n_probe++;
}

static void content_of(struct chat_script *c, const char *system, const char *user, struct rng *rng,
                       struct str *out) {
    if (str_starts(system, "Draft"))
        draft_content(c, out);
    else if (str_starts(system, "Write"))
        write_content(c, user, rng, out);
    else if (str_starts(system, "Answer in JSON."))
        probe_content(c, out);
    else
        label_content(c, user, rng, out);
}

/* ---- the envelope ---- */

static void envelope(const struct chat_script *c, const char *content, const char *finish, struct str *out) {
    str_add(out, "{\"id\":\"x\",\"choices\":[{\"index\":0,\"finish_reason\":\"");
    str_addf(out, "%s\",\"message\":{\"role\":\"assistant\",\"content\":", finish);
    json_text_string(out, content);
    if (c->thinks)
        str_add(out, ",\"reasoning_content\":\"Let me see.\"");
    str_add(out, c->refuse_logprobs ? "}}]"
                                    : "},\"logprobs\":{\"content\":[{\"token\":\"y\",\"logprob\":-0.1}]}}]");
    if (!c->no_usage)
        str_add(out, ",\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150}");
    str_add(out, "}");
}

static void refuse(struct http_reply *r, int status, const char *message) {
    r->status = status;
    str_addf(&r->body, "{\"error\":{\"message\":\"%s\"}}", message);
}

static void plan_fault(enum chat_fault fault, const struct chat_script *c, struct str *content,
                       struct http_reply *r) {
    switch (fault) {
    case CHAT_500:
        refuse(r, 500, "planned");
        return;
    case CHAT_429:
        refuse(r, 429, "slow down");
        return;
    case CHAT_RESET:
        r->how = HTTP_RESET;
        return;
    case CHAT_HALF:
        r->how = HTTP_HALF;
        break;
    case CHAT_NOT_JSON:
        str_add(&r->body, "<html>gateway</html>");
        r->content_type = "text/html";
        return;
    case CHAT_NOT_CHAT:
        str_add(&r->body, "{\"ok\":true}");
        return;
    case CHAT_EMPTY:
        return;
    case CHAT_NOT_UTF8:
        envelope(c, "x", "stop", &r->body);
        *strchr(r->body.data, 'x') = (char)0xff;
        return;
    case CHAT_TRUNCATED:
        content->len /= 2;
        content->data[content->len] = 0;
        envelope(c, content->data, "length", &r->body);
        return;
    case CHAT_REFUSED:
        envelope(c, "I cannot help with that.", "content_filter", &r->body);
        return;
    default:
        break;
    }
    if (fault == CHAT_FENCED) {
        struct str fenced = {0};
        str_addf(&fenced, "Here you are:\n```json\n%s\n```\n", str_text(content));
        envelope(c, fenced.data, "stop", &r->body);
        str_release(&fenced);
    } else {
        envelope(c, str_text(content), "stop", &r->body);
    }
}

static enum chat_fault draw_fault(struct chat_script *c, int64_t number) {
    struct rng rng;
    rng_seed(&rng, (uint64_t)number * 7919);
    if (!c->faults || !rng_chance(&rng, c->fault_share))
        return CHAT_FINE;
    int fault;
    do
        fault = (int)rng_range(&rng, 1, CHAT_FAULTS - 1);
    while (!(c->faults & 1u << fault));
    c->n_fault++;
    return (enum chat_fault)fault;
}

static const char *message_text(const json_t *root, size_t index) {
    const char *text = json_string_value(
        json_object_get(json_array_get(json_object_get(root, "messages"), index), "content"));
    return text ? text : "";
}

void chat_script_serve(void *context, const struct http_asked *q, struct http_reply *r) {
    struct chat_script *c = context;
    r->delay_ms = c->delay_ms;
    if (c->key && (!str_starts(q->authorization, "Bearer ") || strcmp(q->authorization + 7, c->key) != 0)) {
        r->status = 401;
        str_addf(&r->body, "{\"error\":{\"message\":\"wrong key: %s\"}}", q->authorization);
        return;
    }
    json_t *root = json_loads(q->body, 0, NULL);
    if (!root || strcmp(q->path, "/v1/chat/completions") != 0) {
        refuse(r, 404, "no such path");
        json_decref(root);
        return;
    }
    if (c->refuse_schema && json_object_get(root, "response_format")) {
        refuse(r, 400, "response_format is not supported");
    } else if (c->refuse_sampling && json_object_get(root, "temperature")) {
        refuse(r, 400, "invalid temperature: only 1 is allowed");
    } else if (c->refuse_logprobs && json_object_get(root, "logprobs")) {
        refuse(r, 400, "logprobs are not supported by this model");
    } else if (c->refuse_thinking && json_object_get(root, "thinking")) {
        refuse(r, 400, "unknown field thinking");
    } else {
        c->n_not_to_think += json_object_get(root, "thinking") != NULL;
        struct rng rng;
        rng_seed(&rng, hash64(q->body, strlen(q->body), c->by_body ? 0 : (uint64_t)q->number));
        struct str content = {0};
        content_of(c, message_text(root, 0), message_text(root, 1), &rng, &content);
        plan_fault(draw_fault(c, q->number), c, &content, r);
        str_release(&content);
        if (!r->status && r->how == HTTP_WHOLE)
            c->n_answered++;
    }
    json_decref(root);
}
