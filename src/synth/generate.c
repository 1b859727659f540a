/* Waves of writing, checking and labelling.
 *
 *   load ──▶ restore spares ──▶ plan ──▶ WRITE ──▶ ingest ──▶ LABEL ──▶ judge ──▶ load …
 *                                 │ nothing missing
 *                                 ▼
 *                               splits
 * load reads the grid's state from the store. Each arrow ends in a commit; a run that begins with pending records (an earlier
 * one ended between ingest and judge) labels those first. */
#include "synth/generate.h"
#include "base/hash.h"
#include "format/json.h"
#include "synth/check.h"
#include "synth/cross.h"
#include "synth/rounds.h"
#include "synth/similar.h"
#include "synth/state.h"
#include "task/belief.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "generate_run"

enum { PER_CALL = 4, WAVE_CALLS = 64, COMMIT_CALLS = 64, VOTES_MAX = 15, SATURATED_OF = 64 };
/* A wave of which a smaller share is new is the last one. */
static const double LEAST_NEW = 0.05;
/* Crossed records among those wanted; not all of them: what the teacher writes by itself is nearer to what will come. */
static const double CROSSED_SHARE = 0.6;
/* Records of a label are crossed in place of written ones when a question brings so many times as many. */
static const double AIM_ADVANTAGE = 2;

void generate_report_release(struct generate_report *r) {
    grid_release(&r->grid);
}

struct ask {
    int cell;
    int64_t ordinal; /* of the cell's calls */
    int64_t call;    /* journal row of the answer; 0: not yet */
};

struct pending {
    int64_t id;
    const char *data, *wanted;    /* in the arena */
    const char *votes[VOTES_MAX]; /* what the answers said, in normal form; NULL: nothing usable */
    int64_t calls[VOTES_MAX];     /* their rows in the journal */
    int winner;                   /* the first vote for the commonest answer; -1: none was usable */
    double share;                 /* of the votes, or the winner's probability */
    const char *probabilities;    /* of the labels, as they are stored; NULL: there were votes */
};

struct generation {
    struct teacher *teacher;
    struct store *store;
    const struct task *task;
    struct generate_options o;
    struct grid *grid;
    struct similar *similar;
    struct progress *progress;
    struct protocol_request request;
    struct arena arena; /* one wave */
    struct ask *asks;
    int64_t n_asks, next, done;
    int64_t wave_written, wave_new;
    int n_rounds; /* error-driven ones; the latest is `round` */
    struct round round;
    struct pending *pending;
    int64_t n_pending, pending_capacity;
    int ingested; /* cell of the answer that is being ingested */
    int64_t ingested_call;
    double *aimed_yield; /* by label: share of the records aimed at it that it gets; 0: it is written */
};

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

/* ---- WRITE ---- */

static bool is_first(const struct grid *g) {
    for (int i = 0; i < g->n_cells; i++)
        if (g->cells[i].calls > 0)
            return false;
    return true;
}

static int plan_wave(struct generation *g, struct err *e) {
    int64_t *calls = arena_calloc(&g->arena, (size_t)g->grid->n_cells, sizeof *calls);
    if (!calls)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int64_t total = grid_plan(g->grid, g->o.per_call, INT64_MAX, calls), limit = g->o.wave_calls;
    if (limit <= 0)
        limit = total / 3 > WAVE_CALLS ? total / 3 : WAVE_CALLS;
    if (is_first(g->grid) && limit > g->grid->n_cells) /* one question a cell shows what the teacher can do */
        limit = g->grid->n_cells;
    if (total > limit)
        total = grid_plan(g->grid, g->o.per_call, limit, calls);
    g->asks = arena_calloc(&g->arena, (size_t)total, sizeof *g->asks);
    if (!g->asks)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    g->n_asks = g->next = 0;
    for (int cell = 0; cell < g->grid->n_cells; cell++)
        for (int64_t i = 0; i < calls[cell]; i++)
            g->asks[g->n_asks++] = (struct ask){.cell = cell, .ordinal = g->grid->cells[cell].calls + i};
    return 0;
}

