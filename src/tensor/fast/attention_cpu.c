/* Attention in tiles of TILE_Q queries by TILE_K keys, so that no more than two tiles of scores exist per thread; the softmax
 * is kept up to date from tile to tile (Dao et al., arXiv 2205.14135). Products within a tile go through the BLAS.
 *
 * Forward: one job is a sequence and a query head. Backward: one job is a sequence and a key-value head, because the heads of
 * a group add to the same dk and dv. The shared prefix's dk and dv are gathered in a second pass, whose jobs are a
 * key-value head and a tile of the prefix. So every sum has one writer and one order. Jobs are shared out by cost. */
#include "tensor/fast/cpu.h"
#include <math.h>
#include <string.h>

enum {
    TILE_Q = 64,
    TILE_K = 512,
    TILE_PITCH = TILE_K + 16 /* rows apart; not a power of two, for the cache's sake */
};
_Static_assert(2 * TILE_Q * TILE_PITCH <= CPU_TILE_FLOATS, "two tiles fit the thread's scratch");

struct attention {
    const struct cpu *c;
    const struct attention_shape *s;
    float *out, *lse, *dq, *dk, *dv;
    const float *q, *k, *v, *dout, *fwd_out, *fwd_lse;
    int n_parts;
    int64_t q_stride, kv_stride; /* H*E, K*E */
};

/* Queries [q0, q0 + nq) of the sequence that begins at `start`, against nk keys at k and v. `offset` is the first key's
 * position less the sequence's (negative: prefix); what a query sees follows from it. */
struct tile {
    int64_t start, q0, nq, nk, offset, pitch;
    const float *k, *v;
    float *dk, *dv;
};

/* One thread's place of work. */
struct worker {
    const struct attention *a;
    float *p, *dp, *pack;
    struct tile t;
};

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Keys [first, end) of the tile that its query i sees. */
static void visible(const struct attention_shape *s, const struct tile *t, int64_t i, int64_t *first,
                    int64_t *end) {
    int64_t at = t->q0 + i - t->start; /* the query's position within its sequence */
    *end = larger(0, smaller(t->nk, at + 1 - t->offset));
    *first = s->window > 0 ? smaller(*end, larger(0, at - s->window + 1 - t->offset)) : 0;
}

/* The keys [first, first + nk) of the prefix or of the sequence. */
static void set_keys(const struct attention *a, struct tile *t, int kv, bool prefix, int64_t first,
                     int64_t nk) {
    int64_t at = (prefix ? first : t->start + first) * a->kv_stride + kv * a->s->head_dim;
    t->nk = nk;
    t->pitch = (nk + 15) / 16 * 16 + 16;
    t->offset = prefix ? first - a->s->n_prefix : first;
    t->k = (prefix ? a->s->prefix_k : a->k) + at;
    t->v = (prefix ? a->s->prefix_v : a->v) + at;
    t->dk = prefix || !a->dk ? NULL : a->dk + at;
    t->dv = prefix || !a->dv ? NULL : a->dv + at;
}

/* The n-th tile of keys: first the prefix's, then the sequence's own up to the last query. False after the last. */
static bool key_tile(const struct attention *a, struct tile *t, int kv, int64_t n) {
    int64_t prefix_tiles = (a->s->n_prefix + TILE_K - 1) / TILE_K;
    bool prefix = n < prefix_tiles;
    int64_t first = (prefix ? n : n - prefix_tiles) * TILE_K;
    int64_t limit = prefix ? a->s->n_prefix : t->q0 + t->nq - t->start;
    if (first >= limit)
        return false;
    set_keys(a, t, kv, prefix, first, smaller(TILE_K, limit - first));
    return true;
}

/* scores[nq, nk] = x y^T; rows of x lie apart as queries, of y as keys */
static void scores_of(const struct worker *w, float *scores, const float *x, const float *y) {
    struct cpu_product p = {.trans_b = true, .m = w->t.nq, .n = w->t.nk, .k = w->a->s->head_dim, .alpha = 1};
    p.a = x;
    p.lda = w->a->q_stride;
    p.b = y;
    p.ldb = w->a->kv_stride;
    p.c = scores;
    p.ldc = w->t.pitch;
    cpu_product(w->a->c, &p, w->pack);
}

