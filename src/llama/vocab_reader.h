/* A model's vocabulary read by a thread of its own, while the weights are loaded without it: a third of the time to load a model of
 * 152,000 tokens is its vocabulary, and a second core has nothing else to do then.
 *
 *     struct vocab_reader *r = vocab_reader_begin(path);       // NULL: load the model whole
 *     struct llama_model_params p = …;
 *     if (r) p.kv_overrides = vocab_reader_overrides(r);       // the weights' model: as many tokens, none known
 *     … llama_model_load_from_file(path, p) …
 *     struct llama_model *vocabulary = r ? vocab_reader_end(r, errors, sizeof errors) : NULL;
 */
#ifndef LLAMA_VOCAB_READER_H
#define LLAMA_VOCAB_READER_H

#include "llama/lm_internal.h"

struct vocab_reader;

/* NULL where the file's head does not name an architecture and a vocabulary, or there is no memory or thread for it. */
struct vocab_reader *vocab_reader_begin(const char *path);
/* Valid until the end. */
const struct llama_model_kv_override *vocab_reader_overrides(const struct vocab_reader *r);
/* Waits, and releases the reader. The vocabulary as a model without weights, the caller's to free; NULL: llama.cpp could not read it,
 * and said into errors[capacity] why. */
struct llama_model *vocab_reader_end(struct vocab_reader *r, char *errors, size_t capacity);

#endif
