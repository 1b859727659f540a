/* The outcome of one evaluation as a document (edgestill.eval/1, docs/formats.md): figures with their 95% intervals, the
 * confusion matrix, and each figure at the threshold that validation rows chose for it. Seeds of the bootstrap are fixed, so the
 * same answers give the same document. *
 * Of extract and respond the accuracy is the share of answers that are exactly right, and there is `answers`: for each field its
 * share of right values (over all rows, invalid answers count as wrong), for respond the mean F1 of the words (Rajpurkar et al.,
 * SQuAD, 2016). */
#ifndef EVAL_RESULT_H
#define EVAL_RESULT_H

#include "eval/interval.h"
#include "eval/score.h"
#include <jansson.h>

#define RESULT_FORMAT         "edgestill.eval/1"
#define RESULT_SUMMARY_FORMAT "edgestill.eval-summary/1"

struct result {
    const char *who; /* "base", "student-f16", "student-quant", "teacher" */
    const char *key; /* hash of everything that decides the outcome: the same key need not be scored again */
    const char *model;    /* path below the project, or the teacher's name */
    const char *decoding; /* "label scoring", "chat" */
    const struct task *task;
    const struct rows *rows;
    const struct scores *scores;
    const struct rows *validation; /* NULL: no thresholds */
    const struct scores *validation_scores;
};

/* New reference. */
int result_to_json(const struct result *r, json_t **out, struct err *e);

/* One evaluation's figures as they stand in a summary: {"accuracy","balanced_accuracy","macro_f1","f1","pr_auc","brier",
 * "invalid_rate","n","low","high"}; low and high are the accuracy's interval. From result_to_json's document. New reference. */
int result_short(const json_t *result, json_t **out, struct err *e);

/* {"a","b","n","difference","low","high","p_value","only_a","only_b"} of the accuracies, a minus b, same rows. */
int result_compare(const char *a, const struct scores *scores_a, const char *b, const struct scores *scores_b,
                   json_t **out, struct err *e);

/* A figure of a result: metrics.<name>.value; NAN where there is none. */
double result_value(const json_t *result, const char *metric);

#endif
