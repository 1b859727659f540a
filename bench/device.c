/* Figures 6.1 to 6.6: the device's program beside llama.cpp's own server, within a memory limit, emulated, under load, deployed.
 *
 *     make bench-device
 *     DEVICE_RUNS=5 DEVICE_LOAD_S=10 DEVICE_PARTS=1,5 make bench-device      a quick look at some of it
 *     DEVICE_SMALL=1                                                          small models: does the measurement run?
 *     DEVICE_THREADS=1                                                        threads of both servers (default: the cores)
 *
 * Models have real shapes and random weights (bench/shapes.h): what the weights say changes neither speed nor memory. Both servers run
 * at the same time, read the same file with the same number of threads, and are asked in turn over loopback by the same client; the
 * records change from one question to the next. Processor time is that of all threads of the server; on a machine that does other
 * work it says more than wall time. Nothing here was measured on a device. */
#include "base/clock.h"
#include "base/file.h"
#include "bench/device_parts.h"
#include "bench/serving.h"
#include "config.h"
#include "format/json.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_RUNS = 200, PREFIX = 150, RECORD = 100 };

/* ---- who answers ---- */

struct contender {
    const char *name;
    struct serving server;
    const char *path; /* where it is asked */
    bool ours, cached;
    double wall[MOST_RUNS], cpu[MOST_RUNS];
    double first_s; /* from its start to its first answer */
};

/* The request for record i. llama-server's answers are kept to the labels by a grammar. */
static void request(const struct contender *c, const struct shape_task *t, int64_t i, struct str *out) {
    if (c->ours) {
        shape_record(t, i, out);
        return;
    }
    struct str prompt = {0};
    shape_prompt(t, i, &prompt);
    str_add(out, "{\"prompt\":");
    json_text_string(out, str_text(&prompt));
    str_addf(out,
             ",\"n_predict\":%d,\"temperature\":0,\"cache_prompt\":%s,\"grammar\":\"root ::= \\\"normal\\\" "
             "| \\\"odd\\\"\"}",
             t->label_tokens + 1, c->cached ? "true" : "false");
    str_release(&prompt);
}

static double ask(struct contender *c, const struct shape_task *t, int64_t i) {
    struct str body = {0}, answer = {0};
    double seconds = 0;
    request(c, t, i, &body);
    int status = serving_ask(&c->server, c->path, str_text(&body), &answer, &seconds);
    if (status != 200) {
        fprintf(stderr, "bench: %s answered %d: %.300s\n", c->name, status, str_text(&answer));
        exit(1);
    }
    str_release(&body);
    str_release(&answer);
    return seconds;
}

static void start_ours(struct contender *c, const char *bundle) {
    char run[300], listen[32], log[300], threads[16];
    int port = free_port();
    snprintf(run, sizeof run, "%s/run", bundle);
    snprintf(log, sizeof log, "%s.log", bundle);
    snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
    snprintf(threads, sizeof threads, "%d", bench_threads());
    const char *argv[] = {run, "--serve", "--listen", listen, "--threads", threads, "--any-memory", NULL};
    serving_start(&c->server, argv, port, log);
}

static void start_llama(struct contender *c, const char *model) {
    static const char *const beginning[] = {EDGESTILL_LLAMA_SERVER};
    const char *argv[40];
    char port_text[16], threads[16];
    int n = 0, port = free_port();
    snprintf(port_text, sizeof port_text, "%d", port);
    snprintf(threads, sizeof threads, "%d", bench_threads());
    for (size_t i = 0; i < sizeof beginning / sizeof *beginning; i++)
        argv[n++] = beginning[i];
    const char *rest[] = {"--model", model,    "--ctx-size", "512",    "--threads", threads, "--parallel",
                          "1",       "--host", "127.0.0.1",  "--port", port_text,   NULL};
    for (int i = 0; (argv[n] = rest[i]); i++)
        n++;
    serving_start(&c->server, argv, port,
                  c->cached ? "build/bench/device-work/llama-cached.log"
                            : "build/bench/device-work/llama-cold.log");
}

static void first_answer(struct contender *c, const struct shape_task *t) {
    if (!serving_wait(&c->server, "/health")) {
        fprintf(stderr, "bench: %s does not start; see build/bench/device-work\n", c->name);
        exit(1);
    }
    ask(c, t, 0);
    c->first_s = clock_seconds() - c->server.start_s;
}

/* ---- 6.1 and 6.2 ---- */

