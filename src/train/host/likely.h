/* What a teacher with the student's vocabulary would write in place of each token of an answer: its most probable tokens, as targets
 * beside the token that is there (Hinton et al., arXiv 1503.02531, cut to the top k). The teacher is a GGUF file, read by
 * llama.cpp, given the very tokens that the student gets. */
#ifndef TRAIN_HOST_LIKELY_H
#define TRAIN_HOST_LIKELY_H

#include "base/progress.h"
#include "llama/lm.h"
#include "train/dataset.h"

struct likely_from {
    const char *teacher;       /* GGUF */
    const struct lm *student;  /* whose vocabulary it must have, token for token */
    int n_top;                 /* tokens a place; 1 to 64 */
    int n_threads;             /* 0: one a core */
    struct progress *progress; /* may be NULL */
};

/* Adds to each row of d. ERR_MISMATCH naming the first token that differs; ERR_INTERRUPTED. Progress is "teacher", in records. */
int likely_read(struct dataset *d, const struct likely_from *from, struct err *e);

#endif
