/* The CPU table: opening, and the operations over plain spans. Work is split by fixed ranges over the pool's threads, so a sum
 * depends on the number of threads and on nothing else. */
#include "tensor/fast/cpu.h"
#include "tensor/host_memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const struct cpu_kernels cpu_kernels_base;
#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_avx2, cpu_kernels_avx512;
#endif

const struct cpu_kernels *cpu_kernels_nth(int n) {
    const struct cpu_kernels *usable[4] = {0};
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        usable[count++] = &cpu_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        usable[count++] = &cpu_kernels_avx2;
#endif
    usable[count++] = &cpu_kernels_base;
    return n < count ? usable[n] : NULL;
}

/* ---- spans ---- */

struct span {
    const struct cpu_kernels *k;
    float *y, *y2, *y3;
    const float *x, *x2, *x3;
    float alpha, c1, c2;
    const struct adamw_settings *adamw;
    double partial[256]; /* one a thread, added in order */
};

static void add_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->add(s->y + i, s->x + i, s->alpha, end - i);
}

static void cpu_add(const struct ops *o, float *y, const float *x, float alpha, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .y = y, .x = x, .alpha = alpha};
    cpu_for(cpu_of(o), n, n, add_range, &s);
}

static void scale_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->scale(s->y + i, s->alpha, end - i);
}

static void cpu_scale(const struct ops *o, float *y, float alpha, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .y = y, .alpha = alpha};
    cpu_for(cpu_of(o), n, n, scale_range, &s);
}

static void squares_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    s->partial[thread] = s->k->sum_squares(s->x + i, end - i);
}

static double cpu_sum_squares(const struct ops *o, const float *x, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .x = x};
    cpu_for(cpu_of(o), n, n, squares_range, &s);
    double sum = 0;
    for (int i = 0; i < o->n_threads; i++)
        sum += s.partial[i];
    return sum;
}

static void swiglu_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->swiglu(s->y + i, s->x + i, s->x2 + i, end - i);
}

static void cpu_swiglu(const struct ops *o, float *out, const float *gate, const float *up, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .y = out, .x = gate, .x2 = up};
    cpu_for(cpu_of(o), n, n, swiglu_range, &s);
}

static void swiglu_backward_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->swiglu_backward(s->y + i, s->y2 + i, s->x + i, s->x2 + i, s->x3 + i, end - i);
}

static void cpu_swiglu_backward(const struct ops *o, float *dgate, float *dup, const float *dout,
                                const float *gate, const float *up, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .y = dgate, .y2 = dup, .x = dout, .x2 = gate, .x3 = up};
    cpu_for(cpu_of(o), n, n, swiglu_backward_range, &s);
}

static void adamw_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->adamw(s->y + i, s->x + i, s->y2 + i, s->y3 + i, end - i, s->adamw, s->c1, s->c2);
}

static void geglu_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->geglu(s->y + i, s->x + i, s->x2 + i, end - i);
}

static void cpu_geglu(const struct ops *o, float *out, const float *gate, const float *up, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .y = out, .x = gate, .x2 = up};
    cpu_for(cpu_of(o), n, n, geglu_range, &s);
}

static void geglu_backward_range(void *context, int64_t i, int64_t end, int thread) {
    struct span *s = context;
    (void)thread;
    s->k->geglu_backward(s->y + i, s->y2 + i, s->x + i, s->x2 + i, s->x3 + i, end - i);
}

static void cpu_geglu_backward(const struct ops *o, float *dgate, float *dup, const float *dout,
                               const float *gate, const float *up, int64_t n) {
    struct span s = {.k = cpu_of(o)->kernels, .y = dgate, .y2 = dup, .x = dout, .x2 = gate, .x3 = up};
    cpu_for(cpu_of(o), n, n, geglu_backward_range, &s);
}

