// What the attention kernels have in common: who sees whom, tiles in shared memory, and the two products on tensor
// cores that all four kernels are made of.
//
// A block has four warps; a warp owns 16 rows of the result (queries, or keys in the kernel for dk and dv) and walks
// along tiles of the other side. Matrices in shared memory are [rows, WIDTH] with STRIDE = WIDTH + 4 floats a row: then
// the 32 lanes of a warp read fragments of either product from 32 different banks. WIDTH is head_dim rounded up to a
// size that has a kernel; the columns beyond head_dim hold zeros.
//
// mma.m16n8k8 multiplies A [16, 8] by B [8, 8]. Lane = 4 g + t holds (PTX manual, "Matrix Fragments for mma.m16n8k8"):
//     A: (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4)     B: (t, g) (t + 4, g)     C: (g, 2t) (g, 2t + 1) (g + 8, ...)
#pragma once

#include "tensor/cuda/device.cuh"
#include "tensor/cuda/mma.cuh"

#include <limits.h>
#include <math.h>

constexpr int ATTENTION_WARPS = 4;
constexpr int ATTENTION_THREADS = ATTENTION_WARPS * WARP;
constexpr int ROWS = ATTENTION_WARPS * 16; // rows of the result that a block owns
constexpr float LOG2_E = 1.44269504088896341f;
constexpr float LN_2 = 0.69314718055994531f;

// Sizes of one instance. EXACT: products as exact as single precision, at a third of the speed.
template <int WIDTH_, bool EXACT_> struct attention_tile {
    static constexpr int WIDTH = WIDTH_;
    static constexpr bool EXACT = EXACT_;
    static constexpr int STRIDE = WIDTH + 4;
    static constexpr int STEP =
        WIDTH <= 64 ? 64 : 32; // rows of the walked side in one tile: what registers allow
    static constexpr int BLOCKS =
        WIDTH <= 64 ? 3 : 2; // on a multiprocessor at once: while one waits, others compute
    static constexpr int ROWS_SIZE = ROWS * STRIDE, STEP_SIZE = STEP * STRIDE; // in floats
};

// The shape, as the kernels take it (by value).
struct attention_view {
    int n_tokens, n_heads, n_kv_heads, head_dim, window, n_prefix;
    float scale;
    bool by_four; // all arrays can be read four values at a time
    const int32_t *begin, *end;
    const float *prefix_k, *prefix_v;
};

// Query i sees the keys [low, high] of its own packed batch or of the prefix; none where high < low.
struct attention_sight {
    int low, high;
};

__device__ inline struct attention_sight sight_own(const struct attention_view &a, int i) {
    if (i >= a.n_tokens)
        return {INT_MAX, -1};
    int low = a.begin[i];
    return {a.window > 0 ? max(low, i - a.window + 1) : low, i};
}

// The prefix's positions come right before those of the sequence; a window limits the sight of both.
__device__ inline struct attention_sight sight_prefix(const struct attention_view &a, int i) {
    if (i >= a.n_tokens)
        return {INT_MAX, -1};
    int low = a.n_prefix + i - a.begin[i] - a.window + 1;
    return {a.window > 0 ? max(0, low) : 0, a.n_prefix - 1};
}

// Rounded to TF32 when it enters shared memory, once, unless the products are exact.
template <typename TILE> __device__ inline float as_factor(float x) {
    return TILE::EXACT ? x : tf32_round(x);
}

// A tile: rows [0, n_rows) of one head of a matrix whose rows are `pitch` floats apart; zeros beyond, up to N rows. This
// is the way for heads or addresses that are not multiples of four floats.
template <typename TILE, int N>
__device__ void tile_load_by_one(float *to, const float *from, int64_t pitch, int n_rows, int head_dim) {
    for (int i = static_cast<int>(threadIdx.x); i < N * TILE::WIDTH; i += ATTENTION_THREADS) {
        int row = i / TILE::WIDTH, column = i % TILE::WIDTH;
        float x = row < n_rows && column < head_dim ? from[row * pitch + column] : 0;
        to[row * TILE::STRIDE + column] = as_factor<TILE>(x);
    }
}

