/* The measured step of bench-train. */
#include "bench/train_rig.h"
#include "base/clock.h"
#include "base/mem.h"
#include "bench/chain.h"
#include "tensor/count.h"
#include "tensor/widen.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/rate.h"
#include <ggml.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PREFIX = 150, RECORD = 100, CONTEXT = 128, RANK = 16 };
enum { NAIVE_PLAIN = NN_PLAIN_LAST | NN_PLAIN_LOGITS | NN_PLAIN_INPUT | NN_PLAIN_VOCABULARY | NN_PLAIN_LORA };

#define QWEN3(vocabulary)                                                                                    \
    {                                                                                                        \
        .n_layer = 28, .d_model = 1024, .n_heads = 16, .n_kv_heads = 8, .head_dim = 128, .d_ff = 3072,       \
        .n_vocab = (vocabulary), .n_ctx = 2048, .rope_theta = 1000000, .norm_eps = 1e-6f, .tied_head = true, \
        .rope_halves = true, .qk_norm = true                                                                 \
    }

static const struct train_shape_case cases[] = {
    {"TinyLlama-1.1B",
     {.n_layer = 22,
      .d_model = 2048,
      .n_heads = 32,
      .n_kv_heads = 4,
      .head_dim = 64,
      .d_ff = 5632,
      .n_vocab = 32000,
      .n_ctx = 2048,
      .rope_theta = 10000,
      .norm_eps = 1e-5f},
     "bf16",
     1030,
     4,
     8},
    {"Qwen3-0.6B", QWEN3(151936), "bf16", 1030, 4, 4},
    {"Qwen3-0.6B-trimmed", QWEN3(16000), "bf16", 1030, 4, 4},
    {"Qwen3-0.6B-written", QWEN3(151936), "bf16", 1030, 32, 4},
    {"Qwen3-0.6B-written-trimmed", QWEN3(16000), "bf16", 1030, 32, 4},
    {"Mistral-7B",
     {.n_layer = 32,
      .d_model = 4096,
      .n_heads = 32,
      .n_kv_heads = 8,
      .head_dim = 128,
      .d_ff = 14336,
      .n_vocab = 32000,
      .n_ctx = 2048,
      .rope_theta = 10000,
      .norm_eps = 1e-5f},
     "q4_K",
     832,
     4,
     16},
};

static int whole_of(const struct train_shape_case *s) {
    return PREFIX + RECORD + s->answer;
}

/* The product by itself, measured between the micro-batches of a step: what the machine gives changes from second to second where others
 * use it too. The step's clocks and counts leave these pauses out. */
struct pauses {
    double wall_s, cpu_s, macs;             /* of the pauses */
    int n;                                  /* of measurements */
    double best, mean_s_a_mac, cpu_s_a_mac; /* rate of the best; sums */
};

struct rig {
    const struct train_shape_case *shape;
    enum train_path path;
    struct ops ops;
    struct ops_count count;
    struct nn_model m;
    struct optimizer optimizer;
    struct nn_run run;
    struct pauses pauses;
    int32_t *token, *position, *target, *start;
};

const char *train_path_name(enum train_path p) {
    static const char *const names[] = {
#define X(id, name) name,
        TRAIN_PATHS(X)
#undef X
    };
    return names[p];
}

bool train_path_find(const char *name, enum train_path *out) {
    for (int i = 0; i < TRAIN_N_PATHS; i++)
        if (strcmp(train_path_name((enum train_path)i), name) == 0) {
            *out = (enum train_path)i;
            return true;
        }
    return false;
}

const struct train_shape_case *train_shape_case(const char *name) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    return NULL;
}

const char *train_base_of(const struct train_shape_case *s) {
    const char *asked = getenv("TRAIN_BASE");
    return asked ? asked : s->base;
}

int train_layers_of(const struct train_shape_case *s) {
    return (int)chain_setting("TRAIN_LAYERS", s->config.n_layer);
}

