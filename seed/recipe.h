/* How each seed model is made: one table, so that the rebuild is one command. seed/README.md tells why. */
#ifndef SEED_RECIPE_H
#define SEED_RECIPE_H

#include "corpus.h"
#include "model/config.h"

enum { SEED_VOCABULARY = 2048, SEED_CONTEXT = 2048 };

struct recipe {
    const char *name;
    enum corpus_kind corpus;
    struct model_config config;
    uint64_t seed;
    double tokens; /* of the whole run */
    /* held after the warm-up, then lowered linearly over the last `decay` share of the tokens */
    float learning_rate;
    double decay;
    int64_t warmup_steps;
    float weight_decay;
    double easy_tokens; /* the curriculum: difficulty grows from 0 to 1 over these; 0: full from the start */
};

extern const struct recipe seed_recipes[];
extern const int seed_n_recipes;
const struct recipe *recipe_find(const char *name); /* NULL: none */

#endif
