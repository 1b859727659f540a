/* The cases of ops_parity: what is compared and timed. */
#ifndef TESTS_TENSOR_OPS_PARITY_H
#define TESTS_TENSOR_OPS_PARITY_H

#include "tensor/ops.h"

#define MAX_ARRAYS  12
#define STEP_TOKENS 32768 /* the tokens of a step in the cases that are timed */

/* All that any operation needs to know of its size; each reads what concerns it. */
struct case_size {
    int64_t m, n, k;             /* gemm; rows m of n values; n values of k sums; n vocabulary entries */
    bool trans_a, trans_b, flag; /* flag: halves of rope, inverse too; a frozen weight of rmsnorm */
    float beta;
    int n_heads, n_kv_heads, head_dim;
    int length, window, n_prefix; /* sequences of this length, give or take */
};

enum fill {
    FILL_NORMAL,
    FILL_POSITIVE,
    FILL_POISON,
    FILL_TOKENS,
    FILL_TARGETS,
    FILL_DISTINCT,
    FILL_POSITIONS
};

/* n values: floats, or int32_t for the last four fills. */
struct array {
    size_t n;
    enum fill fill;
    double amount; /* standard deviation, or the bound of integers */
    bool result;   /* the operation writes it: compare */
    void *host;
};

/* One case with its data. */
struct problem {
    const struct case_size *size;
    struct array array[MAX_ARRAYS];
    int n_arrays;
    double flops; /* of one call; 0: not worth counting */
    int32_t *start;
    int n_seq;
};

struct parity_op {
    const char *name;
    bool products; /* made of matrix products, so that TF32 shows */
    void (*arrays)(struct problem *p);
    void (*call)(const struct ops *o, void **p, const struct problem *problem);
};

struct parity_case {
    const struct parity_op *op;
    const char *text;
    struct case_size size;
    int per_step; /* > 0: only timed, and done so often in a step */
};

extern const struct parity_case parity_cases[];
extern const int parity_case_count;

#endif
