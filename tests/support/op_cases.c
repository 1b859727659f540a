/* Cases of the operations: see op_cases.h. A case draws its inputs from a stream seeded by its number, so that both tables
 * see the same, and registers its outputs. */
#include "support/op_cases.h"
#include "base/rng.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_BUFFERS = 24, MAX_SEQ = 16 };

struct scene {
    const struct ops *o;
    struct rng rng;
    void *owned[MAX_BUFFERS];
    int n_owned;
    const float *outputs[MAX_BUFFERS];
    int64_t sizes[MAX_BUFFERS];
    int n_outputs;
    double scalar;
};

static float *draw(struct scene *s, int64_t n) {
    float *host = malloc((size_t)n * sizeof *host), *device = s->o->alloc(s->o, (size_t)n * sizeof *host);
    assert(host && device && s->n_owned < MAX_BUFFERS);
    for (int64_t i = 0; i < n; i++)
        host[i] = (float)rng_normal(&s->rng);
    s->o->upload(s->o, device, host, (size_t)n * sizeof *host);
    free(host);
    return s->owned[s->n_owned++] = device;
}

/* Distinct: a permutation's beginning; otherwise any, -1 now and then where `holes`. */
static int32_t *draw_ids(struct scene *s, int64_t n, int64_t range, bool distinct, bool holes) {
    int32_t *host = malloc((size_t)n * sizeof *host), *device = s->o->alloc(s->o, (size_t)n * sizeof *host);
    int64_t *order = malloc((size_t)range * sizeof *order);
    assert(host && device && order && (!distinct || n <= range) && s->n_owned < MAX_BUFFERS);
    for (int64_t i = 0; i < range; i++)
        order[i] = i;
    rng_shuffle(&s->rng, order, range);
    for (int64_t i = 0; i < n; i++)
        host[i] = (int32_t)(distinct ? order[i] : rng_range(&s->rng, holes ? -1 : 0, range - 1));
    s->o->upload(s->o, device, host, (size_t)n * sizeof *host);
    free(host);
    free(order);
    return s->owned[s->n_owned++] = device;
}

static float *output(struct scene *s, float *p, int64_t n) {
    s->outputs[s->n_outputs] = p;
    s->sizes[s->n_outputs++] = n;
    return p;
}

/* ---- the cases: numbers a..f mean what the case says ---- */

struct numbers {
    int64_t a, b, c, d, e, f;
};

/* m, n, k, transposes (bit 0: A, bit 1: B), beta */
static void case_gemm(struct scene *s, const struct numbers *n) {
    bool ta = n->d & 1, tb = n->d & 2;
    int64_t lda = (ta ? n->a : n->c) + 3, ldb = (tb ? n->c : n->b) + 5, ldc = n->b + 1;
    float *a = draw(s, lda * (ta ? n->c : n->a)), *b = draw(s, ldb * (tb ? n->b : n->c)),
          *c = draw(s, n->a * ldc);
    s->o->gemm(s->o, ta, tb, n->a, n->b, n->c, 0.7f, a, lda, b, ldb, (float)n->e, output(s, c, n->a * ldc),
               ldc);
}

static void case_spans(struct scene *s, const struct numbers *n) {
    float *x = draw(s, n->a), *y = output(s, draw(s, n->a), n->a), *z = output(s, draw(s, n->a), n->a);
    s->o->add(s->o, y, x, -0.3f, n->a);
    s->o->add(s->o, y, x, 1, 0); /* an empty span is allowed */
    s->o->scale(s->o, z, 1.7f, n->a);
    s->scalar = s->o->sum_squares(s->o, x, n->a);
}

/* rows, width, height of the table */
static void case_tables(struct scene *s, const struct numbers *n) {
    float *table = draw(s, n->c * n->b), *rows = draw(s, n->a * n->b);
    int32_t *any = draw_ids(s, n->a, n->c, false, false), *distinct = draw_ids(s, n->a, n->c, true, false);
    s->o->embed(s->o, output(s, draw(s, n->a * n->b), n->a * n->b), table, any, n->a, n->b);
    s->o->gather(s->o, output(s, draw(s, n->a * n->b), n->a * n->b), table, distinct, n->a, n->b);
    s->o->embed_backward(s->o, output(s, draw(s, n->c * n->b), n->c * n->b), rows, any, n->a, n->b, n->c);
    s->o->scatter_add(s->o, output(s, draw(s, n->c * n->b), n->c * n->b), rows, distinct, n->a, n->b);
}

