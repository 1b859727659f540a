/* Forward and backward of the decoder over a packed batch.
 *
 * Each block:   h = norm(x)  q,k,v = h W^T  q,k rotated  mid = x + attention(q,k,v) Wo^T
 *               h = norm(mid)  next x = mid + (silu(h Wg^T) * (h Wu^T)) Wd^T
 * Head, only at rows with a target and in blocks of rows: logits = norm(x) W^T, softmax cross-entropy.
 *
 * Backward walks the same lines upwards; `dx` is the gradient of the residual stream, changed in place.
 *
 * In the last block nothing but keys and values is needed at tokens without a target. Where targets are few, its queries,
 * output and feed-forward are computed at those rows alone: gathered before, scattered after (see nn_activations). */
#include "nn/internal.h"
#include <math.h>

/* A pass over one batch. */
struct pass {
    struct nn_model *m;
    struct nn_memory *y;
    const struct nn_batch *b;
    int64_t t, n; /* tokens; tokens with a target */
    bool few;     /* the last block works at the n rows alone */
};

static bool at_few(const struct pass *p, int layer) {
    return p->few && layer + 1 == p->m->config.n_layer;
}

static int64_t rows_of(const struct pass *p, int layer) {
    return at_few(p, layer) ? p->n : p->t;
}

/* The block's rows of x [T, width]: all of it, or those with a target gathered into `few`. */
static const float *pick(const struct pass *p, int layer, float *few, const float *x, int64_t width) {
    if (!at_few(p, layer))
        return x;
    p->m->ops->gather(p->m->ops, few, x, p->y->row, p->n, width);
    return few;
}

/* x [T, width] becomes zero but for the rows with a target. */
static void spread(const struct pass *p, float *x, const float *few, int64_t width) {
    p->m->ops->zero(p->m->ops, x, (size_t)(p->t * width) * sizeof *x);
    p->m->ops->scatter_add(p->m->ops, x, few, p->y->row, p->n, width);
}

static struct attention_shape attention_shape(const struct pass *p) {
    const struct model_config *c = &p->m->config;
    return (struct attention_shape){.n_tokens = p->t,
                                    .n_heads = c->n_heads,
                                    .n_kv_heads = c->n_kv_heads,
                                    .head_dim = c->head_dim,
                                    .scale = 1 / sqrtf((float)c->head_dim),
                                    .n_seq = p->b->n_seq,
                                    .start = p->b->start};
}

static void rotate(const struct pass *p, float *x, int n_heads, bool few, bool inverse) {
    const struct model_config *c = &p->m->config;
    struct rope_shape s = {.n_tokens = few ? p->n : p->t,
                           .n_heads = n_heads,
                           .head_dim = c->head_dim,
                           .halves = c->rope_halves,
                           .freq = p->m->rope_freq,
                           .position = few ? p->y->row_position : p->y->position};
    p->m->ops->rope(p->m->ops, x, &s, inverse);
}

static void norm(const struct pass *p, int layer, enum nn_kind kind, float *out, float *rstd, const float *x,
                 int64_t rows) {
    const struct ops *o = p->m->ops;
    int64_t width = nn_base_tensor(p->m, layer, kind)->cols;
    o->rmsnorm(o, out, rstd, x, nn_weight(p->m, layer, kind), rows, width, p->m->config.norm_eps);
}

struct norm_grad {
    float *dx; /* += */
    const float *dout, *x, *rstd;
};

static void norm_backward(const struct pass *p, int layer, enum nn_kind kind, int64_t rows,
                          const struct norm_grad *g) {
    const struct ops *o = p->m->ops;
    int64_t width = nn_base_tensor(p->m, layer, kind)->cols;
    o->rmsnorm_backward(o, g->dx, nn_gradient(p->m, layer, kind), g->dout, g->x, nn_weight(p->m, layer, kind),
                        g->rstd, rows, width);
}

/* A matrix product of a block over `rows` rows. */
struct product {
    int layer;
    enum nn_kind kind;
    int64_t rows;
};

