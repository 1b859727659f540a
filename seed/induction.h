/* The start of training: random weights, but one head of the first block begins as a head that looks one token back, and one of
 * the second as an induction head, which finds an earlier occurrence of the present token and copies what followed it (Olsson
 * et al., arXiv 2209.11895). Copying names is most of what the seed models do, and found from nothing it took
 * them over seven million tokens; begun so, about a hundred thousand. Training is free to change these heads, and does. */
#ifndef SEED_INDUCTION_H
#define SEED_INDUCTION_H

#include "nn/transformer.h"

/* On a randomised model of two blocks or more with a tied head; trained or not. */
int induction_prepare(struct nn_model *m, struct rng *rng, struct err *e);

#endif
