/* Figures 2.1 to 2.4: an optimiser step of the work that distillation really does (bench/train_rig.h), on the shapes of TinyLlama-1.1B
 * and Qwen3-0.6B with random weights, beside the same work in PyTorch (bench/train_torch.py, Debian's python3-torch, which
 * bench/train.sh installs); one step of a 7B model in Q4_K; and what a vocabulary cut to 16,000 tokens (train --trim) saves.
 *
 *     make bench-train                                  all of it, three alternating repetitions: about an hour on two cores
 *     TRAIN_SECONDS=420 make bench-train                begins no measurement after 420 s; the next call goes on where this one stopped
 *     TRAIN_ONLY=Qwen3 make bench-train                 only measurements whose names contain that ("TinyLlama-1.1B torch-usual 1")
 *     TRAIN_LAYERS=4 TRAIN_REPEATS=1 make bench-train   a quick look at shapes of four blocks
 *     TRAIN_BASE=f32|bf16|q4_K                          how the frozen base is kept (bf16; q4_K for 7B)
 *     TRAIN_TORCH=0                                     without PyTorch
 *     TRAIN_FRESH=1                                     forgets what was measured before
 *
 * Each measurement is a process of its own that takes one step: 64 samples for the fast path, 8 for the others, 4 or 8 for PyTorch,
 * everything a sample. What it says is kept in build/bench/runs/train/, under the hash of the program and its settings: a
 * new build measures anew. Ratios are of the same repetition; values are medians over the repetitions that are there. Times
 * are wall times: the machine should be idle. The ratio by processor time stands in the note: where the two differ much, it was not. */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "bench/chain.h"
#include "bench/figures.h"
#include "bench/train_rig.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_REPEATS = 9, N_SHAPES = 2 };
#define FOLDER "build/bench/runs/train"
#define SCRIPT "bench/train_torch.py"

static const char *const shapes[N_SHAPES] = {"TinyLlama-1.1B", "Qwen3-0.6B"};

/* One thing to measure, of ours or of PyTorch's. */
struct work {
    const char *name;
    bool torch;
    int samples;
};
enum { FAST, TORCH_USUAL, PACKED, NAIVE, TORCH_BEST, PLAIN, TORCH_PLAIN, N_WORKS };
static const struct work works[N_WORKS] = {
    [FAST] = {"fast", false, 64},       [TORCH_USUAL] = {"usual", true, 4}, [PACKED] = {"packed", false, 8},
    [NAIVE] = {"naive", false, 8},      [TORCH_BEST] = {"best", true, 4},   [PLAIN] = {"plain", false, 8},
    [TORCH_PLAIN] = {"plain", true, 8},
};

struct bench {
    char own[1024];
    char build[SHA256_HEX], script[SHA256_HEX];
    int n_repeats, n_wanted, n_missing;
    double until_s; /* 0: no limit */
    const char *only;
    bool torch;
};

/* ---- one measurement ---- */

static int key_of(const struct bench *b, const char *shape, const struct work *w, int repeat, char *name,
                  size_t room) {
    const struct train_shape_case *s = train_shape_case(shape);
    return snprintf(name, room, "%s-%s%s-%d-%dx%s-%.8s", shape, w->torch ? "torch-" : "", w->name, repeat + 1,
                    train_layers_of(s), w->torch ? "f32" : train_base_of(s), w->torch ? b->script : b->build);
}