static void cpu_adamw(const struct ops *o, float *w, const float *dw, float *m, float *v, int64_t n,
                      const struct adamw_settings *a) {
    struct span s = {.k = cpu_of(o)->kernels, .y = w, .x = dw, .y2 = m, .y3 = v, .adamw = a};
    s.c1 = (float)(1 / (1 - pow((double)a->beta1, (double)a->step)));
    s.c2 = (float)(1 / (1 - pow((double)a->beta2, (double)a->step)));
    cpu_for(cpu_of(o), n, n, adamw_range, &s);
}

/* ---- rows of tables ---- */

struct table_rows {
    const struct cpu_kernels *k;
    float *to;
    const float *from;
    const int32_t *row;
    int64_t n_rows, width;
};

static void gather_range(void *context, int64_t i, int64_t end, int thread) {
    struct table_rows *r = context;
    (void)thread;
    for (; i < end; i++)
        __builtin_memcpy(r->to + i * r->width, r->from + r->row[i] * r->width,
                         (size_t)r->width * sizeof(float));
}

static void cpu_gather(const struct ops *o, float *out, const float *x, const int32_t *row, int64_t n_rows,
                       int64_t width) {
    struct table_rows r = {.to = out, .from = x, .row = row, .width = width};
    cpu_for(cpu_of(o), n_rows, n_rows * width, gather_range, &r);
}

/* Rows may repeat, so threads share out the columns, in groups of one cache line. */
static void scatter_columns(void *context, int64_t begin, int64_t end, int thread) {
    struct table_rows *r = context;
    (void)thread;
    int64_t first = begin * 16, n = (end * 16 < r->width ? end * 16 : r->width) - first;
    for (int64_t i = 0; i < r->n_rows; i++)
        r->k->add(r->to + r->row[i] * r->width + first, r->from + i * r->width + first, 1, n);
}

static void cpu_scatter_add(const struct ops *o, float *dx, const float *dout, const int32_t *row,
                            int64_t n_rows, int64_t width) {
    struct table_rows r = {
        .k = cpu_of(o)->kernels, .to = dx, .from = dout, .row = row, .n_rows = n_rows, .width = width};
    cpu_for(cpu_of(o), (width + 15) / 16, n_rows * width, scatter_columns, &r);
}

static void cpu_embed_backward(const struct ops *o, float *dtable, const float *dout, const int32_t *token,
                               int64_t n_tokens, int64_t width, int64_t n_vocab) {
    (void)n_vocab;
    cpu_scatter_add(o, dtable, dout, token, n_tokens, width);
}

/* ---- memory ---- */

/* Pages lie on the memory node of the thread that touches them first. Large memory is cleared piece by piece by all threads in turn, so
 * it is spread over the nodes that compute (decision 21), and starting takes less time. A piece is what a huge page covers, and begins
 * where one does, so that no page falls to whoever of two threads is first. */
struct clearing {
    char *p;
    size_t size_bytes;
    int64_t n_threads;
};
enum { PIECE_BYTES = 1 << 21, FEWEST_PIECES = 4 };

static void clear_pieces(void *context, int64_t i, int64_t end, int thread) {
    const struct clearing *c = context;
    (void)thread;
    for (; i < end; i++)
        for (size_t at = (size_t)i * PIECE_BYTES; at < c->size_bytes;
             at += (size_t)c->n_threads * PIECE_BYTES)
            memset(c->p + at, 0, c->size_bytes - at < PIECE_BYTES ? c->size_bytes - at : PIECE_BYTES);
}

static void *cpu_alloc(const struct ops *o, size_t size_bytes) {
    if (size_bytes < FEWEST_PIECES * (size_t)PIECE_BYTES || size_bytes > SIZE_MAX - PIECE_BYTES)
        return host_memory_alloc(o, size_bytes);
    void *p;
    if (posix_memalign(&p, PIECE_BYTES, size_bytes))
        return NULL;
    struct clearing c = {p, size_bytes, o->n_threads};
    thread_pool_for(cpu_of(o)->pool, c.n_threads, clear_pieces, &c);
    return p;
}

