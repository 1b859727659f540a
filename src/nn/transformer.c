/* Forward and backward of the decoder over a packed batch.
 *
 * Each block:   h = norm(x)  q,k,v = h W^T  q,k rotated  mid = x + attention(q,k,v) Wo^T
 *               h = norm(mid)  next x = mid + (silu(h Wg^T) * (h Wu^T)) Wd^T
 * Head, only at rows with a target and in blocks of rows: logits = norm(x) W^T, softmax cross-entropy.
 *
 * Backward walks the same lines upwards; `dx` is the gradient of the residual stream, changed in place. */
#include "nn/internal.h"
#include <math.h>

/* A pass over one batch. */
struct pass {
    struct nn_model *m;
    struct nn_memory *y;
    const struct nn_batch *b;
    int64_t t, n; /* tokens; tokens with a target */
};

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

static void rotate(const struct pass *p, float *x, int n_heads, bool inverse) {
    const struct model_config *c = &p->m->config;
    struct rope_shape s = {.n_tokens = p->t,
                           .n_heads = n_heads,
                           .head_dim = c->head_dim,
                           .halves = c->rope_halves,
                           .freq = p->m->rope_freq,
                           .position = p->y->position};
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

static void project(const struct pass *p, int layer, enum nn_kind kind, float *out, const float *x,
                    bool add) {
    nn_linear(p->m, layer, kind, p->t, out, x, p->y->blocks[layer].u[kind - NN_Q], add);
}

static void project_backward(const struct pass *p, int layer, enum nn_kind kind, const float *dy,
                             const float *x, float *dx, bool add) {
    struct nn_linear_grad g = {
        .dy = dy, .x = x, .u = p->y->blocks[layer].u[kind - NN_Q], .dx = dx, .du = p->y->du, .add = add};
    nn_linear_backward(p->m, layer, kind, p->t, &g);
}

/* ---- forward ---- */

static void attention_forward(const struct pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_activations *a = &p->y->blocks[layer];
    struct attention_shape shape = attention_shape(p);
    norm(p, layer, NN_ATTN_NORM, p->y->h, a->rstd1, a->x, p->t);
    project(p, layer, NN_Q, c->qk_norm ? a->q_raw : a->q, p->y->h, false);
    project(p, layer, NN_K, c->qk_norm ? a->k_raw : a->k, p->y->h, false);
    project(p, layer, NN_V, a->v, p->y->h, false);
    if (c->qk_norm) {
        norm(p, layer, NN_Q_NORM, a->q, a->q_rstd, a->q_raw, p->t * c->n_heads);
        norm(p, layer, NN_K_NORM, a->k, a->k_rstd, a->k_raw, p->t * c->n_kv_heads);
    }
    rotate(p, a->q, c->n_heads, false);
    rotate(p, a->k, c->n_kv_heads, false);
    o->attention(o, a->att, a->lse, a->q, a->k, a->v, &shape);
    if (a->mid != a->x)
        o->copy(o, a->mid, a->x, p->t * c->d_model);
    project(p, layer, NN_O, a->mid, a->att, true);
}

static void ffn_forward(const struct pass *p, int layer, float *next) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_activations *a = &p->y->blocks[layer];
    norm(p, layer, NN_FFN_NORM, p->y->h, a->rstd2, a->mid, p->t);
    project(p, layer, NN_GATE, a->gate, p->y->h, false);
    project(p, layer, NN_UP, a->up, p->y->h, false);
    o->swiglu(o, p->y->wide, a->gate, a->up, p->t * c->d_ff);
    if (next != a->mid)
        o->copy(o, next, a->mid, p->t * c->d_model);
    project(p, layer, NN_DOWN, next, p->y->wide, true);
}

/* Rows with a target, in order, to the backend. */
static void upload_batch(struct pass *p) {
    struct nn_memory *y = p->y;
    const struct nn_batch *b = p->b;
    const struct ops *o = p->m->ops;
    p->n = 0;
    for (int64_t t = 0; t < b->n_tokens; t++) {
        if (b->target[t] < 0)
            continue;
        y->host_row[p->n] = (int32_t)t;
        y->host_target[p->n] = b->target[t];
        y->host_weight[p->n++] = b->weight ? b->weight[t] : 1;
    }
    o->upload(o, y->token, b->token, (size_t)p->t * sizeof *b->token);
    o->upload(o, y->position, b->position, (size_t)p->t * sizeof *b->position);
    o->upload(o, y->row, y->host_row, (size_t)p->n * sizeof *y->host_row);
    o->upload(o, y->target, y->host_target, (size_t)p->n * sizeof *y->host_target);
    o->upload(o, y->weight, y->host_weight, (size_t)p->n * sizeof *y->host_weight);
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
        ffn_forward(p, i, i + 1 < c->n_layer ? y->blocks[i + 1].x : y->x);
    }
    o->gather(o, y->xn, y->x, y->row, p->n, c->d_model);
    norm(p, -1, NN_FINAL_NORM, y->hn, y->rstdn, y->xn, p->n);
}

