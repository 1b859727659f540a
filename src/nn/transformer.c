/* Passes of the decoder: a packed batch forward and backward, alone or behind a prefix that all its sequences share.
 *
 * The shared prefix. Its tokens see only themselves, so its keys and values are the same for every sequence: they are computed
 * once, and batches read them. Backward, each batch adds the gradients of those keys and values to prefix_dk and prefix_dv; when
 * all batches of a step are through, one backward pass takes the sums down through the prefix. It is the chain rule in another
 * order, hence exact: the same as with the prefix written out in every sequence, up to the rounding of sums.
 *
 *     nn_prefix_forward -> (nn_forward_backward ...) -> nn_prefix_backward */
#include "nn/internal.h"

static void embed(const struct nn_pass *p) {
    const struct model_config *c = &p->m->config;
    float *x = p->stream->blocks[0].x;
    nn_matrix_gather(p->m, nn_base_tensor(p->m, -1, NN_EMBED), x, p->stream->token, p->t);
    if (c->embed_scale > 0)
        p->m->ops->scale(p->m->ops, x, c->embed_scale, p->t * c->d_model);
}

/* Through all blocks; the last one's output goes to `last`. */
static void forward_blocks(const struct nn_pass *p, float *last) {
    int n = p->m->config.n_layer;
    embed(p);
    for (int i = 0; i < n; i++)
        nn_block_forward(p, i, i + 1 < n ? p->stream->blocks[i + 1].x : last);
}

/* `dx`: gradient of the last block's rows. */
static void backward_blocks(const struct nn_pass *p, float *dx) {
    const struct model_config *c = &p->m->config;
    const struct ops *o = p->m->ops;
    for (int i = c->n_layer - 1; i >= p->lowest; i--, dx = p->y->dx)
        nn_block_backward(p, i, dx);
    float *dtable = nn_gradient(p->m, -1, NN_EMBED);
    if (!dtable)
        return;
    if (c->embed_scale > 0)
        o->scale(o, p->y->dx, c->embed_scale, p->t * c->d_model);
    o->embed_backward(o, dtable, p->y->dx, p->stream->token, p->t, c->d_model, c->n_vocab);
}

/* ---- a batch ---- */

/* -log p(target) with the sum of all weights w = w_t + sum of w_j counts the target too often, and the others not at all. What is
 * missing is linear in the row: with logit = h . W it is h . (sum of w_j (W_target - W_j)). Here are its terms. */
static void set_others(const struct nn_pass *p, const struct nn_batch *b, int64_t t, int64_t n) {
    struct nn_memory *y = p->y;
    int64_t pitch = p->limits->n_targets;
    float sum = 0;
    for (int j = 0; j < p->n_others; j++) {
        bool wanted = b->target[t] >= 0;
        float weight = wanted ? b->other_weight[t * b->n_others + j] : 0;
        y->host_other[(j + 1) * pitch + n] = wanted && weight > 0 ? b->other[t * b->n_others + j] : 0;
        y->host_other_weight[(j + 1) * pitch + n] = -weight;
        sum += weight;
    }
    y->host_other[n] = y->host_wanted[n];
    y->host_other_weight[n] = sum;
    y->host_weight[n] += sum;
}

static void upload_others(const struct nn_pass *p) {
    struct nn_memory *y = p->y;
    const struct ops *o = p->m->ops;
    size_t n = (size_t)(p->limits->n_targets * (p->n_others + 1));
    o->upload(o, y->other, y->host_other, n * sizeof *y->host_other);
    o->upload(o, y->other_weight, y->host_other_weight, n * sizeof *y->host_other_weight);
}

/* Tokens, and the rows with a target, in order, to the backend. */
static void upload_batch(const struct nn_pass *p, const struct nn_batch *b) {
    struct nn_memory *y = p->y;
    const struct ops *o = p->m->ops;
    bool all = p->limits->plain & NN_PLAIN_LOGITS;
    int64_t n = 0;
    for (int64_t t = 0; t < b->n_tokens; t++) {
        bool wanted = b->target[t] >= 0;
        if (!wanted && !all)
            continue;
        y->host_row[n] = (int32_t)t;
        y->host_target[n] = b->target[t];
        y->host_wanted[n] = wanted ? b->target[t] : 0;
        y->host_position[n] = b->position[t];
        y->host_weight[n] = !wanted ? 0 : b->weight ? b->weight[t] : 1;
        if (p->n_others > 0)
            set_others(p, b, t, n);
        n++;
    }
    if (p->n_others > 0)
        upload_others(p);
    o->upload(o, p->stream->token, b->token, (size_t)p->t * sizeof *b->token);
    o->upload(o, p->stream->position, b->position, (size_t)p->t * sizeof *b->position);
    o->upload(o, y->row, y->host_row, (size_t)n * sizeof *y->host_row);
    o->upload(o, y->row_position, y->host_position, (size_t)n * sizeof *y->host_position);
    o->upload(o, y->target, y->host_target, (size_t)n * sizeof *y->host_target);
    o->upload(o, y->wanted, y->host_wanted, (size_t)n * sizeof *y->host_wanted);
    o->upload(o, y->weight, y->host_weight, (size_t)n * sizeof *y->host_weight);
}

