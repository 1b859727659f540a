/* Figure 1.2: the whole chain on the three examples, several seeds each, from the sentence to the quantised student, scored on
 * rows of the example's own world.
 *
 *     make bench-demo                              five seeds, 5,000 rows each
 *     DEMO_SEEDS=1 DEMO_ROWS=1000 make bench-demo  a quick look
 *     DEMO_BASE_ROWS=1000 make bench-demo          of them for the base, which guesses
 *     DEMO_JOBS=2 make bench-demo                  two chains at once, each on a core of its own
 *
 * A seed changes everything random: the teacher's records, the training, the held-out rows. Work is kept under
 * build/bench/runs/demo, so a measurement that was stopped goes on where it was. For each example: accuracies as mean over seeds
 * (min and max: over seeds), and paired differences (same rows, same seed) as mean with its 95% interval by Student's t
 * over the seeds, which are the independent repetitions. */
#include "base/file.h"
#include "chain.h"
#include "figures.h"
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS_MAX = 20, JOBS_MAX = 16 };
struct sizes {
    int64_t rows, base_rows; /* the base guesses: fewer rows tell as much of it */
};
static const char folder[] = "build/bench/runs/demo";
static const char *const examples[] = {"healthcare-claims", "cold-chain", "line-maintenance"};
static const char *const whos[] = {"base", "teacher", "student_f16", "student_quant"};
enum { N_EXAMPLES = 3, N_WHOS = 4 };

struct runs {
    int n;
    double accuracy[N_WHOS][SEEDS_MAX];
    double to_teacher[SEEDS_MAX], to_base[SEEDS_MAX], to_f16[SEEDS_MAX]; /* student_quant minus them */
    double invalid[SEEDS_MAX], minutes[SEEDS_MAX];
};

static void write_rows(const struct chain *c, const char *example, int seed, int64_t n, char *path,
                       size_t size) {
    char rule[256], count[32], rows_seed[32];
    snprintf(rule, sizeof rule, "examples/%s/rule.yaml", example);
    snprintf(count, sizeof count, "%lld", (long long)n);
    snprintf(rows_seed, sizeof rows_seed, "%d", 1000 + seed);
    snprintf(path, size, "%s.%lld-rows.csv", c->dir, (long long)n);
    if (!file_exists(path))
        chain_run(c, (const char *const[]){chain_program("edgestill-simulate"), rule, "--rows", count,
                                           "--balanced", "--seed", rows_seed, "--out", path, NULL});
}

/* The minutes that a chain took when it was run, beside its folder; NAN: it has not been. */
static double read_minutes(const struct chain *c) {
    char path[300];
    double minutes = NAN;
    snprintf(path, sizeof path, "%s.minutes", c->dir);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lf", &minutes) != 1)
        minutes = NAN;
    if (f)
        fclose(f);
    return minutes;
}

static void write_minutes(const struct chain *c, double minutes) {
    char path[300];
    snprintf(path, sizeof path, "%s.minutes", c->dir);
    FILE *f = fopen(path, "w");
    if (f) {
        fprintf(f, "%.3f\n", minutes);
        fclose(f);
    }
}

/* From the sentence to eval/summary.json; stages that are done are skipped by the verbs themselves. */
static void run_chain(const struct chain *c, const char *example, int seed, const struct sizes *z) {
    char sentence[256], rows[600], seed_text[32], project_file[600];
    snprintf(sentence, sizeof sentence, "examples/%s/task.txt", example);
    snprintf(seed_text, sizeof seed_text, "%d", seed);
    snprintf(project_file, sizeof project_file, "%s/edgestill.yaml", c->dir);
    char program[1024], limit[32];
    snprintf(program, sizeof program, "%s", chain_program("edgestill"));
    write_rows(c, example, seed, z->rows, rows, sizeof rows);
    bool fresh = !file_exists(project_file);
    double seconds = 0;
    if (fresh) {
        char *task = chain_text(sentence);
        seconds +=
            chain_run(c, (const char *const[]){program, "init", c->dir, "--task", task, "--device",
                                               "rpi5-8gb", "--base", "embedded", "--seed", seed_text, NULL});
        free(task);
    }
    seconds += chain_run(
        c, (const char *const[]){program, "run", "-C", c->dir, "--yes", "--until", "compress", NULL});
    snprintf(limit, sizeof limit, "%lld", (long long)z->base_rows);
    seconds += chain_run(c, (const char *const[]){program, "eval", "-C", c->dir, "--rows", rows, "--limit",
                                                  limit, "--only", "base", NULL});
    seconds += chain_run(c, (const char *const[]){program, "eval", "-C", c->dir, "--rows", rows, "--only",
                                                  "student,teacher", NULL});
    if (fresh) /* one that went on after a stop has no time of its own */
        write_minutes(c, seconds / 60);
}

static void take_summary(struct runs *r, const json_t *summary, const json_t *base, double minutes) {
    int i = r->n++;
    for (int w = 1; w < N_WHOS; w++)
        r->accuracy[w][i] = 100 * chain_number(summary, whos[w], "accuracy", NULL);
    r->accuracy[0][i] = 100 * chain_number(base, "metrics", "accuracy", "value", NULL);
    r->to_base[i] = r->accuracy[3][i] - r->accuracy[0][i];
    r->to_teacher[i] = r->accuracy[3][i] - r->accuracy[1][i];
    r->to_f16[i] = r->accuracy[3][i] - r->accuracy[2][i];
    r->invalid[i] = 100 * chain_number(summary, "student_quant", "invalid_rate", NULL);
    r->minutes[i] = minutes;
}

