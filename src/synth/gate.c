/* Asking for answers that are known. */
#include "synth/gate.h"
#include "base/rng.h"
#include "synth/labeller.h"
#include "task/answer.h"
#include <stdlib.h>

struct counting {
    struct gate *gate;
    const struct rows *rows;
};

static int take(void *context, int64_t row, const char *text, bool valid, struct err *e) {
    (void)e;
    struct counting *c = context;
    c->gate->n_invalid += !valid;
    c->gate->n_right += valid && str_equal(text, c->rows->records[row].answer);
    return 0;
}

static int count_labels(struct gate *g, struct teacher *t, const struct task *task, const struct rows *rows,
                        struct progress *progress, struct err *e) {
    int *labels = calloc((size_t)rows->n + 1, sizeof *labels);
    int rc = labels ? labeller_run(t, task, rows->records, rows->n, labels, progress, e)
                    : err_set(e, ERR_NO_MEMORY, "gate_run", "out of memory");
    for (int64_t i = 0; i < rows->n && rc == 0; i++) {
        g->n_invalid += labels[i] < 0;
        g->n_right += labels[i] == rows->records[i].label;
    }
    free(labels);
    return rc;
}

int gate_run(struct gate *out, struct teacher *t, const struct task *task, const struct rows *rows,
             int64_t most, uint64_t seed, struct progress *progress, struct err *e) {
    struct gate g = {.n = rows->n < most ? rows->n : most};
    int64_t *order = malloc((size_t)(rows->n + 1) * sizeof *order);
    struct rows some = {.n = g.n, .records = calloc((size_t)g.n + 1, sizeof *some.records)};
    int rc = order && some.records ? 0 : err_set(e, ERR_NO_MEMORY, "gate_run", "out of memory");
    struct rng rng;
    rng_seed(&rng, seed + 29);
    for (int64_t i = 0; i < rows->n && rc == 0; i++)
        order[i] = i;
    if (rc == 0)
        rng_shuffle(&rng, order, rows->n);
    for (int64_t i = 0; i < g.n && rc == 0; i++)
        some.records[i] = rows->records[order[i]];
    if (rc == 0)
        rc = task->kind == TASK_CLASSIFY
                 ? count_labels(&g, t, task, &some, progress, e)
                 : labeller_answers(t, task, &some, take, &(struct counting){&g, &some}, progress, e);
    if (rc == 0) {
        g.accuracy = interval_wilson(g.n_right, g.n);
        *out = g;
    }
    free(order);
    free(some.records);
    return rc;
}
