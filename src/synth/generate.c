/* Waves of writing, checking and labelling.
 *
 *   load ──▶ restore spares ──▶ plan ──▶ WRITE ──▶ ingest ──▶ LABEL ──▶ judge ──▶ load …
 *                                 │ nothing missing
 *                                 ▼
 *                               splits
 * WRITE and ingest are in generate_write.c, LABEL and judge in generate_label.c. load reads the grid's state from the store. Each
 * arrow ends in a commit; a run that begins with pending records (an earlier one ended between ingest and judge) labels those first. */
#include "synth/cross.h"
#include "synth/generate_internal.h"
#include "synth/state.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "generate_run"

enum { PER_CALL = 4, SATURATED_OF = 64 };
/* A wave of which a smaller share is new is the last one. */
static const double LEAST_NEW = 0.05;
/* Crossed records among those wanted; not all of them: what the teacher writes by itself is nearer to what will come. */
static const double CROSSED_SHARE = 0.6;
/* Records of a label are crossed in place of written ones when a question brings so many times as many. */
static const double AIM_ADVANTAGE = 2;

void generate_report_release(struct generate_report *r) {
    grid_release(&r->grid);
}

/* ---- similar: everything that is kept ---- */

/* Own test rows are what generated records must not repeat, like held-out ones. */
static bool is_own_test(const struct store_record *r) {
    return r->split == STORE_TEST && str_equal(r->source, "own");
}

static int remember(void *context, const struct store_record *r, struct err *e) {
    struct generation *g = context;
    if (r->status == STORE_REJECTED)
        return 0;
    struct arena a;
    struct record record;
    arena_init(&a);
    int rc = state_record(g->task, &a, r->data, &record, e);
    if (rc == 0)
        rc = similar_add(g->similar, &record, is_own_test(r), e);
    arena_release(&a);
    return rc;
}

static int build_similar(struct generation *g, struct err *e) {
    int rc = similar_new(&g->similar, g->task, e);
    for (int64_t i = 0; g->o.held_out && i < g->o.held_out->n && rc == 0; i++)
        rc = similar_add(g->similar, &g->o.held_out->records[i], true, e);
    return rc == 0 ? store_status_each(g->store, STORE_ALL_STATUSES, remember, g, e) : rc;
}

void generation_show(struct generation *g) {
    if (g->progress)
        progress_update(g->progress, ++g->done);
}

/* ---- waves ---- */

/* Answers to expect from here on, for the time left. */
static void foresee(struct generation *g) {
    if (!g->progress)
        return;
    double labels = 0, pending = 0, unwritten = 0;
    int64_t missing = 0, wanted = 0;
    for (int i = 0; i < g->grid->n_labels; i++) {
        double missing_i = (double)grid_missing(g->grid, i), aimed = g->aimed_yield[i];
        labels += missing_i / (aimed > 0 ? aimed : grid_yield(g->grid, i));
        unwritten -= aimed > 0 ? missing_i / aimed : 0;
        missing += grid_missing(g->grid, i);
        wanted += g->grid->labels[i].quota;
    }
    for (int i = 0; i < g->grid->n_cells; i++)
        pending += (double)g->grid->cells[i].pending;
    unwritten = fmax(unwritten + labels - pending, 0);
    g->progress->total = g->done + (int64_t)(unwritten / g->o.per_call + labels * g->o.votes + 0.5);
    progress_note(g->progress, "%lld of %lld records", (long long)(wanted - missing), (long long)wanted);
    progress_update(g->progress, g->done);
}

/* The first answers show whether the teacher can do it at all: better to stop there than to pay for a thousand of them. */
static int check_first(struct generation *g, struct err *e) {
    int64_t accepted = 0, written = 0;
    for (int i = 0; i < g->grid->n_labels; i++)
        accepted += g->grid->labels[i].accepted;
    for (int i = 0; i < g->grid->n_cells; i++)
        written += g->grid->cells[i].written;
    if (accepted > 0 || written < 16)
        return 0;
    err_set(e, ERR_TEACHER, ORIGIN, "none of the first %lld records that %s wrote can be used",
            (long long)written, teacher_name(g->teacher));
    return err_hint(e, "is the task what was meant (task.yaml)? perhaps another teacher knows it better");
}

