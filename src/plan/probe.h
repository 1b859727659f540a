/* Measuring the machine this runs on, in a few seconds: how fast its memory reads by number of threads and copies, and what its
 * cores multiply in 32-bit floats and in bytes. */
#ifndef PLAN_PROBE_H
#define PLAN_PROBE_H

#include "base/err.h"

enum { PROBE_MOST_THREADS = 16 };
struct probe_rates {
    int n_threads; /* of read_gbps: 1, 2, ..., all cores */
    double read_gbps[PROBE_MOST_THREADS +
                     1];             /* [1..n_threads]: 10^9 bytes a second, of memory that no cache holds */
    double memcpy_mbps, memset_mbps; /* one thread, 10^6 bytes copied or set a second */
    double f32_gmacs,
        int8_gmacs; /* 10^9 multiply-accumulates a second: a matrix product on all cores; bytes, one core */
};
/* ERR_NO_MEMORY when less than 64 MB are free. */
int probe_rates_measure(struct probe_rates *out, struct err *e);

#endif
