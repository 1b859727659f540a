/* Where llama.cpp keeps a weight: in the mapped file, or as a copy in a layout of the processor's own. */
#ifndef LLAMA_LAYOUT_H
#define LLAMA_LAYOUT_H

#include "llama/compat.h"

/* The first of the device's own layouts in which it can compute `product` (of the unplaced weight `w`), as llama.cpp chooses when it
 * loads a model; else plain memory. */
ggml_backend_buffer_type_t layout_of(ggml_backend_dev_t device, struct ggml_tensor *w,
                                     const struct ggml_tensor *product);

/* Is a matrix [rows, cols] that multiplies activations copied into such a layout by the kernels in use? */
bool layout_copies(enum ggml_type type, int64_t rows, int64_t cols);

#endif