static int stuck(struct generation *g, int label, struct err *e) {
    const struct grid *grid = g->grid;
    int64_t least = grid->labels[0].accepted, written = 0, dry = 0;
    for (int i = 0; i < grid->n_labels; i++)
        least = grid->labels[i].accepted < least ? grid->labels[i].accepted : least;
    for (int i = 0; i < grid->n_cells; i++)
        if (grid->cells[i].label == label) {
            written += grid->cells[i].written;
            dry += grid->cells[i].dry;
        }
    err_set(e, ERR_TEACHER, ORIGIN,
            "label '%s' has %lld of %lld records and gets no more: of the %lld that %s wrote for it, the "
            "latest %lld were"
            " all copies, against the schema, or of another label",
            g->task->kind == TASK_CLASSIFY ? g->task->labels[label].name : "(any answer)",
            (long long)grid->labels[label].accepted, (long long)grid->labels[label].quota, (long long)written,
            teacher_name(g->teacher), (long long)dry);
    if (least > 0)
        return err_hint(e, "be content with --records %lld, or make the task's fields wider",
                        (long long)least * grid->n_labels);
    return err_hint(e, "does the task leave room for this label (task.yaml)?");
}

/* Paying on for copies of what is there helps nobody. */
static int check_saturation(const struct generation *g, struct err *e) {
    if (g->wave_written < SATURATED_OF || (double)g->wave_new >= LEAST_NEW * (double)g->wave_written)
        return 0;
    err_set(e, ERR_TEACHER, ORIGIN,
            "of the latest %lld records that %s wrote only %lld were not there already",
            (long long)g->wave_written, teacher_name(g->teacher), (long long)g->wave_new);
    return err_hint(e, "the task holds hardly more than what is there: be content with fewer (--records), or "
                       "make its fields wider");
}

/* A round that finds no more ends with what it has: it asked for more than the main set, and nothing waits for it. True when that
 * is what happened, and the quotas are now met. */
static bool end_round(struct generation *g, int rc, struct err *e) {
    struct grid *grid = g->grid;
    int64_t least = grid->labels[0].accepted, before = grid->labels[0].quota - g->round.each;
    for (int i = 1; i < grid->n_labels; i++)
        least = grid->labels[i].accepted < least ? grid->labels[i].accepted : least;
    struct err fault = {0};
    if (rc != ERR_TEACHER || g->n_rounds == 0 || least < before ||
        rounds_end(g->store, least - before, &fault) < 0)
        return false;
    g->round.each = least - before;
    for (int i = 0; i < grid->n_labels; i++)
        grid->labels[i].quota = least;
    if (e)
        err_clear(e);
    return true;
}

/* Once the first answers are in: corners that they do not reach. */
static int cross(struct generation *g, int64_t *added, struct err *e) {
    *added = 0;
    if (g->task->kind != TASK_CLASSIFY || generation_is_first(g->grid))
        return 0;
    int64_t main_set = (g->o.n_records + g->grid->n_labels - 1) / g->grid->n_labels * g->grid->n_labels;
    double share = CROSSED_SHARE * (1 - grid_pairs_share(g->grid));
    int64_t wanted = (int64_t)(share * (double)main_set); /* rounds come from where the errors are */
    g->wave_written = g->wave_new = 0;
    return cross_records(g->store, g->task, g->similar, wanted, g->o.seed, added, e);
}

