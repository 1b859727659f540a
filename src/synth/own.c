/* Importing own rows: all or nothing, in one transaction with the note that says what was imported. */
#include "synth/own.h"
#include "base/rng.h"
#include "synth/check.h"
#include "synth/similar.h"
#include "task/answer.h"
#include "task/value.h"
#include <stdlib.h>
#include <string.h>

#define ORIGIN "own_import"

struct importing {
    const struct task *task;
    const struct rows *rows;
    enum store_split *splits; /* by row; all none where split_assign draws them */
    struct similar *held_out; /* NULL: none */
    int64_t n_held_out;
};

static int add_rows(struct store *s, struct importing *x, struct err *e) {
    const struct task *t = x->task;
    struct str data = {0};
    int rc = 0;
    for (int64_t i = 0; i < x->rows->n && rc == 0; i++) {
        const struct record *r = &x->rows->records[i];
        bool overlaps = x->held_out && similar_find(x->held_out, r) == SIMILAR_HELD_OUT;
        x->n_held_out += overlaps;
        str_clear(&data);
        rc = record_to_json(t, r, &data);
        struct store_record row = {.source = "own",
                                   .data = str_text(&data),
                                   .label = record_answer(t, r),
                                   .weight = 1,
                                   .status = overlaps ? STORE_REJECTED : STORE_ACCEPTED,
                                   .split = overlaps ? STORE_NO_SPLIT : x->splits[i],
                                   .reason = overlaps ? reject_text(REJECT_HELD_OUT) : NULL,
                                   .write_index = i + 1};
        if (rc == 0)
            rc = store_record_add(s, &row, NULL, e);
    }
    str_release(&data);
    return rc;
}

/* 1: imported before, as it is; 0: not yet. */
static int known_already(struct store *s, const struct own_options *o, const char *hash, struct err *e) {
    struct arena a;
    const char *known = NULL;
    arena_init(&a);
    int rc = store_note_get(s, "own rows", &a, &known, e);
    if (rc == 0 && known) {
        rc = strcmp(known, hash) == 0;
        if (!rc) {
            rc = err_set(e, ERR_MISMATCH, ORIGIN, "%s is not as it was when its rows were taken in", o->path);
            err_hint(e, "move records.sqlite away to begin anew, or restore the file");
        }
    }
    arena_release(&a);
    return rc;
}

/* ---- splits by group and by time ---- */

struct keyed {
    const char *key;
    uint64_t order; /* by group: drawn by seed */
    double number;
    bool is_number;
    int64_t row;
};

static int by_order(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    if (x->is_number && y->is_number && x->number != y->number)
        return x->number < y->number ? -1 : 1;
    int texts = x->is_number && y->is_number ? 0 : strcmp(x->key, y->key);
    return texts ? texts : x->row < y->row ? -1 : x->row > y->row;
}

static bool same_key(const struct keyed *a, const struct keyed *b) {
    return strcmp(a->key, b->key) == 0;
}

/* In order: training rows first, then validation, then test; a run of equal keys goes where its middle lies. */
static void cut_by_key(const struct keyed *k, int64_t n, const struct own_options *o,
                       enum store_split *splits) {
    double test = (double)n * (1 - o->shares.test);
    double validation = (double)n * (1 - o->shares.test - o->shares.validation);
    for (int64_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && same_key(&k[end], &k[begin]);)
            end++;
        double middle = (double)(begin + end) / 2;
        enum store_split split = middle < validation ? STORE_TRAIN
                                 : middle < test     ? STORE_VALIDATION
                                                     : STORE_TEST;
        for (int64_t i = begin; i < end; i++)
            splits[k[i].row] = split;
    }
}

/* Of few keys none may lie where a split's share does. Then the smallest group goes there, or by time the latest key; never the
 * last that trains. */
static void fill_empty_split(const struct keyed *k, int64_t n, bool by_group, enum store_split split,
                             enum store_split *splits) {
    int64_t n_training = 0, best = -1, best_end = 0;
    for (int64_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && same_key(&k[end], &k[begin]);)
            end++;
        enum store_split now = splits[k[begin].row];
        if (now == split)
            return;
        n_training += now == STORE_TRAIN;
        bool may = now == STORE_TRAIN || (!by_group && split == STORE_TEST);
        if (may && (best < 0 || !by_group || end - begin < best_end - best)) {
            best = begin;
            best_end = end;
        }
    }
    if (best < 0 || (splits[k[best].row] == STORE_TRAIN && n_training < 2))
        return;
    for (int64_t i = best; i < best_end; i++)
        splits[k[i].row] = split;
}

