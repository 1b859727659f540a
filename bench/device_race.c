/* Racing servers and programs: all ready at once, asked in turn, so that the machine's moods meet them alike. */
#include "bench/device_race.h"
#include "base/clock.h"
#include "base/file.h"
#include "bench/device_choice.h"
#include "bench/device_parts.h"
#include "bench/serving.h"
#include "config.h"
#include "format/json.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORK "build/bench/device-work"

enum { MOST_RUNS = 200, MOST_STARTS = 20, MOST_WORDS = 40 };
enum kind { OURS, LLAMA_COLD, LLAMA_CACHED };

extern char **environ;

struct contender {
    const char *name;
    enum kind kind;
    const struct shape_task *task;
    const char *from; /* the bundle's folder, or the model's file */
    int n_threads;
    struct serving server;
    int n_runs, n_starts;
    double wall[MOST_RUNS], cpu[MOST_RUNS];
    double first_s[MOST_STARTS]; /* from a start to its first answer */
    double once_s[MOST_STARTS];  /* a program for one answer, from its start to its end */
};

static struct contender contender(const char *name, enum kind kind, const struct shape_task *t,
                                  const char *from, int n_threads) {
    return (struct contender){.name = name, .kind = kind, .task = t, .from = from, .n_threads = n_threads};
}

/* ---- commands ---- */

struct words {
    const char *list[MOST_WORDS + 1];
    int n;
    char threads[16], port[32], run[300], program[600];
};

static void add(struct words *w, const char *const more[]) {
    for (; *more && w->n < MOST_WORDS; more++)
        w->list[w->n++] = *more;
}

/* One of llama.cpp's programs, through the loader that belongs to it, all beside its server. */
static void add_llama(struct words *w, const char *program) {
    static const char *const server[] = {EDGESTILL_LLAMA_SERVER};
    enum { N = sizeof server / sizeof *server };
    for (int i = 0; i < N - 1; i++)
        w->list[w->n++] = server[i];
    const char *slash = strrchr(server[N - 1], '/');
    snprintf(w->program, sizeof w->program, "%.*s%s", slash ? (int)(slash + 1 - server[N - 1]) : 0,
             server[N - 1], program);
    w->list[w->n++] = w->program;
}

static void serving_words(struct words *w, const struct contender *c, int port) {
    *w = (struct words){0};
    snprintf(w->threads, sizeof w->threads, "%d", c->n_threads);
    setenv("OPENBLAS_NUM_THREADS", w->threads, 1); /* its BLAS does not keep to --threads */
    if (c->kind == OURS) {
        snprintf(w->run, sizeof w->run, "%s/run", c->from);
        snprintf(w->port, sizeof w->port, "127.0.0.1:%d", port);
        add(w, (const char *const[]){w->run, "--serve", "--listen", w->port, "--threads", w->threads,
                                     "--any-memory", NULL});
        return;
    }
    snprintf(w->port, sizeof w->port, "%d", port);
    add_llama(w, "llama-server");
    add(w, (const char *const[]){"--model", c->from, "--ctx-size", "512", "--threads", w->threads,
                                 "--parallel", "1", "--host", "127.0.0.1", "--port", w->port, NULL});
}

static const char grammar[] = "root ::= \"good\" | \"weak\"";

/* The same question to a program that ends with the answer. */
static void once_words(struct words *w, const struct contender *c, const char *question) {
    *w = (struct words){0};
    snprintf(w->threads, sizeof w->threads, "%d", c->n_threads);
    snprintf(w->port, sizeof w->port, "%d", c->task->label_tokens + 1);
    if (c->kind == OURS) {
        snprintf(w->run, sizeof w->run, "%s/run", c->from);
        add(w, (const char *const[]){w->run, "--threads", w->threads, "--any-memory", question, NULL});
        return;
    }
    add_llama(w, "llama-completion");
    add(w, (const char *const[]){"--model", c->from, "--ctx-size", "512", "--threads", w->threads, "-no-cnv",
                                 "--simple-io", "--no-display-prompt", "--temp", "0", "-n", w->port,
                                 "--grammar", grammar, "--prompt", question, NULL});
}

/* ---- asking ---- */