static void project(const struct pass *p, struct product k, float *out, const float *x, bool add) {
    nn_linear(p->m, k.layer, k.kind, k.rows, out, x, p->y->blocks[k.layer].u[k.kind - NN_Q], add);
}

static void project_backward(const struct pass *p, struct product k, const float *dy, const float *x,
                             float *dx, bool add) {
    struct nn_linear_grad g = {
        .dy = dy, .x = x, .u = p->y->blocks[k.layer].u[k.kind - NN_Q], .dx = dx, .du = p->y->du, .add = add};
    nn_linear_backward(p->m, k.layer, k.kind, k.rows, &g);
}

/* ---- forward ---- */

static void queries_and_keys(const struct pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    bool few = at_few(p, layer);
    int64_t n = rows_of(p, layer), he = (int64_t)c->n_heads * c->head_dim;
    float *q = few ? y->qs : a->q;
    const float *hq = pick(p, layer, y->hs, y->h, c->d_model);
    project(p, (struct product){layer, NN_Q, n}, c->qk_norm ? a->q_raw : q, hq, false);
    project(p, (struct product){layer, NN_K, p->t}, c->qk_norm ? a->k_raw : a->k, y->h, false);
    if (c->qk_norm) {
        norm(p, layer, NN_Q_NORM, q, a->q_rstd, a->q_raw, n * c->n_heads);
        norm(p, layer, NN_K_NORM, a->k, a->k_rstd, a->k_raw, p->t * c->n_kv_heads);
    }
    rotate(p, q, c->n_heads, few, false);
    rotate(p, a->k, c->n_kv_heads, false, false);
    if (few)
        spread(p, a->q, q, he);
}

static void attention_forward(const struct pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_activations *a = &p->y->blocks[layer];
    struct attention_shape shape = attention_shape(p);
    norm(p, layer, NN_ATTN_NORM, p->y->h, a->rstd1, a->x, p->t);
    queries_and_keys(p, layer);
    project(p, (struct product){layer, NN_V, p->t}, a->v, p->y->h, false);
    o->attention(o, a->att, a->lse, a->q, a->k, a->v, &shape);
    const float *att = pick(p, layer, p->y->as, a->att, (int64_t)c->n_heads * c->head_dim);
    if (pick(p, layer, a->mid, a->x, c->d_model) == a->x)
        o->copy(o, a->mid, a->x, p->t * c->d_model);
    project(p, (struct product){layer, NN_O, rows_of(p, layer)}, a->mid, att, true);
}

static void ffn_forward(const struct pass *p, int layer, float *next) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_activations *a = &p->y->blocks[layer];
    int64_t n = rows_of(p, layer);
    norm(p, layer, NN_FFN_NORM, p->y->h, a->rstd2, a->mid, n);
    project(p, (struct product){layer, NN_GATE, n}, a->gate, p->y->h, false);
    project(p, (struct product){layer, NN_UP, n}, a->up, p->y->h, false);
    o->swiglu(o, p->y->wide, a->gate, a->up, n * c->d_ff);
    o->copy(o, next, a->mid, n * c->d_model);
    project(p, (struct product){layer, NN_DOWN, n}, next, p->y->wide, true);
}

/* Rows with a target, in order, to the backend. */
static void upload_batch(struct pass *p) {
    struct nn_memory *y = p->y;
    const struct nn_batch *b = p->b;
    const struct ops *o = p->m->ops;
    int64_t n = 0;
    for (int64_t t = 0; t < b->n_tokens; t++) {
        if (b->target[t] < 0)
            continue;
        y->host_row[n] = (int32_t)t;
        y->host_target[n] = b->target[t];
        y->host_position[n] = b->position[t];
        y->host_weight[n++] = b->weight ? b->weight[t] : 1;
    }
    o->upload(o, y->token, b->token, (size_t)p->t * sizeof *b->token);
    o->upload(o, y->position, b->position, (size_t)p->t * sizeof *b->position);
    o->upload(o, y->row, y->host_row, (size_t)n * sizeof *y->host_row);
    o->upload(o, y->row_position, y->host_position, (size_t)n * sizeof *y->host_position);
    o->upload(o, y->target, y->host_target, (size_t)n * sizeof *y->host_target);
    o->upload(o, y->weight, y->host_weight, (size_t)n * sizeof *y->host_weight);
}