static void must(int rc, const struct err *e) {
    if (rc < 0) {
        fprintf(stderr, "bench: %s\n", e->message);
        exit(1);
    }
}

/* ---- random weights, made as they are kept ---- */

static uint64_t next_bits(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Uniform in +-1.7/sqrt(width): activations keep their size through the blocks. */
static void random_floats(char *to, bool wide, int64_t n, int64_t width, uint64_t *state) {
    float bound = 1.7f / sqrtf((float)width);
    for (int64_t i = 0; i < n; i++) {
        float x = bound * (2 * (float)(next_bits(state) >> 40) * 0x1p-24f - 1);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        uint16_t narrow = (uint16_t)(bits >> 16);
        memcpy(to + i * (wide ? 4 : 2), wide ? (void *)&bits : (void *)&narrow, wide ? 4 : 2);
    }
}

/* Q4_K: a block of 256 values is two 16-bit factors, of scales and of minima, then 140 bytes of small integers, here random. With
 * these factors the values have mean 0 and a deviation of 1/64, as a matrix of width 4,096 should. */
static void random_q4_k(char *to, int64_t n_bytes, uint64_t *state) {
    enum { BLOCK_BYTES = 144 };
    static const uint16_t factors[2] = {0x0400, 0x0F80};
    for (int64_t i = 0; i + 8 <= n_bytes; i += 8) {
        uint64_t bits = next_bits(state);
        memcpy(to + i, &bits, sizeof bits);
    }
    for (int64_t i = 0; i + BLOCK_BYTES <= n_bytes; i += BLOCK_BYTES)
        memcpy(to + i, factors, sizeof factors);
}

static void make_base(struct rig *r, const struct model_config *c, struct err *e) {
    const char *kept = train_base_of(r->shape);
    bool wide = strcmp(kept, "f32") == 0, quantised = strcmp(kept, "q4_K") == 0;
    const struct ggml_type_traits *traits = ggml_get_type_traits(GGML_TYPE_Q4_K);
    uint64_t state = 88172645463325252u;
    must(nn_model_init_packed(&r->m, c, &r->ops, e), e);
    for (int i = 0; i < r->m.base.n_tensors; i++) {
        const struct nn_tensor *t = &r->m.base.tensors[i];
        int64_t row_bytes =
            quantised ? (int64_t)ggml_row_size(GGML_TYPE_Q4_K, t->cols) : t->cols * (wide ? 4 : 2);
        r->m.storage_bytes += t->rows > 1 ? t->rows * row_bytes : 0;
    }
    if (!(r->m.storage = r->ops.alloc(&r->ops, (size_t)r->m.storage_bytes)))
        must(err_set(e, ERR_NO_MEMORY, "bench", "no room for the weights"), e);
    char *to = r->m.storage;
    for (int i = 0; i < r->m.base.n_tensors; i++) {
        struct nn_tensor *t = &r->m.base.tensors[i];
        int64_t n = t->rows * t->cols;
        for (int64_t j = 0; t->rows == 1 && j < n; j++)
            r->m.base.value[t->offset + j] = 1;
        if (t->rows == 1)
            continue;
        struct packed_matrix p = {to, t->cols * (wide ? 4 : 2), t->cols, wide ? widen_f32 : widen_bf16};
        if (quantised) {
            p.row_bytes = (int64_t)ggml_row_size(GGML_TYPE_Q4_K, t->cols);
            p.widen = traits->to_float;
            random_q4_k(to, t->rows * p.row_bytes, &state);
        } else {
            random_floats(to, wide, n, t->cols, &state);
        }
        nn_tensor_pack(t, &p);
        to += t->rows * p.row_bytes;
    }
}

/* ---- setting up ---- */

static struct nn_limits limits_of(const struct train_shape_case *s, enum train_path path, int n_layer) {
    int64_t whole = whole_of(s), n_targets = s->micro_tokens * s->answer / RECORD;
    if (path == TRAIN_FAST)
        return (struct nn_limits){.n_tokens = s->micro_tokens, .n_targets = n_targets, .n_prefix = PREFIX};
    if (path == TRAIN_PACKED)
        return (struct nn_limits){.n_tokens = s->micro_tokens, .n_targets = n_targets};
    if (path == TRAIN_PLAIN)
        return (struct nn_limits){.n_tokens = 8 * CONTEXT};
    return (struct nn_limits){
        .n_tokens = 2 * whole, .n_recompute = n_layer, .plain = NAIVE_PLAIN, .head_rows = 2 * whole};
}

static void open_rig(struct rig *r, const struct train_shape_case *s, enum train_path path) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = s->config;
    c.n_layer = train_layers_of(s);
    rng_seed(&rng, 1);
    *r = (struct rig){.shape = s, .path = path};
    must(ops_open_cpu(&r->ops, (int)chain_setting("TRAIN_THREADS", 0), &e), &e);
    ops_count_wrap(&r->ops, &r->count);
    make_base(r, &c, &e);
    must(nn_model_add_lora(&r->m, &(struct nn_lora){.rank = RANK, .alpha = 2 * RANK}, &rng, &e), &e);
    must(optimizer_init(&r->optimizer, &r->m, &(struct optimizer_options){.learning_rate = 1e-4f}, &e), &e);
    struct nn_limits l = limits_of(s, path, c.n_layer);
    must(nn_run_init(&r->run, &r->m, &l, &e), &e);
    size_t n = (size_t)l.n_tokens + 1;
    r->token = calloc(n * 4, sizeof *r->token);
    if (!r->token)
        must(err_set(&e, ERR_NO_MEMORY, "bench", "no room for a batch"), &e);
    r->position = r->token + n;
    r->target = r->position + n;
    r->start = r->target + n;
}

