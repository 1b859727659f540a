/* Weights: the table of tensors that a configuration implies, their slabs, first values, adapters, merging. */
#include "nn/internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* kind, name within a block (or of the file), rows, cols, is it a matrix (decays, drawn at random), per block */
#define TENSORS(X)                                                                                           \
    X(EMBED, "token_embd.weight", c->n_vocab, c->d_model, true, false)                                       \
    X(HEAD, "output.weight", c->n_vocab, c->d_model, true, false)                                            \
    X(Q, "attn_q.weight", c->n_heads * c->head_dim, c->d_model, true, true)                                  \
    X(K, "attn_k.weight", c->n_kv_heads * c->head_dim, c->d_model, true, true)                               \
    X(V, "attn_v.weight", c->n_kv_heads * c->head_dim, c->d_model, true, true)                               \
    X(O, "attn_output.weight", c->d_model, c->n_heads * c->head_dim, true, true)                             \
    X(GATE, "ffn_gate.weight", c->d_ff, c->d_model, true, true)                                              \
    X(UP, "ffn_up.weight", c->d_ff, c->d_model, true, true)                                                  \
    X(DOWN, "ffn_down.weight", c->d_model, c->d_ff, true, true)                                              \
    X(Q_BIAS, "attn_q.bias", 1, c->n_heads * c->head_dim, false, true)                                       \
    X(K_BIAS, "attn_k.bias", 1, c->n_kv_heads * c->head_dim, false, true)                                    \
    X(V_BIAS, "attn_v.bias", 1, c->n_kv_heads * c->head_dim, false, true)                                    \
    X(ATTN_NORM, "attn_norm.weight", 1, c->d_model, false, true)                                             \
    X(FFN_NORM, "ffn_norm.weight", 1, c->d_model, false, true)                                               \
    X(Q_NORM, "attn_q_norm.weight", 1, c->head_dim, false, true)                                             \
    X(K_NORM, "attn_k_norm.weight", 1, c->head_dim, false, true)                                             \
    X(ATTN_POST, "post_attention_norm.weight", 1, c->d_model, false, true)                                   \
    X(FFN_POST, "post_ffw_norm.weight", 1, c->d_model, false, true)                                          \
    X(FINAL_NORM, "output_norm.weight", 1, c->d_model, false, false)

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
    switch (kind) {
    case NN_HEAD:
        return !c->tied_head;
    case NN_Q_NORM:
    case NN_K_NORM:
        return c->qk_norm;
    case NN_Q_BIAS:
    case NN_K_BIAS:
    case NN_V_BIAS:
        return c->qkv_bias;
    case NN_ATTN_POST:
    case NN_FFN_POST:
        return c->post_norms;
    default:
        return true;
    }
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
    if ((int64_t)c->n_heads * c->head_dim > 1 << 24)
        return err_set(e, ERR_UNSUPPORTED, "nn_config_check", "model shape: %d heads of %d", c->n_heads,
                       c->head_dim);
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

void nn_set_add(struct nn_set *s, const struct nn_tensor *t, bool in_slab) {
    s->tensors[s->n_tensors] = *t;
    s->tensors[s->n_tensors++].offset = in_slab ? s->n_values : 0;
    s->n_params += t->rows * t->cols;
    s->n_values += in_slab ? nn_padded(t->rows * t->cols) : 0;
}

static void set_release(struct nn_set *s, const struct ops *ops) {
    if (ops) {
        ops->free(ops, s->value);
        ops->free(ops, s->gradient);
    }
    free(s->tensors);
    *s = (struct nn_set){0};
}

int nn_set_alloc(struct nn_set *s, const struct ops *ops, bool gradient, struct err *e) {
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
    for (int64_t i = 0; t->packed.data && i < t->rows; i++)
        t->packed.widen((const char *)t->packed.data + i * t->packed.row_bytes, values + i * t->cols,
                        t->cols);
    if (t->packed.data)
        return;
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
                    snprintf(t.name, sizeof t.name, "blk.%d.%s", layer, k.name);
                else
                    snprintf(t.name, sizeof t.name, "%s", k.name);
                m->index[(layer + 1) * NN_KINDS + kind] = m->base.n_tensors;
                nn_set_add(&m->base, &t, !m->packed || !k.matrix);
            }
        if (pass == 0)
            m->base.n_decayed = m->base.n_values;
    }
    return nn_set_alloc(&m->base, m->ops, false, e);
}

