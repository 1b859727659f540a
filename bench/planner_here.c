/* Figures 4.2 and 4.3: see planner_here.h. Each measurement runs in a process of its own, so that peaks are its own. */
#include "bench/planner_here.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "bench/chain.h"
#include "bench/scatter.h"
#include "config.h"
#include "llama/lm.h"
#include "llama/quantize.h"
#include "plan/boards.h"
#include "plan/host.h"
#include "plan/memory.h"
#include "support/tiny_gguf.h"
#include "support/toy_model.h"
#include "train/loop.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONTEXT = 512,
    UBATCH = 64,
    PROMPT = 250,
    N_LABELS = 2,
    N_FILES = 6,
    BENCH_PROMPT = 128,
    BENCH_WRITTEN = 16
};

/* ---- processes ---- */

/* Runs a command of /bin/sh and reads its first line with `word` into `line`; false when there is none. */
static bool first_line(const char *command, const char *word, char *line, size_t n) {
    FILE *f = popen(command, "r");
    bool found = false;
    while (f != NULL && !found && fgets(line, (int)n, f) != NULL)
        found = strstr(line, word) != NULL;
    while (f != NULL && fgetc(f) != EOF)
        ;
    return f != NULL && pclose(f) == 0 && found;
}

static const char *own_path(void) {
    static char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

/* ---- 4.2: files of real shapes ---- */

struct real_shape {
    const char *name; /* of the catalogue */
    const char *mixes[4];
};
static const struct real_shape shapes[] = {{"smollm2-135m-instruct", {"Q8_0", "Q4_K_M", "Q3_K_M", NULL}},
                                           {"qwen3-0.6b", {"Q8_0", "Q4_K_M", "Q3_K_M", NULL}}};

static int make_base(const struct catalog_model *m, const char *path, struct err *e) {
    const struct tiny_gguf t = {.arch = m->arch,
                                .n_layer = m->n_layer,
                                .n_embd = m->n_embd,
                                .n_head = m->n_head,
                                .n_kv = m->n_head_kv,
                                .head_dim = m->head_dim,
                                .n_ff = m->n_ff,
                                .n_vocab = m->n_vocab,
                                .n_ctx = 2048,
                                .tied = m->tied,
                                .seed = 3,
                                .type = GGML_TYPE_F16};
    return file_exists(path) ? 0 : tiny_gguf_write(path, &t, e);
}

/* A decision as the device makes it: prompt, then the labels; prints the peak. */
static int run_child(const char *file, int context, int ubatch) {
    static const char *const labels[N_LABELS] = {"suspicious", "normal"};
    struct err e = {0};
    struct lm *m = NULL;
    struct lm_labels *l = NULL;
    int32_t ids[PROMPT];
    double log_prob[N_LABELS];
    for (int i = 0; i < PROMPT; i++)
        ids[i] = 100 + i % 400;
    int code = lm_backend_init(NULL, &e);
    if (code == 0)
        code = lm_open(&m, file,
                       &(struct lm_options){.n_ctx = context,
                                            .n_batch = ubatch,
                                            .n_outputs = 12,
                                            .drop_copied = true,
                                            .huge_pages = true,
                                            .vocab_beside = true,
                                            .flash_attention = true},
                       &e);
    if (code == 0)
        code = lm_labels_new(&l, m, labels, N_LABELS, &e);
    for (int done = 0; code == 0 && done < PROMPT - 1; done += UBATCH)
        code = lm_decode(m, 0, ids + done, done + UBATCH < PROMPT - 1 ? UBATCH : PROMPT - 1 - done, NULL, &e);
    if (code == 0)
        code = lm_decode_labels(m, 0, ids + PROMPT - 1, 1, l, log_prob, &e);
    if (code < 0)
        log_err(&e);
    else
        printf("peak %lld\n", (long long)mem_peak_bytes());
    lm_labels_free(l);
    lm_free(m);
    return code < 0;
}

static double peak_of(const char *file) {
    char command[1400], line[128];
    snprintf(command, sizeof command, "'%s' --run '%s' %d %d", own_path(), file, CONTEXT, UBATCH);
    return first_line(command, "peak ", line, sizeof line) ? atof(strstr(line, "peak ") + 5) : NAN;
}

/* llama-bench, tokens/s: `flags` choose reading or writing. */
static double bench_of(const char *file, const char *flags) {
    static const char *const program[] = {EDGESTILL_LLAMA_BENCH};
    struct str command = {0};
    char line[256];
    for (size_t i = 0; i < sizeof program / sizeof *program; i++)
        str_addf(&command, "'%s' ", program[i]);
    str_addf(&command, "-m '%s' -t %d -r 3 %s -o json 2>/dev/null", file, thread_core_count(), flags);
    bool found = first_line(str_text(&command), "\"avg_ts\"", line, sizeof line);
    str_release(&command);
    return found ? atof(strchr(line, ':') + 1) : NAN;
}

/* This machine as a device that nobody measured. */
void planner_here_device(struct catalog_device *d) {
    char line[256];
    double mhz = 0;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "cpu MHz", 7) == 0 && strchr(line, ':') != NULL)
            mhz = fmax(mhz, atof(strchr(line, ':') + 1));
    if (f != NULL)
        fclose(f);
    double n = thread_core_count();
    *d = (struct catalog_device){.name = "here",
                                 .title = "this machine",
                                 .family = "here",
                                 .arch = "x86_64",
                                 .core = "x86-avx2",
                                 .dotprod = "n/a"};
    d->cores = (struct catalog_figure){true, n, n, n, "counted"};
    if (mhz > 0)
        d->clock_mhz = (struct catalog_figure){true, mhz, mhz, mhz, "/proc/cpuinfo"};
}

