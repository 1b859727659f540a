/* A question's call: its body, the money it holds back, its row in the journal, and its way out. */
#include "base/clock.h"
#include "teacher/grammar.h"
#include "teacher/internal.h"
#include <stdio.h>
#include <string.h>

#define ORIGIN "teacher_run"

void teacher_stop(struct teacher *t, const struct err *why) {
    if (!t->stop.code)
        t->stop = *why;
}

/* llama-server's own grammar of a schema leaves out the bounds of a number that is not whole, and how many decimals it has: of
 * 200 records with a ph value from 6.00 to 9.00 and a chlorine from 0.00 to 5.00 it let 115 others break their ranges. The
 * embedded teacher's server takes ours. */
static int make_grammar(const struct slot *s, struct str *out, struct err *e) {
    const struct teacher *t = s->teacher;
    if (t->n_servers == 0 || s->request.schema.len == 0)
        return 0;
    int rc = grammar_from_schema(str_text(&s->request.schema), out, e);
    return rc < 0 ? err_context(e, "the schema of a question (%s)", s->request.schema_name) : 0;
}

static int make_body(struct slot *s, struct err *e) {
    struct teacher *t = s->teacher;
    struct str grammar = {0};
    int rc = make_grammar(s, &grammar, e);
    struct chat_question q = {.model = t->config.model,
                              .system = str_text(&s->request.system),
                              .user = str_text(&s->request.user),
                              .schema_name = s->request.schema_name,
                              .schema = str_text(&s->request.schema),
                              .grammar = grammar.len ? grammar.data : NULL,
                              .temperature = s->temperature,
                              .seed = s->seed,
                              .max_tokens = s->request.max_tokens,
                              .logprobs = s->logprobs,
                              .no_thinking = t->config.no_thinking};
    str_clear(&s->body);
    s->caps_version = t->caps_version;
    if (rc == 0)
        rc = chat_request(&t->caps, &q, &s->body, e);
    str_release(&grammar);
    return rc;
}

/* ---- money ---- */

static void reserve(struct slot *s) {
    struct teacher *t = s->teacher;
    s->reserved.tokens_in = (int64_t)s->body.len;
    s->reserved.tokens_out = s->request.max_tokens;
    s->reserved.money = teacher_cost(t, s->reserved.tokens_in, s->reserved.tokens_out);
}

static bool affordable(const struct slot *s) {
    const struct teacher *t = s->teacher;
    return !t->config.has_budget || t->spent + t->reserved + s->reserved.money <= t->config.budget;
}

static int budget_reached(const struct teacher *t, struct err *e) {
    err_set(e, ERR_BUDGET, ORIGIN,
            "the next request might pass the budget of $%.2f ($%.4f are spent or in doubt)", t->config.budget,
            t->spent);
    return err_hint(e,
                    "what was paid for is kept; run the same command again with a higher --budget to go on");
}

/* ---- the journal ---- */

static int call_begin(struct slot *s, struct err *e) {
    struct teacher *t = s->teacher;
    struct store_call c = {.key = s->key,
                           .purpose = s->purpose,
                           .teacher = t->name,
                           .cell = s->cell,
                           .request = s->body.data,
                           .reserved = s->reserved,
                           .sent_unix_ms = clock_unix_ms()};
    int rc = store_call_begin(t->store, &c, &s->call, e);
    if (rc == 0)
        t->reserved += s->reserved.money;
    return rc;
}

/* Ends the slot's call. `used` counts for answered and failed calls; one in doubt keeps its reservation as spent. */
int calls_end(struct slot *s, enum store_call_state state, const struct net_answer *a, const char *problem,
              const struct store_usage *used, struct err *e) {
    struct teacher *t = s->teacher;
    struct store_call c = {.id = s->call,
                           .state = state,
                           .http_status = a->status,
                           .response = a->body_len ? a->body : NULL,
                           .problem = problem && *problem ? problem : NULL,
                           .used = *used,
                           .seconds = a->seconds};
    int rc = store_call_end(t->store, &c, e);
    if (rc == 0) {
        t->reserved -= s->reserved.money;
        t->spent += state == STORE_CALL_DOUBT ? s->reserved.money : used->money;
    }
    return rc;
}

