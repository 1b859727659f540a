/* Figures 2.1 to 2.4: an optimiser step of the work that distillation really does, on the shapes of TinyLlama-1.1B and
 * Qwen3-0.6B with random weights: a prompt of 150 tokens that all share, a record of 100, an answer of 4; LoRA rank 16 on all linear
 * layers; 64 samples a step.
 *
 *     make bench-train                                  both shapes, three repetitions: half an hour on two cores
 *     TRAIN_LAYERS=4 TRAIN_REPEATS=1 make bench-train   a quick look at shapes of four blocks
 *     TRAIN_BASE=f32|bf16                               how the frozen base is kept (bf16)
 *     TRAIN_TORCH=0                                     without the comparison with PyTorch (bench/train_torch.py)
 *
 * Paths, taken in turn in one process:
 *   fast     the prefix once a step, micro-batches behind it, every saving
 *   packed   sequences whole and packed, every other saving, nothing computed twice
 *   naive    as trainers usually do it: sequences whole, every block computed again for backward, logits everywhere; 8 samples
 *   plain    no prefix, nothing to save: 8 contexts of 128 tokens, each token a target
 *
 * Figure 2.3 sets them beside the same work in PyTorch (bench/train_torch.py, Debian's python3-torch, which bench/train.sh
 * installs), one measured step of 4 or 8 samples in a process of its own.
 *
 * Times: rates compare by processor time per core, since wall time on a machine that others use is noise; the wall time stands in
 * the notes. Each path's peak memory is of a process of its own that takes one step. */
#include "base/clock.h"
#include "base/mem.h"
#include "chain.h"
#include "figures.h"
#include "nn/transformer.h"
#include "tensor/count.h"
#include "tensor/widen.h"
#include "train/optimizer.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PREFIX = 150,
    RECORD = 100,
    ANSWER = 4,
    WHOLE = PREFIX + RECORD + ANSWER,
    CONTEXT = 128,
    SAMPLES = 64,
    RANK = 16,
    MAX_REPEATS = 9
};
enum path { FAST, PACKED, NAIVE, PLAIN, N_PATHS };
static const char *const path_names[] = {"fast", "packed", "naive", "plain"};
enum { NAIVE_PLAIN = NN_PLAIN_LAST | NN_PLAIN_LOGITS | NN_PLAIN_INPUT | NN_PLAIN_VOCABULARY | NN_PLAIN_LORA };

struct shape {
    const char *name;
    struct model_config config;
    int64_t micro_tokens; /* that keep the step within the memory of figure 2.4 */
    double most_gb;
};

static const struct shape shapes[] = {
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
     1030,
     8},
    {"Qwen3-0.6B",
     {.n_layer = 28,
      .d_model = 1024,
      .n_heads = 16,
      .n_kv_heads = 8,
      .head_dim = 128,
      .d_ff = 3072,
      .n_vocab = 151936,
      .n_ctx = 2048,
      .rope_theta = 1000000,
      .norm_eps = 1e-6f,
      .tied_head = true,
      .rope_halves = true,
      .qk_norm = true},
     1030,
     4},
};

struct rig {
    const struct shape *shape;
    struct ops ops;
    struct ops_count count;
    struct nn_model m;
    struct optimizer optimizer;
    struct nn_run run[N_PATHS];
    void *weights;
    int32_t *token, *position, *target, *start;
};

/* ---- setting up ---- */

static void must(int rc, const struct err *e) {
    if (rc < 0) {
        fprintf(stderr, "bench: %s\n", e->message);
        exit(1);
    }
}

