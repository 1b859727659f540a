/* The product over threads: C is cut into a grid of tiles, one a thread, and each is one single-threaded product. Doing
 * the cutting here rather than in the BLAS keeps one pool of threads in the process, and makes results depend on our number of
 * threads alone. */
#include "tensor/fast/cpu.h"

#ifndef EDGESTILL_NO_BLAS
#include <cblas.h>
extern void openblas_set_num_threads(int n) __attribute__((weak)); /* other CBLAS libraries lack it */
extern char *openblas_get_corename(void) __attribute__((weak));
#endif

enum { TILE_STEP = 16, SMALL_PRODUCT = 64 * 64 * 64 };

void cpu_blas_single(void) {
#ifndef EDGESTILL_NO_BLAS
    if (openblas_set_num_threads)
        openblas_set_num_threads(1); /* each time: llama.cpp's backend sets it too */
#endif
}

const char *ops_blas_name(void) {
#ifdef EDGESTILL_NO_BLAS
    return "none";
#else
    return openblas_get_corename ? openblas_get_corename() : "unknown";
#endif
}

void cpu_product(const struct cpu *c, const struct cpu_product *p, float *pack) {
    if (p->m <= 0 || p->n <= 0)
        return;
#ifdef EDGESTILL_NO_BLAS
    cpu_product_blocked(c->kernels, p, pack);
#else
    (void)c, (void)pack;
    cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                (blasint)p->m, (blasint)p->n, (blasint)p->k, p->alpha, p->a, (blasint)p->lda, p->b,
                (blasint)p->ldb, p->beta, p->c, (blasint)p->ldc);
#endif
}

struct grid {
    const struct cpu *c;
    struct cpu_product whole;
    int64_t rows, cols; /* tiles */
};

/* Range `index` of `n` values in `parts`, cut at multiples of TILE_STEP. */
static int64_t cut(int64_t n, int64_t parts, int64_t index) {
    int64_t steps = (n + TILE_STEP - 1) / TILE_STEP, at = steps * index / parts * TILE_STEP;
    return at < n ? at : n;
}

static void tile_range(void *context, int64_t i, int64_t end, int thread) {
    const struct grid *g = context;
    for (; i < end; i++) {
        struct cpu_product p = g->whole;
        int64_t m0 = cut(p.m, g->rows, i / g->cols), n0 = cut(p.n, g->cols, i % g->cols);
        p.m = cut(p.m, g->rows, i / g->cols + 1) - m0;
        p.n = cut(p.n, g->cols, i % g->cols + 1) - n0;
        p.a += p.trans_a ? m0 : m0 * p.lda;
        p.b += p.trans_b ? n0 * p.ldb : n0;
        p.c += m0 * p.ldc + n0;
#ifdef __x86_64__
        if (g->c->bf16 && p.m > 0 && p.n > 0 && !cpu_product_is_thin(&p)) {
            cpu_product_bf16(&p, cpu_pack(g->c, thread));
            continue;
        }
#endif
        if (cpu_product_is_thin(&p))
            cpu_product_thin(g->c->kernels, &p, cpu_pack(g->c, thread));
        else
            cpu_product(g->c, &p, cpu_pack(g->c, thread));
    }
}

/* The grid whose tiles have the smallest rim: what each thread packs of A and B for its share of the work. */
static void choose_grid(struct grid *g, int n_threads) {
    double best = 0;
    for (int rows = 1; rows <= n_threads; rows++) {
        if (n_threads % rows != 0)
            continue;
        int cols = n_threads / rows;
        double tile_m = (double)g->whole.m / rows, tile_n = (double)g->whole.n / cols;
        double rim = (tile_m < TILE_STEP ? TILE_STEP : tile_m) + (tile_n < TILE_STEP ? TILE_STEP : tile_n);
        if (rows == 1 || rim < best) {
            best = rim;
            g->rows = rows;
            g->cols = cols;
        }
    }
}

void cpu_gemm(const struct ops *o, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    struct grid g = {.c = cpu_of(o),
                     .whole = {trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc},
                     .rows = 1,
                     .cols = 1};
    bool small = m * n * k < SMALL_PRODUCT;
    if (!small)
        choose_grid(&g, o->n_threads);
    cpu_blas_single();
    thread_pool_for(small ? NULL : g.c->pool, g.rows * g.cols, tile_range, &g);
}
