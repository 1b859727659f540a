// Operations on each value by itself, the rotary embedding, and the sum of squares.
//
// All of them are bound by memory: values move four at a time, and each array is touched once.
#include "tensor/cuda/device.cuh"

#include <math.h>

constexpr int THREADS = 256;

// Which group of W values is this thread's, of n values in all; -1: none.
template <int W> __device__ inline int64_t group_index(int64_t n) {
    int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    return i < n / W ? i : -1;
}

// Launch KERNEL<4> when n and all addresses are multiples of four values, else KERNEL<1>.
#define LAUNCH_BY_WIDTH(s, kernel, by_four, n, ...)                                                          \
    do {                                                                                                     \
        if (by_four)                                                                                         \
            cuda_launch(s, #kernel, kernel<4>, cuda_blocks((n) / 4, THREADS), THREADS, 0, __VA_ARGS__);      \
        else                                                                                                 \
            cuda_launch(s, #kernel, kernel<1>, cuda_blocks(n, THREADS), THREADS, 0, __VA_ARGS__);            \
    } while (0)

template <int W> __global__ void add_kernel(float *y, const float *x, float alpha, int64_t n) {
    int64_t i = group_index<W>(n);
    if (i < 0)
        return;
    floats<W> a = load<W>(y, i), b = load<W>(x, i);
    for (int j = 0; j < W; j++)
        a.v[j] += alpha * b.v[j];
    store(y, i, a);
}

void cuda_add(const struct ops *o, float *y, const float *x, float alpha, int64_t n) {
    LAUNCH_BY_WIDTH(cuda_state_of(o), add_kernel, cuda_by_four(n, y, x), n, y, x, alpha, n);
}

template <int W> __global__ void scale_kernel(float *y, float alpha, int64_t n) {
    int64_t i = group_index<W>(n);
    if (i < 0)
        return;
    floats<W> a = load<W>(y, i);
    for (int j = 0; j < W; j++)
        a.v[j] *= alpha;
    store(y, i, a);
}

cudaError_t cuda_kernels_probe(void) {
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, scale_kernel<4>);
}

void cuda_scale(const struct ops *o, float *y, float alpha, int64_t n) {
    LAUNCH_BY_WIDTH(cuda_state_of(o), scale_kernel, cuda_by_four(n, y), n, y, alpha, n);
}

// The number of partial sums does not depend on the device, so that every GPU adds in the same order.
constexpr int SUM_BLOCKS = 1024;

template <typename T> __device__ double block_sum_squares(const T *x, int64_t n) {
    STATIC_SHARED double of_warp[THREADS / WARP];
    double sum = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < n;
         i += gridDim.x * THREADS) {
        double v = x[i];
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        of_warp[threadIdx.x / WARP] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < THREADS / WARP; i++)
        sum += of_warp[i];
    return sum;
}

__global__ void __launch_bounds__(THREADS) sum_squares_kernel(double *partial, const float *x, int64_t n) {
    double sum = block_sum_squares(x, n);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(WARP) sum_kernel(double *sum, const double *partial, int n) {
    double x = 0;
    for (int i = static_cast<int>(threadIdx.x); i < n; i += WARP)
        x += partial[i];
    x = warp_sum(x);
    if (threadIdx.x == 0)
        *sum = x;
}

double cuda_sum_squares(const struct ops *o, const float *x, int64_t n) {
    struct cuda_state *s = cuda_state_of(o);
    if (n == 0)
        return s->error.code ? NAN : 0;
    auto *partial = static_cast<double *>(cuda_scratch(s, (SUM_BLOCKS + 1) * sizeof(double)));
    if (!partial)
        return NAN;
    unsigned blocks = cuda_blocks(n, THREADS);
    blocks = blocks < SUM_BLOCKS ? blocks : SUM_BLOCKS;
    cuda_launch(s, "sum_squares", sum_squares_kernel, blocks, THREADS, 0, partial, x, n);
    cuda_launch(s, "sum", sum_kernel, 1, WARP, 0, partial + SUM_BLOCKS, partial, static_cast<int>(blocks));
    if (!s->error.code)
        CUDA_CHECK(s, cudaMemcpyAsync(s->sum_host, partial + SUM_BLOCKS, sizeof(double),
                                      cudaMemcpyDeviceToHost, s->stream));
    if (!s->error.code)
        CUDA_CHECK(s, cudaStreamSynchronize(s->stream));
    return s->error.code ? NAN : *s->sum_host;
}

// One thread a token and pair: the angle's sine and cosine serve all heads.
__global__ void __launch_bounds__(THREADS) rope_kernel(float *x, struct rope_shape r, float direction) {
    int half = r.head_dim / 2;
    int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= r.n_tokens * half)
        return;
    int64_t t = i / half;
    int pair = static_cast<int>(i % half);
    float sine, cosine;
    sincosf(static_cast<float>(r.position[t]) * r.freq[pair], &sine, &cosine);
    sine *= direction;
    int first = r.halves ? pair : 2 * pair;
    int second = r.halves ? pair + half : 2 * pair + 1;
    for (int h = 0; h < r.n_heads; h++) {
        float *head = x + (t * r.n_heads + h) * r.head_dim;
        float a = head[first], b = head[second];
        head[first] = a * cosine - b * sine;
        head[second] = a * sine + b * cosine;
    }
}

