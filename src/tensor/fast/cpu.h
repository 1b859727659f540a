/* State of the CPU table and what its files share. */
#ifndef TENSOR_FAST_CPU_H
#define TENSOR_FAST_CPU_H

#include "base/thread.h"
#include "tensor/fast/kernels.h"

enum {
    CPU_TILE_FLOATS = 140 * 1024, /* per thread: two tiles of attention scores; a row of sums */
    CPU_PACK_FLOATS = 156 * 1024, /* per thread: the packed blocks of a product of our own */
    CPU_SCRATCH_FLOATS = CPU_TILE_FLOATS + CPU_PACK_FLOATS,
    CPU_ROPE_FLOATS = 1 << 19, /* table of cosines and sines */
    CPU_SPAN = 1 << 14,        /* values below which threads do not pay */
};

/* Cosines, then sines, [E/2] each, by position, for the frequencies that were used last. */
struct cpu_rope_table {
    float *values; /* CPU_ROPE_FLOATS */
    float freq[256];
    int half;
    int64_t n_positions; /* filled */
};

struct cpu {
    struct thread_pool *pool; /* NULL with one thread */
    const struct cpu_kernels *kernels;
    bool bf16;      /* products through cpu_product_bf16 */
    float *scratch; /* [n_threads, CPU_SCRATCH_FLOATS]: tiles, then packed blocks */
    struct cpu_rope_table rope;
};

/* ops_open_cpu with kernels of the caller's choice. */
int cpu_open_with(struct ops *o, int n_threads, const struct cpu_kernels *kernels, struct err *e);

static inline struct cpu *cpu_of(const struct ops *o) {
    return o->self;
}
static inline float *cpu_scratch(const struct cpu *c, int thread) {
    return c->scratch + (int64_t)thread * CPU_SCRATCH_FLOATS;
}
static inline float *cpu_pack(const struct cpu *c, int thread) {
    return cpu_scratch(c, thread) + CPU_TILE_FLOATS;
}
/* As thread_pool_for, in this thread alone when the work (in values touched) is small. */
static inline void cpu_for(const struct cpu *c, int64_t n, int64_t work,
                           void (*body)(void *context, int64_t begin, int64_t end, int thread),
                           void *context) {
    thread_pool_for(work < CPU_SPAN ? NULL : c->pool, n, body, context);
}

/* One product in one thread; `pack` is the thread's cpu_pack. */
struct cpu_product {
    bool trans_a, trans_b;
    int64_t m, n, k;
    float alpha;
    const float *a;
    int64_t lda;
    const float *b;
    int64_t ldb;
    float beta;
    float *c;
    int64_t ldc;
};
void cpu_product(const struct cpu *c, const struct cpu_product *p, float *pack);
void cpu_product_blocked(const struct cpu_kernels *k, const struct cpu_product *p, float *pack);
/* product_thin.c: a product with a thin side, beta 0 or 1? Then it is faster so than through a BLAS. */
bool cpu_product_is_thin(const struct cpu_product *p);
void cpu_product_thin(const struct cpu_kernels *k, const struct cpu_product *p, float *pack);
/* product_avx512bf16.c: only on x86-64 with AVX512-BF16 (cpu_has_bf16). */
void cpu_product_bf16(const struct cpu_product *p, float *pack);
void cpu_blas_single(void); /* BLAS must not start threads of its own under ours */

void cpu_gemm(const struct ops *o, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void cpu_rope(const struct ops *o, float *x, const struct rope_shape *s, bool inverse);
void cpu_rmsnorm(const struct ops *o, float *out, float *rstd, const float *x, const float *w, int64_t rows,
                 int64_t width, float epsilon);
void cpu_rmsnorm_backward(const struct ops *o, float *dx, float *dw, const float *dout, const float *x,
                          const float *w, const float *rstd, int64_t rows, int64_t width);
void cpu_cross_entropy(const struct ops *o, float *logits, float *row_loss, const int32_t *target,
                       const float *weight, int64_t rows, int64_t n_vocab, float gradient_scale);
void cpu_softmax_block(const struct ops *o, float *logits, const struct softmax_rows *s, int64_t first,
                       int64_t rows, int64_t n_cols);
void cpu_softmax_loss(const struct ops *o, float *row_loss, float *factor, const struct softmax_rows *s,
                      const float *weight, int64_t rows, float gradient_scale);
void cpu_widen(const struct ops *o, float *out, const struct packed_matrix *p, const int32_t *row,
               int64_t first, int64_t n_rows);
void cpu_add_row(const struct ops *o, float *y, const float *b, int64_t rows, int64_t width);
void cpu_sum_rows(const struct ops *o, float *db, const float *dy, int64_t rows, int64_t width);
void cpu_scale_rows(const struct ops *o, float *x, const float *factor, int64_t rows, int64_t width);
void cpu_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                   const float *v, const struct attention_shape *s);
void cpu_attention_backward(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                            const float *out, const float *lse, const float *q, const float *k,
                            const float *v, const struct attention_shape *s);

#endif