/* Dates such as 31/12/2026 sort by their day: in their order they become numbers. Numbers and YYYY-MM-DD sort as they are. */
static int order_dates(const struct task *t, const struct own_options *o, struct keyed *k, int64_t n,
                       struct err *e) {
    struct task_field f = {.name = o->time, .type = FIELD_DATE, .order = DATE_DAY_FIRST};
    struct arena a;
    struct value v;
    int64_t as[2] = {0}, n_iso = 0, days;
    bool declared = false;
    for (int i = 0; i < t->n_declared; i++)
        if (t->fields[i].type == FIELD_DATE && str_equal(t->fields[i].column, o->time)) {
            f.order = t->fields[i].order;
            declared = true;
        }
    arena_init(&a);
    static const enum date_order orders[] = {DATE_DAY_FIRST, DATE_MONTH_FIRST};
    for (int64_t i = 0; i < n; i++) {
        n_iso += value_date_days(k[i].key, &days);
        for (int way = 0; way < 2; way++) {
            struct task_field tried = {.name = o->time, .type = FIELD_DATE, .order = orders[way]};
            as[way] += value_parse(&tried, &a, false, k[i].key, &v, NULL) == 0 && !v.missing;
        }
    }
    bool dates = n_iso < n && (as[0] == n || as[1] == n), either = as[0] == n && as[1] == n;
    int rc = 0;
    if (dates && either && !declared) {
        rc = err_set(e, ERR_INPUT, ORIGIN,
                     "%s: '%s' has dates such as '%s', of which day and month cannot be told apart", o->path,
                     o->time, k[0].key);
        err_hint(
            e,
            "write them as YYYY-MM-DD, or make the column a field of type date with its order in task.yaml");
    }
    if (!declared)
        f.order = as[0] == n ? DATE_DAY_FIRST : DATE_MONTH_FIRST;
    for (int64_t i = 0; dates && rc == 0 && i < n; i++)
        if (value_parse(&f, &a, false, k[i].key, &v, NULL) == 0 && !v.missing) {
            k[i].number = v.number;
            k[i].is_number = true;
        }
    arena_release(&a);
    return rc;
}

static int split_by_key(const struct task *t, const struct rows *rows, const struct own_options *o,
                        enum store_split *splits, struct err *e) {
    struct keyed *k = calloc((size_t)rows->n, sizeof *k);
    if (!k)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (int64_t i = 0; i < rows->n; i++) {
        const char *key = rows->keys[i];
        k[i] = (struct keyed){.key = key, .row = i};
        k[i].order = o->group ? hash64(key, strlen(key), o->seed + 17) : 0;
        k[i].is_number = o->time && str_to_double(key, &k[i].number);
    }
    int rc = o->time ? order_dates(t, o, k, rows->n, e) : 0;
    if (rc < 0) {
        free(k);
        return rc;
    }
    qsort(k, (size_t)rows->n, sizeof *k, by_order);
    bool one = rows->n > 0 && same_key(&k[0], &k[rows->n - 1]);
    cut_by_key(k, rows->n, o, splits);
    if (o->shares.test > 0)
        fill_empty_split(k, rows->n, o->group != NULL, STORE_TEST, splits);
    if (o->shares.validation > 0)
        fill_empty_split(k, rows->n, o->group != NULL, STORE_VALIDATION, splits);
    free(k);
    return one ? err_set(e, ERR_INPUT, ORIGIN,
                         "every row of %s has the same '%s': rows cannot be split by it", o->path,
                         o->group ? o->group : o->time)
               : 0;
}

static int hold_out(struct importing *x, const struct rows *held_out, struct err *e) {
    int rc = similar_new(&x->held_out, x->task, e);
    for (int64_t i = 0; i < held_out->n && rc == 0; i++)
        rc = similar_add(x->held_out, &held_out->records[i], true, e);
    return rc;
}

