/* Measuring the machine this runs on, in a few seconds: how fast its memory reads by number of threads and copies, what its
 * cores multiply in 32-bit floats and in bytes, and how fast they read a prompt with weights of each type (llama/type_rate.h). */
#ifndef PLAN_PROBE_H
#define PLAN_PROBE_H

#include "llama/type_rate.h"

enum { PROBE_MOST_THREADS = 16 };
struct probe_rates {
    int n_threads; /* of read_gbps: 1, 2, ..., as many as were asked for */
    double read_gbps[PROBE_MOST_THREADS +
                     1];             /* [1..n_threads]: 10^9 bytes a second, of memory that no cache holds */
    double memcpy_mbps, memset_mbps; /* one thread, 10^6 bytes copied or set a second */
    double f32_gmacs,
        int8_gmacs; /* 10^9 multiply-accumulates a second: a matrix product on all cores; bytes, one core */
    double reads_gmacs[N_TYPE_RATES]; /* of n_threads, by type of the weights; 0: not measured */
};
/* With the threads that a model would run with: the cores of the fast cluster, since slow ones beside them change what each type
 * costs. ERR_NO_MEMORY when less than 64 MB are free; ERR_INTERRUPTED. `p` may be NULL. */
int probe_rates_measure(struct probe_rates *out, int n_threads, struct progress *p, struct err *e);

#endif
