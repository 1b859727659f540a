/* Writing GGUF: ggml lays out metadata and offsets, the values are asked for tensor by tensor and never held all at once. */
#include "model/writer.h"
#include "base/file.h"
#include <ggml.h>
#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 1 << 16 };

struct model_writer {
    struct gguf_context *gguf;
    struct ggml_context *shapes;
    struct err err; /* of the set functions */
};

int model_writer_new(struct model_writer **out, struct err *e) {
    struct model_writer *w = calloc(1, sizeof *w);
    if (w) {
        w->gguf = gguf_init_empty();
        w->shapes =
            ggml_init((struct ggml_init_params){.mem_size = 2048 * ggml_tensor_overhead(), .no_alloc = true});
    }
    if (!w || !w->gguf || !w->shapes) {
        model_writer_free(w);
        return err_set(e, ERR_NO_MEMORY, "model_writer_new", "no room to lay out a model file");
    }
    *out = w;
    return 0;
}

void model_writer_free(struct model_writer *w) {
    if (!w)
        return;
    if (w->gguf)
        gguf_free(w->gguf);
    if (w->shapes)
        ggml_free(w->shapes);
    free(w);
}

/* ---- metadata ---- */

void model_writer_copy_metadata(struct model_writer *w, const struct model_file *from) {
    gguf_set_kv(w->gguf, model_file_gguf(from));
}

void model_writer_text(struct model_writer *w, const char *key, const char *value) {
    gguf_set_val_str(w->gguf, key, value);
}

void model_writer_u32(struct model_writer *w, const char *key, uint32_t value) {
    gguf_set_val_u32(w->gguf, key, value);
}

void model_writer_f32(struct model_writer *w, const char *key, float value) {
    gguf_set_val_f32(w->gguf, key, value);
}

void model_writer_bool(struct model_writer *w, const char *key, bool value) {
    gguf_set_val_bool(w->gguf, key, value);
}

void model_writer_texts(struct model_writer *w, const char *key, const char *const values[], size_t n) {
    gguf_set_arr_str(w->gguf, key, (const char **)values, n);
}

void model_writer_i32s(struct model_writer *w, const char *key, const int32_t *values, size_t n) {
    gguf_set_arr_data(w->gguf, key, GGUF_TYPE_INT32, values, n);
}

void model_writer_f32s(struct model_writer *w, const char *key, const float *values, size_t n) {
    gguf_set_arr_data(w->gguf, key, GGUF_TYPE_FLOAT32, values, n);
}

void model_writer_config(struct model_writer *w, const char *arch, const struct model_config *c) {
    const struct {
        const char *key;
        int value;
    } counts[] = {{"block_count", c->n_layer},           {"context_length", c->n_ctx},
                  {"embedding_length", c->d_model},      {"feed_forward_length", c->d_ff},
                  {"attention.head_count", c->n_heads},  {"attention.head_count_kv", c->n_kv_heads},
                  {"attention.key_length", c->head_dim}, {"attention.value_length", c->head_dim},
                  {"rope.dimension_count", c->head_dim}, {"vocab_size", c->n_vocab}};
    char key[160];
    model_writer_text(w, "general.architecture", arch);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, counts[i].key);
        model_writer_u32(w, key, (uint32_t)counts[i].value);
    }
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    model_writer_f32(w, key, c->rope_theta);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    model_writer_f32(w, key, c->norm_eps);
}

/* ---- tensors ---- */

static enum ggml_type ggml_type_of(enum model_type type) {
    return type == MODEL_F32 ? GGML_TYPE_F32 : type == MODEL_F16 ? GGML_TYPE_F16 : GGML_TYPE_BF16;
}

/* The table of shapes grows by making a larger one: ggml's contexts have a fixed size. */
static bool grow_shapes(struct model_writer *w) {
    size_t size = ggml_get_mem_size(w->shapes);
    if (ggml_used_mem(w->shapes) + 2 * ggml_tensor_overhead() < size)
        return true;
    struct ggml_context *larger =
        ggml_init((struct ggml_init_params){.mem_size = size * 2, .no_alloc = true});
    if (!larger)
        return false;
    for (struct ggml_tensor *t = ggml_get_first_tensor(w->shapes); t; t = ggml_get_next_tensor(w->shapes, t))
        ggml_set_name(ggml_dup_tensor(larger, t), t->name);
    ggml_free(w->shapes);
    w->shapes = larger;
    return true;
}

