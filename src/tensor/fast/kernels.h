/* The inner loops of the CPU table: spans and rows of contiguous floats, one thread, no memory of their own. The same
 * source (kernels_template.h) is compiled for several instruction sets; cpu_kernels_choose picks at run time. */
#ifndef TENSOR_FAST_KERNELS_H
#define TENSOR_FAST_KERNELS_H

#include "tensor/ops.h"

/* A register tile of c that reads a where it lies: c[rows, n] (+)= alpha * sum over l of a[i * line + l * along] b[l, i-th lane], b a
 * panel of `vectors` vectors a line, n at most their lanes. */
struct cpu_direct {
    int64_t k, n;
    const float *a;
    int64_t line, along;
    const float *b;
    float *c;
    int64_t ldc;
    float alpha;
    bool add; /* to c */
};

struct cpu_kernels {
    const char *name;
    int lanes;            /* floats of a vector */
    int gemm_mr, gemm_nr; /* tile of gemm_micro */

    void (*add)(float *y, const float *x, float alpha, int64_t n);
    void (*scale)(float *y, float alpha, int64_t n);
    double (*sum_squares)(const float *x, int64_t n);
    double (*dot)(const float *x, const float *y, int64_t n);
    float (*rmsnorm_row)(float *out, const float *x, const float *w, int64_t width, float epsilon); /* rstd */
    /* dw may be NULL */
    void (*rmsnorm_backward_row)(float *dx, float *dw, const float *dout, const float *x, const float *w,
                                 float rstd, int64_t width);
    void (*rope_pairs)(float *x, const float *cosine, const float *sine, int half, float sign);
    void (*rope_halves)(float *x, const float *cosine, const float *sine, int half, float sign);
    void (*swiglu)(float *out, const float *gate, const float *up, int64_t n);
    void (*swiglu_backward)(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                            int64_t n);
    void (*geglu)(float *out, const float *gate, const float *up, int64_t n);
    void (*geglu_backward)(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                           int64_t n);
    float (*max)(const float *x, int64_t n);
    /* x = exp(scale x - shift); returns the sum */
    double (*exp_sum)(float *x, float scale, float shift, int64_t n);
    /* dp = p (dp - delta) scale */
    void (*softmax_backward)(float *dp, const float *p, float delta, float scale, int64_t n);
    void (*adamw)(float *w, const float *dw, float *m, float *v, int64_t n, const struct adamw_settings *s,
                  float c1, float c2);
    /* c[mr, nr] += sum over k of a[k, mr] b[k, nr]; a and b packed */
    void (*gemm_micro)(int64_t k, const float *a, const float *b, float *c, int64_t ldc);
    /* Of `rows` rows at most, as many as it can at once: their number. vectors: 1 or 2. */
    int (*gemm_direct)(const struct cpu_direct *d, int64_t rows, int vectors);
};

/* The tables that this machine can run, best first; n from 0, NULL at the end. */
const struct cpu_kernels *cpu_kernels_nth(int n);

#endif
