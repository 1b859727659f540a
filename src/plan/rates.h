/* How fast a device reads weights and multiplies, by tensor type, with the width of what is not known.
 *
 * Four sources, the first that there is:
 *   measured     rows of throughput.csv for this board. Six and more: seconds per byte (writing) and per multiply-accumulate
 *                (reading) of each tensor type, fitted to all rows at the board's own number of threads. Fewer: what a
 *                transfer says, scaled to them
 *   by itself    what a probe of the device measured for each type (catalog.h: reads), or its self-test (feedback.h); of reading
 *                alone, before all others
 *   published    one bandwidth that somebody measured while a model wrote
 *   transferred  what boards with such cores reach per core and clock (boards.h); writing no faster than memory allows
 * Rows of GPUs, of tier X (the paper's) and repeats of a row never enter a fit. */
#ifndef PLAN_RATES_H
#define PLAN_RATES_H

#include "catalog/catalog.h"
#include "compress/bits.h"
#include "plan/mix.h"

/* Instruction sets that decide how fast whole numbers multiply and how weights are laid out. */
#define BOARD_ISAS(X)                                                                                        \
    X(SCALAR, "without vector instructions that llama.cpp knows")                                            \
    X(PLAIN, "without dot products")                                                                         \
    X(DOTPROD, "with dot products") X(I8MM, "with matrix products of bytes") X(X86, "x86-64 with AVX2")
enum board_isa {
#define X(name, text) ISA_##name,
    BOARD_ISAS(X)
#undef X
        N_ISAS
};

struct device_rates {
    double s_per_byte[N_TENSOR_TYPES]; /* writing: weights read */
    double s_per_mac[N_TENSOR_TYPES];  /* reading a prompt, all cores */
    double write_spread,
        read_spread; /* truth is expected within value / spread and value * spread, 19 times of 20 */
    int threads;
    enum board_isa isa;
    const char *write_basis, *read_basis;
};

/* Texts go into `a`. Fails only when out of memory: an unknown device gets wide bounds. */
int rates_for_device(const struct catalog *c, const struct catalog_device *d, struct arena *a,
                     struct device_rates *out, struct err *e);

/* What was seen of it itself: 10^9 multiply-accumulates a second by type, 0 where it was not; types that were not keep their place among
 * those that were. `source` says by what. Repeating it changes nothing. */
int rates_take_reads(struct device_rates *r, const double gmacs[N_TYPE_RATES], const char *source,
                     struct arena *a, struct err *e);

/* The same by ggml's names, as the search for types asks for it: [N_TENSOR_TYPES] in `a`; NULL when out of memory. */
const struct bits_speed *rates_by_type(const struct device_rates *r, struct arena *a);

/* Nonnegative x that makes sum_j a[i][j] x[j] close to time[i] for all i, in relative terms, drawn towards one common value
 * where the rows say little: minimises sum_i (sum_j a_ij x_j / t_i - 1)^2 + pull sum_j (x_j / x0 - 1)^2 by coordinate
 * descent, x0 the median of t_i / sum_j a_ij. a is [n_rows, n_cols] row-major; x has n_cols. */
void rates_fit(const double *a, const double *time, int64_t n_rows, int n_cols, double pull, double *x);

#endif
