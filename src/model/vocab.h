/* A model's vocabulary as its GGUF lists it, and what a smaller one must keep so that llama.cpp still tokenises any text without
 * loss. Byte-level BPE ("gpt2": Qwen, Llama 3, SmolLM2) and SentencePiece's BPE ("llama": TinyLlama, Gemma).
 *
 *     struct vocab *v;
 *     vocab_open(&v, file, &e);                      // ERR_UNSUPPORTED: another kind of tokenizer
 *     bool *keep = calloc(vocab_size(v), 1);
 *     vocab_keep_essential(v, keep);                 // bytes, specials, what metadata name
 *     keep[id] = true; ...                           // what the task needs
 *     vocab_keep_closure(v, keep, &e);               // every token on the way to a kept one
 *     vocab_keep_reserve(v, keep, n, &e);            // the most frequent ones besides
 *     model_trim(file, "small.gguf", v, keep, &e);   // model/trim.h
 *     vocab_close(v);
 *
 * Why the closure suffices. Both tokenizers join neighbours, the best pair first. The joins inside a token never look at what
 * stands around it, so a kept token is reached in any text as it was before when every token on its own way is kept; what cannot be
 * joined any more stays as smaller tokens, at the least bytes, all of which are kept. So no text loses anything, and a
 * text whose tokens are all kept has the tokens that it had.
 *
 * Immutable after opening; borrows the file. */
#ifndef MODEL_VOCAB_H
#define MODEL_VOCAB_H

#include "model/file.h"

struct vocab;

int vocab_open(struct vocab **out, const struct model_file *f, struct err *e);
void vocab_close(struct vocab *v); /* NULL is fine */

int32_t vocab_size(const struct vocab *v);
const char *vocab_text(const struct vocab *v, int32_t id);   /* as stored; borrowed from the file */
int32_t vocab_find(const struct vocab *v, const char *text); /* -1: none */
bool vocab_is_digits(const struct vocab *v, int32_t id);     /* "0" to "999": what numbers may become */

/* keep is [vocab_size]; these set entries and never clear any. */
void vocab_keep_essential(const struct vocab *v, bool *keep);
int vocab_keep_closure(const struct vocab *v, bool *keep, struct err *e);
/* Adds tokens in falling order of frequency in the text that the tokenizer was made from (earlier merges, higher scores), each with its
 * closure, until at least `n` are kept and their number is a multiple of 64, which is what packed kernels like; or until there
 * are no more. */
int vocab_keep_reserve(const struct vocab *v, bool *keep, int32_t n, struct err *e);

/* Merges of the file, in order: ids of left, right and result; result -1 where one of the three is no token. None for
 * SentencePiece. */
struct vocab_merge {
    int32_t left, right, result;
};
int64_t vocab_n_merges(const struct vocab *v);
struct vocab_merge vocab_merge(const struct vocab *v, int64_t i);

#endif
