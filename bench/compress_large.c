/* The whole way of a 0.6B: cut, watched, searched, quantised, measured; then its file beside the stock one.
 *
 * Speeds and memory are those of processes of their own (this program, started anew for each), the two files in turn, so that
 * neither meets the other's memory and both meet the same machine. */
#include "bench/compress_large.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "bench/compress_tools.h"
#include "bench/compressing.h"
#include "bench/shapes.h"
#include "format/json.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGE_DIR COMPRESS_RUNS "/large"
#define LARGE_LOG LARGE_DIR "/log"
#define LARGE_F16 LARGE_DIR "/whole-f16.gguf"

enum { RUNS = 9, PREFILL = 250, DECODE = 24, CONTEXT = 288, TRAINING = 24, VALIDATION = 24 };

/* The whole vocabulary of Qwen3-0.6B, or a small model to try this program with. */
static const struct tiny_gguf *shape(void) {
    return getenv("COMPRESS_SMALL") ? &shape_small.shape : &shape_qwen3.shape;
}

static void write_source(void) {
    struct err e = {0};
    bench_must(file_make_folders(LARGE_DIR, &e), &e);
    if (file_exists(LARGE_F16))
        return;
    fprintf(stderr, "making " LARGE_F16 " (random weights)\n");
    bench_must(tiny_gguf_write(LARGE_F16 ".part", shape(), &e), &e);
    if (rename(LARGE_F16 ".part", LARGE_F16) != 0)
        exit(1);
}

/* ---- one process, one file ---- */

/* as_runner: loaded as edgestill-run loads it (src/llama/lm_load.c), not as llama.cpp does by default. */
struct way_of_running {
    const char *gguf;
    int n_ctx, n_batch;
    bool as_runner;
};

struct seen {
    double prefill_tps, decode_tps, peak_bytes;
};

static int read_tokens(struct lm *m, int64_t n, bool one_by_one, double *seconds, struct err *e) {
    int32_t ids[PREFILL];
    const float *logits;
    int rc = 0;
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(33 + i % 60);
    double start = clock_seconds();
    for (int64_t i = 0; i < (one_by_one ? n : 1) && rc == 0; i++)
        rc = lm_decode(m, 0, ids + i, one_by_one ? 1 : n, &logits, e);
    *seconds = clock_seconds() - start;
    return rc;
}

int compress_measure_child(const char *const args[]) {
    struct err e = {0};
    struct lm *m;
    int64_t n_ctx = 0, n_batch = 0;
    double prefill_s = 0, decode_s = 0, warm_s = 0;
    if (!str_to_i64(args[1], &n_ctx) || !str_to_i64(args[2], &n_batch))
        return 2;
    bool as_runner = *args[3] == '1';
    struct lm_options o = {.n_ctx = (int)n_ctx,
                           .n_batch = (int)n_batch,
                           .n_outputs = 8,
                           .drop_copied = as_runner,
                           .huge_pages = as_runner,
                           .vocab_beside = as_runner};
    bench_must(lm_backend_init(NULL, &e), &e);
    bench_must(lm_open(&m, args[0], &o, &e), &e);
    bench_must(read_tokens(m, 8, false, &warm_s, &e), &e); /* the file's pages, once */
    lm_clear(m, -1);
    bench_must(read_tokens(m, PREFILL, false, &prefill_s, &e), &e);
    bench_must(read_tokens(m, DECODE, true, &decode_s, &e), &e);
    printf("{\"prefill_tps\":%.3f,\"decode_tps\":%.3f,\"peak_bytes\":%lld}\n", PREFILL / prefill_s,
           DECODE / decode_s, (long long)mem_peak_bytes());
    lm_free(m);
    return 0;
}

static struct seen run_child(const struct way_of_running *w) {
    char self[1024], ctx[16], batch[16];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    snprintf(ctx, sizeof ctx, "%d", w->n_ctx);
    snprintf(batch, sizeof batch, "%d", w->n_batch);
    remove(LARGE_DIR "/child.json");
    chain_run(&(struct chain){LARGE_DIR, LARGE_DIR "/child.json"},
              (const char *const[]){self, "--measure", w->gguf, ctx, batch, w->as_runner ? "1" : "0", NULL});
    json_t *j = chain_json(LARGE_DIR, "child.json");
    struct seen s = {chain_number(j, "prefill_tps", NULL), chain_number(j, "decode_tps", NULL),
                     chain_number(j, "peak_bytes", NULL)};
    json_decref(j);
    return s;
}

