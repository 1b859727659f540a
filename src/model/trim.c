/* Writing the smaller file. */
#include "model/trim.h"
#include "model/writer.h"
#include <ggml.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct trim {
    struct model_file *f;
    const struct vocab *v;
    const bool *keep;
    struct model_writer *w;
    int32_t n_before, n_after;
    int32_t *new_id; /* [n_before]; -1: gone */
};

bool model_is_trimmed(const struct model_file *f) {
    return gguf_find_key(model_file_gguf(f), MODEL_TRIM_KEY) >= 0;
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "model_trim", "no memory for the smaller vocabulary");
}

static int number_tokens(struct trim *t, struct err *e) {
    t->n_before = vocab_size(t->v);
    t->new_id = malloc((size_t)t->n_before * sizeof *t->new_id);
    if (!t->new_id)
        return no_memory(e);
    for (int32_t id = 0; id < t->n_before; id++)
        t->new_id[id] = t->keep[id] ? t->n_after++ : -1;
    return t->n_after > 0 ? 0 : err_set(e, ERR_INPUT, "model_trim", "no token is kept");
}

/* ---- metadata ---- */

static int unsupported(const struct trim *t, const char *what, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED, "model_trim", "%s: %s is as long as the vocabulary and unknown here",
                   model_file_path(t->f), what);
}

static int put_tokens(struct trim *t, struct err *e) {
    const char **texts = malloc((size_t)t->n_after * sizeof *texts);
    if (!texts)
        return no_memory(e);
    for (int32_t id = 0; id < t->n_before; id++)
        if (t->keep[id])
            texts[t->new_id[id]] = vocab_text(t->v, id);
    model_writer_texts(t->w, "tokenizer.ggml.tokens", texts, (size_t)t->n_after);
    free(texts);
    return 0;
}

/* An array of four-byte values, one a token. */
static int put_values(struct trim *t, int64_t key, struct err *e) {
    const struct gguf_context *g = model_file_gguf(t->f);
    const char *name = gguf_get_key(g, key);
    enum gguf_type of = gguf_get_arr_type(g, key);
    if ((of != GGUF_TYPE_INT32 && of != GGUF_TYPE_FLOAT32) || (int64_t)gguf_get_arr_n(g, key) != t->n_before)
        return err_set(e, ERR_FORMAT, "model_trim", "%s: %s is no list of one number of 32 bits a token",
                       model_file_path(t->f), name);
    const char *from = gguf_get_arr_data(g, key);
    char *to = malloc((size_t)t->n_after * 4);
    if (!to)
        return no_memory(e);
    for (int32_t id = 0; id < t->n_before; id++)
        if (t->keep[id])
            memcpy(to + (size_t)t->new_id[id] * 4, from + (size_t)id * 4, 4);
    if (of == GGUF_TYPE_INT32)
        model_writer_i32s(t->w, name, (const int32_t *)(const void *)to, (size_t)t->n_after);
    else
        model_writer_f32s(t->w, name, (const float *)(const void *)to, (size_t)t->n_after);
    free(to);
    return 0;
}

static int put_merges(struct trim *t, int64_t key, struct err *e) {
    const struct gguf_context *g = model_file_gguf(t->f);
    int64_t n = vocab_n_merges(t->v), kept = 0;
    const char **texts = malloc((size_t)(n + 1) * sizeof *texts);
    if (!texts)
        return no_memory(e);
    for (int64_t i = 0; i < n; i++) {
        struct vocab_merge m = vocab_merge(t->v, i);
        if (m.result >= 0 && t->keep[m.left] && t->keep[m.right] && t->keep[m.result])
            texts[kept++] = gguf_get_arr_str(g, key, (size_t)i);
    }
    model_writer_texts(t->w, "tokenizer.ggml.merges", texts, (size_t)kept);
    free(texts);
    return 0;
}

