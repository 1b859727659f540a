/* Weights: the table of tensors that a configuration implies, their slabs, first values, adapters, merging. */
#include "nn/transformer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLAB_ALIGN = 16 /* floats: 64 bytes */ };

/* kind, name within a block (or of the file), rows, cols, is it a matrix (decays, drawn at random), per block */
#define TENSORS(X)                                                                                           \
    X(EMBED, "token_embd", c->n_vocab, c->d_model, true, false)                                              \
    X(HEAD, "output", c->n_vocab, c->d_model, true, false)                                                   \
    X(Q, "attn_q", c->n_heads * c->head_dim, c->d_model, true, true)                                         \
    X(K, "attn_k", c->n_kv_heads * c->head_dim, c->d_model, true, true)                                      \
    X(V, "attn_v", c->n_kv_heads * c->head_dim, c->d_model, true, true)                                      \
    X(O, "attn_output", c->d_model, c->n_heads * c->head_dim, true, true)                                    \
    X(GATE, "ffn_gate", c->d_ff, c->d_model, true, true)                                                     \
    X(UP, "ffn_up", c->d_ff, c->d_model, true, true)                                                         \
    X(DOWN, "ffn_down", c->d_model, c->d_ff, true, true)                                                     \
    X(ATTN_NORM, "attn_norm", 1, c->d_model, false, true)                                                    \
    X(FFN_NORM, "ffn_norm", 1, c->d_model, false, true)                                                      \
    X(Q_NORM, "attn_q_norm", 1, c->head_dim, false, true)                                                    \
    X(K_NORM, "attn_k_norm", 1, c->head_dim, false, true)                                                    \
    X(FINAL_NORM, "output_norm", 1, c->d_model, false, false)

struct kind_info {
    const char *name;
    int64_t rows, cols;
    bool matrix, per_block;
};

static struct kind_info kind_info(const struct model_config *c, enum nn_kind kind) {
    switch (kind) {
#define X(id, text, n_rows, n_cols, is_matrix, in_block)                                                     \
    case NN_##id:                                                                                            \
        return (struct kind_info){text, n_rows, n_cols, is_matrix, in_block};
        TENSORS(X)
#undef X
    case NN_KINDS:
        break;
    }
    return (struct kind_info){0};
}

static bool kind_present(const struct model_config *c, enum nn_kind kind) {
    if (kind == NN_HEAD)
        return !c->tied_head;
    return (kind != NN_Q_NORM && kind != NN_K_NORM) || c->qk_norm;
}

int nn_config_check(const struct model_config *c, struct err *e) {
    const struct {
        const char *name;
        int64_t value;
    } positive[] = {{"n_layer", c->n_layer},       {"d_model", c->d_model},   {"n_heads", c->n_heads},
                    {"n_kv_heads", c->n_kv_heads}, {"head_dim", c->head_dim}, {"d_ff", c->d_ff},
                    {"n_vocab", c->n_vocab},       {"n_ctx", c->n_ctx}};
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (positive[i].value <= 0 || positive[i].value > (1 << 24))
            return err_set(e, ERR_UNSUPPORTED, "nn_config_check", "model shape: %s is %lld", positive[i].name,
                           (long long)positive[i].value);
    if (c->n_heads % c->n_kv_heads != 0)
        return err_set(e, ERR_UNSUPPORTED, "nn_config_check",
                       "%d query heads do not divide among %d key-value heads", c->n_heads, c->n_kv_heads);
    if (c->head_dim % 2 != 0 || c->head_dim / 2 > MODEL_MAX_HALF_HEAD)
        return err_set(e, ERR_UNSUPPORTED, "nn_config_check", "head width %d is odd or over %d", c->head_dim,
                       2 * MODEL_MAX_HALF_HEAD);
    if (!(c->rope_theta > 0) || !(c->norm_eps > 0))
        return err_set(e, ERR_UNSUPPORTED, "nn_config_check",
                       "rope_theta %g and norm_eps %g must be positive", (double)c->rope_theta,
                       (double)c->norm_eps);
    return 0;
}

/* ---- sets ---- */