/* Labels that are short: records from the corners that have held them, where a question brings more so than for written ones. */
static int aim(struct generation *g, int64_t *added, struct err *e) {
    *added = 0;
    int rc = 0;
    for (int label = 0; label < g->grid->n_labels && rc == 0 && g->o.aim && g->n_rounds == 0; label++) {
        int64_t missing = grid_missing(g->grid, label), n = 0;
        struct cross_aim a = {0};
        if (g->task->kind != TASK_CLASSIFY || generation_is_first(g->grid) || missing == 0)
            continue;
        rc = cross_aim(g->store, g->task, label, g->o.seed, &a, e);
        double write = (g->o.votes + 1.0 / g->o.per_call) / grid_yield(g->grid, label);
        bool better = rc == 0 && a.chance > 0 && g->o.votes / a.chance * AIM_ADVANTAGE < write;
        g->aimed_yield[label] = better && a.room > 0 ? a.chance : 0;
        if (better && a.room > 0)
            rc = cross_records_for(g->store, g->task, g->similar, label,
                                   (int64_t)fmin(ceil((double)missing / a.chance), (double)a.room), g->o.seed,
                                   &n, e);
        *added += n;
    }
    return rc;
}

static int waves(struct generation *g, struct generate_report *out, struct err *e) {
    for (;; out->n_waves++) {
        arena_reset(&g->arena);
        int rc =
            state_load(g->grid, g->task, g->store, e); /* quotas as they stand, pending ones not judged */
        foresee(g);
        if (rc == 0)
            rc = generation_label(g, e);
        if (rc == 0)
            rc = state_restore_spares(g->grid, g->task, g->store, e);
        if (rc == 0)
            rc = state_load(g->grid, g->task, g->store, e);
        foresee(g);
        if (rc < 0 || grid_missing_all(g->grid) == 0)
            return rc;
        grid_close_dry(g->grid);
        int label = grid_stuck_label(g->grid);
        rc = label >= 0 ? stuck(g, label, e) : check_first(g, e);
        if (rc == 0)
            rc = check_saturation(g, e);
        if (rc < 0 && end_round(g, rc, e))
            continue;
        if (rc == 0 && out->n_waves == 1 && g->o.first)
            g->o.first(g->o.first_context, g->grid);
        int64_t crossed = 0;
        if (rc == 0)
            rc = cross(g, &crossed, e);
        if (rc == 0 && crossed == 0)
            rc = aim(g, &crossed, e);
        if (rc == 0 && crossed == 0)
            rc = generation_write(g, e);
        out->wave_written = g->wave_written;
        out->wave_new = g->wave_new;
        if (rc < 0)
            return rc;
    }
}

int generate_run(struct teacher *t, struct store *s, const struct task *task,
                 const struct generate_options *o, struct progress *progress, struct generate_report *out,
                 struct err *e) {
    struct generation g = {
        .teacher = t, .store = s, .task = task, .o = *o, .grid = &out->grid, .progress = progress};
    if (g.o.per_call <= 0)
        g.o.per_call = PER_CALL;
    g.o.votes = g.o.votes < 1 ? 1 : g.o.votes > VOTES_MAX ? VOTES_MAX : g.o.votes;
    if (task->kind == TASK_CLASSIFY && teacher_scores(t))
        g.o.votes = 1;
    if (!g.o.has_shares)
        g.o.shares = (struct split_shares){0.1, 0.1};
    arena_init(&g.arena);
    *out = (struct generate_report){0};
    int rc = generate_check_task(s, task, e);
    if (rc == 0)
        rc = grid_init(&out->grid, task, o->n_records, e);
    if (rc == 0 && teacher_style(t) == PROTOCOL_FULL)
        rc = grid_add_pairs(&out->grid, task, e);
    if (rc == 0 && !(g.aimed_yield = calloc((size_t)out->grid.n_labels, sizeof *g.aimed_yield)))
        rc = err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    if (rc == 0)
        rc = rounds_apply(&out->grid, s, e);
    if (rc == 0)
        rc = rounds_latest(s, &g.n_rounds, &g.round, e);
    if (rc == 0 && g.n_rounds > 0) /* validation and test rows stay what they were */
        g.o.shares = (struct split_shares){0};
    if (rc == 0)
        rc = build_similar(&g, e);
    if (rc == 0)
        rc = waves(&g, out, e);
    if (rc == 0)
        rc = split_assign(s, task, g.o.shares, o->seed, e);
    similar_free(g.similar);
    free(g.pending);
    free(g.aimed_yield);
    arena_release(&g.arena);
    protocol_release(&g.request);
    return rc;
}
