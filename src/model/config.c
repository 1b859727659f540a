/* From metadata to a shape that the layers understand, refusing what they would get wrong. */
#include "model/arch.h"
#include "model/file.h"
#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of one file, read one after the other: the first error stays. */
struct keys {
    struct model_file *f;
    const struct gguf_context *gguf;
    const char *arch;
    struct err *e;
    int rc;
};

static int64_t find(const struct keys *k, const char *name, char full[160]) {
    snprintf(full, 160, "%s.%s", k->arch, name);
    return gguf_find_key(k->gguf, full);
}

static void unsupported(struct keys *k, const char *what, const char *name) {
    if (k->rc < 0)
        return;
    k->rc = err_set(k->e, ERR_UNSUPPORTED, "model_file_config", "%s: %s %s cannot be trained",
                    model_file_path(k->f), what, name);
    err_hint(k->e, "choose another base: edgestill models lists those that work (architectures: %s)",
             model_arch_names());
}

static bool number_at(const struct gguf_context *g, int64_t at, double *out) {
    switch (gguf_get_kv_type(g, at)) {
    case GGUF_TYPE_UINT32:
        *out = gguf_get_val_u32(g, at);
        return true;
    case GGUF_TYPE_INT32:
        *out = gguf_get_val_i32(g, at);
        return true;
    case GGUF_TYPE_UINT64:
        *out = (double)gguf_get_val_u64(g, at);
        return true;
    case GGUF_TYPE_UINT16:
        *out = gguf_get_val_u16(g, at);
        return true;
    case GGUF_TYPE_FLOAT32:
        *out = (double)gguf_get_val_f32(g, at);
        return true;
    case GGUF_TYPE_FLOAT64:
        *out = gguf_get_val_f64(g, at);
        return true;
    default:
        return false; /* one value a layer, say: not an architecture of ours */
    }
}

/* `absent` < 0: the key must be there. */
static double number(struct keys *k, const char *name, double absent) {
    char full[160];
    double value = absent;
    int64_t at = find(k, name, full);
    if (at < 0 && absent < 0 && k->rc == 0)
        k->rc = err_set(k->e, ERR_FORMAT, "model_file_config", "%s has no %s", model_file_path(k->f), full);
    else if (at >= 0 && !number_at(k->gguf, at, &value))
        unsupported(k, "a list in", full);
    return value;
}

static int count(struct keys *k, const char *name, double absent) {
    double value = number(k, name, absent);
    if (k->rc == 0 && !(value >= 1 && value <= (1 << 24) && value == (double)(int)value))
        k->rc = err_set(k->e, ERR_FORMAT, "model_file_config", "%s: %s.%s is %g", model_file_path(k->f),
                        k->arch, name, value);
    return k->rc == 0 ? (int)value : 1;
}

static void refuse_variants(struct keys *k, const struct model_config *c) {
    char full[160];
    if (number(k, "expert_count", 0) > 0)
        unsupported(k, "a mixture of experts,", "expert_count > 0,");
    if (number(k, "rope.dimension_count", c->head_dim) != c->head_dim)
        unsupported(k, "a rotation of part of each head,", "rope.dimension_count,");
    if (number(k, "attention.value_length", c->head_dim) != c->head_dim)
        unsupported(k, "a value width of its own,", "attention.value_length,");
    int64_t at = find(k, "rope.scaling.type", full);
    bool typed = at >= 0 && gguf_get_kv_type(k->gguf, at) == GGUF_TYPE_STRING;
    if (typed && strcmp(gguf_get_val_str(k->gguf, at), "none") != 0)
        unsupported(k, "a scaled rotation,", "rope.scaling.type,");
    /* without a type llama.cpp takes a factor as linear; 0 and 1 are none */
    double factor = number(k, "rope.scaling.factor", number(k, "rope.scale_linear", 0));
    if (!typed && factor != 0 && factor != 1)
        unsupported(k, "a scaled rotation,", "rope.scaling.factor,");
}

