/* Training a seed model from its recipe: resumable to the bit, with a log in JSON Lines and examinations as it goes. */
#ifndef SEED_TRAINER_H
#define SEED_TRAINER_H

#include "recipe.h"

struct trainer_options {
    const char *folder;     /* checkpoint, log */
    int n_threads;          /* 0: one a core */
    bool bf16;              /* products in bfloat16, where the processor has them */
    double tokens;          /* 0: the recipe's */
    double seconds;         /* stop (resumable) after so long; 0: never */
    const char *start_from; /* a checkpoint whose weights to begin with; NULL: random */
};

/* Trains until the recipe's tokens are done; a later call goes on from the folder's checkpoint. */
int trainer_run(const struct recipe *r, const struct trainer_options *o, struct err *e);

/* Share of examinations answered exactly, greedily; n_conditions 1 to 3, or -1 drafting, -2 refusing. `n` documents. */
struct nn_model;
int trainer_examine(struct nn_model *m, struct bpe *b, int n_conditions, int64_t n, double *share,
                    struct err *e);

/* The trained weights of a folder's checkpoint in a model of the recipe's shape. */
struct ops;
int trainer_load(const struct recipe *r, const char *folder, const struct ops *ops, struct nn_model *m,
                 struct err *e);

#endif
