/* The words that the seed models' training text is made of: our own lists, plus invented words from syllables, so that
 * the models learn to copy names that they have never seen. Words of the demonstration's sentence are left out on purpose
 * (tests/seed checks it). */
#ifndef SEED_WORDS_H
#define SEED_WORDS_H

#include "base/rng.h"

enum { WORD_MAX = 24 };

enum word_pool { WORDS_NOUN, WORDS_ADJECTIVE, WORDS_UNIT, WORDS_LABEL, WORDS_VERB, WORDS_PLACE, WORDS_POOLS };

/* A word of the pool, or with probability `invented` one made of syllables (never for units and verbs). */
void word_pick(struct rng *r, enum word_pool pool, double invented, char out[WORD_MAX]);

/* All listed words, for the vocabulary's training: index from 0, NULL at the end. */
const char *word_listed(enum word_pool pool, int index);

#endif
