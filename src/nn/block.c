/* One block, forward and backward.
 *
 *     h = norm(x)  q,k,v = h W^T (+ bias)  (norm of heads)  q,k rotated  mid = x + (norm of) attention(q,k,v) Wo^T
 *     h = norm(mid)  next x = mid + (norm of) (gated(h Wg^T) * (h Wu^T)) Wd^T
 *
 * Backward walks the same lines upwards; `dx` is the gradient of the residual stream, changed in place.
 *
 * In the last block nothing but keys and values is needed at tokens without a target. Where targets are few, its queries,
 * output and feed-forward are computed at those rows alone: gathered before, scattered after (see nn_activations). Of a shared
 * prefix no row has a target, so there the last block ends with its keys and values. */
#include "nn/internal.h"
#include <math.h>

/* The block's rows of x [T, width]: all of it, or those with a target gathered into `few`. */
static const float *pick(const struct nn_pass *p, int layer, float *few, const float *x, int64_t width) {
    if (!nn_at_few(p, layer))
        return x;
    p->m->ops->gather(p->m->ops, few, x, p->y->row, p->n, width);
    return few;
}

void nn_spread(const struct nn_pass *p, float *x, const float *few, int64_t width) {
    p->m->ops->zero(p->m->ops, x, (size_t)(p->t * width) * sizeof *x);
    p->m->ops->scatter_add(p->m->ops, x, few, p->y->row, p->n, width);
}

static struct attention_shape attention_shape(const struct nn_pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    struct attention_shape s = {.n_tokens = p->t,
                                .n_heads = c->n_heads,
                                .n_kv_heads = c->n_kv_heads,
                                .head_dim = c->head_dim,
                                .scale = 1 / sqrtf((float)c->head_dim),
                                .window = model_config_windowed(c, layer) ? c->window : 0,
                                .n_seq = p->n_seq,
                                .start = p->start};
    if (p->n_prefix > 0) {
        const struct nn_activations *shared = &p->y->prefix.blocks[layer];
        s.n_prefix = p->n_prefix;
        s.prefix_k = shared->k;
        s.prefix_v = shared->v;
        s.prefix_dk = p->y->prefix_dk ? p->y->prefix_dk + layer * p->prefix_stride : NULL;
        s.prefix_dv = p->y->prefix_dv ? p->y->prefix_dv + layer * p->prefix_stride : NULL;
    }
    return s;
}

struct rotation {
    int layer, n_heads;
    bool few, inverse;
};

static void rotate(const struct nn_pass *p, float *x, struct rotation r) {
    const struct model_config *c = &p->m->config;
    bool local = p->m->rope_freq_local && model_config_windowed(c, r.layer);
    struct rope_shape s = {.n_tokens = r.few ? p->n : p->t,
                           .n_heads = r.n_heads,
                           .head_dim = c->head_dim,
                           .halves = c->rope_halves,
                           .freq = local ? p->m->rope_freq_local : p->m->rope_freq,
                           .position = r.few ? p->y->row_position : p->stream->position};
    p->m->ops->rope(p->m->ops, x, &s, r.inverse);
}

void nn_norm(const struct nn_pass *p, int layer, enum nn_kind kind, float *out, float *rstd, const float *x,
             int64_t rows) {
    const struct ops *o = p->m->ops;
    int64_t width = nn_base_tensor(p->m, layer, kind)->cols;
    o->rmsnorm(o, out, rstd, x, nn_weight(p->m, layer, kind), rows, width, p->m->config.norm_eps);
}

void nn_norm_backward(const struct nn_pass *p, int layer, enum nn_kind kind, int64_t rows,
                      const struct nn_norm_grad *g) {
    const struct ops *o = p->m->ops;
    int64_t width = nn_base_tensor(p->m, layer, kind)->cols;
    o->rmsnorm_backward(o, g->dx, nn_gradient(p->m, layer, kind), g->dout, g->x, nn_weight(p->m, layer, kind),
                        g->rstd, rows, width);
}

/* ---- forward ---- */

