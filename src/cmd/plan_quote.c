/* The plan's part of the teacher: what generate will quote, before a teacher is opened. */
#include "base/file.h"
#include "base/log.h"
#include "cmd/manifest.h"
#include "cmd/plan_show.h"
#include "cmd/teaching.h"
#include "synth/generate.h"
#include <string.h>

static void fill(struct predict_teacher *out, const struct generate_quote *q, const char *basis,
                 const char *cost, const char *time) {
    double calls = (double)q->calls, tokens = (double)(q->tokens_in + q->tokens_out);
    *out = (struct predict_teacher){.calls = {calls, calls / 2, (double)q->calls_high, basis},
                                    .tokens = {tokens, tokens / 2, 2 * tokens, basis},
                                    .money = {q->money, q->money / 2, q->money_high, cost},
                                    .seconds = {q->seconds, q->seconds_low, q->seconds_high, time}};
}

/* Own rows are records before anything is asked; until `generate` took them in, they are not in the store. */
static int quote(struct planning *p, const struct teacher_traits *t, struct store *s, struct err *e) {
    struct arena *a = &p->project.arena;
    struct generate_quote q;
    struct generate_options o = {.n_records = p->input.n_records, .seed = p->project.seed};
    const char *manifest = project_path(&p->project, MANIFEST_GENERATE);
    if (manifest && !file_exists(manifest))
        o.n_records -= p->n_own;
    if (o.n_records <= 0)
        return 0;
    int code = generate_foresee(t, s, &p->task, &o, &q, e);
    if (code < 0)
        return code;
    const char *basis = arena_printf(
        a, "%lld records that are missing, 4 a call, each labelled by itself, and what is rejected",
        (long long)q.missing);
    const char *cost =
        t->runs_here ? "this teacher costs nothing"
        : !t->price.known
            ? "the teacher's price is not known: state it with --price-in and --price-out"
            : arena_printf(a, "%.2f and %.2f US dollars per million tokens read and written (%s)",
                           t->price.in, t->price.out, t->price.source);
    if (!basis || !cost)
        return err_set(e, ERR_NO_MEMORY, "plan", "out of memory");
    fill(&p->teacher, &q, basis, cost, q.basis);
    p->input.teacher = &p->teacher;
    return 0;
}

int plan_quote(struct cmd_ctx *c, struct planning *p) {
    struct teacher_traits t;
    struct store *s = NULL;
    struct err *e = &c->err;
    if (str_equal(p->project.teacher.kind, "none"))
        return 0;
    const char *records = project_path(&p->project, PROJECT_RECORDS);
    int code = records && file_exists(records) ? store_open(&s, records, STORE_READ, e) : 0;
    if (code == 0)
        code = teaching_foresee(c, &p->project, s, &t);
    if (code == 0)
        code = quote(p, &t, s, e);
    else if (code == ERR_NOT_FOUND) { /* a plan for the device needs no teacher */
        log_warn("%s: what it will be asked for is not reckoned", e->message);
        err_clear(e);
        code = 0;
    }
    store_close(s);
    return code;
}