/* Record i as each is asked for it. llama-server's answers are kept to the labels by a grammar. */
static void request(const struct contender *c, int64_t i, struct str *out) {
    struct str prompt = {0};
    if (c->kind == OURS) {
        shape_record(c->task, i, out);
        return;
    }
    shape_prompt(c->task, i, &prompt);
    str_add(out, "{\"prompt\":");
    json_text_string(out, str_text(&prompt));
    str_addf(out, ",\"n_predict\":%d,\"temperature\":0,\"cache_prompt\":%s,\"grammar\":",
             c->task->label_tokens + 1, c->kind == LLAMA_CACHED ? "true" : "false");
    json_text_string(out, grammar);
    str_add_char(out, '}');
    str_release(&prompt);
}

static double ask(struct contender *c, int64_t i) {
    struct str body = {0}, answer = {0};
    double seconds = 0;
    request(c, i, &body);
    int status = serving_ask(&c->server, c->kind == OURS ? "/v1/decide" : "/completion", str_text(&body),
                             &answer, &seconds);
    if (status != 200) {
        fprintf(stderr, "bench: %s answered %d: %.300s\n", c->name, status, str_text(&answer));
        exit(1);
    }
    str_release(&body);
    str_release(&answer);
    return seconds;
}

static void start(struct contender *c) {
    struct words w;
    int port = free_port();
    static const char *const logs[] = {WORK "/ours.log", WORK "/llama-cold.log", WORK "/llama-cached.log"};
    serving_words(&w, c, port);
    serving_start(&c->server, w.list, port, logs[c->kind]);
    if (!serving_wait(&c->server, "/health")) {
        fprintf(stderr, "bench: %s does not start; see %s\n", c->name, logs[c->kind]);
        exit(1);
    }
    ask(c, c->n_starts);
    c->first_s[c->n_starts++] = clock_seconds() - c->server.start_s;
}

static double once(const struct contender *c, int64_t i) {
    struct words w;
    struct str question = {0};
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int status = 0;
    c->kind == OURS ? shape_record(c->task, i, &question) : shape_prompt(c->task, i, &question);
    once_words(&w, c, str_text(&question));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, WORK "/once.log", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    double before = clock_seconds();
    if (posix_spawnp(&pid, w.list[0], &actions, NULL, (char *const *)(uintptr_t)w.list, environ) != 0)
        pid = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    double seconds = clock_seconds() - before;
    posix_spawn_file_actions_destroy(&actions);
    str_release(&question);
    if (pid <= 0 || status != 0) {
        fprintf(stderr, "bench: %s does not answer from the command line; see " WORK "/once.log\n", c->name);
        exit(1);
    }
    return seconds;
}

/* Starts one after the other, so that each has the machine when it counts, several times; then questions in turn. */
static void race(struct contender *all, int n) {
    int n_runs = (int)chain_setting("DEVICE_RUNS", 9), n_starts = (int)chain_setting("DEVICE_STARTS", 9);
    n_runs = n_runs < MOST_RUNS ? n_runs : MOST_RUNS;
    n_starts = n_starts < MOST_STARTS ? n_starts : MOST_STARTS;
    for (int s = 0; s < n_starts; s++) {
        for (int i = 0; i < n; i++) {
            struct contender *c = &all[(s + i) % n];
            serving_stop(&c->server);
            start(c);
        }
    }
    for (int run = 0; run < n_runs; run++) {
        for (int i = 0; i < n; i++) {
            struct contender *c = &all[(run + i) % n];
            double before = process_cpu_s(c->server.pid);
            c->wall[run] = ask(c, run + n_starts);
            c->cpu[run] = process_cpu_s(c->server.pid) - before;
            c->n_runs = run + 1;
        }
    }
}

/* ---- figures ---- */

static struct figure spread(const double *values, int n) {
    double copy[MOST_RUNS];
    struct figure f = {0};
    memcpy(copy, values, (size_t)n * sizeof *copy);
    figures_spread(copy, n, &f);
    return f;
}

static void add_spread(struct figures *f, const char *id, const char *name, const char *unit,
                       const struct figure *values, const char *note) {
    struct figure one = *values;
    one.id = id;
    one.name = name;
    one.unit = unit;
    one.note = note;
    figures_add(f, &one);
}

static void add_times(struct figures *f, const char *id, const char *shape, const struct contender *c) {
    char name[200];
    struct figure wall = spread(c->wall, c->n_runs), cpu = spread(c->cpu, c->n_runs),
                  first = spread(c->first_s, c->n_starts);
    snprintf(name, sizeof name, "%s: one decision, %s", shape, c->name);
    add_spread(f, id, name, "s", &wall, "wall; min, max over the runs");
    snprintf(name, sizeof name, "%s: one decision, %s, processor time", shape, c->name);
    add_spread(f, id, name, "s", &cpu, "all threads");
    snprintf(name, sizeof name, "%s: first answer after the start, %s", shape, c->name);
    add_spread(f, id, name, "s", &first, "files in the page cache");
    snprintf(name, sizeof name, "%s: peak memory, %s", shape, c->name);
    figures_add(f, &(struct figure){id, name, "MB", process_peak_bytes(c->server.pid) / 1e6, 1, 0, 0,
                                    "resident, the model's file included"});
}

