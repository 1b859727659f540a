/* Drawing crossed records: see cross.h. */
#include "synth/cross.h"
#include "base/hash.h"
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

enum { TRIES = 8, AIM_TRIES = 64, AIM_SAMPLE = 256, SURE_AFTER = 8 };

/* The labels that records of one corner have got: a corner is one side of each threshold, one value of each category. */
struct corner {
    uint64_t key;
    int64_t n, of_label; /* labelled; with the label aimed at */
};

struct crossing {
    const struct task *task;
    struct arena arena;          /* donors' texts, axes */
    struct protocol_hint **bins; /* by declared field; NULL: stays as it was written */
    int *n_bins;
    int n_axes;
    const char **donors; /* records that the teacher wrote, as stored */
    int64_t n_donors, capacity, n_crossed;
    int label;             /* aimed at; -1: none */
    const char *cell;      /* of the records to be added */
    int64_t n_cell, n_hit; /* records of that cell; those that got the label */
    int64_t n_cell_judged, n_all;
    struct corner all, *corners; /* over all corners together; each */
    int64_t n_corners, corner_capacity;
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

/* Which side or value: the bins that overlap them come later (bins.h). */
static int bin_of(const struct crossing *x, int field, const struct value *v) {
    const struct task_field *f = &x->task->fields[field];
    for (int i = 0; i < x->n_bins[field] && !v->missing; i++) {
        const struct protocol_hint *b = &x->bins[field][i];
        if (f->type == FIELD_CATEGORY ? str_equal(v->text, f->values[b->value])
                                      : v->number >= b->low - 1e-9 && v->number <= b->high + 1e-9)
            return i;
    }
    return -1;
}

static uint64_t corner_key(const struct crossing *x, const struct record *r) {
    uint64_t key = 1;
    for (int i = 0; i < x->task->n_declared; i++)
        if (x->bins[i]) {
            int bin = bin_of(x, i, &r->values[i]);
            key = hash64(&bin, sizeof bin, key);
        }
    return key;
}

static struct corner *find_corner(const struct crossing *x, uint64_t key) {
    for (int64_t i = 0; i < x->n_corners; i++)
        if (x->corners[i].key == key)
            return &x->corners[i];
    return NULL;
}

/* A labelled record counts in its corner. */
static int count_corner(struct crossing *x, const struct store_record *s, struct err *e) {
    struct arena a;
    struct record r;
    bool hit = task_label_index(x->task, s->label) == x->label;
    arena_init(&a);
    int rc = state_record(x->task, &a, s->data, &r, e);
    uint64_t key = rc == 0 ? corner_key(x, &r) : 0;
    arena_release(&a);
    struct corner *c = rc == 0 ? find_corner(x, key) : NULL;
    if (rc == 0 && !c) {
        if (mem_grow((void **)&x->corners, &x->corner_capacity, x->n_corners + 1, sizeof *x->corners) < 0)
            return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
        c = &x->corners[x->n_corners++];
        *c = (struct corner){.key = key};
    }
    if (rc < 0)
        return rc;
    c->n++;
    c->of_label += hit;
    x->all.n++;
    x->all.of_label += hit;
    return 0;
}

/* A record that keeps to the schema, whatever became of it, is a donor, and of a label that is aimed at an example. */
static int add_donor(void *context, const struct store_record *r, struct err *e) {
    struct crossing *x = context;
    bool crossed = r->cell && str_starts(r->cell, CROSS_CELL) && !r->wanted, labelled = r->label != NULL;
    bool teachers = str_equal(r->source, "teacher"), in_cell = str_equal(r->cell, x->cell);
    x->n_all += crossed;
    x->n_crossed += in_cell;
    x->n_cell_judged += in_cell && labelled;
    x->n_hit += in_cell && labelled && task_label_index(x->task, r->label) == x->label;
    if (x->label >= 0 && teachers && labelled) {
        int rc = count_corner(x, r, e);
        if (rc < 0)
            return rc;
    }
    if (crossed || !teachers || (r->status == STORE_REJECTED && !r->label))
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

/* ---- aiming ---- */

/* That a record of this corner gets the label: by those that were there, of which one is as all are together. */
static double chance_of(const struct crossing *x, const struct record *r) {
    double all = (double)(x->all.of_label + 1) / (double)(x->all.n + 2);
    const struct corner *c = find_corner(x, corner_key(x, r));
    return c ? ((double)c->of_label + all) / (double)(c->n + 1) : all;
}

/* Drawn until one is kept, each with its chance; the likeliest of them where none is. */
static int draw_aimed(const struct crossing *x, struct rng *rng, struct arena *a, struct record *out,
                      struct err *e) {
    struct record r;
    double best = -1;
    for (int i = 0; i < AIM_TRIES; i++) {
        int rc = draw_record(x, rng, a, &r, e);
        if (rc < 0)
            return rc;
        double chance = x->label < 0 ? 1 : chance_of(x, &r);
        if (chance > best) {
            *out = r;
            best = chance;
        }
        if (rng_chance(rng, chance)) {
            *out = r;
            return 0;
        }
    }
    return 0;
}

/* Of those that are kept, the share that gets the label: E[p^2] / E[p] over what is drawn. */
static int expected_chance(const struct crossing *x, uint64_t seed, double *out, struct err *e) {
    double sum = 0, squares = 0;
    struct rng rng;
    struct arena a;
    int rc = 0;
    rng_seed(&rng, seed);
    arena_init(&a);
    for (int i = 0; i < AIM_SAMPLE && rc == 0; i++) {
        struct record r;
        rc = draw_record(x, &rng, &a, &r, e);
        double p = rc == 0 ? chance_of(x, &r) : 0;
        sum += p;
        squares += p * p;
        arena_reset(&a);
    }
    arena_release(&a);
    *out = sum > 0 ? squares / sum : 0;
    return rc;
}

/* ---- adding them ---- */

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
        rc = x->label < 0 ? draw_record(x, &rng, &a, &record, e) : draw_aimed(x, &rng, &a, &record, e);
        if (rc == 0)
            verdict = similar_find(similar, &record);
    }
    if (rc == 0)
        rc = record_to_json(x->task, &record, &data);
    bool fresh = verdict == SIMILAR_NEW;
    struct store_record r = {.source = "teacher",
                             .data = str_text(&data),
                             .cell = x->cell,
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

static int crossing_begin(struct crossing *x, struct store *s, const struct task *t, int label,
                          struct err *e) {
    *x = (struct crossing){.task = t, .label = label, .cell = CROSS_CELL};
    arena_init(&x->arena);
    if (label >= 0)
        x->cell = arena_printf(&x->arena, CROSS_CELL " for %s", t->labels[label].name);
    if (!x->cell)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int rc = find_axes(x, e);
    return rc == 0 && x->n_axes > 0 ? store_status_each(s, STORE_ALL_STATUSES, add_donor, x, e) : rc;
}

static void crossing_end(struct crossing *x) {
    free(x->donors);
    free(x->corners);
    arena_release(&x->arena);
}

/* Until the cell has n of them. */
static int add_up_to(struct crossing *x, struct store *s, struct similar *similar, int64_t n, uint64_t seed,
                     int64_t *added, struct err *e) {
    if (x->n_axes == 0 || x->n_donors == 0 || x->n_crossed >= n)
        return 0;
    int rc = store_begin(s, e);
    for (int64_t k = x->n_crossed; k < n && rc == 0; k++)
        rc = add_record(x, s, similar, k, seed, e);
    if (rc == 0 && (rc = store_commit(s, e)) == 0)
        *added = n - x->n_crossed;
    if (rc < 0)
        store_rollback(s);
    return rc;
}

int cross_records(struct store *s, const struct task *t, struct similar *similar, int64_t n, uint64_t seed,
                  int64_t *added, struct err *e) {
    struct crossing x;
    *added = 0;
    int rc = crossing_begin(&x, s, t, -1, e);
    if (rc == 0)
        rc = add_up_to(&x, s, similar, n, seed, added, e);
    crossing_end(&x);
    return rc;
}

int cross_aim(struct store *s, const struct task *t, int label, uint64_t seed, struct cross_aim *out,
              struct err *e) {
    struct crossing x;
    double expected = 0;
    int rc = crossing_begin(&x, s, t, label, e);
    if (rc == 0 && x.n_axes > 0 && x.n_donors > 0)
        rc = expected_chance(&x, seed, &expected, e);
    if (rc == 0)
        *out = (struct cross_aim){.n_aimed = x.n_cell_judged,
                                  .n_hit = x.n_hit,
                                  .chance = ((double)x.n_hit + SURE_AFTER * expected) /
                                            (double)(x.n_cell_judged + SURE_AFTER),
                                  .room = CROSS_USES * x.n_donors - x.n_all};
    crossing_end(&x);
    return rc;
}

int cross_records_for(struct store *s, const struct task *t, struct similar *similar, int label, int64_t n,
                      uint64_t seed, int64_t *added, struct err *e) {
    struct crossing x;
    *added = 0;
    int rc = crossing_begin(&x, s, t, label, e);
    if (rc == 0)
        rc = add_up_to(&x, s, similar, x.n_crossed + n, hash64(x.cell, strlen(x.cell), seed), added, e);
    crossing_end(&x);
    return rc;
}
