/* The weights of a decoder: what its configuration implies, as named tensors in slabs of a backend's memory, with gradients where
 * they are trained; low-rank adapters on a base that stays as it is; a base that stays packed as its file stores it.
 *
 * Nouns: nn_tensor, nn_set (a list of tensors in one slab), nn_model. Letters as in tensor/ops.h. */
#ifndef NN_MODEL_H
#define NN_MODEL_H

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
    NN_DOWN,   /* [D, F] */
    NN_Q_BIAS, /* [H*E] blk.N.attn_q.bias, with qkv_bias */
    NN_K_BIAS,
    NN_V_BIAS,
    NN_ATTN_NORM,  /* [D] */
    NN_FFN_NORM,   /* [D] */
    NN_Q_NORM,     /* [E], with qk_norm */
    NN_K_NORM,     /* [E] */
    NN_ATTN_POST,  /* [D], with post_norms: of what attention gives */
    NN_FFN_POST,   /* [D]: of what the feed-forward gives */
    NN_FINAL_NORM, /* [D] output_norm.weight */
    NN_KINDS
};

struct nn_tensor {
    char name[56]; /* as in GGUF; adapters end in .lora_a or .lora_b */
    enum nn_kind kind;
    int layer;                   /* -1: outside the blocks */
    int64_t rows, cols;          /* [out, in]; a norm is [1, width] */
    int64_t offset;              /* floats from the start of the slab; multiples of 16 */
    struct packed_matrix packed; /* of a packed base: where the matrix is instead; data NULL: in the slab */
    int adapter; /* of a base tensor: place of its A in nn_model.adapter, B follows; -1: none */
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
    int rank;                   /* R; 0: none */
    float alpha;                /* y = x W^T + scale (x A^T) B^T with scale = alpha / rank, */
    bool rank_stabilised;       /* or alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732) */
    int first_layer, end_layer; /* blocks [first, end) get adapters; end 0: to the last */
};
float nn_lora_scale(const struct nn_lora *l);

/* Somebody who looks at what each matrix meets: importance matrices and sensitivities are made of that. x [rows, cols] are the
 * inputs of y = x W^T, dy [rows, rows of W] the loss's gradient at y (divided as the pass's is), both in backend memory. The
 * rows are the batch's tokens in order, or of them those with a target where the pass computes no others; the head's dy comes
 * in several calls, one behind the other. The run's limits must be plain (nn/transformer.h) in what is to be seen:
 * NN_PLAIN_VOCABULARY for the head's dy, NN_PLAIN_INPUT for what reaches the embedding. Each may be NULL: not asked for. */
struct nn_watch {
    void *context;
    void (*input)(void *context, const struct nn_tensor *w, const float *x, int64_t rows);
    void (*gradient)(void *context, const struct nn_tensor *w, const float *dy, int64_t rows);
    /* gradient at the embedded tokens, scaled as the first block gets them: [T, D] */
    void (*embedded)(void *context, const float *dx, int64_t rows);
};

struct nn_model {
    struct model_config config;
    const struct ops *ops; /* borrowed; outlives the model */
    struct nn_lora lora;
    bool packed;   /* the matrices of the base are as a file stores them: nn_tensor_pack */
    void *storage; /* backend memory that packed matrices may lie in; released with the model */
    int64_t storage_bytes;
    struct nn_set base; /* all weights of the file */
    /* A [R, in] and B [out, R] for the seven matrices of each block; empty without LoRA */
    struct nn_set adapter;
    struct nn_set *trained; /* &base, &adapter or NULL: what has gradients */
    /* [(n_layer + 1) * NN_KINDS] (layer + 1) * NN_KINDS + kind -> place in base.tensors, -1: absent */
    int *index;
    float *rope_freq, *rope_freq_local; /* [E/2] backend memory; of all blocks, of the windowed ones */
    const struct nn_watch *watch;       /* NULL: nobody; borrowed */
};

int nn_config_check(const struct model_config *c, struct err *e); /* ERR_UNSUPPORTED naming what cannot be */
int nn_model_init(struct nn_model *m, const struct model_config *c, const struct ops *ops, struct err *e);
/* A base that is never trained: vectors are in the slab, each matrix must be given with nn_tensor_pack before computing. */
int nn_model_init_packed(struct nn_model *m, const struct model_config *c, const struct ops *ops,
                         struct err *e);
/* `data` is in the backend's memory: the caller's, or part of m->storage. */
void nn_tensor_pack(struct nn_tensor *t, const struct packed_matrix *p);
void nn_model_release(struct nn_model *m); /* NULL and half-built are fine */

/* Normal with deviation 0.02, projections into the residual stream divided by sqrt(2 n_layer), norms 1. The
 * values depend on the rng and the tensor's name only. */
int nn_model_randomise(struct nn_model *m, struct rng *rng, struct err *e);
int nn_model_train_all(struct nn_model *m, struct err *e);
/* Nothing is trained: a backward pass serves those who watch, and costs no memory for gradients of weights. */
void nn_model_freeze(struct nn_model *m);
/* Freezes the base. A uniform in +-1/sqrt(in), B zero: the adapted model starts as the base. */
int nn_model_add_lora(struct nn_model *m, const struct nn_lora *lora, struct rng *rng, struct err *e);

struct nn_tensor *nn_set_find(const struct nn_set *s, const char *name); /* NULL: none */
/* Host arrays of rows * cols values to and from one tensor. */
void nn_set_write(struct nn_model *m, struct nn_set *s, const struct nn_tensor *t, const float *values);
void nn_set_read(const struct nn_model *m, const struct nn_set *s, const struct nn_tensor *t, float *values);

/* W + scale B A of one adapted matrix into a host array: what a merged file holds. A plain copy
 * where the tensor has no adapter. */
int nn_model_merged(const struct nn_model *m, const struct nn_tensor *base_tensor, float *values,
                    struct err *e);

#endif
