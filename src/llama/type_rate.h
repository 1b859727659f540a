/* How fast this machine multiplies by weights of a type when it reads a prompt: the very kernels that a model is run with, weights laid
 * out anew where llama.cpp does so. What a type costs differs by a factor of three from one processor to the next, and not in the
 * order of their bits: it is measured, since nothing else tells.
 *
 *     lm_backend_init(NULL, &e);
 *     double macs_per_s;
 *     type_rate_measure("q4_K", 4, &macs_per_s, &e);     // a fifth of a second, and longer on a slow board
 *
 * Of a product of [TYPE_RATE_WIDTH, TYPE_RATE_WIDTH] weights by TYPE_RATE_ROWS rows, the best of a few: what else the machine does can
 * only make it slower. */
#ifndef LLAMA_TYPE_RATE_H
#define LLAMA_TYPE_RATE_H

#include "base/err.h"
#include "base/progress.h"

enum { TYPE_RATE_WIDTH = 1024, TYPE_RATE_ROWS = 64 };

/* The types that a device is asked about, named as in plan/mix.h. */
#define TYPE_RATES(X)                                                                                        \
    X(F16) X(Q8_0) X(Q6_K) X(Q5_K) X(Q4_K) X(Q3_K) X(Q2_K) X(Q5_1) X(Q5_0) X(Q4_1) X(Q4_0) X(IQ4_NL) X(IQ4_XS)
enum type_rate {
#define X(name) TYPE_RATE_##name,
    TYPE_RATES(X)
#undef X
        N_TYPE_RATES
};
const char *type_rate_name(enum type_rate t); /* "Q4_K" */

/* Multiply-accumulates a second of n_threads. ERR_UNSUPPORTED: ggml has no such type of weights (its names, in any case), or
 * cannot make it without an importance matrix. */
int type_rate_measure(const char *type, int n_threads, double *macs_per_s, struct err *e);

/* All of them, in two to five seconds: 10^9 multiply-accumulates a second of n_threads. ERR_INTERRUPTED between two types. `p`, begun,
 * counts types; it may be NULL. */
int type_rates_measure(double gmacs[N_TYPE_RATES], int n_threads, struct progress *p, struct err *e);

#endif
