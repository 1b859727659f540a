/* Random-weight models of a real shape for tests: a GGUF file that llama.cpp loads, decodes, quantises and
 * tokenises like any other, made in milliseconds instead of downloaded.
 *
 *     struct err e = {0};
 *     tiny_gguf_write("base.gguf", &(struct tiny_gguf){.n_layer = 2, .tied = true, .seed = 7}, &e);
 *
 * The vocabulary is a byte-level BPE as GPT-2's (256 bytes, then merges that spell common words of our tasks,
 * then the ChatML specials) with the qwen2 pre-tokenizer, so digits are tokens of their own, as in the seed
 * models. Everything follows from the options: the same options give the same bytes. */
#ifndef TESTS_TINY_GGUF_H
#define TESTS_TINY_GGUF_H

#include "base/err.h"
#include <ggml.h>
#include <stdbool.h>
#include <stdint.h>

#define TINY_GGUF_CHATML                                                                                     \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "         \
    "'<|im_end|>' + "                                                                                        \
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/* Zero means the default in brackets. */
struct tiny_gguf {
    /* "llama" [default], "qwen2" (q, k, v biases), "qwen3" (q and k norms), "gemma3" (norms of
     * outputs, windows), or any other word: a llama that says it is something else */
    const char *arch;
    bool rope_factors;         /* a rope_freqs.weight, as in Llama 3.1 and later */
    int window;                /* gemma3's sliding window [16] */
    int n_layer;               /* [2] */
    int n_embd;                /* [256] */
    int n_head;                /* [4] */
    int n_kv;                  /* key-value heads [2] */
    int head_dim;              /* [n_embd / n_head] */
    int n_ff;                  /* [512] */
    int n_vocab;               /* [1024]; at least 260; what merges and specials do not fill is padding */
    int n_ctx;                 /* [2048] */
    float rope_base;           /* [10000] */
    float rms_epsilon;         /* [1e-5] */
    bool tied;                 /* no output.weight: the head is the embedding */
    uint64_t seed;             /* of the weights */
    enum ggml_type type;       /* of the matrices [F32]; norms and biases stay F32 */
    const char *chat_template; /* [ChatML]; "": none */
    const char *prompt_tag;    /* struct prompt's: a model trained with that prompt [none: a base] */
};

int tiny_gguf_write(const char *path, const struct tiny_gguf *options, struct err *e);

/* A LoRA adapter for that model (all linear layers, rank r, alpha), with random A and B: B is zero when
 * `zero`. */
struct tiny_lora {
    int rank;    /* [4] */
    float alpha; /* [8] */
    bool zero;
    uint64_t seed;
};
int tiny_lora_write(const char *path, const struct tiny_gguf *model, const struct tiny_lora *options,
                    struct err *e);

#endif
