/* The kernels for x86-64 with AVX-512. */
#define VECTOR_BYTES 64
#define GEMM_MR      12
#define KERNELS      cpu_kernels_avx512
extern const struct cpu_kernels KERNELS;
#include "tensor/fast/kernels_template.h"
