/* How probable a teacher holds each label of a classify task, as it stands in a record: {"normal":0.98,"suspicious":0.02}. */
#ifndef TASK_BELIEF_H
#define TASK_BELIEF_H

#include "base/err.h"
#include "base/str.h"
#include "task/task.h"

/* probabilities[n_labels], which sum to 1; appended. */
int belief_write(const struct task *t, const double *probabilities, struct str *out, struct err *e);
/* probabilities[n_labels]; ERR_INPUT when the text is not of exactly the task's labels or does not sum to 1 (within 1e-6, what the
 * digits of a dozen labels may add up to). */
int belief_read(const struct task *t, const char *text, double *probabilities, struct err *e);

#endif
