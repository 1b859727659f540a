// Attention forward: one pass over the keys with a running softmax (Milakov and Gimelshein, arXiv 1805.02867), tile by
// tile as in FlashAttention-2 (Dao, arXiv 2307.08691), so that scores never leave the chip. And the packing of
// sequences, which backward shares.
#include "tensor/cuda/attention.cuh"

#include <stdlib.h>
#include <string.h>

// begin[t] and end[t] of the sequence that token t belongs to; a token of none sees itself.
__global__ void packing_kernel(int32_t *begin, int32_t *end, const int32_t *start, int n_seq, int n_tokens) {
    int t = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (t >= n_tokens)
        return;
    int low = 0, high = n_seq; // start[low] <= t < start[high], once the ends are dealt with
    if (n_seq == 0 || t < start[0] || t >= start[n_seq]) {
        begin[t] = t;
        end[t] = t + 1;
        return;
    }
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (start[middle] <= t)
            low = middle;
        else
            high = middle;
    }
    begin[t] = start[low];
    end[t] = start[high];
}

// Room for the arrays; they only grow, so that a step after the first allocates nothing.
static bool packing_reserve(struct cuda_state *s, int64_t n_starts, int64_t n_tokens) {
    struct cuda_packing *p = &s->packing;
    if (n_starts > p->capacity_starts) {
        p->n_seq = -1; // what is there no longer counts
        p->capacity_starts = 0;
        auto *host =
            static_cast<int32_t *>(realloc(p->start_host, static_cast<size_t>(n_starts) * sizeof(int32_t)));
        if (!host) {
            err_set(&s->error, ERR_NO_MEMORY, "cuda", "no memory for %lld sequence starts",
                    (long long)n_starts);
            return false;
        }
        p->start_host = host;
        CUDA_CHECK(s, cudaFree(p->start));
        p->start = nullptr;
        if (!CUDA_CHECK(s, cudaMalloc(&p->start, static_cast<size_t>(n_starts) * sizeof(int32_t))))
            return false;
        p->capacity_starts = n_starts;
    }
    if (n_tokens > p->capacity_tokens) {
        p->n_seq = -1;
        p->capacity_tokens = 0;
        CUDA_CHECK(s, cudaFree(p->begin));
        CUDA_CHECK(s, cudaFree(p->end));
        p->begin = p->end = nullptr;
        if (!CUDA_CHECK(s, cudaMalloc(&p->begin, static_cast<size_t>(n_tokens) * sizeof(int32_t))) ||
            !CUDA_CHECK(s, cudaMalloc(&p->end, static_cast<size_t>(n_tokens) * sizeof(int32_t))))
            return false;
        p->capacity_tokens = n_tokens;
    }
    return true;
}

// Once a step in practice: layers and backward find the same boundaries again.
static bool packing_update(struct cuda_state *s, const struct attention_shape *a) {
    struct cuda_packing *p = &s->packing;
    size_t size_bytes = (static_cast<size_t>(a->n_seq) + 1) * sizeof(int32_t);
    if (p->start_host && p->n_seq == a->n_seq && p->n_tokens == a->n_tokens &&
        memcmp(p->start_host, a->start, size_bytes) == 0)
        return true;
    if (!packing_reserve(s, a->n_seq + 1, a->n_tokens))
        return false;
    memcpy(p->start_host, a->start, size_bytes);
    p->n_seq = a->n_seq;
    p->n_tokens = a->n_tokens;
    if (!CUDA_CHECK(s, cudaMemcpyAsync(p->start, a->start, size_bytes, cudaMemcpyHostToDevice, s->stream)))
        return false;
    cuda_launch(s, "packing", packing_kernel, cuda_blocks(a->n_tokens, 256), 256, 0, p->begin, p->end,
                p->start, a->n_seq, static_cast<int>(a->n_tokens));
    return !s->error.code;
}

bool attention_view_make(struct cuda_state *s, const struct attention_shape *a, struct attention_view *view) {
    const int max_head_dim = 128;
    if (s->error.code)
        return false;
    if (a->head_dim > max_head_dim) {
        err_set(&s->error, ERR_UNSUPPORTED, "cuda_attention", "heads of %d values: the kernels end at %d",
                a->head_dim, max_head_dim);
        return false;
    }
    if (!packing_update(s, a))
        return false;
    *view = {};
    view->n_tokens = static_cast<int>(a->n_tokens);
    view->n_heads = a->n_heads;
    view->n_kv_heads = a->n_kv_heads;
    view->head_dim = a->head_dim;
    view->window = a->window;
    view->n_prefix = static_cast<int>(a->n_prefix);
    view->scale = a->scale;
    view->begin = s->packing.begin;
    view->end = s->packing.end;
    view->prefix_k = a->prefix_k;
    view->prefix_v = a->prefix_v;
    view->by_four = cuda_by_four(a->head_dim, a->prefix_k, a->prefix_v);
    return true;
}

// What a lane keeps of its two rows while it walks along the keys.
template <typename TILE> struct running_softmax {
    float max[2] = {-INFINITY, -INFINITY}; // of scores times log2(e): powers of two are what the hardware has
    float sum[2] = {0, 0};                 // of this lane's columns only, until the end
    float out[TILE::WIDTH / 8][4] = {};
};