/* Pairwise ratios: both were asked within the same seconds. */
static struct figure ratios(const double *slow, const double *ours, int n) {
    double ratio[MOST_RUNS];
    for (int i = 0; i < n; i++)
        ratio[i] = slow[i] / ours[i];
    return spread(ratio, n);
}

static void add_ratio(struct figures *f, const char *id, const char *shape, const struct contender *slow,
                      const struct contender *ours, const char *goal) {
    char name[200];
    struct figure wall = ratios(slow->wall, ours->wall, ours->n_runs);
    snprintf(name, sizeof name, "%s: edgestill-run against %s", shape, slow->name);
    add_spread(f, id, name, "times", &wall, goal);
    snprintf(name, sizeof name, "%s: edgestill-run against %s, processor time", shape, slow->name);
    figures_add(
        f, &(struct figure){id, name, "times",
                            spread(slow->cpu, slow->n_runs).value / spread(ours->cpu, ours->n_runs).value,
                            ours->n_runs, 0, 0, "of the medians"});
}

static void race_once(struct figures *f, const char *shape, struct contender *ours, struct contender *cold) {
    char name[200];
    struct figure a, b, r;
    for (int i = 0; i < ours->n_starts; i++) {
        cold->once_s[i] = once(cold, i);
        ours->once_s[i] = once(ours, i);
    }
    a = spread(ours->once_s, ours->n_starts);
    b = spread(cold->once_s, ours->n_starts);
    r = ratios(cold->once_s, ours->once_s, ours->n_starts);
    snprintf(name, sizeof name, "%s: one answer from the command line, edgestill-run", shape);
    add_spread(f, "6.1", name, "s", &a, "start to end");
    snprintf(name, sizeof name, "%s: one answer from the command line, llama.cpp", shape);
    add_spread(f, "6.1", name, "s", &b, "llama-completion, llama-cli's part that answers once");
    snprintf(name, sizeof name, "%s: the same, edgestill-run against llama.cpp", shape);
    add_spread(f, "6.1", name, "times", &r, NULL);
}

static void add_shape(struct figures *f, const char *id, const struct shape_task *t, const char *shape) {
    char name[200];
    snprintf(name, sizeof name, "%s: tokens before and of a record", shape);
    figures_add(f, &(struct figure){id, name, "tokens", (double)(t->prefix_tokens + t->record_tokens), 1,
                                    (double)t->prefix_tokens, (double)t->record_tokens,
                                    "their sum; min the prefix, max the record with the answer's opening"});
}

/* ---- 6.1 ---- */

int bench_race(struct figures *f, const struct shape_model *m, struct err *e) {
    char model[256], name[200];
    struct shape_task t;
    int threads = bench_threads();
    const struct shape_bundle b = {.arch = "amd64", .folder = WORK "/race", .n_threads = threads};
    const struct shape_request q = {.n_prefix = 150, .n_record = 100};
    static struct contender all[3];
    all[0] = contender("edgestill-run", OURS, &t, b.folder, threads);
    all[1] = contender("llama-server, cold", LLAMA_COLD, &t, model, threads);
    all[2] = contender("llama-server, prompt cache", LLAMA_CACHED, &t, model, threads);
    int rc = shape_file(m, NULL, model, e);
    if (rc == 0)
        rc = shape_task_make(&t, model, &q, e);
    if (rc < 0)
        return rc;
    rc = shape_bundle_make(&t, model, &b, e);
    if (rc == 0) {
        race(all, 3);
        add_shape(f, "6.1", &t, m->name);
        for (int i = 0; i < 3; i++)
            add_times(f, "6.1", m->name, &all[i]);
        add_ratio(f, "6.1", m->name, &all[1], &all[0], "asked for: 2.3 or more");
        add_ratio(f, "6.1", m->name, &all[2], &all[0], "asked for: 1.1 or more");
        struct figure first = ratios(all[1].first_s, all[0].first_s, all[0].n_starts);
        snprintf(name, sizeof name, "%s: first answer, edgestill-run against llama-server, cold", m->name);
        add_spread(f, "6.1", name, "times", &first, "asked for: 3 or more");
        for (int i = 0; i < 3; i++)
            serving_stop(&all[i].server);
        race_once(f, m->name, &all[0], &all[1]);
    }
    shape_task_release(&t);
    return rc;
}

