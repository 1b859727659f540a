/* The file that compress picks for this machine, where a file set by hand would prove nothing of it. */
#ifndef BENCH_DEVICE_CHOICE_H
#define BENCH_DEVICE_CHOICE_H

#include "bench/shapes.h"

struct device_choice {
    char path[256];
    char types
        [320]; /* "197 q4_0, 1 q6_K: 4.53 bits a weight; ...": what it consists of, and how it was picked */
};

/* What `compress --prefer speed` chooses of Qwen3-0.6B's shape for a task: the way from the 16-bit file with its whole vocabulary
 * to the file that ships, by the same code, for a device of n_threads whose rates by type are measured here first, as `probe`
 * measures them. The plan's type is Q3_K_M, as in the paper. The weights are random, so the rows' labels are set to what the
 * 16-bit file answers: a candidate is as right as it agrees with it. Kept under build/bench/shapes; minutes when it is not there. */
int device_choice_make(struct device_choice *out, const struct shape_task *t, int n_threads, struct err *e);

#endif