static bool ends(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int put_key(struct trim *t, int64_t key, struct err *e) {
    const struct gguf_context *g = model_file_gguf(t->f);
    const char *name = gguf_get_key(g, key);
    enum gguf_type type = gguf_get_kv_type(g, key);
    if (ends(name, ".vocab_size") && type == GGUF_TYPE_UINT32)
        model_writer_u32(t->w, name, (uint32_t)t->n_after);
    if (strncmp(name, "tokenizer.ggml.", 15) != 0)
        return 0;
    if (ends(name, "_token_id") && type == GGUF_TYPE_UINT32) {
        uint32_t id = gguf_get_val_u32(g, key);
        if (id < (uint32_t)t->n_before && t->new_id[id] >= 0)
            model_writer_u32(t->w, name, (uint32_t)t->new_id[id]);
        return 0;
    }
    if (type != GGUF_TYPE_ARRAY || (int64_t)gguf_get_arr_n(g, key) == 0)
        return 0;
    if (strcmp(name, "tokenizer.ggml.tokens") == 0)
        return put_tokens(t, e);
    if (strcmp(name, "tokenizer.ggml.merges") == 0)
        return put_merges(t, key, e);
    if (strcmp(name, "tokenizer.ggml.token_type") == 0 || strcmp(name, "tokenizer.ggml.scores") == 0)
        return put_values(t, key, e);
    return ends(name, "_token_ids") || (int64_t)gguf_get_arr_n(g, key) == t->n_before
               ? unsupported(t, name, e)
               : 0;
}

/* The ids of the first file, whatever was trimmed before. */
static int put_origin(struct trim *t, struct err *e) {
    const struct gguf_context *g = model_file_gguf(t->f);
    int64_t key = gguf_find_key(g, MODEL_TRIM_KEY);
    const int32_t *earlier = NULL;
    if (key >= 0 && gguf_get_kv_type(g, key) == GGUF_TYPE_ARRAY &&
        gguf_get_arr_type(g, key) == GGUF_TYPE_INT32 && (int64_t)gguf_get_arr_n(g, key) == t->n_before)
        earlier = gguf_get_arr_data(g, key);
    int32_t *old = malloc((size_t)t->n_after * sizeof *old);
    if (!old)
        return no_memory(e);
    for (int32_t id = 0; id < t->n_before; id++)
        if (t->keep[id])
            old[t->new_id[id]] = earlier ? earlier[id] : id;
    model_writer_i32s(t->w, MODEL_TRIM_KEY, old, (size_t)t->n_after);
    free(old);
    return 0;
}

static int put_metadata(struct trim *t, struct err *e) {
    int64_t n = gguf_get_n_kv(model_file_gguf(t->f));
    int rc = 0;
    model_writer_copy_metadata(t->w, t->f);
    for (int64_t key = 0; key < n && rc == 0; key++)
        rc = put_key(t, key, e);
    return rc < 0 ? rc : put_origin(t, e);
}

/* ---- tensors ---- */

static bool has_token_rows(const char *name) {
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0;
}

static bool type_of(const char *name, enum model_type *out) {
    *out = strcmp(name, ggml_type_name(GGML_TYPE_F32)) == 0   ? MODEL_F32
           : strcmp(name, ggml_type_name(GGML_TYPE_F16)) == 0 ? MODEL_F16
                                                              : MODEL_BF16;
    return *out != MODEL_BF16 || strcmp(name, ggml_type_name(GGML_TYPE_BF16)) == 0;
}

static int put_tensor(struct trim *t, const struct model_tensor *x, struct err *e) {
    enum model_type type;
    int64_t rows = x->rows;
    if (!type_of(x->type, &type)) {
        err_set(e, ERR_INPUT, "model_trim", "%s is quantised already (%s is %s)", model_file_path(t->f),
                x->name, x->type);
        return err_hint(e, "start from the 16-bit or 32-bit file");
    }
    if (has_token_rows(x->name)) {
        if (rows != t->n_before)
            return err_set(e, ERR_FORMAT, "model_trim", "%s: %s has %lld rows for %d tokens",
                           model_file_path(t->f), x->name, (long long)rows, t->n_before);
        rows = t->n_after;
    } else if (strncmp(x->name, "blk.", 4) != 0 && (rows == t->n_before || x->cols == t->n_before)) {
        return unsupported(t, x->name, e);
    }
    model_writer_tensor(t->w, x->name, rows, x->cols, type);
    return 0;
}

static int put_tensors(struct trim *t, struct err *e) {
    int rc = 0;
    for (int64_t i = 0; i < model_file_n_tensors(t->f) && rc == 0; i++) {
        struct model_tensor x = model_file_tensor(t->f, i);
        rc = put_tensor(t, &x, e);
    }
    return rc;
}

/* Kept rows by runs of neighbours, so that the large table is never in memory whole. */
static int fill(void *context, const char *name, float *values, int64_t n, struct err *e) {
    struct trim *t = context;
    if (!has_token_rows(name))
        return model_file_read(t->f, name, values, n, e);
    int64_t cols = n / t->n_after;
    int rc = 0;
    for (int32_t id = 0; id < t->n_before && rc == 0;) {
        int32_t end = id;
        while (end < t->n_before && t->keep[end])
            end++;
        if (end > id)
            rc = model_file_read_rows(t->f, name, values + t->new_id[id] * cols, id, end - id, e);
        id = end > id ? end : id + 1;
    }
    return rc;
}

int model_trim(struct model_file *f, const char *path, const struct vocab *v, const bool *keep,
               struct err *e) {
    struct trim t = {.f = f, .v = v, .keep = keep};
    int rc = number_tokens(&t, e);
    if (rc == 0)
        rc = model_writer_new(&t.w, e);
    if (rc == 0)
        rc = put_metadata(&t, e);
    if (rc == 0)
        rc = put_tensors(&t, e);
    if (rc == 0)
        rc = model_writer_write(t.w, path, fill, &t, e);
    model_writer_free(t.w);
    free(t.new_id);
    return rc;
}