static json_t *measure_now(const struct bench *b, const char *shape, const struct work *w) {
    char command[2400];
    if (w->torch)
        snprintf(command, sizeof command, "/usr/bin/python3 " SCRIPT " %s %s %d 2>/dev/null", shape, w->name,
                 w->samples);
    else
        snprintf(command, sizeof command, "'%s' --measure %s %s %d", b->own, shape, w->name, w->samples);
    FILE *p = popen(command, "r");
    json_t *j = p ? json_loadf(p, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    if (p)
        pclose(p);
    return j;
}

static bool wanted(const struct bench *b, const char *shape, const struct work *w, int repeat) {
    char name[128];
    snprintf(name, sizeof name, "%s %s%s %d", shape, w->torch ? "torch-" : "", w->name, repeat + 1);
    return (!b->only || strstr(name, b->only)) && (!w->torch || b->torch);
}

/* What is kept, measured now when it is not and there is time. NULL: not measured. */
static json_t *result_of(struct bench *b, const char *shape, const struct work *w, int repeat, bool now) {
    char key[256], file[300];
    key_of(b, shape, w, repeat, key, sizeof key);
    snprintf(file, sizeof file, "%s.json", key);
    json_t *j = chain_json(FOLDER, file);
    if (j || !now || !wanted(b, shape, w, repeat))
        return j;
    if (b->until_s > 0 && clock_seconds() > b->until_s) {
        b->n_missing++;
        return NULL;
    }
    if (!(j = measure_now(b, shape, w))) {
        printf("%s: it did not run to its end\n", key);
        return NULL;
    }
    printf("%s: %.2f s a sample (%.2f s of each core), peak %.2f GB\n", key, chain_number(j, "wall_s", NULL),
           chain_number(j, "cpu_s", NULL), chain_number(j, "peak_gb", NULL));
    fflush(stdout);
    char path[400], *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(8));
    snprintf(path, sizeof path, FOLDER "/%s", file);
    if (text)
        file_write(path, text, strlen(text), NULL);
    free(text);
    return j;
}

static double number_of(struct bench *b, const char *shape, int work, int repeat, const char *what) {
    json_t *j = result_of(b, shape, &works[work], repeat, false);
    double x = j ? chain_number(j, what, NULL) : NAN;
    json_decref(j);
    return x;
}

/* ---- figures ---- */

/* Values of repetitions that are there. */
struct spread {
    double v[MAX_REPEATS];
    int n;
};

static void take(struct spread *s, double x) {
    if (isfinite(x))
        s->v[s->n++] = x;
}

static void add(struct figures *f, const char *id, const char *shape, const char *what, const char *unit,
                struct spread *s, const char *note) {
    char name[160];
    snprintf(name, sizeof name, "%s: %s", shape, what);
    if (s->n == 0) {
        figures_skip(f, id, name, "not measured");
        return;
    }
    struct figure one = {.id = id, .name = name, .unit = unit, .note = note};
    figures_spread(s->v, s->n, &one);
    figures_add(f, &one);
}

/* How many times as long `slow` takes a sample as `fast`. */
static void add_ratio(struct bench *b, struct figures *f, const char *id, const char *shape, const char *what,
                      int slow, int fast, const char *asked) {
    struct spread wall = {0}, cpu = {0};
    char note[160];
    for (int i = 0; i < b->n_repeats; i++) {
        take(&wall, number_of(b, shape, slow, i, "wall_s") / number_of(b, shape, fast, i, "wall_s"));
        take(&cpu, number_of(b, shape, slow, i, "cpu_s") / number_of(b, shape, fast, i, "cpu_s"));
    }
    struct figure c = {0};
    figures_spread(cpu.v, cpu.n, &c);
    snprintf(note, sizeof note, "by wall time a sample; by processor time %.3g%s%s", c.value,
             *asked ? "; " : "", asked);
    add(f, id, shape, what, "x", &wall, note);
}

static void add_values(struct bench *b, struct figures *f, const char *id, const char *shape, int work,
                       const char *what, const char *key, double scale, const char *unit, const char *note) {
    struct spread s = {0};
    char name[160];
    for (int i = 0; i < b->n_repeats; i++) {
        double x = number_of(b, shape, work, i, key);
        take(&s, scale > 0 ? x * scale : -scale / x);
    }
    snprintf(name, sizeof name, "%s%s, %s", works[work].torch ? "PyTorch, " : "", works[work].name, what);
    add(f, id, shape, name, unit, &s, note);
}