/* All blocks, then the normalised rows with a target in y->hn. */
static void forward(struct pass *p) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    upload_batch(p);
    o->embed(o, y->blocks[0].x, nn_weight(p->m, -1, NN_EMBED), y->token, p->t, c->d_model);
    for (int i = 0; i < c->n_layer; i++) {
        attention_forward(p, i);
        ffn_forward(p, i, i + 1 < c->n_layer ? y->blocks[i + 1].x : p->few ? y->xn : y->x);
    }
    if (!p->few)
        o->gather(o, y->xn, y->x, y->row, p->n, c->d_model);
    norm(p, -1, NN_FINAL_NORM, y->hn, y->rstdn, y->xn, p->n);
}

/* ---- backward ---- */

static void ffn_backward(const struct pass *p, int layer, float *dx) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    int64_t n = rows_of(p, layer);
    norm(p, layer, NN_FFN_NORM, y->h, a->rstd2, a->mid, n);
    o->swiglu(o, y->wide, a->gate, a->up, n * c->d_ff);
    project_backward(p, (struct product){layer, NN_DOWN, n}, dx, y->wide, y->dwide, false);
    o->swiglu_backward(o, a->gate, a->up, y->dwide, a->gate, a->up, n * c->d_ff);
    project_backward(p, (struct product){layer, NN_GATE, n}, a->gate, y->h, y->dh, false);
    project_backward(p, (struct product){layer, NN_UP, n}, a->up, y->h, y->dh, true);
    norm_backward(p, layer, NN_FFN_NORM, n, &(struct norm_grad){dx, y->dh, a->mid, a->rstd2});
}

/* Through rotation and the heads' norm: from the gradient of q or k to that of what the matrix gave. */
static const float *head_backward(const struct pass *p, int layer, enum nn_kind kind, int64_t n, float *d) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    bool query = kind == NN_Q;
    int heads = query ? c->n_heads : c->n_kv_heads;
    rotate(p, d, heads, query && at_few(p, layer), true);
    if (!c->qk_norm)
        return d;
    float *raw = query ? y->dq_raw : y->dk_raw;
    p->m->ops->zero(p->m->ops, raw, (size_t)(n * heads * c->head_dim) * sizeof *raw);
    struct norm_grad g = {raw, d, query ? a->q_raw : a->k_raw, query ? a->q_rstd : a->k_rstd};
    norm_backward(p, layer, query ? NN_Q_NORM : NN_K_NORM, n * heads, &g);
    return raw;
}

/* From dq, dk, dv to the gradient of h in y->dh; `wanted`: somebody below needs it. */
static void projections_backward(const struct pass *p, int layer, bool wanted) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    bool few = at_few(p, layer);
    int64_t n = rows_of(p, layer), he = (int64_t)c->n_heads * c->head_dim;
    float *dq = few ? y->qs : y->dq, *dh = wanted ? y->dh : NULL, *dhq = wanted && few ? y->dhn : dh;
    pick(p, layer, y->qs, y->dq, he);
    const float *dq_raw = head_backward(p, layer, NN_Q, n, dq),
                *dk_raw = head_backward(p, layer, NN_K, p->t, y->dk);
    const float *hq = pick(p, layer, y->hs, y->h, c->d_model);
    project_backward(p, (struct product){layer, NN_K, p->t}, dk_raw, y->h, dh, false);
    project_backward(p, (struct product){layer, NN_V, p->t}, y->dv, y->h, dh, true);
    project_backward(p, (struct product){layer, NN_Q, n}, dq_raw, hq, dhq, !few);
    if (wanted && few)
        p->m->ops->scatter_add(p->m->ops, dh, dhq, y->row, p->n, c->d_model);
}