// A thread's share of a tile on its way from global to shared memory: fetching and putting are two steps, so that all
// loads are under way before the first is waited for.
template <typename TILE, int N> struct tile_share {
    static constexpr int GROUPS = TILE::WIDTH / 4, COUNT = N * GROUPS / ATTENTION_THREADS;
    static_assert(COUNT * ATTENTION_THREADS == N * GROUPS, "the threads share a tile without rest");
    floats<4> x[COUNT];

    __device__ inline void fetch(const float *from, int64_t pitch, int n_rows, int head_dim) {
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            int i = static_cast<int>(threadIdx.x) + j * ATTENTION_THREADS;
            int row = i / GROUPS, column = i % GROUPS * 4;
            x[j] = {};
            if (row < n_rows && column < head_dim)
                x[j] = load<4>(from + row * pitch + column, 0);
        }
    }

    __device__ inline void put(float *to) const {
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            int i = static_cast<int>(threadIdx.x) + j * ATTENTION_THREADS;
            floats<4> y = x[j];
            for (int l = 0; l < 4; l++)
                y.v[l] = as_factor<TILE>(y.v[l]);
            store(to + i / GROUPS * TILE::STRIDE + i % GROUPS * 4, 0, y);
        }
    }
};

template <typename TILE, int N>
__device__ inline void tile_load(float *to, const float *from, int64_t pitch, int n_rows,
                                 const struct attention_view &a) {
    if (!a.by_four) {
        tile_load_by_one<TILE, N>(to, from, pitch, n_rows, a.head_dim);
        return;
    }
    struct tile_share<TILE, N> share;
    share.fetch(from, pitch, n_rows, a.head_dim);
    share.put(to);
}

// The same rows of two matrices of one shape: keys and values, or queries and the gradient of their output.
template <typename TILE, int N>
__device__ inline void tiles_load(float *to_x, float *to_y, const float *x, const float *y, int64_t pitch,
                                  int n_rows, const struct attention_view &a) {
    if (!a.by_four) {
        tile_load_by_one<TILE, N>(to_x, x, pitch, n_rows, a.head_dim);
        tile_load_by_one<TILE, N>(to_y, y, pitch, n_rows, a.head_dim);
        return;
    }
    struct tile_share<TILE, N> of_x, of_y;
    of_x.fetch(x, pitch, n_rows, a.head_dim);
    of_y.fetch(y, pitch, n_rows, a.head_dim);
    of_x.put(to_x);
    of_y.put(to_y);
}

// c += a b for one fragment. An exact product splits both factors in two TF32 numbers and leaves out low * low.
template <bool EXACT>
__device__ inline void multiply(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
    if constexpr (EXACT) {
        float a_high[4], a_low[4], b_high[2], b_low[2];
        for (int i = 0; i < 4; i++) {
            a_high[i] = tf32_round(a[i]);
            a_low[i] = tf32_round(a[i] - a_high[i]);
        }
        for (int i = 0; i < 2; i++) {
            b_high[i] = tf32_round(b[i]);
            b_low[i] = tf32_round(b[i] - b_high[i]);
        }
        mma_m16n8k8(c, a_low, b_high);
        mma_m16n8k8(c, a_high, b_low);
        mma_m16n8k8(c, a_high, b_high);
    } else
        mma_m16n8k8(c, a, b);
}

