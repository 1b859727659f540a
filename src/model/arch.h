/* The architectures that edgestill trains: one row each. What is not here is refused by name when a file is opened. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <stdbool.h>

/* GGUF's general.architecture, and how its layers differ from llama's (see struct model_config). */
#define MODEL_ARCHS(X)                                                                                       \
    X("llama", .rope_halves = false)                                                                         \
    X("qwen2", .rope_halves = true, .qkv_bias = true)                                                        \
    X("qwen3", .rope_halves = true, .qk_norm = true)                                                         \
    X("gemma3", .rope_halves = true, .qk_norm = true, .post_norms = true, .gelu = true,                      \
      .scaled_embedding = true, .window_every = 6, .local_theta = 10000)

struct model_arch {
    const char *name;
    bool rope_halves, qk_norm, qkv_bias, post_norms, gelu;
    bool scaled_embedding; /* by the square root of the width */
    int window_every;  /* blocks are windowed but for each so-manieth; 0: none is, whatever the file says */
    float local_theta; /* of the windowed blocks, where the file does not say */
};

const struct model_arch *model_arch_find(const char *name); /* NULL: not trained */
const char *model_arch_names(void);                         /* "llama, qwen2, ...": for messages */

#endif
