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

/* What a training step of the product's own costs here (host.h): a multiply-accumulate of the blocks, a value of the width for each
 * token and layer besides, a value that is trained for each update. All 0: not measured, a share of the product's rate stands in. */
struct predict_step {
    double s_per_mac, s_per_value, s_per_trained;
};

/* This machine, as far as training goes. All 0: training is not predicted. */
struct predict_host {
    double macs_per_s;    /* of a single-precision matrix product (host.h) */
    double memory_bytes;  /* available now; 0: unknown */
    double measured_size; /* side of the measured product, for the basis */
    int threads;
    double others;               /* share of the processors that other programs had meanwhile */
    struct predict_step step[2]; /* by method */
};
/* Forward, and back to the inputs; full training adds back to the weights. */
double predict_passes(enum plan_method method);
#define HOST_BUSY 0.1 /* others' share from which a measured rate says less than the machine can do */

/* What the task asks of the model, counted in its own tokens (or estimated: then says so). */
struct predict_task {
    int64_t prefix_tokens, record_tokens, answer_tokens,
        label_tokens;       /* label_tokens: of all labels together */
    int64_t longest_tokens; /* of a whole prompt with answer, for the context */
    int64_t reason_tokens;  /* of the teacher's reasons, learned behind a second prompt; 0: none */
    bool counted;           /* false: estimated from the text's length */
    int64_t n_records, epochs;
    int64_t batch_rows; /* of an optimiser step, in which the prefix is computed once; 0: 32 */
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
    bool plain_attention; /* without flash attention, as llama-bench does and edgestill does not */
    /* the vocabulary of `shape` is a guess at what is left of so many tokens; 0: it is not trimmed */
    int64_t trimmed_from;
};

int predict(const struct predict_input *in, struct arena *a, struct plan_prediction *out, struct err *e);

/* The two halves, for thousands of settings: without a text when `a` is NULL. `work` is mix_count's. The training half depends on
 * shape, method, rank, task and host alone; accuracy.h has the third. */
void predict_on_device(const struct predict_input *in, const struct mix_work *work, struct arena *a,
                       struct plan_prediction *out);
void predict_training(const struct predict_input *in, const struct mix_work *work, struct arena *a,
                      struct plan_prediction *out);

/* What the teacher has to be asked for the records, as `generate` quotes it (synth/generate.h). */
struct predict_teacher {
    struct estimate calls, tokens, money, seconds; /* money.value 0: free, or (basis says) of unknown price */
};

/* Disk that the stages take here: base, merged copy, checkpoints, the quantised file. */
struct estimate predict_disk(const struct predict_input *in, struct arena *a);

/* What the operating system keeps on a device: known or assumed (basis says which). */
int predict_reserved(const struct catalog_device *d, struct arena *a, struct estimate *out, struct err *e);

#endif
