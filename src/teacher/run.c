/* Asking many questions at once, each answer journalled before it is used.
 *
 * One turn of the loop:
 *   fill     questions into free slots; those that the journal answers are taken at once
 *   begin    what there is room for: calls written in one transaction, committed, then sent
 *   step     the network
 *   settle   all that is done: answers written in one transaction, and in the same one the calls of as many questions that were
 *            held ready; committed; those are sent, then the answers are taken
 * A commit waits for the disk, and settling commits for both sides at once: once all is under way, begin finds nothing to do.
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

enum { DRAIN_S = 15, STEP_MS = 100 };

/* ---- slots ---- */

void slot_free(struct slot *s) {
    s->state = SLOT_FREE;
    arena_reset(&s->arena);
    s->followers = NULL;
    s->call = 0;
    s->bad_answers = 0;
}

struct slot *slot_in(struct teacher *t, enum slot_state state) {
    for (int i = 0; i < t->n_slots; i++)
        if (t->slots[i].state == state)
            return &t->slots[i];
    return NULL;
}

int slots_busy(const struct teacher *t) {
    int n = 0;
    for (int i = 0; i < t->n_slots; i++)
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

/* ---- fill ---- */

static struct slot *under_way(struct teacher *t, const char *key) {
    for (int i = 0; i < t->n_slots; i++)
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
    *out = settle_answer_of(c->id, &r, true);
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
        rc = calls_begin_ready(t, e);
    if (rc >= 0)
        rc = teacher_check_servers(t, e);
    if (rc >= 0)
        rc = teacher_step(t, STEP_MS, e);
    if (rc >= 0)
        rc = settle_done(t, job, e);
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
        if (teacher_step(t, STEP_MS, &e) < 0 || settle_done(t, job, &e) < 0)
            break;
        if (t->stop.code != ERR_INTERRUPTED && interrupt_requested())
            break;
    }
    teacher_abort(t);
    struct err ignored = {0};
    settle_done(t, job, &ignored);
    for (int i = 0; i < t->n_slots; i++)
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
            teacher_stop(t, &why);
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
