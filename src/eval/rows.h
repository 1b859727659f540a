/* Rows with known labels: from a file (CSV, or JSON Lines by its name *.jsonl or *.ndjson), or a split of the records.
 *
 *     struct rows rows;
 *     rows_read(&rows, task, "held-out.csv", &(struct rows_options){.label_column = "label"}, &e);
 *     ... rows.records[i].values, rows.records[i].label ...
 *     rows_release(&rows);
 *
 * Values are taken leniently (record_build with strict false): a user's own rows may lie outside a field's range. What cannot
 * be parsed, a label that the task does not have, or a column that is not there is an error naming file, line and column:
 * a row is never left out silently. */
#ifndef EVAL_ROWS_H
#define EVAL_ROWS_H

#include "base/hash.h"
#include "store/store.h"
#include "task/task.h"

struct rows {
    struct arena arena;
    struct record *records; /* label, or answer, set */
    int64_t n;
    int64_t n_own;      /* rows of the user's own, which need leave to be sent to a teacher */
    const char **keys;  /* [n] values of the key column; NULL where none was asked for */
    const char *source; /* "held-out.csv"; "records.sqlite (test)" */
    char sha256
        [SHA256_HEX]; /* of the normalised rows and labels: two results with the same hash are over the same rows */
};

struct rows_options {
    /* NULL: "label". Of extract and respond: a column that holds the whole answer as JSON or text,
     * where the answer's fields have no columns of their own; NULL: "answer" */
    const char *label_column;
    int64_t limit;          /* take the first so many; 0: all */
    const char *key_column; /* a column kept beside the records, for splits by group or time; NULL: none */
    bool own;               /* rows_from_store: the user's own alone, none that a teacher wrote */
};

int rows_read(struct rows *out, const struct task *t, const char *path, const struct rows_options *o,
              struct err *e);

/* Accepted records of a split, in the order of their ids. `name` stands in messages and in `source`. */
int rows_from_store(struct rows *out, const struct task *t, struct store *s, const char *name,
                    enum store_split split, const struct rows_options *o, struct err *e);
void rows_release(struct rows *r); /* safe to repeat */

/* Classify: rows of each label, into count[n_labels of the task]. */
void rows_count(const struct rows *r, const struct task *t, int64_t *count);

#endif
