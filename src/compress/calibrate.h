/* An importance matrix from the task's own training rows: each row's prompt and right answer go through the model, and what
 * meets each weight is summed. Never from validation or test rows: they judge the outcome.
 *
 * The prefix that all prompts share is decoded once and counted for every row, which gives the same sums as decoding it
 * each time. In the last block and the head only the positions that predict the answer count, since no others are ever
 * used there. */
#ifndef COMPRESS_CALIBRATE_H
#define COMPRESS_CALIBRATE_H

#include "base/progress.h"
#include "eval/rows.h"
#include "llama/imatrix.h"
#include "task/task.h"

enum { CALIBRATE_ROWS = 256 };

struct calibrate_options {
    int64_t n_rows;       /* taken evenly over all rows; 0: CALIBRATE_ROWS; never more than there are */
    double prefix_weight; /* of the prefix's tokens beside the records'; 0: 1 */
    double answer_weight; /* of the answer's tokens; 0: 1 */
    int n_threads;        /* 0: one a core */
};

/* *n_used: rows that went in. */
int calibrate(struct imatrix **out, const char *gguf, const struct task *t, const struct rows *rows,
              const struct calibrate_options *o, struct progress *p, int64_t *n_used, struct err *e);

#endif
