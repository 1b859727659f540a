/* A GGUF file's shape and weights, of any tensor type, as floats.
 *
 *     struct model_file *f;
 *     model_file_open(&f, "base.gguf", &e);
 *     struct model_config c;  model_file_config(f, &c, &e);         // ERR_UNSUPPORTED: not an architecture that we train
 *     model_file_read(f, "blk.0.attn_q.weight", values, n, &e);     // dequantised
 *     model_file_close(f);
 *
 * Metadata is held, tensors are read when asked for. One thread at a time. Nothing read from the file is trusted: lengths
 * are checked against the file's. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include "base/err.h"
#include "model/config.h"
#include <stdbool.h>
#include <stdint.h>

struct model_file;

int model_file_open(struct model_file **out, const char *path, struct err *e);
void model_file_close(struct model_file *f); /* NULL is fine */

const char *model_file_path(const struct model_file *f);
const char *model_file_arch(const struct model_file *f); /* "" when the file does not say */

/* ERR_UNSUPPORTED names the architecture, key or tensor that stands in the way, with what works as the hint; ERR_FORMAT where
 * keys are missing. Also reads rope_freqs.weight, and makes sure that every tensor the layers need is there with its shape and
 * that none is there that they would ignore. */
int model_file_config(struct model_file *f, struct model_config *out, struct err *e);

/* A number of the metadata; NAN when there is no such key or it is none. */
double model_file_number(const struct model_file *f, const char *key);

/* A text of the metadata, borrowed from the file; NULL when there is no such key or it is none. */
const char *model_file_text(const struct model_file *f, const char *key);

struct model_tensor {
    const char *name;   /* borrowed from the file */
    const char *type;   /* "F32", "Q4_K" */
    int64_t rows, cols; /* [out, in]; vectors: rows 1 */
    int64_t n_bytes;
};
int64_t model_file_n_tensors(const struct model_file *f);
struct model_tensor model_file_tensor(const struct model_file *f, int64_t index);
int64_t model_file_find(const struct model_file *f, const char *name); /* -1: none */

/* n must be rows * cols. */
int model_file_read(struct model_file *f, const char *name, float *values, int64_t n, struct err *e);

/* Rows [first, first + n_rows) of a matrix: values has room for n_rows * cols. */
int model_file_read_rows(struct model_file *f, const char *name, float *values, int64_t first, int64_t n_rows,
                         struct err *e);

/* How a tensor is stored, for those who keep it so: rows of row_bytes, each of which `widen` turns into floats (from several threads
 * at once). */
struct model_rows {
    int64_t row_bytes, n_bytes;
    void (*widen)(const void *packed, float *to, int64_t n);
};
/* ERR_UNSUPPORTED: a type that cannot be widened. */
int model_file_rows(struct model_file *f, const char *name, struct model_rows *out, struct err *e);
/* The tensor's n_bytes as they are. */
int model_file_read_packed(struct model_file *f, const char *name, void *to, int64_t n_bytes, struct err *e);

struct gguf_context;
const struct gguf_context *model_file_gguf(const struct model_file *f); /* for src/model alone; borrowed */

#endif
