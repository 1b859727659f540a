/* A table that counts, in front of the one that computes. */
#include "tensor/count.h"
#include <math.h>
#include <time.h>

static struct ops_count *counter; /* of the wrapped table: the operations' own state belongs to the backend */

static void counting_gemm(const struct ops *o, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                          float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                          float *c, int64_t ldc) {
    counter->macs += (double)m * (double)n * (double)k;
    counter->inner.gemm(o, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* Pairs of a query and a key that it sees, all heads, times their width: one product of scores. */
static double score_macs(const struct attention_shape *s) {
    double pairs = 0;
    for (int i = 0; i < s->n_seq; i++)
        for (int64_t t = 1; t <= s->start[i + 1] - s->start[i]; t++) {
            int64_t seen = t + s->n_prefix;
            pairs += (double)(s->window > 0 && seen > s->window ? s->window : seen);
        }
    return pairs * s->n_heads * s->head_dim;
}

static void counting_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                               const float *v, const struct attention_shape *s) {
    counter->macs += 2 * score_macs(s);
    counter->inner.attention(o, out, lse, q, k, v, s);
}

/* Scores again, then the gradients of values, scores, queries and keys. */
static void counting_attention_backward(const struct ops *o, float *dq, float *dk, float *dv,
                                        const float *dout, const float *out, const float *lse, const float *q,
                                        const float *k, const float *v, const struct attention_shape *s) {
    counter->macs += 5 * score_macs(s);
    counter->inner.attention_backward(o, dq, dk, dv, dout, out, lse, q, k, v, s);
}

void ops_count_wrap(struct ops *o, struct ops_count *c) {
    *c = (struct ops_count){.inner = *o};
    counter = c;
    o->gemm = counting_gemm;
    o->attention = counting_attention;
    o->attention_backward = counting_attention_backward;
}

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct product_seconds {
    double best, wall, cpu;
};

/* One product; its seconds of wall and processor time are added up, the shortest wall time is kept. */
static void timed_product(const struct ops *o, const int64_t mnk[3], float *const abc[3],
                          struct product_seconds *s) {
    double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    o->gemm(o, false, true, mnk[0], mnk[1], mnk[2], 1, abc[0], mnk[2], abc[1], mnk[2], 0, abc[2], mnk[1]);
    o->sum_squares(o, abc[2], 1); /* waits */
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    s->best = wall < s->best ? wall : s->best;
    s->wall += wall;
    s->cpu += seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
}

static void fill(const struct ops *o, float *to, int64_t n) {
    float some[256];
    for (int i = 0; i < 256; i++)
        some[i] = (float)(i * 37 % 101) / 64 - 0.75f;
    for (int64_t i = 0; i < n; i += 256)
        o->upload(o, to + i, some, (size_t)(n - i < 256 ? n - i : 256) * sizeof *some);
}

int ops_measure_product(const struct ops *o, int64_t m, int64_t n, int64_t k, int n_times,
                        struct ops_rate *out, struct err *e) {
    const int64_t mnk[3] = {m, n, k};
    float *abc[3] = {o->alloc(o, (size_t)(m * k) * sizeof(float)),
                     o->alloc(o, (size_t)(n * k) * sizeof(float)),
                     o->alloc(o, (size_t)(m * n) * sizeof(float))};
    bool ok = abc[0] && abc[1] && abc[2];
    if (ok) {
        struct product_seconds s = {0};
        double work = (double)m * (double)n * (double)k;
        fill(o, abc[0], m * k);
        fill(o, abc[1], n * k);
        timed_product(o, mnk, abc, &s); /* warm */
        s = (struct product_seconds){.best = INFINITY};
        for (int i = 0; i < n_times; i++)
            timed_product(o, mnk, abc, &s);
        *out = (struct ops_rate){work / (s.best + 1e-9), work * n_times / (s.wall + 1e-9),
                                 work * n_times / (s.cpu + 1e-9)};
    }
    for (int i = 0; i < 3; i++)
        o->free(o, abc[i]);
    return ok ? 0 : err_set(e, ERR_NO_MEMORY, "ops_measure_product", "no room for a product");
}
