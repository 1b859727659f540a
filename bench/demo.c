/* Figure 1.2: the whole chain on the three examples, several seeds each, from the sentence to the quantised student, scored on
 * rows of the example's own world.
 *
 *     make bench-demo                              five seeds, 5,000 rows each
 *     DEMO_SEEDS=1 DEMO_ROWS=1000 make bench-demo  a quick look
 *     DEMO_BASE_ROWS=1000 make bench-demo          of them for the base, which guesses
 *     DEMO_JOBS=2 make bench-demo                  two chains at once, each on a core of its own
 *
 * A seed changes what is random in making a student: the teacher's records and the training. The held-out rows of an example
 * are the same for all its seeds, so base and teacher, which no seed changes, answer them once, in the first seed's project.
 * Work is kept under build/bench/runs/demo: a measurement that was stopped goes on where it was. For each example:
 * accuracies as mean over seeds (min and max: over seeds), and paired differences on the same rows as mean with its 95%
 * interval, in which both count: the rows that happened to be drawn and the seeds that happened to be taken. */
#include "base/file.h"
#include "base/log.h"
#include "chain.h"
#include "figures.h"
#include "format/csv.h"
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
enum { N_EXAMPLES = 3, N_WHOS = 4 };

/* Which rows were answered right, row by row: n of them. */
struct answers {
    bool *right;
    int64_t n;
};

struct runs {
    int n;
    double accuracy[N_WHOS][SEEDS_MAX];
    struct answers answers[N_WHOS][SEEDS_MAX];
    double invalid[SEEDS_MAX], minutes[SEEDS_MAX];
};

