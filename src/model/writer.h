/* GGUF files out: a base's merged weights with its metadata carried over byte for byte, a LoRA adapter, a model made here.
 *
 *     struct model_writer *w;
 *     model_writer_new(&w, &e);
 *     model_writer_copy_metadata(w, base);                               // or model_writer_config + set_* one by one
 *     model_writer_tensor(w, "token_embd.weight", 4096, 256, MODEL_F16); // shapes first ...
 *     model_writer_write(w, "merged-f16.gguf", fill, context, &e);       // ... then values, asked for one by one
 *     model_writer_free(w);
 *
 * Written beside and renamed: never a part of a file under its name. Errors of the set functions come back from
 * model_writer_write. */
#ifndef MODEL_WRITER_H
#define MODEL_WRITER_H

#include "base/err.h"
#include "model/config.h"
#include "model/file.h"
#include <stddef.h>
#include <stdint.h>

struct model_writer;
int model_writer_new(struct model_writer **out, struct err *e);
void model_writer_free(struct model_writer *w); /* NULL is fine */

/* ---- metadata ---- */

/* Every key of the file, unchanged. */
void model_writer_copy_metadata(struct model_writer *w, const struct model_file *from);
/* general.architecture and the keys that model_file_config reads. */
void model_writer_config(struct model_writer *w, const char *arch, const struct model_config *c);
void model_writer_text(struct model_writer *w, const char *key, const char *value);
void model_writer_u32(struct model_writer *w, const char *key, uint32_t value);
void model_writer_f32(struct model_writer *w, const char *key, float value);
void model_writer_bool(struct model_writer *w, const char *key, bool value);
void model_writer_texts(struct model_writer *w, const char *key, const char *const values[], size_t n);
void model_writer_i32s(struct model_writer *w, const char *key, const int32_t *values, size_t n);
void model_writer_f32s(struct model_writer *w, const char *key, const float *values, size_t n);

/* ---- tensors ---- */

enum model_type { MODEL_F32, MODEL_F16, MODEL_BF16 };
/* rows 1: a vector. */
void model_writer_tensor(struct model_writer *w, const char *name, int64_t rows, int64_t cols,
                         enum model_type type);

/* Fills rows * cols floats of the tensor, row-major. */
typedef int model_fill(void *context, const char *name, float *values, int64_t n, struct err *e);

/* ERR_UNSUPPORTED when a value does not fit 16-bit floats. */
int model_writer_write(struct model_writer *w, const char *path, model_fill *fill, void *context,
                       struct err *e);

#endif
