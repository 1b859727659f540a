// Rows picked by index: the embedding table, gather, and their transposes.
//
// The gradient of the table adds up all positions that hold the same token. Atomic additions of floats would give
// another rounding in every run, so the positions are sorted by token first (a stable counting sort: integers only, so
// its result is unique), then one block adds up the rows of one token in that order.
#include "tensor/cuda/device.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;

// A warp copies (or adds) one row.
template <int W>
__global__ void __launch_bounds__(THREADS)
    embed_kernel(float *out, const float *table, const int32_t *token, int64_t n_tokens, int width) {
    int64_t t = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP;
    if (t >= n_tokens)
        return;
    const float *from = table + static_cast<int64_t>(token[t]) * width;
    for (int i = static_cast<int>(threadIdx.x % WARP); i < width / W; i += WARP)
        store(out + t * width, i, load<W>(from, i));
}

void cuda_embed(const struct ops *o, float *out, const float *table, const int32_t *token, int64_t n_tokens,
                int64_t width) {
    auto kernel = cuda_by_four(width, out, table) ? embed_kernel<4> : embed_kernel<1>;
    cuda_launch(cuda_state_of(o), "embed", kernel, cuda_blocks(n_tokens, WARPS), THREADS, 0, out, table,
                token, n_tokens, static_cast<int>(width));
}

template <int W>
__global__ void __launch_bounds__(THREADS)
    scatter_add_kernel(float *dx, const float *dout, const int32_t *row, int64_t n_rows, int width) {
    int64_t r = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP;
    if (r >= n_rows)
        return;
    float *to = dx + static_cast<int64_t>(row[r]) * width;
    for (int i = static_cast<int>(threadIdx.x % WARP); i < width / W; i += WARP) {
        floats<W> a = load<W>(to, i), b = load<W>(dout + r * width, i);
        for (int j = 0; j < W; j++)
            a.v[j] += b.v[j];
        store(to, i, a);
    }
}

void cuda_scatter_add(const struct ops *o, float *dx, const float *dout, const int32_t *row, int64_t n_rows,
                      int64_t width) {
    auto kernel = cuda_by_four(width, dx, dout) ? scatter_add_kernel<4> : scatter_add_kernel<1>;
    cuda_launch(cuda_state_of(o), "scatter_add", kernel, cuda_blocks(n_rows, WARPS), THREADS, 0, dx, dout,
                row, n_rows, static_cast<int>(width));
}

// The counting sort. Positions are cut into chunks of one block each; count [chunks, V] says how often each token
// occurs in each chunk, and becomes how often it occurred in earlier chunks; first [V + 1] is where each token's
// positions begin in `sorted` [T].
constexpr int CHUNK = 1024;

__global__ void count_kernel(int32_t *count, const int32_t *token, int n_tokens, int n_vocab) {
    int t = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (t < n_tokens) // atomic on integers: the order of additions leaves no trace
        atomicAdd(&count[static_cast<int64_t>(t / CHUNK) * n_vocab + token[t]], 1);
}

__global__ void chunk_scan_kernel(int32_t *count, int32_t *first, int n_chunks, int n_vocab) {
    int v = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (v >= n_vocab)
        return;
    int32_t sum = 0;
    for (int c = 0; c < n_chunks; c++) {
        int32_t *p = &count[static_cast<int64_t>(c) * n_vocab + v];
        int32_t here = *p;
        *p = sum;
        sum += here;
    }
    first[v] = sum;
}

// Exclusive prefix sum in place of first [n], and the total in first[n]; one block walks along.
__global__ void __launch_bounds__(CHUNK) vocabulary_scan_kernel(int32_t *first, int n) {
    STATIC_SHARED int32_t of_warp[CHUNK / WARP];
    int lane = static_cast<int>(threadIdx.x % WARP), warp = static_cast<int>(threadIdx.x / WARP);
    int32_t before = 0;
    for (int base = 0; base < n; base += CHUNK) {
        int v = base + static_cast<int>(threadIdx.x);
        int32_t own = v < n ? first[v] : 0, sum = own;
        for (int i = 1; i < WARP; i *= 2) {
            int32_t left = __shfl_up_sync(ALL_LANES, sum, i);
            sum += lane >= i ? left : 0;
        }
        if (lane == WARP - 1)
            of_warp[warp] = sum;
        __syncthreads();
        int32_t total = 0;
        for (int i = 0; i < CHUNK / WARP; i++) {
            sum += i < warp ? of_warp[i] : 0;
            total += of_warp[i];
        }
        if (v < n)
            first[v] = before + sum - own;
        before += total;
        __syncthreads();
    }
    if (threadIdx.x == 0)
        first[n] = before;
}

