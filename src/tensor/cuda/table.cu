// The CUDA table: opening a device, matrix products by cuBLAS, closing.
#include "tensor/cuda/device.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What NVIDIA recommends for Hopper and later; smaller devices can do with less but do not mind.
constexpr size_t BLAS_WORKSPACE_BYTES = 32u << 20;

// Tensor cores that multiply TF32, which the attention kernels are written for, came with this compute capability.
constexpr int LEAST_CAPABILITY_MAJOR = 8;

#define BLAS_CHECK(s, call) blas_check((s), (call), #call, __LINE__)
static bool blas_check(struct cuda_state *s, cublasStatus_t code, const char *call, int line) {
    if (code == CUBLAS_STATUS_SUCCESS)
        return true;
    err_set(&s->error, ERR_FAILED, "cuda", "%s: %s (table.cu:%d)", call, cublasGetStatusString(code), line);
    return false;
}

// cuBLAS counts columns first: to it our C [m, n] is C^T [n, m], and C^T = op(B)^T op(A)^T. A row-major matrix read by
// columns is transposed already, so both flags pass through unchanged and only the operands trade places.
static void cuda_gemm(const struct ops *o, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                      float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                      float *c, int64_t ldc) {
    struct cuda_state *s = cuda_state_of(o);
    if (s->error.code || m == 0 || n == 0)
        return;
    BLAS_CHECK(s, cublasSgemm_64(s->blas, trans_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                                 trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, n, m, k, &alpha, b, ldb, a, lda, &beta,
                                 c, ldc));
}

static void cuda_close(struct ops *o) {
    struct cuda_state *s = cuda_state_of(o);
    if (!s)
        return;
    if (s->stream)
        CUDA_CHECK(s, cudaStreamSynchronize(s->stream));
    if (s->error.code && !s->error_told) // after this nobody can ask
        fprintf(stderr, "edgestill: cuda: %s\n", s->error.message);
    if (s->blas)
        (void)cublasDestroy(s->blas);
    (void)cudaFree(s->blas_workspace);
    (void)cudaFree(s->scratch);
    (void)cudaFree(s->packing.start);
    (void)cudaFree(s->packing.begin);
    (void)cudaFree(s->packing.end);
    free(s->packing.start_host);
    (void)cudaFreeHost(s->sum_host);
    if (s->stream)
        (void)cudaStreamDestroy(s->stream);
    free(s);
    memset(o, 0, sizeof *o);
}

static int device_check(struct err *e) {
    int n = 0;
    cudaError_t code = cudaGetDeviceCount(&n);
    if (code != cudaSuccess || n == 0) {
        (void)cudaGetLastError();
        err_set(e, ERR_UNSUPPORTED, "cuda_open", "no GPU can be used: %s",
                code == cudaSuccess ? "there is none" : cudaGetErrorString(code));
        return err_hint(e, "look at the output of nvidia-smi; an old driver must be updated");
    }
    cudaDeviceProp device;
    code = cudaGetDeviceProperties(&device, 0);
    if (code != cudaSuccess)
        return err_set(e, ERR_UNSUPPORTED, "cuda_open", "the GPU does not answer: %s",
                       cudaGetErrorString(code));
    if (device.major < LEAST_CAPABILITY_MAJOR) {
        err_set(e, ERR_UNSUPPORTED, "cuda_open", "%s has compute capability %d.%d, and %d.0 is the least",
                device.name, device.major, device.minor, LEAST_CAPABILITY_MAJOR);
        return err_hint(e, "train on the processor: leave the GPU out");
    }
    code = cuda_kernels_probe();
    if (code != cudaSuccess) {
        (void)cudaGetLastError();
        err_set(e, ERR_UNSUPPORTED, "cuda_open",
                "the library has no code for %s (compute capability %d.%d): %s", device.name, device.major,
                device.minor, cudaGetErrorString(code));
        return err_hint(e, "build it again with CUDA_ARCH=sm_%d%d", device.major, device.minor);
    }
    return 0;
}

static void state_open(struct cuda_state *s) {
    const char *tf32 = getenv("EDGESTILL_CUDA_TF32");
    s->tf32 = !tf32 || strcmp(tf32, "0") != 0;
    // A blocking stream would also wait for the default stream, which nothing here uses.
    if (!CUDA_CHECK(s, cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking)) ||
        !CUDA_CHECK(s, cudaMallocHost(reinterpret_cast<void **>(&s->sum_host), sizeof *s->sum_host)) ||
        !CUDA_CHECK(s, cudaMalloc(&s->blas_workspace, BLAS_WORKSPACE_BYTES)))
        return;
    // A workspace of our own, set after the stream (which resets it), is what makes repeated products bit-identical.
    if (BLAS_CHECK(s, cublasCreate(&s->blas)) && BLAS_CHECK(s, cublasSetStream(s->blas, s->stream)) &&
        BLAS_CHECK(s, cublasSetWorkspace(s->blas, s->blas_workspace, BLAS_WORKSPACE_BYTES)))
        BLAS_CHECK(s,
                   cublasSetMathMode(s->blas, s->tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_PEDANTIC_MATH));
}

static void table_fill(struct ops *o) {
    o->name = "cuda";
    o->n_threads = 1;
    o->alloc = cuda_alloc;
    o->free = cuda_free;
    o->upload = cuda_upload;
    o->download = cuda_download;
    o->zero = cuda_zero;
    o->copy = cuda_copy;
    o->reserve = cuda_reserve;
    o->close = cuda_close;
    o->gemm = cuda_gemm;
    o->add = cuda_add;
    o->scale = cuda_scale;
    o->sum_squares = cuda_sum_squares;
    o->embed = cuda_embed;
    o->embed_backward = cuda_embed_backward;
    o->gather = cuda_embed; // a row of activations is found like a row of a table
    o->scatter_add = cuda_scatter_add;
    o->rmsnorm = cuda_rmsnorm;
    o->rmsnorm_backward = cuda_rmsnorm_backward;
    o->rope = cuda_rope;
    o->attention = cuda_attention;
    o->attention_backward = cuda_attention_backward;
    o->swiglu = cuda_swiglu;
    o->swiglu_backward = cuda_swiglu_backward;
    o->cross_entropy = cuda_cross_entropy;
    o->adamw = cuda_adamw;
}

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT uint64_t edgestill_cuda_abi(void) {
    return cuda_abi_number();
}

EXPORT int edgestill_cuda_open(struct ops *o, struct err *e) {
    int code = device_check(e);
    if (code)
        return code;
    auto *s = static_cast<struct cuda_state *>(calloc(1, sizeof(struct cuda_state)));
    if (!s)
        return err_set(e, ERR_NO_MEMORY, "cuda_open", "no memory for the backend's state");
    struct ops made = {};
    made.self = s;
    table_fill(&made);
    state_open(s);
    if (s->error.code) {
        code = err_set(e, s->error.code, "cuda_open", "%s", s->error.message);
        s->error_told = true;
        cuda_close(&made);
        return code;
    }
    *o = made;
    return 0;
}