static uint32_t next_bits(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

/* Uniform in +-1/sqrt(width): activations keep their size through the blocks. */
static void random_rows(char *to, bool wide, int64_t n, int64_t width, uint64_t *state) {
    float bound = 1.7f / sqrtf((float)width);
    for (int64_t i = 0; i < n; i++) {
        float x = bound * (2 * (float)(next_bits(state) >> 8) * 0x1p-24f - 1);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        uint16_t narrow = (uint16_t)(bits >> 16);
        memcpy(to + i * (wide ? 4 : 2), wide ? (void *)&bits : (void *)&narrow, wide ? 4 : 2);
    }
}

static void make_base(struct rig *r, const struct model_config *c, struct err *e) {
    const char *kept = getenv("TRAIN_BASE");
    bool wide = kept && strcmp(kept, "f32") == 0;
    uint64_t state = 88172645463325252u;
    int64_t size = wide ? 4 : 2, total = 0, at = 0;
    must(nn_model_init_packed(&r->m, c, &r->ops, e), e);
    for (int i = 0; i < r->m.base.n_tensors; i++)
        total += r->m.base.tensors[i].rows * r->m.base.tensors[i].cols;
    r->weights = malloc((size_t)(total * size));
    if (!r->weights)
        must(err_set(e, ERR_NO_MEMORY, "bench", "no room for the weights"), e);
    for (int i = 0; i < r->m.base.n_tensors; i++) {
        struct nn_tensor *t = &r->m.base.tensors[i];
        int64_t n = t->rows * t->cols;
        char *to = (char *)r->weights + at * size;
        if (t->rows == 1) {
            for (int64_t j = 0; j < n; j++)
                r->m.base.value[t->offset + j] = 1;
            continue;
        }
        random_rows(to, wide, n, t->cols, &state);
        nn_tensor_pack(t,
                       &(struct packed_matrix){to, t->cols * size, t->cols, wide ? widen_f32 : widen_bf16});
        at += n;
    }
}

static struct nn_limits limits_of(const struct shape *s, enum path path) {
    if (path == FAST)
        return (struct nn_limits){
            .n_tokens = s->micro_tokens, .n_targets = s->micro_tokens / 25, .n_prefix = PREFIX};
    if (path == PACKED)
        return (struct nn_limits){.n_tokens = s->micro_tokens, .n_targets = s->micro_tokens / 25};
    if (path == PLAIN)
        return (struct nn_limits){.n_tokens = 8 * CONTEXT};
    return (struct nn_limits){.n_tokens = 2 * WHOLE,
                              .n_recompute = s->config.n_layer,
                              .plain = NAIVE_PLAIN,
                              .head_rows = 2 * WHOLE};
}

static void open_rig(struct rig *r, const struct shape *s) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = s->config;
    c.n_layer = (int)chain_setting("TRAIN_LAYERS", c.n_layer);
    rng_seed(&rng, 1);
    *r = (struct rig){.shape = s};
    must(ops_open_cpu(&r->ops, (int)chain_setting("TRAIN_THREADS", 0), &e), &e);
    ops_count_wrap(&r->ops, &r->count);
    make_base(r, &c, &e);
    must(nn_model_add_lora(&r->m, &(struct nn_lora){.rank = RANK, .alpha = 2 * RANK}, &rng, &e), &e);
    must(optimizer_init(&r->optimizer, &r->m, &(struct optimizer_options){.learning_rate = 1e-4f}, &e), &e);
    size_t n = (size_t)SAMPLES * WHOLE + 1;
    r->token = calloc(n * 4, sizeof *r->token);
    if (!r->token)
        must(err_set(&e, ERR_NO_MEMORY, "bench", "no room for a batch"), &e);
    r->position = r->token + n;
    r->target = r->position + n;
    r->start = r->target + n;
}

static void open_run(struct rig *r, enum path path) {
    struct err e = {0};
    struct nn_limits l = limits_of(r->shape, path);
    must(nn_run_init(&r->run[path], &r->m, &l, &e), &e);
}

static void close_rig(struct rig *r) {
    for (int i = 0; i < N_PATHS; i++)
        nn_run_release(&r->run[i]);
    optimizer_release(&r->optimizer);
    nn_model_release(&r->m);
    r->ops.close(&r->ops);
    free(r->weights);
    free(r->token);
}

/* ---- a step ---- */

static int32_t token_at(const struct rig *r, int sample, int at) {
    uint64_t state = (uint64_t)(at < PREFIX ? 1 : sample + 2) * 7919 + (uint64_t)at * 104729 + 1;
    return (int32_t)(next_bits(&state) % (uint32_t)r->m.config.n_vocab);
}

