/* Asking many questions at once, each answer journalled before it is used.
 *
 * One turn of the loop:
 *   fill     questions into free slots; those that the journal answers are taken at once
 *   begin    all new slots: their calls written in one transaction, committed, then sent
 *   step     the network
 *   settle   all that is done: answers written in one transaction, committed, then taken
 *
 * Invariants: a slot's call is in the journal as `sent` from before its bytes leave until its outcome is committed. Money:
 * spent + reserved never passes the budget, where reserved is an upper bound (a token is at least a byte of the request, and
 * max_tokens bounds the answer). After the first fatal error (t->stop) nothing new is begun, what is under way may end. */
#include "base/clock.h"
#include "base/interrupt.h"
#include "teacher/internal.h"
#include <stdio.h>
#include <string.h>

#define ORIGIN "teacher_run"

enum { BAD_ANSWERS_MAX = 3, DRAIN_S = 15, STEP_MS = 100 };

/* Why the run ends: the first reason stays. */
static void stop_run(struct teacher *t, const struct err *why) {
    if (!t->stop.code)
        t->stop = *why;
}

/* ---- slots ---- */

static void slot_free(struct slot *s) {
    s->state = SLOT_FREE;
    arena_reset(&s->arena);
    s->followers = NULL;
    s->call = 0;
    s->bad_answers = 0;
}

static struct slot *slot_in(struct teacher *t, enum slot_state state) {
    for (int i = 0; i < t->parallel; i++)
        if (t->slots[i].state == state)
            return &t->slots[i];
    return NULL;
}

static int slots_busy(const struct teacher *t) {
    int n = 0;
    for (int i = 0; i < t->parallel; i++)
        n += t->slots[i].state != SLOT_FREE;
    return n;
}

static void copy_str(struct str *to, const struct str *from) {
    str_clear(to);
    str_add_bytes(to, str_text(from), from->len);
}

static void question_key(const struct teacher *t, const struct teacher_question *q, char key[SHA256_HEX]) {
    char numbers[96];
    bool scored =
        teacher_scores(t) && q->request->labels; /* else answers from before there was scoring would do */
    snprintf(numbers, sizeof numbers, "%.6g %llu %lld%s", q->temperature, (unsigned long long)q->seed,
             (long long)q->repeat, scored ? " scored" : "");
    struct sha256 *h = sha256_new();
    const char *const parts[] = {
        "edgestill.call/1",          q->purpose, t->name, str_text(&q->request->system),
        str_text(&q->request->user), numbers};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        sha256_add_text(h, parts[i]);
    sha256_finish(h, key);
}

static int slot_fill(struct slot *s, const struct teacher_question *q, const char *key, struct err *e) {
    s->purpose = arena_strdup(&s->arena, q->purpose);
    s->cell = arena_strdup(&s->arena, q->cell);
    copy_str(&s->request.system, &q->request->system);
    copy_str(&s->request.user, &q->request->user);
    copy_str(&s->request.schema, &q->request->schema);
    s->request.schema_name = q->request->schema_name;
    s->request.max_tokens = q->request->max_tokens;
    s->request.labels = q->request->labels;
    s->request.n_labels = q->request->n_labels;
    s->temperature = q->temperature;
    s->seed = q->seed;
    s->logprobs = q->logprobs;
    s->tag = q->tag;
    memcpy(s->key, key, SHA256_HEX);
    if (!s->purpose || (q->cell && !s->cell) || s->request.system.failed || s->request.user.failed ||
        s->request.schema.failed)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    s->state = SLOT_READY;
    return 0;
}

