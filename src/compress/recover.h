/* Recovery: training on through the rounding, so that few bits lose little.
 *
 * Each step computes loss and gradients with the weights as rounded to the very values that the file will hold (model/block.h, same
 * types, same importance matrix), and applies the gradients to the weights before rounding (the straight-through estimator,
 * Bengio et al., arXiv 1308.3432). What it learns from is the unrounded student: each training row with the probabilities that the
 * student gives its labels. Quantising the result with the same types and matrix gives exactly the weights that the last evaluation
 * saw.
 *
 *     struct rounding r = {.names = names, .types = types, .n = n, .importance = im};
 *     recover_run(&result, &student, &r, &training, &validation, &(struct recover_options){0}, &progress, &e);
 *     weights_write_merged(&student.model, student.file, "recovered.gguf", MODEL_F32, student.prompt.tag, &e);
 *
 * Deterministic for a given number of threads. */
#ifndef COMPRESS_RECOVER_H
#define COMPRESS_RECOVER_H

#include "base/progress.h"
#include "compress/student.h"
#include "llama/imatrix.h"

/* Which tensor is rounded to what. */
struct rounding {
    const char *const *names, *const *types; /* [n]; types as ggml names them; f32 and f16 are allowed */
    int n;
    const struct imatrix *importance; /* NULL: none */
};

struct recover_options {
    int64_t epochs;      /* over the training rows; 0: 3 */
    int64_t batch_rows;  /* of a step; 0: 16 */
    float learning_rate; /* at its peak; 0: 3e-4, a tenth of that from 50 million parameters on */
    uint64_t seed;       /* of the rows' order */
    /* Probabilities of the labels to be learned, [rows, labels] of the training and of the validation rows; borrowed. NULL: the
     * student's own, as it is before rounding. */
    const double *taught, *judged;
};

struct recover_result {
    int64_t steps, best_step; /* 0: no step was better than rounding alone */
    /* Mean divergence of the label probabilities from the unrounded student's on the validation rows, in nats. */
    double before, after;
    double seconds;
};

/* Bytes that recovery of this model takes beside its weights. */
int64_t recover_memory_bytes(const struct nn_model *m);

/* On success the model holds the weights before rounding whose rounded form did best on the validation rows (on the training
 * rows where there are none). ERR_INTERRUPTED: nothing is kept. */
int recover_run(struct recover_result *result, struct student *s, const struct rounding *r,
                const struct dataset *training, const struct dataset *validation,
                const struct recover_options *o, struct progress *p, struct err *e);

/* The model's weights rounded in place; what recover_run computes with. */
int rounding_apply(struct nn_model *m, const struct rounding *r, struct err *e);

#endif
