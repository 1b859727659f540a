/* What the files of nn/ share: buffers of a run, a pass over a stream of tokens, the linear layers, blocks and head. */
#ifndef NN_INTERNAL_H
#define NN_INTERNAL_H

#include "nn/transformer.h"

/* ---- weights ---- */

static inline int64_t nn_padded(int64_t n) {
    return (n + 15) / 16 * 16;
}
void nn_set_add(struct nn_set *s, const struct nn_tensor *t, bool in_slab);
int nn_set_alloc(struct nn_set *s, const struct ops *ops, bool gradient, struct err *e);
/* A stream of random numbers that belongs to the tensor's name: adding a tensor elsewhere does not shift it. */
struct rng nn_rng_of(uint64_t seed, const char *name);

static inline const struct nn_tensor *nn_base_tensor(const struct nn_model *m, int layer, enum nn_kind kind) {
    int at = m->index[(layer + 1) * NN_KINDS + (int)kind];
    return at < 0 ? NULL : &m->base.tensors[at];
}
/* Of a tensor in the slab: a vector, or a matrix that is not packed. */
static inline const float *nn_weight(const struct nn_model *m, int layer, enum nn_kind kind) {
    return m->base.value + nn_base_tensor(m, layer, kind)->offset;
}
/* NULL when the base is frozen. */
static inline float *nn_gradient(const struct nn_model *m, int layer, enum nn_kind kind) {
    return m->trained == &m->base ? m->base.gradient + nn_base_tensor(m, layer, kind)->offset : NULL;
}
static inline void nn_watch_input(const struct nn_model *m, const struct nn_tensor *t, const float *x,
                                  int64_t rows) {
    if (m->watch && m->watch->input)
        m->watch->input(m->watch->context, t, x, rows);
}
static inline void nn_watch_gradient(const struct nn_model *m, const struct nn_tensor *t, const float *dy,
                                     int64_t rows) {
    if (m->watch && m->watch->gradient)
        m->watch->gradient(m->watch->context, t, dy, rows);
}
/* The lowest block with something to train. */
static inline int nn_lowest_trained(const struct nn_model *m) {
    return m->lora.rank > 0 ? m->lora.first_layer : 0;
}

/* ---- memory ---- */

/* What backward needs of one block's forward pass. Normalised inputs and the gated product are not kept: they are computed
 * again from these at the cost of one elementwise pass. Blocks that keep less share buffers (run.c).
 *
 * The last block's queries, output and feed-forward are needed at rows with a target alone. Where those are few, its mid, gate,
 * up, what its norms of outputs read, and u (of Q, O and the feed-forward) have N rows instead of T; x, k and v have T as ever,
 * and q is zero elsewhere. */
struct nn_activations {
    float *x;                   /* [T, D] input of the block */
    float *rstd1;               /* [T] */
    float *q_raw, *k_raw;       /* [T, H, E], [T, K, E] before the heads' norm; NULL without qk_norm */
    float *q_rstd, *k_rstd;     /* [T, H], [T, K] */
    float *q, *k, *v;           /* [T, H, E], [T, K, E] twice; rotated */
    float *lse;                 /* [H, T] */
    float *att;                 /* [T, H, E] */
    float *mid;                 /* [T, D] after attention */
    float *rstd2;               /* [T] */
    float *gate, *up;           /* [T, F] */
    float *att_out, *ffn_out;   /* [T, D] before their norms; NULL without post_norms */
    float *att_rstd, *ffn_rstd; /* [T] */
    float *u_in, *u_o, *u_wide,
        *u_down; /* [T, 3R], [T, R], [T, 2R], [T, R] inputs times A^T; NULL without LoRA */
};

/* A batch, or the prefix that batches share: its tokens and what its blocks keep. */
struct nn_stream {
    struct nn_activations *blocks;
    int32_t *token, *position; /* [T] */
};

struct nn_memory {
    const struct ops *ops;
    struct nn_stream batch, prefix;
    char *slab;
    float *prefix_dk,
        *prefix_dv; /* [n_layer, P, K, E] what the batches add to the prefix's keys and values */
    float *tile;    /* rows of a packed matrix, widened; NULL without one */
    int64_t tile_floats;
    float *x;         /* [T, D] output of the last block */
    float *h, *wide;  /* [T, D], [T, F] normalised input, gated product */
    float *dx, *dh;   /* [T, D] gradient of the residual stream; of a normalised input */
    float *dwide;     /* [T, F] */
    float *datt, *dq; /* [T, H, E] */
    float *dk, *dv;   /* [T, K, E] */
    float *dq_raw, *dk_raw;
    float *du;                  /* [T, 3R] */
    float *xn, *hn, *dxn, *dhn; /* [N, D] rows with a target: last x, normalised, their gradients */
    float *hs, *qs,
        *as;       /* [N, D], [N, H, E] twice: rows of h, q, att where only those with a target are needed */
    float *rstdn;  /* [N] */
    float *logits; /* [head_rows, head_cols] */
    float *row_loss, *weight; /* [N] */
    float *lowest, *max, *sum, *shrink, *at_target,
        *factor;                          /* [head_rows] of the head in blocks; lowest: -INFINITY */
    int32_t *row, *target, *row_position; /* [N] */
    int32_t *wanted;                      /* [N] target, 0 where there is none */
    int32_t *other;                       /* [n_others + 1, N] the target, then the others */
    float *other_weight; /* [n_others + 1, N] the sum of the others' weights, then minus each */
    float *mix;          /* [N, D] rows of the head summed with those weights */
    int32_t *host_row, *host_target, *host_position, *host_wanted;
    float *host_weight, *host_loss; /* host memory, [N] each */
    bool *host_top;                 /* [N] */
    int32_t *host_other;            /* as above */
    float *host_other_weight, *host_mix, *host_hn;
    int32_t *host_prefix_position; /* [P] */
};