static int make_body(struct slot *s, struct err *e) {
    struct teacher *t = s->teacher;
    struct chat_question q = {.model = t->config.model,
                              .system = str_text(&s->request.system),
                              .user = str_text(&s->request.user),
                              .schema_name = s->request.schema_name,
                              .schema = str_text(&s->request.schema),
                              .temperature = s->temperature,
                              .seed = s->seed,
                              .max_tokens = s->request.max_tokens,
                              .logprobs = s->logprobs,
                              .no_thinking = t->config.no_thinking};
    str_clear(&s->body);
    s->caps_version = t->caps_version;
    return chat_request(&t->caps, &q, &s->body, e);
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
static int call_end(struct slot *s, enum store_call_state state, const struct net_answer *a,
                    const char *problem, const struct store_usage *used, struct err *e) {
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
static void add_failure(const struct teacher *t, const struct net_answer *a, struct str *out) {
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
        add_failure(t, last, &said);
        rc = call_end(s, state, &without, str_text(&said), &(struct store_usage){0}, &e);
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
        stop_run(t, &e);
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

/* Journals and sends all slots that are ready and affordable. One that is not waits until what is under way has settled for
 * less than its reservation; when nothing is under way, the budget is reached. */
static int begin_slots(struct teacher *t, struct err *e) {
    if (t->stop.code || !slot_in(t, SLOT_READY))
        return 0;
    int rc = teacher_connect(t, slots_busy(t), e), n = 0;
    if (rc == 0)
        rc = store_begin(t->store, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < t->parallel && rc == 0; i++) {
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
    if (rc == 0)
        rc = store_commit(t->store, e);
    if (rc < 0) {
        store_rollback(t->store);
        return rc;
    }
    for (struct slot *s; (s = slot_in(t, SLOT_BEGUN));) {
        if ((rc = teacher_send(s, &(struct teacher_way){before_again, take_outcome}, e)) < 0)
            return rc;
        s->state = SLOT_SENT;
    }
    return n == 0 && teacher_under_way(t) == 0 ? budget_reached(t, e) : 0;
}

/* ---- settle ---- */

static int64_t tokens_guess(size_t bytes) {
    return (int64_t)(bytes / 4 + 1);
}

static struct store_usage usage_of(const struct slot *s, const struct chat_reply *r) {
    struct store_usage u = {r->tokens_in, r->tokens_out, 0};
    if (!r->has_usage) {
        u.tokens_in = tokens_guess(s->body.len);
        u.tokens_out = tokens_guess(strlen(r->content) + (r->thoughts ? strlen(r->thoughts) : 0));
    }
    u.money = teacher_cost(s->teacher, u.tokens_in, u.tokens_out);
    return u;
}

/* An answer arrived that is no chat completion: paid for, as far as one can know, and of no use. */
static int settle_bad(struct slot *s, const struct err *fault, struct err *e) {
    int rc = call_end(s, STORE_CALL_FAILED, &s->outcome, fault->message, &s->reserved, e);
    if (rc < 0)
        return rc;
    if (++s->bad_answers < BAD_ANSWERS_MAX) {
        s->state = SLOT_READY;
        return 0;
    }
    struct err why = {0};
    err_set(&why, ERR_TEACHER, ORIGIN, "%s: %d answers in a row cannot be read: %s", s->teacher->name,
            s->bad_answers, fault->message);
    err_hint(&why, "is %s an OpenAI-compatible chat endpoint?", s->teacher->chat_url[0]);
    stop_run(s->teacher, &why);
    slot_free(s);
    return 0;
}

static int settle_answer(struct slot *s, struct err *e) {
    struct chat_reply r;
    struct err fault = {0};
    int rc = chat_reply_read(s->outcome.body, s->outcome.body_len, &s->arena, &r, &fault);
    if (rc < 0)
        return settle_bad(s, &fault, e);
    struct store_usage used = usage_of(s, &r);
    return call_end(s, STORE_CALL_ANSWERED, &s->outcome, r.truncated ? "truncated" : NULL, &used, e);
}

/* The endpoint refused the form of a request: true when it can be asked again in a plainer one. */
static bool plainer(struct slot *s, struct err *e) {
    struct teacher *t = s->teacher;
    if (s->outcome.status != 400 && s->outcome.status != 422)
        return false;
    if (s->caps_version < t->caps_version) /* refused in a form that was given up meanwhile */
        return true;
    struct str line = {0};
    bool changed = chat_caps_degrade(&t->caps, s->outcome.body, s->request.schema.len > 0, &line);
    if (changed) {
        t->caps_version++;
        teacher_say(t, "%s refuses a part of the request: %s", t->name, str_text(&line));
        changed = teacher_keep_caps(t, e) == 0;
    }
    str_release(&line);
    return changed;
}

static void explain(const struct slot *s, struct err *why) {
    const struct teacher *t = s->teacher;
    const struct net_answer *a = &s->outcome;
    struct str said = {0};
    if (a->body_len)
        chat_error_text(a->body, a->body_len, &said);
    const char *gap = said.len ? ": " : "";
    if (a->code == ERR_AUTH) {
        err_set(why, ERR_AUTH, ORIGIN, "%s refuses the key (HTTP %d)%s%s", t->name, a->status, gap,
                str_text(&said));
        err_hint(why, "%s%s",
                 t->config.key_env ? "check the environment variable "
                                   : "check teacher: key_env in edgestill.yaml",
                 t->config.key_env ? t->config.key_env : "");
    } else if (a->status) {
        err_set(why, a->code, ORIGIN, "%s answers HTTP %d after %d attempts%s%s", t->name, a->status,
                a->attempts, gap, str_text(&said));
        err_hint(why, a->status == 404 ? "check teacher: url and model in edgestill.yaml"
                      : a->status == 429
                          ? "wait, or ask less at once with --parallel; run the same command again to go on"
                          : "run the same command again to go on");
    } else if (t->local) {
        err_set(why, a->code, ORIGIN, "%s cannot answer: %s", t->name, a->problem);
        err_hint(why, "run the same command again to go on: nothing that was answered is lost");
    } else {
        err_set(why, a->code, ORIGIN, "no answer from %s after %d attempts: %s", t->name, a->attempts,
                a->problem);
        err_hint(
            why,
            "is the teacher running? run the same command again to go on: nothing that was answered is lost");
    }
    str_release(&said);
}

static int settle_failure(struct slot *s, struct err *e) {
    struct teacher *t = s->teacher;
    const struct net_answer *a = &s->outcome;
    int rc = 0;
    if (s->call) { /* 0: its row has ended already (before_again) */
        struct str said = {0};
        add_failure(t, a, &said);
        struct net_answer without = *a;
        without.body_len = 0;
        rc = call_end(s, a->maybe_received ? STORE_CALL_DOUBT : STORE_CALL_FAILED, &without, str_text(&said),
                      &(struct store_usage){0}, e);
        str_release(&said);
    }
    if (rc == 0 && a->code == ERR_INPUT && plainer(s, e)) {
        s->state = SLOT_READY;
        return 0;
    }
    if (!t->stop.code) {
        struct err why = {0};
        if (teacher_check_servers(t, &why) == 0)
            explain(s, &why);
        stop_run(t, &why);
    }
    slot_free(s);
    return rc;
}

static int deliver(const struct teacher_job *job, struct slot *s, struct err *e) {
    struct chat_reply r;
    int rc = chat_reply_read(s->outcome.body, s->outcome.body_len, &s->arena, &r, e);
    if (rc < 0)
        return rc;
    struct teacher_answer a = {.call = s->call,
                               .content = r.content,
                               .thoughts = r.thoughts,
                               .truncated = r.truncated,
                               .refused = r.refused,
                               .labels = r.labels,
                               .n_labels = r.n_labels};
    rc = job->take(job->context, s->tag, &a, e);
    a.from_journal = true;
    for (const struct follower *f = s->followers; f && rc >= 0; f = f->next)
        rc = job->take(job->context, f->tag, &a, e);
    return rc < 0 ? rc : 0;
}

static int settle(struct teacher *t, const struct teacher_job *job, struct err *e) {
    if (!slot_in(t, SLOT_DONE))
        return 0;
    int rc = store_begin(t->store, e);
    for (int i = 0; i < t->parallel && rc == 0; i++)
        if (t->slots[i].state == SLOT_DONE)
            rc = t->slots[i].outcome.code == 0 ? settle_answer(&t->slots[i], e)
                                               : settle_failure(&t->slots[i], e);
    if (rc == 0)
        rc = store_commit(t->store, e);
    if (rc < 0) {
        store_rollback(t->store);
        return rc;
    }
    for (struct slot *s;
         (s = slot_in(t, SLOT_DONE));) { /* answered: whatever failed has another state by now */
        if (rc == 0)                     /* after a failure the rest stays in the journal, for the next run */
            rc = deliver(job, s, e);
        slot_free(s);
    }
    return rc;
}

/* ---- fill ---- */

static struct slot *under_way(struct teacher *t, const char *key) {
    for (int i = 0; i < t->parallel; i++)
        if (t->slots[i].state != SLOT_FREE && memcmp(t->slots[i].key, key, SHA256_HEX) == 0)
            return &t->slots[i];
    return NULL;
}

static int follow(struct slot *s, int64_t tag, struct err *e) {
    struct follower *f = arena_alloc(&s->arena, sizeof *f);
    if (!f)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    *f = (struct follower){.tag = tag, .next = s->followers};
    s->followers = f;
    return 0;
}

static int from_call(const struct store_call *c, struct arena *a, struct teacher_answer *out, struct err *e) {
    struct chat_reply r;
    int rc = chat_reply_read(c->response ? c->response : "", c->response ? strlen(c->response) : 0, a, &r, e);
    if (rc < 0)
        return err_context(e, "journal row %lld", (long long)c->id);
    *out = (struct teacher_answer){.call = c->id,
                                   .content = r.content,
                                   .thoughts = r.thoughts,
                                   .truncated = r.truncated,
                                   .refused = r.refused,
                                   .labels = r.labels,
                                   .n_labels = r.n_labels,
                                   .from_journal = true};
    return 0;
}

/* 1: the journal answered; 0: it has no answer. */
static int try_journal(struct teacher *t, const struct teacher_job *job, const char *key, int64_t tag,
                       struct err *e) {
    struct arena a;
    arena_init(&a);
    struct store_call c;
    bool found = false;
    int rc = store_call_find(t->store, key, &a, &c, &found, e);
    struct teacher_answer answer;
    if (rc == 0 && found)
        rc = from_call(&c, &a, &answer, e);
    if (rc == 0 && found)
        rc = job->take(job->context, tag, &answer, e);
    arena_release(&a);
    return rc < 0 ? rc : found;
}

/* 1: there may be more questions; 0: there are no more. */
static int fill(struct teacher *t, const struct teacher_job *job, struct err *e) {
    for (struct slot *s; (s = slot_in(t, SLOT_FREE));) {
        struct teacher_question q = {0};
        char key[SHA256_HEX];
        int rc = interrupt_check(e);
        if (rc == 0)
            rc = job->next(job->context, &q, e);
        if (rc <= 0)
            return rc;
        question_key(t, &q, key);
        struct slot *same = under_way(t, key);
        rc = same ? follow(same, q.tag, e) : try_journal(t, job, key, q.tag, e);
        if (rc == 0 && !same)
            rc = slot_fill(s, &q, key, e);
        if (rc < 0)
            return rc;
    }
    return 1;
}

/* ---- the run ---- */

static int turn(struct teacher *t, const struct teacher_job *job, bool *more, struct err *e) {
    int rc = 0;
    if (*more && !t->stop.code) {
        rc = fill(t, job, e);
        *more = rc == 1;
    }
    if (rc >= 0)
        rc = begin_slots(t, e);
    if (rc >= 0)
        rc = teacher_check_servers(t, e);
    if (rc >= 0)
        rc = teacher_step(t, STEP_MS, e);
    if (rc >= 0)
        rc = settle(t, job, e);
    return rc >= 0 ? interrupt_check(e) : rc;
}

/* Lets what is under way end: it is paid for. What runs on this machine costs nothing, so it is not waited for. */
static void wind_down(struct teacher *t, const struct teacher_job *job) {
    bool paid = !teacher_is_embedded(t);
    double end_s = clock_seconds() + (paid ? DRAIN_S : 0);
    teacher_drain(t);
    if (paid && teacher_under_way(t) > 0)
        teacher_say(t, "waiting for %d answers that are under way", teacher_under_way(t));
    while (teacher_under_way(t) > 0 && clock_seconds() < end_s) {
        struct err e = {0};
        if (teacher_step(t, STEP_MS, &e) < 0 || settle(t, job, &e) < 0)
            break;
        if (t->stop.code != ERR_INTERRUPTED && interrupt_requested())
            break;
    }
    teacher_abort(t);
    struct err ignored = {0};
    settle(t, job, &ignored);
    for (int i = 0; i < t->parallel; i++)
        slot_free(&t->slots[i]);
}

int teacher_run(struct teacher *t, const struct teacher_job *job, struct err *e) {
    int rc = teacher_probe(t, e);
    return rc == 0 ? teacher_ask(t, job, e) : rc;
}

int teacher_ask(struct teacher *t, const struct teacher_job *job, struct err *e) {
    bool more = true;
    t->stop = (struct err){0};
    while (!t->stop.code && (more || slots_busy(t) > 0)) {
        struct err why = {0};
        if (turn(t, job, &more, &why) < 0)
            stop_run(t, &why);
    }
    if (!t->stop.code)
        return 0;
    wind_down(t, job);
    err_set(e, t->stop.code, t->stop.origin, "%s", t->stop.message);
    if (t->stop.hint[0])
        err_hint(e, "%s", t->stop.hint);
    return t->stop.code;
}

int teacher_recall(struct store *s, int64_t call, struct arena *a, struct teacher_answer *out,
                   struct err *e) {
    struct store_call c;
    int rc = store_call_get(s, call, a, &c, e);
    return rc < 0 ? rc : from_call(&c, a, out, e);
}