/* Where few rows have queries, their u stands behind that of keys and values. */
static float *query_u(const struct nn_pass *p, const struct nn_activations *a) {
    return a->u_in ? a->u_in + p->t * 2 * p->m->lora.rank : NULL;
}

static void queries_keys_values(const struct nn_pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &p->stream->blocks[layer];
    bool few = nn_at_few(p, layer);
    int64_t n = nn_rows_of(p, layer);
    float *q = few ? y->qs : a->q, *q_out = c->qk_norm ? a->q_raw : q, *k_out = c->qk_norm ? a->k_raw : a->k;
    if (few) {
        struct nn_group keys = {layer, 2, {NN_K, NN_V}, p->t}, query = {layer, 1, {NN_Q}, n};
        nn_linear(p, &keys, (float *[]){k_out, a->v}, y->h, a->u_in, false);
        if (n > 0)
            nn_linear(p, &query, &q_out, pick(p, layer, y->hs, y->h, c->d_model), query_u(p, a), false);
    } else {
        struct nn_group all = {layer, 3, {NN_Q, NN_K, NN_V}, p->t};
        nn_linear(p, &all, (float *[]){q_out, k_out, a->v}, y->h, a->u_in, false);
    }
    if (c->qk_norm) {
        nn_norm(p, layer, NN_Q_NORM, q, a->q_rstd, a->q_raw, n * c->n_heads);
        nn_norm(p, layer, NN_K_NORM, a->k, a->k_rstd, a->k_raw, p->t * c->n_kv_heads);
    }
    rotate(p, q, (struct rotation){layer, c->n_heads, few, false});
    rotate(p, a->k, (struct rotation){layer, c->n_kv_heads, false, false});
    if (few && n > 0)
        nn_spread(p, a->q, q, (int64_t)c->n_heads * c->head_dim);
}

static void attention_forward(const struct nn_pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_activations *a = &p->stream->blocks[layer];
    struct attention_shape shape = attention_shape(p, layer);
    struct nn_group out = {layer, 1, {NN_O}, nn_rows_of(p, layer)};
    nn_norm(p, layer, NN_ATTN_NORM, p->y->h, a->rstd1, a->x, p->t);
    queries_keys_values(p, layer);
    if (out.rows == 0)
        return;
    o->attention(o, a->att, a->lse, a->q, a->k, a->v, &shape);
    const float *att = pick(p, layer, p->y->as, a->att, (int64_t)c->n_heads * c->head_dim);
    if (pick(p, layer, a->mid, a->x, c->d_model) == a->x)
        o->copy(o, a->mid, a->x, p->t * c->d_model);
    nn_linear(p, &out, c->post_norms ? &a->att_out : &a->mid, att, a->u_o, !c->post_norms);
    if (c->post_norms) {
        nn_norm(p, layer, NN_ATTN_POST, p->y->h, a->att_rstd, a->att_out, out.rows);
        o->add(o, a->mid, p->y->h, 1, out.rows * c->d_model);
    }
}

static void gated(const struct nn_pass *p, const struct nn_activations *a, int64_t rows) {
    const struct ops *o = p->m->ops;
    int64_t n = rows * p->m->config.d_ff;
    (p->m->config.gelu ? o->geglu : o->swiglu)(o, p->y->wide, a->gate, a->up, n);
}

static void ffn_forward(const struct nn_pass *p, int layer, float *next) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_activations *a = &p->stream->blocks[layer];
    int64_t n = nn_rows_of(p, layer);
    struct nn_group in = {layer, 2, {NN_GATE, NN_UP}, n}, out = {layer, 1, {NN_DOWN}, n};
    nn_norm(p, layer, NN_FFN_NORM, p->y->h, a->rstd2, a->mid, n);
    nn_linear(p, &in, (float *[]){a->gate, a->up}, p->y->h, a->u_wide, false);
    if (!next && !c->post_norms && !a->u_down)
        return; /* nothing of what follows is kept */
    gated(p, a, n);
    float *to = c->post_norms ? a->ffn_out : next;
    if (!c->post_norms && next)
        o->copy(o, next, a->mid, n * c->d_model);
    nn_linear(p, &out, to ? &to : NULL, p->y->wide, a->u_down, !c->post_norms);
    if (!c->post_norms)
        return;
    nn_norm(p, layer, NN_FFN_POST, p->y->h, a->ffn_rstd, a->ffn_out, n);
    if (next) {
        o->copy(o, next, a->mid, n * c->d_model);
        o->add(o, next, p->y->h, 1, n * c->d_model);
    }
}

