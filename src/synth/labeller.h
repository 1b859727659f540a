/* The teacher as a judge: labels for given records, one LABEL question each, many under way at once, every answer journalled
 * before it is used (so a second run with the same records asks nothing).
 *
 *     int *labels = calloc(n, sizeof *labels);
 *     struct progress p; progress_begin(&p, "teacher", "rows", n);
 *     labeller_run(teacher, task, records, n, labels, &p, &e);   // labels[i]: index into task->labels, or -1
 *
 * Used by eval on held-out rows. The caller has asked for consent: own rows go to a teacher only when the project says so. */
#ifndef SYNTH_LABELLER_H
#define SYNTH_LABELLER_H

#include "base/err.h"
#include "base/progress.h"
#include "eval/rows.h"
#include "task/task.h"
#include "teacher/teacher.h"

/* labels_out[i] is -1 where the answer names no label of the task (an invalid answer, which counts as wrong).
 * ERR_BUDGET, ERR_NET, ERR_AUTH, ERR_INTERRUPTED: run again to go on where it stopped. */
int labeller_run(struct teacher *t, const struct task *task, const struct record *records, int64_t n,
                 int *labels_out, struct progress *progress, struct err *e);

/* The same for extract and respond: `take` gets each row's answer in normal form (valid), as it was written where it keeps to no
 * schema, or NULL where there is none. */
int labeller_answers(struct teacher *t, const struct task *task, const struct rows *rows,
                     int (*take)(void *context, int64_t row, const char *text, bool valid, struct err *e),
                     void *context, struct progress *progress, struct err *e);

#endif
