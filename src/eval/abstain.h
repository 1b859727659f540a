/* When not to answer: the most probable label's probability is the confidence, and rows below a threshold are left to somebody
 * else. The threshold is chosen on validation rows, which training did not see.
 *
 *     struct abstain a;
 *     abstain_choose(&rows, 0.2, &a, &e);     // leaving a row costs a fifth of a wrong answer
 *     ... a.threshold, a.coverage, a.risk; a.points is the risk-coverage curve
 *
 * coverage: the share of rows that are answered; risk: the share of those that are wrong. The threshold minimises
 *     (wrong answers + cost x rows left) / rows        (Chow, IEEE Trans. Information Theory 16, 1970)
 * over all cuts between distinct confidences; of equally good ones the one that answers most. The curve and the area below it
 * (AURC, the mean risk over all coverages) are those of El-Yaniv and Wiener, JMLR 11, 2010. */
#ifndef EVAL_ABSTAIN_H
#define EVAL_ABSTAIN_H

#include "eval/metrics.h"

enum { ABSTAIN_POINTS = 33 };

struct abstain_point {
    double coverage, risk;
    double threshold; /* answers at least this confident; 0: all */
};

struct abstain {
    double threshold, cost;
    double coverage, risk; /* at the threshold */
    double risk_all;       /* when every row is answered */
    double aurc;
    int64_t n_rows;
    struct abstain_point points[ABSTAIN_POINTS]; /* rising coverage, the last one is 1 */
    int n_points;
};

/* cost in (0, 1]; 1 never leaves a row. A row that was answered invalidly counts as wrong. ERR_INPUT without rows or
 * probabilities. */
int abstain_choose(const struct scored *rows, double cost, struct abstain *out, struct err *e);

#endif
