/* The shape of a decoder of the llama family: what its layers need to know, whatever file it came from. Plain data, no
 * library: model/ fills it from GGUF metadata (model/weights.h), seed/ writes it down, nn/ computes with it. */
#ifndef NN_CONFIG_H
#define NN_CONFIG_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

enum { NN_MAX_HALF_HEAD = 256 }; /* largest head_dim / 2 */

struct nn_config {
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
    bool has_rope_factors;
    float rope_factors[NN_MAX_HALF_HEAD]; /* frequencies are divided by these (rope_freqs.weight), where there are any */
};

/* ERR_UNSUPPORTED or ERR_INPUT naming the first field that cannot be right. */
int nn_config_check(const struct nn_config *c, struct err *e);

#endif
