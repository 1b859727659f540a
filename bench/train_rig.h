/* One measured optimiser step of the work that distillation really does, on a real model's shape with random weights: a prompt of 150
 * tokens that all share, a record of 100, an answer of 4 (a written one: 32); LoRA rank 16 on all linear layers.
 *
 *     train_rig_measure("TinyLlama-1.1B", TRAIN_FAST, 64)     // one line of JSON on standard output
 *
 * The process takes this one step and ends, so that its peak memory is the step's. */
#ifndef BENCH_TRAIN_RIG_H
#define BENCH_TRAIN_RIG_H

#include "nn/transformer.h"

/*   fast     the prefix once a step, micro-batches behind it, every saving
 *   packed   sequences whole and packed, every other saving, nothing computed twice
 *   naive    as trainers usually do it: sequences whole, every block computed again for backward, logits everywhere
 *   plain    no prefix, nothing to save: contexts of 128 tokens, each token a target */
#define TRAIN_PATHS(X) X(FAST, "fast") X(PACKED, "packed") X(NAIVE, "naive") X(PLAIN, "plain")
enum train_path {
#define X(id, name) TRAIN_##id,
    TRAIN_PATHS(X)
#undef X
        TRAIN_N_PATHS
};
const char *train_path_name(enum train_path p);
bool train_path_find(const char *name, enum train_path *out);

struct train_shape_case {
    const char *name;
    struct model_config config;
    const char *base; /* how the frozen base is kept: "bf16", "f32", "q4_K" */
    int64_t micro_tokens;
    int answer;     /* tokens */
    double most_gb; /* figure 2.4's limit */
};
const struct train_shape_case *train_shape_case(const char *name); /* NULL: none */

/* How the base is kept (TRAIN_BASE overrides the shape's), and how many blocks (TRAIN_LAYERS). */
const char *train_base_of(const struct train_shape_case *s);
int train_layers_of(const struct train_shape_case *s);

/* wall_s and cpu_s (processor time over threads) a sample, macs a sample, loss, the product's rates beside it (measured before
 * the step and after each micro-batch, between the step's clocks: over all of these, of the best, by processor time), peak and
 * planned bytes. 0, or 1 with a message. */
int train_rig_measure(const char *shape, enum train_path path, int samples);

#endif
