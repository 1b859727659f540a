/* The head: loss and its gradient at the rows with a target, in one of two ways.
 *
 *   whole rows   `head_rows` rows of logits at a time, softmax and gradient in place. Also where the head is trained.
 *   blocks       columns of a few rows at a time, for a frozen head. As in attention, where the vocabulary takes the keys' place:
 *                acc = sum over v of exp(logit_v - max) W_v is brought up to date from block to block, and in the end
 *                dh = weight (acc / sum - W_target). No row of logits is ever whole. */
#include "nn/internal.h"

static enum nn_kind head_kind(const struct nn_model *m) {
    return m->config.tied_head ? NN_EMBED : NN_HEAD;
}

bool nn_head_blocked(const struct nn_model *m, const struct nn_limits *l) {
    return m->packed || l->head_cols < m->config.n_vocab;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Rows [i, i + n) of y->hn, with all their logits. */
static void whole_rows(const struct nn_pass *p, int64_t i, int64_t n, double divisor) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    const float *w = nn_weight(p->m, -1, head_kind(p->m));
    float *dw = nn_gradient(p->m, -1, head_kind(p->m));
    int64_t d = p->m->config.d_model, v = p->m->config.n_vocab;
    o->gemm(o, false, true, n, v, d, 1, y->hn + i * d, d, w, d, 0, y->logits, v);
    o->cross_entropy(o, y->logits, y->row_loss + i, y->target + i, y->weight + i, n, v,
                     divisor > 0 ? (float)(1 / divisor) : 0);
    if (divisor <= 0)
        return;
    nn_watch_gradient(p->m, nn_base_tensor(p->m, -1, head_kind(p->m)), y->logits, n);
    o->gemm(o, false, false, n, d, v, 1, y->logits, v, w, d, 0, y->dhn + i * d, d);
    if (dw)
        o->gemm(o, true, false, v, d, n, 1, y->logits, v, y->hn + i * d, d, 1, dw, d);
}

/* The largest logit is at hand when the blocks are through, and so is the target's. NaN is no largest one. */
static void note_top(const struct nn_pass *p, int64_t i, int64_t n) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    float *max = y->host_loss,
          *at_target = y->host_weight; /* free now: the losses come later, the weights are uploaded */
    o->download(o, max, y->max, (size_t)n * sizeof *max);
    o->download(o, at_target, y->at_target, (size_t)n * sizeof *at_target);
    for (int64_t r = 0; r < n; r++)
        p->top[i + r] = at_target[r] >= max[r];
}

/* The same rows, block by block of the vocabulary. */
static void blocked_rows(const struct nn_pass *p, int64_t i, int64_t n, double divisor) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    const struct nn_tensor *t = nn_base_tensor(p->m, -1, head_kind(p->m));
    int64_t d = t->cols, step = smaller(p->limits->head_cols, nn_matrix_step(y, t));
    struct softmax_rows rows = {y->max, y->sum, y->shrink, y->at_target, y->target + i};
    float *acc = y->dhn + i * d;
    o->copy(o, y->max, y->lowest, n);
    o->zero(o, y->sum, (size_t)n * sizeof(float));
    o->zero(o, y->at_target, (size_t)n * sizeof(float));
    for (int64_t v = 0; v < t->rows; v += step) {
        int64_t cols = smaller(step, t->rows - v);
        const float *w = nn_matrix_rows(p->m, y, t, v, cols);
        o->gemm(o, false, true, n, cols, d, 1, y->hn + i * d, d, w, d, 0, y->logits, cols);
        o->softmax_block(o, y->logits, &rows, v, n, cols);
        if (divisor <= 0)
            continue;
        if (v > 0)
            o->scale_rows(o, acc, y->shrink, n, d);
        o->gemm(o, false, false, n, d, cols, 1, y->logits, cols, w, d, v > 0 ? 1 : 0, acc, d);
    }
    if (p->top)
        note_top(p, i, n);
    float scale = divisor > 0 ? (float)(1 / divisor) : 0;
    o->softmax_loss(o, y->row_loss + i, y->factor, &rows, y->weight + i, n, scale);
    if (divisor <= 0)
        return;
    o->scale_rows(o, acc, y->factor, n, d);
    nn_matrix_gather(p->m, t, y->hs, y->wanted + i, n);
    o->scale_rows(o, y->hs, y->weight + i, n, d);
    o->add(o, acc, y->hs, -scale, n * d);
}

