/* Predictions for one candidate: file size, memory, speeds and time of a decision on the device; time and memory of training
 * on this host. Each with an interval and its basis; plan.h says what they mean.
 *
 *     struct predict_input in = {.shape = &s, .mix = MIX_Q4_K_M, .rates = &rates, .context = 512, .ubatch = 128, ...};
 *     predict(&in, &arena, &out, &e);
 *
 * The arithmetic: DESIGN's facts on performance. Memory = weights + KV cache + compute buffers + runtime; reading =
 * multiply-accumulates by tensor type over the rate of that type; writing = bytes by type over the bandwidth of that type. */
#ifndef PLAN_PREDICT_H
#define PLAN_PREDICT_H

#include "plan/plan.h"
#include "plan/rates.h"

/* This machine, as far as training goes. All 0: training is not predicted. */
struct predict_host {
    double macs_per_s;    /* of a single-precision matrix product (host.h) */
    double memory_bytes;  /* available now; 0: unknown */
    double measured_size; /* side of the measured product, for the basis */
    int threads;
};

/* What the task asks of the model, counted in its own tokens (or estimated: then says so). */
struct predict_task {
    int64_t prefix_tokens, record_tokens, answer_tokens,
        label_tokens;       /* label_tokens: of all labels together */
    int64_t longest_tokens; /* of a whole prompt with answer, for the context */
    bool counted;           /* false: estimated from the text's length */
    int64_t n_records, epochs;
};

struct predict_input {
    const struct shape *shape;
    enum mix mix;
    const struct device_rates *rates;
    const struct predict_task *task;
    const struct predict_host *host;
    enum plan_method method;
    int rank;
    int64_t context, ubatch;
    enum plan_kv_type kv_type;
    bool label_scoring, prefix_state;
};

int predict(const struct predict_input *in, struct arena *a, struct plan_prediction *out, struct err *e);

/* What the operating system keeps on a device: known or assumed (basis says which). */
int predict_reserved(const struct catalog_device *d, struct arena *a, struct estimate *out, struct err *e);

#endif