static void add_share(struct bench *b, struct figures *f, const char *shape, int work) {
    struct spread s = {0}, best = {0}, cpu = {0};
    char what[64], note[200];
    for (int i = 0; i < b->n_repeats; i++) {
        double done = 100e9 * number_of(b, shape, work, i, "gmac"),
               rate = done / number_of(b, shape, work, i, "wall_s");
        take(&s, rate / number_of(b, shape, work, i, "rate"));
        take(&best, rate / number_of(b, shape, work, i, "rate_best"));
        take(&cpu, done / number_of(b, shape, work, i, "cpu_s") / number_of(b, shape, work, i, "threads") /
                       number_of(b, shape, work, i, "rate_cpu"));
    }
    struct figure of_best = {0}, by_cpu = {0};
    figures_spread(best.v, best.n, &of_best);
    figures_spread(cpu.v, cpu.n, &by_cpu);
    snprintf(what, sizeof what, "%s path, share of the product's rate", works[work].name);
    snprintf(note, sizeof note,
             "%.1f GMAC a sample; %.3g%% of the best products', %.3g%% by processor time%s",
             number_of(b, shape, work, 0, "gmac"), of_best.value, by_cpu.value,
             work == FAST ? "; wanted 70, aim 80; work really done over time" : "");
    add(f, "2.2", shape, what, "%", &s, note);
}

static void add_shape(struct bench *b, struct figures *f, const char *shape, bool first) {
    char limit[64];
    snprintf(limit, sizeof limit, "wanted at most %g", train_shape_case(shape)->most_gb);
    add_ratio(b, f, "2.1", shape, "fast path against naive path", NAIVE, FAST,
              first ? "wanted 3.5" : "wanted 4");
    add_ratio(b, f, "2.1", shape, "fast path against packed path", PACKED, FAST, "");
    for (int w = 0; w < N_WORKS; w++)
        add_values(b, f, works[w].torch ? "2.3" : "2.1", shape, w, "samples/s", "wall_s", -1, "samples/s",
                   w == FAST ? "64 samples a step" : NULL);
    for (int w = 0; w < N_WORKS; w++)
        if (!works[w].torch)
            add_share(b, f, shape, w);
    add_values(b, f, "2.2", shape, FAST, "the product's rate, all cores", "rate", 2e-9, "GFLOP/s",
               "on a block's own shapes, before the step and between its micro-batches");
    add_ratio(b, f, "2.3", shape, "fast path against PyTorch as users run it", TORCH_USUAL, FAST,
              first ? "wanted 2.5" : "wanted 4");
    add_ratio(b, f, "2.3", shape, "fast path against PyTorch at its best", TORCH_BEST, FAST,
              first ? "wanted 2.2" : "wanted 3");
    add_ratio(b, f, "2.3", shape, "plain contexts of 128 tokens against PyTorch", TORCH_PLAIN, PLAIN,
              "wanted 1");
    for (int w = 0; w < N_WORKS; w++)
        add_values(b, f, "2.4", shape, w, "peak memory", "peak_gb", 1, "GB", w == FAST ? limit : NULL);
    add_values(b, f, "2.4", shape, FAST, "planned memory", "planned_gb", 1, "GB",
               "the trainer's plan of that step");
}

/* ---- all of it ---- */

static const struct work big = {"fast", false, 8};
#define BIG "Mistral-7B"

static void add_big(struct bench *b, struct figures *f) {
    json_t *j = result_of(b, BIG, &big, 0, false);
    static const char *const keys[] = {"peak_gb", "planned_gb", "wall_s"};
    static const char *const names[] = {"peak memory of a QLoRA step, base in Q4_K", "planned memory",
                                        "QLoRA step of 8 samples"};
    for (size_t i = 0; i < 3; i++) {
        struct spread s = {0};
        take(&s, j ? chain_number(j, keys[i], NULL) : NAN);
        add(f, "2.4", BIG, names[i], i < 2 ? "GB" : "s a sample", &s, i == 0 ? "wanted at most 16" : NULL);
    }
    json_decref(j);
}

/* ---- a trimmed vocabulary ---- */

/* Shapes of the whole vocabulary and of 16,000 tokens of it, and what the model answers with. */
static const char *const trimmed[][3] = {{"Qwen3-0.6B", "Qwen3-0.6B-trimmed", "4 tokens"},
                                         {"Qwen3-0.6B-written", "Qwen3-0.6B-written-trimmed", "32 tokens"}};
enum { N_TRIMMED = sizeof trimmed / sizeof *trimmed };

