/* How much a training run takes, before it takes any of it: tokens at once, blocks that are computed again, bytes of each part.
 * The same arithmetic serves the loop, the verb that refuses early, and the planner that has no data yet. */
#ifndef TRAIN_MEMORY_H
#define TRAIN_MEMORY_H

#include "nn/transformer.h"

/* What is to be computed, as counts of tokens. */
struct train_need {
    int64_t longest;          /* tokens of the longest row, whole */
    int64_t shared;           /* that all rows begin with and that are computed once; 0: none */
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

/* Is the base kept as its file stores it? Adapters on a base that is large; what is trained itself must be floats. */
bool train_keeps_packed(bool lora, int64_t n_params);

/* `shape`: configuration, adapters and `packed` are enough; weights are not looked at. `total_bytes` is the machine's memory (0:
 * unknown), of which a fifth is left alone. Few tokens at once are preferred to much memory, then recomputing lower blocks to
 * fewer tokens. The result may be more than there is: the caller compares. */
void train_memory_plan(const struct nn_model *shape, int64_t base_bytes, const struct train_need *need,
                       int64_t total_bytes, struct train_memory *out);

#endif
