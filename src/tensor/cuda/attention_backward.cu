// Attention backward. The probabilities are computed again from the kept log of the denominator:
//     p = exp(scale q.k - lse)    dv += p dout    ds = scale p (dout.v - delta)    dq += ds k    dk += ds q
// with delta = dout.out of the query's row. One kernel owns rows of queries and walks along keys (dq), one owns rows of
// keys and walks along queries and the heads of the group (dk, dv). The scores are computed twice that way, but every sum
// has one owner and one order: no atomics, the same bits in every run.
//
// Every query sees the prefix, which is short: its rows alone would keep few blocks busy for long. So its queries are cut
// into chunks with a block and a partial result each, added up at the end.
#include "tensor/cuda/attention.cuh"

// delta [H, T]: a warp takes a row.
__global__ void __launch_bounds__(256)
    delta_kernel(float *delta, const float *dout, const float *out, int n_tokens, int n_heads, int head_dim) {
    int64_t row = static_cast<int64_t>(blockIdx.x) * 8 + threadIdx.x / WARP; // of [T, H]
    if (row >= static_cast<int64_t>(n_tokens) * n_heads)
        return;
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x % WARP); i < head_dim; i += WARP)
        sum += dout[row * head_dim + i] * out[row * head_dim + i];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        delta[row % n_heads * n_tokens + row / n_heads] = sum;
}

// Block: 64 queries of one head.
template <typename TILE>
__global__ void __launch_bounds__(ATTENTION_THREADS, TILE::BLOCKS)
    query_gradient_kernel(float *dq, const float *dout, const float *lse, const float *delta, const float *q,
                          const float *k, const float *v, struct attention_view a) {
    DYNAMIC_SHARED(shared);
    float *q_tile = shared, *dout_tile = q_tile + TILE::ROWS_SIZE, *k_tile = dout_tile + TILE::ROWS_SIZE;
    float *v_tile = k_tile + TILE::STEP_SIZE;
    int first = static_cast<int>(blockIdx.x) * ROWS, head = static_cast<int>(blockIdx.y);
    int kv_offset = head / (a.n_heads / a.n_kv_heads) * a.head_dim;
    int64_t pitch = static_cast<int64_t>(a.n_heads) * a.head_dim;
    int64_t kv_pitch = static_cast<int64_t>(a.n_kv_heads) * a.head_dim;
    int warp = static_cast<int>(threadIdx.x / WARP), lane = static_cast<int>(threadIdx.x % WARP);
    int row = first + warp * 16 + lane / 4;
    int row_offset = warp * 16 * TILE::STRIDE;
    float row_lse[2], row_delta[2], sum[TILE::WIDTH / 8][4] = {};
    for (int i = 0; i < 2; i++) {
        int64_t at = static_cast<int64_t>(head) * a.n_tokens + row + 8 * i;
        bool exists = row + 8 * i < a.n_tokens;
        row_lse[i] = exists ? lse[at] * LOG2_E : 0;
        row_delta[i] = exists ? delta[at] : 0;
    }

    int64_t offset = first * pitch + head * a.head_dim;
    tiles_load<TILE, ROWS>(q_tile, dout_tile, q + offset, dout + offset, pitch, a.n_tokens - first, a);
    for (int prefix = a.n_prefix > 0; prefix >= 0; prefix--) {
        const struct attention_sight sight[2] = {prefix ? sight_prefix(a, row) : sight_own(a, row),
                                                 prefix ? sight_prefix(a, row + 8) : sight_own(a, row + 8)};
        const float *keys = prefix ? a.prefix_k : k, *values = prefix ? a.prefix_v : v;
        int key = prefix ? 0 : sight_own(a, first).low;
        int end = prefix ? a.n_prefix : min(first + ROWS, a.n_tokens);
        for (; key < end; key += TILE::STEP) {
            __syncthreads();
            int64_t at = key * kv_pitch + kv_offset;
            tiles_load<TILE, TILE::STEP>(k_tile, v_tile, keys + at, values + at, kv_pitch, end - key, a);
            __syncthreads();
            if (key >= first + (warp + 1) * 16 && !prefix)
                continue; // all keys lie after all queries of the warp
            float s[TILE::STEP / 8][4], dp[TILE::STEP / 8][4];
            product_shared<TILE>(s, q_tile + row_offset, k_tile);
            product_shared<TILE>(dp, dout_tile + row_offset, v_tile);
#pragma unroll
            for (int n = 0; n < TILE::STEP / 8; n++)
                for (int i = 0; i < 4; i++) {
                    int r = i / 2, column = key + n * 8 + 2 * (lane % 4) + i % 2;
                    bool seen = column >= sight[r].low && column <= sight[r].high;
                    float p = seen ? exp2f(s[n][i] * (a.scale * LOG2_E) - row_lse[r]) : 0;
                    s[n][i] = p * (dp[n][i] - row_delta[r]);
                }
            product_registers<TILE>(sum, s, k_tile);
        }
    }
    const float factor[2] = {a.scale, a.scale};
    tile_store<TILE>(dq + head * a.head_dim, pitch, first + warp * 16, a.n_tokens, sum, factor, a.head_dim);
}

