// Operations that reduce over the rows of a matrix: RMSNorm and softmax cross-entropy.
//
// A row of activations is short (a few hundred values), so a warp takes a row and needs no barrier; a row of logits is
// long, so it gets a block. The second pass over a row finds it in the cache.
#include "tensor/cuda/device.cuh"

#include <float.h>

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;

template <int W>
__global__ void __launch_bounds__(THREADS)
    rmsnorm_kernel(float *out, float *rstd, const float *x, const float *w, int64_t rows, int width,
                   float epsilon) {
    int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP;
    int lane = static_cast<int>(threadIdx.x % WARP);
    if (row >= rows)
        return;
    const float *xr = x + row * width;
    float sum = 0;
    for (int i = lane; i < width / W; i += WARP) {
        floats<W> a = load<W>(xr, i);
        for (int j = 0; j < W; j++)
            sum += a.v[j] * a.v[j];
    }
    float r = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(width) + epsilon);
    if (lane == 0)
        rstd[row] = r;
    for (int i = lane; i < width / W; i += WARP) {
        floats<W> a = load<W>(xr, i), b = load<W>(w, i);
        for (int j = 0; j < W; j++)
            a.v[j] *= r * b.v[j];
        store(out + row * width, i, a);
    }
}

void cuda_rmsnorm(const struct ops *o, float *out, float *rstd, const float *x, const float *w, int64_t rows,
                  int64_t width, float epsilon) {
    auto kernel = cuda_by_four(width, out, x, w) ? rmsnorm_kernel<4> : rmsnorm_kernel<1>;
    cuda_launch(cuda_state_of(o), "rmsnorm", kernel, cuda_blocks(rows, WARPS), THREADS, 0, out, rstd, x, w,
                rows, static_cast<int>(width), epsilon);
}

// With n = x * rstd and g = dout * w: dx += rstd * (g - n * mean(g * n)), and dw += dout * n summed over rows.
//
// The sum for dw must have one order: each warp adds up its rows in its own slice of shared memory (a column belongs
// to one lane), the block adds its warps, `partial` [blocks, width] takes the result, column_sum_kernel adds the blocks.
template <int W>
__global__ void __launch_bounds__(THREADS)
    rmsnorm_backward_kernel(float *dx, float *partial, const float *dout, const float *x, const float *w,
                            const float *rstd, int64_t rows, int width) {
    DYNAMIC_SHARED(shared); // [warps, width], absent when partial is NULL
    int lane = static_cast<int>(threadIdx.x % WARP), warp = static_cast<int>(threadIdx.x / WARP);
    int warps = static_cast<int>(blockDim.x / WARP);
    float *dw = shared + warp * width;
    for (int i = lane; partial && i < width / W; i += WARP)
        store(dw, i, floats<W>{});
    for (int64_t row = static_cast<int64_t>(blockIdx.x) * warps + warp; row < rows;
         row += static_cast<int64_t>(gridDim.x) * warps) {
        const float *dr = dout + row * width, *xr = x + row * width;
        float r = rstd[row], dot = 0;
        for (int i = lane; i < width / W; i += WARP) {
            floats<W> d = load<W>(dr, i), a = load<W>(xr, i), b = load<W>(w, i);
            for (int j = 0; j < W; j++)
                dot += d.v[j] * b.v[j] * a.v[j];
        }
        float mean = warp_sum(dot) * r / static_cast<float>(width);
        for (int i = lane; i < width / W; i += WARP) {
            floats<W> d = load<W>(dr, i), a = load<W>(xr, i), b = load<W>(w, i),
                      y = load<W>(dx + row * width, i);
            for (int j = 0; j < W; j++) {
                a.v[j] *= r;
                y.v[j] += r * (d.v[j] * b.v[j] - a.v[j] * mean);
            }
            store(dx + row * width, i, y);
            if (partial) {
                floats<W> s = load<W>(dw, i);
                for (int j = 0; j < W; j++)
                    s.v[j] += d.v[j] * a.v[j];
                store(dw, i, s);
            }
        }
    }
    if (!partial)
        return;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
        float sum = 0;
        for (int j = 0; j < warps; j++)
            sum += shared[j * width + i];
        partial[static_cast<int64_t>(blockIdx.x) * width + i] = sum;
    }
}

// y[c] += sum over r of x[r, c]; a block takes 32 columns, its warps every eighth row.
__global__ void __launch_bounds__(THREADS) column_sum_kernel(float *y, const float *x, int rows, int width) {
    STATIC_SHARED float of_warp[WARPS][WARP];
    int lane = static_cast<int>(threadIdx.x % WARP), warp = static_cast<int>(threadIdx.x / WARP);
    int column = static_cast<int>(blockIdx.x) * WARP + lane;
    float sum = 0;
    for (int r = warp; column < width && r < rows; r += WARPS)
        sum += x[static_cast<int64_t>(r) * width + column];
    of_warp[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= width)
        return;
    for (int i = 1; i < WARPS; i++)
        sum += of_warp[i][lane];
    y[column] += sum;
}