struct comparison {
    char name[64];
    double size, peak, read, write; /* measured */
    struct plan_prediction predicted;
};

static int compare_file(const char *file, const struct shape *shape, const char *mix_text,
                        const struct device_rates *rates, struct comparison *c) {
    enum mix mix = MIX_F16;
    struct mix_work work;
    if (!mix_from_name(mix_text, &mix))
        return ERR_INPUT;
    const struct predict_task task = {
        .prefix_tokens = 0, .record_tokens = BENCH_PROMPT, .answer_tokens = 6, .label_tokens = 12};
    const struct predict_input in = {.shape = shape,
                                     .mix = mix,
                                     .rates = rates,
                                     .task = &task,
                                     .context = CONTEXT,
                                     .ubatch = UBATCH,
                                     .label_scoring = true};
    char flags[64];
    mix_count(mix, shape, &work);
    predict_on_device(&in, &work, NULL, &c->predicted);
    c->size = (double)file_size(file);
    c->peak = peak_of(file);
    snprintf(flags, sizeof flags, "-p %d -n 0", BENCH_PROMPT);
    c->read = bench_of(file, flags);
    snprintf(flags, sizeof flags, "-p 0 -n %d", BENCH_WRITTEN);
    c->write = bench_of(file, flags);
    return 0;
}

static int make_files(const struct real_shape *s, const struct catalog *c, const char *folder,
                      const struct device_rates *rates, struct comparison *out, int *n, struct err *e) {
    const struct catalog_model *m = NULL;
    struct shape shape;
    char base[600], file[600];
    int code = catalog_model_find(c, s->name, &m, e);
    snprintf(base, sizeof base, "%s/%s-f16.gguf", folder, s->name);
    if (code == 0)
        code = make_base(m, base, e);
    if (code == 0)
        shape_from_catalog(&shape, m);
    for (int i = 0; code == 0 && s->mixes[i] != NULL; i++) {
        struct comparison *x = &out[*n];
        snprintf(file, sizeof file, "%s/%s-%s.gguf", folder, s->name, s->mixes[i]);
        snprintf(x->name, sizeof x->name, "%s %s", s->name, s->mixes[i]);
        if (!file_exists(file))
            code = quantize_file(base, file, &(struct quantize_options){.type = s->mixes[i]}, e);
        if (code == 0)
            code = compare_file(file, &shape, s->mixes[i], rates, x);
        ++*n;
        if (getenv("PLANNER_FOLDER") == NULL)
            unlink(file);
    }
    if (getenv("PLANNER_FOLDER") == NULL)
        unlink(base);
    return code;
}

