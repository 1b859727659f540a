/* The first question to an endpoint and model: small, journalled and paid for like any other, and asked with everything that an
 * endpoint may refuse or ignore. What is refused is given up on the way (chat_caps_degrade); what is taken and ignored shows in
 * the answer. */
#include "teacher/internal.h"
#include <string.h>

struct probing {
    struct teacher *teacher;
    struct protocol_request request;
    bool asked;
};

static int next_probe(void *context, struct teacher_question *q, struct err *e) {
    struct probing *p = context;
    (void)e;
    if (p->asked)
        return 0;
    p->asked = true;
    *q = (struct teacher_question){
        .purpose = "probe", .request = &p->request, .temperature = 1, .logprobs = true};
    return 1;
}

static int take_probe(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)tag;
    struct probing *p = context;
    struct teacher *t = p->teacher;
    struct store_call c;
    struct chat_reply r;
    struct arena arena;
    struct str line = {0};
    arena_init(&arena);
    int rc = store_call_get(t->store, a->call, &arena, &c, e);
    if (rc == 0)
        rc =
            chat_reply_read(c.response ? c.response : "", c.response ? strlen(c.response) : 0, &arena, &r, e);
    if (rc == 0) {
        chat_caps_learn(&t->caps, &r, &line);
        rc = teacher_keep_caps(t, e);
    }
    if (rc == 0 && line.len)
        teacher_say(t, "%s: %s", t->name, line.data);
    str_release(&line);
    arena_release(&arena);
    return rc;
}

int teacher_probe(struct teacher *t, struct err *e) {
    if (!t->config.probe || t->caps.probed || teacher_is_embedded(t))
        return 0;
    struct probing p = {.teacher = t};
    struct protocol_request *r = &p.request;
    str_add(&r->system, "Answer in JSON.");
    str_add(&r->user, "Is 2 more than 1? Answer {\"answer\":\"yes\"} or {\"answer\":\"no\"}.");
    str_add(&r->schema, CHAT_PROBE_SCHEMA);
    r->schema_name = "probe";
    r->max_tokens = 64 + (t->style == PROTOCOL_FULL ? 8192 : 0); /* thoughts count */
    int rc = str_check(&r->schema, e);
    if (rc == 0)
        rc = teacher_ask(t, &(struct teacher_job){next_probe, take_probe, &p}, e);
    protocol_release(r);
    return rc;
}