// Take one tile of keys into account. `first` is the index of the tile's first key, `sight` what each row sees.
template <typename TILE>
__device__ void softmax_step(struct running_softmax<TILE> &r, const float *q, const float *k, const float *v,
                             int first, const struct attention_sight (&sight)[2], float scale) {
    float s[TILE::STEP / 8][4];
    int t = static_cast<int>(threadIdx.x % 4);
    product_shared<TILE>(s, q, k);
    float larger[2] = {r.max[0], r.max[1]}, base[2], shrink[2];
#pragma unroll
    for (int n = 0; n < TILE::STEP / 8; n++)
        for (int i = 0; i < 4; i++) {
            int row = i / 2, key = first + n * 8 + 2 * t + i % 2;
            bool seen = key >= sight[row].low && key <= sight[row].high;
            s[n][i] = seen ? s[n][i] * scale : -INFINITY;
            larger[row] = fmaxf(larger[row], s[n][i]);
        }
    for (int row = 0; row < 2; row++) {
        larger[row] = fmaxf(larger[row], __shfl_xor_sync(ALL_LANES, larger[row], 1));
        larger[row] = fmaxf(larger[row], __shfl_xor_sync(ALL_LANES, larger[row], 2));
        base[row] =
            larger[row] == -INFINITY ? 0 : larger[row]; // a row that saw nothing yet: exp2(-inf - 0) is 0
        shrink[row] = exp2f(r.max[row] - base[row]);
        r.max[row] = larger[row];
        r.sum[row] *= shrink[row];
    }
#pragma unroll
    for (int n = 0; n < TILE::STEP / 8; n++)
        for (int i = 0; i < 4; i++) {
            s[n][i] = exp2f(s[n][i] - base[i / 2]);
            r.sum[i / 2] += s[n][i];
        }
#pragma unroll
    for (int e = 0; e < TILE::WIDTH / 8; e++)
        for (int i = 0; i < 4; i++)
            r.out[e][i] *= shrink[i / 2];
    product_registers<TILE>(r.out, s, v);
}

// Block: 64 queries of one head.
template <typename TILE>
__global__ void __launch_bounds__(ATTENTION_THREADS, TILE::BLOCKS)
    attention_kernel(float *out, float *lse, const float *q, const float *k, const float *v,
                     struct attention_view a) {
    DYNAMIC_SHARED(shared);
    float *q_tile = shared, *k_tile = q_tile + TILE::ROWS_SIZE, *v_tile = k_tile + TILE::STEP_SIZE;
    int first = static_cast<int>(blockIdx.x) * ROWS, head = static_cast<int>(blockIdx.y);
    int kv_offset = head / (a.n_heads / a.n_kv_heads) * a.head_dim;
    int64_t pitch = static_cast<int64_t>(a.n_heads) * a.head_dim;
    int64_t kv_pitch = static_cast<int64_t>(a.n_kv_heads) * a.head_dim;
    int warp = static_cast<int>(threadIdx.x / WARP), lane = static_cast<int>(threadIdx.x % WARP);
    int row = first + warp * 16 + lane / 4;
    const float *q_rows = q_tile + warp * 16 * TILE::STRIDE;
    struct running_softmax<TILE> r;

    tile_load<TILE, ROWS>(q_tile, q + first * pitch + head * a.head_dim, pitch, a.n_tokens - first, a);
    for (int prefix = a.n_prefix > 0; prefix >= 0; prefix--) {
        const struct attention_sight sight[2] = {prefix ? sight_prefix(a, row) : sight_own(a, row),
                                                 prefix ? sight_prefix(a, row + 8) : sight_own(a, row + 8)};
        const float *keys = prefix ? a.prefix_k : k, *values = prefix ? a.prefix_v : v;
        int key = prefix ? 0 : sight_own(a, first).low; // the first row sees furthest back
        int end = prefix ? a.n_prefix : min(first + ROWS, a.n_tokens);
        for (; key < end; key += TILE::STEP) {
            __syncthreads();
            int64_t at = key * kv_pitch + kv_offset;
            tiles_load<TILE, TILE::STEP>(k_tile, v_tile, keys + at, values + at, kv_pitch, end - key, a);
            __syncthreads();
            if (key < first + (warp + 1) * 16 || prefix) // else all keys lie after all queries of the warp
                softmax_step<TILE>(r, q_rows, k_tile, v_tile, key, sight, a.scale * LOG2_E);
        }
    }
    float factor[2];
    for (int i = 0; i < 2; i++) {
        float sum = r.sum[i] + __shfl_xor_sync(ALL_LANES, r.sum[i], 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        factor[i] = 1.0f / sum;
        if (lane % 4 == 0 && row + 8 * i < a.n_tokens)
            lse[static_cast<int64_t>(head) * a.n_tokens + row + 8 * i] = (r.max[i] + log2f(sum)) * LN_2;
    }
    tile_store<TILE>(out + head * a.head_dim, pitch, first + warp * 16, a.n_tokens, r.out, factor,
                     a.head_dim);
}

template <typename TILE>
static void attention_launch(struct cuda_state *s, float *out, float *lse, const float *q, const float *k,
                             const float *v, const struct attention_view &a) {
    dim3 grid(cuda_blocks(a.n_tokens, ROWS), static_cast<unsigned>(a.n_heads));
    cuda_launch(s, "attention", attention_kernel<TILE>, grid, ATTENTION_THREADS,
                (TILE::ROWS_SIZE + 2 * TILE::STEP_SIZE) * sizeof(float), out, lse, q, k, v, a);
}

void cuda_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                    const float *v, const struct attention_shape *a) {
    struct cuda_state *s = cuda_state_of(o);
    struct attention_view view;
    if (!attention_view_make(s, a, &view))
        return;
    view.by_four = view.by_four && cuda_by_four(0, q, k, v);
    ATTENTION_DISPATCH(s->tf32, a->head_dim, attention_launch, s, out, lse, q, k, v, view);
}
