/* The kernels for x86-64 with AVX2 and FMA. */
#define VECTOR_BYTES 32
#define GEMM_MR      6
#define KERNELS      cpu_kernels_avx2
extern const struct cpu_kernels KERNELS;
#include "tensor/fast/kernels_template.h"