/* out[nq, E] += scores[nq, nk] y[nk, E] */
static void mix_keys(const struct worker *w, float *out, const float *scores, const float *y) {
    struct cpu_product p = {.m = w->t.nq, .n = w->a->s->head_dim, .k = w->t.nk, .alpha = 1, .beta = 1};
    p.a = scores;
    p.lda = w->t.pitch;
    p.b = y;
    p.ldb = w->a->kv_stride;
    p.c = out;
    p.ldc = w->a->q_stride;
    cpu_product(w->a->c, &p, w->pack);
}

/* out[nk, E] += scores[nq, nk]^T x[nq, E] */
static void mix_queries(const struct worker *w, float *out, const float *scores, const float *x) {
    struct cpu_product p = {
        .trans_a = true, .m = w->t.nk, .n = w->a->s->head_dim, .k = w->t.nq, .alpha = 1, .beta = 1};
    p.a = scores;
    p.lda = w->t.pitch;
    p.b = x;
    p.ldb = w->a->q_stride;
    p.c = out;
    p.ldc = w->a->kv_stride;
    cpu_product(w->a->c, &p, w->pack);
}

static void clear_hidden(float *row, int64_t first, int64_t end, int64_t n) {
    memset(row, 0, (size_t)first * sizeof *row);
    memset(row + end, 0, (size_t)(n - end) * sizeof *row);
}

static void clear_rows(float *x, int64_t n, int64_t width, int64_t stride) {
    for (int64_t i = 0; i < n; i++)
        memset(x + i * stride, 0, (size_t)width * sizeof *x);
}

/* ---- forward ---- */

/* Scores to exp(scale score - max), each row's running maximum and sum brought up to date; `out` is rescaled. */
static void softmax_tile(const struct worker *w, float *max, double *sum, float *out) {
    const struct attention *a = w->a;
    const struct cpu_kernels *k = a->c->kernels;
    for (int64_t i = 0; i < w->t.nq; i++) {
        float *row = w->p + i * w->t.pitch;
        int64_t first, end;
        visible(a->s, &w->t, i, &first, &end);
        clear_hidden(row, first, end, w->t.nk);
        if (first >= end)
            continue;
        float top = a->s->scale * k->max(row + first, end - first);
        if (!(top <= max[i])) { /* NaN must not be lost */
            float shrink = expf(max[i] - top);
            sum[i] *= (double)shrink;
            k->scale(out + i * a->q_stride, shrink, a->s->head_dim);
            max[i] = top;
        }
        sum[i] += k->exp_sum(row + first, a->s->scale, max[i], end - first);
    }
}

static void forward_tile(struct worker *w, int h) {
    const struct attention *a = w->a;
    const struct attention_shape *s = a->s;
    float max[TILE_Q];
    double sum[TILE_Q] = {0};
    int64_t at = w->t.q0 * a->q_stride + h * s->head_dim;
    float *out = a->out + at;
    int kv = h / (s->n_heads / s->n_kv_heads);
    clear_rows(out, w->t.nq, s->head_dim, a->q_stride);
    for (int64_t i = 0; i < w->t.nq; i++)
        max[i] = -INFINITY;
    for (int64_t n = 0; key_tile(a, &w->t, kv, n); n++) {
        scores_of(w, w->p, a->q + at, w->t.k);
        softmax_tile(w, max, sum, out);
        mix_keys(w, out, w->p, w->t.v);
    }
    for (int64_t i = 0; i < w->t.nq; i++) {
        a->c->kernels->scale(out + i * a->q_stride, (float)(1 / sum[i]), s->head_dim);
        a->lse[h * s->n_tokens + w->t.q0 + i] = (float)((double)max[i] + log(sum[i]));
    }
}

/* ---- backward ---- */

/* The rows of a tile's queries of one head. */
struct query_rows {
    const float *q, *dout, *lse;
    float *dq;
    float delta[TILE_Q]; /* dout . out */
};

