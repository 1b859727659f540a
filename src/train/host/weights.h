/* Between model files and the trainer: a base's weights in, what training made of them out. */
#ifndef TRAIN_HOST_WEIGHTS_H
#define TRAIN_HOST_WEIGHTS_H

#include "model/file.h"
#include "model/writer.h"
#include "train/memory.h"

/* All base weights of the model from the file; m was made with the file's configuration. A packed model gets its matrices as the file
 * has them, in m->storage; another one gets floats. */
int weights_load(struct nn_model *m, struct model_file *f, struct err *e);
/* The same of a packed model with its matrices rounded to bfloat16, whatever the file has. */
int weights_load_bf16(struct nn_model *m, struct model_file *f, struct err *e);

/* Bytes of m->storage that either will take for a packed model of this file. ERR_UNSUPPORTED: a type that cannot be widened. */
int weights_packed_bytes(struct model_file *f, bool bf16, int64_t *n_bytes, struct err *e);
int weights_base_bytes(struct model_file *f, struct train_base_bytes *out, struct err *e);

/* The adapter as llama.cpp loads it: general.type adapter, adapter.type lora, NAME.lora_a [R, in], NAME.lora_b [out, R], F32.
 * `prompt_hash` (may be NULL) goes in as edgestill.prompt, so that an adapter can say which prompt it was trained with. */
int weights_write_adapter(const struct nn_model *m, const struct model_file *base, const char *path,
                          const char *prompt_hash, struct err *e);

/* The whole model as trained, matrices in `type` and vectors in F32, with the base's metadata byte for byte except
 * general.file_type, and edgestill.prompt added. Tensors that training does not know are copied. */
int weights_write_merged(const struct nn_model *m, struct model_file *base, const char *path,
                         enum model_type type, const char *prompt_hash, struct err *e);

#endif