void model_writer_tensor(struct model_writer *w, const char *name, int64_t rows, int64_t cols,
                         enum model_type type) {
    if (w->err.code < 0)
        return;
    if (rows <= 0 || cols <= 0 || strlen(name) >= GGML_MAX_NAME) {
        err_set(&w->err, ERR_INPUT, "model_writer_tensor", "tensor %s cannot have %lld x %lld values", name,
                (long long)rows, (long long)cols);
        return;
    }
    if (gguf_get_n_tensors(w->gguf) >= MAX_TENSORS || !grow_shapes(w)) {
        err_set(&w->err, ERR_NO_MEMORY, "model_writer_tensor", "no room for tensor %s", name);
        return;
    }
    struct ggml_tensor *t = rows == 1 ? ggml_new_tensor_1d(w->shapes, ggml_type_of(type), cols)
                                      : ggml_new_tensor_2d(w->shapes, ggml_type_of(type), cols, rows);
    ggml_set_name(t, name);
    gguf_add_tensor(w->gguf, t);
}

/* ---- writing ---- */

static int write_meta(struct model_writer *w, FILE *f) {
    size_t n = gguf_get_meta_size(w->gguf);
    void *meta = malloc(n);
    if (!meta)
        return ERR_NO_MEMORY;
    gguf_get_meta_data(w->gguf, meta);
    bool ok = fwrite(meta, 1, n, f) == n;
    free(meta);
    return ok ? 0 : ERR_IO;
}

/* The stored form of n floats into `to`; false when a value is not finite, or infinite in 16 bits. */
static bool narrow(const float *from, void *to, int64_t n, enum ggml_type type) {
    float limit = type == GGML_TYPE_F16 ? 65520 : 3.39e38f;
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(from[i]) < limit))
            return false;
    if (type == GGML_TYPE_F16)
        ggml_fp32_to_fp16_row(from, to, n);
    else if (type == GGML_TYPE_BF16)
        ggml_fp32_to_bf16_row(from, to, n);
    else
        memcpy(to, from, (size_t)n * sizeof *from);
    return true;
}

/* Asks for the values and makes their stored form. */
static int make_tensor(const struct ggml_tensor *t, void *stored, model_fill *fill, void *context,
                       struct err *e) {
    int64_t n = ggml_nelements(t);
    float *values = malloc((size_t)n * sizeof *values);
    if (!values)
        return err_set(e, ERR_NO_MEMORY, "model_writer_write", "no room for %s", t->name);
    int rc = fill(context, t->name, values, n, e);
    if (rc == 0 && !narrow(values, stored, n, t->type)) {
        rc = err_set(e, ERR_UNSUPPORTED, "model_writer_write",
                     "%s holds values beyond what its type can store", t->name);
        err_hint(e, "the training may have diverged: look at its log");
    }
    free(values);
    return rc;
}

static int write_tensor(struct model_writer *w, FILE *f, int64_t i, model_fill *fill, void *context,
                        struct err *e) {
    const struct ggml_tensor *t = ggml_get_tensor(w->shapes, gguf_get_tensor_name(w->gguf, i));
    size_t alignment = gguf_get_alignment(w->gguf),
           n_bytes = (ggml_nbytes(t) + alignment - 1) / alignment * alignment;
    void *stored = calloc(1, n_bytes);
    int rc = stored ? make_tensor(t, stored, fill, context, e)
                    : err_set(e, ERR_NO_MEMORY, "model_writer_write", "no room for %s", t->name);
    if (rc == 0 && fwrite(stored, 1, n_bytes, f) != n_bytes)
        rc = err_set_errno(e, ERR_IO, "model_writer_write", "writing %s", t->name);
    free(stored);
    return rc;
}

int model_writer_write(struct model_writer *w, const char *path, model_fill *fill, void *context,
                       struct err *e) {
    struct file_writer out;
    if (w->err.code < 0)
        return err_set(e, w->err.code, w->err.origin, "%s", w->err.message);
    int rc = file_writer_begin(&out, path, e);
    if (rc < 0)
        return rc;
    rc = write_meta(w, out.stream);
    if (rc < 0)
        err_set_errno(e, rc, "model_writer_write", "writing %s", path);
    for (int64_t i = 0; rc == 0 && i < gguf_get_n_tensors(w->gguf); i++)
        rc = write_tensor(w, out.stream, i, fill, context, e);
    if (rc == 0)
        rc = file_writer_commit(&out, e);
    if (rc < 0)
        file_writer_abort(&out);
    return rc;
}