/* `dx`: the gradient of mid, at the block's rows. Afterwards y->dx is that of the block's input. */
static void attention_backward(const struct pass *p, int layer, const float *dx) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    struct attention_shape shape = attention_shape(p);
    int64_t he = (int64_t)c->n_heads * c->head_dim;
    bool few = at_few(p, layer), wanted = layer > 0 || p->m->trained == &p->m->base;
    norm(p, layer, NN_ATTN_NORM, y->h, a->rstd1, a->x, p->t);
    const float *att = pick(p, layer, y->as, a->att, he);
    project_backward(p, (struct product){layer, NN_O, rows_of(p, layer)}, dx, att, few ? y->qs : y->datt,
                     false);
    if (few)
        spread(p, y->datt, y->qs, he);
    o->attention_backward(o, y->dq, y->dk, y->dv, y->datt, a->att, a->lse, a->q, a->k, a->v, &shape);
    projections_backward(p, layer, wanted);
    if (few && wanted)
        spread(p, y->dx, dx, c->d_model);
    if (wanted)
        norm_backward(p, layer, NN_ATTN_NORM, p->t, &(struct norm_grad){y->dx, y->dh, a->x, a->rstd1});
}

/* Loss of the rows in y->hn, `rows` of logits at a time; with `divisor` also the gradients of head and final norm, and
 * y->dxn, that of y->xn. */
static void head(const struct pass *p, int64_t rows, double divisor) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    enum nn_kind kind = c->tied_head ? NN_EMBED : NN_HEAD;
    const float *w = nn_weight(p->m, -1, kind);
    float *dw = nn_gradient(p->m, -1, kind);
    int64_t d = c->d_model, v = c->n_vocab;
    for (int64_t i = 0; i < p->n; i += rows) {
        int64_t n = p->n - i < rows ? p->n - i : rows;
        o->gemm(o, false, true, n, v, d, 1, y->hn + i * d, d, w, d, 0, y->logits, v);
        o->cross_entropy(o, y->logits, y->row_loss + i, y->target + i, y->weight + i, n, v,
                         divisor > 0 ? (float)(1 / divisor) : 0);
        if (divisor <= 0)
            continue;
        o->gemm(o, false, false, n, d, v, 1, y->logits, v, w, d, 0, y->dhn + i * d, d);
        if (dw)
            o->gemm(o, true, false, v, d, n, 1, y->logits, v, y->hn + i * d, d, 1, dw, d);
    }
    if (divisor <= 0)
        return;
    o->zero(o, y->dxn, (size_t)(p->n * d) * sizeof(float));
    norm_backward(p, -1, NN_FINAL_NORM, p->n, &(struct norm_grad){y->dxn, y->dhn, y->xn, y->rstdn});
}

static void backward(const struct pass *p) {
    const struct model_config *c = &p->m->config;
    struct nn_memory *y = p->y;
    float *dx = p->few ? y->dxn : y->dx; /* of the last block's rows, then y->dx for good */
    if (!p->few)
        spread(p, y->dx, y->dxn, c->d_model);
    for (int i = c->n_layer - 1; i >= 0; i--, dx = y->dx) {
        ffn_backward(p, i, dx);
        attention_backward(p, i, dx);
    }
    float *dtable = nn_gradient(p->m, -1, NN_EMBED);
    if (dtable)
        p->m->ops->embed_backward(p->m->ops, dtable, y->dx, y->token, p->t, c->d_model, c->n_vocab);
}

/* ---- the public face ---- */