// A position's place: after the smaller tokens, after the same token in earlier chunks, after the same token earlier in
// this chunk (found by looking at all of them: 1,024 comparisons in shared memory).
__global__ void __launch_bounds__(CHUNK)
    place_kernel(int32_t *sorted, const int32_t *count, const int32_t *first, const int32_t *token,
                 int n_tokens, int n_vocab) {
    STATIC_SHARED int32_t tokens[CHUNK];
    int thread = static_cast<int>(threadIdx.x);
    int t = static_cast<int>(blockIdx.x) * CHUNK + thread;
    int32_t own = t < n_tokens ? token[t] : -1;
    tokens[thread] = own;
    __syncthreads();
    if (own < 0)
        return;
    int32_t earlier = 0;
    for (int i = 0; i < thread; i++)
        earlier += tokens[i] == own;
    sorted[first[own] + count[static_cast<int64_t>(blockIdx.x) * n_vocab + own] + earlier] = t;
}

// A block adds up one token's rows. Its threads stand as [teams][columns]: each team takes every teams-th row, so that
// a token that is everywhere (the newline of a template) is not one long chain of additions; then the teams are added.
constexpr int TEAM_THREADS = 512;

template <int W>
__global__ void __launch_bounds__(TEAM_THREADS)
    add_rows_kernel(float *dtable, const float *dout, const int32_t *sorted, const int32_t *first, int width,
                    int columns) {
    DYNAMIC_SHARED(shared); // [teams, columns, W]
    int64_t v = blockIdx.x;
    int begin = first[v], end = first[v + 1];
    int column = static_cast<int>(threadIdx.x) % columns, team = static_cast<int>(threadIdx.x) / columns;
    int teams = TEAM_THREADS / columns;
    if (begin == end)
        return;
    for (int base = 0; base < width / W; base += columns) {
        floats<W> sum = {};
        if (base + column < width / W)
            for (int i = begin + team; team < teams && i < end; i += teams) {
                floats<W> x = load<W>(dout + static_cast<int64_t>(sorted[i]) * width, base + column);
                for (int j = 0; j < W; j++)
                    sum.v[j] += x.v[j];
            }
        if (team < teams)
            store(shared, threadIdx.x, sum);
        __syncthreads();
        if (team == 0 && base + column < width / W) {
            for (int i = 1; i < teams; i++) {
                floats<W> x = load<W>(shared, i * columns + column);
                for (int j = 0; j < W; j++)
                    sum.v[j] += x.v[j];
            }
            floats<W> y = load<W>(dtable + v * width, base + column);
            for (int j = 0; j < W; j++)
                y.v[j] += sum.v[j];
            store(dtable + v * width, base + column, y);
        }
        __syncthreads();
    }
}

void cuda_embed_backward(const struct ops *o, float *dtable, const float *dout, const int32_t *token,
                         int64_t n_tokens, int64_t width, int64_t n_vocab) {
    struct cuda_state *s = cuda_state_of(o);
    if (n_tokens == 0)
        return;
    int T = static_cast<int>(n_tokens), V = static_cast<int>(n_vocab);
    unsigned chunks = cuda_blocks(T, CHUNK);
    size_t n_count = static_cast<size_t>(chunks) * static_cast<size_t>(V);
    auto *count = static_cast<int32_t *>(
        cuda_scratch(s, (n_count + static_cast<size_t>(V) + 1 + static_cast<size_t>(T)) * sizeof(int32_t)));
    if (!count)
        return;
    int32_t *first = count + n_count, *sorted = first + V + 1;
    cuda_zero(o, count, n_count * sizeof *count);
    cuda_launch(s, "count", count_kernel, cuda_blocks(T, THREADS), THREADS, 0, count, token, T, V);
    cuda_launch(s, "chunk_scan", chunk_scan_kernel, cuda_blocks(V, THREADS), THREADS, 0, count, first,
                static_cast<int>(chunks), V);
    cuda_launch(s, "vocabulary_scan", vocabulary_scan_kernel, 1, CHUNK, 0, first, V);
    cuda_launch(s, "place", place_kernel, chunks, CHUNK, 0, sorted, count, first, token, T, V);
    bool by_four = cuda_by_four(width, dtable, dout);
    int64_t groups = by_four ? width / 4 : width;
    int columns = WARP; // the least power of two that spans the row
    while (columns < groups && columns < TEAM_THREADS)
        columns *= 2;
    auto kernel = by_four ? add_rows_kernel<4> : add_rows_kernel<1>;
    cuda_launch(s, "add_rows", kernel, static_cast<unsigned>(V), TEAM_THREADS,
                TEAM_THREADS * (by_four ? 4 : 1) * sizeof(float), dtable, dout, sorted, first,
                static_cast<int>(width), columns);
}
