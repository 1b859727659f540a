/* AdamW with decoupled weight decay (arXiv 1711.05101), clipping by the global norm, and the learning rate's
 * schedule. Decay applies to matrices, not to norms.
 *
 *     struct optimizer o;
 *     optimizer_init(&o, &model, &(struct optimizer_options){.learning_rate = 2e-3f, .total_steps = 250}, &e);
 *     for (...) {
 *         nn_zero_gradients(&model);
 *         ... forward and backward ...
 *         optimizer_step(&o, &report, &e);
 *     }
 *     optimizer_release(&o); */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "nn/transformer.h"

/* The learning rate after the warm-up: as it is, or down to final_fraction of it in a line or along half a cosine. */
#define SCHEDULES(X) X(CONSTANT, "constant") X(LINEAR, "linear") X(COSINE, "cosine")
enum schedule_shape {
#define X(name, text) SCHEDULE_##name,
    SCHEDULES(X)
#undef X
};
const char *schedule_name(enum schedule_shape s);
int schedule_find(const char *name); /* -1 when there is none */

/* Zero means the default given. */
struct optimizer_options {
    float learning_rate; /* peak; required */
    float beta1, beta2;  /* 0.9, 0.95 */
    float epsilon;       /* 1e-8 */
    float weight_decay;  /* 0 */
    float clip_norm;     /* 1; negative: no clipping */
    enum schedule_shape schedule;
    int64_t warmup_steps; /* linear from 0 */
    int64_t total_steps;  /* where the decay ends; required unless constant */
    float final_fraction; /* of the peak, at total_steps and after */
};

struct optimizer {
    struct optimizer_options options;
    struct nn_model *model; /* borrowed */
    float *m, *v;           /* moments, backend memory, shaped as model->trained */
    int64_t step;           /* steps done */
};

struct optimizer_report {
    double gradient_norm; /* before clipping */
    float learning_rate;
    bool clipped;
};

int optimizer_init(struct optimizer *o, struct nn_model *model, const struct optimizer_options *options,
                   struct err *e);
void optimizer_release(struct optimizer *o);

/* One update from model->trained->gradient. ERR_DIVERGED, weights untouched, when the norm is not finite. */
int optimizer_step(struct optimizer *o, struct optimizer_report *report, struct err *e);

float schedule_rate(const struct optimizer_options *o, int64_t step); /* of step 1, 2, ... */

#endif
