/* The shape of a decoder of the llama family: what its layers need to know, whatever file it came from. Plain
 * data and no library, so that programs without ggml can share it: model/weights.h fills it from GGUF
 * metadata, seed/ writes it down, nn/ computes with it, plan/ counts with it. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_MAX_HALF_HEAD = 256 }; /* largest head_dim / 2 */

struct model_config {
    int n_layer;
    int d_model;    /* D */
    int n_heads;    /* H query heads */
    int n_kv_heads; /* K key-value heads; H is a multiple */
    int head_dim;   /* E; H * E need not be D */
    int d_ff;       /* F */
    int n_vocab;    /* V */
    int n_ctx;      /* positions that the model was made for */
    float rope_theta;
    float norm_eps;
    bool tied_head;   /* the head is the embedding table */
    bool rope_halves; /* false: pairs (2i, 2i+1), as GGUF's llama files; true: (i, i + E/2) */
    bool qk_norm;     /* RMSNorm over each head of q and k before the rotation (qwen3) */
    bool has_rope_factors;
    float rope_factors[MODEL_MAX_HALF_HEAD]; /* frequencies are divided by these (rope_freqs.weight), where
                                                there are any */
};

#endif
