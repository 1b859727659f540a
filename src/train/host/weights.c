/* Weights across the border of files: one tensor in memory at a time. */
#include "train/host/weights.h"
#include "model/writer.h"
#include <stdlib.h>
#include <string.h>

enum {
    FILE_TYPE_F32 = 0,
    FILE_TYPE_F16 = 1,
    FILE_TYPE_BF16 = 32
}; /* llama.cpp's numbers for general.file_type */

int weights_load(struct nn_model *m, struct model_file *f, struct err *e) {
    int rc = 0;
    for (int i = 0; i < m->base.n_tensors && rc == 0; i++) {
        const struct nn_tensor *t = &m->base.tensors[i];
        int64_t n = t->rows * t->cols;
        float *values = malloc((size_t)n * sizeof *values);
        rc = values ? model_file_read(f, t->name, values, n, e)
                    : err_set(e, ERR_NO_MEMORY, "weights_load", "no room for %s", t->name);
        if (rc == 0)
            nn_set_write(m, &m->base, t, values);
        free(values);
    }
    return rc;
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
    model_writer_f32(w, "adapter.lora.alpha", m->lora.alpha);
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