static void close_rig(struct rig *r) {
    nn_run_release(&r->run);
    optimizer_release(&r->optimizer);
    nn_model_release(&r->m);
    r->ops.close(&r->ops);
    free(r->token);
}

/* ---- a step ---- */

static int32_t token_at(const struct rig *r, int sample, int at) {
    uint64_t state = (uint64_t)(at < PREFIX ? 1 : sample + 2) * 7919 + (uint64_t)at * 104729 + 1;
    return (int32_t)((next_bits(&state) >> 32) % (uint64_t)r->m.config.n_vocab);
}

/* Samples [first, first + n) from position `from` to `end`; the answer's tokens are the targets, or all. */
static struct nn_batch batch_of(struct rig *r, int first, int n, int from, int end) {
    bool all = end == CONTEXT;
    int64_t at = 0;
    for (int s = 0; s < n; s++) {
        r->start[s] = (int32_t)at;
        for (int i = from; i < end; i++, at++) {
            bool answer = all || (i + 1 >= PREFIX + RECORD && i + 1 < whole_of(r->shape));
            r->token[at] = token_at(r, first + s, i);
            r->position[at] = i;
            r->target[at] = answer ? token_at(r, first + s, i + 1) : -1;
        }
    }
    r->start[n] = (int32_t)at;
    return (struct nn_batch){.n_tokens = at,
                             .token = r->token,
                             .position = r->position,
                             .target = r->target,
                             .n_seq = n,
                             .start = r->start,
                             .n_prefix = from};
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void measure_product(struct rig *r) {
    struct pauses *p = &r->pauses;
    struct ops_rate rate;
    struct err e = {0};
    double wall = clock_seconds(), cpu = cpu_seconds(), macs = r->count.macs;
    must(train_product_rate(&r->m, r->shape->micro_tokens, &rate, &e), &e);
    p->n++;
    p->best = rate.per_s > p->best ? rate.per_s : p->best;
    p->mean_s_a_mac += 1 / rate.mean_per_s;
    p->cpu_s_a_mac += 1 / rate.per_cpu_s;
    p->wall_s += clock_seconds() - wall;
    p->cpu_s += cpu_seconds() - cpu;
    p->macs += r->count.macs - macs;
}

/* Sum of the losses. The last token of a sample need not be fed; the naive path does. */
static double step(struct rig *r, int n_samples) {
    struct err e = {0};
    int from = r->path == TRAIN_FAST ? PREFIX : 0, whole = whole_of(r->shape);
    int end = r->path == TRAIN_PLAIN ? CONTEXT : r->path == TRAIN_NAIVE ? whole : whole - 1;
    int targets = r->path == TRAIN_PLAIN ? CONTEXT : r->shape->answer,
        at_once = (int)(r->run.limits.n_tokens / (end - from));
    int n_batches = (n_samples + at_once - 1) / at_once;
    double loss = 0, part;
    at_once = (n_samples + n_batches - 1) / n_batches; /* alike, as the trainer's */
    nn_zero_gradients(&r->m);
    if (r->path == TRAIN_FAST) {
        int32_t head[PREFIX];
        for (int i = 0; i < PREFIX; i++)
            head[i] = token_at(r, 0, i);
        must(nn_prefix_forward(&r->m, &r->run, head, PREFIX, &e), &e);
    }
    for (int i = 0; i < n_samples; i += at_once) {
        struct nn_batch b = batch_of(r, i, n_samples - i < at_once ? n_samples - i : at_once, from, end);
        must(nn_forward_backward(&r->m, &r->run, &b, n_samples * targets, &part, &e), &e);
        loss += part;
        measure_product(r);
    }
    if (r->path == TRAIN_FAST)
        must(nn_prefix_backward(&r->m, &r->run, &e), &e);
    must(optimizer_step(&r->optimizer, NULL, &e), &e);
    return loss / targets;
}

/* What the trainer would have planned for that step. */
static int64_t planned_bytes(const struct rig *r) {
    bool fast = r->path == TRAIN_FAST;
    struct train_need need = {.longest = whole_of(r->shape),
                              .shared = fast ? PREFIX : 0,
                              .targets_per_token =
                                  r->path == TRAIN_PLAIN ? 1 : r->shape->answer / (double)RECORD,
                              .micro_tokens = r->run.limits.n_tokens};
    struct train_memory memory;
    train_memory_plan(&r->m, r->m.storage_bytes + r->m.base.n_values * 4, &need, 0, &memory);
    return r->path == TRAIN_NAIVE
               ? 0
               : memory.total_bytes; /* computes all blocks again, which is not what it plans */
}

int train_rig_measure(const char *shape, enum train_path path, int samples) {
    const struct train_shape_case *s = train_shape_case(shape);
    struct rig r;
    if (!s || samples < 1) {
        fprintf(stderr, "bench: no shape '%s', or no samples\n", shape);
        return 1;
    }
    open_rig(&r, s, path);
    measure_product(&r); /* warms up the BLAS, and stands for the time before */
    const struct pauses *p = &r.pauses, before = r.pauses;
    double wall = clock_seconds(), cpu = cpu_seconds(), macs = r.count.macs;
    double loss = step(&r, samples);
    wall = clock_seconds() - wall - (p->wall_s - before.wall_s);
    cpu = cpu_seconds() - cpu - (p->cpu_s - before.cpu_s);
    macs = r.count.macs - macs - (p->macs - before.macs);
    double peak = (double)mem_peak_bytes();
    printf("{\"samples\":%d,\"threads\":%d,\"wall_s\":%.6f,\"cpu_s\":%.6f,\"gmac\":%.4f,\"loss\":%.5f,"
           "\"rate\":%.6g,\"rate_best\":%.6g,\"rate_cpu\":%.6g,\"peak_gb\":%.4f,\"planned_gb\":%.4f}\n",
           samples, r.ops.n_threads, wall / samples, cpu / samples / r.ops.n_threads, macs / samples / 1e9,
           loss / samples, p->n / p->mean_s_a_mac, p->best, p->n / p->cpu_s_a_mac, peak / 1e9,
           (double)planned_bytes(&r) / 1e9);
    close_rig(&r);
    return 0;
}