/* What a file may say of gemma's kind of model that the layers do not do. */
static void refuse_scalings(struct keys *k, const struct model_arch *arch) {
    if (number(k, "attn_logit_softcapping", 0) > 0 || number(k, "final_logit_softcapping", 0) > 0)
        unsupported(k, "soft-capped logits,", "softcapping,");
    if (arch->window_every > 0 &&
        number(k, "attention.sliding_window_pattern", arch->window_every) != arch->window_every)
        unsupported(k, "another pattern of windows,", "attention.sliding_window_pattern,");
}

static void read_window(struct keys *k, const struct model_arch *arch, struct model_config *c) {
    double window = arch->window_every > 0 ? number(k, "attention.sliding_window", 0) : 0;
    /* one that no prompt exceeds limits nothing, but its blocks still turn positions as windowed ones do */
    c->window = window >= 1 ? (int)fmin(window, c->n_ctx) : 0;
    c->window_every = c->window > 0 ? arch->window_every : 0;
    if (c->window > 0)
        c->local_theta = (float)number(k, "rope.freq_base_swa", (double)arch->local_theta);
    else if (arch->window_every > 0)
        unsupported(k, "a model without", "attention.sliding_window");
}

static void read_shape(struct keys *k, const struct model_arch *arch, struct model_config *c) {
    c->n_layer = count(k, "block_count", -1);
    c->d_model = count(k, "embedding_length", -1);
    c->n_heads = count(k, "attention.head_count", -1);
    c->n_kv_heads = count(k, "attention.head_count_kv", c->n_heads);
    c->head_dim = count(k, "attention.key_length", (double)(c->d_model / c->n_heads));
    c->d_ff = count(k, "feed_forward_length", -1);
    c->n_ctx = count(k, "context_length", -1);
    c->rope_theta = (float)number(k, "rope.freq_base", 10000);
    c->norm_eps = (float)number(k, "attention.layer_norm_rms_epsilon", -1);
    c->rope_halves = arch->rope_halves;
    c->qk_norm = arch->qk_norm;
    c->qkv_bias = arch->qkv_bias;
    c->post_norms = arch->post_norms;
    c->gelu = arch->gelu;
    c->embed_scale = arch->scaled_embedding ? sqrtf((float)c->d_model) : 0;
    read_window(k, arch, c);
    refuse_scalings(k, arch);
    refuse_variants(k, c);
}

/* ---- tensors ---- */

/* A known tensor's shape: name within a block or of the file, rows, cols, whether it stands in each block. */
struct expected {
    const char *name;
    int64_t rows, cols;
    bool per_block, present;
};

enum { N_EXPECTED = 19 };

static void expect(const struct model_config *c, struct expected x[N_EXPECTED]) {
    int64_t d = c->d_model, q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct expected all[N_EXPECTED] = {{"token_embd.weight", c->n_vocab, d, false, true},
                                             {"output.weight", c->n_vocab, d, false, !c->tied_head},
                                             {"output_norm.weight", 1, d, false, true},
                                             {"attn_norm.weight", 1, d, true, true},
                                             {"attn_q.weight", q, d, true, true},
                                             {"attn_k.weight", kv, d, true, true},
                                             {"attn_v.weight", kv, d, true, true},
                                             {"attn_q.bias", 1, q, true, c->qkv_bias},
                                             {"attn_k.bias", 1, kv, true, c->qkv_bias},
                                             {"attn_v.bias", 1, kv, true, c->qkv_bias},
                                             {"attn_output.weight", d, q, true, true},
                                             {"post_attention_norm.weight", 1, d, true, c->post_norms},
                                             {"ffn_norm.weight", 1, d, true, true},
                                             {"ffn_gate.weight", c->d_ff, d, true, true},
                                             {"ffn_up.weight", c->d_ff, d, true, true},
                                             {"ffn_down.weight", d, c->d_ff, true, true},
                                             {"post_ffw_norm.weight", 1, d, true, c->post_norms},
                                             {"attn_q_norm.weight", 1, c->head_dim, true, c->qk_norm},
                                             {"attn_k_norm.weight", 1, c->head_dim, true, c->qk_norm}};
    memcpy(x, all, sizeof all);
}

