/* What the host says of rows: golden ones for the self-test, and from all of them when the device should not answer.
 *
 * A golden row as the device reads it, one a line:
 *   {"record":{...},"label":"normal","probabilities":{"suspicious":0.02,...}} */
#ifndef DELIVER_GOLDEN_H
#define DELIVER_GOLDEN_H

#include "eval/abstain.h"
#include "eval/rows.h"
#include "task/classify.h"

/* n rows evenly over all, so that every label and region is there as often as among them. Appended. */
int golden_write(struct classifier *c, const struct task *t, const struct rows *rows, int64_t n,
                 struct str *out, struct err *e);

enum { GOLDEN_CALIBRATION_MIN = 20, GOLDEN_CALIBRATION_MAX = 1000 };

/* The threshold below which the student should not answer, over at most GOLDEN_CALIBRATION_MAX of the rows. ERR_INPUT when there
 * are fewer than GOLDEN_CALIBRATION_MIN. */
int golden_calibrate(struct classifier *c, const struct task *t, const struct rows *rows, double cost,
                     struct abstain *out, struct err *e);

#endif
