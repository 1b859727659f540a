/* WRITE and ingest: asking for records where the grid is short, and what of the answers becomes a record. */
#include "base/hash.h"
#include "synth/check.h"
#include "synth/generate_internal.h"
#include "synth/state.h"
#include <string.h>

#define ORIGIN "generate_run"

enum { WAVE_CALLS = 64, COMMIT_CALLS = 64 };

/* ---- WRITE ---- */

bool generation_is_first(const struct grid *g) {
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
    if (generation_is_first(g->grid) &&
        limit > g->grid->n_cells) /* one question a cell shows what the teacher can do */
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

static int build_request(struct generation *g, const struct ask *a, struct err *e) {
    const struct grid_cell *c = &g->grid->cells[a->cell];
    int n = grid_per_call(c, g->o.per_call),
        rc = c->other < 0
                 ? protocol_write(&g->request, teacher_style(g->teacher), g->task, c->label, n, &c->hint, e)
                 : protocol_write_pairs(&g->request, g->task,
                                        &(struct protocol_pairs){n / 2, c->label, c->other, c->hint}, e);
    return rc == 0 ? generation_show_exemplars(g, a, e) : rc;
}

static int next_write(void *context, struct teacher_question *q, struct err *e) {
    struct generation *g = context;
    if (g->next == g->n_asks)
        return 0;
    const struct ask *a = &g->asks[g->next];
    const struct grid_cell *c = &g->grid->cells[a->cell];
    int rc = build_request(g, a, e);
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

static int take_write(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)e;
    struct generation *g = context;
    g->asks[tag].call = a->call;
    generation_show(g);
    return 0;
}

/* ---- ingest ---- */

static int add_record(struct generation *g, int index, const char *data, const char *reason, struct err *e) {
    const struct grid_cell *c = &g->grid->cells[g->ingested];
    int label = c->other >= 0 && index % 2 ? c->other : c->label;
    struct store_record r = {.source = "teacher",
                             .data = data,
                             .wanted = g->task->kind == TASK_CLASSIFY ? g->task->labels[label].name : NULL,
                             .cell = c->name,
                             .weight = 1,
                             .status = reason ? STORE_REJECTED : STORE_PENDING,
                             .reason = reason,
                             .write_call = g->ingested_call,
                             .write_index = index};
    return store_record_add(g->store, &r, NULL, e);
}

/* The first record of a pair is compared with later ones only once its twin, which is to be nearly like it, is through. */
static int settle_twin(struct generation *g, struct err *e) {
    struct arena a;
    struct record r;
    if (!g->twin)
        return 0;
    arena_init(&a);
    int rc = state_record(g->task, &a, g->twin, &r, e);
    if (rc == 0)
        rc = similar_add(g->similar, &r, false, e);
    arena_release(&a);
    g->twin = NULL;
    return rc;
}

static int add_similar(struct generation *g, int index, const struct record *r, const char *data,
                       struct err *e) {
    bool first = g->grid->cells[g->ingested].other >= 0 && index % 2 == 0;
    if (!first)
        return similar_add(g->similar, r, false, e);
    g->twin_index = index;
    g->twin = arena_strdup(&g->arena, data);
    return g->twin ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

static enum similar_verdict compare(struct generation *g, const struct record *r, const char *data) {
    return g->twin && strcmp(g->twin, data) == 0 ? SIMILAR_EXACT : similar_find(g->similar, r);
}

static int ingest_good(void *context, int index, const struct record *r, struct err *e) {
    static const enum reject verdicts[] = {[SIMILAR_EXACT] = REJECT_DUPLICATE,
                                           [SIMILAR_NEAR] = REJECT_NEAR_DUPLICATE,
                                           [SIMILAR_HELD_OUT] = REJECT_HELD_OUT};
    struct generation *g = context;
    struct str data = {0};
    int rc = record_to_json(g->task, r, &data);
    if (rc == 0 && index != g->twin_index + 1)
        rc = settle_twin(g, e);
    enum similar_verdict verdict = rc == 0 ? compare(g, r, data.data) : SIMILAR_NEW;
    if (rc == 0)
        rc = settle_twin(g, e);
    if (rc == 0)
        g->wave_written++;
    g->wave_new += verdict == SIMILAR_NEW;
    if (rc == 0)
        rc = add_record(g, index, data.data, verdict == SIMILAR_NEW ? NULL : reject_text(verdicts[verdict]),
                        e);
    if (rc == 0 && verdict == SIMILAR_NEW)
        rc = add_similar(g, index, r, data.data, e);
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
    int settled = settle_twin(g, rc == 0 ? e : NULL);
    rc = rc == 0 ? settled : rc;
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

/* ---- a wave ---- */

int generation_write(struct generation *g, struct err *e) {
    g->wave_written = g->wave_new = 0;
    int rc = plan_wave(g, e);
    if (rc == 0)
        rc = generation_exemplars(g, e);
    if (rc == 0)
        rc = teacher_run(g->teacher, &(struct teacher_job){next_write, take_write, g}, e);
    return rc == 0 ? ingest(g, e) : rc;
}
