/* The product without a BLAS: the classic blocking (Goto and van de Geijn, 2008). A block of B and a block of A are packed
 * into panels that the register tile reads in order; edges are padded with zeros and written through a small buffer. */
#include "tensor/fast/cpu.h"
#include <string.h>

enum { KC = 256, MC = 144, NC = 384, MAX_TILE = 16 * 64 };
_Static_assert(KC *(MC + 16) + KC * (NC + 64) <= CPU_PACK_FLOATS, "packed blocks fit the thread's scratch");

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Panels of `width` lines, each panel [k, width]: line i of the panel is row (or column) first + i of the operand, which
 * steps by `line` from one to the next and by `along` along k. */
struct panels {
    const float *from;
    int64_t line, along, n_lines, k;
    int width;
    float factor;
};

static void pack_panels(const struct panels *p, float *to) {
    for (int64_t first = 0; first < p->n_lines; first += p->width) {
        int64_t n = smaller(p->width, p->n_lines - first);
        const float *from = p->from + first * p->line;
        for (int64_t l = 0; l < p->k; l++, to += p->width) {
            for (int64_t i = 0; i < n; i++)
                to[i] = p->factor * from[i * p->line + l * p->along];
            for (int64_t i = n; i < p->width; i++)
                to[i] = 0;
        }
    }
}

static void edge_tile(const struct cpu_kernels *k, int64_t kc, const float *a, const float *b, float *c,
                      int64_t ldc, int64_t m, int64_t n) {
    float tile[MAX_TILE];
    memset(tile, 0, (size_t)(k->gemm_mr * k->gemm_nr) * sizeof *tile);
    k->gemm_micro(kc, a, b, tile, k->gemm_nr);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] += tile[i * k->gemm_nr + j];
}

static void multiply_blocks(const struct cpu_kernels *k, const struct cpu_product *p, int64_t kc,
                            const float *a, const float *b) {
    int mr = k->gemm_mr, nr = k->gemm_nr;
    for (int64_t j = 0; j < p->n; j += nr)
        for (int64_t i = 0; i < p->m; i += mr) {
            float *c = p->c + i * p->ldc + j;
            if (p->m - i >= mr && p->n - j >= nr)
                k->gemm_micro(kc, a + i * kc, b + j * kc, c, p->ldc);
            else
                edge_tile(k, kc, a + i * kc, b + j * kc, c, p->ldc, smaller(mr, p->m - i),
                          smaller(nr, p->n - j));
        }
}

static void apply_beta(const struct cpu_product *p) {
    for (int64_t i = 0; i < p->m && p->beta != 1; i++)
        for (int64_t j = 0; j < p->n; j++)
            p->c[i * p->ldc + j] = p->beta == 0 ? 0 : p->beta * p->c[i * p->ldc + j];
}

void cpu_product_blocked(const struct cpu_kernels *k, const struct cpu_product *p, float *pack) {
    int64_t a_line = p->trans_a ? 1 : p->lda, a_along = p->trans_a ? p->lda : 1;
    int64_t b_line = p->trans_b ? p->ldb : 1, b_along = p->trans_b ? 1 : p->ldb;
    float *packed_a = pack, *packed_b = pack + KC * (MC + 16);
    apply_beta(p);
    for (int64_t j = 0; j < p->n; j += NC)
        for (int64_t l = 0; l < p->k; l += KC) {
            int64_t nc = smaller(NC, p->n - j), kc = smaller(KC, p->k - l);
            pack_panels(
                &(struct panels){p->b + j * b_line + l * b_along, b_line, b_along, nc, kc, k->gemm_nr, 1},
                packed_b);
            for (int64_t i = 0; i < p->m; i += MC) {
                int64_t mc = smaller(MC, p->m - i);
                pack_panels(&(struct panels){p->a + i * a_line + l * a_along, a_line, a_along, mc, kc,
                                             k->gemm_mr, p->alpha},
                            packed_a);
                struct cpu_product block = *p;
                block.m = mc;
                block.n = nc;
                block.c = p->c + i * p->ldc + j;
                multiply_blocks(k, &block, kc, packed_a, packed_b);
            }
        }
}