static void add_spread(struct figures *f, const char *example, const char *what, const char *unit,
                       const double *values, int n, const char *note) {
    char name[128];
    double mean, half, low = INFINITY, high = -INFINITY;
    snprintf(name, sizeof name, "%s: %s", example, what);
    chain_mean(values, n, &mean, &half);
    for (int i = 0; i < n; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    figures_add(f, &(struct figure){"1.2", name, unit, mean, n, low, high, note});
}

static void add_difference(struct figures *f, const char *example, const char *what, const double *values,
                           int n) {
    char name[128];
    double mean, half;
    snprintf(name, sizeof name, "%s: quantised student minus %s", example, what);
    chain_mean(values, n, &mean, &half);
    figures_add(f, &(struct figure){"1.2", name, "points", mean, n, mean - half, mean + half,
                                    "min, max: 95% interval of the mean over seeds"});
}

static void add_figures(struct figures *f, const char *example, const struct runs *r) {
    static const char *const names[] = {"base", "teacher", "student 16-bit", "student quantised"};
    for (int w = 0; w < N_WHOS; w++)
        add_spread(f, example, names[w], "% right", r->accuracy[w], r->n,
                   w == 0 ? "n: seeds; min, max: over seeds" : NULL);
    add_difference(f, example, "teacher", r->to_teacher, r->n);
    add_difference(f, example, "base", r->to_base, r->n);
    add_difference(f, example, "16-bit", r->to_f16, r->n);
    add_spread(f, example, "answers that are no label", "%", r->invalid, r->n, NULL);
    add_spread(f, example, "sentence to quantised student and its scores", "min", r->minutes, r->n,
               "of those that ran without a stop, alone or beside others");
}

static void name_chain(int i, int64_t n_seeds, char dir[256], char log[300]) {
    snprintf(dir, 256, "%s/%s-%d", folder, examples[i / n_seeds], (int)(i % n_seeds) + 1);
    snprintf(log, 300, "%s.log", dir);
}

/* In a process of its own. Several at once take a core each, so that none waits for another's threads. */
static pid_t start_chain(int i, int64_t n_seeds, const struct sizes *z, int core) {
    char dir[256], log[300];
    name_chain(i, n_seeds, dir, log);
    printf("%s, seed %d of %d (log: %s)\n", examples[i / n_seeds], (int)(i % n_seeds) + 1, (int)n_seeds, log);
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(core, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    run_chain(&(struct chain){dir, log}, examples[i / n_seeds], (int)(i % n_seeds) + 1, z);
    exit(0);
}

/* Runs all chains, `jobs` at once; one that fails ends the measurement when the others have ended. Seeds go round the
 * examples, so that a measurement that was stopped has something of each. */
static int run_chains(int64_t n_seeds, const struct sizes *z, int64_t jobs) {
    int n = N_EXAMPLES * (int)n_seeds, next = 0, failed = 0;
    pid_t running[JOBS_MAX] = {0};
    for (int under_way = 0; next < n || under_way > 0;) {
        for (int j = 0; j < jobs && next < n && !failed; j++) {
            if (running[j])
                continue;
            int i = next % N_EXAMPLES * (int)n_seeds + next / N_EXAMPLES;
            next++;
            under_way++;
            running[j] = start_chain(i, n_seeds, z, jobs > 1 ? j : -1);
        }
        int status = 0;
        pid_t ended = wait(&status);
        for (int j = 0; j < jobs; j++)
            running[j] = running[j] == ended ? 0 : running[j];
        under_way--;
        failed |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        if (failed)
            next = n;
    }
    return failed;
}

int main(void) {
    int64_t n_seeds = chain_setting("DEMO_SEEDS", 5), jobs = chain_setting("DEMO_JOBS", 1);
    struct sizes z = {.rows = chain_setting("DEMO_ROWS", 5000)};
    z.base_rows = chain_setting("DEMO_BASE_ROWS", z.rows);
    if (n_seeds > SEEDS_MAX || jobs > JOBS_MAX || file_make_folders(folder, NULL) < 0) {
        fprintf(stderr, "bench: at most %d seeds and %d at once, and %s must be writable\n", (int)SEEDS_MAX,
                (int)JOBS_MAX, folder);
        return 2;
    }
    if (run_chains(n_seeds, &z, jobs) != 0)
        return 1;
    struct figures *f = figures_new("demo");
    char text[128];
    snprintf(text, sizeof text, "%lld balanced rows a seed (base: %lld), 1%% of labels turned round",
             (long long)z.rows, (long long)z.base_rows);
    figures_context(f, "rows", text);
    for (int x = 0; x < N_EXAMPLES; x++) {
        struct runs r = {0};
        for (int seed = 0; seed < n_seeds; seed++) {
            char dir[256], log[300];
            name_chain(x * (int)n_seeds + seed, n_seeds, dir, log);
            json_t *summary = chain_json(dir, "eval/summary.json");
            json_t *base = chain_json(dir, "eval/base.json");
            take_summary(&r, summary, base, read_minutes(&(struct chain){dir, log}));
            json_decref(base);
            json_decref(summary);
        }
        add_figures(f, examples[x], &r);
    }
    return figures_finish(f);
}