// The side of the keys: the packed batch's own, or the prefix with its queries in chunks.
struct key_side {
    const float *k, *v;
    float *dk, *dv;    // [chunks, n_keys, K, E]
    int n_keys, chunk; // queries in a chunk; all when it is not the prefix
    bool prefix;
};

// Where in the four unused columns at the end of each row of q's tile the numbers of a query stand.
enum query_number { QUERY_LSE, QUERY_DELTA, QUERY_LOW, QUERY_HIGH };

// The queries from `first` on below `end`: q, dout and their numbers.
template <typename TILE>
__device__ void query_tiles_load(float *q_tile, float *dout_tile, const float *dout, const float *lse,
                                 const float *delta, const float *q, int head, int first, int end,
                                 bool prefix, const struct attention_view &a) {
    int64_t pitch = static_cast<int64_t>(a.n_heads) * a.head_dim;
    int64_t offset = first * pitch + head * a.head_dim;
    tiles_load<TILE, TILE::STEP>(q_tile, dout_tile, q + offset, dout + offset, pitch, end - first, a);
    for (int i = static_cast<int>(threadIdx.x); i < TILE::STEP; i += ATTENTION_THREADS) {
        float *number = q_tile + i * TILE::STRIDE + TILE::WIDTH;
        bool exists = first + i < end;
        int64_t at = static_cast<int64_t>(head) * a.n_tokens + first + i;
        struct attention_sight sight = {INT_MAX, -1};
        if (exists)
            sight = prefix ? sight_prefix(a, first + i) : sight_own(a, first + i);
        number[QUERY_LSE] = exists ? lse[at] * LOG2_E : 0;
        number[QUERY_DELTA] = exists ? delta[at] : 0;
        number[QUERY_LOW] = __int_as_float(sight.low);
        number[QUERY_HIGH] = __int_as_float(sight.high);
    }
}

// Block: 64 keys of one key-value head, and one chunk of queries. Rows are keys here, columns queries.
template <typename TILE>
__global__ void __launch_bounds__(ATTENTION_THREADS, TILE::BLOCKS)
    key_gradient_kernel(struct key_side side, const float *dout, const float *lse, const float *delta,
                        const float *q, struct attention_view a) {
    DYNAMIC_SHARED(shared);
    float *k_tile = shared, *v_tile = k_tile + TILE::ROWS_SIZE, *q_tile = v_tile + TILE::ROWS_SIZE;
    float *dout_tile = q_tile + TILE::STEP_SIZE;
    int first = static_cast<int>(blockIdx.x) * ROWS, kv_head = static_cast<int>(blockIdx.y);
    int group = a.n_heads / a.n_kv_heads;
    int64_t kv_pitch = static_cast<int64_t>(a.n_kv_heads) * a.head_dim;
    int64_t kv_offset = first * kv_pitch + kv_head * a.head_dim;
    int warp = static_cast<int>(threadIdx.x / WARP), lane = static_cast<int>(threadIdx.x % WARP);
    int row = first + warp * 16 + lane / 4;
    int row_offset = warp * 16 * TILE::STRIDE;
    int last = min(first + ROWS, side.n_keys) - 1;
    int begin = side.prefix ? static_cast<int>(blockIdx.z) * side.chunk : first;
    int end = side.prefix ? min(begin + side.chunk, a.n_tokens) : a.end[last];
    if (!side.prefix && a.window > 0)
        end = min(end, last + a.window);
    float dk[TILE::WIDTH / 8][4] = {}, dv[TILE::WIDTH / 8][4] = {};

    tiles_load<TILE, ROWS>(k_tile, v_tile, side.k + kv_offset, side.v + kv_offset, kv_pitch,
                           side.n_keys - first, a);
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int query = begin; query < end; query += TILE::STEP) {
            __syncthreads();
            query_tiles_load<TILE>(q_tile, dout_tile, dout, lse, delta, q, head, query, end, side.prefix, a);
            __syncthreads();
            if (query + TILE::STEP <= first + warp * 16 && !side.prefix)
                continue; // all queries lie before all keys of the warp
            float p[TILE::STEP / 8][4], dp[TILE::STEP / 8][4];
            product_shared<TILE>(p, k_tile + row_offset, q_tile);
            product_shared<TILE>(dp, v_tile + row_offset, dout_tile);
#pragma unroll
            for (int n = 0; n < TILE::STEP / 8; n++)
                for (int i = 0; i < 4; i++) {
                    const float *number =
                        q_tile + (n * 8 + 2 * (lane % 4) + i % 2) * TILE::STRIDE + TILE::WIDTH;
                    int key = row + i / 2 * 8;
                    bool seen =
                        key >= __float_as_int(number[QUERY_LOW]) && key <= __float_as_int(number[QUERY_HIGH]);
                    p[n][i] = seen ? exp2f(p[n][i] * (a.scale * LOG2_E) - number[QUERY_LSE]) : 0;
                    dp[n][i] = p[n][i] * (dp[n][i] - number[QUERY_DELTA]);
                }
            product_registers<TILE>(dv, p, dout_tile);
            product_registers<TILE>(dk, dp, q_tile);
        }
    int64_t to = blockIdx.z * (side.n_keys * kv_pitch) + kv_head * a.head_dim;
    const float one[2] = {1, 1}, factor[2] = {a.scale, a.scale};
    tile_store<TILE>(side.dv + to, kv_pitch, first + warp * 16, side.n_keys, dv, one, a.head_dim);
    tile_store<TILE>(side.dk + to, kv_pitch, first + warp * 16, side.n_keys, dk, factor, a.head_dim);
}

