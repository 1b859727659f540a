/* Fewer layers: those that matter least for the task go, and what is left is taught to answer as the whole student does.
 *
 *     struct depth_result r;
 *     depth_cut(&r, &(struct depth_request){.source = "merged-f16.gguf", .path = "short-f16.gguf", .task = t, .layers = 12,
 *                                           .training = &training, .validation = &validation}, &e);
 *
 * Which matter is measured on training rows: a block only adds to what passes it, so that one whose two output matrices are zero is
 * as good as not there. One after another goes the one without which the label probabilities stay closest to the whole student's
 * (greedy; that many layers can be spared at all: Gromov et al., arXiv 2403.17887; Men et al., arXiv 2403.03853).
 * Healing is recovery (recover.h) without rounding: each training row with the probabilities that the whole student gives its labels. */
#ifndef COMPRESS_DEPTH_H
#define COMPRESS_DEPTH_H

#include "compress/recover.h"
#include <jansson.h>

struct depth_request {
    const char *source, *path; /* GGUF, F16 or F32; the shorter one, F16 */
    const struct task *task;
    const struct rows *training,
        *validation;             /* validation NULL or empty: healing is judged by the training rows */
    int layers;                  /* to keep */
    struct recover_options heal; /* epochs 0: 6 */
    int n_threads;               /* 0: one a core */
};

enum { DEPTH_MOST_LAYERS = 256 };

struct depth_result {
    int before, after;                /* layers; 0: nothing was asked for */
    int dropped[DEPTH_MOST_LAYERS];   /* indices in the source, the least important first */
    int64_t judged_rows, taught_rows; /* that chose them; that healed */
    /* Mean divergence of the label probabilities from the whole student's, in nats, by the rows that judge. */
    double cut, healed;
    double seconds;
};

/* ERR_USAGE: not fewer layers than there are, or none; ERR_UNSUPPORTED: the trainer cannot read the student, or its layers differ in
 * what they see (sliding windows) and cannot change places; ERR_NO_MEMORY also where healing would take more than is free. */
int depth_cut(struct depth_result *out, const struct depth_request *q, struct err *e);

/* As in compress.json; NULL without memory. */
json_t *depth_to_json(const struct depth_result *r);

#endif
