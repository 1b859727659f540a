/* A byte-pair vocabulary of our own, in the form that llama.cpp knows as GPT-2 BPE with the `qwen2` pre-tokenizer, which
 * keeps digits one by one (Sennrich et al., arXiv 1508.07909; byte-level as in GPT-2).
 *
 * Names of fields must be the same tokens wherever they stand, or the teacher could not copy a name that it has never seen
 * from `the delay is` to `"delay":`. So merges are learned on words without their leading space; a space joins a
 * word only for the listed common words (the last merges). ASCII only: the seed's text has nothing else, and the host and
 * the device tokenise through llama.cpp; tests/seed holds both against each other. */
#ifndef SEED_BPE_H
#define SEED_BPE_H

#include "base/err.h"
#include <stdint.h>

enum { BPE_END_OF_TEXT = 0, BPE_IM_START = 1, BPE_IM_END = 2, BPE_N_SPECIAL = 3, BPE_PIECE_MAX = 32 };

struct bpe; /* opaque; immutable once trained but for its memo: one thread at a time */

/* `next` yields (word, count) pairs until it returns NULL; `common` words (NULL-terminated) become one token each, alone and
 * after a space. n_vocab counts everything. */
int bpe_train(struct bpe **out, int n_vocab, const char *(*next)(void *context, int64_t *count),
              void *context, const char *const common[], struct err *e);
void bpe_free(struct bpe *b);

int bpe_n_vocab(const struct bpe *b);
/* Token ids of ASCII text, no specials; returns the number, or -1 when there is no room or a byte is not ASCII. */
int64_t bpe_encode(struct bpe *b, const char *text, int32_t *ids, int64_t capacity);
/* A token's bytes (specials spelled out); borrowed from b. */
const char *bpe_token(const struct bpe *b, int32_t id);

/* For the GGUF: token and merge texts in GPT-2's printable alphabet; `buffer` is filled and returned. */
enum { BPE_PRINTABLE_MAX = 4 * BPE_PIECE_MAX };
char *bpe_token_printable(const struct bpe *b, int32_t id, char buffer[BPE_PRINTABLE_MAX]);
int bpe_n_merges(const struct bpe *b);
char *bpe_merge_printable(const struct bpe *b, int merge, char buffer[2 * BPE_PRINTABLE_MAX]);

/* One pre-token of ASCII text as qwen2's expression cuts it: its length in bytes. */
int64_t bpe_pretoken(const char *text, int64_t n);

#endif