/* ---- opening ---- */

static int cpu_reserve(const struct ops *o, size_t scratch_bytes, struct err *e) {
    (void)o, (void)scratch_bytes, (void)e;
    return 0; /* the threads' tiles have a fixed size */
}

static void cpu_close(struct ops *o) {
    struct cpu *c = o->self;
    if (c) {
        thread_pool_free(c->pool);
        free(c->scratch);
        free(c->rope.values);
        free(c);
    }
    *o = (struct ops){0};
}

static const struct ops CPU_OPS = {
    .name = "cpu",
    .reserve = cpu_reserve,
    .close = cpu_close,
    .gemm = cpu_gemm,
    .add = cpu_add,
    .scale = cpu_scale,
    .sum_squares = cpu_sum_squares,
    .embed = cpu_gather,
    .embed_backward = cpu_embed_backward,
    .gather = cpu_gather,
    .scatter_add = cpu_scatter_add,
    .widen = cpu_widen,
    .add_row = cpu_add_row,
    .sum_rows = cpu_sum_rows,
    .scale_rows = cpu_scale_rows,
    .rmsnorm = cpu_rmsnorm,
    .rmsnorm_backward = cpu_rmsnorm_backward,
    .rope = cpu_rope,
    .attention = cpu_attention,
    .attention_backward = cpu_attention_backward,
    .swiglu = cpu_swiglu,
    .swiglu_backward = cpu_swiglu_backward,
    .geglu = cpu_geglu,
    .geglu_backward = cpu_geglu_backward,
    .cross_entropy = cpu_cross_entropy,
    .softmax_block = cpu_softmax_block,
    .softmax_loss = cpu_softmax_loss,
    .adamw = cpu_adamw,
};

int cpu_open_with(struct ops *o, int n_threads, const struct cpu_kernels *kernels, struct err *e) {
    int n = n_threads > 0 ? n_threads : thread_core_count();
    if (n > (int)(sizeof((struct span *)0)->partial / sizeof(double)))
        n = (int)(sizeof((struct span *)0)->partial / sizeof(double));
    *o = CPU_OPS;
    host_memory_fill(o);
    o->alloc = cpu_alloc;
    o->n_threads = n;
    struct cpu *c = o->self = calloc(1, sizeof *c);
    if (c) {
        c->kernels = kernels;
        c->scratch = aligned_alloc(64, (size_t)n * CPU_SCRATCH_FLOATS * sizeof(float));
        c->rope.values = aligned_alloc(64, CPU_ROPE_FLOATS * sizeof(float));
    }
    int rc = 0;
    if (!c || !c->scratch || !c->rope.values)
        rc = err_set(e, ERR_NO_MEMORY, "ops_open_cpu", "no room for the scratch memory of %d threads", n);
    if (rc == 0 && n > 1 && !(c->pool = thread_pool_new(n, e)))
        rc = ERR_NO_MEMORY;
    if (rc < 0)
        cpu_close(o);
    return rc;
}

int ops_open_cpu(struct ops *o, int n_threads, struct err *e) {
    return cpu_open_with(o, n_threads, cpu_kernels_nth(0), e);
}

static bool has_bf16(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

int ops_round_products(const struct ops *o, bool bf16, struct err *e) {
    if (bf16 && !has_bf16()) {
        err_set(e, ERR_UNSUPPORTED, "ops_round_products", "this processor has no bfloat16 products");
        return err_hint(e, "leave the precision at f32");
    }
    cpu_of(o)->bf16 = bf16;
    return 0;
}

int ops_open_cpu_bf16(struct ops *o, int n_threads, struct err *e) {
    int rc = ops_open_cpu(o, n_threads, e);
    if (rc == 0 && (rc = ops_round_products(o, true, e)) < 0)
        cpu_close(o);
    return rc;
}
