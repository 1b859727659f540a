/* Shapes: the tensor list of the llama family and where the dimensions come from. */
#include "plan/shape.h"

#include "base/file.h"
#include "base/str.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PER_LAYER = 8 }; /* seven matrices and the layer's vectors counted as one */

static int64_t layer_vector_values(const struct shape *s) {
    int64_t n = 2 * (int64_t)s->n_embd;
    if (s->post_norms)
        n += 2 * (int64_t)s->n_embd;
    if (s->qk_norm)
        n += 2 * (int64_t)s->head_dim;
    if (s->qkv_bias)
        n += (int64_t)s->head_dim * (s->n_head + 2 * s->n_head_kv);
    return n;
}

bool shape_tensor(const struct shape *s, int64_t i, struct shape_tensor *out) {
    int64_t q = (int64_t)s->n_head * s->head_dim, kv = (int64_t)s->n_head_kv * s->head_dim;
    int64_t d = s->n_embd, f = s->n_ff, in_blocks = (int64_t)s->n_layer * PER_LAYER;
    if (i < 0 || i > in_blocks + 2 || (s->tied && i == in_blocks + 2))
        return false;
    if (i == 0) {
        *out = (struct shape_tensor){SHAPE_EMBED, -1, s->n_vocab, d};
        return true;
    }
    if (i == in_blocks + 1) {
        *out = (struct shape_tensor){SHAPE_VECTOR, -1, 1, d};
        return true;
    }
    if (i == in_blocks + 2) {
        *out = (struct shape_tensor){SHAPE_HEAD, -1, s->n_vocab, d};
        return true;
    }
    const struct shape_tensor block[PER_LAYER] = {
        {SHAPE_ATTN_Q, 0, q, d},   {SHAPE_ATTN_K, 0, kv, d},
        {SHAPE_ATTN_V, 0, kv, d},  {SHAPE_ATTN_OUT, 0, d, q},
        {SHAPE_FFN_GATE, 0, f, d}, {SHAPE_FFN_UP, 0, f, d},
        {SHAPE_FFN_DOWN, 0, d, f}, {SHAPE_VECTOR, 0, 1, layer_vector_values(s)},
    };
    *out = block[(i - 1) % PER_LAYER];
    out->layer = (int)((i - 1) / PER_LAYER);
    return true;
}

int64_t shape_params(const struct shape *s) {
    int64_t n = 0;
    struct shape_tensor t;
    for (int64_t i = 0; shape_tensor(s, i, &t); i++)
        n += t.rows * t.cols;
    return n;
}

void shape_from_catalog(struct shape *s, const struct catalog_model *m) {
    *s = (struct shape){.n_layer = m->n_layer,
                        .n_embd = m->n_embd,
                        .n_ff = m->n_ff,
                        .n_head = m->n_head,
                        .n_head_kv = m->n_head_kv,
                        .head_dim = m->head_dim,
                        .n_vocab = m->n_vocab,
                        .n_ctx_train = m->n_ctx_train,
                        .tied = m->tied,
                        .qk_norm = m->qk_norm,
                        .qkv_bias = m->qkv_bias,
                        .post_norms = m->post_norms};
    snprintf(s->arch, sizeof s->arch, "%s", m->arch);
}

/* ---- from a file ---- */

/* Metadata "<arch>.<key>" as an integer; absent leaves *out as it is unless required. */
static int read_int(const struct lm *m, const char *arch, const char *key, bool required, int *out,
                    struct err *e) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    struct str text = {0};
    struct err missing = {0};
    if (lm_metadata(m, name, &text, &missing) < 0) {
        str_release(&text);
        if (!required)
            return 0;
        return err_set(e, ERR_UNSUPPORTED, "shape_from_file", "the GGUF has no metadata key %s", name);
    }
    int64_t value = 0;
    bool good = str_to_i64(str_text(&text), &value) && value > 0 && value <= INT32_MAX;
    if (!good)
        err_set(e, ERR_FORMAT, "shape_from_file", "metadata key %s is '%s', not a positive number", name,
                str_text(&text));
    str_release(&text);
    if (!good)
        return ERR_FORMAT;
    *out = (int)value;
    return 0;
}

static int read_dimensions(struct shape *s, const struct lm *m, struct err *e) {
    int context = 0;
    if (read_int(m, s->arch, "block_count", true, &s->n_layer, e) < 0 ||
        read_int(m, s->arch, "embedding_length", true, &s->n_embd, e) < 0 ||
        read_int(m, s->arch, "feed_forward_length", true, &s->n_ff, e) < 0 ||
        read_int(m, s->arch, "attention.head_count", true, &s->n_head, e) < 0)
        return ERR_UNSUPPORTED;
    s->n_head_kv = s->n_head;
    s->head_dim = s->n_embd / s->n_head;
    int code;
    if ((code = read_int(m, s->arch, "attention.head_count_kv", false, &s->n_head_kv, e)) < 0 ||
        (code = read_int(m, s->arch, "attention.key_length", false, &s->head_dim, e)) < 0 ||
        (code = read_int(m, s->arch, "context_length", false, &context, e)) < 0)
        return code;
    s->n_vocab = lm_n_vocab(m);
    s->n_ctx_train = context;
    s->qk_norm = str_equal(s->arch, "qwen3") || str_starts(s->arch, "gemma3");
    s->qkv_bias = str_equal(s->arch, "qwen2");
    s->post_norms = str_starts(s->arch, "gemma2") || str_starts(s->arch, "gemma3");
    return 0;
}

/* The file's own count tells a tied model from an untied one, and that nothing was missed. */
static int settle_head(struct shape *s, int64_t n_params, const char *path, struct err *e) {
    s->tied = true;
    double tied = fabs((double)(shape_params(s) - n_params));
    s->tied = false;
    double untied = fabs((double)(shape_params(s) - n_params));
    s->tied = tied <= untied;
    double off = fmin(tied, untied) / (double)(n_params > 0 ? n_params : 1);
    if (off > 0.01) {
        err_set(e, ERR_MISMATCH, "shape_from_file",
                "%s: its %s architecture counts to %lld parameters, the file has %lld", path, s->arch,
                (long long)shape_params(s), (long long)n_params);
        return err_hint(e, "the planner knows plain llama-like decoders; edgestill models lists what works");
    }
    return 0;
}

int shape_from_file(struct shape *s, const char *path, struct err *e) {
    int code = lm_backend_init(NULL, e);
    struct lm *m = NULL;
    if (code == 0)
        code = lm_open(&m, path, &(struct lm_options){.n_ctx = 32, .n_batch = 8, .n_threads = 1}, e);
    if (code < 0)
        return code;
    struct shape found = {0};
    struct str arch = {0};
    code = lm_metadata(m, "general.architecture", &arch, e);
    if (code == 0) {
        snprintf(found.arch, sizeof found.arch, "%s", str_text(&arch));
        code = read_dimensions(&found, m, e);
    }
    if (code == 0)
        code = settle_head(&found, lm_n_params(m), path, e);
    if (code == 0) {
        int64_t extra = file_size(path) - lm_size_bytes(m);
        found.extra_bytes = extra > 0 ? extra : 0;
        *s = found;
    }
    str_release(&arch);
    lm_free(m);
    return code < 0 ? err_context(e, "reading the shape of %s", path) : 0;
}
