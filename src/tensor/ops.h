/* The operations that training is made of, as a table of functions over plain arrays: one table per backend.
 *
 *   ref    plain loops in double-accumulated float, the oracle that every other table is tested against
 *   cpu    CBLAS for the products, SIMD and threads for the rest
 *
 * Memory: all pointers are the backend's (ops->alloc); the host reaches it through upload and download. On
 * CPU tables these are plain memory and memcpy. Every operation is deterministic for a given number of
 * threads. Operations on a GPU are queued in order; download, sum_squares and loss results wait for them.
 * Nothing here allocates except alloc and `reserve`; a step after the first makes no heap call.
 *
 * Letters: T tokens of a packed batch, D model width, H query heads, K key-value heads, E head width, F
 * feed-forward width, V vocabulary, R LoRA rank. Matrices are row-major, contiguous unless a leading
 * dimension is given. Weights are [out, in] as in GGUF: y = x W^T. "+=" outputs accumulate; others are
 * overwritten. */
#ifndef TENSOR_OPS_H
#define TENSOR_OPS_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which tokens see which: sequence s holds tokens [start[s], start[s+1]) and is causal within itself. Every
 * token also sees all of the `n_prefix` shared tokens, whose keys and values stand apart (NULL when n_prefix
 * is 0). `window` > 0 limits sight to that many latest positions. start is host memory of n_seq + 1 entries,
 * and stays until the step ends. */
struct attention_shape {
    int64_t n_tokens;                  /* T */
    int n_heads, n_kv_heads, head_dim; /* H, K, E */
    float scale;                       /* usually 1/sqrt(E) */
    int window;
    int n_seq;
    const int32_t *start;
    int64_t n_prefix;                 /* P */
    const float *prefix_k, *prefix_v; /* [P, K, E] */
    float *prefix_dk, *prefix_dv;     /* += in backward; may be NULL in forward */
};

/* Rotary embedding (Su et al., arXiv 2104.09864). GGUF's llama files interleave pairs (2i, 2i+1); qwen and
 * gemma rotate halves (i, i + E/2). freq is [E/2] in backend memory: theta_i / factor_i. */
struct rope_shape {
    int64_t n_tokens;
    int n_heads, head_dim;
    bool halves;
    const float *freq;
    const int32_t *position; /* [T] backend memory */
};

/* A matrix [rows, width] kept as a model file stores it: row i is `row_bytes` bytes at data + i * row_bytes, and `widen` turns
 * any one row into floats (from several threads at once). */
struct packed_matrix {
    const void *data;
    int64_t row_bytes, width;
    void (*widen)(const void *packed, float *to, int64_t n);
};

/* A softmax over a row that comes in blocks of columns, brought up to date with each (the online normaliser of Milakov and
 * Gimelshein, arXiv 1805.02867). Backend memory, [rows] each; begin with `max` at -INFINITY, `sum` and `at_target` at 0. */
struct softmax_rows {
    float *max, *sum; /* of the logits so far; of exp(logit - max) */
    float *shrink;    /* exp(max before - max now): what earlier sums of exponentials must be multiplied by */
    float *at_target; /* the target's logit, once its block came */
    const int32_t *target;
};

struct adamw_settings { /* Loshchilov and Hutter, arXiv 1711.05101 */
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float gradient_scale; /* multiplies the gradient first (clipping, accumulation) */
    int64_t step;         /* from 1, for bias correction */
};

/* reserve: before the first forward pass nn/ calls it with 16 * T * (H + 1) bytes + 1 MiB for its largest T;
 * a backend that needs more for its own reasons takes it in open or there, never later. It grows and never
 * shrinks. */
struct ops {
    const char *name;
    int n_threads;
    void *self; /* the backend's own state */

    /* memory */
    void *(*alloc)(const struct ops *o,
                   size_t size_bytes); /* zeroed, 64-byte aligned; NULL when there is none */
    void (*free)(const struct ops *o, void *p);
    void (*upload)(const struct ops *o, void *to, const void *from, size_t size_bytes);
    void (*download)(const struct ops *o, void *to, const void *from, size_t size_bytes);
    void (*zero)(const struct ops *o, void *p, size_t size_bytes);
    void (*copy)(const struct ops *o, float *to, const float *from, int64_t n);
    int (*reserve)(const struct ops *o, size_t scratch_bytes, struct err *e); /* see below */
    void (*close)(struct ops *o);

    /* C[m,n] = alpha op(A) op(B) + beta C; leading dimensions in elements */
    void (*gemm)(const struct ops *o, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                 float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                 int64_t ldc);

    void (*add)(const struct ops *o, float *y, const float *x, float alpha, int64_t n); /* y += alpha x */
    void (*scale)(const struct ops *o, float *y, float alpha, int64_t n);
    double (*sum_squares)(const struct ops *o, const float *x, int64_t n); /* waits */

