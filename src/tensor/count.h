/* Counts the multiply-adds that a table's products and attention really do, beside computing them: what a rate or a share of the
 * machine's peak is made of. Elementwise work is not counted.
 *
 *     static struct ops_count count;                 // outlives the table
 *     ops_count_wrap(&ops, &count);                  // before the first model is made with it
 *     ... count.macs ... */
#ifndef TENSOR_COUNT_H
#define TENSOR_COUNT_H

#include "tensor/ops.h"

struct ops_count {
    double macs;
    struct ops inner; /* the table as it was */
};

/* One table at a time can be counted in a process. */
void ops_count_wrap(struct ops *o, struct ops_count *c);

/* Rate of the table's product C [m, n] = A B^T in multiply-adds per second of wall time, the best of `n_times` runs and over all of them,
 * and per second of processor time (a core's), over all of them. */
struct ops_rate {
    double per_s, mean_per_s, per_cpu_s;
};
int ops_measure_product(const struct ops *o, int64_t m, int64_t n, int64_t k, int n_times,
                        struct ops_rate *out, struct err *e);

#endif
