/* How well a model answers: figures over rows with known labels.
 *
 * Rows are given as `struct scored`, borrowed arrays. An invalid answer (-1) is wrong everywhere: it counts against its
 * row's label and for no other. Every figure can be weighted by a count per row, so that a bootstrap resample is a vector of
 * counts and nothing is copied or sorted again:
 *
 *     struct metrics_work *w = metrics_work_new(&rows, &e);
 *     struct metrics m; metrics_measure(w, NULL, &m);       // plain
 *     metrics_measure(w, counts, &m);                        // a resample
 *     metrics_work_free(w);
 *
 * With c[t][a] rows of label t answered a, n rows, n_t of label t:
 *   accuracy           sum_t c[t][t] / n
 *   balanced_accuracy  mean over labels that occur of recall_t = c[t][t] / n_t
 *   macro_f1           mean over labels that occur, in truth or answers, of F1_t = 2 c[t][t] / (n_t + sum_s c[s][t])
 *   f1                 F1 of the positive label
 *   pr_auc             average precision of the positive label's probability: sum over distinct scores, falling, of
 *                      (R_k - R_{k-1}) P_k; ties share a threshold (Davis and Goadrich, ICML 2006, on why not trapezoids)
 *   roc_auc            probability that a positive row scores above another, ties half (Hanley and McNeil, 1982)
 *   brier              mean of 1/2 sum_k (p_k - y_k)^2 (Brier, 1950; halved, so that two labels give (p - y)^2)
 *   log_loss           mean of -log p_truth, p at least 1e-12
 *   invalid_rate       share of answers that are no label
 * A figure that is not defined (no row, no probabilities, no positive row) is NAN. */
#ifndef EVAL_METRICS_H
#define EVAL_METRICS_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define METRICS(X)                                                                                           \
    X(ACCURACY, "accuracy")                                                                                  \
    X(BALANCED_ACCURACY, "balanced_accuracy")                                                                \
    X(MACRO_F1, "macro_f1")                                                                                  \
    X(F1, "f1")                                                                                              \
    X(PR_AUC, "pr_auc")                                                                                      \
    X(ROC_AUC, "roc_auc")                                                                                    \
    X(BRIER, "brier")                                                                                        \
    X(LOG_LOSS, "log_loss")                                                                                  \
    X(INVALID_RATE, "invalid_rate")

enum metric {
#define X(name, text) METRIC_##name,
    METRICS(X)
#undef X
        METRIC_COUNT
};
const char *metric_name(enum metric m);

/* Rows and what was answered. All arrays are borrowed. */
struct scored {
    int64_t n_rows;
    int n_labels;       /* 2 or more */
    int positive;       /* the label of f1, pr_auc, roc_auc */
    const int *truth;   /* [n_rows] 0 to n_labels - 1 */
    const int *answer;  /* [n_rows] the same, or -1: invalid */
    const double *prob; /* [n_rows, n_labels] row-major, each row's sum is 1; NULL: the model gives none */
};

struct metrics {
    double value[METRIC_COUNT];
};

struct metrics_work; /* opaque: the rows by falling score, and scratch */
/* ERR_INPUT for a truth or answer out of range or a probability that is not in [0, 1]. `s` must outlive it. */
int metrics_work_new(struct metrics_work **out, const struct scored *s, struct err *e);
void metrics_work_free(struct metrics_work *w); /* NULL is fine */

/* `count` NULL: each row once. */
void metrics_measure(struct metrics_work *w, const int32_t *count, struct metrics *out);

/* One measurement without keeping the work. */
int metrics_compute(const struct scored *s, struct metrics *out, struct err *e);

/* c[n_labels, n_labels + 1]: rows of label t answered a; the last column is invalid answers. */
void metrics_confusion(const struct scored *s, int64_t *matrix);

#endif
