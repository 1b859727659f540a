/* Memory of a run: every buffer's place is computed by one walk over the plan, done twice: once to count, once to place. */
#include "nn/internal.h"
#include <stdlib.h>

enum { PLACE_ALIGN = 256, HEAD_VALUES = 1 << 21, MIN_HEAD_ROWS = 16, MAX_HEAD_ROWS = 512 };

/* Places buffers one behind the other; with slab NULL it only counts. */
struct placer {
    char *slab;
    size_t used_bytes;
};

static void *place(struct placer *p, int64_t n, size_t size_bytes) {
    size_t at = p->used_bytes;
    p->used_bytes += ((size_t)n * size_bytes + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
    return p->slab ? p->slab + at : NULL;
}

static float *floats(struct placer *p, int64_t n) {
    return place(p, n, sizeof(float));
}

static void place_block(struct placer *p, struct nn_activations *a, const struct nn_model *m, int64_t t) {
    const struct model_config *c = &m->config;
    int64_t d = c->d_model, he = (int64_t)c->n_heads * c->head_dim, ke = (int64_t)c->n_kv_heads * c->head_dim;
    a->x = floats(p, t * d);
    a->mid = floats(p, t * d);
    a->rstd1 = floats(p, t);
    a->rstd2 = floats(p, t);
    if (c->qk_norm) {
        a->q_raw = floats(p, t * he);
        a->k_raw = floats(p, t * ke);
        a->q_rstd = floats(p, t * c->n_heads);
        a->k_rstd = floats(p, t * c->n_kv_heads);
    }
    a->q = floats(p, t * he);
    a->k = floats(p, t * ke);
    a->v = floats(p, t * ke);
    a->lse = floats(p, t * c->n_heads);
    a->att = floats(p, t * he);
    a->gate = floats(p, t * c->d_ff);
    a->up = floats(p, t * c->d_ff);
    for (size_t i = 0; m->lora.rank > 0 && i < sizeof a->u / sizeof *a->u; i++)
        a->u[i] = floats(p, t * m->lora.rank);
}

static void place_backward(struct placer *p, struct nn_memory *y, const struct nn_model *m, int64_t t,
                           int64_t n) {
    const struct model_config *c = &m->config;
    int64_t d = c->d_model, he = (int64_t)c->n_heads * c->head_dim, ke = (int64_t)c->n_kv_heads * c->head_dim;
    y->dx = floats(p, t * d);
    y->dh = floats(p, t * d);
    y->dwide = floats(p, t * c->d_ff);
    y->datt = floats(p, t * he);
    y->dq = floats(p, t * he);
    y->dk = floats(p, t * ke);
    y->dv = floats(p, t * ke);
    if (c->qk_norm) {
        y->dq_raw = floats(p, t * he);
        y->dk_raw = floats(p, t * ke);
    }
    if (m->lora.rank > 0)
        y->du = floats(p, t * m->lora.rank);
    y->dxn = floats(p, n * d);
    y->dhn = floats(p, n * d);
}

static struct nn_limits with_defaults(const struct nn_model *m, const struct nn_limits *l) {
    struct nn_limits r = *l;
    if (r.n_targets <= 0 || r.n_targets > r.n_tokens)
        r.n_targets = r.n_tokens;
    if (r.head_rows <= 0) { /* 8 MB of logits, but enough rows for an efficient product */
        int64_t fit = HEAD_VALUES / m->config.n_vocab;
        r.head_rows = fit < MIN_HEAD_ROWS ? MIN_HEAD_ROWS : fit > MAX_HEAD_ROWS ? MAX_HEAD_ROWS : fit;
    }
    if (r.head_rows > r.n_targets)
        r.head_rows = r.n_targets;
    return r;
}

static void plan(struct placer *p, struct nn_memory *y, struct nn_activations *blocks,
                 const struct nn_model *m, const struct nn_limits *l) {
    const struct model_config *c = &m->config;
    int64_t t = l->n_tokens, n = l->n_targets, d = c->d_model;
    for (int i = 0; i < c->n_layer; i++) {
        struct nn_activations dummy, *a = blocks ? &blocks[i] : &dummy;
        if (i > 0 && l->forward_only && blocks)
            *a = blocks[0];
        else if (i == 0 || !l->forward_only)
            place_block(p, a, m, t);
    }
    y->x = l->forward_only && blocks ? blocks[0].x : l->forward_only ? NULL : floats(p, t * d);
    y->h = floats(p, t * d);
    y->wide = floats(p, t * c->d_ff);
    y->xn = floats(p, n * d);
    y->hn = floats(p, n * d);
    y->rstdn = floats(p, n);
    y->hs = floats(p, n * d);
    y->qs = floats(p, n * c->n_heads * c->head_dim);
    y->as = floats(p, n * c->n_heads * c->head_dim);
    y->logits = floats(p, l->head_rows * c->n_vocab);
    y->row_loss = floats(p, n);
    y->weight = floats(p, n);
    y->token = place(p, t, sizeof(int32_t));
    y->position = place(p, t, sizeof(int32_t));
    y->row = place(p, n, sizeof(int32_t));
    y->target = place(p, n, sizeof(int32_t));
    y->row_position = place(p, n, sizeof(int32_t));
    if (!l->forward_only)
        place_backward(p, y, m, t, n);
}

size_t nn_run_bytes(const struct nn_model *m, const struct nn_limits *limits) {
    struct nn_limits l = with_defaults(m, limits);
    struct placer p = {0};
    struct nn_memory y;
    plan(&p, &y, NULL, m, &l);
    return p.used_bytes;
}

static int alloc_host(struct nn_memory *y, const struct nn_model *m, const struct nn_limits *l) {
    y->blocks = calloc((size_t)m->config.n_layer, sizeof *y->blocks);
    y->host_row = calloc((size_t)l->n_targets, sizeof *y->host_row);
    y->host_target = calloc((size_t)l->n_targets, sizeof *y->host_target);
    y->host_position = calloc((size_t)l->n_targets, sizeof *y->host_position);
    y->host_weight = calloc((size_t)l->n_targets, sizeof *y->host_weight);
    y->host_loss = calloc((size_t)l->n_targets, sizeof *y->host_loss);
    bool ok =
        y->blocks && y->host_row && y->host_target && y->host_position && y->host_weight && y->host_loss;
    return ok ? 0 : ERR_NO_MEMORY;
}

int nn_run_init(struct nn_run *r, const struct nn_model *m, const struct nn_limits *limits, struct err *e) {
    *r = (struct nn_run){.limits = with_defaults(m, limits), .slab_bytes = nn_run_bytes(m, limits)};
    if (limits->n_tokens <= 0)
        return err_set(e, ERR_INPUT, "nn_run_init", "a run for %lld tokens", (long long)limits->n_tokens);
    struct nn_memory *y = r->memory = calloc(1, sizeof *y);
    if (y)
        y->ops = m->ops;
    if (!y || alloc_host(y, m, &r->limits) < 0 || !(y->slab = m->ops->alloc(m->ops, r->slab_bytes))) {
        err_set(e, ERR_NO_MEMORY, "nn_run_init", "no room for %.1f MB of activations (%lld tokens at once)",
                (double)r->slab_bytes / 1e6, (long long)limits->n_tokens);
        err_hint(e, "fewer tokens a micro-batch need less memory");
        nn_run_release(r);
        return ERR_NO_MEMORY;
    }
    struct placer p = {.slab = y->slab};
    plan(&p, y, y->blocks, m, &r->limits);
    size_t scratch = 16 * (size_t)r->limits.n_tokens * (size_t)(m->config.n_heads + 1) + (1u << 20);
    int rc = m->ops->reserve(m->ops, scratch, e);
    if (rc < 0)
        nn_run_release(r);
    return rc;
}

void nn_run_release(struct nn_run *r) {
    struct nn_memory *y = r ? r->memory : NULL;
    if (y) {
        y->ops->free(y->ops, y->slab);
        free(y->blocks);
        free(y->host_row);
        free(y->host_target);
        free(y->host_position);
        free(y->host_weight);
        free(y->host_loss);
        free(y);
    }
    if (r)
        *r = (struct nn_run){0};
}
