/* The kernels, written with the compiler's vector type of VECTOR_BYTES, which the including file sets to the width of its
 * instruction set along with KERNELS (the table's name) and GEMM_MR (rows of a register tile).
 *
 * Sums run over lanes in a fixed order, so results depend on the instruction set but never on chance. Tails shorter than a
 * vector go through a padded copy of the same code, so that an element's result does not depend on where it stands. */
#include "tensor/fast/kernels.h"
#include <math.h>
#include <string.h>

typedef float vf __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
enum { L = VECTOR_BYTES / 4 };

static inline vf load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}
/* The first n < L values, zeros behind them. */
static inline vf load_part(const float *p, int64_t n) {
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
static inline void store_part(float *p, vf v, int64_t n) {
    memcpy(p, &v, (size_t)n * sizeof *p);
}
static inline vf splat(float x) {
    return (vf){0} + x;
}
static inline vf choose(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
static inline double lanes_sum(vf v) {
    double sum = 0;
    for (int i = 0; i < L; i++)
        sum += (double)v[i];
    return sum;
}
static inline vf vsqrt(vf v) {
    for (int i = 0; i < L; i++)
        v[i] = __builtin_sqrtf(v[i]);
    return v;
}

/* e^x = 2^n e^r with |r| <= ln(2)/2; the Taylor polynomial of degree 7 leaves 5e-9. Clamped where float ends; the rounding to
 * n adds 1.5 * 2^23, whose low bits then are n. */
static inline vf vexp(vf x) {
    x = choose(x > 88.0f, splat(88.0f), x);
    x = choose(x < -87.0f, splat(-87.0f), x);
    vf shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (vf)(((vi)shifted << 23) + 0x3f800000); /* 2^n; a product, so that NaN stays NaN */
}

/* ---- spans ---- */

static void k_add(float *y, const float *x, float alpha, int64_t n) {
    int64_t i = 0;
    for (; i + L <= n; i += L)
        store(y + i, load(y + i) + load(x + i) * alpha);
    store_part(y + i, load_part(y + i, n - i) + load_part(x + i, n - i) * alpha, n - i);
}

static void k_scale(float *y, float alpha, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        y[i] *= alpha;
}

/* Lanes in float over blocks of 64 vectors, blocks in double. */
static double k_dot(const float *x, const float *y, int64_t n) {
    double sum = 0;
    int64_t i = 0;
    while (i + L <= n) {
        vf a = {0}, b = {0};
        int64_t end = i + 64 * L <= n ? i + 64 * L : n;
        for (; i + 2 * L <= end; i += 2 * L) {
            a += load(x + i) * load(y + i);
            b += load(x + i + L) * load(y + i + L);
        }
        for (; i + L <= end; i += L)
            a += load(x + i) * load(y + i);
        sum += lanes_sum(a + b);
    }
    return sum + lanes_sum(load_part(x + i, n - i) * load_part(y + i, n - i));
}

static double k_sum_squares(const float *x, int64_t n) {
    return k_dot(x, x, n);
}

static float k_max(const float *x, int64_t n) {
    float max = x[0];
    int64_t i = 0;
    if (n >= L) {
        vf m = load(x);
        for (i = L; i + L <= n; i += L) {
            vf v = load(x + i);
            m = choose(v > m, v, m);
        }
        for (int j = 0; j < L; j++)
            max = m[j] > max ? m[j] : max;
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static double k_exp_sum(float *x, float scale, float shift, int64_t n) {
    double sum = 0;
    int64_t i = 0;
    while (i + L <= n) {
        vf part = {0};
        int64_t end = i + 64 * L <= n ? i + 64 * L : n;
        for (; i + L <= end; i += L) {
            vf p = vexp(load(x + i) * scale - shift);
            store(x + i, p);
            part += p;
        }
        sum += lanes_sum(part);
    }
    store_part(x + i, vexp(load_part(x + i, n - i) * scale - shift), n - i);
    for (; i < n; i++)
        sum += (double)x[i];
    return sum;
}

static void k_softmax_backward(float *dp, const float *p, float delta, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        dp[i] = p[i] * (dp[i] - delta) * scale;
}

static void k_swiglu(float *out, const float *gate, const float *up, int64_t n) {
    int64_t i = 0;
    for (; i + L <= n; i += L) {
        vf g = load(gate + i);
        store(out + i, g / (vexp(-g) + 1.0f) * load(up + i));
    }
    vf g = load_part(gate + i, n - i);
    store_part(out + i, g / (vexp(-g) + 1.0f) * load_part(up + i, n - i), n - i);
}

static inline void swiglu_gradient(vf d, vf g, vf u, vf *dg, vf *du) {
    vf s = 1.0f / (vexp(-g) + 1.0f), gs = g * s;
    *dg = d * u * (s + gs * (1.0f - s));
    *du = d * gs;
}

static void k_swiglu_backward(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                              int64_t n) {
    vf dg, du;
    int64_t i = 0;
    for (; i + L <= n; i += L) {
        swiglu_gradient(load(dout + i), load(gate + i), load(up + i), &dg, &du);
        store(dgate + i, dg);
        store(dup + i, du);
    }
    n -= i;
    swiglu_gradient(load_part(dout + i, n), load_part(gate + i, n), load_part(up + i, n), &dg, &du);
    store_part(dgate + i, dg, n);
    store_part(dup + i, du, n);
}

/* (1 + tanh u) / 2 is the logistic function of 2u, which loses nothing where tanh is near -1. */
static inline vf gelu_gate(vf g) {
    vf u = (g + g * g * g * 0.044715f) * 0.797884561f;
    return 1.0f / (vexp(u * -2.0f) + 1.0f);
}

static void k_geglu(float *out, const float *gate, const float *up, int64_t n) {
    int64_t i = 0;
    for (; i + L <= n; i += L) {
        vf g = load(gate + i);
        store(out + i, g * gelu_gate(g) * load(up + i));
    }
    vf g = load_part(gate + i, n - i);
    store_part(out + i, g * gelu_gate(g) * load_part(up + i, n - i), n - i);
}

static inline void geglu_gradient(vf d, vf g, vf u, vf *dg, vf *du) {
    vf s = gelu_gate(g), slope = (g * g * (3 * 0.044715f) + 1.0f) * 0.797884561f;
    *dg = d * u * (s + g * s * (1.0f - s) * 2.0f * slope);
    *du = d * g * s;
}

static void k_geglu_backward(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                             int64_t n) {
    vf dg, du;
    int64_t i = 0;
    for (; i + L <= n; i += L) {
        geglu_gradient(load(dout + i), load(gate + i), load(up + i), &dg, &du);
        store(dgate + i, dg);
        store(dup + i, du);
    }
    n -= i;
    geglu_gradient(load_part(dout + i, n), load_part(gate + i, n), load_part(up + i, n), &dg, &du);
    store_part(dgate + i, dg, n);
    store_part(dup + i, du, n);
}

static inline void adamw_update(vf *w, vf dw, vf *m, vf *v, const struct adamw_settings *s, float c1,
                                float c2) {
    vf g = dw * s->gradient_scale;
    *m = *m * s->beta1 + g * (1 - s->beta1);
    *v = *v * s->beta2 + g * g * (1 - s->beta2);
    vf update = *m * c1 / (vsqrt(*v * c2) + s->epsilon);
    *w -= s->learning_rate * (update + *w * s->weight_decay);
}

/* c1 and c2 are 1 / (1 - beta^step). */
static void k_adamw(float *w, const float *dw, float *m, float *v, int64_t n, const struct adamw_settings *s,
                    float c1, float c2) {
    for (int64_t i = 0; i < n; i += L) {
        int64_t part = n - i < L ? n - i : L;
        bool whole = part == L;
        vf wi = whole ? load(w + i) : load_part(w + i, part),
           gi = whole ? load(dw + i) : load_part(dw + i, part);
        vf mi = whole ? load(m + i) : load_part(m + i, part),
           vi_ = whole ? load(v + i) : load_part(v + i, part);
        adamw_update(&wi, gi, &mi, &vi_, s, c1, c2);
        store_part(w + i, wi, part);
        store_part(m + i, mi, part);
        store_part(v + i, vi_, part);
    }
}

/* ---- rows ---- */

static float k_rmsnorm_row(float *out, const float *x, const float *w, int64_t width, float epsilon) {
    float rstd = (float)(1 / sqrt(k_dot(x, x, width) / (double)width + (double)epsilon));
    for (int64_t i = 0; i < width; i++)
        out[i] = x[i] * rstd * w[i];
    return rstd;
}

/* See ref_rmsnorm_backward for the formula. */
static void k_rmsnorm_backward_row(float *dx, float *dw, const float *dout, const float *x, const float *w,
                                   float rstd, int64_t width) {
    double sum = 0;
    vf part = {0};
    int64_t i = 0;
    for (; i + L <= width; i += L)
        part += load(dout + i) * load(w + i) * load(x + i);
    sum = lanes_sum(part);
    for (; i < width; i++)
        sum += (double)(dout[i] * w[i] * x[i]);
    float back = (float)((double)rstd * rstd * rstd * sum / (double)width);
    for (i = 0; i < width; i++)
        dx[i] += rstd * dout[i] * w[i] - back * x[i];
    for (i = 0; dw && i < width; i++)
        dw[i] += dout[i] * x[i] * rstd;
}

static void k_rope_pairs(float *x, const float *cosine, const float *sine, int half, float sign) {
    for (int i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1], s = sign * sine[i];
        x[2 * i] = a * cosine[i] - b * s;
        x[2 * i + 1] = a * s + b * cosine[i];
    }
}

static void k_rope_halves(float *x, const float *cosine, const float *sine, int half, float sign) {
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[half + i], s = sign * sine[i];
        x[i] = a * cosine[i] - b * s;
        x[half + i] = a * s + b * cosine[i];
    }
}

/* ---- the register tile of the blocked product ---- */

static void k_gemm_micro(int64_t k, const float *a, const float *b, float *c, int64_t ldc) {
    vf sum[GEMM_MR][2] = {0};
    for (int64_t l = 0; l < k; l++, a += GEMM_MR, b += 2 * L) {
        vf b0 = load(b), b1 = load(b + L);
#pragma GCC unroll 16
        for (int i = 0; i < GEMM_MR; i++) {
            sum[i][0] += b0 * a[i];
            sum[i][1] += b1 * a[i];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < GEMM_MR; i++) {
        store(c + i * ldc, load(c + i * ldc) + sum[i][0]);
        store(c + i * ldc + L, load(c + i * ldc + L) + sum[i][1]);
    }
}

/* ---- the register tile that packs only b ---- */

enum { DIRECT_ROWS_2 = GEMM_MR, DIRECT_ROWS_1 = 12, DIRECT_FEW = 4 };

static inline void direct_store(float *c, vf x, bool add, int64_t n) {
    if (n >= L)
        store(c, add ? load(c) + x : x);
    else
        store_part(c, add ? load_part(c, n) + x : x, n);
}

static inline __attribute__((always_inline)) int direct_tile(const struct cpu_direct *d, const int rows,
                                                             const int vectors) {
    vf sum[16][2];
    const float *a = d->a, *b = d->b;
    const int64_t line = d->line, along = d->along;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (vf){0};
    for (int64_t l = 0; l < d->k; l++, a += along, b += vectors * L) {
        vf b0 = load(b), b1 = load(b + (vectors - 1) * L);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            sum[i][0] += b0 * a[i * line];
            if (vectors == 2)
                sum[i][1] += b1 * a[i * line];
        }
    }
    bool whole = d->n == vectors * L;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        float *c = d->c + i * d->ldc;
        direct_store(c, sum[i][0] * d->alpha, d->add, vectors == 2 || whole ? L : d->n);
        if (vectors == 2)
            direct_store(c + L, sum[i][1] * d->alpha, d->add, whole ? L : d->n - L);
    }
    return rows;
}

static int k_gemm_direct(const struct cpu_direct *d, int64_t rows, int vectors) {
    if (vectors == 2)
        return rows >= DIRECT_ROWS_2 ? direct_tile(d, DIRECT_ROWS_2, 2)
               : rows >= DIRECT_FEW  ? direct_tile(d, DIRECT_FEW, 2)
                                     : direct_tile(d, 1, 2);
    return rows >= DIRECT_ROWS_1 ? direct_tile(d, DIRECT_ROWS_1, 1)
           : rows >= DIRECT_FEW  ? direct_tile(d, DIRECT_FEW, 1)
                                 : direct_tile(d, 1, 1);
}

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
const struct cpu_kernels KERNELS = {
    .name = TEXT(KERNELS),
    .lanes = L,
    .gemm_mr = GEMM_MR,
    .gemm_nr = 2 * L,
    .add = k_add,
    .scale = k_scale,
    .sum_squares = k_sum_squares,
    .dot = k_dot,
    .rmsnorm_row = k_rmsnorm_row,
    .rmsnorm_backward_row = k_rmsnorm_backward_row,
    .rope_pairs = k_rope_pairs,
    .rope_halves = k_rope_halves,
    .swiglu = k_swiglu,
    .swiglu_backward = k_swiglu_backward,
    .geglu = k_geglu,
    .geglu_backward = k_geglu_backward,
    .max = k_max,
    .exp_sum = k_exp_sum,
    .softmax_backward = k_softmax_backward,
    .adamw = k_adamw,
    .gemm_micro = k_gemm_micro,
    .gemm_direct = k_gemm_direct,
};