static int next_write(void *context, struct teacher_question *q, struct err *e) {
    struct generation *g = context;
    if (g->next == g->n_asks)
        return 0;
    const struct ask *a = &g->asks[g->next];
    const struct grid_cell *c = &g->grid->cells[a->cell];
    int rc =
        protocol_write(&g->request, teacher_style(g->teacher), g->task, c->label, g->o.per_call, &c->hint, e);
    if (rc < 0)
        return rc;
    uint64_t name = hash64(c->name, strlen(c->name), g->o.seed);
    *q = (struct teacher_question){.purpose = "write",
                                   .cell = c->name,
                                   .tag = g->next++,
                                   .repeat = a->ordinal,
                                   .request = &g->request,
                                   .temperature = 1.0,
                                   .seed = hash64(&a->ordinal, sizeof a->ordinal, name)};
    return 1;
}

static void show(struct generation *g) {
    if (g->progress)
        progress_update(g->progress, ++g->done);
}

static int take_write(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)e;
    struct generation *g = context;
    g->asks[tag].call = a->call;
    show(g);
    return 0;
}

/* ---- ingest ---- */

static int add_record(struct generation *g, int index, const char *data, const char *reason, struct err *e) {
    const struct grid_cell *c = &g->grid->cells[g->ingested];
    struct store_record r = {.source = "teacher",
                             .data = data,
                             .wanted = g->task->kind == TASK_CLASSIFY ? g->task->labels[c->label].name : NULL,
                             .cell = c->name,
                             .weight = 1,
                             .status = reason ? STORE_REJECTED : STORE_PENDING,
                             .reason = reason,
                             .write_call = g->ingested_call,
                             .write_index = index};
    return store_record_add(g->store, &r, NULL, e);
}

static int ingest_good(void *context, int index, const struct record *r, struct err *e) {
    static const enum reject verdicts[] = {[SIMILAR_EXACT] = REJECT_DUPLICATE,
                                           [SIMILAR_NEAR] = REJECT_NEAR_DUPLICATE,
                                           [SIMILAR_HELD_OUT] = REJECT_HELD_OUT};
    struct generation *g = context;
    struct str data = {0};
    int rc = record_to_json(g->task, r, &data);
    enum similar_verdict verdict = similar_find(g->similar, r);
    if (rc == 0)
        g->wave_written++;
    g->wave_new += verdict == SIMILAR_NEW;
    if (rc == 0)
        rc = add_record(g, index, data.data, verdict == SIMILAR_NEW ? NULL : reject_text(verdicts[verdict]),
                        e);
    if (rc == 0 && verdict == SIMILAR_NEW)
        rc = similar_add(g->similar, r, false, e);
    str_release(&data);
    return rc;
}

static int ingest_bad(void *context, int index, enum reject why, const char *text, struct err *e) {
    return add_record(context, index, text, reject_text(why), e);
}

static int ingest_one(struct generation *g, const struct ask *a, struct err *e) {
    struct arena arena;
    struct teacher_answer answer;
    arena_init(&arena);
    g->ingested = a->cell;
    g->ingested_call = a->call;
    int rc = teacher_recall(g->store, a->call, &arena, &answer, e);
    if (rc == 0)
        rc = check_written(g->task, &answer, &(struct check_sink){ingest_good, ingest_bad, g}, e);
    arena_release(&arena);
    return rc;
}

static int ingest(struct generation *g, struct err *e) {
    int rc = 0;
    for (int64_t begin = 0; begin < g->n_asks && rc == 0; begin += COMMIT_CALLS) {
        rc = store_begin(g->store, e);
        for (int64_t i = begin; i < g->n_asks && i < begin + COMMIT_CALLS && rc == 0; i++)
            rc = ingest_one(g, &g->asks[i], e);
        if (rc == 0)
            rc = store_commit(g->store, e);
        if (rc < 0)
            store_rollback(g->store);
    }
    return rc;
}

/* ---- LABEL ---- */