/* One line on what went wrong, with what the server said. */
void calls_add_failure(const struct teacher *t, const struct net_answer *a, struct str *out) {
    struct str said = {0};
    if (a->body_len)
        chat_error_text(a->body, a->body_len, &said);
    str_addf(out, "%s%s%s", a->problem, said.len ? ": " : "", str_text(&said));
    teacher_redact(t, out);
    str_release(&said);
}

/* A failed attempt is about to be repeated: its row ends, the next one's is written. */
static int before_again(void *context, const struct net_answer *last) {
    struct slot *s = context;
    struct teacher *t = s->teacher;
    struct err e = {0};
    int rc = t->stop.code ? ERR_INTERRUPTED : store_begin(t->store, &e);
    if (rc == 0) {
        enum store_call_state state = last->maybe_received ? STORE_CALL_DOUBT : STORE_CALL_FAILED;
        struct net_answer without = *last; /* an error page is not worth keeping whole */
        struct str said = {0};
        without.body_len = 0;
        calls_add_failure(t, last, &said);
        rc = calls_end(s, state, &without, str_text(&said), &(struct store_usage){0}, &e);
        str_release(&said);
        s->call = 0;
        if (rc == 0 && !affordable(s))
            rc = budget_reached(t, &e);
        if (rc == 0)
            rc = call_begin(s, &e);
        int kept = rc == 0 || rc == ERR_BUDGET ? store_commit(t->store, &e) : rc;
        if (kept < 0) {
            store_rollback(t->store);
            rc = kept;
        }
    }
    if (rc < 0 && e.code)
        teacher_stop(t, &e);
    return rc;
}

static void take_outcome(void *context, const struct net_answer *a) {
    struct slot *s = context;
    str_clear(&s->answer);
    str_add_bytes(&s->answer, a->body, a->body_len);
    teacher_redact(s->teacher, &s->answer);
    snprintf(s->problem, sizeof s->problem, "%s", a->problem);
    s->outcome = *a;
    s->outcome.body = str_text(&s->answer);
    s->outcome.body_len = s->answer.len;
    s->outcome.problem = s->problem;
    s->state = SLOT_DONE;
}

/* ---- begin ---- */

static int under_way(const struct teacher *t) {
    int n = 0;
    for (int i = 0; i < t->n_slots; i++)
        n += t->slots[i].state == SLOT_BEGUN || t->slots[i].state == SLOT_SENT;
    return n;
}

/* Inside a transaction: journals the slots that are ready and affordable, as far as there is room. One that is not affordable waits
 * until what is under way has settled for less than its reservation. Returns how many, or a negative code. */
static int begin_rows(struct teacher *t, struct err *e) {
    int rc = 0, n = 0, room = t->parallel - under_way(t);
    for (int i = 0; i < t->n_slots && n < room && rc == 0; i++) {
        struct slot *s = &t->slots[i];
        if (s->state != SLOT_READY)
            continue;
        rc = make_body(s, e);
        if (rc == 0)
            reserve(s);
        if (rc < 0 || !affordable(s))
            continue;
        rc = call_begin(s, e);
        if (rc == 0)
            s->state = SLOT_BEGUN;
        n++;
    }
    return rc < 0 ? rc : n;
}

int calls_commit(struct teacher *t, struct err *e) {
    int n = t->stop.code ? 0 : begin_rows(t, e);
    int rc = n < 0 ? n : store_commit(t->store, e);
    if (rc < 0) {
        store_rollback(t->store);
        return rc;
    }
    for (struct slot *s; (s = slot_in(t, SLOT_BEGUN));) {
        if ((rc = teacher_send(s, &(struct teacher_way){before_again, take_outcome}, e)) < 0)
            return rc;
        s->state = SLOT_SENT;
    }
    return n;
}

int calls_begin_ready(struct teacher *t, struct err *e) {
    if (t->stop.code || !slot_in(t, SLOT_READY) || under_way(t) >= t->parallel)
        return 0;
    int rc = teacher_connect(t, slots_busy(t), e);
    if (rc == 0)
        rc = store_begin(t->store, e);
    if (rc == 0)
        rc = calls_commit(t, e);
    if (rc < 0)
        return rc;
    return rc == 0 && teacher_under_way(t) == 0 ? budget_reached(t, e)
                                                : 0; /* not even one could be afforded */
}
