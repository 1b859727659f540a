/* A decoder of the llama family (RMSNorm, rotary positions, grouped-query attention, gated feed-forward) over a table of
 * operations: forward, backward, full training or low-rank adapters (LoRA, arXiv 2106.09685) on a base that stays as it is.
 *
 * Nouns: nn_model (weights and their gradients, nn/model.h), nn_batch (packed sequences, host memory), nn_run (activation
 * memory for batches up to a size, planned once).
 *
 *     nn_model_init(&m, &config, &ops, &e);                 // weights are zero; nn_model_init_packed: a frozen base
 *     nn_model_randomise(&m, &rng, &e);                     // or nn_set_write() each from a file
 *     nn_model_train_all(&m, &e);                           // or nn_model_add_lora(&m, &lora, &rng, &e)
 *     nn_run_init(&r, &m, &(struct nn_limits){.n_tokens = 1024, .n_prefix = 150}, &e);
 *     nn_zero_gradients(&m);
 *     nn_prefix_forward(&m, &r, ids, 150, &e);              // where all sequences begin alike, once a step
 *     nn_forward_backward(&m, &r, &batch, divisor, &loss_sum, &e);  // as often as the step has micro-batches
 *     nn_prefix_backward(&m, &r, &e);                       // after the last of them
 *     optimizer_step(...);                                  // train/optimizer.h
 *
 * One thread drives a model; the operations use their own threads. Same inputs, same thread count: the same bits. After
 * *_init nothing here allocates. Letters as in tensor/ops.h. */
#ifndef NN_TRANSFORMER_H
#define NN_TRANSFORMER_H

#include "nn/model.h"

/* ---- batches ---- */

/* Packed sequences, host arrays of the caller's, borrowed for the call. Sequence s is tokens [start[s],
 * start[s+1]); within it attention is causal. Target t is the token that should follow token t; -1: no loss
 * there (weight is not read). */
struct nn_batch {
    int64_t n_tokens;
    const int32_t *token;    /* [T] */
    const int32_t *position; /* [T] */
    const int32_t *target;   /* [T] */
    const float *weight;     /* [T]; NULL: 1 each */
    int n_seq;
    const int32_t *start; /* [n_seq + 1] */
    int64_t n_prefix; /* tokens of the run's shared prefix that every sequence comes after; 0: stands alone */
    /* What a teacher holds possible beside the target: the loss of token t grows by the sum over j of
     * other_weight[t, j] * -log p(other[t, j]). [T, n_others] each, read where there is a target; a weight of 0: none. */
    int n_others;
    const int32_t *other;
    const float *other_weight;
};
/* Ids, positions and starts in range? ERR_INPUT naming the token. nn_forward_* do not check again. */
int nn_batch_check(const struct nn_model *m, const struct nn_batch *b, struct err *e);

/* ---- memory ---- */

/* The savings, all of them exact, by the plain path that each replaces: with its bit in nn_limits.plain it is not made. (The
 * shared prefix is not here: a batch without one is its plain path.)
 *   LAST        the last block at every token, also where no target needs it
 *   LOGITS      logits at every token
 *   INPUT       the gradient of the first trained block's input, and of all below
 *   VOCABULARY  the logits of a row all at once, not block by block of the vocabulary (a packed head always goes by blocks)
 *   LORA        one thin product for each adapter, not one for those that share an input */
enum nn_plain {
    NN_PLAIN_LAST = 1,
    NN_PLAIN_LOGITS = 2,
    NN_PLAIN_INPUT = 4,
    NN_PLAIN_VOCABULARY = 8,
    NN_PLAIN_LORA = 16
};

struct nn_limits {
    int64_t n_tokens;  /* largest T of a batch */
    int64_t n_targets; /* largest number of tokens with a target; 0: n_tokens */
    int64_t n_prefix;  /* longest shared prefix; 0: none */
    int64_t head_rows; /* rows of logits held at once; 0: 512, fewer for large vocabularies */
    int64_t head_cols; /* columns of logits held at once, where the head is frozen; 0: as many as make 8 MB */
    int n_recompute; /* lowest blocks that keep nothing but their input, and are computed again for backward */
    int n_others;    /* of a batch, at most */
    bool forward_only; /* no memory for backward */
    unsigned plain;    /* NN_PLAIN_* */
};
struct nn_memory; /* the buffers */
struct nn_run {
    struct nn_limits limits;
    size_t slab_bytes; /* taken on the backend */
    int64_t n_prefix;  /* of the shared prefix that is computed now; 0: none */
    struct nn_memory *memory;
};
/* Bytes that nn_run_init will take on the backend. */
size_t nn_run_bytes(const struct nn_model *m, const struct nn_limits *limits);
int nn_run_init(struct nn_run *r, const struct nn_model *m, const struct nn_limits *limits, struct err *e);
void nn_run_release(struct nn_run *r);

/* ---- computing ---- */

void nn_zero_gradients(struct nn_model *m);

/* The common beginning of the sequences of all batches that follow, at positions from 0: its keys and values are computed once,
 * and batches with n_prefix = n see them. It holds until the next one, or until weights change (the caller's care). */
int nn_prefix_forward(struct nn_model *m, struct nn_run *r, const int32_t *token, int64_t n, struct err *e);
/* Adds the gradients that came through the prefix in all batches since nn_prefix_forward, which is then over. */
int nn_prefix_backward(struct nn_model *m, struct nn_run *r, struct err *e);

/* Loss = sum over targets of weight * -log p(target). Gradients of loss / divisor are added to
 * m->trained->gradient. loss_sum may be NULL (then a GPU is not waited for); it is not divided. ERR_INPUT
 * when the batch exceeds the limits. */
int nn_forward_backward(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, double divisor,
                        double *loss_sum, struct err *e);

/* Forward only: row_loss[i] = weight * -log p(target) of the i-th token with a target, in order; host memory.
 */
int nn_forward_loss(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *row_loss,
                    struct err *e);
/* The same, and top[i]: is the target the most probable token there (NULL: not asked)? The losses are then computed block by block of
 * the vocabulary. */
int nn_forward_top(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *row_loss, bool *top,
                   struct err *e);
/* Forward only: logits [n, V] of the tokens that have a target, host memory. */
int nn_forward_logits(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *logits,
                      struct err *e);

#endif
