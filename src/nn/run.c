/* Memory of a run: every buffer's place is computed by one walk over the plan, done twice: once to count, once to place. */
#include "nn/internal.h"
#include <math.h>
#include <stdlib.h>

enum {
    PLACE_ALIGN = 256,
    HEAD_VALUES = 1 << 21,
    MIN_HEAD_ROWS = 16,
    MAX_HEAD_ROWS = 512,
    MIN_HEAD_COLS = 512,
    TILE_VALUES = 1 << 21
};

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

/* Everything that a block may keep. */
static void place_block(struct placer *p, struct nn_activations *a, const struct nn_model *m, int64_t t) {
    const struct model_config *c = &m->config;
    int64_t d = c->d_model, he = (int64_t)c->n_heads * c->head_dim, ke = (int64_t)c->n_kv_heads * c->head_dim;
    int64_t rank = m->lora.rank;
    *a = (struct nn_activations){.x = floats(p, t * d), .mid = floats(p, t * d), .rstd1 = floats(p, t)};
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
    if (c->post_norms) {
        a->att_out = floats(p, t * d);
        a->ffn_out = floats(p, t * d);
        a->att_rstd = floats(p, t);
        a->ffn_rstd = floats(p, t);
    }
    if (rank > 0) {
        a->u_in = floats(p, t * 3 * rank);
        a->u_o = floats(p, t * rank);
        a->u_wide = floats(p, t * 2 * rank);
        a->u_down = floats(p, t * rank);
    }
}

static int lowest_of(const struct nn_model *m, const struct nn_limits *l) {
    return l->plain & NN_PLAIN_INPUT ? 0 : nn_lowest_trained(m);
}

/* Blocks that backward never reaches share all buffers, those that are computed again all but their input. The prefix keeps the
 * keys and values of every block: batches see them. */
static void place_stream(struct placer *p, struct nn_stream *s, const struct nn_model *m,
                         const struct nn_limits *l, bool prefix) {
    const struct model_config *c = &m->config;
    int64_t t = prefix ? l->n_prefix : l->n_tokens, d = c->d_model, n_kv = t * c->n_kv_heads * c->head_dim;
    int end_unreached = l->forward_only ? c->n_layer : lowest_of(m, l);
    int end_shared = end_unreached > l->n_recompute ? end_unreached : l->n_recompute;
    struct nn_activations common = {0};
    if (end_shared > 0)
        place_block(p, &common, m, t);
    for (int i = 0; i < c->n_layer; i++) {
        struct nn_activations a = common;
        if (i >= end_shared)
            place_block(p, &a, m, t);
        else if (i >= end_unreached)
            a.x = floats(p, t * d);
        if (prefix && i < end_shared) {
            a.k = floats(p, n_kv);
            a.v = floats(p, n_kv);
        }
        if (s->blocks)
            s->blocks[i] = a;
    }
    s->token = place(p, t, sizeof(int32_t));
    s->position = place(p, t, sizeof(int32_t));
}

/* `t` rows of the batch or the prefix, whichever is longer. */
static void place_backward(struct placer *p, struct nn_memory *y, const struct nn_model *m, int64_t t,
                           const struct nn_limits *l) {
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
        y->du = floats(p, t * 3 * m->lora.rank);
    y->dxn = floats(p, l->n_targets * d);
    y->dhn = floats(p, l->n_targets * d);
    if (l->n_prefix > 0) {
        y->prefix_dk = floats(p, c->n_layer * l->n_prefix * ke);
        y->prefix_dv = floats(p, c->n_layer * l->n_prefix * ke);
    }
}