static void add_comparison(struct figures *f, const char *what, const struct comparison *all, int n,
                           size_t measured, size_t predicted, const char *note) {
    double errors[N_FILES];
    int k = 0;
    for (int i = 0; i < n; i++) {
        double truth = *(const double *)((const char *)&all[i] + measured),
               value = ((const struct estimate *)((const char *)&all[i].predicted + predicted))->value;
        if (isfinite(truth) && truth > 0)
            errors[k++] = fabs(value / truth - 1);
    }
    struct figure one = {.id = "4.2", .name = what, .unit = "share", .note = note};
    figures_spread(errors, k, &one);
    if (k == 0)
        figures_skip(f, "4.2", what, "nothing could be measured");
    else
        figures_add(f, &one);
}

static void show_files(const struct comparison *all, int n) {
    struct scatter_point points[N_FILES];
    const char *names[N_FILES];
    printf("%-30s %22s %22s %20s %20s\n", "file", "peak MB: run, planned", "file MB: is, planned",
           "read: bench, planned", "write: bench, planned");
    for (int i = 0; i < n; i++) {
        const struct plan_prediction *p = &all[i].predicted;
        printf("%-30s %10.1f %11.1f %10.1f %11.1f %9.1f %10.1f %9.1f %10.1f\n", all[i].name,
               all[i].peak / 1e6, p->memory_bytes.value / 1e6, all[i].size / 1e6, p->file_bytes.value / 1e6,
               all[i].read, p->prefill_tps.value, all[i].write, p->decode_tps.value);
        points[i] = (struct scatter_point){all[i].peak / 1e6, p->memory_bytes.value / 1e6, i};
        names[i] = all[i].name;
    }
    scatter_write("build/bench/planner-memory.svg", "peak memory of a run here", "MB", points, n, names, n);
}

void planner_here_files(struct figures *f, const struct catalog *c) {
    const char *wanted = getenv("PLANNER_FILES"), *kept = getenv("PLANNER_FOLDER");
    char folder[512];
    struct comparison all[N_FILES] = {0};
    struct catalog_device here;
    struct device_rates rates;
    struct arena a;
    struct err e = {0};
    int n = 0;
    if (wanted != NULL && strcmp(wanted, "0") == 0) {
        figures_skip(f, "4.2", "files of real shapes here", "PLANNER_FILES=0");
        return;
    }
    snprintf(folder, sizeof folder, "%s", kept != NULL ? kept : "build/bench/runs/planner");
    arena_init(&a);
    planner_here_device(&here);
    int code = file_make_folders(folder, &e);
    if (code == 0)
        code = rates_for_device(c, &here, &a, &rates, &e);
    for (size_t i = 0; code == 0 && i < sizeof shapes / sizeof *shapes; i++)
        code = make_files(&shapes[i], c, folder, &rates, all, &n, &e);
    if (code < 0)
        log_err(&e);
    show_files(all, n);
    add_comparison(f, "peak memory of a run, error", all, n, offsetof(struct comparison, peak),
                   offsetof(struct plan_prediction, memory_bytes),
                   "median, least and most; asked: at most 0.03");
    add_comparison(f, "size of the file, error", all, n, offsetof(struct comparison, size),
                   offsetof(struct plan_prediction, file_bytes), "median, least and most");
    add_comparison(f, "prefill against llama-bench, error", all, n, offsetof(struct comparison, read),
                   offsetof(struct plan_prediction, prefill_tps),
                   "as a device never seen, on a machine as busy as it was");
    add_comparison(f, "decode against llama-bench, error", all, n, offsetof(struct comparison, write),
                   offsetof(struct plan_prediction, decode_tps),
                   "as a device never seen, on a machine as busy as it was");
    arena_release(&a);
}

