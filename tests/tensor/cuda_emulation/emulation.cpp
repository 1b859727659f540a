// The machine behind cuda_runtime.h of this folder: fibres, barriers, and a few calls of the runtime and of cuBLAS.
#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr int LANES = 32;

// Threads meet here. `generation` counts the meetings that took place.
struct barrier {
    uint64_t generation = 0;
    int arrived = 0, expected = 0;
};

struct warp_meeting {
    struct barrier meet;
    unsigned char
        gift[2][LANES * EXCHANGE_STRIDE]; // by turns, so that nobody overwrites what another still reads
};

struct fibre {
    ucontext_t context;
    std::unique_ptr<unsigned char[]> stack{new unsigned char[STACK_BYTES]};
    struct barrier *waits_at; // NULL: can run
    uint64_t waits_for;       // until the barrier's generation has passed this
    bool done;
};

struct block {
    std::vector<std::unique_ptr<struct fibre>> fibres;
    std::vector<struct warp_meeting> warps;
    struct barrier meet;
    const std::function<void()> *kernel;
    std::unique_ptr<float[]> shared;
    ucontext_t scheduler;
    unsigned running;
    std::mt19937 order{1};
} now;

void die(const char *what) {
    fprintf(stderr, "emulation: %s (block %u %u %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z);
    abort();
}

void pass_if_complete(struct barrier *b) {
    if (b->arrived == b->expected && b->expected > 0) {
        b->generation++;
        b->arrived = 0;
    }
}

void meet(struct barrier *b) {
    struct fibre *f = now.fibres[now.running].get();
    f->waits_for = b->generation;
    b->arrived++;
    pass_if_complete(b);
    if (b->generation != f->waits_for)
        return;
    f->waits_at = b;
    swapcontext(&f->context, &now.scheduler);
}

void fibre_main() {
    (*now.kernel)();
    struct fibre *f = now.fibres[now.running].get();
    f->done = true;
    now.meet.expected--; // a thread that has ended is not waited for
    pass_if_complete(&now.meet);
    swapcontext(&f->context, &now.scheduler);
}

void fibre_start(unsigned i) {
    struct fibre *f = now.fibres[i].get();
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack.get();
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = nullptr;
    f->waits_at = nullptr;
    f->done = false;
    makecontext(&f->context, fibre_main, 0);
}

// Run what can run until all threads have ended.
void block_run(unsigned threads) {
    std::vector<unsigned> turn(threads);
    for (unsigned i = 0; i < threads; i++) {
        turn[i] = i;
        fibre_start(i);
    }
    for (auto &w : now.warps)
        w.meet = {0, 0, LANES};
    now.meet = {0, 0, static_cast<int>(threads)};
    for (unsigned left = threads; left > 0;) {
        bool moved = false;
        std::shuffle(turn.begin(), turn.end(), now.order);
        for (unsigned i : turn) {
            struct fibre *f = now.fibres[i].get();
            if (f->done || (f->waits_at && f->waits_at->generation == f->waits_for))
                continue;
            f->waits_at = nullptr;
            now.running = i;
            threadIdx = dim3(i);
            swapcontext(&now.scheduler, &f->context);
            moved = true;
            left -= f->done;
        }
        if (!moved)
            die("threads wait at a barrier that others will never reach");
    }
}

} // namespace

float *emulated_shared(void) {
    return now.shared.get();
}

void __syncthreads(void) {
    meet(&now.meet);
}

const unsigned char *emulated_exchange(const void *gift, size_t size) {
    struct warp_meeting &w = now.warps[threadIdx.x / LANES];
    unsigned char *gifts = w.gift[w.meet.generation % 2];
    memcpy(gifts + threadIdx.x % LANES * EXCHANGE_STRIDE, gift, size);
    meet(&w.meet);
    return gifts;
}

float tf32_round(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) != 0x7f800000u)
        bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Lane = 4 g + t gives a: (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4) and b: (t, g) (t + 4, g), and gets
