/* The recipes: see recipe.h. Widths are multiples of 256, since K-quants fall back to larger types otherwise. */
#include "recipe.h"
#include <string.h>

#define SEED_SHAPE(layers, width_ff)                                                                         \
    {                                                                                                        \
        .n_layer = (layers), .d_model = 256, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64,                  \
        .d_ff = (width_ff), .n_vocab = SEED_VOCABULARY, .n_ctx = SEED_CONTEXT, .rope_theta = 10000,          \
        .norm_eps = 1e-5F, .tied_head = true                                                                 \
    }

/* Both models grow from one trunk: reading fields, copying names and comparing numbers are the same skill in both. */
const struct recipe seed_recipes[] = {
    {.name = "trunk",
     .corpus = CORPUS_BOTH,
     .config = SEED_SHAPE(4, 512),
     .seed = 1,
     .tokens = 5.7e6,
     .learning_rate = 1.5e-3F,
     .decay = 0.0,
     .warmup_steps = 100,
     .weight_decay = 0.05F,
     .easy_tokens = 3e6},
    {.name = "base",
     .corpus = CORPUS_BASE,
     .config = SEED_SHAPE(4, 512),
     .seed = 2,
     .tokens = 0.8e6,
     .learning_rate = 1.5e-3F,
     .decay = 1.0,
     .warmup_steps = 50,
     .weight_decay = 0.05F},
    {.name = "drill",
     .corpus = CORPUS_DRILL,
     .config = SEED_SHAPE(4, 512),
     .seed = 4,
     .tokens = 2e6,
     .learning_rate = 1.5e-3F,
     .decay = 0.0,
     .warmup_steps = 30,
     .weight_decay = 0.05F,
     .easy_tokens = 1e6},
    {.name = "teacher",
     .corpus = CORPUS_TEACHER,
     .config = SEED_SHAPE(4, 512),
     .seed = 3,
     .tokens = 25e6,
     .learning_rate = 1.5e-3F,
     .decay = 0.6,
     .warmup_steps = 50,
     .weight_decay = 0.05F},
};
const int seed_n_recipes = sizeof seed_recipes / sizeof *seed_recipes;

const struct recipe *recipe_find(const char *name) {
    for (int i = 0; i < seed_n_recipes; i++)
        if (strcmp(seed_recipes[i].name, name) == 0)
            return &seed_recipes[i];
    return NULL;
}
