// What every file of the CUDA backend shares: its state, the checking of calls, launches, scratch memory, reductions.
//
// Errors. The operations of the table return nothing and a GPU reports late, so the first error is kept in the state
// and from then on every operation does nothing. reserve() hands the error to the caller (reserve(o, 0, e) is the
// health check); what was asked for in the meantime is poison that no trainer takes for a result: sum_squares gives a
// NaN and download fills with 0xff bytes (NaN as float, -1 as integer). close() prints an error that nobody fetched.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cublas_v2.h>
#include <cuda_runtime.h>

extern "C" {
#include "tensor/cuda/abi.h"
}

// Which tokens belong together, as the attention kernels want it: built from attention_shape.start when it changes.
struct cuda_packing {
    int32_t *start_host; // [n_seq + 1] the boundaries that begin and end were built from
    int64_t capacity_starts, n_seq, n_tokens;
    int32_t *start;       // the same on the device
    int32_t *begin, *end; // [T] first token of the token's sequence, and one past its last
    int64_t capacity_tokens;
};

struct cuda_state {
    cudaStream_t stream; // everything runs on it, in order: that is why one scratch buffer is enough
    cublasHandle_t blas;
    void *blas_workspace;
    bool tf32; // products on tensor cores with 10 bits of mantissa; else as exact as single precision
    void *scratch;
    size_t scratch_bytes;
    double *sum_host; // pinned, where sum_squares arrives
    struct cuda_packing packing;
    struct err error; // the first that happened; code 0 while all is well
    bool error_told;  // reserve has handed it out
};

static inline struct cuda_state *cuda_state_of(const struct ops *o) {
    return static_cast<struct cuda_state *>(o->self);
}

// Record a failure of `call`, unless one is recorded already. True when all is well.
bool cuda_check(struct cuda_state *s, cudaError_t code, const char *call, const char *file, int line);
#define CUDA_CHECK(s, call) cuda_check((s), (call), #call, __FILE__, __LINE__)

// At least `size_bytes` of scratch, good until the next call of an operation; NULL (recorded) when there is none.
void *cuda_scratch(struct cuda_state *s, size_t size_bytes);

// The entries of the table, by file.
// memory.cu
void *cuda_alloc(const struct ops *o, size_t size_bytes);
void cuda_free(const struct ops *o, void *p);
void cuda_upload(const struct ops *o, void *to, const void *from, size_t size_bytes);
void cuda_download(const struct ops *o, void *to, const void *from, size_t size_bytes);
void cuda_zero(const struct ops *o, void *p, size_t size_bytes);
void cuda_copy(const struct ops *o, float *to, const float *from, int64_t n);
int cuda_reserve(const struct ops *o, size_t scratch_bytes, struct err *e);

// pointwise.cu
cudaError_t cuda_kernels_probe(void); // is there code for this GPU in the library?
void cuda_add(const struct ops *o, float *y, const float *x, float alpha, int64_t n);
void cuda_scale(const struct ops *o, float *y, float alpha, int64_t n);
double cuda_sum_squares(const struct ops *o, const float *x, int64_t n);
void cuda_rope(const struct ops *o, float *x, const struct rope_shape *r, bool inverse);
void cuda_swiglu(const struct ops *o, float *out, const float *gate, const float *up, int64_t n);
void cuda_swiglu_backward(const struct ops *o, float *dgate, float *dup, const float *dout, const float *gate,
                          const float *up, int64_t n);
void cuda_adamw(const struct ops *o, float *w, const float *dw, float *m, float *v, int64_t n,
                const struct adamw_settings *a);

// embed.cu
void cuda_embed(const struct ops *o, float *out, const float *table, const int32_t *token, int64_t n_tokens,
                int64_t width);
void cuda_embed_backward(const struct ops *o, float *dtable, const float *dout, const int32_t *token,
                         int64_t n_tokens, int64_t width, int64_t n_vocab);
void cuda_scatter_add(const struct ops *o, float *dx, const float *dout, const int32_t *row, int64_t n_rows,
                      int64_t width);

// rows.cu
void cuda_rmsnorm(const struct ops *o, float *out, float *rstd, const float *x, const float *w, int64_t rows,
                  int64_t width, float epsilon);
void cuda_rmsnorm_backward(const struct ops *o, float *dx, float *dw, const float *dout, const float *x,
                           const float *w, const float *rstd, int64_t rows, int64_t width);
void cuda_cross_entropy(const struct ops *o, float *logits, float *row_loss, const int32_t *target,
                        const float *weight, int64_t rows, int64_t n_vocab, float gradient_scale);

// attention_forward.cu, attention_backward.cu
void cuda_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                    const float *v, const struct attention_shape *a);
void cuda_attention_backward(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                             const float *out, const float *lse, const float *q, const float *k,
                             const float *v, const struct attention_shape *a);

// Kernels write DYNAMIC_SHARED(name) for the block's shared memory, so that the emulation under tests/tensor can
// put its own array there.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) float name[]
#define STATIC_SHARED        __shared__
#endif

// Without this opt-in a block gets no more than 48 KiB of shared memory.
constexpr size_t SHARED_DEFAULT_BYTES = 48 * 1024;

// Queue a kernel. Nothing happens after an error, or when the grid is empty (no rows: no work).
template <typename... Parameters, typename... Arguments>
void cuda_launch(struct cuda_state *s, const char *name, void (*kernel)(Parameters...), dim3 grid, int block,
                 size_t shared_bytes, Arguments... arguments) {
    if (s->error.code || grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    if (shared_bytes > SHARED_DEFAULT_BYTES &&
        !cuda_check(s,
                    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(shared_bytes)),
                    name, "shared memory of kernel", 0))
        return;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(static_cast<unsigned>(block));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = s->stream;
    cuda_check(s, cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name, "kernel",
               0);
}

static inline unsigned cuda_blocks(int64_t n, int64_t per_block) {
    return static_cast<unsigned>((n + per_block - 1) / per_block);
}

// W consecutive floats that move as one: four where size and addresses allow it, else one.
template <int W> struct alignas(4 * W) floats { float v[W]; };

template <int W> __device__ inline floats<W> load(const float *p, int64_t group) {
    return reinterpret_cast<const floats<W> *>(p)[group];
}

template <int W> __device__ inline void store(float *p, int64_t group, const floats<W> &x) {
    reinterpret_cast<floats<W> *>(p)[group] = x;
}

template <typename... Pointers> bool cuda_by_four(int64_t n, const Pointers *...p) {
    return n % 4 == 0 && ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

template <typename T> __device__ inline T warp_sum(T x) {
    for (int i = WARP / 2; i > 0; i /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, i);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int i = WARP / 2; i > 0; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, i));
    return x;
}
