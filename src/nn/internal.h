/* What the files of nn/ share: buffers of a run and the linear layer. */
#ifndef NN_INTERNAL_H
#define NN_INTERNAL_H

#include "nn/transformer.h"

/* What backward needs of one block's forward pass. Normalised inputs and the gated product are not kept: they are computed
 * again from these at the cost of one elementwise pass. In forward-only runs all blocks share one set.
 *
 * The last block's queries, output and feed-forward are needed at rows with a target alone. Where those are few, its mid, gate,
 * up and u (of Q, O and the feed-forward) have N rows instead of T; x, k and v have T as ever, and q is zero elsewhere. */
struct nn_activations {
    float *x;                     /* [T, D] input of the block */
    float *rstd1;                 /* [T] */
    float *q_raw, *k_raw;         /* [T, H, E], [T, K, E] before the heads' norm; NULL without qk_norm */
    float *q_rstd, *k_rstd;       /* [T, H], [T, K] */
    float *q, *k, *v;             /* [T, H, E], [T, K, E] twice; rotated */
    float *lse;                   /* [H, T] */
    float *att;                   /* [T, H, E] */
    float *mid;                   /* [T, D] after attention */
    float *rstd2;                 /* [T] */
    float *gate, *up;             /* [T, F] */
    float *u[NN_DOWN - NN_Q + 1]; /* [T, R] input times A^T, by kind; NULL without LoRA */
};

struct nn_memory {
    const struct ops *ops;
    struct nn_activations *blocks;
    char *slab;
    float *x;         /* [T, D] output of the last block */
    float *h, *wide;  /* [T, D], [T, F] normalised input, gated product */
    float *dx, *dh;   /* [T, D] gradient of the residual stream; of a normalised input */
    float *dwide;     /* [T, F] */
    float *datt, *dq; /* [T, H, E] */
    float *dk, *dv;   /* [T, K, E] */
    float *dq_raw, *dk_raw;
    float *du;                  /* [T, R] */
    float *xn, *hn, *dxn, *dhn; /* [N, D] rows with a target: last x, normalised, their gradients */
    float *hs, *qs,
        *as;       /* [N, D], [N, H, E] twice: rows of h, q, att where only those with a target are needed */
    float *rstdn;  /* [N] */
    float *logits; /* [head_rows, V] */
    float *row_loss, *weight;  /* [N] */
    int32_t *token, *position; /* [T] */
    int32_t *row, *target;     /* [N] */
    int32_t *row_position;     /* [N] */
    int32_t *host_row, *host_target, *host_position;
    float *host_weight, *host_loss; /* host memory, [N] each */
};

/* y[T, out] = x W^T (+ y when `add`) and the adapter's part; u is kept for backward where there is an adapter. */
void nn_linear(const struct nn_model *m, int layer, enum nn_kind kind, int64_t rows, float *y, const float *x,
               float *u, bool add);

/* Gradients of W (when trained), A and B; dx (+)= dy W + du A unless NULL. `du` is scratch [T, R]. */
struct nn_linear_grad {
    const float *dy, *x, *u;
    float *dx, *du;
    bool add; /* to dx */
};
void nn_linear_backward(struct nn_model *m, int layer, enum nn_kind kind, int64_t rows,
                        const struct nn_linear_grad *g);

static inline const struct nn_tensor *nn_base_tensor(const struct nn_model *m, int layer, enum nn_kind kind) {
    int at = m->index[(layer + 1) * NN_KINDS + (int)kind];
    return at < 0 ? NULL : &m->base.tensors[at];
}
static inline const float *nn_weight(const struct nn_model *m, int layer, enum nn_kind kind) {
    return m->base.value + nn_base_tensor(m, layer, kind)->offset;
}
/* NULL when the base is frozen. */
static inline float *nn_gradient(const struct nn_model *m, int layer, enum nn_kind kind) {
    return m->trained == &m->base ? m->base.gradient + nn_base_tensor(m, layer, kind)->offset : NULL;
}

#endif
