/* Quantisation through llama.cpp's C interface.
 *
 *     struct quantize_options o = {.type = "Q4_K_M", .imatrix = im};
 *     struct quantize_preview p; quantize_preview(&p, "f16.gguf", &o, &e);   // types and exact size, writes nothing
 *     quantize_file("f16.gguf", "q4.gguf", &o, &e);
 *     quantize_preview_release(&p);
 *
 * Refused with the reason: an unknown type, a source that is quantised already, a layer out of range, an importance matrix
 * of another model, a type that needs one where there is none. The output appears whole or not at all. */
#ifndef LLAMA_QUANTIZE_H
#define LLAMA_QUANTIZE_H

#include "base/err.h"
#include "base/mem.h"
#include "base/progress.h"
#include "llama/imatrix.h"
#include <stdbool.h>
#include <stdint.h>

/* File mixes: name, llama.cpp's file type, does it need an importance matrix? In falling order of size. */
#define QUANTIZE_MIXES(X)                                                                                    \
    X("F32", ALL_F32, false)                                                                                 \
    X("F16", MOSTLY_F16, false)                                                                              \
    X("BF16", MOSTLY_BF16, false)                                                                            \
    X("Q8_0", MOSTLY_Q8_0, false)                                                                            \
    X("Q6_K", MOSTLY_Q6_K, false)                                                                            \
    X("Q5_1", MOSTLY_Q5_1, false)                                                                            \
    X("Q5_K_M", MOSTLY_Q5_K_M, false)                                                                        \
    X("Q5_K_S", MOSTLY_Q5_K_S, false)                                                                        \
    X("Q5_0", MOSTLY_Q5_0, false)                                                                            \
    X("Q4_1", MOSTLY_Q4_1, false)                                                                            \
    X("Q4_K_M", MOSTLY_Q4_K_M, false)                                                                        \
    X("Q4_K_S", MOSTLY_Q4_K_S, false)                                                                        \
    X("Q4_0", MOSTLY_Q4_0, false)                                                                            \
    X("IQ4_NL", MOSTLY_IQ4_NL, false)                                                                        \
    X("IQ4_XS", MOSTLY_IQ4_XS, false)                                                                        \
    X("Q3_K_L", MOSTLY_Q3_K_L, false)                                                                        \
    X("Q3_K_M", MOSTLY_Q3_K_M, false)                                                                        \
    X("IQ3_M", MOSTLY_IQ3_M, false)                                                                          \
    X("IQ3_S", MOSTLY_IQ3_S, false)                                                                          \
    X("Q3_K_S", MOSTLY_Q3_K_S, false)                                                                        \
    X("IQ3_XS", MOSTLY_IQ3_XS, false)                                                                        \
    X("IQ3_XXS", MOSTLY_IQ3_XXS, true)                                                                       \
    X("Q2_K", MOSTLY_Q2_K, false)                                                                            \
    X("Q2_K_S", MOSTLY_Q2_K_S, true)                                                                         \
    X("IQ2_M", MOSTLY_IQ2_M, true)                                                                           \
    X("IQ2_S", MOSTLY_IQ2_S, true)                                                                           \
    X("IQ2_XS", MOSTLY_IQ2_XS, true)                                                                         \
    X("IQ2_XXS", MOSTLY_IQ2_XXS, true)

struct quantize_override {
    const char *pattern; /* regular expression over tensor names: "blk\\.[0-3]\\.ffn_down" */
    const char *type;    /* of ggml: "q8_0", "q6_K", "f16" */
};

/* The pattern that matches this tensor alone, in `a`; NULL when out of memory. */
char *quantize_pattern(const char *tensor, struct arena *a);

struct quantize_options {
    const char *type;              /* a mix of the table */
    const struct imatrix *imatrix; /* NULL: none */
    const struct quantize_override *overrides;
    int n_overrides;
    const char *head_type;      /* of output.weight (or the tied embedding); NULL: the mix's */
    const char *embedding_type; /* NULL: the mix's */
    const int32_t *drop_layers; /* indices from 0 */
    int n_drop_layers;
    bool pure;              /* every matrix the mix's base type */
    bool allow_requantized; /* take a source that is quantised already */
    int n_threads;          /* 0: one a core */
    struct progress *progress;
};

int quantize_file(const char *in, const char *out, const struct quantize_options *o, struct err *e);

struct quantize_tensor {
    const char *name, *type; /* type as ggml names it: "q4_K" */
    int64_t n_values, size_bytes;
};
struct quantize_preview {
    struct arena arena;
    struct quantize_tensor *tensors;
    int n_tensors;
    int64_t tensor_bytes; /* of all tensors, with their padding */
    int64_t file_bytes;   /* of the whole file; exact unless layers are dropped */
    double bits_per_weight;
};
int quantize_preview(struct quantize_preview *out, const char *in, const struct quantize_options *o,
                     struct err *e);
void quantize_preview_release(struct quantize_preview *p);

bool quantize_mix_known(const char *type);
bool quantize_mix_needs_imatrix(const char *type);

#endif
