/* How sure a figure is: 95% intervals and paired comparisons.
 *
 * Proportions (accuracy, invalid rate): Wilson's score interval (Wilson, 1927), which keeps its level near 0 and 1:
 *     (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n),  z = 1.95996
 * Other figures: percentile bootstrap (Efron, 1979) over resamples drawn within each true label, so that a resample
 * keeps the balance of the rows; the 2.5% and 97.5% order statistics.
 * Two models on the same rows: McNemar's exact test (binomial on the rows where only one is right) and, for the
 * difference of accuracies, Newcombe's paired score interval (Statistics in Medicine 17, 1998, method 10). For any other
 * figure: the bootstrap of the difference with the same resample for both. */
#ifndef EVAL_INTERVAL_H
#define EVAL_INTERVAL_H

#include "eval/metrics.h"

struct interval {
    double low, high; /* NAN where the figure is not defined */
};

/* n 0 gives [0, 1]. */
struct interval interval_wilson(int64_t hits, int64_t n);

struct bootstrap_options {
    int n_resamples; /* 0: 2000 */
    uint64_t seed;
};

/* Intervals of all figures: Wilson for the proportions, the bootstrap for the rest. */
int interval_metrics(const struct scored *s, const struct bootstrap_options *o,
                     struct interval out[METRIC_COUNT], struct err *e);

/* Two models over the same rows, in the same order. */
struct paired {
    int64_t n;
    int64_t both, only_a, only_b, neither; /* right answers */
    double p_value;                        /* McNemar's, exact, two-sided; 1 when they never differ */
    double difference;                     /* accuracy of a minus accuracy of b */
    struct interval interval;              /* of the difference: Newcombe */
    double metric_difference[METRIC_COUNT];
    struct interval metric_interval[METRIC_COUNT]; /* bootstrap; of accuracy too */
};

/* ERR_MISMATCH when the rows' truth differs. */
int paired_compare(const struct scored *a, const struct scored *b, const struct bootstrap_options *o,
                   struct paired *out, struct err *e);

/* The pieces, for counts at hand. */
double paired_mcnemar(int64_t only_a, int64_t only_b);
struct interval paired_newcombe(int64_t both, int64_t only_a, int64_t only_b, int64_t neither);

#endif