static void check_tensor(struct keys *k, const char *name, int64_t rows, int64_t cols) {
    int64_t at = model_file_find(k->f, name);
    if (k->rc < 0)
        return;
    if (at < 0) {
        k->rc = err_set(k->e, ERR_FORMAT, "model_file_config", "%s has no tensor %s", model_file_path(k->f),
                        name);
        return;
    }
    struct model_tensor t = model_file_tensor(k->f, at);
    if (t.rows != rows || t.cols != cols)
        k->rc = err_set(k->e, ERR_FORMAT, "model_file_config",
                        "%s: %s is %lld x %lld where its metadata say %lld x %lld", model_file_path(k->f),
                        name, (long long)t.rows, (long long)t.cols, (long long)rows, (long long)cols);
}

/* All that is needed is there; all that is there is needed: a bias that nobody adds would ruin the model silently. */
static void check_tensors(struct keys *k, const struct model_config *c) {
    struct expected x[N_EXPECTED];
    int64_t n_known = model_file_find(k->f, "rope_freqs.weight") >= 0;
    expect(c, x);
    for (int i = 0; i < N_EXPECTED; i++)
        for (int layer = 0; x[i].present && layer < (x[i].per_block ? c->n_layer : 1); layer++, n_known++) {
            char name[96];
            if (x[i].per_block)
                snprintf(name, sizeof name, "blk.%d.%s", layer, x[i].name);
            else
                snprintf(name, sizeof name, "%s", x[i].name);
            check_tensor(k, name, x[i].rows, x[i].cols);
        }
    if (k->rc < 0 || n_known == model_file_n_tensors(k->f))
        return;
    for (int64_t i = 0; i < model_file_n_tensors(k->f); i++) {
        const char *name = model_file_tensor(k->f, i).name;
        bool known = strcmp(name, "rope_freqs.weight") == 0;
        for (int j = 0; j < N_EXPECTED && !known; j++) {
            const char *core = x[j].per_block && strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
            known = x[j].present && strcmp(core ? core + 1 : name, x[j].name) == 0;
        }
        if (!known) {
            unsupported(k, "a model with the tensor", name);
            return;
        }
    }
    unsupported(k, "a model with tensors outside its", "block_count");
}

static void read_factors(struct keys *k, struct model_config *c) {
    int64_t at = model_file_find(k->f, "rope_freqs.weight");
    if (at < 0 || k->rc < 0)
        return;
    int64_t half = c->head_dim / 2;
    if (half > MODEL_MAX_HALF_HEAD) {
        unsupported(k, "a model with heads as wide as those of", model_file_path(k->f));
        return;
    }
    k->rc = model_file_read(k->f, "rope_freqs.weight", c->rope_factors, half, k->e);
    c->has_rope_factors = true;
    for (int64_t i = 0; i < half && k->rc == 0; i++)
        if (!(c->rope_factors[i] > 0))
            k->rc = err_set(k->e, ERR_FORMAT, "model_file_config", "%s: rope_freqs.weight holds %g",
                            model_file_path(k->f), (double)c->rope_factors[i]);
}

int model_file_config(struct model_file *f, struct model_config *out, struct err *e) {
    struct keys k = {.f = f, .gguf = model_file_gguf(f), .arch = model_file_arch(f), .e = e};
    const struct model_arch *arch = model_arch_find(k.arch);
    struct model_config c = {0};
    if (!arch) {
        unsupported(&k, "the architecture", *k.arch ? k.arch : "(none given)");
        return k.rc;
    }
    read_shape(&k, arch, &c);
    int64_t embed = model_file_find(f, "token_embd.weight");
    if (embed < 0 && k.rc == 0)
        k.rc = err_set(e, ERR_FORMAT, "model_file_config", "%s has no tensor token_embd.weight",
                       model_file_path(f));
    if (k.rc < 0)
        return k.rc;
    int64_t n_vocab = model_file_tensor(f, embed).rows;
    c.n_vocab = n_vocab > 0 && n_vocab <= (1 << 24) ? (int)n_vocab : 0;
    c.tied_head = model_file_find(f, "output.weight") < 0;
    check_tensors(&k, &c);
    read_factors(&k, &c);
    if (k.rc == 0)
        *out = c;
    return k.rc;
}
