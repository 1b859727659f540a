/* Random tokenizers of the kinds that can be trimmed, each in a small model that llama.cpp loads, and random texts.
 *
 *     struct rng r;
 *     rng_seed(&r, 11);
 *     tiny_vocab_write("whole.gguf", TINY_VOCAB_SPM, &r, &e);
 *     char text[TINY_TEXT_BYTES];
 *     size_t n = tiny_text(&r, text);
 *
 * Besides all bytes there are letters of several scripts, joins of any two earlier tokens, unused ones and specials. */
#ifndef TESTS_TINY_VOCAB_H
#define TESTS_TINY_VOCAB_H

#include "base/err.h"
#include "base/rng.h"
#include <stddef.h>

enum { TINY_VOCAB_TOKENS = 1400, TINY_TEXT_BYTES = 96 };
/* As Qwen, Llama 3 and SmolLM2 split words; as TinyLlama (a blank is put before a text) and Gemma (it is not) join pieces. */
enum tiny_vocab_kind {
    TINY_VOCAB_QWEN2,
    TINY_VOCAB_LLAMA_BPE,
    TINY_VOCAB_SMOLLM,
    TINY_VOCAB_SPM,
    TINY_VOCAB_GEMMA,
    TINY_VOCAB_N_KINDS
};
const char *tiny_vocab_name(enum tiny_vocab_kind kind); /* "qwen2" */

int tiny_vocab_write(const char *path, enum tiny_vocab_kind kind, struct rng *r, struct err *e);

/* Half of them of common characters, the other half of any but NUL, surrogates and U+2581; ends with NUL. Its length. */
size_t tiny_text(struct rng *r, char text[TINY_TEXT_BYTES]);

#endif