/* One start after the other, so that each has the machine when it counts; then questions in turn. */
static void race(struct contender *all, int n, const struct shape_task *t, const char *bundle,
                 const char *model, int n_runs) {
    for (int i = 0; i < n; i++) {
        if (all[i].ours)
            start_ours(&all[i], bundle);
        else
            start_llama(&all[i], model);
        first_answer(&all[i], t);
    }
    for (int run = 0; run < n_runs; run++) {
        for (int i = 0; i < n; i++) {
            struct contender *c = &all[(run + i) % n];
            double before = process_cpu_s(c->server.pid);
            c->wall[run] = ask(c, t, run + 1);
            c->cpu[run] = process_cpu_s(c->server.pid) - before;
        }
    }
}

static double median(const double *values, int n) {
    double copy[MOST_RUNS];
    struct figure f = {0};
    memcpy(copy, values, (size_t)n * sizeof *copy);
    figures_spread(copy, n, &f);
    return f.value;
}

static void add_times(struct figures *f, const char *id, const char *shape, const struct contender *c,
                      int n) {
    char name[200];
    struct figure one = {.id = id, .unit = "s", .name = name, .note = "wall; min, max over the runs"};
    double copy[MOST_RUNS];
    snprintf(name, sizeof name, "%s: one decision, %s", shape, c->name);
    memcpy(copy, c->wall, (size_t)n * sizeof *copy);
    figures_spread(copy, n, &one);
    figures_add(f, &one);
    snprintf(name, sizeof name, "%s: one decision, %s, processor time", shape, c->name);
    memcpy(copy, c->cpu, (size_t)n * sizeof *copy);
    figures_spread(copy, n, &one);
    one.note = "all threads";
    figures_add(f, &one);
    snprintf(name, sizeof name, "%s: first answer after the start, %s", shape, c->name);
    figures_add(f, &(struct figure){id, name, "s", c->first_s, 1, 0, 0, "files in the page cache"});
    snprintf(name, sizeof name, "%s: peak memory, %s", shape, c->name);
    figures_add(f, &(struct figure){id, name, "MB", process_peak_bytes(c->server.pid) / 1e6, 1, 0, 0, NULL});
}

/* Medians of the pairwise ratios: both were asked within the same seconds. */
static void add_ratio(struct figures *f, const char *id, const char *shape, const struct contender *slow,
                      const struct contender *ours, int n, const char *goal) {
    char name[200];
    double ratio[MOST_RUNS];
    struct figure one = {.id = id, .unit = "times", .name = name, .note = goal};
    for (int i = 0; i < n; i++)
        ratio[i] = slow->wall[i] / ours->wall[i];
    snprintf(name, sizeof name, "%s: edgestill-run against %s", shape, slow->name);
    figures_spread(ratio, n, &one);
    figures_add(f, &one);
    snprintf(name, sizeof name, "%s: the same, processor time", shape);
    figures_add(f, &(struct figure){id, name, "times", median(slow->cpu, n) / median(ours->cpu, n), n, 0, 0,
                                    "of the medians"});
}

static void stop_all(struct contender *all, int n) {
    for (int i = 0; i < n; i++)
        serving_stop(&all[i].server);
}

static int measure_shape(struct figures *f, const struct shape_model *m, int n_runs, struct err *e) {
    char model[256], name[200];
    struct shape_task t;
    static struct contender all[3];
    all[0] = (struct contender){.name = "edgestill-run", .path = "/v1/decide", .ours = true};
    all[1] = (struct contender){.name = "llama-server, cold", .path = "/completion"};
    all[2] = (struct contender){.name = "llama-server, prompt cache", .path = "/completion", .cached = true};
    const struct shape_bundle b = {"amd64", "build/bench/device-work/race", bench_threads(), 0};
    int rc = shape_file(m, model, e);
    if (rc == 0)
        rc = shape_task_make(&t, model, PREFIX, RECORD, e);
    if (rc == 0)
        rc = shape_bundle_make(&t, model, &b, e);
    if (rc < 0)
        return rc;
    race(all, 3, &t, "build/bench/device-work/race", model, n_runs);
    for (int i = 0; i < 3; i++)
        add_times(f, "6.1", m->name, &all[i], n_runs);
    add_ratio(f, "6.1", m->name, &all[1], &all[0], n_runs, "asked for: 2.3 or more");
    add_ratio(f, "6.1", m->name, &all[2], &all[0], n_runs, "asked for: 1.1 or more");
    snprintf(name, sizeof name, "%s: first answer, edgestill-run against llama-server, cold", m->name);
    figures_add(f, &(struct figure){"6.1", name, "times", all[1].first_s / all[0].first_s, 1, 0, 0,
                                    "asked for: 3 or more"});
    stop_all(all, 3);
    shape_task_release(&t);
    return 0;
}

