/* Reading GGUF through ggml's own parser; the weights themselves with pread, because a model may be larger than memory. */
#include "model/file.h"
#include "base/file.h"
#include "model/arch.h"
#include <fcntl.h>
#include <ggml.h>
#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct model_file {
    char *path;
    int fd;
    int64_t size_bytes;
    struct gguf_context *gguf;
    struct ggml_context *shapes; /* tensors without data */
};

static int malformed(const struct model_file *f, struct err *e, const char *what) {
    err_set(e, ERR_FORMAT, "model_file_open", "%s is not a whole GGUF file: %s", f->path, what);
    return err_hint(e, "download or copy it again");
}

/* ggml's parser reports on a log; the likely mistakes get words of our own first. */
static int open_gguf(struct model_file *f, struct err *e) {
    char magic[4];
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return err_set_errno(e, file_exists(f->path) ? ERR_IO : ERR_NOT_FOUND, "model_file_open",
                             "opening %s", f->path);
    f->size_bytes = file_size(f->path);
    if (pread(f->fd, magic, sizeof magic, 0) != sizeof magic || memcmp(magic, GGUF_MAGIC, sizeof magic) != 0)
        return malformed(f, e, "it does not begin with GGUF");
    f->gguf = gguf_init_from_file(f->path, (struct gguf_init_params){.no_alloc = true, .ctx = &f->shapes});
    if (!f->gguf || !f->shapes)
        return malformed(f, e, "its header cannot be read");
    for (int64_t i = 0; i < gguf_get_n_tensors(f->gguf); i++) {
        size_t begin = gguf_get_data_offset(f->gguf) + gguf_get_tensor_offset(f->gguf, i);
        size_t n = gguf_get_tensor_size(f->gguf, i);
        if (begin > (size_t)f->size_bytes || n > (size_t)f->size_bytes - begin)
            return malformed(f, e, "it ends before its last tensor does");
    }
    return 0;
}

int model_file_open(struct model_file **out, const char *path, struct err *e) {
    struct model_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_set(e, ERR_NO_MEMORY, "model_file_open", "no room to open %s", path);
    }
    int rc = open_gguf(f, e);
    if (rc < 0)
        model_file_close(f);
    else
        *out = f;
    return rc;
}

void model_file_close(struct model_file *f) {
    if (!f)
        return;
    if (f->gguf)
        gguf_free(f->gguf);
    if (f->shapes)
        ggml_free(f->shapes);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
}

const char *model_file_path(const struct model_file *f) {
    return f->path;
}

const struct gguf_context *model_file_gguf(const struct model_file *f) {
    return f->gguf;
}

const char *model_file_arch(const struct model_file *f) {
    int64_t at = gguf_find_key(f->gguf, "general.architecture");
    return at >= 0 && gguf_get_kv_type(f->gguf, at) == GGUF_TYPE_STRING ? gguf_get_val_str(f->gguf, at) : "";
}

double model_file_number(const struct model_file *f, const char *key) {
    int64_t at = gguf_find_key(f->gguf, key);
    if (at < 0)
        return NAN;
    switch (gguf_get_kv_type(f->gguf, at)) {
    case GGUF_TYPE_FLOAT32:
        return (double)gguf_get_val_f32(f->gguf, at);
    case GGUF_TYPE_UINT32:
        return (double)gguf_get_val_u32(f->gguf, at);
    default:
        return NAN;
    }
}

const char *model_file_text(const struct model_file *f, const char *key) {
    int64_t at = gguf_find_key(f->gguf, key);
    return at >= 0 && gguf_get_kv_type(f->gguf, at) == GGUF_TYPE_STRING ? gguf_get_val_str(f->gguf, at)
                                                                        : NULL;
}

/* ---- tensors ---- */

int64_t model_file_n_tensors(const struct model_file *f) {
    return gguf_get_n_tensors(f->gguf);
}

int64_t model_file_find(const struct model_file *f, const char *name) {
    return gguf_find_tensor(f->gguf, name);
}

struct model_tensor model_file_tensor(const struct model_file *f, int64_t index) {
    const char *name = gguf_get_tensor_name(f->gguf, index);
    const struct ggml_tensor *t = ggml_get_tensor(f->shapes, name);
    return (struct model_tensor){.name = name,
                                 .type = ggml_type_name(t->type),
                                 .cols = t->ne[0],
                                 .rows = t->ne[1] * t->ne[2] * t->ne[3],
                                 .n_bytes = (int64_t)ggml_nbytes(t)};
}