/* ---- a pass over one stream ---- */

struct nn_pass {
    struct nn_model *m;
    struct nn_memory *y;
    const struct nn_limits *limits;
    struct nn_stream *stream;
    int64_t t, n;     /* tokens; rows at which the last block's output is needed (the prefix: none) */
    bool few;         /* the last block works at the n rows alone */
    bool *top;        /* [n] host memory: is the row's target its most probable token? NULL: not asked */
    int n_others;     /* of the batch */
    int64_t n_prefix; /* tokens of the shared prefix before each sequence; 0: none, or this is the prefix */
    int64_t prefix_stride; /* floats between layers in prefix_dk */
    bool is_prefix;
    int n_seq;
    const int32_t *start;
    int lowest; /* backward ends at this block */
};

static inline bool nn_at_few(const struct nn_pass *p, int layer) {
    return p->few && layer + 1 == p->m->config.n_layer;
}
static inline int64_t nn_rows_of(const struct nn_pass *p, int layer) {
    return nn_at_few(p, layer) ? p->n : p->t;
}
/* x [T, width] becomes zero but for the rows with a target. */
void nn_spread(const struct nn_pass *p, float *x, const float *few, int64_t width);
void nn_norm(const struct nn_pass *p, int layer, enum nn_kind kind, float *out, float *rstd, const float *x,
             int64_t rows);
struct nn_norm_grad {
    float *dx; /* += */
    const float *dout, *x, *rstd;
};
void nn_norm_backward(const struct nn_pass *p, int layer, enum nn_kind kind, int64_t rows,
                      const struct nn_norm_grad *g);

/* block.c. `next` gets the block's output; NULL when a backward pass only wants what it keeps. */
void nn_block_forward(const struct nn_pass *p, int layer, float *next);
/* `dx`: gradient of the block's output, at its rows; afterwards y->dx is that of its input. */
void nn_block_backward(const struct nn_pass *p, int layer, float *dx);

/* head.c. Loss of the rows in y->hn; with `divisor` also the gradients of head and final norm, and y->dxn, that of y->xn. */
void nn_head(const struct nn_pass *p, double divisor);
void nn_head_logits(const struct nn_pass *p, float *logits); /* host memory, [n, V] */
/* Does the head go through the vocabulary in blocks? head_cols is then less than the vocabulary, or the matrix is packed. */
bool nn_head_blocked(const struct nn_model *m, const struct nn_limits *l);

/* ---- linear.c: where a weight meets activations ---- */

/* Rows [first, first + n) of a matrix as floats: in the slab, or widened into y->tile. */
const float *nn_matrix_rows(const struct nn_model *m, const struct nn_memory *y, const struct nn_tensor *t,
                            int64_t first, int64_t n);
/* How many rows nn_matrix_rows gives at once. */
int64_t nn_matrix_step(const struct nn_memory *y, const struct nn_tensor *t);
/* out[i,:] = row row[i] */
void nn_matrix_gather(const struct nn_model *m, const struct nn_tensor *t, float *out, const int32_t *row,
                      int64_t n);

/* Matrices of one block that share their input, applied to `rows` rows. */
struct nn_group {
    int layer, n;
    enum nn_kind kind[3];
    int64_t rows;
};
/* y[i][T, out] = x W^T (+ y when `add`), bias and the adapter's part; u [T, n R] is kept for backward where there is an adapter;
 * y NULL: only u is wanted. */
void nn_linear(const struct nn_pass *p, const struct nn_group *g, float *const y[], const float *x, float *u,
               bool add);
/* Gradients of W and bias (when trained), A and B; dx (+)= the sum of dy W + du A unless NULL. */
struct nn_linear_grad {
    const float *dy[3], *x, *u;
    float *dx;
    bool add; /* to dx */
};
void nn_linear_backward(const struct nn_pass *p, const struct nn_group *g, const struct nn_linear_grad *d);

#endif