static void query_rows(const struct worker *w, int h, struct query_rows *r) {
    const struct attention *a = w->a;
    int64_t at = w->t.q0 * a->q_stride + h * a->s->head_dim;
    r->q = a->q + at;
    r->dout = a->dout + at;
    r->dq = a->dq + at;
    r->lse = a->fwd_lse + h * a->s->n_tokens + w->t.q0;
    for (int64_t i = 0; i < w->t.nq; i++)
        r->delta[i] = (float)a->c->kernels->dot(r->dout + i * a->q_stride, a->fwd_out + at + i * a->q_stride,
                                                a->s->head_dim);
}

/* p = exp(scale score - lse) into w->p, ds = p (dp - delta) scale into w->dp; zero where the query does not see. */
static void gradient_tile(const struct worker *w, const struct query_rows *r) {
    const struct attention *a = w->a;
    scores_of(w, w->p, r->q, w->t.k);
    scores_of(w, w->dp, r->dout, w->t.v);
    for (int64_t i = 0; i < w->t.nq; i++) {
        float *p = w->p + i * w->t.pitch, *dp = w->dp + i * w->t.pitch;
        int64_t first, end;
        visible(a->s, &w->t, i, &first, &end);
        clear_hidden(p, first, end, w->t.nk);
        clear_hidden(dp, first, end, w->t.nk);
        a->c->kernels->exp_sum(p + first, a->s->scale, r->lse[i], end - first);
        a->c->kernels->softmax_backward(dp + first, p + first, r->delta[i], a->s->scale, end - first);
    }
}

static void backward_tile(struct worker *w, int h) {
    const struct attention *a = w->a;
    struct query_rows r;
    query_rows(w, h, &r);
    clear_rows(r.dq, w->t.nq, a->s->head_dim, a->q_stride);
    int kv = h / (a->s->n_heads / a->s->n_kv_heads);
    for (int64_t n = 0; key_tile(a, &w->t, kv, n); n++) {
        gradient_tile(w, &r);
        mix_keys(w, r.dq, w->dp, w->t.k);
        if (w->t.dk) {
            mix_queries(w, w->t.dv, w->p, r.dout);
            mix_queries(w, w->t.dk, w->dp, r.q);
        }
    }
}

/* ---- jobs ---- */

typedef void job_fn(struct worker *w, int seq, int head);

static double job_cost(const struct attention *a, int seq) {
    double n = a->s->start[seq + 1] - a->s->start[seq];
    return n * (0.5 * n + (double)a->s->n_prefix + 16);
}

/* Jobs stand in order of sequence, then head; a part takes those whose middle falls into its share of the cost. */
static void run_part(const struct attention *a, int64_t part, int thread, int n_heads, job_fn *job) {
    struct worker w = {.a = a, .p = cpu_scratch(a->c, thread), .pack = cpu_pack(a->c, thread)};
    w.dp = w.p + TILE_Q * TILE_PITCH;
    double total = 0, before = 0;
    for (int seq = 0; seq < a->s->n_seq; seq++)
        total += job_cost(a, seq) * n_heads;
    double low = total * (double)part / a->n_parts, high = total * (double)(part + 1) / a->n_parts;
    for (int seq = 0; seq < a->s->n_seq; seq++) {
        double cost = job_cost(a, seq);
        for (int h = 0; h < n_heads; h++, before += cost) {
            double middle = before + cost / 2;
            if (middle >= low && (middle < high || part + 1 == a->n_parts))
                job(&w, seq, h);
        }
    }
}

static void each_query_tile(struct worker *w, int seq, int h, void (*tile)(struct worker *w, int h)) {
    int64_t start = w->a->s->start[seq], end = w->a->s->start[seq + 1];
    for (int64_t q0 = start; q0 < end; q0 += TILE_Q) {
        w->t = (struct tile){.start = start, .q0 = q0, .nq = smaller(TILE_Q, end - q0)};
        tile(w, h);
    }
}

static void forward_job(struct worker *w, int seq, int h) {
    each_query_tile(w, seq, h, forward_tile);
}

