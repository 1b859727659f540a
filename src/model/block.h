/* GGUF's block formats by name: what they weigh, and values rounded to what they store. Rounding goes through ggml's own
 * quantise and dequantise, row by row as llama.cpp's quantiser does, so that a tensor rounded here and one that went through a
 * quantised file hold the same bits. */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

struct block_type {
    const char *name; /* as ggml names it: "q4_K"; static */
    int id;           /* ggml's */
    int64_t n_values; /* of a block: the width of a matrix must be a multiple */
    int64_t n_bytes;
    bool needs_importance;
};

bool block_type_find(const char *name, struct block_type *out);
int64_t block_type_bytes(const struct block_type *t, int64_t rows, int64_t cols); /* of a matrix */

/* out [rows, cols] gets the rounded values of in (which it may be). importance [cols]: the mean square of each input, NULL:
 * none. ERR_UNSUPPORTED when the width does not fit the blocks. Threads may round different rows at the same time. */
int block_round(const struct block_type *t, const float *in, float *out, int64_t rows, int64_t cols,
                const float *importance, struct err *e);

#endif
