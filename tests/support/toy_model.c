/* See toy_model.h. */
#include "support/toy_model.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct model_config toy_config(void) {
    return (struct model_config){.n_layer = 2,
                                 .d_model = 16,
                                 .n_heads = 4,
                                 .n_kv_heads = 2,
                                 .head_dim = 6,
                                 .d_ff = 20,
                                 .n_vocab = 23,
                                 .n_ctx = 32,
                                 .rope_theta = 100,
                                 .norm_eps = 1e-5f,
                                 .tied_head = true};
}

const struct toy_variant toy_variants[] = {
    {.name = "llama, tied head"},
    {.name = "llama, own head", .untied = true},
    {.name = "scaled rotary frequencies", .factors = true},
    {.name = "halves, norms of the heads", .halves = true, .qk_norm = true},
    {.name = "llama with adapters", .untied = true, .lora = true},
    {.name = "halves, norms of the heads, adapters", .halves = true, .qk_norm = true, .lora = true},
    {.name = "biases", .halves = true, .bias = true},
    {.name = "biases, adapters", .halves = true, .bias = true, .lora = true},
    {.name = "window, gelu, norms of outputs", .halves = true, .qk_norm = true, .gemma = true},
    {.name = "window, gelu, norms of outputs, adapters",
     .halves = true,
     .qk_norm = true,
     .gemma = true,
     .lora = true},
};
const int toy_n_variants = sizeof toy_variants / sizeof *toy_variants;

struct model_config toy_variant_config(const struct toy_variant *v) {
    struct model_config c = toy_config();
    c.tied_head = !v->untied;
    c.rope_halves = v->halves;
    c.qk_norm = v->qk_norm;
    c.qkv_bias = v->bias;
    c.has_rope_factors = v->factors;
    for (int i = 0; i < c.head_dim / 2; i++)
        c.rope_factors[i] = 1 + (float)i;
    if (v->gemma) {
        c.post_norms = c.gelu = true;
        c.embed_scale = 4;
        c.window = 5;
        c.window_every = 2;
        c.local_theta = 10;
    }
    return c;
}

static void fill_set(struct nn_model *m, struct nn_set *s, struct rng *rng, float scale) {
    for (int i = 0; i < s->n_tensors; i++) {
        const struct nn_tensor *t = &s->tensors[i];
        int64_t n = t->rows * t->cols;
        bool is_norm = s == &m->base && t->rows == 1;
        float *values = malloc((size_t)n * sizeof *values);
        assert(values);
        for (int64_t j = 0; j < n; j++)
            values[j] = (is_norm ? 1 : 0) + scale * (float)rng_normal(rng);
        nn_set_write(m, s, t, values);
        free(values);
    }
}

void toy_fill(struct nn_model *m, uint64_t seed, float scale) {
    struct rng rng;
    rng_seed(&rng, seed);
    fill_set(m, &m->base, &rng, scale);
    fill_set(m, &m->adapter, &rng, scale);
}

void toy_batch(struct toy_batch *b, const struct nn_model *m, uint64_t seed) {
    static const int32_t start[TOY_SEQUENCES + 1] = {0, 13, 14, 31, TOY_TOKENS};
    struct rng rng;
    rng_seed(&rng, seed);
    *b = (struct toy_batch){0};
    memcpy(b->start, start, sizeof start);
    for (int s = 0; s < TOY_SEQUENCES; s++)
        for (int t = start[s]; t < start[s + 1]; t++) {
            b->token[t] = (int32_t)rng_range(&rng, 0, m->config.n_vocab - 1);
            b->position[t] = t - start[s];
            b->target[t] = rng_chance(&rng, 0.5) ? (int32_t)rng_range(&rng, 0, m->config.n_vocab - 1) : -1;
            b->weight[t] = 0.5f + (float)rng_double(&rng);
            b->weight_sum += b->target[t] < 0 ? 0 : (double)b->weight[t];
            b->n_targets += b->target[t] >= 0;
        }
    b->batch = (struct nn_batch){.n_tokens = TOY_TOKENS,
                                 .token = b->token,
                                 .position = b->position,
                                 .target = b->target,
                                 .weight = b->weight,
                                 .n_seq = TOY_SEQUENCES,
                                 .start = b->start};
}
