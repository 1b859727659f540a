/* Error-driven rounds: after training, a smaller set of records more, from the corners where the student is wrong (as in PGKD, arXiv
 * 2411.05045). Validation rows are counted in the cells of the quota grid they lie in; cells in which the student errs more often than
 * overall share the round's records, by errors times error rate; a label that the student always gets right takes the same
 * corners from the other side. Every label gets as many, so the balance stays exact.
 *
 * A round is a note of the store, written before anything is asked for it. So it is part of the quotas (rounds_apply), and a
 * run that was killed goes on with it. Its records train: validation and test rows stay what they were, which makes the student
 * before and after comparable.
 *
 *     struct round r = {.each = 50, .money = spent};
 *     rounds_plan(store, task, 1000, &rows, wrong, &r, &e); // r.number is 1, 2, ...
 *     generate_run(...);                                    // fills it */
#ifndef SYNTH_ROUNDS_H
#define SYNTH_ROUNDS_H

#include "eval/rows.h"
#include "store/store.h"
#include "synth/grid.h"

struct round {
    int number;       /* from 1 */
    int64_t each;     /* records of every label */
    int64_t quota;    /* of every label with it; the main set may grow later */
    int64_t n, wrong; /* validation rows; those that the student before the round answered wrong */
    int64_t records;  /* accepted ones before it */
    double money;     /* US dollars in the ledger before it, with what is in doubt */
};

/* How many rounds there are, and the latest one (may be NULL; untouched when there is none). */
int rounds_latest(struct store *s, int *n, struct round *latest, struct err *e);

/* Adds the rounds' records to the quotas of a fresh grid. While the latest is what is missing, its cells come first. */
int rounds_apply(struct grid *g, struct store *s, struct err *e);

/* Plans a round of r->each records a label over rows with wrong[rows->n] set where the student errs; sets number, quota, n and
 * wrong. n_records: of the main set, as for grid_init. ERR_INPUT when no row is wrong. */
int rounds_plan(struct store *s, const struct task *t, int64_t n_records, const struct rows *rows,
                const bool *wrong, struct round *r, struct err *e);

/* The latest round ends with `each` records of a label, for it found no more; -1 takes it back. */
int rounds_end(struct store *s, int64_t each, struct err *e);

#endif