/* ---- backward ---- */

static void ffn_backward(const struct pass *p, int layer) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    norm(p, layer, NN_FFN_NORM, y->h, a->rstd2, a->mid, p->t);
    o->swiglu(o, y->wide, a->gate, a->up, p->t * c->d_ff);
    project_backward(p, layer, NN_DOWN, y->dx, y->wide, y->dwide, false);
    o->swiglu_backward(o, a->gate, a->up, y->dwide, a->gate, a->up, p->t * c->d_ff);
    project_backward(p, layer, NN_GATE, a->gate, y->h, y->dh, false);
    project_backward(p, layer, NN_UP, a->up, y->h, y->dh, true);
    norm_backward(p, layer, NN_FFN_NORM, p->t, &(struct norm_grad){y->dx, y->dh, a->mid, a->rstd2});
}

/* Through the heads' norms and the rotation: gradients of what Wq and Wk gave. */
static void heads_backward(const struct pass *p, int layer, float **dq, float **dk) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    rotate(p, y->dq, c->n_heads, true);
    rotate(p, y->dk, c->n_kv_heads, true);
    *dq = y->dq;
    *dk = y->dk;
    if (!c->qk_norm)
        return;
    o->zero(o, y->dq_raw, (size_t)(p->t * c->n_heads * c->head_dim) * sizeof(float));
    o->zero(o, y->dk_raw, (size_t)(p->t * c->n_kv_heads * c->head_dim) * sizeof(float));
    norm_backward(p, layer, NN_Q_NORM, p->t * c->n_heads,
                  &(struct norm_grad){y->dq_raw, y->dq, a->q_raw, a->q_rstd});
    norm_backward(p, layer, NN_K_NORM, p->t * c->n_kv_heads,
                  &(struct norm_grad){y->dk_raw, y->dk, a->k_raw, a->k_rstd});
    *dq = y->dq_raw;
    *dk = y->dk_raw;
}

static void attention_backward(const struct pass *p, int layer) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    struct nn_activations *a = &y->blocks[layer];
    struct attention_shape shape = attention_shape(p);
    float *dq, *dk;
    bool first_frozen = layer == 0 && p->m->trained != &p->m->base; /* nobody below wants the gradient */
    float *dh = first_frozen ? NULL : y->dh;
    norm(p, layer, NN_ATTN_NORM, y->h, a->rstd1, a->x, p->t);
    project_backward(p, layer, NN_O, y->dx, a->att, y->datt, false);
    o->attention_backward(o, y->dq, y->dk, y->dv, y->datt, a->att, a->lse, a->q, a->k, a->v, &shape);
    heads_backward(p, layer, &dq, &dk);
    project_backward(p, layer, NN_Q, dq, y->h, dh, false);
    project_backward(p, layer, NN_K, dk, y->h, dh, true);
    project_backward(p, layer, NN_V, y->dv, y->h, dh, true);
    if (!first_frozen)
        norm_backward(p, layer, NN_ATTN_NORM, p->t, &(struct norm_grad){y->dx, y->dh, a->x, a->rstd1});
}

/* Loss of the rows in y->hn, `rows` of logits at a time; with `divisor` also the gradients of head, final norm and y->dx. */
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
    o->zero(o, y->dx, (size_t)(p->t * d) * sizeof(float));
    o->scatter_add(o, y->dx, y->dxn, y->row, p->n, d);
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
    *p = (struct pass){.m = m, .y = r->memory, .b = b, .t = b->n_tokens};
    int64_t n = 0;
    for (int64_t t = 0; t < b->n_tokens; t++)
        n += b->target[t] >= 0;
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
    for (int i = m->config.n_layer - 1; i >= 0; i--) {
        ffn_backward(&p, i);
        attention_backward(&p, i);
    }
    float *dtable = nn_gradient(m, -1, NN_EMBED);
    if (dtable)
        o->embed_backward(o, dtable, y->dx, y->token, p.t, m->config.d_model, m->config.n_vocab);
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
