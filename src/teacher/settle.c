/* What came of the questions that were sent: answers, answers that cannot be read, and failures. */
#include "teacher/internal.h"
#include <string.h>

#define ORIGIN "teacher_run"

enum { BAD_ANSWERS_MAX = 3 };

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
    int rc = calls_end(s, STORE_CALL_FAILED, &s->outcome, fault->message, &s->reserved, e);
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
    teacher_stop(s->teacher, &why);
    slot_free(s);
    return 0;
}

static int settle_answer(struct slot *s, struct err *e) {
    struct err fault = {0};
    int rc = chat_reply_read(s->outcome.body, s->outcome.body_len, &s->arena, &s->reply, &fault);
    if (rc < 0)
        return settle_bad(s, &fault, e);
    struct store_usage used = usage_of(s, &s->reply);
    return calls_end(s, STORE_CALL_ANSWERED, &s->outcome, s->reply.truncated ? "truncated" : NULL, &used, e);
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
        calls_add_failure(t, a, &said);
        struct net_answer without = *a;
        without.body_len = 0;
        rc = calls_end(s, a->maybe_received ? STORE_CALL_DOUBT : STORE_CALL_FAILED, &without, str_text(&said),
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
        teacher_stop(t, &why);
    }
    slot_free(s);
    return rc;
}

struct teacher_answer settle_answer_of(int64_t call, const struct chat_reply *r, bool from_journal) {
    return (struct teacher_answer){.call = call,
                                   .content = r->content,
                                   .thoughts = r->thoughts,
                                   .truncated = r->truncated,
                                   .refused = r->refused,
                                   .labels = r->labels,
                                   .n_labels = r->n_labels,
                                   .from_journal = from_journal};
}

static int deliver(const struct teacher_job *job, const struct slot *s, struct err *e) {
    struct teacher_answer a = settle_answer_of(s->call, &s->reply, false);
    int rc = job->take(job->context, s->tag, &a, e);
    a.from_journal = true;
    for (const struct follower *f = s->followers; f && rc >= 0; f = f->next)
        rc = job->take(job->context, f->tag, &a, e);
    return rc < 0 ? rc : 0;
}

int settle_done(struct teacher *t, const struct teacher_job *job, struct err *e) {
    if (!slot_in(t, SLOT_DONE))
        return 0;
    int rc = store_begin(t->store, e);
    for (int i = 0; i < t->n_slots && rc == 0; i++)
        if (t->slots[i].state == SLOT_DONE)
            rc = t->slots[i].outcome.code == 0 ? settle_answer(&t->slots[i], e)
                                               : settle_failure(&t->slots[i], e);
    if (rc < 0) {
        store_rollback(t->store);
        return rc;
    }
    rc = calls_commit(t, e);
    if (rc < 0)
        return rc;
    for (struct slot *s;
         (s = slot_in(t, SLOT_DONE));) { /* answered: whatever failed has another state by now */
        if (rc >= 0)                     /* after a failure the rest stays in the journal, for the next run */
            rc = deliver(job, s, e);
        slot_free(s);
    }
    return rc < 0 ? rc : 0;
}
