/* What a program and a CUDA library built apart must agree on before one calls the other: the two entry points and a
 * number that changes with the layout of the structs that cross the border. */
#ifndef TENSOR_CUDA_ABI_H
#define TENSOR_CUDA_ABI_H

#include "tensor/ops.h"

/* Raise it when a function of the table changes its meaning or its parameters but no size changes. */
#define CUDA_ABI_VERSION 1

static inline uint64_t cuda_abi_number(void) {
    uint64_t n = CUDA_ABI_VERSION;
    n = n * 4096 + sizeof(struct ops);
    n = n * 4096 + sizeof(struct attention_shape);
    n = n * 4096 + sizeof(struct rope_shape);
    return n * 4096 + sizeof(struct adamw_settings) + sizeof(struct err);
}

typedef uint64_t (*cuda_abi_fn)(void);
typedef int (*cuda_open_fn)(struct ops *o, struct err *e);

#define CUDA_ABI_SYMBOL  "edgestill_cuda_abi"
#define CUDA_OPEN_SYMBOL "edgestill_cuda_open"

#endif
