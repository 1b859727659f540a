/* What a file of rows holds: each column's type, range, values, what is missing, and how it relates to the label. Read once, in
 * one pass, at most PROFILE_ROWS_MAX rows.
 *
 *     struct profile p;
 *     profile_read(&p, "rows.csv", "class", &e);
 *     for (int i = 0; i < p.n_columns; i++) ... p.columns[i].type ...
 *     profile_release(&p);
 *
 * The label may be one column, several with commas between ("room,action"), or of JSON Lines a key that holds an object, whose
 * entries then are columns of the label. */
#ifndef SYNTH_PROFILE_H
#define SYNTH_PROFILE_H

#include "base/err.h"
#include "base/mem.h"
#include "task/task.h"
#include <stdbool.h>
#include <stdint.h>

enum { PROFILE_ROWS_MAX = 200000, PROFILE_VALUES_MAX = 64, PROFILE_COLUMNS_MAX = 512 };

enum profile_dates { DATES_NONE, DATES_ISO, DATES_DAY_FIRST, DATES_MONTH_FIRST, DATES_EITHER };

struct profile_value {
    const char *text;
    uint64_t hash;
    int64_t n;
};

struct profile_column {
    const char *name;
    bool of_label;                    /* the label, or part of it */
    bool nested;                      /* an entry of the label's object */
    bool structured;                  /* holds lists or maps, which no field can */
    int64_t n, n_missing, n_distinct; /* values; missing ones do not count in n and n_distinct */
    enum field_type type; /* INTEGER, NUMBER, DATE, else TEXT: whether a category is for infer.c to say */
    enum profile_dates dates;
    int decimals; /* most digits after the point, up to TASK_DECIMALS_MAX */
    bool comma;   /* some numbers have a decimal comma, and it can be nothing else */
    bool near_number,
        near_date; /* text, of numbers with something around them, or of dates in more than one order */
    double min, max;
    int64_t longest; /* characters */
    double words;    /* mean of a value */
    bool rising;     /* each number above the one before */
    /* share of rows whose label is the commonest one of their value; NAN where not classified */
    double determined;
    /* numbers and two labels: share of rows that one threshold puts right; NAN otherwise */
    double by_threshold;
    struct profile_value *values; /* the first different ones */
    int n_values;
    /* by row; 0 and NAN where missing */
    uint64_t *hash;
    double *number;
    int64_t hash_capacity, number_capacity;
    int64_t n_as_integer, n_as_number, n_as_iso, n_day_first, n_month_first, n_comma, n_dated,
        n_near;               /* values that could be one */
    int64_t n_point, n_three; /* numbers with a point; with three digits behind a comma, as thousands have */
    int64_t sum_words;
};

struct profile {
    struct arena arena;
    struct profile_column *columns;
    int n_columns;
    int64_t n_rows;
    const char *encoding; /* of the file; NULL: UTF-8 */
    bool cut;             /* the file has more */
    bool nested_label;    /* the label is an object */
    int64_t n_unlabelled; /* rows whose label is missing */
    double majority;      /* share of the commonest label; NAN unless there is one label column */
};

/* ERR_NOT_FOUND, ERR_FORMAT and ERR_INPUT name file, line and column. */
int profile_read(struct profile *out, const char *path, const char *label, struct err *e);
void profile_release(struct profile *p); /* safe to repeat */

/* Rows that have another row's values in all of `use` (indexed by column) but another label, beside the rows of the commonest label
 * of each such group: so many can never be right. */
int profile_contradictions(const struct profile *p, const bool *use, int64_t *n, struct err *e);

#endif
