// CUDA on a processor, as far as src/tensor/cuda needs it, so that its kernels can be checked where there is no GPU.
//
// The .cu files are compiled as C++ against this folder instead of the toolkit. A block's threads are fibres that run one
// at a time from barrier to barrier, in an order drawn anew each time: what depends on the order shows. "Device" memory
// is malloc'ed and starts as NaN, and so does the shared memory of each block, which is exactly as large as was asked
// for: under AddressSanitizer a kernel that reads or writes beyond its arrays is caught. A warp whose lanes do not all
// come to a shuffle, or a block that waits for nobody, ends the program with a message.
//
//     g++ -std=c++17 -O1 -g -fsanitize=address -DEDGESTILL_CUDA_EMULATED -Wno-unknown-pragmas -fPIC -shared
//         -Itests/tensor/cuda_emulation -Isrc -o build/libedgestill-cuda-emulated.so
//         -x c++ src/tensor/cuda/*.cu tests/tensor/cuda_emulation/emulation.cpp -x c src/base/err.c
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __align__(n) alignas(n)
#define __launch_bounds__(...)
#define STATIC_SHARED        static
#define DYNAMIC_SHARED(name) float *name = emulated_shared()

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {
    }
};

// The running thread, block and launch.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
float *emulated_shared(void);

// Collectives. exchange: all lanes of a warp give `size` bytes; the result is the 32 gifts, `stride` bytes apart, good
// until the lane's next exchange.
constexpr size_t EXCHANGE_STRIDE = 32;
const unsigned char *emulated_exchange(const void *gift, size_t size);
void __syncthreads(void);

template <typename T> T emulated_shuffle(T x, int lane) {
    T y;
    memcpy(&y, emulated_exchange(&x, sizeof x) + static_cast<size_t>(lane) * EXCHANGE_STRIDE, sizeof y);
    return y;
}

template <typename T> T __shfl_xor_sync(unsigned, T x, int mask) {
    return emulated_shuffle(x, static_cast<int>(threadIdx.x % 32) ^ mask);
}

template <typename T> T __shfl_up_sync(unsigned, T x, unsigned distance) {
    unsigned lane = threadIdx.x % 32;
    return emulated_shuffle(x, static_cast<int>(lane < distance ? lane : lane - distance));
}

float tf32_round(float x);
void mma_m16n8k8(float (&c)[4], const float (&a)[4], const float (&b)[2]);

static inline int32_t atomicAdd(int32_t *p, int32_t x) {
    int32_t old = *p;
    *p += x;
    return old;
}

static inline float __int_as_float(int x) {
    float y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static inline int __float_as_int(float x) {
    int y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static inline int max(int a, int b) {
    return a > b ? a : b;
}

static inline int min(int a, int b) {
    return a < b ? a : b;
}

// The host's side.
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorInvalidValue };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking = 1, cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
typedef struct emulated_stream *cudaStream_t;

struct cudaDeviceProp {
    char name[32];
    int major, minor;
};

struct cudaFuncAttributes {
    int numRegs;
};

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

const char *cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device);
cudaError_t emulated_malloc(void **p, size_t size_bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t size_bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemsetAsync(void *p, int value, size_t size_bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t emulated_launch(const struct cudaLaunchConfig_t *config, const std::function<void()> &kernel);

template <typename T> cudaError_t cudaMalloc(T **p, size_t size_bytes) {
    return emulated_malloc(reinterpret_cast<void **>(p), size_bytes);
}

template <typename F> cudaError_t cudaFuncSetAttribute(F *, int, int) {
    return cudaSuccess;
}

template <typename F> cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *, F *) {
    return cudaSuccess;
}

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const struct cudaLaunchConfig_t *config, void (*kernel)(P...),
                               A... arguments) {
    return emulated_launch(config, [=] { kernel(arguments...); });
}
