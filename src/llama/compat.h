/* llama.cpp's interface as edgestill uses it: the only place that knows versions of llama.cpp and ggml.
 *
 * Written for libllama 0.7 with ggml 0.27 (soname libllama.so.0). What has changed its name or shape between
 * releases is wrapped here under one name, so that the rest of src/llama reads the same for every version.
 * When a newer release breaks this: compare its llama.h with the functions below, adapt them, and raise the
 * version named here; tests/llama shows whether scoring, states and quantisation still agree. Only src/llama
 * may include this file. */
#ifndef LLAMA_COMPAT_H
#define LLAMA_COMPAT_H

#include <ggml-backend.h>
#include <ggml.h>
#include <gguf.h>
#include <llama.h>
#include <stdbool.h>

/* The layout of saved sequences has been 4 since the functions used here took their present form. */
#if !defined(LLAMA_STATE_SEQ_VERSION) || LLAMA_STATE_SEQ_VERSION < 4
#error                                                                                                       \
    "this llama.h is older than the interface edgestill was written for: see docs/building.md (LLAMA_PREFIX=DIR)"
#endif

/* The types and helpers that had other names or arguments in earlier or later releases. */
static inline struct llama_model_params compat_model_params(bool vocab_only, bool lock_memory,
                                                            bool no_repack) {
    struct llama_model_params p = llama_model_default_params();
    p.vocab_only = vocab_only;
    p.n_gpu_layers = 0;
    p.load_mode = lock_memory ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MMAP;
    p.use_extra_bufts = !no_repack;
    return p;
}

static inline int compat_set_lora(struct llama_context *c, struct llama_adapter_lora *adapter, float scale) {
    struct llama_adapter_lora *adapters[1] = {adapter};
    float scales[1] = {scale};
    return llama_set_adapters_lora(c, adapters, adapter ? 1 : 0, scales);
}

/* Partial removal: false where the model's memory cannot forget the end of a sequence (recurrent models). */
static inline bool compat_truncate(struct llama_context *c, int seq, int from) {
    return llama_memory_seq_rm(llama_get_memory(c), seq, from, -1);
}

static inline void compat_fork(struct llama_context *c, int from, int to) {
    llama_memory_seq_cp(llama_get_memory(c), from, to, -1, -1);
}

static inline int compat_position(struct llama_context *c, int seq) {
    return llama_memory_seq_pos_max(llama_get_memory(c), seq) + 1;
}

static inline const char *compat_llama_version(void) {
    return llama_version();
}

static inline const char *compat_ggml_version(void) {
    return ggml_version();
}

#endif
