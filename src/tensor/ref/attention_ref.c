/* Attention as its definition reads: for each query, the scores of all keys that it sees, their softmax, the mean of the
 * values. Backward recomputes the probabilities from the kept log of the denominator. */
#include "tensor/ref/ref.h"
#include <math.h>
#include <string.h>

/* What one query sees: the shared prefix (all of it), then keys [first, t] of its own sequence. With a window, a query sees
 * the `window` latest positions, its own included; the prefix's positions come right before the sequence's. */
struct sight {
    int64_t prefix_first, first, t;
};

static struct sight sight_of(const struct attention_shape *s, int seq, int64_t t) {
    int64_t start = s->start[seq], oldest = s->window > 0 ? t - start - s->window + 1 : -s->n_prefix;
    struct sight g = {
        .t = t, .first = start + (oldest > 0 ? oldest : 0), .prefix_first = s->n_prefix + oldest};
    g.prefix_first = g.prefix_first < 0 ? 0 : g.prefix_first > s->n_prefix ? s->n_prefix : g.prefix_first;
    return g;
}

static double dot(const float *a, const float *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void attend(float *out, float *lse, const float *q, const float *k, const float *v,
                   const struct attention_shape *s, const struct sight *g, int kv) {
    int64_t stride = (int64_t)s->n_kv_heads * s->head_dim;
    double max = -INFINITY, sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t j = g->prefix_first - s->n_prefix; j <= g->t; j++) {
            if (j == 0)
                j = g->first;
            const float *kj =
                (j < 0 ? s->prefix_k + (j + s->n_prefix) * stride : k + j * stride) + kv * s->head_dim;
            const float *vj =
                (j < 0 ? s->prefix_v + (j + s->n_prefix) * stride : v + j * stride) + kv * s->head_dim;
            double score = (double)s->scale * dot(q, kj, s->head_dim);
            if (pass == 0) {
                double larger = fmax(max, score);
                sum = sum * exp(max - larger) + exp(score - larger);
                max = larger;
                continue;
            }
            for (int i = 0; i < s->head_dim; i++)
                out[i] += (float)(exp(score - max) / sum * vj[i]);
        }
    }
    *lse = (float)(max + log(sum));
}

void ref_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                   const float *v, const struct attention_shape *s) {
    (void)o;
    int group = s->n_heads / s->n_kv_heads;
    memset(out, 0, (size_t)(s->n_tokens * s->n_heads * s->head_dim) * sizeof *out);
    for (int seq = 0; seq < s->n_seq; seq++)
        for (int64_t t = s->start[seq]; t < s->start[seq + 1]; t++)
            for (int h = 0; h < s->n_heads; h++) {
                struct sight g = sight_of(s, seq, t);
                int64_t at = (t * s->n_heads + h) * s->head_dim;
                attend(out + at, lse + h * s->n_tokens + t, q + at, k, v, s, &g, h / group);
            }
}

/* p = exp(score - lse); dv += p dout; ds = p (dout.v - dout.out); dq += scale ds k; dk += scale ds q. */
static void attend_backward(float *dq, float *dk, float *dv, const float *dout, const float *out, double lse,
                            const float *q, const float *k, const float *v, const struct attention_shape *s,
                            const struct sight *g, int kv) {
    int64_t stride = (int64_t)s->n_kv_heads * s->head_dim;
    double delta = dot(dout, out, s->head_dim);
    for (int64_t j = g->prefix_first - s->n_prefix; j <= g->t; j++) {
        if (j == 0)
            j = g->first;
        int64_t at = (j < 0 ? j + s->n_prefix : j) * stride + kv * s->head_dim;
        const float *kj = (j < 0 ? s->prefix_k : k) + at, *vj = (j < 0 ? s->prefix_v : v) + at;
        float *dkj = (j < 0 ? s->prefix_dk : dk) + at, *dvj = (j < 0 ? s->prefix_dv : dv) + at;
        double p = exp((double)s->scale * dot(q, kj, s->head_dim) - lse);
        double ds = p * (dot(dout, vj, s->head_dim) - delta) * s->scale;
        for (int i = 0; i < s->head_dim; i++) {
            dvj[i] += (float)(p * dout[i]);
            dkj[i] += (float)(ds * q[i]);
            dq[i] += (float)(ds * kj[i]);
        }
    }
}

void ref_attention_backward(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                            const float *out, const float *lse, const float *q, const float *k,
                            const float *v, const struct attention_shape *s) {
    (void)o;
    int group = s->n_heads / s->n_kv_heads;
    size_t kv_bytes = (size_t)(s->n_tokens * s->n_kv_heads * s->head_dim) * sizeof *dk;
    memset(dq, 0, (size_t)(s->n_tokens * s->n_heads * s->head_dim) * sizeof *dq);
    memset(dk, 0, kv_bytes);
    memset(dv, 0, kv_bytes);
    for (int seq = 0; seq < s->n_seq; seq++)
        for (int64_t t = s->start[seq]; t < s->start[seq + 1]; t++)
            for (int h = 0; h < s->n_heads; h++) {
                struct sight g = sight_of(s, seq, t);
                int64_t at = (t * s->n_heads + h) * s->head_dim;
                attend_backward(dq + at, dk, dv, dout + at, out + at, (double)lse[h * s->n_tokens + t],
                                q + at, k, v, s, &g, h / group);
            }
}