/* rows, width, is the weight trained */
static void case_rmsnorm(struct scene *s, const struct numbers *n) {
    int64_t size = n->a * n->b;
    float *x = draw(s, size), *w = draw(s, n->b), *dout = draw(s, size),
          *rstd = output(s, draw(s, n->a), n->a);
    float *dw = output(s, draw(s, n->b), n->b);
    s->o->rmsnorm(s->o, output(s, draw(s, size), size), rstd, x, w, n->a, n->b, 1e-5f);
    s->o->rmsnorm_backward(s->o, output(s, draw(s, size), size), n->c ? dw : NULL, dout, x, w, rstd, n->a,
                           n->b);
}

/* tokens, heads, width, halves, inverse, largest position */
static void case_rope(struct scene *s, const struct numbers *n) {
    float freq[256];
    for (int64_t i = 0; i < n->c / 2; i++)
        freq[i] = powf(10000, -2.0f * (float)i / (float)n->c);
    float *device = draw(s, n->c / 2);
    s->o->upload(s->o, device, freq, (size_t)(n->c / 2) * sizeof *freq);
    struct rope_shape shape = {
        .n_tokens = n->a, .n_heads = (int)n->b, .head_dim = (int)n->c, .halves = n->d, .freq = device};
    shape.position = draw_ids(s, n->a, n->f, false, false);
    s->o->rope(s->o, output(s, draw(s, n->a * n->b * n->c), n->a * n->b * n->c), &shape, n->e);
}

/* longest sequence, heads, key-value heads, width, window, prefix; MAX_SEQ - 3 sequences of other lengths follow */
static void case_attention(struct scene *s, const struct numbers *n) {
    int32_t start[MAX_SEQ] = {0, (int32_t)n->a, (int32_t)n->a + 1};
    int n_seq = n->a > 200 ? 3 : MAX_SEQ - 1;
    for (int i = 3; i <= n_seq; i++)
        start[i] = start[i - 1] + (int32_t)rng_range(&s->rng, 1, n->a);
    int64_t t = start[n_seq], q_size = t * n->b * n->d, kv_size = t * n->c * n->d,
            p_size = n->f * n->c * n->d;
    struct attention_shape shape = {
        .n_tokens = t, .n_heads = (int)n->b, .n_kv_heads = (int)n->c, .head_dim = (int)n->d};
    shape.scale = 1 / sqrtf((float)n->d);
    shape.window = (int)n->e;
    shape.n_seq = n_seq;
    shape.start = start;
    shape.n_prefix = n->f;
    if (n->f > 0) {
        shape.prefix_k = draw(s, p_size);
        shape.prefix_v = draw(s, p_size);
        shape.prefix_dk = output(s, draw(s, p_size), p_size);
        shape.prefix_dv = output(s, draw(s, p_size), p_size);
    }
    float *q = draw(s, q_size), *k = draw(s, kv_size), *v = draw(s, kv_size), *dout = draw(s, q_size);
    float *out = output(s, draw(s, q_size), q_size), *lse = output(s, draw(s, n->b * t), n->b * t);
    float *dq = output(s, draw(s, q_size), q_size), *dk = output(s, draw(s, kv_size), kv_size);
    float *dv = output(s, draw(s, kv_size), kv_size);
    s->o->attention(s->o, out, lse, q, k, v, &shape);
    s->o->attention_backward(s->o, dq, dk, dv, dout, out, lse, q, k, v, &shape);
}

static void case_swiglu(struct scene *s, const struct numbers *n) {
    float *gate = draw(s, n->a), *up = draw(s, n->a), *dout = draw(s, n->a);
    s->o->scale(s->o, gate, 6, n->a);
    s->o->swiglu(s->o, output(s, draw(s, n->a), n->a), gate, up, n->a);
    output(s, gate, n->a);
    output(s, up, n->a);
    s->o->swiglu_backward(s->o, gate, up, dout, gate, up, n->a); /* in place, as nn/ does */
}

/* rows, vocabulary, factor on the logits */
static void case_cross_entropy(struct scene *s, const struct numbers *n) {
    float *logits = output(s, draw(s, n->a * n->b), n->a * n->b), *weight = draw(s, n->a);
    int32_t *target = draw_ids(s, n->a, n->b, false, true);
    s->o->scale(s->o, logits, (float)n->c, n->a * n->b);
    s->o->cross_entropy(s->o, logits, output(s, draw(s, n->a), n->a), target, weight, n->a, n->b, 0.01f);
}

static void case_geglu(struct scene *s, const struct numbers *n) {
    float *gate = draw(s, n->a), *up = draw(s, n->a), *dout = draw(s, n->a);
    s->o->scale(s->o, gate, (float)n->b, n->a);
    s->o->geglu(s->o, output(s, draw(s, n->a), n->a), gate, up, n->a);
    output(s, gate, n->a);
    output(s, up, n->a);
    s->o->geglu_backward(s->o, gate, up, dout, gate, up, n->a); /* in place, as nn/ does */
}