int nn_batch_check(const struct nn_model *m, const struct nn_batch *b, struct err *e) {
    const struct model_config *c = &m->config;
    if (b->n_seq < 1 || b->start[0] != 0 || b->start[b->n_seq] != b->n_tokens)
        return err_set(e, ERR_INPUT, "nn_batch_check", "the sequences do not cover the batch's tokens");
    for (int s = 0; s < b->n_seq; s++)
        if (b->start[s + 1] < b->start[s])
            return err_set(e, ERR_INPUT, "nn_batch_check", "sequence %d ends before it begins", s);
    for (int64_t t = 0; t < b->n_tokens; t++) {
        if (b->token[t] < 0 || b->token[t] >= c->n_vocab || b->target[t] < -1 || b->target[t] >= c->n_vocab)
            return err_set(e, ERR_INPUT, "nn_batch_check",
                           "token %lld: id %d or target %d is not in the vocabulary of %d", (long long)t,
                           b->token[t], b->target[t], c->n_vocab);
        if (b->position[t] < 0 || b->position[t] >= c->n_ctx)
            return err_set(e, ERR_INPUT, "nn_batch_check",
                           "token %lld stands at position %d, the model's context is %d", (long long)t,
                           b->position[t], c->n_ctx);
    }
    return 0;
}

static int begin(struct pass *p, struct nn_model *m, struct nn_run *r, const struct nn_batch *b,
                 struct err *e) {
    int64_t n = 0;
    for (int64_t t = 0; t < b->n_tokens; t++)
        n += b->target[t] >= 0;
    *p = (struct pass){.m = m, .y = r->memory, .b = b, .t = b->n_tokens, .n = n};
    p->few = !r->limits.everywhere && 4 * n < 3 * b->n_tokens; /* gathering costs less than it saves */
    if (b->n_tokens < 1 || b->n_tokens > r->limits.n_tokens || n > r->limits.n_targets)
        return err_set(e, ERR_INPUT, "nn_forward",
                       "a batch of %lld tokens, %lld with a target; the run has room for %lld, %lld",
                       (long long)b->n_tokens, (long long)n, (long long)r->limits.n_tokens,
                       (long long)r->limits.n_targets);
    if (n == 0)
        return err_set(e, ERR_INPUT, "nn_forward", "no token of the batch has a target");
    return 0;
}

int nn_forward_backward(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, double divisor,
                        double *loss_sum, struct err *e) {
    struct pass p;
    int rc = begin(&p, m, r, b, e);
    if (rc == 0 && (r->limits.forward_only || !m->trained || !(divisor > 0)))
        rc = err_set(e, ERR_INPUT, "nn_forward_backward",
                     "no memory or no trained weights for a backward pass");
    if (rc < 0)
        return rc;
    const struct ops *o = m->ops;
    struct nn_memory *y = p.y;
    forward(&p);
    head(&p, r->limits.head_rows, divisor);
    backward(&p);
    if (!loss_sum)
        return 0;
    o->download(o, y->host_loss, y->row_loss, (size_t)p.n * sizeof *y->host_loss);
    *loss_sum = 0;
    for (int64_t i = 0; i < p.n; i++)
        *loss_sum += (double)y->host_loss[i];
    return 0;
}

int nn_forward_loss(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *row_loss,
                    struct err *e) {
    struct pass p;
    int rc = begin(&p, m, r, b, e);
    if (rc < 0)
        return rc;
    forward(&p);
    head(&p, r->limits.head_rows, 0);
    m->ops->download(m->ops, row_loss, p.y->row_loss, (size_t)p.n * sizeof *row_loss);
    return 0;
}

int nn_forward_logits(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *logits,
                      struct err *e) {
    struct pass p;
    int rc = begin(&p, m, r, b, e);
    if (rc < 0)
        return rc;
    const struct ops *o = m->ops;
    const float *w = nn_weight(m, -1, m->config.tied_head ? NN_EMBED : NN_HEAD);
    int64_t d = m->config.d_model, v = m->config.n_vocab;
    forward(&p);
    for (int64_t i = 0; i < p.n; i += r->limits.head_rows) {
        int64_t n = p.n - i < r->limits.head_rows ? p.n - i : r->limits.head_rows;
        o->gemm(o, false, true, n, v, d, 1, p.y->hn + i * d, d, w, d, 0, p.y->logits, v);
        o->download(o, logits + i * v, p.y->logits, (size_t)(n * v) * sizeof *logits);
    }
    return 0;
}