void cuda_rmsnorm_backward(const struct ops *o, float *dx, float *dw, const float *dout, const float *x,
                           const float *w, const float *rstd, int64_t rows, int64_t width) {
    // Enough blocks to fill a large GPU, and not a function of the GPU: the order of the sum depends on it.
    const int64_t max_blocks = 512;
    struct cuda_state *s = cuda_state_of(o);
    int64_t warps = WARPS;
    size_t row_bytes = static_cast<size_t>(width) * sizeof(float);
    while (dw && warps > 1 && static_cast<size_t>(warps) * row_bytes > SHARED_DEFAULT_BYTES)
        warps /= 2;
    unsigned blocks = cuda_blocks(rows, warps);
    blocks = blocks < max_blocks ? blocks : static_cast<unsigned>(max_blocks);
    float *partial = nullptr;
    if (dw && !(partial = static_cast<float *>(cuda_scratch(s, max_blocks * row_bytes))))
        return;
    auto kernel =
        cuda_by_four(width, dx, dout, x, w) ? rmsnorm_backward_kernel<4> : rmsnorm_backward_kernel<1>;
    cuda_launch(s, "rmsnorm_backward", kernel, blocks, static_cast<int>(warps) * WARP,
                dw ? static_cast<size_t>(warps) * row_bytes : 0, dx, partial, dout, x, w, rstd, rows,
                static_cast<int>(width));
    if (dw && rows)
        cuda_launch(s, "column_sum", column_sum_kernel, cuda_blocks(width, WARP), THREADS, 0, dw, partial,
                    static_cast<int>(blocks), static_cast<int>(width));
}

// The maximum and the sum of exp(x - maximum) over what the threads of a block have seen, known to all of them.
__device__ static void block_softmax(float *max, float *sum) {
    STATIC_SHARED float max_of_warp[WARPS], sum_of_warp[WARPS];
    int warp = static_cast<int>(threadIdx.x / WARP);
    float m = warp_max(*max);
    float s = warp_sum(*sum * expf(*max - m));
    if (threadIdx.x % WARP == 0) {
        max_of_warp[warp] = m;
        sum_of_warp[warp] = s;
    }
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        m = fmaxf(m, max_of_warp[i]);
    s = 0;
    for (int i = 0; i < WARPS; i++)
        s += sum_of_warp[i] * expf(max_of_warp[i] - m);
    *max = m;
    *sum = s;
}

template <int W>
__global__ void __launch_bounds__(THREADS)
    cross_entropy_kernel(float *logits, float *row_loss, const int32_t *target, const float *weight,
                         int n_vocab, float gradient_scale) {
    int64_t row = blockIdx.x;
    float *l = logits + row * n_vocab;
    int wanted = target[row];
    int thread = static_cast<int>(threadIdx.x);
    if (wanted < 0) { // no loss: the same for the whole block
        for (int i = thread; i < n_vocab / W; i += THREADS)
            store(l, i, floats<W>{});
        if (thread == 0)
            row_loss[row] = 0;
        return;
    }
    float max = -FLT_MAX, sum = 0;
    for (int i = thread; i < n_vocab / W; i += THREADS) {
        floats<W> x = load<W>(l, i);
        float larger = max;
        for (int j = 0; j < W; j++)
            larger = fmaxf(larger, x.v[j]);
        sum *= expf(max - larger);
        max = larger;
        for (int j = 0; j < W; j++)
            sum += expf(x.v[j] - max);
    }
    block_softmax(&max, &sum);
    float scale = gradient_scale * weight[row];
    float inverse = scale / sum;
    if (thread == 0)
        row_loss[row] = weight[row] * (max + logf(sum) - l[wanted]);
    __syncthreads(); // nobody overwrites l[wanted] before it was read
    for (int i = thread; i < n_vocab / W; i += THREADS) {
        floats<W> x = load<W>(l, i);
        for (int j = 0; j < W; j++)
            x.v[j] = expf(x.v[j] - max) * inverse - (i * W + j == wanted ? scale : 0.0f);
        store(l, i, x);
    }
}

void cuda_cross_entropy(const struct ops *o, float *logits, float *row_loss, const int32_t *target,
                        const float *weight, int64_t rows, int64_t n_vocab, float gradient_scale) {
    auto kernel = cuda_by_four(n_vocab, logits) ? cross_entropy_kernel<4> : cross_entropy_kernel<1>;
    cuda_launch(cuda_state_of(o), "cross_entropy", kernel, static_cast<unsigned>(rows), THREADS, 0, logits,
                row_loss, target, weight, static_cast<int>(n_vocab), gradient_scale);
}
