/* Attention in tiles of queries by keys, so that no more than two tiles of scores exist per thread; the softmax is kept up to date
 * from tile to tile (Dao et al., arXiv 2205.14135). Products within a tile go through the BLAS.
 *
 * Queries come in spans: what is computed before the next begins. Without a window every query sees the whole shared prefix, so a
 * span reaches over sequences and meets the prefix in one tall product, which a BLAS packs once; then each sequence's part of it
 * meets that sequence's keys. Otherwise a span is TILE_Q queries of one sequence.
 *
 * Forward: one job is a span and a query head. Backward: one job is a key-value head of all sequences, because the heads of a
 * group, and all queries in the case of the prefix, add to the same dk and dv. Where there are too few such heads for the threads, or
 * there is a window, a job is a sequence and a key-value head; the prefix's dk and dv are then gathered in a second pass that
 * computes its scores again, whose jobs are a key-value head and a tile of the prefix. So every sum has one writer and one order. */
#include "tensor/fast/cpu.h"
#include <math.h>
#include <string.h>

enum {
    TILE_Q = 64,
    TILE_K = 512,
    TILE_PITCH = TILE_K + 16, /* rows apart; not a power of two, for the cache's sake */
    SPAN = 256,               /* queries at most */
};
_Static_assert(2 * TILE_Q * TILE_PITCH <= CPU_TILE_FLOATS, "two tiles fit the thread's scratch");