void nn_block_forward(const struct nn_pass *p, int layer, float *next) {
    attention_forward(p, layer);
    if (nn_rows_of(p, layer) > 0)
        ffn_forward(p, layer, next);
}

/* ---- backward ---- */

/* Through the norm of an output, where there is one: the gradient of what the matrix gave, in y->dh. */
static const float *post_backward(const struct nn_pass *p, int layer, enum nn_kind kind, const float *dx) {
    const struct nn_activations *a = &p->stream->blocks[layer];
    int64_t n = nn_rows_of(p, layer);
    if (!p->m->config.post_norms)
        return dx;
    bool att = kind == NN_ATTN_POST;
    p->m->ops->zero(p->m->ops, p->y->dh, (size_t)(n * p->m->config.d_model) * sizeof(float));
    nn_norm_backward(
        p, layer, kind, n,
        &(struct nn_norm_grad){p->y->dh, dx, att ? a->att_out : a->ffn_out, att ? a->att_rstd : a->ffn_rstd});
    return p->y->dh;
}

static void ffn_backward(const struct nn_pass *p, int layer, float *dx) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &p->stream->blocks[layer];
    int64_t n = nn_rows_of(p, layer);
    struct nn_group in = {layer, 2, {NN_GATE, NN_UP}, n}, out = {layer, 1, {NN_DOWN}, n};
    nn_norm(p, layer, NN_FFN_NORM, y->h, a->rstd2, a->mid, n);
    gated(p, a, n);
    const float *dout = post_backward(p, layer, NN_FFN_POST, dx);
    nn_linear_backward(p, &out,
                       &(struct nn_linear_grad){.dy = {dout}, .x = y->wide, .u = a->u_down, .dx = y->dwide});
    (c->gelu ? o->geglu_backward : o->swiglu_backward)(o, a->gate, a->up, y->dwide, a->gate, a->up,
                                                       n * c->d_ff);
    nn_linear_backward(
        p, &in, &(struct nn_linear_grad){.dy = {a->gate, a->up}, .x = y->h, .u = a->u_wide, .dx = y->dh});
    nn_norm_backward(p, layer, NN_FFN_NORM, n, &(struct nn_norm_grad){dx, y->dh, a->mid, a->rstd2});
}

/* Through rotation and the heads' norm: from the gradient of q or k to that of what the matrix gave. */
static const float *head_backward(const struct nn_pass *p, int layer, enum nn_kind kind, int64_t n,
                                  float *d) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &p->stream->blocks[layer];
    bool query = kind == NN_Q;
    int heads = query ? c->n_heads : c->n_kv_heads;
    rotate(p, d, (struct rotation){layer, heads, query && nn_at_few(p, layer), true});
    if (!c->qk_norm)
        return d;
    float *raw = query ? y->dq_raw : y->dk_raw;
    p->m->ops->zero(p->m->ops, raw, (size_t)(n * heads * c->head_dim) * sizeof *raw);
    struct nn_norm_grad g = {raw, d, query ? a->q_raw : a->k_raw, query ? a->q_rstd : a->k_rstd};
    nn_norm_backward(p, layer, query ? NN_Q_NORM : NN_K_NORM, n * heads, &g);
    return raw;
}

