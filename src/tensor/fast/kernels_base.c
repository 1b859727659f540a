/* The kernels for any machine: 128-bit vectors (SSE2, NEON). */
#define VECTOR_BYTES 16
#define GEMM_MR      6
#define KERNELS      cpu_kernels_base
extern const struct cpu_kernels KERNELS;
#include "tensor/fast/kernels_template.h"