/* The paper's set-up beside ours: the whole vocabulary cold, against the trimmed one with the saved prefix. */
static int measure_paper(struct figures *f, int n_runs, struct err *e) {
    char full[256], trimmed[256];
    const struct shape_model *whole = shape_pick(&shape_qwen3), *less = shape_pick(&shape_qwen3_trimmed);
    struct shape_task t, small;
    static struct contender paper[1], ours[1];
    paper[0] = (struct contender){.name = "llama-server, whole vocabulary, cold", .path = "/completion"};
    ours[0] = (struct contender){.name = "edgestill-run, 16,000 tokens", .path = "/v1/decide", .ours = true};
    const struct shape_bundle b = {"amd64", "build/bench/device-work/trimmed", bench_threads(), 0};
    int rc = shape_file(whole, full, e);
    if (rc == 0)
        rc = shape_file(less, trimmed, e);
    if (rc == 0)
        rc = shape_task_make(&t, full, PREFIX, RECORD, e);
    if (rc == 0)
        rc = shape_task_make(&small, trimmed, PREFIX, RECORD, e);
    if (rc == 0)
        rc = shape_bundle_make(&small, trimmed, &b, e);
    if (rc < 0)
        return rc;
    race(paper, 1, &t, NULL, full, 0);
    race(ours, 1, &small, "build/bench/device-work/trimmed", trimmed, 0);
    for (int run = 0; run < n_runs; run++) {
        struct contender *two[] = {paper, ours};
        for (int i = 0; i < 2; i++) {
            struct contender *c = two[(run + i) % 2];
            double before = process_cpu_s(c->server.pid);
            c->wall[run] = ask(c, c == ours ? &small : &t, run + 1);
            c->cpu[run] = process_cpu_s(c->server.pid) - before;
        }
    }
    add_times(f, "6.2", whole->name, paper, n_runs);
    add_times(f, "6.2", less->name, ours, n_runs);
    add_ratio(f, "6.2", whole->name, paper, ours, n_runs,
              "asked for: 6 or more on one core, with issue 5's prompt form, which is not in this");
    figures_add(f, &(struct figure){"6.2", "qwen3-0.6b: peak memory, ours of the paper's", "%",
                                    100 * process_peak_bytes(ours->server.pid) /
                                        process_peak_bytes(paper->server.pid),
                                    1, 0, 0, "asked for: 60 or less"});
    stop_all(paper, 1);
    stop_all(ours, 1);
    shape_task_release(&t);
    shape_task_release(&small);
    return 0;
}

/* ---- the whole ---- */

int bench_threads(void) {
    static int cores;
    if (!cores)
        cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return (int)chain_setting("DEVICE_THREADS", cores);
}

static bool wanted(char part) {
    const char *parts = getenv("DEVICE_PARTS");
    return !parts || !*parts || strchr(parts, part);
}

static void report(struct figures *f, const char *id, const char *name, int rc, struct err *e) {
    if (rc < 0)
        figures_skip(f, id, name, e->message);
    *e = (struct err){0};
}

int main(void) {
    struct err e = {0};
    char text[64];
    int n_runs = (int)chain_setting("DEVICE_RUNS", 9);
    struct figures *f = figures_new("device");
    if (n_runs > MOST_RUNS || file_make_folders("build/bench/device-work", &e) < 0 ||
        lm_backend_init(NULL, &e) < 0) {
        fprintf(stderr, "bench: at most %d runs; %s\n", MOST_RUNS, e.message);
        return 2;
    }
    setenv("GOMP_SPINCOUNT", "10000", 0); /* for both servers: threads that wait soon sleep */
    snprintf(text, sizeof text, "%d threads of %ld cores, kernels %s", bench_threads(),
             sysconf(_SC_NPROCESSORS_ONLN), lm_backend_name());
    figures_context(f, "machine", text);
    if (wanted('1')) {
        report(f, "6.1", "qwen3-0.6b", measure_shape(f, shape_pick(&shape_qwen3), n_runs, &e), &e);
        report(f, "6.1", "tinyllama-1.1b", measure_shape(f, shape_pick(&shape_tinyllama), n_runs, &e), &e);
    }
    if (wanted('2'))
        report(f, "6.2", "against the paper's set-up", measure_paper(f, n_runs, &e), &e);
    if (wanted('3'))
        report(f, "6.3", "within a memory limit", bench_memory_limit(f, &e), &e);
    if (wanted('4'))
        report(f, "6.4", "emulated self-tests", bench_emulated(f, &e), &e);
    if (wanted('5'))
        report(f, "6.5", "HTTP under load", bench_load(f, &e), &e);
    if (wanted('6'))
        report(f, "6.6", "deployment", bench_deployment(f, &e), &e);
    return figures_finish(f);
}