/* All blocks, then the normalised rows with a target in y->hn. */
static void forward(const struct nn_pass *p, const struct nn_batch *b) {
    struct nn_memory *y = p->y;
    upload_batch(p, b);
    forward_blocks(p, p->few ? y->xn : y->x);
    if (!p->few)
        p->m->ops->gather(p->m->ops, y->xn, y->x, y->row, p->n, p->m->config.d_model);
    nn_norm(p, -1, NN_FINAL_NORM, y->hn, y->rstdn, y->xn, p->n);
}

static void backward(const struct nn_pass *p) {
    struct nn_memory *y = p->y;
    if (!p->few)
        nn_spread(p, y->dx, y->dxn, p->m->config.d_model);
    backward_blocks(p, p->few ? y->dxn : y->dx);
    if (p->m->watch && p->m->watch->embedded)
        p->m->watch->embedded(p->m->watch->context, y->dx, p->t);
}

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
        for (int j = 0; j < b->n_others && b->target[t] >= 0; j++) {
            int32_t other = b->other[t * b->n_others + j];
            if (b->other_weight[t * b->n_others + j] > 0 && (other < 0 || other >= c->n_vocab))
                return err_set(e, ERR_INPUT, "nn_batch_check",
                               "token %lld: further target %d is not in the vocabulary", (long long)t, other);
        }
        if (b->position[t] < b->n_prefix || b->position[t] >= c->n_ctx)
            return err_set(e, ERR_INPUT, "nn_batch_check",
                           "token %lld stands at position %d, the model's context is %d", (long long)t,
                           b->position[t], c->n_ctx);
    }
    return 0;
}

static int begin(struct nn_pass *p, struct nn_model *m, struct nn_run *r, const struct nn_batch *b,
                 struct err *e) {
    const struct nn_limits *l = &r->limits;
    int64_t n = 0;
    for (int64_t t = 0; t < b->n_tokens; t++)
        n += b->target[t] >= 0;
    if (b->n_tokens < 1 || b->n_tokens > l->n_tokens || n > l->n_targets)
        return err_set(e, ERR_INPUT, "nn_forward",
                       "a batch of %lld tokens, %lld with a target; the run has room for %lld, %lld",
                       (long long)b->n_tokens, (long long)n, (long long)l->n_tokens, (long long)l->n_targets);
    if (n == 0)
        return err_set(e, ERR_INPUT, "nn_forward", "no token of the batch has a target");
    if (b->n_others > l->n_others)
        return err_set(e, ERR_INPUT, "nn_forward", "%d further targets a token; the run has room for %d",
                       b->n_others, l->n_others);
    if (b->n_prefix != 0 && b->n_prefix != r->n_prefix)
        return err_set(e, ERR_INPUT, "nn_forward", "a batch after %lld shared tokens; the run has %lld",
                       (long long)b->n_prefix, (long long)r->n_prefix);
    n = l->plain & NN_PLAIN_LOGITS ? b->n_tokens : n;
    *p = (struct nn_pass){.m = m,
                          .y = r->memory,
                          .limits = l,
                          .stream = &r->memory->batch,
                          .t = b->n_tokens,
                          .n = n,
                          .n_prefix = b->n_prefix,
                          .n_others = b->n_others,
                          .n_seq = b->n_seq,
                          .start = b->start};
    p->few = !(l->plain & NN_PLAIN_LAST) && 4 * n < 3 * b->n_tokens; /* gathering costs less than it saves */
    p->lowest = l->plain & NN_PLAIN_INPUT ? 0 : nn_lowest_trained(m);
    p->prefix_stride = r->n_prefix * m->config.n_kv_heads * m->config.head_dim;
    return 0;
}