// c [16, STEP] = a b^T with a [16, WIDTH] and b [STEP, WIDTH] in shared memory. Lane's part of c: c[n] holds rows
// g, g + 8 and columns 8 n + 2 t, + 1.
template <typename TILE>
__device__ void product_shared(float (&c)[TILE::STEP / 8][4], const float *a, const float *b) {
    constexpr int S = TILE::STRIDE;
    int lane = static_cast<int>(threadIdx.x % WARP), g = lane / 4, t = lane % 4;
    a += g * S + t;
    b += g * S + t;
#pragma unroll
    for (int n = 0; n < TILE::STEP / 8; n++)
        c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0;
#pragma unroll
    for (int k = 0; k < TILE::WIDTH; k += 8) {
        const float of_a[4] = {a[k], a[8 * S + k], a[k + 4], a[8 * S + k + 4]};
#pragma unroll
        for (int n = 0; n < TILE::STEP / 8; n++) {
            const float of_b[2] = {b[n * 8 * S + k], b[n * 8 * S + k + 4]};
            multiply<TILE::EXACT>(c[n], of_a, of_b);
        }
    }
}

// c [16, WIDTH] += p b with p [16, STEP] in registers as product_shared leaves it and b [STEP, WIDTH] in shared memory.
// The order of a sum is free: the tensor core's k = t and t + 4 are the columns 2 t and 2 t + 1 that the lane holds.
template <typename TILE>
__device__ void product_registers(float (&c)[TILE::WIDTH / 8][4], const float (&p)[TILE::STEP / 8][4],
                                  const float *b) {
    constexpr int S = TILE::STRIDE;
    int lane = static_cast<int>(threadIdx.x % WARP), g = lane / 4, t = lane % 4;
    b += 2 * t * S + g;
#pragma unroll
    for (int n = 0; n < TILE::STEP / 8; n++) {
        float of_p[4] = {p[n][0], p[n][2], p[n][1], p[n][3]};
        for (int i = 0; i < 4; i++)
            of_p[i] = as_factor<TILE>(of_p[i]);
#pragma unroll
        for (int e = 0; e < TILE::WIDTH / 8; e++) {
            const float of_b[2] = {b[n * 8 * S + e * 8], b[n * 8 * S + S + e * 8]};
            multiply<TILE::EXACT>(c[e], of_p, of_b);
        }
    }
}

// Write the lane's part of c [16, WIDTH], each row times its factor, to rows first + g and first + g + 8 below n_rows.
template <typename TILE>
__device__ void tile_store(float *to, int64_t pitch, int first, int n_rows,
                           const float (&c)[TILE::WIDTH / 8][4], const float (&factor)[2], int head_dim) {
    int lane = static_cast<int>(threadIdx.x % WARP), g = lane / 4, t = lane % 4;
    for (int r = 0; r < 2; r++) {
        int row = first + g + 8 * r;
        if (row >= n_rows)
            continue;
        float *p = to + row * pitch + 2 * t;
#pragma unroll
        for (int e = 0; e < TILE::WIDTH / 8; e++) {
            if (e * 8 + 2 * t < head_dim)
                p[e * 8] = c[e][2 * r] * factor[r];
            if (e * 8 + 2 * t + 1 < head_dim)
                p[e * 8 + 1] = c[e][2 * r + 1] * factor[r];
        }
    }
}

// Bring the packing on the device up to date and describe the shape. False after an error (recorded).
bool attention_view_make(struct cuda_state *s, const struct attention_shape *a, struct attention_view *view);

// Call F<TILE>(...) for the least instance that holds the head: rejected above 128 by attention_view_make.
#define ATTENTION_DISPATCH(tf32, head_dim, F, ...)                                                           \
    do {                                                                                                     \
        if ((head_dim) <= 32)                                                                                \
            (tf32) ? F<attention_tile<32, false>>(__VA_ARGS__) : F<attention_tile<32, true>>(__VA_ARGS__);   \
        else if ((head_dim) <= 64)                                                                           \
            (tf32) ? F<attention_tile<64, false>>(__VA_ARGS__) : F<attention_tile<64, true>>(__VA_ARGS__);   \
        else if ((head_dim) <= 96)                                                                           \
            (tf32) ? F<attention_tile<96, false>>(__VA_ARGS__) : F<attention_tile<96, true>>(__VA_ARGS__);   \
        else                                                                                                 \
            (tf32) ? F<attention_tile<128, false>>(__VA_ARGS__) : F<attention_tile<128, true>>(__VA_ARGS__); \
    } while (0)