static int add_pending(void *context, const struct store_record *r, struct err *e) {
    struct generation *g = context;
    struct pending p = {.id = r->id,
                        .data = arena_strdup(&g->arena, r->data),
                        .wanted = arena_strdup(&g->arena, r->wanted ? r->wanted : ""),
                        .winner = -1};
    if (!p.data || !p.wanted ||
        mem_grow((void **)&g->pending, &g->pending_capacity, g->n_pending + 1, sizeof *g->pending) < 0)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    g->pending[g->n_pending++] = p;
    return 0;
}

static int next_label(void *context, struct teacher_question *q, struct err *e) {
    struct generation *g = context;
    int64_t i = g->next / g->o.votes, vote = g->next % g->o.votes;
    if (i == g->n_pending)
        return 0;
    struct arena a;
    struct record r;
    arena_init(&a);
    int rc = state_record(g->task, &a, g->pending[i].data, &r, e);
    if (rc == 0)
        rc = protocol_judge(&g->request, teacher_style(g->teacher), g->task, &r, e);
    arena_release(&a);
    /* The first vote is the plain question, so that it is the same whether one is asked for or several. */
    *q = (struct teacher_question){.purpose = "label",
                                   .tag = g->next++,
                                   .repeat = vote,
                                   .request = &g->request,
                                   .temperature = vote ? 0.7 : 0,
                                   .seed = (uint64_t)vote};
    return rc < 0 ? rc : 1;
}

/* Labels that were scored: their probabilities stand where votes do. Left out where they are not of this task's labels. */
static int take_probabilities(struct generation *g, struct pending *p, int label,
                              const struct teacher_answer *a, struct err *e) {
    const struct task *t = g->task;
    double *of = arena_calloc(&g->arena, (size_t)t->n_labels, sizeof *of);
    struct str text = {0};
    int n_known = 0;
    for (int i = 0; i < a->n_labels && of; i++) {
        int k = task_label_index(t, a->labels[i].name);
        n_known += k >= 0;
        if (k >= 0)
            of[k] = a->labels[i].probability;
    }
    if (of && n_known == t->n_labels && belief_write(t, of, &text, NULL) == 0) {
        p->probabilities = arena_strdup(&g->arena, text.data);
        p->share = of[label];
    }
    bool failed = !of || text.failed || (text.len && !p->probabilities);
    str_release(&text);
    return failed ? err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory") : 0;
}

static int take_label(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    struct generation *g = context;
    struct pending *p = &g->pending[tag / g->o.votes];
    int64_t vote = tag % g->o.votes;
    struct str text = {0};
    bool usable = !a->truncated && !a->refused;
    if (usable && g->task->kind == TASK_CLASSIFY) {
        int label = protocol_label_read(g->task, a->content);
        usable = label >= 0;
        str_add(&text, usable ? g->task->labels[label].name : "");
        if (usable && a->labels && g->o.votes == 1 && take_probabilities(g, p, label, a, e) < 0)
            text.failed = true;
    } else if (usable) {
        usable = protocol_answer_read(g->task, a->content, &text) == 0;
    }
    p->calls[vote] = a->call;
    p->votes[vote] = usable ? arena_strdup(&g->arena, str_text(&text)) : NULL;
    bool failed = text.failed || (usable && !p->votes[vote]);
    str_release(&text);
    show(g);
    return failed ? err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory") : 0;
}

/* ---- judge ---- */

/* The commonest usable answer; of several the one that came first in the order of asking. */
static void count_votes(const struct generation *g, struct pending *p) {
    int most = 0;
    for (int i = 0; i < g->o.votes; i++) {
        int n = 0;
        for (int k = 0; k < g->o.votes && p->votes[i]; k++)
            n += str_equal(p->votes[i], p->votes[k]);
        if (n > most) {
            most = n;
            p->winner = i;
        }
    }
    if (!p->probabilities)
        p->share = (double)most / g->o.votes;
}