static int check_trained(const struct nn_model *m, const struct nn_run *r, struct err *e) {
    if (r->limits.forward_only || !m->trained)
        return err_set(e, ERR_INPUT, "nn_backward", "no memory or no trained weights for a backward pass");
    if (m->trained == &m->base && nn_head_blocked(m, &r->limits))
        return err_set(e, ERR_INPUT, "nn_backward", "the run was made before the head was to be trained");
    return 0;
}

int nn_forward_backward(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, double divisor,
                        double *loss_sum, struct err *e) {
    struct nn_pass p;
    int rc = begin(&p, m, r, b, e);
    if (rc == 0)
        rc = check_trained(m, r, e);
    if (rc == 0 && !(divisor > 0))
        rc = err_set(e, ERR_INPUT, "nn_forward_backward", "the loss cannot be divided by %g", divisor);
    if (rc < 0)
        return rc;
    const struct ops *o = m->ops;
    struct nn_memory *y = p.y;
    forward(&p, b);
    nn_head(&p, divisor);
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
    return nn_forward_top(m, r, b, row_loss, NULL, e);
}

int nn_forward_top(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *row_loss, bool *top,
                   struct err *e) {
    struct nn_pass p;
    int rc = begin(&p, m, r, b, e);
    if (rc < 0)
        return rc;
    struct nn_memory *y = p.y;
    p.top = top ? y->host_top : NULL;
    forward(&p, b);
    nn_head(&p, 0);
    m->ops->download(m->ops, y->host_loss, y->row_loss, (size_t)p.n * sizeof *y->host_loss);
    for (int64_t i = 0, n = 0; i < p.n; i++) {
        if (y->host_target[i] < 0)
            continue;
        if (top)
            top[n] = y->host_top[i];
        row_loss[n++] = y->host_loss[i];
    }
    return 0;
}

int nn_forward_logits(struct nn_model *m, struct nn_run *r, const struct nn_batch *b, float *logits,
                      struct err *e) {
    struct nn_pass p;
    int rc = begin(&p, m, r, b, e);
    if (rc < 0)
        return rc;
    forward(&p, b);
    nn_head_logits(&p, logits);
    return 0;
}

/* ---- the shared prefix ---- */

static struct nn_pass prefix_pass(struct nn_model *m, struct nn_run *r, const int32_t start[2]) {
    return (struct nn_pass){.m = m,
                            .y = r->memory,
                            .limits = &r->limits,
                            .stream = &r->memory->prefix,
                            .t = start[1],
                            .few = true,
                            .is_prefix = true,
                            .prefix_stride = (int64_t)start[1] * m->config.n_kv_heads * m->config.head_dim,
                            .n_seq = 1,
                            .start = start,
                            .lowest = r->limits.plain & NN_PLAIN_INPUT ? 0 : nn_lowest_trained(m)};
}

int nn_prefix_forward(struct nn_model *m, struct nn_run *r, const int32_t *token, int64_t n, struct err *e) {
    const struct ops *o = m->ops;
    struct nn_memory *y = r->memory;
    if (n < 1 || n > r->limits.n_prefix || n >= m->config.n_ctx)
        return err_set(e, ERR_INPUT, "nn_prefix_forward", "%lld shared tokens; the run has room for %lld",
                       (long long)n, (long long)r->limits.n_prefix);
    for (int64_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= m->config.n_vocab)
            return err_set(e, ERR_INPUT, "nn_prefix_forward",
                           "token %lld: id %d is not in the vocabulary of %d", (long long)i, token[i],
                           m->config.n_vocab);
    const int32_t start[2] = {0, (int32_t)n};
    struct nn_pass p = prefix_pass(m, r, start);
    size_t bytes = (size_t)(p.prefix_stride * m->config.n_layer) * sizeof(float);
    o->upload(o, p.stream->token, token, (size_t)n * sizeof *token);
    o->upload(o, p.stream->position, y->host_prefix_position, (size_t)n * sizeof(int32_t));
    forward_blocks(&p, NULL);
    if (y->prefix_dk) {
        o->zero(o, y->prefix_dk, bytes);
        o->zero(o, y->prefix_dv, bytes);
    }
    r->n_prefix = n;
    return 0;
}

int nn_prefix_backward(struct nn_model *m, struct nn_run *r, struct err *e) {
    const int32_t start[2] = {0, (int32_t)r->n_prefix};
    int rc = check_trained(m, r, e);
    if (rc == 0 && r->n_prefix == 0)
        rc = err_set(e, ERR_INPUT, "nn_prefix_backward", "no prefix is computed");
    if (rc < 0)
        return rc;
    struct nn_pass p = prefix_pass(m, r, start);
    backward_blocks(&p, r->memory->dx);
    r->n_prefix = 0;
    return 0;
}
