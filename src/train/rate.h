/* What the machine's matrix product reaches by itself on the shapes of a model's blocks: a training run is set beside that. */
#ifndef TRAIN_RATE_H
#define TRAIN_RATE_H

#include "nn/model.h"
#include "tensor/count.h"

/* Rates over the seven matrices of a block, each with its share of the work, for `tokens` rows. Every shape is measured a few times
 * for 20 ms at least; per_s counts the best run of each, since a machine that others use is only ever slower. The shapes are
 * forward's; backward's are the same matrices, and reach the same (134 and 135 GMAC/s in a step of Qwen3-0.6B). All 0 when the
 * products are too small to be measured (below 2^24 multiply-adds): then there is nothing to be told. ERR_NO_MEMORY. */
int train_product_rate(const struct nn_model *m, int64_t tokens, struct ops_rate *out, struct err *e);

/* Products with operands rounded to bfloat16: only where the processor has units for them and they are the faster here, on the
 * model's own shapes. Measures both and leaves the model's CPU table with the faster. */
struct train_products {
    bool bf16;
    struct ops_rate f32,
        rounded; /* rounded: 0 without such units, or where the model is too small to be measured */
};
int train_choose_products(const struct nn_model *m, int64_t tokens, struct train_products *out,
                          struct err *e);

#endif