/* Is it what it was written for? Of extract and respond, and of crossed records, nothing was said. */
static bool as_wanted(const struct generation *g, const struct pending *p) {
    return g->task->kind != TASK_CLASSIFY || !p->wanted[0] || strcmp(p->votes[p->winner], p->wanted) == 0;
}

static bool is_split(const struct generation *g, const struct pending *p) {
    return (g->o.votes > 1 || p->probabilities) && p->share <= 0.5;
}

static int settle_record(struct generation *g, const struct pending *p, enum store_status status,
                         const char *reason, struct err *e) {
    struct store_record r = {.id = p->id,
                             .label = p->winner >= 0 ? p->votes[p->winner] : NULL,
                             .weight = p->winner >= 0 ? p->share : 1,
                             .probabilities = p->winner >= 0 ? p->probabilities : NULL,
                             .status = status,
                             .reason = reason,
                             .label_call = p->winner >= 0 ? p->calls[p->winner] : p->calls[0]};
    if (status == STORE_ACCEPTED)
        g->grid->labels[grid_label_find(g->task, r.label)].accepted++;
    return store_record_update(g->store, &r, e);
}

static bool has_room(const struct generation *g, const struct pending *p) {
    return grid_missing(g->grid, grid_label_find(g->task, p->votes[p->winner])) > 0;
}

/* Those that are what they were written for come first; then the others fill what gaps are left. */
static int judge(struct generation *g, struct err *e) {
    int rc = store_begin(g->store, e);
    for (int64_t i = 0; i < g->n_pending && rc == 0; i++) {
        struct pending *p = &g->pending[i];
        count_votes(g, p);
        if (p->winner < 0)
            rc = settle_record(g, p, STORE_REJECTED, reject_text(REJECT_NO_LABEL), e);
        else if (is_split(g, p))
            rc = settle_record(g, p, STORE_REJECTED, reject_text(REJECT_SPLIT_VOTE), e);
        else if (as_wanted(g, p))
            rc = settle_record(g, p, has_room(g, p) ? STORE_ACCEPTED : STORE_SPARE, NULL, e);
    }
    for (int64_t i = 0; i < g->n_pending && rc == 0; i++) {
        const struct pending *p = &g->pending[i];
        if (p->winner < 0 || is_split(g, p) || as_wanted(g, p))
            continue;
        bool room = has_room(g, p);
        rc = settle_record(g, p, room ? STORE_ACCEPTED : STORE_REJECTED,
                           room ? NULL : reject_text(REJECT_DISAGREEMENT), e);
    }
    if (rc == 0)
        rc = store_commit(g->store, e);
    if (rc < 0)
        store_rollback(g->store);
    return rc;
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

static int label_pending(struct generation *g, struct err *e) {
    g->n_pending = g->next = 0;
    int rc = store_status_each(g->store, STORE_PENDING, add_pending, g, e);
    if (rc < 0 || g->n_pending == 0)
        return rc;
    rc = teacher_run(g->teacher, &(struct teacher_job){next_label, take_label, g}, e);
    if (rc == 0)
        rc = judge(g, e);
    g->n_pending = 0;
    return rc;
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

static int wave(struct generation *g, struct err *e) {
    g->wave_written = g->wave_new = 0;
    int rc = plan_wave(g, e);
    if (rc == 0)
        rc = teacher_run(g->teacher, &(struct teacher_job){next_write, take_write, g}, e);
    return rc == 0 ? ingest(g, e) : rc;
}

/* Once the first answers are in: corners that they do not reach. */
static int cross(struct generation *g, int64_t *added, struct err *e) {
    *added = 0;
    if (g->task->kind != TASK_CLASSIFY || is_first(g->grid))
        return 0;
    int64_t main_set = (g->o.n_records + g->grid->n_labels - 1) / g->grid->n_labels * g->grid->n_labels;
    int64_t wanted = (int64_t)(CROSSED_SHARE * (double)main_set); /* rounds come from where the errors are */
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
        if (g->task->kind != TASK_CLASSIFY || is_first(g->grid) || missing == 0)
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
            rc = label_pending(g, e);
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
            rc = wave(g, e);
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
