/* Weights across the border of files: one tensor in memory at a time. */
#include "train/host/weights.h"
#include "model/writer.h"
#include "tensor/widen.h"
#include <stdlib.h>
#include <string.h>

enum {
    FILE_TYPE_F32 = 0,
    FILE_TYPE_F16 = 1,
    FILE_TYPE_BF16 = 32
}; /* llama.cpp's numbers for general.file_type */
enum { BF16_BYTES = 2, ROUNDED_AT_ONCE = 1 << 20 };

static int64_t aligned(int64_t n) {
    return (n + 63) / 64 * 64;
}

int weights_packed_bytes(struct model_file *f, bool bf16, int64_t *n_bytes, struct err *e) {
    int64_t sum = 0;
    for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
        struct model_tensor t = model_file_tensor(f, i);
        struct model_rows rows;
        int rc = t.rows > 1 ? model_file_rows(f, t.name, &rows, e) : 0;
        if (rc < 0)
            return rc;
        sum += t.rows > 1 ? aligned(bf16 ? t.rows * t.cols * BF16_BYTES : rows.n_bytes) : 0;
    }
    *n_bytes = sum;
    return 0;
}

int weights_base_bytes(struct model_file *f, struct train_base_bytes *out, struct err *e) {
    struct train_base_bytes b = {0};
    for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
        struct model_tensor t = model_file_tensor(f, i);
        b.of[TRAIN_BASE_F32] += t.rows * t.cols * (int64_t)sizeof(float);
    }
    int rc = weights_packed_bytes(f, true, &b.of[TRAIN_BASE_BF16], e);
    if (rc == 0)
        rc = weights_packed_bytes(f, false, &b.of[TRAIN_BASE_STORED], e);
    if (rc == 0)
        *out = b;
    return rc;
}

/* A matrix in bfloat16 to storage + at, some rows at a time. */
static int load_bf16(struct nn_model *m, struct nn_tensor *t, struct model_file *f, int64_t *at,
                     struct err *e) {
    int64_t step = ROUNDED_AT_ONCE / t->cols > 0 ? ROUNDED_AT_ONCE / t->cols : 1;
    int64_t row_bytes = t->cols * BF16_BYTES;
    char *to = (char *)m->storage + *at;
    float *values = malloc((size_t)(step * t->cols) * (sizeof *values + BF16_BYTES));
    void *rounded = values + step * t->cols;
    int rc = values ? 0 : err_set(e, ERR_NO_MEMORY, "weights_load", "no room for %s", t->name);
    for (int64_t first = 0; first < t->rows && rc == 0; first += step) {
        int64_t n = t->rows - first < step ? t->rows - first : step;
        rc = model_file_read_rows(f, t->name, values, first, n, e);
        if (rc < 0)
            break;
        narrow_bf16(values, rounded, n * t->cols);
        m->ops->upload(m->ops, to + first * row_bytes, rounded, (size_t)(n * row_bytes));
    }
    free(values);
    if (rc < 0)
        return rc;
    nn_tensor_pack(t, &(struct packed_matrix){to, row_bytes, t->cols, widen_bf16});
    *at += aligned(t->rows * row_bytes);
    return 0;
}

/* A matrix as it is in the file, to storage + at. */
static int load_packed(struct nn_model *m, struct nn_tensor *t, struct model_file *f, int64_t *at,
                       struct err *e) {
    struct model_rows rows;
    int rc = model_file_rows(f, t->name, &rows, e);
    void *bytes = rc == 0 ? malloc((size_t)rows.n_bytes) : NULL;
    if (rc == 0 && !bytes)
        rc = err_set(e, ERR_NO_MEMORY, "weights_load", "no room for %s", t->name);
    if (rc == 0)
        rc = model_file_read_packed(f, t->name, bytes, rows.n_bytes, e);
    if (rc == 0) {
        char *to = (char *)m->storage + *at;
        m->ops->upload(m->ops, to, bytes, (size_t)rows.n_bytes);
        nn_tensor_pack(t, &(struct packed_matrix){to, rows.row_bytes, t->cols, rows.widen});
        *at += aligned(rows.n_bytes);
    }
    free(bytes);
    return rc;
}

static int take_storage(struct nn_model *m, struct model_file *f, bool bf16, struct err *e) {
    int rc = weights_packed_bytes(f, bf16, &m->storage_bytes, e);
    if (rc == 0 && !(m->storage = m->ops->alloc(m->ops, (size_t)m->storage_bytes)))
        rc = err_set(e, ERR_NO_MEMORY, "weights_load", "no room for %.1f MB of weights",
                     (double)m->storage_bytes / 1e6);
    return rc;
}

