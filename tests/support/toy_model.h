/* Small decoders with random weights and random packed batches, for the tests of nn/ and train/. */
#ifndef SUPPORT_TOY_MODEL_H
#define SUPPORT_TOY_MODEL_H

#include "nn/transformer.h"

/* 2 blocks, 16 wide, 4 heads over 2 key-value heads of 6, 20 in the middle, 23 tokens. */
struct model_config toy_config(void);

/* Every variant of a layer that the architectures need, by name. */
struct toy_variant {
    const char *name;
    bool untied, halves, qk_norm, factors, lora, bias, gemma;
};
extern const struct toy_variant toy_variants[];
extern const int toy_n_variants;
struct model_config toy_variant_config(const struct toy_variant *v);

/* Weights (and adapters, B too) of normal numbers times `scale`, norms around 1: everything has an effect on the loss. */
void toy_fill(struct nn_model *m, uint64_t seed, float scale);

enum { TOY_TOKENS = 40, TOY_SEQUENCES = 4 };
struct toy_batch {
    struct nn_batch batch; /* points into the arrays below */
    int32_t token[TOY_TOKENS], position[TOY_TOKENS], target[TOY_TOKENS], start[TOY_SEQUENCES + 1];
    float weight[TOY_TOKENS];
    double weight_sum;
    int64_t n_targets;
};
/* Sequences of 1 to 17 tokens; about half of the tokens have a target, with weights around 1. */
void toy_batch(struct toy_batch *b, const struct nn_model *m, uint64_t seed);

#endif
