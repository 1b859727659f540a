/* Random rows of the tiny task, as a split of the records would give them. */
#ifndef TESTS_TINY_ROWS_H
#define TESTS_TINY_ROWS_H

#include "eval/rows.h"

/* Aborts when it cannot. The same seed gives the same rows. */
void tiny_rows(struct rows *rows, const struct task *t, int64_t n, uint64_t seed);
void tiny_rows_release(struct rows *rows);

#endif
