/* Checkpoints: everything a training run needs to go on as if it had never stopped, in one file.
 *
 *     file    = header section*                    little-endian; each part padded to 64 bytes
 *     header  = struct checkpoint_header           format, shape of the trained weights, step
 *     section = struct checkpoint_section payload seal
 *     seal    = struct checkpoint_seal             hash of the payload
 *
 * Sections in order: "weights", "moment1", "moment2" (float[n_values] of the trained set, padding included) and "user" (opaque
 * bytes of the caller's: data cursor, random state, best figures). A frozen base is not in it: the caller names it in
 * its own state. A file that does not match is refused and never half-read. It is written beside and renamed: a kill at any moment
 * leaves the old file or the whole new one. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "train/optimizer.h"
#include <assert.h>

#define CHECKPOINT_MAGIC "ESCKPT01"

struct checkpoint_header {
    char magic[8];
    uint32_t version; /* 1 */
    uint32_t n_sections;
    uint64_t layout;  /* hash of the trained tensors' names and shapes, and of LoRA's alpha */
    int64_t n_values; /* floats in each of the three slabs */
    int64_t step;     /* optimiser steps done */
    uint8_t reserved[24];
};
struct checkpoint_section {
    char name[16];
    int64_t n_bytes;
    uint8_t reserved[40];
};
struct checkpoint_seal {
    uint64_t hash;
    uint8_t reserved[56];
};
static_assert(sizeof(struct checkpoint_header) == 64, "on-disk layout");
static_assert(sizeof(struct checkpoint_section) == 64, "on-disk layout");
static_assert(sizeof(struct checkpoint_seal) == 64, "on-disk layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "checkpoints are little-endian");

/* `user` of n_user bytes is the caller's own state: plain data, fixed layout. */
int checkpoint_save(const char *path, const struct optimizer *o, const void *user, size_t n_user,
                    struct err *e);

/* Into an optimizer (and its model) made with the same shapes. ERR_NOT_FOUND: no file; ERR_FORMAT: broken; ERR_MISMATCH:
 * another model, adapter rank or user state. On failure nothing is changed. */
int checkpoint_load(const char *path, struct optimizer *o, void *user, size_t n_user, struct err *e);

/* The caller's own state alone, after the same checks of the whole file. */
int checkpoint_peek(const char *path, const struct nn_model *m, void *user, size_t n_user, struct err *e);

/* The weights of the trained set alone (the best ones so far; what export and evaluation need). */
int checkpoint_load_weights(const char *path, struct nn_model *m, struct err *e);

#endif