/* ---- its rows ---- */

static void claims(struct task *t, struct rows *training, struct rows *validation) {
    struct student_files s;
    /* Rows of the claims, as many as a user would have looked at; the student of that part is not used. */
    student_begin(&s, &compress_examples[0], 1, "full-labelled");
    *t = s.task;
    *training = s.training;
    *validation = s.validation;
    training->n = training->n < TRAINING ? training->n : TRAINING;
    validation->n = validation->n < VALIDATION ? validation->n : VALIDATION;
    s.task = (struct task){0};
    s.training = s.validation = (struct rows){0};
    student_end(&s);
}

/* ---- 5.2 ---- */

#define LARGE_STOCK LARGE_DIR "/stock-q3_k_m.gguf"
#define LARGE_PLAIN LARGE_DIR "/plain"

static void add_spread(struct figures *f, const char *what, const char *unit, double *values) {
    struct figure x = {.id = "5.2", .name = what, .unit = unit};
    figures_spread(values, RUNS, &x);
    figures_add(f, &x);
}

/* Without the choice's file, the stock mix on the trimmed vocabulary: it weighs the same. */
static const char *make_ours(void) {
    struct err e = {0};
    struct task t;
    struct rows training, validation;
    struct compress_result r;
    static const char *const type = "Q3_K_M";
    if (file_exists(LARGE_DIR "/student.gguf"))
        return LARGE_DIR "/student.gguf";
    if (file_exists(LARGE_PLAIN "/student.gguf"))
        return LARGE_PLAIN "/student.gguf";
    claims(&t, &training, &validation);
    struct compress_request q = {.source = LARGE_F16,
                                 .folder = LARGE_PLAIN,
                                 .task = &t,
                                 .training = &training,
                                 .types = &type,
                                 .n_types = 1,
                                 .no_imatrix = true,
                                 .no_search = true,
                                 .recovery = COMPRESS_RECOVER_NEVER,
                                 .vocabulary = {.reserve = 4000}};
    bench_must(compress_run(&r, &q, &e), &e);
    compress_release(&r);
    rows_release(&training);
    rows_release(&validation);
    task_release(&t);
    return LARGE_PLAIN "/student.gguf";
}

/* The stock file as llama.cpp opens it by default, and ours as the runner does, with what a decision of the task needs. */
static void both_files(struct way_of_running ways[2]) {
    struct err e = {0};
    write_source();
    if (!file_exists(LARGE_STOCK))
        bench_must(quantize_file(LARGE_F16, LARGE_STOCK, &(struct quantize_options){.type = "Q3_K_M"}, &e),
                   &e);
    ways[0] = (struct way_of_running){LARGE_STOCK, 4096, 512, false};
    ways[1] = (struct way_of_running){make_ours(), CONTEXT, 64, true};
}

bool compress_size(struct figures *f) {
    static const char *const names[] = {"stock Q3_K_M: ", "ours: "};
    struct way_of_running ways[2];
    both_files(ways);
    for (int k = 0; k < 2; k++) {
        char name[128];
        snprintf(name, sizeof name, "%sfile%s", names[k], k ? " (asked for: 260 or less)" : "");
        figures_add(
            f, &(struct figure){
                   .id = "5.2", .name = name, .unit = "MB", .value = (double)file_size(ways[k].gguf) / 1e6});
        snprintf(name, sizeof name, "%speak memory, context %d, ubatch %d%s", names[k], ways[k].n_ctx,
                 ways[k].n_batch, k ? " (asked for: 320 or less)" : "");
        figures_add(f, &(struct figure){.id = "5.2",
                                        .name = name,
                                        .unit = "MB",
                                        .value = run_child(&ways[k]).peak_bytes / 1e6,
                                        .n = 1});
    }
    return true;
}

bool compress_rate(struct figures *f) {
    struct way_of_running ways[2];
    double prefill[3][RUNS], decode[3][RUNS];
    both_files(ways);
    for (int i = 0; i < RUNS; i++) {
        for (int k = 0; k < 2; k++) {
            struct seen s = run_child(&ways[k]);
            prefill[k][i] = s.prefill_tps;
            decode[k][i] = s.decode_tps;
        }
        prefill[2][i] = prefill[1][i] / prefill[0][i];
        decode[2][i] = decode[1][i] / decode[0][i];
    }
    add_spread(f, "stock: prefill", "tokens/s", prefill[0]);
    add_spread(f, "ours: prefill", "tokens/s", prefill[1]);
    add_spread(f, "prefill, ours over stock", "times", prefill[2]);
    add_spread(f, "stock: decode", "tokens/s", decode[0]);
    add_spread(f, "ours: decode", "tokens/s", decode[1]);
    add_spread(f, "decode, ours over stock (asked for: 1.25 or more)", "times", decode[2]);
    return true;
}

