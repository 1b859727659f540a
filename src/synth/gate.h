/* The teacher gate: before money goes into data, the teacher answers labelled rows of the user's, which must be shared for that.
 *
 *     struct gate g;
 *     gate_run(&g, teacher, task, &rows, 100, &progress, &e);
 *     if (g.accuracy.low < bar) ... say so before spending more
 */
#ifndef SYNTH_GATE_H
#define SYNTH_GATE_H

#include "base/progress.h"
#include "eval/interval.h"
#include "eval/rows.h"
#include "teacher/teacher.h"

struct gate {
    int64_t n, n_right, n_invalid;
    struct interval accuracy; /* Wilson, 95% */
};

/* The first `most` rows of an order drawn by seed. The caller has asked for leave: rows are sent to the teacher. Extract and
 * respond count exact answers. */
int gate_run(struct gate *out, struct teacher *t, const struct task *task, const struct rows *rows,
             int64_t most, uint64_t seed, struct progress *progress, struct err *e);

#endif
