/* Products with a thin side: those of adapters, whose rank is 16. A BLAS copies both operands into panels first, which pays where each
 * value is then used hundreds of times; here the larger operand's would be used 16 times. So only b is packed, a block at a time,
 * and a is read where it lies. Up to a width of 32, and only where c has no more lines than that or as few columns, it is the faster
 * way (docs/speedups.md). */
#include "tensor/fast/cpu.h"

enum { KC = 256, NC = 512, THIN = 32, LEAST = 4, ROWS = 48 };
_Static_assert(KC *NC <= CPU_PACK_FLOATS, "a packed block fits the thread's scratch");

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

bool cpu_product_is_thin(const struct cpu_product *p) {
    bool plain = !(p->trans_a && p->trans_b) && (p->beta == 0 || p->beta == 1);
    return plain && p->k >= LEAST && p->n >= LEAST && p->m >= LEAST &&
           (p->n <= THIN || (p->trans_a && p->m <= THIN));
}

/* Columns [j, j + n) of the block's kc lines of b, padded with zeros to `width`. */
static void pack_panel(const struct cpu_product *p, int64_t l0, int64_t kc, int64_t j, int64_t n, int width,
                       float *to) {
    const float *from = p->trans_b ? p->b + j * p->ldb + l0 : p->b + l0 * p->ldb + j;
    for (int64_t l = 0; l < kc; l++, to += width) {
        if (p->trans_b)
            for (int64_t i = 0; i < n; i++)
                to[i] = from[i * p->ldb + l];
        else
            __builtin_memcpy(to, from + l * p->ldb, (size_t)n * sizeof *to);
        for (int64_t i = n; i < width; i++)
            to[i] = 0;
    }
}

/* A panel is two vectors wide, or one where no more is left. */
static int vectors_of(int lanes, int64_t n) {
    return n > lanes ? 2 : 1;
}

/* All panels for a few rows of a, then for the next few, so that those rows of a and c stay in the cache. */
static void multiply(const struct cpu_kernels *k, const struct cpu_product *p, int64_t l0, int64_t kc,
                     int64_t j0, int64_t nc, const float *packed) {
    struct cpu_direct d = {.k = kc, .alpha = p->alpha, .add = p->beta != 0 || l0 > 0, .ldc = p->ldc};
    d.line = p->trans_a ? 1 : p->lda;
    d.along = p->trans_a ? p->lda : 1;
    for (int64_t i0 = 0; i0 < p->m; i0 += ROWS)
        for (int64_t j = 0; j < nc; j += 2 * k->lanes) {
            int64_t end = smaller(i0 + ROWS, p->m);
            d.n = smaller(2 * k->lanes, nc - j);
            d.b = packed + j * kc;
            for (int64_t i = i0; i < end;) {
                d.a = p->a + i * d.line + l0 * d.along;
                d.c = p->c + i * p->ldc + j0 + j;
                i += k->gemm_direct(&d, end - i, vectors_of(k->lanes, d.n));
            }
        }
}

void cpu_product_thin(const struct cpu_kernels *k, const struct cpu_product *p, float *pack) {
    int width = 2 * k->lanes;
    for (int64_t j0 = 0; j0 < p->n; j0 += NC)
        for (int64_t l0 = 0; l0 < p->k; l0 += KC) {
            int64_t nc = smaller(NC, p->n - j0), kc = smaller(KC, p->k - l0);
            for (int64_t j = 0; j < nc; j += width) {
                int64_t n = smaller(width, nc - j);
                pack_panel(p, l0, kc, j0 + j, n, vectors_of(k->lanes, n) * k->lanes, pack + j * kc);
            }
            multiply(k, p, l0, kc, j0, nc, pack);
        }
}
