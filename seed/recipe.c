/* The recipes: see recipe.h. Widths are multiples of 256, since K-quants fall back to larger types otherwise. */
#include "recipe.h"
#include <string.h>

#define SEED_SHAPE(layers, width_ff)                                                                         \
    {                                                                                                        \
        .n_layer = (layers), .d_model = 256, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64,                  \
        .d_ff = (width_ff), .n_vocab = SEED_VOCABULARY, .n_ctx = SEED_CONTEXT, .rope_theta = 10000,          \
        .norm_eps = 1e-5F, .tied_head = true                                                                 \
    }

const struct recipe seed_recipes[] = {
    {.name = "base",
     .corpus = CORPUS_BASE,
     .config = SEED_SHAPE(4, 512),
     .seed = 1,
     .tokens = 12e6,
     .batch_tokens = 4096,
     .learning_rate = 2e-3F,
     .decay = 0.25,
     .warmup_steps = 100,
     .weight_decay = 0.05F,
     .easy_tokens = 4e6},
    {.name = "teacher",
     .corpus = CORPUS_TEACHER,
     .config = SEED_SHAPE(4, 512),
     .seed = 2,
     .tokens = 60e6,
     .batch_tokens = 4096,
     .learning_rate = 2e-3F,
     .decay = 0.25,
     .warmup_steps = 100,
     .weight_decay = 0.05F,
     .easy_tokens = 8e6},
};
const int seed_n_recipes = sizeof seed_recipes / sizeof *seed_recipes;

const struct recipe *recipe_find(const char *name) {
    for (int i = 0; i < seed_n_recipes; i++)
        if (strcmp(seed_recipes[i].name, name) == 0)
            return &seed_recipes[i];
    return NULL;
}
