/* The shape of a decoder of the llama family: what its layers need to know, whatever file it came from. Plain
 * data and no library, so that programs without ggml can share it: model/file.h fills it from GGUF
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
    bool tied_head;    /* the head is the embedding table */
    bool rope_halves;  /* false: pairs (2i, 2i+1), as GGUF's llama files; true: (i, i + E/2) */
    bool qk_norm;      /* RMSNorm over each head of q and k before the rotation (qwen3, gemma3) */
    bool qkv_bias;     /* q, k and v have a bias (qwen2) */
    bool post_norms;   /* RMSNorm over what attention and feed-forward give, before it is added (gemma3) */
    bool gelu;         /* the feed-forward's gate goes through gelu (gemma3); else silu */
    float embed_scale; /* embeddings are multiplied by it; 0: 1 */
    int window;        /* of the windowed blocks: a token sees as many latest positions; 0: there are none */
    int window_every;  /* every so-manieth block sees everything all the same; 0: none does */
    float local_theta; /* rope_theta of the windowed blocks, without factors; 0: rope_theta */
    bool has_rope_factors;
    float rope_factors[MODEL_MAX_HALF_HEAD]; /* frequencies are divided by these (rope_freqs.weight), where
                                                there are any */
};

/* Does the block see no more than the window? */
static inline bool model_config_windowed(const struct model_config *c, int layer) {
    return c->window > 0 && (c->window_every == 0 || (layer + 1) % c->window_every != 0);
}

#endif