static int take_in(struct store *s, struct importing *x, const struct own_options *o, struct err *e) {
    x->splits = calloc((size_t)x->rows->n + 1, sizeof *x->splits);
    int rc = x->splits ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    if (rc == 0 && (o->group || o->time))
        rc = split_by_key(x->task, x->rows, o, x->splits, e);
    if (rc == 0 && o->held_out && o->held_out->n > 0)
        rc = hold_out(x, o->held_out, e);
    if (rc == 0)
        rc = store_begin(s, e);
    if (rc == 0 && (rc = add_rows(s, x, e)) == 0 &&
        (rc = store_note_set(s, "own rows", x->rows->sha256, e)) == 0)
        rc = store_commit(s, e);
    if (rc < 0)
        store_rollback(s);
    similar_free(x->held_out);
    free(x->splits);
    return rc;
}

/* ---- balance ---- */

struct training_row {
    int64_t id;
    int label;
};

struct training {
    const struct task *task;
    struct training_row *rows;
    int64_t n, capacity;
};

static int collect(void *context, const struct store_record *r, struct err *e) {
    struct training *t = context;
    int label = task_label_index(t->task, r->label);
    if (label < 0 || strcmp(r->source, "own") != 0)
        return 0;
    if (mem_grow((void **)&t->rows, &t->capacity, t->n + 1, sizeof *t->rows) < 0)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    t->rows[t->n++] = (struct training_row){r->id, label};
    return 0;
}

/* With `weight` for training, or out of it. */
static int settle(struct store *s, const struct task *t, const struct training_row *row, double weight,
                  enum store_status status, struct err *e) {
    struct store_record r = {.id = row->id,
                             .label = t->labels[row->label].name,
                             .weight = weight,
                             .status = status,
                             .split = STORE_TRAIN};
    return store_record_update(s, &r, e);
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Of each label the first rows in an order drawn by seed stay, at most BALANCE_ROWS_MAX for one of the rarest; weights make all
 * labels' sums equal and the mean 1. */
static int weigh(struct store *s, const struct training *t, uint64_t seed, struct err *e) {
    int n_labels = t->task->n_labels;
    int64_t *count = calloc((size_t)n_labels, sizeof *count),
            *order = malloc((size_t)(t->n + 1) * sizeof *order);
    double *weight = calloc((size_t)n_labels, sizeof *weight);
    int rc = count && order && weight ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int64_t least = t->n, n_kept = 0;
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        count[t->rows[i].label]++;
        order[i] = i;
    }
    for (int k = 0; k < n_labels && rc == 0; k++)
        least = count[k] > 0 ? smaller(count[k], least) : least;
    for (int k = 0; k < n_labels && rc == 0; k++)
        n_kept += count[k] = smaller(count[k], BALANCE_ROWS_MAX * least);
    for (int k = 0; k < n_labels && rc == 0; k++)
        weight[k] = count[k] ? (double)n_kept / n_labels / (double)count[k] : 0;
    struct rng rng;
    rng_seed(&rng, seed);
    if (rc == 0)
        rng_shuffle(&rng, order, t->n);
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        const struct training_row *row = &t->rows[order[i]];
        bool stays = count[row->label]-- > 0;
        rc = settle(s, t->task, row, stays ? weight[row->label] : 1, stays ? STORE_ACCEPTED : STORE_SPARE, e);
    }
    free(weight);
    free(count);
    free(order);
    return rc;
}

static int balance(struct store *s, const struct task *task, uint64_t seed, struct err *e) {
    struct training t = {.task = task};
    int rc = store_records_each(s, STORE_TRAIN, collect, &t, e);
    if (rc == 0)
        rc = store_begin(s, e);
    if (rc == 0 && (rc = weigh(s, &t, seed, e)) == 0)
        rc = store_commit(s, e);
    if (rc < 0)
        store_rollback(s);
    free(t.rows);
    return rc;
}

int own_import(struct store *s, const struct task *t, const struct own_options *o, struct own_result *out,
               struct err *e) {
    struct rows rows;
    struct rows_options how = {.label_column = o->label_column, .key_column = o->group ? o->group : o->time};
    int rc = rows_read(&rows, t, o->path, &how, e);
    if (rc < 0)
        return rc;
    int known = known_already(s, o, rows.sha256, e);
    struct importing x = {.task = t, .rows = &rows};
    rc = known < 0 ? known : 0;
    if (known == 0)
        rc = take_in(s, &x, o, e);
    if (rc == 0) /* also after a crash between the two */
        rc = split_assign(s, t, o->shares, o->seed, e);
    if (rc == 0 && o->balance && t->kind == TASK_CLASSIFY)
        rc = balance(s, t, o->seed, e);
    if (rc == 0)
        *out = (struct own_result){known ? 0 : rows.n, x.n_held_out};
    rows_release(&rows);
    return rc;
}