static void place_head(struct placer *p, struct nn_memory *y, const struct nn_model *m,
                       const struct nn_limits *l) {
    const struct model_config *c = &m->config;
    int64_t n = l->n_targets, d = c->d_model, he = (int64_t)c->n_heads * c->head_dim;
    y->xn = floats(p, n * d);
    y->hn = floats(p, n * d);
    y->rstdn = floats(p, n);
    y->hs = floats(p, n * d);
    y->qs = floats(p, n * he);
    y->as = floats(p, n * he);
    y->logits = floats(p, l->head_rows * l->head_cols);
    float **rows[] = {&y->lowest, &y->max, &y->sum, &y->shrink, &y->at_target, &y->factor};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        *rows[i] = floats(p, l->head_rows);
    y->row_loss = floats(p, n);
    y->weight = floats(p, n);
    y->row = place(p, n, sizeof(int32_t));
    y->target = place(p, n, sizeof(int32_t));
    y->wanted = place(p, n, sizeof(int32_t));
    y->row_position = place(p, n, sizeof(int32_t));
    if (l->n_others > 0) {
        y->other = place(p, (l->n_others + 1) * n, sizeof(int32_t));
        y->other_weight = floats(p, (l->n_others + 1) * n);
        y->mix = floats(p, n * d);
    }
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* A frozen head goes through the vocabulary in blocks as soon as a block of rows would take more than HEAD_VALUES logits. */
static void head_defaults(const struct nn_model *m, struct nn_limits *l) {
    int64_t v = m->config.n_vocab;
    bool frozen = m->trained != &m->base, whole = !frozen || l->plain & NN_PLAIN_VOCABULARY;
    if (l->head_rows <= 0)
        l->head_rows = whole && !m->packed ? larger(MIN_HEAD_ROWS, smaller(HEAD_VALUES / v, MAX_HEAD_ROWS))
                                           : MAX_HEAD_ROWS;
    l->head_rows = smaller(l->head_rows, l->n_targets);
    if (whole && !m->packed)
        l->head_cols = v;
    else if (l->head_cols <= 0)
        l->head_cols = larger(MIN_HEAD_COLS, HEAD_VALUES / l->head_rows / 64 * 64);
    l->head_cols = smaller(l->head_cols, v);
}

static struct nn_limits with_defaults(const struct nn_model *m, const struct nn_limits *l) {
    struct nn_limits r = *l;
    if (r.n_targets <= 0 || r.n_targets > r.n_tokens || r.plain & NN_PLAIN_LOGITS)
        r.n_targets = r.n_tokens;
    if (r.n_prefix < 0)
        r.n_prefix = 0;
    if (r.n_recompute > m->config.n_layer)
        r.n_recompute = m->config.n_layer;
    head_defaults(m, &r);
    return r;
}

static void plan(struct placer *p, struct nn_memory *y, const struct nn_model *m, const struct nn_limits *l) {
    const struct model_config *c = &m->config;
    int64_t t = larger(l->n_tokens, l->n_prefix), d = c->d_model, widest = larger(d, c->d_ff);
    place_stream(p, &y->batch, m, l, false);
    if (l->n_prefix > 0)
        place_stream(p, &y->prefix, m, l, true);
    y->x = l->forward_only && y->batch.blocks ? y->batch.blocks[0].x
           : l->forward_only                  ? NULL
                                              : floats(p, l->n_tokens * d);
    y->h = floats(p, t * d);
    y->wide = floats(p, t * c->d_ff);
    if (m->packed) {
        y->tile_floats = larger(TILE_VALUES, larger(widest, (int64_t)c->n_heads * c->head_dim));
        y->tile = floats(p, y->tile_floats);
    }
    place_head(p, y, m, l);
    if (!l->forward_only)
        place_backward(p, y, m, t, l);
}

size_t nn_run_bytes(const struct nn_model *m, const struct nn_limits *limits) {
    struct nn_limits l = with_defaults(m, limits);
    struct placer p = {0};
    struct nn_memory y = {0};
    plan(&p, &y, m, &l);
    return p.used_bytes;
}

static int alloc_host(struct nn_memory *y, const struct nn_model *m, const struct nn_limits *l) {
    size_t n = (size_t)l->n_targets;
    y->batch.blocks = calloc((size_t)m->config.n_layer, sizeof *y->batch.blocks);
    y->prefix.blocks = calloc((size_t)m->config.n_layer, sizeof *y->prefix.blocks);
    y->host_row = calloc(n, sizeof *y->host_row);
    y->host_target = calloc(n, sizeof *y->host_target);
    y->host_wanted = calloc(n, sizeof *y->host_wanted);
    y->host_position = calloc(n, sizeof *y->host_position);
    y->host_weight = calloc(n, sizeof *y->host_weight);
    y->host_loss = calloc(n, sizeof *y->host_loss);
    y->host_top = calloc(n, sizeof *y->host_top);
    if (l->n_others > 0) {
        y->host_other = calloc(n * (size_t)(l->n_others + 1), sizeof *y->host_other);
        y->host_other_weight = calloc(n * (size_t)(l->n_others + 1), sizeof *y->host_other_weight);
        y->host_mix = calloc(n * (size_t)m->config.d_model, sizeof *y->host_mix);
        y->host_hn = calloc(n * (size_t)m->config.d_model, sizeof *y->host_hn);
        if (!y->host_other || !y->host_other_weight || !y->host_mix || !y->host_hn)
            return ERR_NO_MEMORY;
    }
    y->host_prefix_position = calloc((size_t)l->n_prefix + 1, sizeof *y->host_prefix_position);
    for (int64_t i = 0; y->host_prefix_position && i < l->n_prefix; i++)
        y->host_prefix_position[i] = (int32_t)i;
    bool ok = y->batch.blocks && y->prefix.blocks && y->host_row && y->host_target && y->host_wanted &&
              y->host_position && y->host_weight && y->host_loss && y->host_top && y->host_prefix_position;
    return ok ? 0 : ERR_NO_MEMORY;
}

/* -INFINITY in every row: what each softmax in blocks begins with. */
static void fill_lowest(struct nn_memory *y, const struct nn_limits *l) {
    const float lowest = -INFINITY;
    for (int64_t i = 0; i < l->head_rows; i++)
        y->ops->upload(y->ops, y->lowest + i, &lowest, sizeof lowest);
}

int nn_run_init(struct nn_run *r, const struct nn_model *m, const struct nn_limits *limits, struct err *e) {
    *r = (struct nn_run){0};
    if (limits->n_tokens <= 0)
        return err_set(e, ERR_INPUT, "nn_run_init", "a run for %lld tokens", (long long)limits->n_tokens);
    *r = (struct nn_run){.limits = with_defaults(m, limits), .slab_bytes = nn_run_bytes(m, limits)};
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
    plan(&p, y, m, &r->limits);
    fill_lowest(y, &r->limits);
    size_t scratch =
        16 * (size_t)larger(r->limits.n_tokens, r->limits.n_prefix) * (size_t)(m->config.n_heads + 1) +
        (1u << 20);
    int rc = m->ops->reserve(m->ops, scratch, e);
    if (rc < 0)
        nn_run_release(r);
    return rc;
}

void nn_run_release(struct nn_run *r) {
    struct nn_memory *y = r ? r->memory : NULL;
    if (y) {
        y->ops->free(y->ops, y->slab);
        free(y->batch.blocks);
        free(y->prefix.blocks);
        free(y->host_row);
        free(y->host_target);
        free(y->host_wanted);
        free(y->host_prefix_position);
        free(y->host_position);
        free(y->host_weight);
        free(y->host_other);
        free(y->host_other_weight);
        free(y->host_mix);
        free(y->host_hn);
        free(y->host_loss);
        free(y->host_top);
        free(y);
    }
    if (r)
        *r = (struct nn_run){0};
}