/* Samples [first, first + n) from position `from` to `end`; the answer's tokens are the targets, or all. */
static struct nn_batch batch_of(struct rig *r, int first, int n, int from, int end) {
    bool all = end == CONTEXT;
    int64_t at = 0;
    for (int s = 0; s < n; s++) {
        r->start[s] = (int32_t)at;
        for (int i = from; i < end; i++, at++) {
            bool answer = all || (i + 1 >= PREFIX + RECORD && i + 1 < WHOLE);
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

struct measured {
    double wall_s, cpu_s, macs; /* a sample; cpu_s: processor time over cores */
    double loss;
};

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct measured step(struct rig *r, enum path path, int n_samples) {
    struct err e = {0};
    struct nn_run *run = &r->run[path];
    int from = path == FAST ? PREFIX : 0,
        end = path == NAIVE ? WHOLE : WHOLE - 1; /* the last token need not be fed */
    int at_once = (int)(run->limits.n_tokens / (end - from));
    double wall = clock_seconds(), cpu = cpu_seconds(), macs = r->count.macs, loss = 0, part;
    nn_zero_gradients(&r->m);
    if (path == FAST) {
        int32_t head[PREFIX];
        for (int i = 0; i < PREFIX; i++)
            head[i] = token_at(r, 0, i);
        must(nn_prefix_forward(&r->m, run, head, PREFIX, &e), &e);
    }
    for (int i = 0; i < n_samples; i += at_once) {
        struct nn_batch b = batch_of(r, i, n_samples - i < at_once ? n_samples - i : at_once, from, end);
        must(nn_forward_backward(&r->m, run, &b, n_samples * ANSWER, &part, &e), &e);
        loss += part;
    }
    if (path == FAST)
        must(nn_prefix_backward(&r->m, run, &e), &e);
    must(optimizer_step(&r->optimizer, NULL, &e), &e);
    return (struct measured){(clock_seconds() - wall) / n_samples,
                             (cpu_seconds() - cpu) / n_samples / r->ops.n_threads,
                             (r->count.macs - macs) / n_samples, loss / n_samples / ANSWER};
}

/* Multiply-adds per second of processor time and core that the product reaches on this work's own shapes, a block's worth. */
static double product_rate(struct rig *r) {
    const struct model_config *c = &r->m.config;
    int64_t d = c->d_model, q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t sides[][2] = {{q, d}, {kv, d}, {kv, d}, {d, q}, {c->d_ff, d}, {c->d_ff, d}, {d, c->d_ff}};
    double work = 0, seconds = 0;
    struct err e = {0};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        struct ops_rate rate;
        must(ops_measure_product(&r->ops, r->shape->micro_tokens, sides[i][0], sides[i][1], 3, &rate, &e),
             &e);
        double macs = (double)(sides[i][0] * sides[i][1]);
        work += macs;
        seconds += macs / rate.per_cpu_s;
    }
    return work / seconds;
}

/* ---- figures ---- */

/* ---- PyTorch ---- */

struct torch {
    const char *variant, *name;
    enum path path; /* ours that does the same work */
    int samples;
    const char *wanted;
};

static const struct torch torches[] = {
    {"usual", "PyTorch as users run it (padded, logits everywhere)", FAST, 4, "wanted 2.5 and 4"},
    {"best", "PyTorch at its best (no padding, logits at the answer alone)", FAST, 4, "wanted 2.2 and 3"},
    {"plain", "PyTorch, contexts of 128 tokens, every token a target", PLAIN, 8, "wanted 1"},
};

/* What the script says of one variant; NULL: it could not run. */
static json_t *run_torch(const struct shape *s, const struct torch *t) {
    char command[256];
    snprintf(command, sizeof command, "/usr/bin/python3 bench/train_torch.py %s %s %d 2>/dev/null", s->name,
             t->variant, t->samples);
    FILE *p = popen(command, "r");
    json_t *j = p ? json_loadf(p, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    if (p)
        pclose(p);
    return j;
}

static void compare_torch(struct figures *f, const struct shape *s, const struct measured m[N_PATHS]) {
    char name[128], note[128];
    for (size_t i = 0; i < sizeof torches / sizeof *torches; i++) {
        const struct torch *t = &torches[i];
        const char *asked = getenv("TRAIN_TORCH");
        json_t *j = asked && strcmp(asked, "0") == 0 ? NULL : run_torch(s, t);
        snprintf(name, sizeof name, "%s: %s path against %s", s->name, path_names[t->path], t->name);
        if (!j) {
            figures_skip(f, "2.3", name, "no python3-torch here, or too little memory for it");
            continue;
        }
        double theirs = json_number_value(json_object_get(j, "cpu_s")),
               gb = json_number_value(json_object_get(j, "peak_gb"));
        printf("%s, %s: %.2f s a sample (%.2f s of each core)\n", s->name, t->name,
               json_number_value(json_object_get(j, "wall_s")), theirs);
        snprintf(note, sizeof note, "processor time a sample; %s; PyTorch %s: %.3g samples/s", t->wanted,
                 json_string_value(json_object_get(j, "version")), 1 / theirs);
        figures_add(f, &(struct figure){"2.3", name, "x", theirs / m[t->path].cpu_s, 1, NAN, NAN, note});
        snprintf(name, sizeof name, "%s: peak memory of %s", s->name, t->name);
        figures_add(f, &(struct figure){"2.4", name, "GB", gb, 1, NAN, NAN, "4 or 8 samples at once"});
        json_decref(j);
    }
}

/* A process of its own takes one step; its peak is the path's. */
static double peak_gb(const struct shape *s, enum path path) {
    int pipe_ends[2];
    double gb = NAN;
    if (pipe(pipe_ends) != 0)
        return gb;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct rig r;
        open_rig(&r, s);
        open_run(&r, path);
        step(&r, path, (int)(r.run[path].limits.n_tokens / (path == FAST ? WHOLE - PREFIX : WHOLE)));
        double peak = (double)mem_peak_bytes() / 1e9;
        _exit(write(pipe_ends[1], &peak, sizeof peak) == sizeof peak ? 0 : 1);
    }
    close(pipe_ends[1]);
    if (read(pipe_ends[0], &gb, sizeof gb) != sizeof gb)
        gb = NAN;
    close(pipe_ends[0]);
    waitpid(pid, NULL, 0);
    return gb;
}

static void add(struct figures *f, const char *id, const struct shape *s, const char *what, const char *unit,
                double *values, int n, const char *note) {
    char name[128];
    struct figure one = {.id = id, .name = name, .unit = unit, .note = note};
    snprintf(name, sizeof name, "%s: %s", s->name, what);
    figures_spread(values, n, &one);
    figures_add(f, &one);
}

static void add_speed(struct figures *f, const struct shape *s, struct measured m[N_PATHS][MAX_REPEATS],
                      const double *rate, int n) {
    static const char *const against[] = {NULL, "fast path against packed path",
                                          "fast path against naive path"};
    double v[MAX_REPEATS];
    char note[160], what[64];
    for (int path = PACKED; path < PLAIN; path++) {
        for (int i = 0; i < n; i++)
            v[i] = m[path][i].cpu_s / m[FAST][i].cpu_s;
        snprintf(note, sizeof note, "processor time a sample; %s%.1f of %.1f GMAC a sample",
                 path == NAIVE ? "wanted 3.5 and 4; " : "", m[FAST][0].macs / 1e9, m[path][0].macs / 1e9);
        add(f, "2.1", s, against[path], "x", v, n, note);
    }
    for (int path = 0; path < N_PATHS; path++) {
        for (int i = 0; i < n; i++)
            v[i] = 1 / m[path][i].cpu_s;
        snprintf(what, sizeof what, "%s path", path_names[path]);
        snprintf(note, sizeof note, "both cores all to itself; by wall time now %.3g", 1 / m[path][0].wall_s);
        add(f, "2.1", s, what, "samples/s", v, n, note);
    }
    for (int path = 0; path < N_PATHS; path++) {
        for (int i = 0; i < n; i++)
            v[i] = 100 * m[path][i].macs / m[path][i].cpu_s / rate[i];
        snprintf(what, sizeof what, "%s path, share of the product's rate", path_names[path]);
        add(f, "2.2", s, what, "%", v, n,
            path == FAST ? "wanted 70, aim 80; work really done over time" : NULL);
    }
    for (int i = 0; i < n; i++)
        v[i] = 2e-9 * rate[i];
    add(f, "2.2", s, "the product's rate, all cores", "GFLOP/s", v, n,
        "measured between the steps, on a block's own shapes");
}

static void measure(struct figures *f, const struct shape *s) {
    static struct measured m[N_PATHS][MAX_REPEATS];
    double rate[MAX_REPEATS];
    int n = (int)chain_setting("TRAIN_REPEATS", 3);
    n = n < 1 ? 1 : n > MAX_REPEATS ? MAX_REPEATS : n;
    for (int path = 0; path < N_PATHS; path++) {
        double gb = peak_gb(s, (enum path)path);
        char what[64], note[64] = "";
        snprintf(what, sizeof what, "%s path, peak memory", path_names[path]);
        if (path == FAST)
            snprintf(note, sizeof note, "wanted at most %g", s->most_gb);
        add(f, "2.4", s, what, "GB", &gb, 1, note);
    }
    struct rig r;
    open_rig(&r, s);
    for (int path = 0; path < N_PATHS; path++)
        open_run(&r, (enum path)path);
    for (int i = 0; i < n; i++) {
        rate[i] = product_rate(&r) * r.ops.n_threads;
        for (int path = 0; path < N_PATHS; path++) {
            m[path][i] = step(&r, (enum path)path, path == FAST ? SAMPLES : 8);
            printf("%s, %s: %.2f s a sample (%.2f s of each core), loss %.4f\n", s->name, path_names[path],
                   m[path][i].wall_s, m[path][i].cpu_s, m[path][i].loss);
            fflush(stdout);
        }
    }
    add_speed(f, s, m, rate, n);
    close_rig(&r);
    struct measured first[N_PATHS];
    for (int path = 0; path < N_PATHS; path++)
        first[path] = m[path][0];
    compare_torch(f, s, first);
}

int main(void) {
    struct figures *f = figures_new("train");
    char text[64];
    const char *kept = getenv("TRAIN_BASE");
    snprintf(text, sizeof text, "%lld", (long long)chain_setting("TRAIN_LAYERS", 0));
    figures_context(f, "base_kept_as", kept ? kept : "bf16");
    if (chain_setting("TRAIN_LAYERS", 0) > 0)
        figures_context(f, "layers_instead_of_all", text);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        measure(f, &shapes[i]);
    return figures_finish(f);
}