static void write_rows(const char *example, int64_t n) {
    char rule[256], count[32], path[300], log[300];
    snprintf(rule, sizeof rule, "examples/%s/rule.yaml", example);
    snprintf(count, sizeof count, "%lld", (long long)n);
    snprintf(path, sizeof path, "%s/%s.%lld-rows.csv", folder, example, (long long)n);
    snprintf(log, sizeof log, "%s/%s.rows.log", folder, example);
    if (!file_exists(path))
        chain_run(&(struct chain){folder, log},
                  (const char *const[]){chain_program("edgestill-simulate"), rule, "--rows", count,
                                        "--balanced", "--seed", "1001", "--out", path, NULL});
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

/* From the sentence to the scores; stages that are done are skipped by the verbs themselves. */
static void run_chain(const struct chain *c, const char *example, int seed, const struct sizes *z) {
    char sentence[256], rows[300], seed_text[32], project_file[600];
    snprintf(rows, sizeof rows, "%s/%s.%lld-rows.csv", folder, example, (long long)z->rows);
    snprintf(sentence, sizeof sentence, "examples/%s/task.txt", example);
    snprintf(seed_text, sizeof seed_text, "%d", seed);
    snprintf(project_file, sizeof project_file, "%s/edgestill.yaml", c->dir);
    char program[1024], limit[32];
    snprintf(program, sizeof program, "%s", chain_program("edgestill"));
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
    seconds += chain_run(
        c, (const char *const[]){program, "eval", "-C", c->dir, "--rows", rows, "--only", "student", NULL});
    snprintf(limit, sizeof limit, "%lld", (long long)z->base_rows);
    if (seed == 1) {
        chain_run(c, (const char *const[]){program, "eval", "-C", c->dir, "--rows", rows, "--only", "teacher",
                                           NULL});
        chain_run(c, (const char *const[]){program, "eval", "-C", c->dir, "--rows", rows, "--limit", limit,
                                           "--only", "base", NULL});
    }
    if (fresh) /* one that went on after a stop has no time of its own */
        write_minutes(c, seconds / 60);
}

static void read_answers(const char *dir, const char *who, struct answers *out) {
    char path[400];
    struct csv_reader *r;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/eval/%s.rows.csv", dir, who);
    int64_t capacity = 0;
    int rc = csv_reader_open(&r, path, NULL, &e);
    while (rc >= 0 && (rc = csv_reader_next(r, &e)) > 0) {
        if (out->n == capacity) {
            capacity = 2 * capacity + 1024;
            out->right = realloc(out->right, (size_t)capacity * sizeof *out->right);
            if (!out->right)
                abort();
        }
        out->right[out->n++] = strcmp(csv_reader_field(r, 1), csv_reader_field(r, 2)) == 0;
    }
    if (rc < 0) {
        log_err(&e);
        exit(1);
    }
    csv_reader_close(r);
}

/* Base and teacher are those of the first seed's project, `first`. */
static void take_scores(struct runs *r, const char *first, const char *dir, double minutes) {
    static const char *const files[N_WHOS] = {"base", "teacher", "student-f16", "student-quant"};
    int i = r->n++;
    for (int w = 0; w < N_WHOS; w++) {
        char name[64];
        const char *from = w < 2 ? first : dir;
        snprintf(name, sizeof name, "eval/%s.json", files[w]);
        json_t *j = chain_json(from, name);
        r->accuracy[w][i] = 100 * chain_number(j, "metrics", "accuracy", "value", NULL);
        if (w == 3)
            r->invalid[i] = 100 * chain_number(j, "metrics", "invalid_rate", "value", NULL);
        json_decref(j);
        read_answers(from, files[w], &r->answers[w][i]);
    }
    r->minutes[i] = minutes;
}

static void release(struct runs *r) {
    for (int w = 0; w < N_WHOS; w++)
        for (int i = 0; i < r->n; i++)
            free(r->answers[w][i].right);
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

/* The quantised student's share of right answers minus another's, in points, with the half-width of its 95% interval. A row's
 * difference is taken as its mean over the seeds; the rows' spread and the seeds' spread are independent and add up. */
static double difference(const struct runs *r, int other, double *half) {
    double by_seed[SEEDS_MAX] = {0}, sum = 0, squares = 0, mean, seeds_half = 0;
    int64_t n = r->answers[3][0].n;
    for (int i = 0; i < r->n; i++) /* base on fewer rows: the first ones */
        n = r->answers[other][i].n < n ? r->answers[other][i].n : n;
    for (int64_t row = 0; row < n; row++) {
        double d = 0;
        for (int i = 0; i < r->n; i++) {
            int one = r->answers[3][i].right[row] - r->answers[other][i].right[row];
            by_seed[i] += 100.0 * one / (double)n;
            d += 100.0 * one / r->n;
        }
        sum += d;
        squares += d * d;
    }
    chain_mean(by_seed, r->n, &mean, &seeds_half);
    double row_variance = (squares - sum * sum / (double)n) / (double)(n - 1) / (double)n;
    *half = sqrt(seeds_half * seeds_half + 1.96 * 1.96 * row_variance);
    return mean;
}

static void add_difference(struct figures *f, const char *example, const char *what, const struct runs *r,
                           int other) {
    char name[128];
    double half, mean = difference(r, other, &half);
    snprintf(name, sizeof name, "%s: quantised student minus %s", example, what);
    figures_add(f, &(struct figure){"1.2", name, "points", mean, r->n, mean - half, mean + half,
                                    "paired; min, max: 95% interval over rows and seeds"});
}

static void add_figures(struct figures *f, const char *example, const struct runs *r) {
    static const char *const names[] = {"base", "teacher", "student 16-bit", "student quantised"};
    for (int w = 0; w < N_WHOS; w++)
        add_spread(f, example, names[w], "% right", r->accuracy[w], r->n,
                   w == 0 ? "n: seeds; min, max: over seeds" : NULL);
    add_difference(f, example, "teacher", r, 1);
    add_difference(f, example, "base", r, 0);
    add_difference(f, example, "16-bit", r, 2);
    add_spread(f, example, "answers that are no label", "%", r->invalid, r->n, NULL);
    add_spread(f, example, "sentence to quantised student and its scores (teacher's and base's apart)", "min",
               r->minutes, r->n, "of those that ran without a stop, alone or beside others");
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
    for (int x = 0; x < N_EXAMPLES; x++)
        write_rows(examples[x], z.rows);
    if (run_chains(n_seeds, &z, jobs) != 0)
        return 1;
    struct figures *f = figures_new("demo");
    char text[160];
    snprintf(text, sizeof text,
             "%lld balanced rows, the same for all seeds (base: the first %lld), 1%% of labels turned round",
             (long long)z.rows, (long long)z.base_rows);
    figures_context(f, "rows", text);
    for (int x = 0; x < N_EXAMPLES; x++) {
        struct runs r = {0};
        for (int seed = 0; seed < n_seeds; seed++) {
            char dir[256], log[300];
            name_chain(x * (int)n_seeds + seed, n_seeds, dir, log);
            char first[256], first_log[300];
            name_chain(x * (int)n_seeds, n_seeds, first, first_log);
            take_scores(&r, first, dir, read_minutes(&(struct chain){dir, log}));
        }
        add_figures(f, examples[x], &r);
        release(&r);
    }
    return figures_finish(f);
}