static float *rope_table(struct nn_model *m, double base, bool factors) {
    const struct model_config *c = &m->config;
    int half = c->head_dim / 2;
    float freq[MODEL_MAX_HALF_HEAD];
    for (int i = 0; i < half; i++) {
        double theta = pow(base, -2.0 * i / c->head_dim);
        freq[i] = (float)(factors ? theta / (double)c->rope_factors[i] : theta);
    }
    float *table = m->ops->alloc(m->ops, (size_t)half * sizeof *freq);
    if (table)
        m->ops->upload(m->ops, table, freq, (size_t)half * sizeof *freq);
    return table;
}

static int build_rope(struct nn_model *m, struct err *e) {
    const struct model_config *c = &m->config;
    m->rope_freq = rope_table(m, (double)c->rope_theta, c->has_rope_factors);
    if (c->local_theta > 0)
        m->rope_freq_local = rope_table(m, (double)c->local_theta, false);
    bool ok = m->rope_freq && (m->rope_freq_local || !(c->local_theta > 0));
    return ok ? 0 : err_set(e, ERR_NO_MEMORY, "nn_model_init", "no room for the rotary frequencies");
}

static int init(struct nn_model *m, const struct model_config *c, const struct ops *ops, bool packed,
                struct err *e) {
    *m = (struct nn_model){.config = *c, .ops = ops, .packed = packed};
    int rc = nn_config_check(c, e);
    if (rc == 0)
        rc = build_base(m, e);
    if (rc == 0)
        rc = build_rope(m, e);
    if (rc < 0)
        nn_model_release(m);
    return rc;
}

int nn_model_init(struct nn_model *m, const struct model_config *c, const struct ops *ops, struct err *e) {
    return init(m, c, ops, false, e);
}

int nn_model_init_packed(struct nn_model *m, const struct model_config *c, const struct ops *ops,
                         struct err *e) {
    return init(m, c, ops, true, e);
}

void nn_tensor_pack(struct nn_tensor *t, const struct packed_matrix *p) {
    t->packed = *p;
}

void nn_model_release(struct nn_model *m) {
    if (!m)
        return;
    set_release(&m->base, m->ops);
    set_release(&m->adapter, m->ops);
    if (m->ops) {
        m->ops->free(m->ops, m->rope_freq);
        m->ops->free(m->ops, m->rope_freq_local);
        m->ops->free(m->ops, m->storage);
    }
    free(m->index);
    *m = (struct nn_model){0};
}

/* A stream of random numbers that belongs to the tensor's name: adding a tensor elsewhere does not shift it. */
struct rng nn_rng_of(uint64_t seed, const char *name) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    struct rng r;
    rng_seed(&r, seed ^ h);
    return r;
}

static float first_value(const struct nn_model *m, const struct nn_tensor *t, struct rng *rng) {
    if (t->rows == 1)
        return t->kind == NN_Q_BIAS || t->kind == NN_K_BIAS || t->kind == NN_V_BIAS ? 0 : 1;
    bool into_residual = t->kind == NN_O || t->kind == NN_DOWN;
    return (float)(0.02 * rng_normal(rng) / (into_residual ? sqrt(2.0 * m->config.n_layer) : 1.0));
}

int nn_model_randomise(struct nn_model *m, struct rng *rng, struct err *e) {
    uint64_t seed = rng_u64(rng);
    for (int i = 0; i < m->base.n_tensors && !m->packed; i++) {
        const struct nn_tensor *t = &m->base.tensors[i];
        int64_t n = t->rows * t->cols;
        float *values = malloc((size_t)n * sizeof *values);
        if (!values)
            return err_set(e, ERR_NO_MEMORY, "nn_model_randomise", "no room for %s", t->name);
        struct rng own = nn_rng_of(seed, t->name);
        for (int64_t j = 0; j < n; j++)
            values[j] = first_value(m, t, &own);
        nn_set_write(m, &m->base, t, values);
        free(values);
    }
    return 0;
}

int nn_model_train_all(struct nn_model *m, struct err *e) {
    if (m->packed)
        return err_set(e, ERR_INPUT, "nn_model_train_all", "weights that stay packed cannot be trained");
    int rc = nn_set_alloc(&m->base, m->ops, true, e);
    if (rc == 0)
        m->trained = &m->base;
    return rc;
}

void nn_model_freeze(struct nn_model *m) {
    m->trained = &m->adapter; /* empty without LoRA */
}

void nn_zero_gradients(struct nn_model *m) {
    if (m->trained && m->trained->gradient)
        m->ops->zero(m->ops, m->trained->gradient, (size_t)m->trained->n_values * sizeof(float));
}
