/* Checkpoints: everything a training run needs to go on as if it had never stopped, in one file.
 *
 * File, little-endian: struct checkpoint_header, then `n_sections` times { struct checkpoint_section, payload
 * padded to 64 bytes }. Sections: "weights", "moment1", "moment2" (float[n_values] of the trained set,
 * padding included), "base" (weights of a fully trained model without LoRA are the trained set: no base
 * section), "user" (opaque bytes of the caller's: data cursor, best figures, random state). The header
 * carries a hash of the layout of the trained set (names, shapes) and of each section's payload; a file that
 * does not match is refused, never half-read. Written beside and renamed: a kill at any moment leaves the old
 * file or the whole new one. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "train/optimizer.h"

/* `user` of n_user bytes is the caller's own state: plain data, fixed layout. */
int checkpoint_save(const char *path, const struct optimizer *o, const void *user, size_t n_user,
                    struct err *e);

/* Into an optimizer (and its model) made with the same shapes. ERR_NOT_FOUND: no file; ERR_FORMAT: broken;
 * ERR_MISMATCH: another model, adapter rank or user state. On failure nothing is changed. */
int checkpoint_load(const char *path, struct optimizer *o, void *user, size_t n_user, struct err *e);

/* The weights of the trained set alone (the best ones so far; what export and evaluation need). */
int checkpoint_load_weights(const char *path, struct nn_model *m, struct err *e);

#endif