static void backward_job(struct worker *w, int seq, int kv) {
    const struct attention *a = w->a;
    int group = a->s->n_heads / a->s->n_kv_heads;
    int64_t n = a->s->start[seq + 1] - a->s->start[seq];
    int64_t at = a->s->start[seq] * a->kv_stride + kv * a->s->head_dim;
    clear_rows(a->dk + at, n, a->s->head_dim, a->kv_stride);
    clear_rows(a->dv + at, n, a->s->head_dim, a->kv_stride);
    for (int h = kv * group; h < (kv + 1) * group; h++)
        each_query_tile(w, seq, h, backward_tile);
}

static void forward_part(void *context, int64_t part, int64_t end, int thread) {
    const struct attention *a = context;
    for (; part < end; part++)
        run_part(a, part, thread, a->s->n_heads, forward_job);
}

static void backward_part(void *context, int64_t part, int64_t end, int thread) {
    const struct attention *a = context;
    for (; part < end; part++)
        run_part(a, part, thread, a->s->n_kv_heads, backward_job);
}

/* Jobs [i, end) are (key-value head, tile of the prefix); every query of the batch adds to each. */
static void prefix_part(void *context, int64_t i, int64_t job_end, int thread) {
    const struct attention *a = context;
    const struct attention_shape *s = a->s;
    struct worker w = {.a = a, .p = cpu_scratch(a->c, thread), .pack = cpu_pack(a->c, thread)};
    w.dp = w.p + TILE_Q * TILE_PITCH;
    int group = s->n_heads / s->n_kv_heads;
    for (; i < job_end; i++) {
        int kv = (int)(i % s->n_kv_heads);
        int64_t first = i / s->n_kv_heads * TILE_K, at = first * a->kv_stride + kv * s->head_dim;
        for (int seq = 0; seq < s->n_seq; seq++)
            for (int64_t q0 = s->start[seq]; q0 < s->start[seq + 1]; q0 += TILE_Q)
                for (int h = kv * group; h < (kv + 1) * group; h++) {
                    struct query_rows r;
                    w.t = (struct tile){
                        .start = s->start[seq], .q0 = q0, .nq = smaller(TILE_Q, s->start[seq + 1] - q0)};
                    set_keys(a, &w.t, kv, true, first, smaller(TILE_K, s->n_prefix - first));
                    query_rows(&w, h, &r);
                    gradient_tile(&w, &r);
                    mix_queries(&w, s->prefix_dv + at, w.p, r.dout);
                    mix_queries(&w, s->prefix_dk + at, w.dp, r.q);
                }
    }
}

static struct attention attention_of(const struct ops *o, const struct attention_shape *s) {
    double work = 0;
    struct attention a = {.c = cpu_of(o),
                          .s = s,
                          .q_stride = (int64_t)s->n_heads * s->head_dim,
                          .kv_stride = (int64_t)s->n_kv_heads * s->head_dim};
    for (int seq = 0; seq < s->n_seq; seq++)
        work += job_cost(&a, seq);
    a.n_parts = work * s->n_heads * s->head_dim < 8.0 * CPU_SPAN ? 1 : o->n_threads;
    cpu_blas_single();
    return a;
}

void cpu_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                   const float *v, const struct attention_shape *s) {
    struct attention a = attention_of(o, s);
    a.out = out;
    a.lse = lse;
    a.q = q;
    a.k = k;
    a.v = v;
    thread_pool_for(a.c->pool, a.n_parts, forward_part, &a);
}

void cpu_attention_backward(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                            const float *out, const float *lse, const float *q, const float *k,
                            const float *v, const struct attention_shape *s) {
    struct attention a = attention_of(o, s);
    a.dq = dq;
    a.dk = dk;
    a.dv = dv;
    a.dout = dout;
    a.fwd_out = out;
    a.fwd_lse = lse;
    a.q = q;
    a.k = k;
    a.v = v;
    thread_pool_for(a.c->pool, a.n_parts, backward_part, &a);
    if (s->n_prefix > 0 && s->prefix_dk)
        thread_pool_for(a.c->pool, (s->n_prefix + TILE_K - 1) / TILE_K * s->n_kv_heads, prefix_part, &a);
}