/* The terms of what a teacher holds possible beside the target (transformer.c, set_others): y->mix = their rows of the head, summed. */
static void mix_others(const struct nn_pass *p, double divisor) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    const struct nn_tensor *t = nn_base_tensor(p->m, -1, head_kind(p->m));
    float *dw = nn_gradient(p->m, -1, head_kind(p->m));
    int64_t d = t->cols, pitch = p->limits->n_targets;
    o->zero(o, y->mix, (size_t)(p->n * d) * sizeof(float));
    for (int j = 0; j <= p->n_others; j++) {
        nn_matrix_gather(p->m, t, y->hs, y->other + j * pitch, p->n);
        o->scale_rows(o, y->hs, y->other_weight + j * pitch, p->n, d);
        o->add(o, y->mix, y->hs, 1, p->n * d);
        if (divisor <= 0 || !dw)
            continue;
        o->copy(o, y->hs, y->hn, p->n * d);
        o->scale_rows(o, y->hs, y->other_weight + j * pitch, p->n, d);
        o->scale(o, y->hs, (float)(1 / divisor), p->n * d);
        o->embed_backward(o, dw, y->hs, y->other + j * pitch, p->n, d, t->rows);
    }
}

static void add_others(const struct nn_pass *p, double divisor) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    int64_t d = p->m->config.d_model;
    size_t bytes = (size_t)(p->n * d) * sizeof(float);
    mix_others(p, divisor);
    o->download(o, y->host_mix, y->mix, bytes);
    o->download(o, y->host_hn, y->hn, bytes);
    o->download(o, y->host_loss, y->row_loss, (size_t)p->n * sizeof(float));
    for (int64_t i = 0; i < p->n; i++) {
        double dot = 0;
        for (int64_t k = i * d; k < (i + 1) * d; k++)
            dot += (double)y->host_mix[k] * (double)y->host_hn[k];
        y->host_loss[i] += (float)dot;
    }
    o->upload(o, y->row_loss, y->host_loss, (size_t)p->n * sizeof(float));
    if (divisor > 0)
        o->add(o, y->dhn, y->mix, (float)(1 / divisor), p->n * d);
}

void nn_head(const struct nn_pass *p, double divisor) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    bool blocked = p->top || nn_head_blocked(p->m, p->limits); /* whole rows have no largest logit to show */
    nn_watch_input(p->m, nn_base_tensor(p->m, -1, head_kind(p->m)), y->hn, p->n);
    for (int64_t i = 0; i < p->n; i += p->limits->head_rows)
        (blocked ? blocked_rows : whole_rows)(p, i, smaller(p->limits->head_rows, p->n - i), divisor);
    if (p->n_others > 0)
        add_others(p, divisor);
    if (divisor <= 0)
        return;
    o->zero(o, y->dxn, (size_t)(p->n * p->m->config.d_model) * sizeof(float));
    nn_norm_backward(p, -1, NN_FINAL_NORM, p->n, &(struct nn_norm_grad){y->dxn, y->dhn, y->xn, y->rstdn});
}

void nn_head_logits(const struct nn_pass *p, float *logits) {
    const struct ops *o = p->m->ops;
    struct nn_memory *y = p->y;
    const struct nn_tensor *t = nn_base_tensor(p->m, -1, head_kind(p->m));
    int64_t d = t->cols, n_vocab = t->rows, step = smaller(p->limits->head_cols, nn_matrix_step(y, t));
    for (int64_t i = 0; i < p->n; i += p->limits->head_rows)
        for (int64_t v = 0; v < n_vocab; v += step) {
            int64_t n = smaller(p->limits->head_rows, p->n - i), cols = smaller(step, n_vocab - v);
            const float *w = nn_matrix_rows(p->m, y, t, v, cols);
            o->gemm(o, false, true, n, cols, d, 1, y->hn + i * d, d, w, d, 0, y->logits, cols);
            for (int64_t r = 0; r < n; r++)
                o->download(o, logits + (i + r) * n_vocab + v, y->logits + r * cols,
                            (size_t)cols * sizeof *logits);
        }
}