static int read_bytes(const struct model_file *f, void *to, size_t n, size_t offset, const char *name,
                      struct err *e) {
    for (char *p = to; n > 0;) {
        ssize_t got = pread(f->fd, p, n, (off_t)offset);
        if (got <= 0)
            return err_set_errno(e, ERR_IO, "model_file_read", "reading %s of %s", name, f->path);
        p += got;
        n -= (size_t)got;
        offset += (size_t)got;
    }
    return 0;
}

int model_file_read_rows(struct model_file *f, const char *name, float *values, int64_t first, int64_t n_rows,
                         struct err *e) {
    int64_t at = model_file_find(f, name);
    if (at < 0)
        return err_set(e, ERR_NOT_FOUND, "model_file_read", "%s has no tensor %s", f->path, name);
    struct model_tensor t = model_file_tensor(f, at);
    enum ggml_type type = gguf_get_tensor_type(f->gguf, at);
    if (first < 0 || n_rows < 0 || first > t.rows || n_rows > t.rows - first)
        return err_set(e, ERR_MISMATCH, "model_file_read", "%s of %s has %lld rows, not %lld from %lld on",
                       name, f->path, (long long)t.rows, (long long)n_rows, (long long)first);
    size_t row_bytes = ggml_row_size(type, t.cols), n_bytes = (size_t)n_rows * row_bytes;
    size_t offset =
        gguf_get_data_offset(f->gguf) + gguf_get_tensor_offset(f->gguf, at) + (size_t)first * row_bytes;
    if (type == GGML_TYPE_F32)
        return read_bytes(f, values, n_bytes, offset, name, e);
    const struct ggml_type_traits *traits = ggml_get_type_traits(type);
    if (!traits || !traits->to_float)
        return err_set(e, ERR_UNSUPPORTED, "model_file_read", "%s of %s has type %s, which cannot be widened",
                       name, f->path, t.type);
    void *packed = malloc(n_bytes + 1);
    if (!packed)
        return err_set(e, ERR_NO_MEMORY, "model_file_read", "no room to read %s", name);
    int rc = read_bytes(f, packed, n_bytes, offset, name, e);
    if (rc == 0)
        traits->to_float(packed, values, n_rows * t.cols);
    free(packed);
    return rc;
}

int model_file_read(struct model_file *f, const char *name, float *values, int64_t n, struct err *e) {
    int64_t at = model_file_find(f, name);
    if (at < 0)
        return err_set(e, ERR_NOT_FOUND, "model_file_read", "%s has no tensor %s", f->path, name);
    struct model_tensor t = model_file_tensor(f, at);
    if (t.rows * t.cols != n)
        return err_set(e, ERR_MISMATCH, "model_file_read", "%s of %s has %lld x %lld values, not %lld", name,
                       f->path, (long long)t.rows, (long long)t.cols, (long long)n);
    return model_file_read_rows(f, name, values, 0, t.rows, e);
}

static void keep_floats(const void *packed, float *to, int64_t n) {
    memcpy(to, packed, (size_t)n * sizeof *to);
}

int model_file_rows(struct model_file *f, const char *name, struct model_rows *out, struct err *e) {
    int64_t at = model_file_find(f, name);
    if (at < 0)
        return err_set(e, ERR_NOT_FOUND, "model_file_rows", "%s has no tensor %s", f->path, name);
    struct model_tensor t = model_file_tensor(f, at);
    enum ggml_type type = gguf_get_tensor_type(f->gguf, at);
    const struct ggml_type_traits *traits = ggml_get_type_traits(type);
    if (type != GGML_TYPE_F32 && (!traits || !traits->to_float))
        return err_set(e, ERR_UNSUPPORTED, "model_file_rows", "%s of %s has type %s, which cannot be widened",
                       name, f->path, t.type);
    *out = (struct model_rows){.row_bytes = (int64_t)ggml_row_size(type, t.cols),
                               .n_bytes = t.n_bytes,
                               .widen = type == GGML_TYPE_F32 ? keep_floats : traits->to_float};
    return 0;
}

int model_file_read_packed(struct model_file *f, const char *name, void *to, int64_t n_bytes, struct err *e) {
    int64_t at = model_file_find(f, name);
    if (at < 0)
        return err_set(e, ERR_NOT_FOUND, "model_file_read_packed", "%s has no tensor %s", f->path, name);
    if (n_bytes != model_file_tensor(f, at).n_bytes)
        return err_set(e, ERR_MISMATCH, "model_file_read_packed", "%s of %s has %lld bytes, not %lld", name,
                       f->path, (long long)model_file_tensor(f, at).n_bytes, (long long)n_bytes);
    return read_bytes(f, to, (size_t)n_bytes,
                      gguf_get_data_offset(f->gguf) + gguf_get_tensor_offset(f->gguf, at), name, e);
}
