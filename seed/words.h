/* The words that the seed models' training text is made of: our own lists, plus invented words from syllables, so that
 * the models learn to copy names that they have never seen. Words of the demonstration's sentence are left out on purpose
 * (tests/seed checks it). */
#ifndef SEED_WORDS_H
#define SEED_WORDS_H

#include "base/rng.h"
#include "bpe.h"

enum { WORD_MAX = 24 };

enum word_pool {
    WORDS_NOUN,
    WORDS_ADJECTIVE,
    WORDS_UNIT,
    WORDS_LABEL,
    WORDS_VERB,
    WORDS_PLACE,
    WORDS_FORMAL,
    WORDS_POOLS
};

/* How words are drawn. With probability `invented` a word is made up: of syllables, or, where there is a vocabulary, as often
 * of pieces of it, so that no token is a stranger in a name. A model that had met "type" only as a key of JSON came apart at
 * the field "visit type". */
struct word_mix {
    double invented;
    struct bpe *pieces; /* NULL: syllables only */
};

/* A word of the pool or a made-up one; units and verbs are made up half as often, and never without a vocabulary. */
void word_pick(struct rng *r, enum word_pool pool, const struct word_mix *mix, char out[WORD_MAX]);

/* All listed words, for the vocabulary's training: index from 0, NULL at the end. */
const char *word_listed(enum word_pool pool, int index);

#endif