static int load(struct nn_model *m, struct model_file *f, bool bf16, struct err *e) {
    int64_t at = 0;
    int rc = m->packed ? take_storage(m, f, bf16, e) : 0;
    for (int i = 0; m->packed && i < m->base.n_tensors && rc == 0; i++)
        if (m->base.tensors[i].rows > 1)
            rc = (bf16 ? load_bf16 : load_packed)(m, &m->base.tensors[i], f, &at, e);
    for (int i = 0; i < m->base.n_tensors && rc == 0; i++) {
        const struct nn_tensor *t = &m->base.tensors[i];
        int64_t n = t->rows * t->cols;
        if (t->packed.data)
            continue;
        float *values = malloc((size_t)n * sizeof *values);
        rc = values ? model_file_read(f, t->name, values, n, e)
                    : err_set(e, ERR_NO_MEMORY, "weights_load", "no room for %s", t->name);
        if (rc == 0)
            nn_set_write(m, &m->base, t, values);
        free(values);
    }
    return rc;
}

int weights_load(struct nn_model *m, struct model_file *f, struct err *e) {
    return load(m, f, false, e);
}

int weights_load_bf16(struct nn_model *m, struct model_file *f, struct err *e) {
    return load(m, f, true, e);
}

/* What the writer's callback needs. */
struct source {
    const struct nn_model *m;
    struct model_file *base;
};

static int fill_adapter(void *context, const char *name, float *values, int64_t n, struct err *e) {
    const struct source *s = context;
    const struct nn_tensor *t = nn_set_find(&s->m->adapter, name);
    (void)n, (void)e;
    nn_set_read(s->m, &s->m->adapter, t, values);
    return 0;
}

int weights_write_adapter(const struct nn_model *m, const struct model_file *base, const char *path,
                          const char *prompt_hash, struct err *e) {
    struct model_writer *w = NULL;
    struct source s = {.m = m};
    int rc = model_writer_new(&w, e);
    if (rc < 0)
        return rc;
    model_writer_text(w, "general.type", "adapter");
    model_writer_text(w, "general.architecture", model_file_arch(base));
    model_writer_text(w, "adapter.type", "lora");
    /* llama.cpp scales by alpha / rank: an alpha that makes it what training had, rank-stabilised or not */
    model_writer_f32(w, "adapter.lora.alpha", nn_lora_scale(&m->lora) * (float)m->lora.rank);
    if (prompt_hash)
        model_writer_text(w, "edgestill.prompt", prompt_hash);
    for (int i = 0; i < m->adapter.n_tensors; i++) {
        const struct nn_tensor *t = &m->adapter.tensors[i];
        model_writer_tensor(w, t->name, t->rows, t->cols, MODEL_F32);
    }
    rc = model_writer_write(w, path, fill_adapter, &s, e);
    model_writer_free(w);
    return rc;
}

static int fill_merged(void *context, const char *name, float *values, int64_t n, struct err *e) {
    struct source *s = context;
    const struct nn_tensor *t = nn_set_find(&s->m->base, name);
    return t ? nn_model_merged(s->m, t, values, e) : model_file_read(s->base, name, values, n, e);
}

int weights_write_merged(const struct nn_model *m, struct model_file *base, const char *path,
                         enum model_type type, const char *prompt_hash, struct err *e) {
    struct model_writer *w = NULL;
    struct source s = {.m = m, .base = base};
    int rc = model_writer_new(&w, e);
    if (rc < 0)
        return rc;
    model_writer_copy_metadata(w, base);
    model_writer_u32(w, "general.file_type",
                     type == MODEL_F32   ? FILE_TYPE_F32
                     : type == MODEL_F16 ? FILE_TYPE_F16
                                         : FILE_TYPE_BF16);
    if (prompt_hash)
        model_writer_text(w, "edgestill.prompt", prompt_hash);
    for (int64_t i = 0; i < model_file_n_tensors(base); i++) {
        struct model_tensor t = model_file_tensor(base, i);
        model_writer_tensor(w, t.name, t.rows, t.cols, t.rows == 1 ? MODEL_F32 : type);
    }
    rc = model_writer_write(w, path, fill_merged, &s, e);
    model_writer_free(w);
    return rc;
}
