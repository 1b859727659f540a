/* Importing own rows: all or nothing, in one transaction with the note that says what was imported. */
#include "synth/own.h"
#include "base/rng.h"
#include "eval/rows.h"
#include <stdlib.h>
#include <string.h>

#define ORIGIN "own_import"

static int add_rows(struct store *s, const struct task *t, const struct rows *rows, struct err *e) {
    struct str data = {0};
    int rc = 0;
    for (int64_t i = 0; i < rows->n && rc == 0; i++) {
        const struct record *r = &rows->records[i];
        str_clear(&data);
        rc = record_to_json(t, r, &data);
        struct store_record row = {.source = "own",
                                   .data = str_text(&data),
                                   .label = t->labels[r->label].name,
                                   .weight = 1,
                                   .status = STORE_ACCEPTED,
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

static int make_spare(struct store *s, const struct task *t, const struct training_row *row, struct err *e) {
    struct store_record r = {.id = row->id,
                             .label = t->labels[row->label].name,
                             .weight = 1,
                             .status = STORE_SPARE,
                             .split = STORE_TRAIN};
    return store_record_update(s, &r, e);
}

/* Of each label the first `least` in an order drawn by seed stay. */
static int thin_out(struct store *s, const struct training *t, uint64_t seed, struct err *e) {
    int64_t *count = calloc((size_t)t->task->n_labels, sizeof *count),
            *order = malloc((size_t)(t->n + 1) * sizeof *order);
    int rc = count && order ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int64_t least = t->n;
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        count[t->rows[i].label]++;
        order[i] = i;
    }
    for (int k = 0; k < t->task->n_labels && rc == 0; k++) {
        least = count[k] < least ? count[k] : least;
        count[k] = 0;
    }
    struct rng rng;
    rng_seed(&rng, seed);
    if (rc == 0)
        rng_shuffle(&rng, order, t->n);
    for (int64_t i = 0; i < t->n && rc == 0; i++)
        if (count[t->rows[order[i]].label]++ >= least)
            rc = make_spare(s, t->task, &t->rows[order[i]], e);
    free(count);
    free(order);
    return rc;
}

static int balance(struct store *s, const struct task *task, uint64_t seed, struct err *e) {
    struct training t = {.task = task};
    int rc = store_records_each(s, STORE_TRAIN, collect, &t, e);
    if (rc == 0)
        rc = store_begin(s, e);
    if (rc == 0 && (rc = thin_out(s, &t, seed, e)) == 0)
        rc = store_commit(s, e);
    if (rc < 0)
        store_rollback(s);
    free(t.rows);
    return rc;
}

int own_import(struct store *s, const struct task *t, const struct own_options *o, int64_t *n_new,
               struct err *e) {
    struct rows rows;
    int rc = rows_read(&rows, t, o->path, &(struct rows_options){.label_column = o->label_column}, e);
    if (rc < 0)
        return rc;
    int known = known_already(s, o, rows.sha256, e);
    rc = known < 0 ? known : 0;
    if (known == 0) {
        rc = store_begin(s, e);
        if (rc == 0 && (rc = add_rows(s, t, &rows, e)) == 0 &&
            (rc = store_note_set(s, "own rows", rows.sha256, e)) == 0)
            rc = store_commit(s, e);
        if (rc < 0)
            store_rollback(s);
    }
    if (rc == 0) /* also after a crash between the two */
        rc = split_assign(s, o->shares, o->seed, e);
    if (rc == 0 && o->balance)
        rc = balance(s, t, o->seed, e);
    if (rc == 0)
        *n_new = known ? 0 : rows.n;
    rows_release(&rows);
    return rc;
}