/* ---- 5.5 ---- */

/* Both write the same types from the same file, in turn; neither has to wait for the disk behind the other's file. */
static double theirs(const char *source) {
    sync();
    return llama_tool_run(LARGE_LOG, "llama-quantize",
                          (const char *const[]){source, LARGE_DIR "/theirs.gguf", "Q3_K_M", "2", NULL});
}

static double ours(const char *source) {
    struct err e = {0};
    sync();
    double start = clock_seconds();
    bench_must(quantize_file(source, LARGE_DIR "/ours.gguf",
                             &(struct quantize_options){.type = "Q3_K_M", .n_threads = 2}, &e),
               &e);
    return clock_seconds() - start;
}

bool compress_quantise(struct figures *f) {
    static const char *const source = LARGE_F16;
    write_source();
    enum { TIMES = 5 };
    double seconds[3][TIMES];
    for (int i = 0; i < TIMES; i++) {
        if (i % 2)
            seconds[1][i] = ours(source);
        seconds[0][i] = theirs(source);
        if (i % 2 == 0)
            seconds[1][i] = ours(source);
        seconds[2][i] = seconds[1][i] / seconds[0][i];
    }
    static const char *const names[] = {"llama-quantize, Q3_K_M, 2 threads", "ours, the same",
                                        "ours over llama-quantize (asked for: 1 or less)"};
    for (int i = 0; i < 3; i++) {
        struct figure x = {.id = "5.5", .name = names[i], .unit = i < 2 ? "s" : "times"};
        figures_spread(seconds[i], TIMES, &x);
        figures_add(f, &x);
    }
    remove(LARGE_DIR "/theirs.gguf");
    remove(LARGE_DIR "/ours.gguf");
    return true;
}

/* Seconds that earlier, interrupted tries took are kept and counted. */
static double time_before(void) {
    double seconds = 0;
    json_t *j = chain_json(LARGE_DIR, "seconds.json");
    if (j)
        seconds = chain_number(j, "seconds", NULL);
    json_decref(j);
    return isfinite(seconds) ? seconds : 0;
}

static void keep_time(double seconds) {
    struct err e = {0};
    json_t *j = json_pack("{s:f}", "seconds", seconds);
    bench_must(json_file_write(LARGE_DIR "/seconds.json", j, &e), &e);
    json_decref(j);
}

bool compress_choice(struct figures *f) {
    struct err e = {0};
    struct task t;
    struct rows training, validation;
    struct compress_result r;
    static const char *const type = "Q3_K_M";
    write_source();
    claims(&t, &training, &validation);
    struct compress_request q = {.source = LARGE_F16,
                                 .folder = LARGE_DIR,
                                 .task = &t,
                                 .training = &training,
                                 .validation = &validation,
                                 .types = &type,
                                 .n_types = 1,
                                 .recovery = COMPRESS_RECOVER_NEVER,
                                 .vocabulary = {.reserve = 4000}};
    double before = time_before(), start = clock_seconds();
    int rc = compress_run(&r, &q, &e);
    keep_time(before + clock_seconds() - start);
    bench_must(rc, &e);
    figures_add(f, &(struct figure){.id = "5.5",
                                    .name = "the whole choice for a 0.6B (asked for: 30 or less)",
                                    .unit = "minutes",
                                    .value = (before + clock_seconds() - start) / 60,
                                    .n = r.n_candidates,
                                    .note = "n: candidates, measured on 24 rows; 24 rows watched; the random "
                                            "vocabulary knows few words, so a row has "
                                            "some three times as many tokens as with a real one"});
    figures_add(f, &(struct figure){.id = "5.5",
                                    .name = "tokens kept of the vocabulary",
                                    .unit = "tokens",
                                    .value = r.vocabulary.n_after,
                                    .n = r.vocabulary.n_before});
    compress_release(&r);
    rows_release(&training);
    rows_release(&validation);
    task_release(&t);
    return true;
}
