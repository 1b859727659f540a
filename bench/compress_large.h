/* Figures 5.2 and 5.5: a model of Qwen3-0.6B's shape, random weights: what its file weighs, takes and gives, and how long making it
 * takes. */
#ifndef BENCH_COMPRESS_LARGE_H
#define BENCH_COMPRESS_LARGE_H

#include "figures.h"
#include <stdbool.h>

bool compress_quantise(struct figures *f); /* 5.5: quantising alone, beside llama-quantize */
bool compress_choice(
    struct figures *f); /* 5.5: the whole choice, resumable; leaves the file that 5.2 measures */
bool compress_size(struct figures *f); /* 5.2: file and memory */
bool compress_rate(struct figures *f); /* 5.2: prefill and decode */

/* "--measure FILE CONTEXT BATCH": what a process of its own takes and gives, as JSON; args from FILE on. Returns the exit status. */
int compress_measure_child(const char *const args[]);

#endif
