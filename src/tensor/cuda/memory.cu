// Memory of the CUDA backend: allocation, transfers, scratch; and the record of the first error.
#include "tensor/cuda/device.cuh"

#include <string.h>

bool cuda_check(struct cuda_state *s, cudaError_t code, const char *call, const char *file, int line) {
    if (code == cudaSuccess)
        return true;
    int kind = code == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_FAILED;
    err_set(&s->error, kind, "cuda", "%s: %s (%s:%d)", call, cudaGetErrorString(code), file, line);
    err_hint(&s->error,
             "errors of a GPU are noticed late: CUDA_LAUNCH_BLOCKING=1 names the operation that failed");
    (void)cudaGetLastError(); // what was recorded must not be blamed on the next call
    return false;
}

void *cuda_scratch(struct cuda_state *s, size_t size_bytes) {
    if (s->error.code)
        return nullptr;
    if (size_bytes <= s->scratch_bytes)
        return s->scratch;
    // cudaFree waits for the device, so kernels that were queued with the old buffer are done with it.
    CUDA_CHECK(s, cudaFree(s->scratch));
    s->scratch = nullptr;
    s->scratch_bytes = 0;
    if (!CUDA_CHECK(s, cudaMalloc(&s->scratch, size_bytes)))
        return nullptr;
    s->scratch_bytes = size_bytes;
    return s->scratch;
}

void *cuda_alloc(const struct ops *o, size_t size_bytes) {
    struct cuda_state *s = cuda_state_of(o);
    void *p = nullptr;
    if (s->error.code)
        return nullptr;
    // cudaMalloc aligns to 256 bytes. Having no memory is the caller's to handle, not an error to record.
    if (cudaMalloc(&p, size_bytes ? size_bytes : 1) != cudaSuccess) {
        (void)cudaGetLastError();
        return nullptr;
    }
    if (!CUDA_CHECK(s, cudaMemsetAsync(p, 0, size_bytes, s->stream))) {
        (void)cudaFree(p);
        return nullptr;
    }
    return p;
}

void cuda_free(const struct ops *o, void *p) {
    if (p)
        CUDA_CHECK(cuda_state_of(o), cudaFree(p));
}

void cuda_upload(const struct ops *o, void *to, const void *from, size_t size_bytes) {
    // From pageable memory the call returns when `from` was read, so the caller may change it at once.
    struct cuda_state *s = cuda_state_of(o);
    if (!s->error.code && size_bytes)
        CUDA_CHECK(s, cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyHostToDevice, s->stream));
}

void cuda_download(const struct ops *o, void *to, const void *from, size_t size_bytes) {
    struct cuda_state *s = cuda_state_of(o);
    if (!s->error.code && size_bytes)
        CUDA_CHECK(s, cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDeviceToHost, s->stream));
    if (!s->error.code)
        CUDA_CHECK(s, cudaStreamSynchronize(s->stream));
    if (s->error.code)
        memset(to, 0xff, size_bytes);
}

void cuda_zero(const struct ops *o, void *p, size_t size_bytes) {
    struct cuda_state *s = cuda_state_of(o);
    if (!s->error.code && size_bytes)
        CUDA_CHECK(s, cudaMemsetAsync(p, 0, size_bytes, s->stream));
}

void cuda_copy(const struct ops *o, float *to, const float *from, int64_t n) {
    struct cuda_state *s = cuda_state_of(o);
    if (!s->error.code && n)
        CUDA_CHECK(s, cudaMemcpyAsync(to, from, static_cast<size_t>(n) * sizeof *to, cudaMemcpyDeviceToDevice,
                                      s->stream));
}

int cuda_reserve(const struct ops *o, size_t scratch_bytes, struct err *e) {
    struct cuda_state *s = cuda_state_of(o);
    if (cuda_scratch(s, scratch_bytes) || !s->error.code)
        return 0;
    s->error_told = true;
    err_set(e, s->error.code, "cuda_reserve", "%s", s->error.message);
    err_hint(e, "%s", s->error.hint);
    return s->error.code;
}
