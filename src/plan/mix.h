/* Quantisation mixes: which type llama.cpp gives each tensor under a file type's name, and what that weighs.
 *
 * The rules are llama.cpp's own for dense models without an importance matrix (src/llama-quant.cpp,
 * llama_tensor_get_type_impl), with its fallbacks for widths that are not a multiple of a block. Norms and biases stay F32.
 * Checked against model_size / n_params of public llama-bench runs (tests/plan/test_mix.c). */
#ifndef PLAN_MIX_H
#define PLAN_MIX_H

#include "plan/shape.h"

/* name, weights in a block, bytes of a block */
#define TENSOR_TYPES(X)                                                                                      \
    X(F32, 1, 4)                                                                                             \
    X(F16, 1, 2)                                                                                             \
    X(Q8_0, 32, 34)                                                                                          \
    X(Q6_K, 256, 210)                                                                                        \
    X(Q5_K, 256, 176)                                                                                        \
    X(Q4_K, 256, 144)                                                                                        \
    X(Q3_K, 256, 110)                                                                                        \
    X(Q2_K, 256, 84)                                                                                         \
    X(Q5_1, 32, 24)                                                                                          \
    X(Q5_0, 32, 22)                                                                                          \
    X(Q4_1, 32, 20)                                                                                          \
    X(Q4_0, 32, 18)                                                                                          \
    X(IQ4_NL, 32, 18)                                                                                        \
    X(IQ4_XS, 256, 136)                                                                                      \
    X(IQ3_S, 256, 110)
enum tensor_type {
#define X(name, weights, bytes) TENSOR_##name,
    TENSOR_TYPES(X)
#undef X
        N_TENSOR_TYPES
};

/* name, base type, perplexity it costs on Llama-3-8B (tools/quantize/quantize.cpp; < 0: not published). Best first. */
#define MIXES(X)                                                                                             \
    X(F16, F16, 0.0)                                                                                         \
    X(Q8_0, Q8_0, 0.0026)                                                                                    \
    X(Q6_K, Q6_K, 0.0217)                                                                                    \
    X(Q5_K_M, Q5_K, 0.0569)                                                                                  \
    X(Q5_K_S, Q5_K, 0.1049)                                                                                  \
    X(Q5_1, Q5_1, 0.1062)                                                                                    \
    X(Q5_0, Q5_0, 0.1316)                                                                                    \
    X(Q4_K_M, Q4_K, 0.1754)                                                                                  \
    X(Q4_K_S, Q4_K, 0.2689)                                                                                  \
    X(Q4_1, Q4_1, 0.4511)                                                                                    \
    X(Q4_0, Q4_0, 0.4685)                                                                                    \
    X(IQ4_NL, IQ4_NL, -1.0)                                                                                  \
    X(IQ4_XS, IQ4_XS, -1.0)                                                                                  \
    X(Q3_K_L, Q3_K, 0.5562)                                                                                  \
    X(Q3_K_M, Q3_K, 0.6569)                                                                                  \
    X(Q3_K_S, Q3_K, 1.6321)                                                                                  \
    X(IQ3_M, IQ3_S, -1.0)                                                                                    \
    X(Q2_K, Q2_K, 3.5199)
enum mix {
#define X(name, base, loss) MIX_##name,
    MIXES(X)
#undef X
        N_MIXES
};

bool mix_from_name(const char *name, enum mix *out);
const char *mix_name(enum mix m);
double mix_perplexity_cost(enum mix m); /* < 0: not published */
const char *tensor_type_name(enum tensor_type t);

enum tensor_type mix_tensor_type(enum mix m, const struct shape *s, const struct shape_tensor *t);
int64_t mix_tensor_bytes(enum tensor_type type, const struct shape_tensor *t);

/* A model under a mix, summed by tensor type. */
struct mix_work {
    double file_bytes;                 /* all tensors */
    double read_bytes[N_TENSOR_TYPES]; /* weights read to write one token */
    double block_macs[N_TENSOR_TYPES]; /* multiply-accumulates of one token through the blocks */
    double head_macs;                  /* of one row of logits */
    enum tensor_type head_type;
};
void mix_count(enum mix m, const struct shape *s, struct mix_work *out);

#endif
