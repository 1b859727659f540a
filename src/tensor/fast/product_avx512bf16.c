/* The product with operands rounded to bfloat16 and sums in float, for processors with AVX512-BF16: twice the multiplications of
 * an instruction. Blocked as gemm_blocked.c; a panel holds pairs along k, since vdpbf16ps multiplies two neighbours at once.
 * Relative error of a product is about 2^-9 / sqrt(k) for random operands (tests/tensor/test_bf16.c measures it). */
#include "tensor/fast/cpu.h"
#include <immintrin.h>
#include <string.h>

enum { KC = 256, MC = 240, NC = 896, MR = 12, NR = 32, LANES = 16 };
_Static_assert(KC / 2 * (MC + MR + NC + NR) <= CPU_PACK_FLOATS, "packed blocks fit the thread's scratch");

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* As in gemm_blocked.c: line i of the operand's lines [0, n_lines), k values `along` apart. */
struct panels {
    const float *from;
    int64_t line, along, n_lines, k;
    int width;
    float factor;
};

/* 16 pairs of 32 values that stand side by side; what is past `n` is zero. */
static __m512i pairs_of(const float *from, int64_t n, __m512 factor) {
    __mmask16 low = (__mmask16)(n >= 16 ? 0xFFFFU : (1U << n) - 1U);
    __mmask16 high = (__mmask16)(n >= 32 ? 0xFFFFU : n <= 16 ? 0U : (1U << (n - 16)) - 1U);
    __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(low, from), factor);
    __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(high, from + 16), factor);
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

/* Lines contiguous along k: each gives 16 pairs at a time, which are turned through a small square. */
static void pack_along_k(const struct panels *p, const float *from, int64_t n, uint32_t *to) {
    uint32_t square[NR][LANES];
    __m512 factor = _mm512_set1_ps(p->factor);
    for (int64_t l = 0; l < p->k; l += 2 * LANES) {
        int64_t n_pairs = smaller(LANES, (p->k - l + 1) / 2);
        for (int64_t i = 0; i < n; i++)
            _mm512_storeu_si512(square[i], pairs_of(from + i * p->line + l, p->k - l, factor));
        for (int64_t pair = 0; pair < n_pairs; pair++, to += p->width)
            for (int64_t i = 0; i < n; i++)
                to[i] = square[i][pair];
    }
}

/* Lines side by side: two rows along k are woven into one. */
static void pack_across(const struct panels *p, const float *from, int64_t n, uint32_t *to) {
    __m512 factor = _mm512_set1_ps(p->factor);
    for (int64_t l = 0; l < p->k; l += 2, to += p->width)
        for (int64_t i = 0; i < n; i += LANES) {
            __mmask16 mask = (__mmask16)(n - i >= LANES ? 0xFFFFU : (1U << (n - i)) - 1U);
            const float *row = from + l * p->along + i;
            __m512 even = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row), factor);
            __m512 odd = l + 1 < p->k ? _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + p->along), factor)
                                      : _mm512_setzero_ps();
            __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
            __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd)), 16);
            _mm512_mask_storeu_epi32(to + i, mask, _mm512_or_si512(low, high));
        }
}

static void pack_panels(const struct panels *p, uint32_t *to) {
    int64_t panel = (p->k + 1) / 2 * p->width;
    for (int64_t first = 0; first < p->n_lines; first += p->width, to += panel) {
        int64_t n = smaller(p->width, p->n_lines - first);
        if (n < p->width)
            memset(to, 0, (size_t)panel * sizeof *to);
        if (p->along == 1)
            pack_along_k(p, p->from + first * p->line, n, to);
        else
            pack_across(p, p->from + first * p->line, n, to);
    }
}

/* C[MR, NR] += A B over n_pairs pairs: 24 sums, 2 vectors of B, and A broadcast from memory fill the 32 registers. */
static void micro(int64_t n_pairs, const uint32_t *a, const uint32_t *b, float *c, int64_t ldc) {
    __m512 sum[MR][2];
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
        sum[i][0] = _mm512_loadu_ps(c + i * ldc);
        sum[i][1] = _mm512_loadu_ps(c + i * ldc + LANES);
    }
    for (int64_t l = 0; l < n_pairs; l++, a += MR, b += NR) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < MR; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
        _mm512_storeu_ps(c + i * ldc, sum[i][0]);
        _mm512_storeu_ps(c + i * ldc + LANES, sum[i][1]);
    }
}

static void edge_tile(int64_t n_pairs, const uint32_t *a, const uint32_t *b, float *c, int64_t ldc, int64_t m,
                      int64_t n) {
    float tile[MR * NR];
    memset(tile, 0, sizeof tile);
    micro(n_pairs, a, b, tile, NR);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] += tile[i * NR + j];
}

static void multiply_blocks(const struct cpu_product *p, int64_t n_pairs, const uint32_t *a,
                            const uint32_t *b) {
    for (int64_t j = 0; j < p->n; j += NR)
        for (int64_t i = 0; i < p->m; i += MR) {
            float *c = p->c + i * p->ldc + j;
            if (p->m - i >= MR && p->n - j >= NR)
                micro(n_pairs, a + i * n_pairs, b + j * n_pairs, c, p->ldc);
            else
                edge_tile(n_pairs, a + i * n_pairs, b + j * n_pairs, c, p->ldc, smaller(MR, p->m - i),
                          smaller(NR, p->n - j));
        }
}

static void apply_beta(const struct cpu_product *p) {
    for (int64_t i = 0; i < p->m && p->beta != 1; i++)
        for (int64_t j = 0; j < p->n; j++)
            p->c[i * p->ldc + j] = p->beta == 0 ? 0 : p->beta * p->c[i * p->ldc + j];
}

void cpu_product_bf16(const struct cpu_product *p, float *pack) {
    int64_t a_line = p->trans_a ? 1 : p->lda, a_along = p->trans_a ? p->lda : 1;
    int64_t b_line = p->trans_b ? p->ldb : 1, b_along = p->trans_b ? 1 : p->ldb;
    uint32_t *packed_a = (uint32_t *)pack, *packed_b = packed_a + KC / 2 * (MC + MR);
    apply_beta(p);
    for (int64_t j = 0; j < p->n; j += NC)
        for (int64_t l = 0; l < p->k; l += KC) {
            int64_t nc = smaller(NC, p->n - j), kc = smaller(KC, p->k - l);
            pack_panels(&(struct panels){p->b + j * b_line + l * b_along, b_line, b_along, nc, kc, NR, 1},
                        packed_b);
            for (int64_t i = 0; i < p->m; i += MC) {
                int64_t mc = smaller(MC, p->m - i);
                pack_panels(
                    &(struct panels){p->a + i * a_line + l * a_along, a_line, a_along, mc, kc, MR, p->alpha},
                    packed_a);
                struct cpu_product block = *p;
                block.m = mc;
                block.n = nc;
                block.c = p->c + i * p->ldc + j;
                multiply_blocks(&block, (kc + 1) / 2, packed_a, packed_b);
            }
        }
}