/* ---- 4.3: training ---- */

struct train_case {
    const char *name;
    struct model_config config;
};
#define SHAPE(layers, width, heads, kv, ff, vocab)                                                           \
    {                                                                                                        \
        .n_layer = layers, .d_model = width, .n_heads = heads, .n_kv_heads = kv, .head_dim = width / heads,  \
        .d_ff = ff, .n_vocab = vocab, .n_ctx = 512, .rope_theta = 10000, .norm_eps = 1e-5f,                  \
        .tied_head = true                                                                                    \
    }
static const struct train_case cases[] = {{"5M", SHAPE(6, 256, 4, 2, 704, 4096)},
                                          {"21M", SHAPE(8, 448, 7, 7, 1280, 4096)},
                                          {"63M", SHAPE(12, 640, 10, 5, 1792, 8192)}};
enum {
    N_CASES = sizeof cases / sizeof *cases,
    HEAD = 60,
    OWN = 60,
    ANSWER = 3,
    ROWS = 192, /* twelve steps: the first, whose memory is new, and the files written once count little */
    RANK = 16,
    BATCH = 16
};

static int make_rows(struct dataset *d, const struct dataset_form *form, int64_t n, uint64_t seed,
                     struct err *e) {
    int code = 0;
    int32_t ids[OWN];
    *d = (struct dataset){.form = form};
    for (int64_t i = 0; code == 0 && i < n; i++) {
        struct dataset_row row = {.id = i, .n = OWN, .weight = 1, .label = (int32_t)(i % 2)};
        for (int j = 0; j < OWN; j++)
            ids[j] = (int32_t)((seed + (uint64_t)i * 131 + (uint64_t)j * 17) % 4000);
        code = dataset_add(d, &row, ids, 512, e);
    }
    return code;
}

static int train_child(int shape, enum plan_method method) {
    int32_t head[HEAD], answers[2][ANSWER];
    for (int i = 0; i < HEAD; i++)
        head[i] = 5 + i;
    for (int i = 0; i < ANSWER; i++)
        answers[0][i] = 10 + i, answers[1][i] = 20 + i;
    const struct token_span spans[2] = {{answers[0], ANSWER}, {answers[1], ANSWER}};
    const struct dataset_form form = {{head, HEAD}, spans, 2, false};
    struct ops o;
    struct nn_model m;
    struct dataset train = {0}, validation = {0};
    struct train_result r = {0};
    struct rng rng;
    struct err e = {0};
    rng_seed(&rng, 1);
    int code = ops_open_cpu(&o, 0, &e);
    if (code == 0)
        code = nn_model_init(&m, &cases[shape].config, &o, &e);
    if (code == 0) {
        toy_fill(&m, 5, 0.02f);
        if (method == PLAN_LORA)
            code = nn_model_add_lora(&m, &(struct nn_lora){.rank = RANK, .alpha = 32}, &rng, &e);
        else
            code = nn_model_train_all(&m, &e);
    }
    if (code == 0)
        code = make_rows(&train, &form, ROWS, 1, &e);
    if (code == 0)
        code = make_rows(&validation, &form, 2, 2, &e);
    struct train_settings s = {.epochs = 1,
                               .batch_rows = BATCH,
                               .learning_rate = 1e-4f,
                               .schedule = SCHEDULE_COSINE,
                               .seed = 3,
                               .eval_steps = 1000};
    char names[3][128];
    static const char *const ends[3] = {"checkpoint", "best", "log"};
    for (int i = 0; i < 3; i++) {
        snprintf(names[i], sizeof names[i], "build/bench/planner-train-%d.%s", (int)getpid(), ends[i]);
        unlink(names[i]);
    }
    if (code == 0)
        code = train_run(&m, &train, &validation, &s, &(struct train_files){names[0], names[1], names[2]},
                         NULL, &r, &e);
    if (code < 0)
        log_err(&e);
    else
        printf("trained %.6f %lld %lld\n", ROWS / r.samples_per_s, (long long)r.memory_bytes,
               (long long)mem_peak_bytes());
    for (int i = 0; i < 3; i++)
        unlink(names[i]);
    return code < 0;
}

