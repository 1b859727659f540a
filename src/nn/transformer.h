/* A decoder of the llama family (RMSNorm, rotary positions, grouped-query attention, SwiGLU) over a table of
 * operations: forward, backward, full training or low-rank adapters (LoRA, arXiv 2106.09685).
 *
 * Nouns: nn_model (weights and their gradients), nn_set (a named list of tensors in one slab), nn_batch
 * (packed sequences, host memory), nn_run (activation memory for batches up to a size, planned once).
 *
 *     struct nn_model m;   nn_model_init(&m, &config, &ops, &e);            // weights are zero
 *     nn_model_randomise(&m, &rng);                                         // or nn_set_write() each from a
 * file nn_model_train_all(&m, &e);                                           // or nn_model_add_lora(&m,
 * &lora, &rng, &e) struct nn_run r;     nn_run_init(&r, &m, &(struct nn_limits){.n_tokens = 4096, .n_targets
 * = 4096, ...}, &e); nn_zero_gradients(&m); nn_forward_backward(&m, &r, &batch, divisor, &loss_sum, &e); //
 * as often as the step has micro-batches optimizer_step(...) // train/optimizer.h
 *
 * One thread drives a model; the operations use their own threads. Same inputs, same thread count: the same
 * bits. After
 * *_init nothing here allocates. Letters as in tensor/ops.h. */
#ifndef NN_TRANSFORMER_H
#define NN_TRANSFORMER_H

#include "base/rng.h"
#include "model/config.h"
#include "tensor/ops.h"

enum nn_kind {
    NN_EMBED, /* [V, D] token_embd.weight */
    NN_HEAD,  /* [V, D] output.weight; absent when tied */
    NN_Q,     /* [H*E, D] blk.N.attn_q.weight */
    NN_K,
    NN_V,
    NN_O,    /* [D, H*E] blk.N.attn_output.weight */
    NN_GATE, /* [F, D] blk.N.ffn_gate.weight */
    NN_UP,
    NN_DOWN,       /* [D, F] */
    NN_ATTN_NORM,  /* [D] */
    NN_FFN_NORM,   /* [D] */
    NN_Q_NORM,     /* [E], with qk_norm */
    NN_K_NORM,     /* [E] */
    NN_FINAL_NORM, /* [D] output_norm.weight */
    NN_KINDS
};

struct nn_tensor {
    char name[56]; /* as in GGUF; adapters end in .lora_a or .lora_b */
    enum nn_kind kind;
    int layer;          /* -1: outside the blocks */
    int64_t rows, cols; /* [out, in]; a norm is [1, width] */
    int64_t offset;     /* floats from the start of the slab; multiples of 16 */
    int adapter;        /* of a base tensor: place of its A in nn_model.adapter, B follows; -1: none */
};

/* Tensors in one slab, those subject to weight decay (matrices) first. Padding between them stays zero. */
struct nn_set {
    struct nn_tensor *tensors;
    int n_tensors;
    int64_t n_values;  /* of the slab, padding included */
    int64_t n_decayed; /* [0, n_decayed) decays, [n_decayed, n_values) does not */
    int64_t n_params;  /* without padding */
    float *value;      /* backend memory, [n_values] */
    float *gradient;   /* the same shape; NULL: frozen */
};

struct nn_lora {
    int rank;    /* R; 0: none */
    float alpha; /* y = x W^T + (alpha / rank) (x A^T) B^T */
};

struct nn_model {
    struct model_config config;
    const struct ops *ops; /* borrowed; outlives the model */
    struct nn_lora lora;
    struct nn_set base; /* all weights of the file */
    struct nn_set
        adapter; /* A [R, in] and B [out, R] for the seven matrices of each block; empty without LoRA */
    struct nn_set *trained; /* &base, &adapter or NULL: what has gradients */
    int *
        index; /* [(n_layer + 1) * NN_KINDS] (layer + 1) * NN_KINDS + kind -> place in base.tensors, -1: absent */
    float *rope_freq; /* [E/2] backend memory */
};

int nn_config_check(const struct model_config *c, struct err *e); /* ERR_UNSUPPORTED naming what cannot be */
int nn_model_init(struct nn_model *m, const struct model_config *c, const struct ops *ops, struct err *e);
void nn_model_release(struct nn_model *m); /* NULL and half-built are fine */

/* Normal with deviation 0.02, projections into the residual stream divided by sqrt(2 n_layer), norms 1. The
 * values depend on the rng and the tensor's name only. */
int nn_model_randomise(struct nn_model *m, struct rng *rng, struct err *e);
int nn_model_train_all(struct nn_model *m, struct err *e);
/* Freezes the base. A uniform in +-1/sqrt(in), B zero: the adapted model starts as the base. */
int nn_model_add_lora(struct nn_model *m, const struct nn_lora *lora, struct rng *rng, struct err *e);

struct nn_tensor *nn_set_find(const struct nn_set *s, const char *name); /* NULL: none */
/* Host arrays of rows * cols values to and from one tensor. */
void nn_set_write(struct nn_model *m, struct nn_set *s, const struct nn_tensor *t, const float *values);
void nn_set_read(const struct nn_model *m, const struct nn_set *s, const struct nn_tensor *t, float *values);

/* W + (alpha / rank) B A of one adapted matrix into a host array: what a merged file holds. A plain copy
 * where the tensor has no adapter. */
int nn_model_merged(const struct nn_model *m, const struct nn_tensor *base_tensor, float *values,
                    struct err *e);

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
};
/* Ids, positions and starts in range? ERR_INPUT naming the token. nn_forward_* do not check again. */
int nn_batch_check(const struct nn_model *m, const struct nn_batch *b, struct err *e);

/* ---- memory ---- */

struct nn_limits {
    int64_t n_tokens;  /* largest T of a batch */
    int64_t n_targets; /* largest number of tokens with a target; 0: n_tokens */
    int64_t head_rows; /* rows of logits held at once; 0: 512, fewer for large vocabularies */
    bool forward_only; /* no memory for backward */
    bool
        everywhere; /* the last block at every token, also where no target needs it: the plain path, for tests */
};
struct nn_memory; /* the buffers */
struct nn_run {
    struct nn_limits limits;
    size_t slab_bytes; /* taken on the backend */
    struct nn_memory *memory;
};
/* Bytes that nn_run_init will take on the backend. */
size_t nn_run_bytes(const struct nn_model *m, const struct nn_limits *limits);
int nn_run_init(struct nn_run *r, const struct nn_model *m, const struct nn_limits *limits, struct err *e);
void nn_run_release(struct nn_run *r);

/* ---- computing ---- */

void nn_zero_gradients(struct nn_model *m);

/* Loss = sum over targets of weight * -log p(target). Gradients of loss / divisor are added to
 * m->trained->gradient. loss_sum may be NULL (then a GPU is not waited for); it is not divided. ERR_INPUT
 * when the batch exceeds the limits. */
int nn_forward_backward(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, double divisor,
                        double *loss_sum, struct err *e);

/* Forward only: row_loss[i] = weight * -log p(target) of the i-th token with a target, in order; host memory.
 */
int nn_forward_loss(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *row_loss,
                    struct err *e);
/* Forward only: logits [n, V] of the tokens that have a target, host memory. */
int nn_forward_logits(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *logits,
                      struct err *e);

#endif