/* ---- 6.2 ---- */

/* Ours, by its file: the one that compress picks for this machine, which is compared, and the stock file's types beside it. */
enum { CHOSEN, AS_STOCK, N_OURS };
static const struct {
    const char *what, *name, *folder;
} ours[N_OURS] = {
    {"qwen3-0.6b, ours as compress picks it", "edgestill-run, compress's choice, compact form",
     WORK "/chosen"},
    {"qwen3-0.6b, ours as Q3_K_M", "edgestill-run, 16,000 tokens as Q3_K_M, compact form", WORK "/trimmed"}};

struct paper {
    struct shape_task full, small; /* written out; in the compact form */
    char stock[256], trimmed[256];
    struct device_choice chosen;
};

static int paper_threads(void) {
    return (int)chain_setting("DEVICE_THREADS", 1);
}

static int make_paper(struct paper *p, struct err *e) {
    struct shape_request q = {.n_prefix = 150, .n_record = 100, .short_values = true};
    int rc = shape_file(shape_pick(&shape_qwen3), NULL, p->stock, e);
    if (rc == 0)
        rc = shape_task_make(&p->full, p->stock, &q, e);
    q.form = (struct prompt_form){PROMPT_NONE, PROMPT_COMPACT};
    if (rc == 0)
        rc = shape_task_make(&p->small, p->stock, &q, e);
    if (rc == 0)
        rc = shape_file(shape_pick(&shape_qwen3_trimmed), p->small.prompt.tag, p->trimmed, e);
    return rc < 0 ? rc : device_choice_make(&p->chosen, &p->small, paper_threads(), e);
}

static void paper_release(struct paper *p) {
    shape_task_release(&p->full);
    shape_task_release(&p->small);
}

int bench_paper_shapes(struct err *e) {
    struct paper p = {0};
    int rc = make_paper(&p, e);
    paper_release(&p);
    return rc;
}

static void add_paper(struct figures *f, struct paper *p, struct contender *all) {
    const char *shape = "qwen3-0.6b";
    char name[200];
    add_shape(f, "6.2", &p->full, "the paper's set-up");
    add_shape(f, "6.2", &p->small, "ours");
    figures_add(f, &(struct figure){"6.2", "qwen3-0.6b: the file that compress picks", "MB",
                                    (double)file_size(p->chosen.path) / 1e6, 1, 0, 0, p->chosen.types});
    for (int i = 0; i < 1 + N_OURS; i++)
        add_times(f, "6.2", shape, &all[i]);
    for (int i = 1; i < 1 + N_OURS; i++) {
        add_ratio(f, "6.2", ours[i - 1].what, &all[0], &all[i],
                  i == 1 ? "asked for: 6 or more, on one core" : NULL);
        snprintf(name, sizeof name, "%s: peak memory, of the paper's set-up", ours[i - 1].what);
        figures_add(f, &(struct figure){"6.2", name, "%",
                                        100 * process_peak_bytes(all[i].server.pid) /
                                            process_peak_bytes(all[0].server.pid),
                                        1, 0, 0, "asked for: 60 or less"});
    }
}

int bench_paper(struct figures *f, struct err *e) {
    struct paper p = {0};
    static struct contender all[1 + N_OURS];
    int threads = paper_threads();
    int rc = make_paper(&p, e);
    all[0] = contender("llama-server, whole vocabulary, cold", LLAMA_COLD, &p.full, p.stock, threads);
    for (int i = 0; i < N_OURS && rc == 0; i++) {
        /* context and batch cut to what the task needs, as a plan does */
        const struct shape_bundle b = {
            .arch = "amd64", .folder = ours[i].folder, .n_threads = threads, .n_ctx = 64, .n_batch = 64};
        all[i + 1] = contender(ours[i].name, OURS, &p.small, b.folder, threads);
        rc = shape_bundle_make(&p.small, i == CHOSEN ? p.chosen.path : p.trimmed, &b, e);
    }
    if (rc == 0) {
        race(all, 1 + N_OURS);
        add_paper(f, &p, all);
        for (int i = 0; i < 1 + N_OURS; i++)
            serving_stop(&all[i].server);
    }
    paper_release(&p);
    return rc;
}