// y[i] += sum over c of x[c, i]
__global__ void __launch_bounds__(256) chunk_sum_kernel(float *y, const float *x, int chunks, int64_t n) {
    int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
    if (i >= n)
        return;
    float sum = 0;
    for (int c = 0; c < chunks; c++)
        sum += x[c * n + i];
    y[i] += sum;
}

// The arrays of one call, in the order of the table's entry.
struct backward_arrays {
    float *dq, *dk, *dv;
    const float *dout, *out, *lse, *q, *k, *v;
    float *prefix_dk, *prefix_dv;
    float *delta, *partial; // scratch: [H, T]; [2, chunks, P, K, E]
    int chunks, chunk;
};

template <typename TILE>
static void backward_launch(struct cuda_state *s, const struct backward_arrays &b,
                            const struct attention_view &a) {
    size_t shared_bytes = (2 * TILE::ROWS_SIZE + 2 * TILE::STEP_SIZE) * sizeof(float);
    dim3 grid(cuda_blocks(a.n_tokens, ROWS), static_cast<unsigned>(a.n_heads));
    cuda_launch(s, "query_gradient", query_gradient_kernel<TILE>, grid, ATTENTION_THREADS, shared_bytes, b.dq,
                b.dout, b.lse, b.delta, b.q, b.k, b.v, a);
    struct key_side side = {b.k, b.v, b.dk, b.dv, a.n_tokens, a.n_tokens, false};
    grid.y = static_cast<unsigned>(a.n_kv_heads);
    cuda_launch(s, "key_gradient", key_gradient_kernel<TILE>, grid, ATTENTION_THREADS, shared_bytes, side,
                b.dout, b.lse, b.delta, b.q, a);
    if (b.chunks == 0)
        return;
    int64_t n = static_cast<int64_t>(a.n_prefix) * a.n_kv_heads * a.head_dim;
    float *dk = b.partial, *dv = b.partial + b.chunks * n;
    side = {a.prefix_k, a.prefix_v, dk, dv, a.n_prefix, b.chunk, true};
    grid = dim3(cuda_blocks(a.n_prefix, ROWS), static_cast<unsigned>(a.n_kv_heads),
                static_cast<unsigned>(b.chunks));
    cuda_launch(s, "prefix_gradient", key_gradient_kernel<TILE>, grid, ATTENTION_THREADS, shared_bytes, side,
                b.dout, b.lse, b.delta, b.q, a);
    cuda_launch(s, "prefix_dk", chunk_sum_kernel, cuda_blocks(n, 256), 256, 0, b.prefix_dk, dk, b.chunks, n);
    cuda_launch(s, "prefix_dv", chunk_sum_kernel, cuda_blocks(n, 256), 256, 0, b.prefix_dv, dv, b.chunks, n);
}

void cuda_attention_backward(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                             const float *out, const float *lse, const float *q, const float *k,
                             const float *v, const struct attention_shape *a) {
    const int max_chunks = 64, least_chunk = 512;
    struct cuda_state *s = cuda_state_of(o);
    struct attention_view view;
    if (a->n_tokens == 0 || !attention_view_make(s, a, &view))
        return;
    view.by_four = view.by_four && cuda_by_four(0, dout, q, k, v);
    struct backward_arrays b = {dq, dk,           dv,           dout,    out,     lse, q, k,
                                v,  a->prefix_dk, a->prefix_dv, nullptr, nullptr, 0,   0};
    if (a->n_prefix > 0 && a->prefix_dk && a->prefix_dv) {
        b.chunk = max(least_chunk, static_cast<int>((a->n_tokens + max_chunks - 1) / max_chunks));
        b.chunks = static_cast<int>((a->n_tokens + b.chunk - 1) / b.chunk);
    }
    size_t rows = static_cast<size_t>(a->n_tokens) * static_cast<size_t>(a->n_heads);
    size_t prefix = static_cast<size_t>(a->n_prefix) * static_cast<size_t>(a->n_kv_heads * a->head_dim);
    b.delta = static_cast<float *>(
        cuda_scratch(s, (rows + 2 * static_cast<size_t>(b.chunks) * prefix) * sizeof(float)));
    if (!b.delta)
        return;
    b.partial = b.delta + rows;
    cuda_launch(s, "delta", delta_kernel, cuda_blocks(static_cast<int64_t>(rows), 8), 256, 0, b.delta, dout,
                out, view.n_tokens, a->n_heads, a->head_dim);
    ATTENTION_DISPATCH(s->tf32, a->head_dim, backward_launch, s, b, view);
}