static void add_trimmed(struct bench *b, struct figures *f) {
    for (int k = 0; k < N_TRIMMED; k++) {
        struct spread speed = {0}, memory = {0};
        const char *whole = trimmed[k][0], *cut = trimmed[k][1];
        char note[64];
        for (int i = 0; i < b->n_repeats; i++) {
            take(&speed, number_of(b, whole, FAST, i, "wall_s") / number_of(b, cut, FAST, i, "wall_s"));
            take(&memory,
                 100 * number_of(b, cut, FAST, i, "peak_gb") / number_of(b, whole, FAST, i, "peak_gb"));
        }
        snprintf(note, sizeof note, "answers of %s, logits there alone", trimmed[k][2]);
        add(f, "5.2", whole, "a step on 16,000 tokens against one on the whole vocabulary", "x", &speed,
            note);
        add(f, "5.2", whole, "its peak memory, of that on the whole vocabulary", "%", &memory, note);
    }
}

static void measure_all(struct bench *b) {
    for (int repeat = 0; repeat < b->n_repeats; repeat++) {
        for (int s = 0; s < N_SHAPES; s++)
            for (int w = 0; w < N_WORKS; w++)
                json_decref(result_of(b, shapes[s], &works[w], repeat, true));
        for (int k = 0; k < 2 * N_TRIMMED; k++)
            json_decref(result_of(b, trimmed[k / 2][k % 2], &works[FAST], repeat, true));
        if (repeat == 0)
            json_decref(result_of(b, BIG, &big, 0, true));
    }
}

static void begin(struct bench *b) {
    struct err e = {0};
    int64_t seconds = chain_setting("TRAIN_SECONDS", 0);
    ssize_t n = readlink("/proc/self/exe", b->own, sizeof b->own - 1);
    b->own[n > 0 ? n : 0] = 0;
    if (n <= 0 || sha256_file(b->own, b->build, &e) < 0 || sha256_file(SCRIPT, b->script, &e) < 0 ||
        file_make_folders(FOLDER, &e) < 0) {
        fprintf(stderr, "bench: %s\n", n <= 0 ? "cannot find myself" : e.message);
        exit(1);
    }
    b->n_repeats = (int)chain_setting("TRAIN_REPEATS", 3);
    b->n_repeats = b->n_repeats > MAX_REPEATS ? MAX_REPEATS : b->n_repeats;
    b->until_s = seconds > 0 ? clock_seconds() + (double)seconds : 0;
    b->only = getenv("TRAIN_ONLY");
    const char *torch = getenv("TRAIN_TORCH");
    b->torch = !(torch && strcmp(torch, "0") == 0);
    if (getenv("TRAIN_FRESH"))
        file_remove_tree(FOLDER, NULL);
    file_make_folders(FOLDER, NULL);
}

static int child(char **argv) {
    enum train_path path;
    if (!train_path_find(argv[3], &path)) {
        fprintf(stderr, "bench: no path '%s'\n", argv[3]);
        return 2;
    }
    return train_rig_measure(argv[2], path, atoi(argv[4]));
}

int main(int argc, char **argv) {
    struct bench b = {0};
    char text[64];
    if (argc == 5 && strcmp(argv[1], "--measure") == 0)
        return child(argv);
    begin(&b);
    measure_all(&b);
    if (b.n_missing > 0)
        printf("%d measurements are left: the same call goes on with them\n", b.n_missing);
    struct figures *f = figures_new("train");
    snprintf(text, sizeof text, "%d", b.n_missing);
    figures_context(f, "measurements_left", text);
    figures_context(f, "blas", ops_blas_name());
    if (getenv("TRAIN_LAYERS"))
        figures_context(f, "layers_instead_of_all", getenv("TRAIN_LAYERS"));
    if (getenv("TRAIN_BASE"))
        figures_context(f, "base_kept_as", getenv("TRAIN_BASE"));
    for (int s = 0; s < N_SHAPES; s++)
        add_shape(&b, f, shapes[s], s == 0);
    add_big(&b, f);
    add_trimmed(&b, f);
    figures_skip(f, "2.3", "fast path against llama-finetune",
                 "Debian's llama.cpp packages (tools, tools-extra) have no such program; it trains all "
                 "weights in F32, "
                 "no adapters");
    return figures_finish(f);
}
