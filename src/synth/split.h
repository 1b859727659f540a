/* Setting apart: each accepted record without a split gets one, by seed, stratified over sources and, where the task has them,
 * labels, so that each split has its share of every label. A record keeps its split for good: what was a test row yesterday
 * trains no model tomorrow. Records with the same data go to the same split. */
#ifndef SYNTH_SPLIT_H
#define SYNTH_SPLIT_H

#include "base/err.h"
#include "store/store.h"
#include "task/task.h"

struct split_shares {
    double validation, test; /* of each label's records; the rest trains */
};

int split_assign(struct store *s, const struct task *t, struct split_shares shares, uint64_t seed,
                 struct err *e);

/* "80/10/10" or "80,10,10": percent for training, validation and test, which add up to 100. */
int split_shares_parse(const char *text, struct split_shares *out, struct err *e);

#endif