static void set_add(struct nn_set *s, const struct nn_tensor *t) {
    s->tensors[s->n_tensors] = *t;
    s->tensors[s->n_tensors++].offset = s->n_values;
    s->n_params += t->rows * t->cols;
    s->n_values += (t->rows * t->cols + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
}

static void set_release(struct nn_set *s, const struct ops *ops) {
    if (ops) {
        ops->free(ops, s->value);
        ops->free(ops, s->gradient);
    }
    free(s->tensors);
    *s = (struct nn_set){0};
}

static int set_alloc(struct nn_set *s, const struct ops *ops, bool gradient, struct err *e) {
    size_t bytes = (size_t)s->n_values * sizeof(float);
    float **slab = gradient ? &s->gradient : &s->value;
    if (!*slab && !(*slab = ops->alloc(ops, bytes)))
        return err_set(e, ERR_NO_MEMORY, "nn_model", "no room for %.1f MB of %s", (double)bytes / 1e6,
                       gradient ? "gradients" : "weights");
    return 0;
}

struct nn_tensor *nn_set_find(const struct nn_set *s, const char *name) {
    for (int i = 0; i < s->n_tensors; i++)
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    return NULL;
}

void nn_set_write(struct nn_model *m, struct nn_set *s, const struct nn_tensor *t, const float *values) {
    m->ops->upload(m->ops, s->value + t->offset, values, (size_t)(t->rows * t->cols) * sizeof *values);
}

void nn_set_read(const struct nn_model *m, const struct nn_set *s, const struct nn_tensor *t, float *values) {
    m->ops->download(m->ops, values, s->value + t->offset, (size_t)(t->rows * t->cols) * sizeof *values);
}

/* ---- the model ---- */

/* Matrices first, then norms, so that weight decay is one range of the slab. */
static int build_base(struct nn_model *m, struct err *e) {
    const struct model_config *c = &m->config;
    int n_slots = (c->n_layer + 1) * NN_KINDS;
    m->base.tensors = calloc((size_t)n_slots, sizeof *m->base.tensors);
    m->index = malloc((size_t)n_slots * sizeof *m->index);
    if (!m->base.tensors || !m->index)
        return err_set(e, ERR_NO_MEMORY, "nn_model_init", "no room for the table of tensors");
    for (int i = 0; i < n_slots; i++)
        m->index[i] = -1;
    for (int pass = 0; pass < 2; pass++) {
        for (int layer = -1; layer < c->n_layer; layer++)
            for (int kind = 0; kind < NN_KINDS; kind++) {
                struct kind_info k = kind_info(c, (enum nn_kind)kind);
                if (k.matrix != (pass == 0) || k.per_block != (layer >= 0) ||
                    !kind_present(c, (enum nn_kind)kind))
                    continue;
                struct nn_tensor t = {.kind = (enum nn_kind)kind,
                                      .layer = layer,
                                      .rows = k.rows,
                                      .cols = k.cols,
                                      .adapter = -1};
                if (layer >= 0)
                    snprintf(t.name, sizeof t.name, "blk.%d.%s.weight", layer, k.name);
                else
                    snprintf(t.name, sizeof t.name, "%s.weight", k.name);
                m->index[(layer + 1) * NN_KINDS + kind] = m->base.n_tensors;
                set_add(&m->base, &t);
            }
        if (pass == 0)
            m->base.n_decayed = m->base.n_values;
    }
    return set_alloc(&m->base, m->ops, false, e);
}

static int build_rope(struct nn_model *m, struct err *e) {
    const struct model_config *c = &m->config;
    int half = c->head_dim / 2;
    float freq[MODEL_MAX_HALF_HEAD];
    for (int i = 0; i < half; i++) {
        double theta = pow((double)c->rope_theta, -2.0 * i / c->head_dim);
        freq[i] = (float)(c->has_rope_factors ? theta / (double)c->rope_factors[i] : theta);
    }
    m->rope_freq = m->ops->alloc(m->ops, (size_t)half * sizeof *freq);
    if (!m->rope_freq)
        return err_set(e, ERR_NO_MEMORY, "nn_model_init", "no room for the rotary frequencies");
    m->ops->upload(m->ops, m->rope_freq, freq, (size_t)half * sizeof *freq);
    return 0;
}

int nn_model_init(struct nn_model *m, const struct model_config *c, const struct ops *ops, struct err *e) {
    *m = (struct nn_model){.config = *c, .ops = ops};
    int rc = nn_config_check(c, e);
    if (rc == 0)
        rc = build_base(m, e);
    if (rc == 0)
        rc = build_rope(m, e);
    if (rc < 0)
        nn_model_release(m);
    return rc;
}

void nn_model_release(struct nn_model *m) {
    if (!m)
        return;
    set_release(&m->base, m->ops);
    set_release(&m->adapter, m->ops);
    if (m->ops)
        m->ops->free(m->ops, m->rope_freq);
    free(m->index);
    *m = (struct nn_model){0};
}

/* A stream of random numbers that belongs to the tensor's name: adding a tensor elsewhere does not shift it. */
static struct rng rng_of(uint64_t seed, const char *name) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    struct rng r;
    rng_seed(&r, seed ^ h);
    return r;
}

static float first_value(const struct nn_model *m, const struct nn_tensor *t, struct rng *rng) {
    if (t->rows == 1)
        return 1;
    bool into_residual = t->kind == NN_O || t->kind == NN_DOWN;
    return (float)(0.02 * rng_normal(rng) / (into_residual ? sqrt(2.0 * m->config.n_layer) : 1.0));
}