void cuda_rope(const struct ops *o, float *x, const struct rope_shape *r, bool inverse) {
    cuda_launch(cuda_state_of(o), "rope", rope_kernel, cuda_blocks(r->n_tokens * (r->head_dim / 2), THREADS),
                THREADS, 0, x, *r, inverse ? -1.0f : 1.0f);
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

template <int W> __global__ void swiglu_kernel(float *out, const float *gate, const float *up, int64_t n) {
    int64_t i = group_index<W>(n);
    if (i < 0)
        return;
    floats<W> g = load<W>(gate, i), u = load<W>(up, i);
    for (int j = 0; j < W; j++)
        g.v[j] = g.v[j] * sigmoid(g.v[j]) * u.v[j];
    store(out, i, g);
}

void cuda_swiglu(const struct ops *o, float *out, const float *gate, const float *up, int64_t n) {
    LAUNCH_BY_WIDTH(cuda_state_of(o), swiglu_kernel, cuda_by_four(n, out, gate, up), n, out, gate, up, n);
}

// No restrict: dgate and dup may be gate and up themselves. Each thread reads all it needs before it writes.
template <int W>
__global__ void swiglu_backward_kernel(float *dgate, float *dup, const float *dout, const float *gate,
                                       const float *up, int64_t n) {
    int64_t i = group_index<W>(n);
    if (i < 0)
        return;
    floats<W> d = load<W>(dout, i), g = load<W>(gate, i), u = load<W>(up, i), dg, du;
    for (int j = 0; j < W; j++) {
        float y = sigmoid(g.v[j]);
        float silu = g.v[j] * y;
        du.v[j] = d.v[j] * silu;
        dg.v[j] = d.v[j] * u.v[j] * (y + silu * (1.0f - y)); // silu' = s + x s (1 - s)
    }
    store(dgate, i, dg);
    store(dup, i, du);
}

void cuda_swiglu_backward(const struct ops *o, float *dgate, float *dup, const float *dout, const float *gate,
                          const float *up, int64_t n) {
    LAUNCH_BY_WIDTH(cuda_state_of(o), swiglu_backward_kernel, cuda_by_four(n, dgate, dup, dout, gate, up), n,
                    dgate, dup, dout, gate, up, n);
}

// The step's numbers that do not depend on the value, computed once on the host in double.
struct adamw_numbers {
    float beta1, beta2, gradient_scale;
    float step_size;       // learning rate / (1 - beta1^step)
    float root_correction; // 1 / sqrt(1 - beta2^step)
    float epsilon, keep;   // keep = 1 - learning rate * weight decay
};

template <int W>
__global__ void adamw_kernel(float *w, const float *dw, float *m, float *v, int64_t n,
                             struct adamw_numbers a) {
    int64_t i = group_index<W>(n);
    if (i < 0)
        return;
    floats<W> wi = load<W>(w, i), gi = load<W>(dw, i), mi = load<W>(m, i), vi = load<W>(v, i);
    for (int j = 0; j < W; j++) {
        float g = gi.v[j] * a.gradient_scale;
        mi.v[j] = a.beta1 * mi.v[j] + (1.0f - a.beta1) * g;
        vi.v[j] = a.beta2 * vi.v[j] + (1.0f - a.beta2) * g * g;
        float divisor = sqrtf(vi.v[j]) * a.root_correction + a.epsilon;
        wi.v[j] = wi.v[j] * a.keep - a.step_size * mi.v[j] / divisor;
    }
    store(w, i, wi);
    store(m, i, mi);
    store(v, i, vi);
}

void cuda_adamw(const struct ops *o, float *w, const float *dw, float *m, float *v, int64_t n,
                const struct adamw_settings *a) {
    double step = static_cast<double>(a->step), rate = a->learning_rate;
    struct adamw_numbers k = {};
    k.beta1 = a->beta1;
    k.beta2 = a->beta2;
    k.gradient_scale = a->gradient_scale;
    k.step_size = static_cast<float>(rate / (1.0 - pow(a->beta1, step)));
    k.root_correction = static_cast<float>(1.0 / sqrt(1.0 - pow(a->beta2, step)));
    k.epsilon = a->epsilon;
    k.keep = static_cast<float>(1.0 - rate * a->weight_decay);
    LAUNCH_BY_WIDTH(cuda_state_of(o), adamw_kernel, cuda_by_four(n, w, dw, m, v), n, w, dw, m, v, n, k);
}