    /* rows of a table: out[t,:] = table[token[t],:]; backward dtable[token[t],:] += dout[t,:]. tokens in
     * backend memory. */
    void (*embed)(const struct ops *o, float *out, const float *table, const int32_t *token, int64_t n_tokens,
                  int64_t width);
    void (*embed_backward)(const struct ops *o, float *dtable, const float *dout, const int32_t *token,
                           int64_t n_tokens, int64_t width, int64_t n_vocab);
    /* out[i,:] = x[row[i],:] and its transpose dx[row[i],:] += dout[i,:]; rows are distinct */
    void (*gather)(const struct ops *o, float *out, const float *x, const int32_t *row, int64_t n_rows,
                   int64_t width);
    void (*scatter_add)(const struct ops *o, float *dx, const float *dout, const int32_t *row, int64_t n_rows,
                        int64_t width);

    /* out[i,:] = the packed matrix' row row[i], or first + i where `row` is NULL */
    void (*widen)(const struct ops *o, float *out, const struct packed_matrix *p, const int32_t *row,
                  int64_t first, int64_t n_rows);
    /* y[r,:] += b; and its transpose db += the sum of dy's rows */
    void (*add_row)(const struct ops *o, float *y, const float *b, int64_t rows, int64_t width);
    void (*sum_rows)(const struct ops *o, float *db, const float *dy, int64_t rows, int64_t width);
    void (*scale_rows)(const struct ops *o, float *x, const float *factor, int64_t rows, int64_t width);

    /* RMSNorm (arXiv 1910.07467) over rows of `width`: out = x / rms(x) * w; rstd [rows] is kept for
     * backward. backward: dx += ..., dw += ... (dw NULL: frozen). */
    void (*rmsnorm)(const struct ops *o, float *out, float *rstd, const float *x, const float *w,
                    int64_t rows, int64_t width, float epsilon);
    void (*rmsnorm_backward)(const struct ops *o, float *dx, float *dw, const float *dout, const float *x,
                             const float *w, const float *rstd, int64_t rows, int64_t width);

    /* in place on x [T, n_heads, E]; inverse rotates back (the backward pass) */
    void (*rope)(const struct ops *o, float *x, const struct rope_shape *s, bool inverse);

    /* q, out [T, H, E]; k, v [T, K, E]; lse [H, T] log of the softmax's denominator, kept for backward.
     * backward overwrites dq, dk, dv. */
    void (*attention)(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                      const float *v, const struct attention_shape *s);
    void (*attention_backward)(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                               const float *out, const float *lse, const float *q, const float *k,
                               const float *v, const struct attention_shape *s);

    /* out = silu(gate) * up (arXiv 2002.05202), n values; backward overwrites dgate and dup (may alias gate
     * and up) */
    void (*swiglu)(const struct ops *o, float *out, const float *gate, const float *up, int64_t n);
    void (*swiglu_backward)(const struct ops *o, float *dgate, float *dup, const float *dout,
                            const float *gate, const float *up, int64_t n);

    /* the same with gelu, in its tanh form (arXiv 1606.08415), in silu's place */
    void (*geglu)(const struct ops *o, float *out, const float *gate, const float *up, int64_t n);
    void (*geglu_backward)(const struct ops *o, float *dgate, float *dup, const float *dout,
                           const float *gate, const float *up, int64_t n);

    /* Softmax cross-entropy of logits [rows, V] against target [rows] (backend memory; -1: no loss) with
     * weight [rows]: row_loss[r] = -weight[r] log p(target[r]); logits become gradient_scale * weight * (p -
     * onehot) in place. */
    void (*cross_entropy)(const struct ops *o, float *logits, float *row_loss, const int32_t *target,
                          const float *weight, int64_t rows, int64_t n_vocab, float gradient_scale);

    /* The same in blocks of the vocabulary. softmax_block: logits [rows, n_cols] are the columns from `first` on, and become
     * exp(logit - max). softmax_loss, after the last: row_loss as above, and factor[r] = gradient_scale * weight / sum, which
     * makes the exponentials weighted probabilities; both 0 where the target is -1. */
    void (*softmax_block)(const struct ops *o, float *logits, const struct softmax_rows *s, int64_t first,
                          int64_t rows, int64_t n_cols);
    void (*softmax_loss)(const struct ops *o, float *row_loss, float *factor, const struct softmax_rows *s,
                         const float *weight, int64_t rows, float gradient_scale);

    void (*adamw)(const struct ops *o, float *w, const float *dw, float *m, float *v, int64_t n,
                  const struct adamw_settings *s);
};

/* The reference table and the fast CPU table (n_threads 0: one a core). */
int ops_open_ref(struct ops *o, struct err *e);
int ops_open_cpu(struct ops *o, int n_threads, struct err *e);
/* The CPU table with the operands of every product rounded to bfloat16 (8 bits of precision, sums in float): faster where
 * the processor has units for it, ERR_UNSUPPORTED elsewhere. */
int ops_open_cpu_bf16(struct ops *o, int n_threads, struct err *e);
/* The same of a CPU table that is open, from the next product on, or back. */
int ops_round_products(const struct ops *o, bool bf16, struct err *e);
/* The processor that the BLAS takes this one for, as OpenBLAS calls it (OPENBLAS_CORETYPE decides over it); "unknown" with another
 * CBLAS, "none" without one. Static text. */
const char *ops_blas_name(void);

#endif
