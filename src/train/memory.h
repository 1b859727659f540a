/* How much a training run takes, before it takes any of it: tokens at once, blocks that are computed again, bytes of each part.
 * The same arithmetic serves the loop, the verb that refuses early, and the planner that has no data yet. */
#ifndef TRAIN_MEMORY_H
#define TRAIN_MEMORY_H

#include "nn/transformer.h"

/* What is to be computed, as counts of tokens. */
struct train_need {
    int64_t longest;          /* tokens of the longest row, whole */
    int64_t shared;           /* of the longest prefix that is computed once; 0: none */
    int64_t step_tokens;      /* of all rows of a step behind what they share; 0: unknown */
    double targets_per_token; /* at most, behind what is shared */
    int n_others;             /* further targets of a token */
    unsigned plain;           /* NN_PLAIN_* */
    int64_t micro_tokens;     /* tokens at once; 0: as memory allows, at most 4096 */
};

struct train_memory {
    struct nn_limits limits; /* for nn_run_init */
    int64_t base_bytes;      /* the base as it is kept */
    int64_t trained_bytes;   /* what is trained beyond that, with gradients and two moments */
    int64_t run_bytes;       /* activations */
    int64_t total_bytes;
};

/* How the base is kept. f32: what is trained itself must be, and a small base may be. stored: a frozen one as its file has it, exactly.
 * bf16: a frozen one rounded to 16 bits, for files with wider values than there is memory for. */
#define TRAIN_BASES(X) X(F32, "f32") X(BF16, "bf16") X(STORED, "stored")
enum train_base {
#define X(name, text) TRAIN_BASE_##name,
    TRAIN_BASES(X)
#undef X
        TRAIN_N_BASES
};
const char *train_base_name(enum train_base b);
int train_base_find(const char *name); /* enum train_base, -1: none */
struct train_base_bytes {
    int64_t of[TRAIN_N_BASES];
}; /* what all weights take, each way */
/* Stored where adapters go on a base that is large; bf16 in its place when that is the smaller, and stored would not fit, or only with
 * blocks computed again. `shape`, need and total_bytes as in train_memory_plan; shape->packed is not read. */
enum train_base train_base_choose(const struct nn_model *shape, const struct train_base_bytes *bytes,
                                  const struct train_need *need, int64_t total_bytes);

/* `shape`: configuration, adapters and `packed` are enough; weights are not looked at. `total_bytes` is the machine's memory (0:
 * unknown), of which a fifth is left alone. Few tokens at once are preferred to much memory, then recomputing lower blocks to
 * fewer tokens. The result may be more than there is: the caller compares. */
void train_memory_plan(const struct nn_model *shape, int64_t base_bytes, const struct train_need *need,
                       int64_t total_bytes, struct train_memory *out);

/* A way to train that takes less, and what it takes. */
struct train_way {
    enum train_base kept;
    bool lora;    /* adapters, of rank 16 where shape has none, in place of all weights */
    int n_layers; /* the last blocks, which get adapters */
    struct train_memory memory;
};
/* The least change to `shape` that takes less than `available_bytes`: first the base kept otherwise, then adapters in place of all
 * weights, then adapters on fewer of the last blocks. False when nothing fits: *out is then what takes least. The other arguments as in
 * train_base_choose. */
bool train_memory_fit(const struct nn_model *shape, const struct train_base_bytes *bytes,
                      const struct train_need *need, int64_t total_bytes, int64_t available_bytes,
                      struct train_way *out);
/* "--base-memory bf16 --layers 8 takes 1.2 GB": what the user has to say for it. */
const char *train_way_text(char *text, size_t room, const struct nn_model *shape, const struct train_way *w);

#endif
