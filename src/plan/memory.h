/* Memory that a model takes while it runs on a device, as the kernel counts it (peak resident size), under llama.cpp as
 * edgestill runs it: file mapped, flash attention, rows of logits for labels alone.
 *
 *     weights     every tensor, mapped from the file or as llama.cpp copies it into a layout that suits the processor's
 *                 instructions; which types, was asked of llama.cpp 0.7 (ggml 0.27) for each instruction set
 *     twice       what is there in both forms while such a file is read
 *     cache       keys and values of the context, which llama.cpp rounds up to 256 tokens
 *     compute     ggml's plan of the largest moment: the mask and feed-forward rows of a micro-batch, or the logits
 *     runtime     libraries, heap, the vocabulary's tables
 *
 * Figures 4.2 of make bench-planner set this beside measured peaks. */
#ifndef PLAN_MEMORY_H
#define PLAN_MEMORY_H

#include "plan/predict.h"

struct memory_parts {
    double weights, twice, cache, compute, runtime; /* bytes */
};
/* Bytes of the tensors that are copied into another layout. */
double memory_repacked(const struct predict_input *in);
struct memory_parts memory_count(const struct predict_input *in, const struct mix_work *work);
double memory_sum(const struct memory_parts *p);

/* Bytes that one token takes in the cache. */
double memory_cache_per_token(const struct shape *s, enum plan_kv_type type);

/* The sum with its interval; basis in `a`, NULL when out of memory. */
struct estimate memory_estimate(const struct predict_input *in, const struct mix_work *work, struct arena *a);

#endif