struct training {
    double seconds, memory; /* measured */
    struct plan_prediction predicted;
};

static int compare_training(int i, enum plan_method method, struct training *t) {
    const struct model_config *c = &cases[i].config;
    struct shape s = {.n_layer = c->n_layer,
                      .n_embd = c->d_model,
                      .n_ff = c->d_ff,
                      .n_head = c->n_heads,
                      .n_head_kv = c->n_kv_heads,
                      .head_dim = c->head_dim,
                      .n_vocab = c->n_vocab,
                      .tied = true};
    const struct predict_task task = {.prefix_tokens = HEAD,
                                      .record_tokens = OWN,
                                      .answer_tokens = ANSWER,
                                      .label_tokens = 2 * ANSWER,
                                      .longest_tokens = HEAD + OWN + ANSWER,
                                      .n_records = ROWS,
                                      .epochs = 1,
                                      .batch_rows = BATCH};
    struct predict_host host;
    struct mix_work work;
    struct err e = {0};
    char command[800], line[200];
    snprintf(command, sizeof command, "'%s' --train %d %d", own_path(), i, (int)method);
    if (host_measure(&host, &e) < 0 || !first_line(command, "trained ", line, sizeof line))
        return ERR_FAILED;
    long long taken = 0, peak = 0; /* planned by the trainer; of the process */
    if (sscanf(strstr(line, "trained "), "trained %lf %lld %lld", &t->seconds, &taken, &peak) != 3)
        return ERR_FAILED;
    t->memory = (double)peak;
    mix_count(MIX_F16, &s, &work);
    const struct predict_input in = {
        .shape = &s, .mix = MIX_F16, .task = &task, .host = &host, .method = method, .rank = RANK};
    predict_training(&in, &work, NULL, &t->predicted);
    printf("%-6s %-5s measured %8.2f s %8.1f MB   predicted %8.2f s %8.1f MB   at %.1f GMAC/s\n",
           cases[i].name, plan_method_text(method), t->seconds, t->memory / 1e6, t->predicted.train_s.value,
           t->predicted.train_memory_bytes.value / 1e6, host.macs_per_s / 1e9);
    return 0;
}

void planner_here_training(struct figures *f) {
    const char *wanted = getenv("PLANNER_TRAINING");
    double time[2 * N_CASES], memory[2 * N_CASES];
    int n = 0;
    if (wanted != NULL && strcmp(wanted, "0") == 0) {
        figures_skip(f, "4.3", "training here", "PLANNER_TRAINING=0");
        return;
    }
    for (int i = 0; i < N_CASES; i++)
        for (int m = PLAN_LORA; m <= PLAN_FULL; m++) {
            struct training t;
            if (compare_training(i, (enum plan_method)m, &t) < 0)
                continue;
            time[n] = fabs(t.predicted.train_s.value / t.seconds - 1);
            memory[n++] = fabs(t.predicted.train_memory_bytes.value / t.memory - 1);
        }
    struct figure a = {.id = "4.3",
                       .name = "training time, error",
                       .unit = "share",
                       .note = "three shapes by two methods: median, least, most; asked: at most 0.15"},
                  b = {.id = "4.3",
                       .name = "training memory, error",
                       .unit = "share",
                       .note = "peak of the process: median, least, most; asked: at most 0.05"};
    figures_spread(time, n, &a);
    figures_spread(memory, n, &b);
    figures_add(f, &a);
    figures_add(f, &b);
}

int planner_here_child(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "--run") == 0)
        return run_child(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (argc == 4 && strcmp(argv[1], "--train") == 0 && atoi(argv[2]) >= 0 && atoi(argv[2]) < N_CASES)
        return train_child(atoi(argv[2]), (enum plan_method)(atoi(argv[3]) != 0));
    fprintf(stderr, "planner: takes its settings from the environment, see bench/planner.c\n");
    return 2;
}