struct attention {
    const struct cpu *c;
    const struct attention_shape *s;
    float *out, *lse, *dq, *dk, *dv;
    const float *q, *k, *v, *dout, *fwd_out, *fwd_lse;
    int n_parts;
    int64_t q_stride, kv_stride; /* H*E, K*E */
    int64_t span;                /* queries of a span that reaches over sequences; 0: spans do not */
    bool by_head;                /* backward: a job is a key-value head of all sequences */
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

static int64_t pitch_of(int64_t n_keys) {
    return (n_keys + 15) / 16 * 16 + 16;
}

/* The keys [first, first + nk) of the prefix or of the sequence. */
static void set_keys(const struct attention *a, struct tile *t, int kv, bool prefix, int64_t first,
                     int64_t nk) {
    int64_t at = (prefix ? first : t->start + first) * a->kv_stride + kv * a->s->head_dim;
    t->nk = nk;
    t->pitch = pitch_of(nk);
    t->offset = prefix ? first - a->s->n_prefix : first;
    t->k = (prefix ? a->s->prefix_k : a->k) + at;
    t->v = (prefix ? a->s->prefix_v : a->v) + at;
    float *dk = !prefix      ? a->dk
                : a->by_head ? a->s->prefix_dk
                             : NULL,
          *dv = !prefix      ? a->dv
                : a->by_head ? a->s->prefix_dv
                             : NULL;
    t->dk = dk ? dk + at : NULL;
    t->dv = dv ? dv + at : NULL;
}

/* The n-th tile of the prefix's keys, or of the sequence's own up to the last query. False after the last. */
static bool key_tile(const struct attention *a, struct tile *t, int kv, bool prefix, int64_t n) {
    int64_t first = n * TILE_K, limit = prefix ? a->s->n_prefix : t->q0 + t->nq - t->start;
    if (first >= limit)
        return false;
    set_keys(a, t, kv, prefix, first, smaller(TILE_K, limit - first));
    return true;
}

/* ---- spans of queries ---- */

/* The queries [from, end) of a job and one head: a sequence's, a span's, or all. */
struct range {
    int64_t from, end;
};

/* The next queries of a range; `at` moves on, from r.from. False at the end. */
static bool next_span(const struct attention *a, struct tile *t, struct range r, int64_t *at) {
    int64_t n = smaller(a->span > 0 ? a->span : TILE_Q, r.end - *at);
    *t = (struct tile){.start = a->span > 0 ? *at : r.from, .q0 = *at, .nq = n};
    *at += n;
    return n > 0;
}

/* The next part of a span that lies in one sequence, TILE_Q queries at most. `seq` and `from` are 0 and the span's first query
 * at first. */
static bool next_piece(const struct attention *a, const struct tile *span, struct tile *t, int *seq,
                       int64_t *from) {
    const int32_t *start = a->s->start;
    int64_t end = span->q0 + span->nq;
    if (*from >= end)
        return false;
    while (start[*seq + 1] <= *from)
        ++*seq;
    int64_t n = smaller(TILE_Q, smaller(end, start[*seq + 1]) - *from);
    *t = (struct tile){.start = start[*seq], .q0 = *from, .nq = n};
    *from += n;
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

/* The queries of w->t and all keys of one kind. */
static void forward_keys(struct worker *w, int h, bool prefix, float *max, double *sum) {
    const struct attention *a = w->a;
    int kv = h / (a->s->n_heads / a->s->n_kv_heads);
    int64_t at = w->t.q0 * a->q_stride + h * a->s->head_dim;
    for (int64_t n = 0; key_tile(a, &w->t, kv, prefix, n); n++) {
        scores_of(w, w->p, a->q + at, w->t.k);
        softmax_tile(w, max, sum, a->out + at);
        mix_keys(w, a->out + at, w->p, w->t.v);
    }
}

static void forward_span(struct worker *w, int h, const struct tile *span) {
    const struct attention *a = w->a;
    const struct attention_shape *s = a->s;
    float max[SPAN];
    double sum[SPAN] = {0};
    float *out = a->out + span->q0 * a->q_stride + h * s->head_dim;
    clear_rows(out, span->nq, s->head_dim, a->q_stride);
    for (int64_t i = 0; i < span->nq; i++)
        max[i] = -INFINITY;
    w->t = *span;
    forward_keys(w, h, true, max, sum);
    int seq = 0;
    int64_t from = span->q0;
    while (next_piece(a, span, &w->t, &seq, &from)) {
        int64_t i = w->t.q0 - span->q0;
        forward_keys(w, h, false, max + i, sum + i);
    }
    for (int64_t i = 0; i < span->nq; i++) {
        a->c->kernels->scale(out + i * a->q_stride, (float)(1 / sum[i]), s->head_dim);
        a->lse[h * s->n_tokens + span->q0 + i] = (float)((double)max[i] + log(sum[i]));
    }
}

/* ---- backward ---- */

/* The rows of some queries of one head. */
struct query_rows {
    const float *q, *dout, *lse;
    float *dq;
    const float *delta; /* dout . out */
};

/* Those of w->t; `delta` gets room for as many. */
static void query_rows(const struct worker *w, int h, struct query_rows *r, float *delta) {
    const struct attention *a = w->a;
    int64_t at = w->t.q0 * a->q_stride + h * a->s->head_dim;
    *r = (struct query_rows){a->q + at, a->dout + at, a->fwd_lse + h * a->s->n_tokens + w->t.q0, a->dq + at,
                             delta};
    for (int64_t i = 0; i < w->t.nq; i++)
        delta[i] = (float)a->c->kernels->dot(r->dout + i * a->q_stride, a->fwd_out + at + i * a->q_stride,
                                             a->s->head_dim);
}

/* The same from the n-th on. */
static struct query_rows rows_from(const struct attention *a, const struct query_rows *r, int64_t n) {
    int64_t at = n * a->q_stride;
    return (struct query_rows){r->q + at, r->dout + at, r->lse + n, r->dq + at, r->delta + n};
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

/* The queries of w->t and all keys of one kind; the prefix's dk and dv only where this is their one writer. */
static void backward_keys(struct worker *w, int h, bool prefix, const struct query_rows *r) {
    const struct attention *a = w->a;
    int kv = h / (a->s->n_heads / a->s->n_kv_heads);
    for (int64_t n = 0; key_tile(a, &w->t, kv, prefix, n); n++) {
        gradient_tile(w, r);
        mix_keys(w, r->dq, w->dp, w->t.k);
        if (w->t.dk) {
            mix_queries(w, w->t.dv, w->p, r->dout);
            mix_queries(w, w->t.dk, w->dp, r->q);
        }
    }
}

static void backward_span(struct worker *w, int h, const struct tile *span) {
    const struct attention *a = w->a;
    struct query_rows all;
    float delta[SPAN];
    w->t = *span;
    query_rows(w, h, &all, delta);
    clear_rows(all.dq, span->nq, a->s->head_dim, a->q_stride);
    backward_keys(w, h, true, &all);
    int seq = 0;
    int64_t from = span->q0;
    while (next_piece(a, span, &w->t, &seq, &from)) {
        struct query_rows r = rows_from(a, &all, w->t.q0 - span->q0);
        backward_keys(w, h, false, &r);
    }
}

/* ---- jobs ---- */

static int n_ranges(const struct attention *a) {
    if (a->by_head)
        return 1;
    return a->span > 0 ? (int)((a->s->n_tokens + a->span - 1) / a->span) : a->s->n_seq;
}

static struct range range_at(const struct attention *a, int i) {
    if (a->by_head)
        return (struct range){0, a->s->n_tokens};
    if (a->span > 0)
        return (struct range){i * a->span, smaller(a->s->n_tokens, (i + 1) * a->span)};
    return (struct range){a->s->start[i], a->s->start[i + 1]};
}

typedef void job_fn(struct worker *w, struct range r, int head);

static double job_cost(const struct attention *a, struct range r) {
    double n = (double)(r.end - r.from), own = a->span > 0 ? TILE_Q : 0.5 * n;
    return n * (own + (double)a->s->n_prefix + 16);
}

static double cost_of_head(const struct attention *a) {
    double cost = 0;
    for (int i = 0; i < n_ranges(a); i++)
        cost += job_cost(a, range_at(a, i));
    return cost;
}

/* Jobs stand in order of range, then head; a part takes those whose middle falls into its share of the cost. */
static void run_part(const struct attention *a, int64_t part, int thread, int n_heads, job_fn *job) {
    struct worker w = {.a = a, .p = cpu_scratch(a->c, thread), .pack = cpu_pack(a->c, thread)};
    w.dp = w.p + TILE_Q * TILE_PITCH;
    double total = cost_of_head(a) * n_heads, before = 0;
    double low = total * (double)part / a->n_parts, high = total * (double)(part + 1) / a->n_parts;
    for (int i = 0; i < n_ranges(a); i++) {
        double cost = job_cost(a, range_at(a, i));
        for (int h = 0; h < n_heads; h++, before += cost) {
            double middle = before + cost / 2;
            if (middle >= low && (middle < high || part + 1 == a->n_parts))
                job(&w, range_at(a, i), h);
        }
    }
}

static void forward_job(struct worker *w, struct range r, int h) {
    struct tile span;
    for (int64_t at = r.from; next_span(w->a, &span, r, &at);)
        forward_span(w, h, &span);
}

static void backward_job(struct worker *w, struct range r, int kv) {
    const struct attention *a = w->a;
    int group = a->s->n_heads / a->s->n_kv_heads;
    int64_t at = r.from * a->kv_stride + kv * a->s->head_dim;
    struct tile span;
    clear_rows(a->dk + at, r.end - r.from, a->s->head_dim, a->kv_stride);
    clear_rows(a->dv + at, r.end - r.from, a->s->head_dim, a->kv_stride);
    for (int h = kv * group; h < (kv + 1) * group; h++)
        for (int64_t from = r.from; next_span(a, &span, r, &from);)
            backward_span(w, h, &span);
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

/* What the queries of w->t and one head add to a tile of the prefix's keys. */
static void prefix_tile(struct worker *w, int h, int64_t first) {
    const struct attention *a = w->a;
    const struct attention_shape *s = a->s;
    int kv = h / (s->n_heads / s->n_kv_heads);
    int64_t at = first * a->kv_stride + kv * s->head_dim;
    struct query_rows r;
    float delta[SPAN];
    set_keys(a, &w->t, kv, true, first, smaller(TILE_K, s->n_prefix - first));
    query_rows(w, h, &r, delta);
    gradient_tile(w, &r);
    mix_queries(w, s->prefix_dv + at, w->p, r.dout);
    mix_queries(w, s->prefix_dk + at, w->dp, r.q);
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
        int64_t first = i / s->n_kv_heads * TILE_K;
        for (int seq = 0; seq < s->n_seq; seq++) {
            struct range r = {s->start[seq], s->start[seq + 1]};
            for (int64_t from = r.from; next_span(a, &w.t, r, &from);)
                for (int h = kv * group; h < (kv + 1) * group; h++)
                    prefix_tile(&w, h, first);
        }
    }
}

/* Queries of a span over sequences: as many as a thread's tiles hold, in spans of about the same size. */
static int64_t span_of(const struct attention_shape *s) {
    if (s->n_prefix == 0 || s->window > 0)
        return 0;
    int64_t room = TILE_Q * TILE_PITCH / pitch_of(smaller(s->n_prefix, TILE_K));
    int64_t most = smaller(SPAN, room), n = (s->n_tokens + most - 1) / most;
    return (s->n_tokens + n - 1) / n;
}

static struct attention attention_of(const struct ops *o, const struct attention_shape *s, bool backward) {
    struct attention a = {.c = cpu_of(o),
                          .s = s,
                          .q_stride = (int64_t)s->n_heads * s->head_dim,
                          .kv_stride = (int64_t)s->n_kv_heads * s->head_dim};
    a.n_parts = cost_of_head(&a) * s->n_heads * s->head_dim < 8.0 * CPU_SPAN ? 1 : o->n_threads;
    a.span = span_of(s);
    if (backward && a.span > 0) {
        a.by_head = s->n_kv_heads % a.n_parts == 0 || s->n_kv_heads >= 4 * a.n_parts;
        a.span = a.by_head ? a.span : 0;
    }
    cpu_blas_single();
    return a;
}

void cpu_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                   const float *v, const struct attention_shape *s) {
    struct attention a = attention_of(o, s, false);
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
    struct attention a = attention_of(o, s, true);
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
    if (s->n_prefix > 0 && s->prefix_dk && !a.by_head)
        thread_pool_for(a.c->pool, (s->n_prefix + TILE_K - 1) / TILE_K * s->n_kv_heads, prefix_part, &a);
}
