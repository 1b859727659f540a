/* Drawing crossed records: see cross.h. */
#include "synth/cross.h"
#include "base/mem.h"
#include "base/rng.h"
#include "synth/bins.h"
#include "synth/check.h"
#include "synth/state.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "generate_run"

enum { TRIES = 8 };

struct crossing {
    const struct task *task;
    struct arena arena;          /* donors' texts, axes */
    struct protocol_hint **bins; /* by declared field; NULL: stays as it was written */
    int *n_bins;
    int n_axes;
    const char **donors; /* records that the teacher wrote, as stored */
    int64_t n_donors, capacity, n_crossed;
};

/* ---- what is there ---- */

static int find_axes(struct crossing *x, struct err *e) {
    const struct task *t = x->task;
    size_t n = (size_t)t->n_declared + 1;
    x->bins = arena_calloc(&x->arena, n, sizeof *x->bins);
    x->n_bins = arena_calloc(&x->arena, n, sizeof *x->n_bins);
    bool ok = x->bins && x->n_bins;
    for (int i = 0; ok && i < t->n_declared; i++) {
        struct protocol_hint bins[BINS_MAX];
        bool decisive = false;
        int n_bins = bins_of(t, i, bins, &decisive);
        if (!decisive || n_bins == 0)
            continue;
        x->bins[i] = arena_calloc(&x->arena, (size_t)n_bins, sizeof *bins);
        ok = x->bins[i] != NULL;
        if (ok)
            memcpy(x->bins[i], bins, (size_t)n_bins * sizeof *bins);
        x->n_bins[i] = n_bins;
        x->n_axes++;
    }
    return ok ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

/* A record that keeps to the schema, whatever became of it. */
static int add_donor(void *context, const struct store_record *r, struct err *e) {
    struct crossing *x = context;
    bool crossed = str_equal(r->cell, CROSS_CELL);
    x->n_crossed += crossed;
    if (crossed || !str_equal(r->source, "teacher") || (r->status == STORE_REJECTED && !r->label))
        return 0;
    if (mem_grow((void **)&x->donors, &x->capacity, x->n_donors + 1, sizeof *x->donors) < 0 ||
        !(x->donors[x->n_donors] = arena_strdup(&x->arena, r->data)))
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    x->n_donors++;
    return 0;
}

/* ---- one record ---- */

struct drawing {
    const struct crossing *crossing;
    struct rng rng;
    const struct record *donor;
    char number[64];
};

/* A whole number of units in [low, high]: every other one anywhere, else at a distance from a cut that is as often below 3 as
 * between 10 and 30: whichever scale the student confuses, there are examples of it. */
static int64_t draw_units(struct rng *rng, int64_t low, int64_t high, bool cut_below, bool cut_above) {
    if ((!cut_below && !cut_above) || rng_chance(rng, 0.5))
        return rng_range(rng, low, high);
    int64_t away = (int64_t)exp(rng_double(rng) * log((double)(high - low + 1))) - 1;
    bool from_below = cut_below && (!cut_above || rng_chance(rng, 0.5));
    return from_below ? low + away : high - away;
}

static const char *draw_value(struct drawing *d, const struct task_field *f, int field) {
    const struct crossing *x = d->crossing;
    const struct protocol_hint *bin = &x->bins[field][rng_range(&d->rng, 0, x->n_bins[field] - 1)];
    if (f->type == FIELD_CATEGORY)
        return f->values[bin->value];
    double unit = pow(10, -f->decimals);
    int64_t low = llround(bin->low / unit), high = llround(bin->high / unit);
    int64_t units =
        draw_units(&d->rng, low, high, bin->low > f->min + unit / 2, bin->high < f->max - unit / 2);
    snprintf(d->number, sizeof d->number, "%.*f", f->decimals, (double)units * unit);
    return d->number;
}

static const char *raw_value(void *context, const struct task_field *f) {
    struct drawing *d = context;
    int field = (int)(f - d->crossing->task->fields);
    const struct value *v = &d->donor->values[field];
    return d->crossing->bins[field] ? draw_value(d, f, field) : v->missing ? NULL : v->text;
}

static int draw_record(const struct crossing *x, struct rng *rng, struct arena *a, struct record *out,
                       struct err *e) {
    struct record donor;
    int rc = state_record(x->task, a, x->donors[rng_range(rng, 0, x->n_donors - 1)], &donor, e);
    struct drawing d = {.crossing = x, .rng = *rng, .donor = &donor};
    if (rc == 0)
        rc = record_build(x->task, a, false, raw_value, &d, out, e);
    *rng = d.rng;
    return rc;
}

/* Record number k; a copy of one that is there is drawn again, and at last kept as a reject, so that numbers go on. */
static int add_record(const struct crossing *x, struct store *s, struct similar *similar, int64_t k,
                      uint64_t seed, struct err *e) {
    struct rng rng;
    struct arena a;
    struct record record;
    enum similar_verdict verdict = SIMILAR_EXACT;
    struct str data = {0};
    int rc = 0;
    rng_seed(&rng, seed ^ ((uint64_t)k * 0x9e3779b97f4a7c15u));
    arena_init(&a);
    for (int i = 0; i < TRIES && rc == 0 && verdict != SIMILAR_NEW; i++) {
        arena_reset(&a);
        rc = draw_record(x, &rng, &a, &record, e);
        if (rc == 0)
            verdict = similar_find(similar, &record);
    }
    if (rc == 0)
        rc = record_to_json(x->task, &record, &data);
    bool fresh = verdict == SIMILAR_NEW;
    struct store_record r = {.source = "teacher",
                             .data = str_text(&data),
                             .cell = CROSS_CELL,
                             .weight = 1,
                             .status = fresh ? STORE_PENDING : STORE_REJECTED,
                             .reason = fresh ? NULL : reject_text(REJECT_DUPLICATE)};
    if (rc == 0)
        rc = store_record_add(s, &r, NULL, e);
    if (rc == 0 && fresh)
        rc = similar_add(similar, &record, false, e);
    str_release(&data);
    arena_release(&a);
    return rc;
}

int cross_records(struct store *s, const struct task *t, struct similar *similar, int64_t n, uint64_t seed,
                  int64_t *added, struct err *e) {
    struct crossing x = {.task = t};
    *added = 0;
    arena_init(&x.arena);
    int rc = find_axes(&x, e);
    if (rc == 0)
        rc = store_status_each(s, STORE_ALL_STATUSES, add_donor, &x, e);
    if (rc == 0 && x.n_axes > 0 && x.n_donors > 0 && x.n_crossed < n) {
        rc = store_begin(s, e);
        for (int64_t k = x.n_crossed; k < n && rc == 0; k++)
            rc = add_record(&x, s, similar, k, seed, e);
        if (rc == 0 && (rc = store_commit(s, e)) == 0)
            *added = n - x.n_crossed;
        if (rc < 0)
            store_rollback(s);
    }
    free(x.donors);
    arena_release(&x.arena);
    return rc;
}