int nn_model_randomise(struct nn_model *m, struct rng *rng, struct err *e) {
    uint64_t seed = rng_u64(rng);
    for (int i = 0; i < m->base.n_tensors; i++) {
        const struct nn_tensor *t = &m->base.tensors[i];
        int64_t n = t->rows * t->cols;
        float *values = malloc((size_t)n * sizeof *values);
        if (!values)
            return err_set(e, ERR_NO_MEMORY, "nn_model_randomise", "no room for %s", t->name);
        struct rng own = rng_of(seed, t->name);
        for (int64_t j = 0; j < n; j++)
            values[j] = first_value(m, t, &own);
        nn_set_write(m, &m->base, t, values);
        free(values);
    }
    return 0;
}

int nn_model_train_all(struct nn_model *m, struct err *e) {
    int rc = set_alloc(&m->base, m->ops, true, e);
    if (rc == 0)
        m->trained = &m->base;
    return rc;
}

void nn_zero_gradients(struct nn_model *m) {
    if (m->trained)
        m->ops->zero(m->ops, m->trained->gradient, (size_t)m->trained->n_values * sizeof(float));
}

/* ---- adapters ---- */

static bool is_adapted(const struct nn_tensor *t) {
    return t->layer >= 0 && t->rows > 1;
}

/* "blk.0.attn_q.weight.lora_a", as llama.cpp looks for it. */
static void add_pair(struct nn_set *s, struct nn_tensor *base, int rank) {
    struct nn_tensor a = *base, b = *base;
    base->adapter = s->n_tensors;
    a.rows = b.cols = rank;
    snprintf(a.name, sizeof a.name, "%.40s.lora_a", base->name);
    snprintf(b.name, sizeof b.name, "%.40s.lora_b", base->name);
    set_add(s, &a);
    set_add(s, &b);
}

int nn_model_add_lora(struct nn_model *m, const struct nn_lora *lora, struct rng *rng, struct err *e) {
    if (lora->rank <= 0 || lora->rank > 1024 || !(lora->alpha > 0))
        return err_set(e, ERR_INPUT, "nn_model_add_lora",
                       "LoRA rank %d and alpha %g must be positive, rank at most 1024", lora->rank,
                       (double)lora->alpha);
    uint64_t seed = rng_u64(rng);
    m->lora = *lora;
    m->adapter.tensors = calloc((size_t)m->base.n_tensors * 2, sizeof *m->adapter.tensors);
    if (!m->adapter.tensors)
        return err_set(e, ERR_NO_MEMORY, "nn_model_add_lora", "no room for the table of adapters");
    for (int i = 0; i < m->base.n_tensors; i++)
        if (is_adapted(&m->base.tensors[i]))
            add_pair(&m->adapter, &m->base.tensors[i], lora->rank);
    m->adapter.n_decayed = m->adapter.n_values;
    int rc = set_alloc(&m->adapter, m->ops, false, e);
    if (rc == 0)
        rc = set_alloc(&m->adapter, m->ops, true, e);
    for (int i = 0; rc == 0 && i < m->adapter.n_tensors; i += 2) {
        const struct nn_tensor *a = &m->adapter.tensors[i];
        float *values = malloc((size_t)(a->rows * a->cols) * sizeof *values);
        if (!values)
            return err_set(e, ERR_NO_MEMORY, "nn_model_add_lora", "no room for %s", a->name);
        struct rng own = rng_of(seed, a->name);
        double bound = 1 / sqrt((double)a->cols);
        for (int64_t j = 0; j < a->rows * a->cols; j++)
            values[j] = (float)(bound * (2 * rng_double(&own) - 1));
        nn_set_write(m, &m->adapter, a, values);
        free(values);
    }
    if (rc == 0)
        m->trained = &m->adapter;
    return rc;
}

int nn_model_merged(const struct nn_model *m, const struct nn_tensor *t, float *values, struct err *e) {
    nn_set_read(m, &m->base, t, values);
    if (t->adapter < 0)
        return 0;
    const struct nn_tensor *a = &m->adapter.tensors[t->adapter], *b = a + 1;
    float *av = malloc((size_t)(a->rows * a->cols) * sizeof *av),
          *bv = malloc((size_t)(b->rows * b->cols) * sizeof *bv);
    if (!av || !bv) {
        free(av);
        free(bv);
        return err_set(e, ERR_NO_MEMORY, "nn_model_merged", "no room to merge %s", t->name);
    }
    nn_set_read(m, &m->adapter, a, av);
    nn_set_read(m, &m->adapter, b, bv);
    float scale = m->lora.alpha / (float)m->lora.rank;
    for (int64_t o = 0; o < t->rows; o++)
        for (int64_t r = 0; r < b->cols; r++) {
            float factor = scale * bv[o * b->cols + r];
            for (int64_t i = 0; i < t->cols; i++)
                values[o * t->cols + i] += factor * av[r * t->cols + i];
        }
    free(av);
    free(bv);
    return 0;
}