/* From dq, dk, dv to the gradient of h in y->dh; `wanted`: somebody below needs it. */
static void projections_backward(const struct nn_pass *p, int layer, bool wanted) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    const struct nn_activations *a = &p->stream->blocks[layer];
    bool few = nn_at_few(p, layer);
    int64_t n = nn_rows_of(p, layer), he = (int64_t)c->n_heads * c->head_dim;
    float *dq = few ? y->qs : y->dq, *dh = wanted ? y->dh : NULL;
    if (n > 0)
        pick(p, layer, y->qs, y->dq, he);
    const float *dq_raw = n > 0 ? head_backward(p, layer, NN_Q, n, dq) : NULL,
                *dk_raw = head_backward(p, layer, NN_K, p->t, y->dk);
    if (!few) {
        struct nn_group all = {layer, 3, {NN_Q, NN_K, NN_V}, p->t};
        struct nn_linear_grad g = {.dy = {dq_raw, dk_raw, y->dv}, .x = y->h, .u = a->u_in, .dx = dh};
        nn_linear_backward(p, &all, &g);
        return;
    }
    struct nn_group keys = {layer, 2, {NN_K, NN_V}, p->t}, query = {layer, 1, {NN_Q}, n};
    struct nn_linear_grad g = {.dy = {dk_raw, y->dv}, .x = y->h, .u = a->u_in, .dx = dh};
    nn_linear_backward(p, &keys, &g);
    if (n == 0)
        return;
    const float *hq = pick(p, layer, y->hs, y->h, c->d_model);
    struct nn_linear_grad gq = {.dy = {dq_raw}, .x = hq, .u = query_u(p, a), .dx = wanted ? y->dhn : NULL};
    nn_linear_backward(p, &query, &gq);
    if (wanted)
        p->m->ops->scatter_add(p->m->ops, dh, y->dhn, y->row, p->n, c->d_model);
}

/* dq, dk, dv of attention; of the shared prefix, with what the batches gave to its keys and values. */
static void scores_backward(const struct nn_pass *p, int layer, const float *dx) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &p->stream->blocks[layer];
    struct attention_shape shape = attention_shape(p, layer);
    int64_t he = (int64_t)c->n_heads * c->head_dim, n_kv = p->t * c->n_kv_heads * c->head_dim;
    bool few = nn_at_few(p, layer);
    struct nn_group out = {layer, 1, {NN_O}, nn_rows_of(p, layer)};
    if (out.rows > 0) {
        const float *att = pick(p, layer, y->as, a->att, he);
        nn_linear_backward(p, &out,
                           &(struct nn_linear_grad){.dy = {post_backward(p, layer, NN_ATTN_POST, dx)},
                                                    .x = att,
                                                    .u = a->u_o,
                                                    .dx = few ? y->qs : y->datt});
        if (few)
            nn_spread(p, y->datt, y->qs, he);
        o->attention_backward(o, y->dq, y->dk, y->dv, y->datt, a->att, a->lse, a->q, a->k, a->v, &shape);
    } else {
        o->zero(o, y->dk, (size_t)n_kv * sizeof(float));
        o->zero(o, y->dv, (size_t)n_kv * sizeof(float));
    }
    if (p->is_prefix) {
        o->add(o, y->dk, y->prefix_dk + layer * p->prefix_stride, 1, n_kv);
        o->add(o, y->dv, y->prefix_dv + layer * p->prefix_stride, 1, n_kv);
    }
}

/* `dx`: the gradient of mid, at the block's rows. Afterwards y->dx is that of the block's input. */
static void attention_backward(const struct nn_pass *p, int layer, const float *dx) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &p->stream->blocks[layer];
    bool few = nn_at_few(p, layer);
    bool wanted = layer > p->lowest || p->m->trained == &p->m->base || p->limits->plain & NN_PLAIN_INPUT;
    scores_backward(p, layer, dx);
    nn_norm(p, layer, NN_ATTN_NORM, y->h, a->rstd1, a->x, p->t);
    projections_backward(p, layer, wanted);
    if (!wanted)
        return;
    if (few)
        nn_spread(p, y->dx, dx, c->d_model);
    nn_norm_backward(p, layer, NN_ATTN_NORM, p->t, &(struct nn_norm_grad){y->dx, y->dh, a->x, a->rstd1});
}

void nn_block_backward(const struct nn_pass *p, int layer, float *dx) {
    if (layer < p->limits->n_recompute)
        nn_block_forward(p, layer, NULL);
    if (nn_rows_of(p, layer) > 0)
        ffn_backward(p, layer, dx);
    attention_backward(p, layer, dx);
}
