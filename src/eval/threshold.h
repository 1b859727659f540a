/* Where to cut the positive label's probability. No single cut serves every figure on unbalanced rows, so each figure is
 * reported at its own, chosen on validation rows and applied to others. A row is positive when its score is at least
 * the threshold. Candidates lie half-way between neighbouring scores, and beyond both ends; of equally good ones the nearest
 * to 1/2 is taken. */
#ifndef EVAL_THRESHOLD_H
#define EVAL_THRESHOLD_H

#include "eval/metrics.h"

/* For two labels. `what`: METRIC_ACCURACY, METRIC_BALANCED_ACCURACY or METRIC_F1. *best (may be NULL) is the figure reached on
 * these rows. ERR_INPUT for other figures, other numbers of labels, no probabilities or no rows. */
int threshold_choose(const struct scored *validation, enum metric what, double *threshold, double *best,
                     struct err *e);

/* The answers that the threshold gives, into answer[n_rows]. */
void threshold_apply(const struct scored *s, double threshold, int *answer);

#endif
