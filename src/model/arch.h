/* The architectures that edgestill trains: one row each. What is not here is refused by name when a file is opened. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <stdbool.h>

/* GGUF's general.architecture, rotates halves (else pairs), norms over the heads of q and k */
#define MODEL_ARCHS(X)                                                                                       \
    X("llama", false, false)                                                                                 \
    X("qwen3", true, true)

struct model_arch {
    const char *name;
    bool rope_halves, qk_norm;
};

const struct model_arch *model_arch_find(const char *name); /* NULL: not trained */
const char *model_arch_names(void);                         /* "llama, qwen3": for messages */

#endif