/* rows, vocabulary, columns of a block, factor on the logits */
static void case_softmax_blocks(struct scene *s, const struct numbers *n) {
    int64_t rows = n->a;
    float *logits = output(s, draw(s, rows * n->b), rows * n->b), *weight = draw(s, rows);
    struct softmax_rows r = {.max = output(s, draw(s, rows), rows), .sum = output(s, draw(s, rows), rows)};
    r.shrink = draw(s, rows);
    r.at_target = draw(s, rows);
    r.target = draw_ids(s, rows, n->b, false, true);
    s->o->scale(s->o, logits, (float)n->d, rows * n->b);
    for (int64_t i = 0; i < rows; i++)
        s->o->upload(s->o, r.max + i, &(float){-INFINITY}, sizeof(float));
    s->o->zero(s->o, r.sum, (size_t)rows * sizeof(float));
    s->o->zero(s->o, r.at_target, (size_t)rows * sizeof(float));
    for (int64_t first = 0; first < n->b; first += n->c) {
        int64_t cols = n->b - first < n->c ? n->b - first : n->c;
        s->o->softmax_block(s->o, logits + first * rows, &r, first, rows,
                            cols); /* blocks one behind the other */
    }
    s->o->softmax_loss(s->o, output(s, draw(s, rows), rows), output(s, draw(s, rows), rows), &r, weight, rows,
                       0.01f);
}

static void widen_halved(const void *packed, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)((const int16_t *)packed)[i] / 2;
}

/* rows, width */
static void case_rows(struct scene *s, const struct numbers *n) {
    int64_t size = n->a * n->b;
    float *y = output(s, draw(s, size), size), *b = output(s, draw(s, n->b), n->b);
    float *dy = draw(s, size), *scaled = output(s, draw(s, size), size);
    struct packed_matrix p = {dy, n->b * 2, n->b, widen_halved};
    s->o->add_row(s->o, y, b, n->a, n->b);
    s->o->sum_rows(s->o, b, dy, n->a, n->b);
    s->o->scale_rows(s->o, scaled, y, n->a, n->b);
    s->o->widen(s->o, output(s, draw(s, size), size), &p, NULL, n->a - 1, n->a);
    s->o->widen(s->o, output(s, draw(s, size), size), &p, draw_ids(s, n->a, 2 * n->a, false, false), 0, n->a);
}

/* size, step */
static void case_adamw(struct scene *s, const struct numbers *n) {
    struct adamw_settings a = {.learning_rate = 0.01f,
                               .beta1 = 0.9f,
                               .beta2 = 0.95f,
                               .epsilon = 1e-8f,
                               .weight_decay = 0.1f,
                               .gradient_scale = 0.5f,
                               .step = n->b};
    float *w = output(s, draw(s, n->a), n->a), *m = output(s, draw(s, n->a), n->a),
          *v = output(s, draw(s, n->a), n->a);
    float *dw = draw(s, n->a);
    s->o->zero(s->o, v, (size_t)n->a * sizeof *v);
    s->o->add(s->o, v, dw, 1, n->a);
    s->o->swiglu(s->o, v, v, v, 0);                /* nothing: an empty span is allowed */
    s->o->rmsnorm(s->o, v, m, dw, dw, 1, n->a, 1); /* dw * dw / rms: positive second moments */
    s->o->adamw(s->o, w, dw, m, v, n->a, &a);
}