// c: (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1).
void mma_m16n8k8(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
    float gift[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    for (float x : gift)
        if (x == x && tf32_round(x) != x)
            die("an operand of mma is not a TF32 number");
    unsigned g = threadIdx.x % LANES / 4, t = threadIdx.x % 4;
    const unsigned char *all = emulated_exchange(gift, sizeof gift);
    auto of = [all](unsigned lane, unsigned i) {
        float x;
        memcpy(&x, all + lane * EXCHANGE_STRIDE + i * sizeof x, sizeof x);
        return static_cast<double>(x);
    };
    for (unsigned i = 0; i < 4; i++) {
        double sum = c[i];
        for (unsigned k = 0; k < 8; k++) {
            unsigned column = 2 * t + i % 2;
            sum += of(4 * g + k % 4, i / 2 + k / 4 * 2) * of(4 * column + k % 4, 4 + k / 4);
        }
        c[i] = static_cast<float>(sum);
    }
}

cudaError_t emulated_launch(const struct cudaLaunchConfig_t *config, const std::function<void()> &kernel) {
    unsigned threads = config->blockDim.x;
    if (threads == 0 || threads > 1024 || threads % LANES != 0 || config->gridDim.y > 65535 ||
        config->gridDim.z > 65535)
        return cudaErrorInvalidValue;
    while (now.fibres.size() < threads)
        now.fibres.emplace_back(new struct fibre);
    now.warps.resize(threads / LANES);
    now.kernel = &kernel;
    gridDim = config->gridDim;
    blockDim = config->blockDim;
    for (unsigned z = 0; z < gridDim.z; z++)
        for (unsigned y = 0; y < gridDim.y; y++)
            for (unsigned x = 0; x < gridDim.x; x++) {
                blockIdx = dim3(x, y, z);
                size_t n = config->dynamicSmemBytes / sizeof(float);
                now.shared.reset(new float[n]);
                memset(now.shared.get(), 0xff, n * sizeof(float));
                block_run(threads);
            }
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t code) {
    return code == cudaErrorMemoryAllocation ? "out of memory" : "invalid value";
}

cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int) {
    *p = {"emulation", 8, 0};
    return cudaSuccess;
}

cudaError_t emulated_malloc(void **p, size_t size_bytes) {
    // EMULATED_ALLOCATIONS=N: there is memory for N allocations and no more.
    static const char *limit = getenv("EMULATED_ALLOCATIONS");
    static int left = limit ? atoi(limit) : -1;
    if (left == 0)
        return cudaErrorMemoryAllocation;
    left -= left > 0;
    // No rounding up: a sanitizer shall see the end. malloc aligns to 16 bytes, which is all that the kernels use.
    void *fresh = malloc(size_bytes);
    if (!fresh)
        return cudaErrorMemoryAllocation;
    memset(fresh, 0xff, size_bytes);
    *p = fresh;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p) {
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t size_bytes) {
    return emulated_malloc(p, size_bytes);
}

cudaError_t cudaFreeHost(void *p) {
    return cudaFree(p);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t size_bytes, cudaStream_t) {
    memset(p, value, size_bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size_bytes, cudaMemcpyKind, cudaStream_t) {
    memcpy(to, from, size_bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    static char somewhere;
    *stream = reinterpret_cast<cudaStream_t>(&somewhere);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t) {
    return cudaSuccess;
}

struct emulated_blas {
    cublasMath_t mode;
};

const char *cublasGetStatusString(cublasStatus_t) {
    return "success";
}

cublasStatus_t cublasCreate(cublasHandle_t *h) {
    *h = new emulated_blas{CUBLAS_PEDANTIC_MATH};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t h) {
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t mode) {
    h->mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}

// Column by column, as Fortran has it.
cublasStatus_t cublasSgemm_64(cublasHandle_t h, cublasOperation_t op_a, cublasOperation_t op_b, int64_t m,
                              int64_t n, int64_t k, const float *alpha, const float *a, int64_t lda,
                              const float *b, int64_t ldb, const float *beta, float *c, int64_t ldc) {
    auto rounded = [h](float x) { return h->mode == CUBLAS_TF32_TENSOR_OP_MATH ? tf32_round(x) : x; };
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += static_cast<double>(rounded(op_a == CUBLAS_OP_T ? a[i * lda + l] : a[l * lda + i])) *
                       rounded(op_b == CUBLAS_OP_T ? b[l * ldb + j] : b[j * ldb + l]);
            float *to = &c[j * ldc + i];
            *to = static_cast<float>(*alpha * sum + (*beta == 0 ? 0 : static_cast<double>(*beta) * *to));
        }
    return CUBLAS_STATUS_SUCCESS;
}