#define CASES(X)                                                                                             \
    X(gemm, 1, 1, 1, 0, 0, 0)                                                                                \
    X(gemm, 130, 70, 33, 0, 0, 0)                                                                            \
    X(gemm, 130, 70, 33, 1, 1, 0)                                                                            \
    X(gemm, 130, 70, 33, 2, 0, 0)                                                                            \
    X(gemm, 130, 70, 33, 3, 1, 0)                                                                            \
    X(gemm, 5, 400, 300, 2, 1, 0)                                                                            \
    X(gemm, 300, 7, 515, 1, 1, 0)                                                                            \
    X(gemm, 257, 129, 100, 2, 0, 0)                                                                          \
    X(gemm, 515, 16, 300, 0, 0, 0)                                                                           \
    X(gemm, 515, 16, 300, 2, 1, 0)                                                                           \
    X(gemm, 610, 48, 100, 2, 0, 0)                                                                           \
    X(gemm, 203, 21, 515, 1, 1, 0)                                                                           \
    X(gemm, 32, 530, 270, 1, 1, 0)                                                                           \
    X(spans, 1, 0, 0, 0, 0, 0)                                                                               \
    X(spans, 1003, 0, 0, 0, 0, 0)                                                                            \
    X(spans, 70001, 0, 0, 0, 0, 0)                                                                           \
    X(tables, 3, 5, 7, 0, 0, 0)                                                                              \
    X(tables, 400, 100, 500, 0, 0, 0)                                                                        \
    X(rmsnorm, 1, 8, 1, 0, 0, 0)                                                                             \
    X(rmsnorm, 7, 33, 0, 0, 0, 0)                                                                            \
    X(rmsnorm, 200, 256, 1, 0, 0, 0)                                                                         \
    X(rope, 5, 2, 8, 0, 0, 9)                                                                                \
    X(rope, 300, 4, 64, 0, 1, 2000)                                                                          \
    X(rope, 300, 4, 64, 1, 0, 2000)                                                                          \
    X(rope, 9, 3, 256, 1, 1, 40000)                                                                          \
    X(attention, 2, 1, 1, 2, 0, 0)                                                                           \
    X(attention, 9, 4, 2, 8, 0, 0)                                                                           \
    X(attention, 40, 4, 4, 32, 0, 0)                                                                         \
    X(attention, 40, 4, 1, 16, 7, 0)                                                                         \
    X(attention, 20, 4, 2, 16, 0, 11)                                                                        \
    X(attention, 20, 4, 2, 16, 9, 11)                                                                        \
    X(attention, 150, 4, 2, 32, 0, 100)                                                                      \
    X(attention, 90, 4, 2, 16, 0, 530)                                                                       \
    X(attention, 600, 2, 1, 16, 0, 0)                                                                        \
    X(attention, 600, 2, 1, 16, 200, 530)                                                                    \
    X(swiglu, 1, 0, 0, 0, 0, 0)                                                                              \
    X(swiglu, 40007, 0, 0, 0, 0, 0)                                                                          \
    X(geglu, 1, 1, 0, 0, 0, 0)                                                                               \
    X(geglu, 40007, 6, 0, 0, 0, 0)                                                                           \
    X(softmax_blocks, 1, 2, 1, 1, 0, 0)                                                                      \
    X(softmax_blocks, 37, 1000, 96, 5, 0, 0)                                                                 \
    X(softmax_blocks, 9, 4099, 512, 30, 0, 0)                                                                \
    X(rows, 1, 1, 0, 0, 0, 0)                                                                                \
    X(rows, 200, 133, 0, 0, 0, 0)                                                                            \
    X(cross_entropy, 1, 2, 1, 0, 0, 0)                                                                       \
    X(cross_entropy, 90, 333, 5, 0, 0, 0)                                                                    \
    X(cross_entropy, 9, 4096, 30, 0, 0, 0)                                                                   \
    X(adamw, 1, 1, 0, 0, 0, 0)                                                                               \
    X(adamw, 30003, 100, 0, 0, 0, 0)

static const struct {
    const char *name;
    void (*run)(struct scene *s, const struct numbers *n);
    struct numbers n;
} cases[] = {
#define X(name, ...) {#name "(" #__VA_ARGS__ ")", case_##name, {__VA_ARGS__}},
    CASES(X)
#undef X
};

int op_cases_count(void) {
    return (int)(sizeof cases / sizeof *cases);
}

static void play(struct scene *s, int i, const struct ops *o) {
    *s = (struct scene){.o = o};
    rng_seed(&s->rng, (uint64_t)i + 1);
    cases[i].run(s, &cases[i].n);
}

static void end(struct scene *s) {
    for (int i = 0; i < s->n_owned; i++)
        s->o->free(s->o, s->owned[i]);
}

static double difference(const struct scene *r, const struct scene *c, int output) {
    int64_t n = r->sizes[output];
    float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    assert(x && y);
    r->o->download(r->o, x, r->outputs[output], (size_t)n * sizeof *x);
    c->o->download(c->o, y, c->outputs[output], (size_t)n * sizeof *y);
    double squares = 0, largest = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    double rms = sqrt(squares / (double)n);
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] == y[i] ? 0 : fabs((double)x[i] - (double)y[i]) / (rms + fabs((double)x[i]));
        largest = d > largest || isnan(d) ? d : largest;
    }
    free(x);
    free(y);
    return largest;
}

struct op_case_result op_cases_compare(int i, const struct ops *reference, const struct ops *candidate) {
    struct scene r, c;
    play(&r, i, reference);
    play(&c, i, candidate);
    struct op_case_result result = {.name = cases[i].name};
    for (int output = 0; output < r.n_outputs; output++) {
        double d = difference(&r, &c, output);
        result.error = d > result.error || isnan(d) ? d : result.error;
    }
    double d = r.scalar == 0 ? 0 : fabs(c.scalar / r.scalar - 1);
    result.error = d > result.error ? d : result.error;
    end(&r);
    end(&c);
    return result;
}
