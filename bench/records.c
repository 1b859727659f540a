/* Figure 3.4: what a record is worth. The demonstration task's student against the number of records it was trained on (100,
 * 200, 400, 800), with and without error-driven rounds, three seeds, scored on rows of the task's own world.
 *
 *     make bench-records                                  three seeds
 *     RECORDS_SEEDS=1 RECORDS_MOST=400 make bench-records  a part of it; a later call goes on from there
 *     RECORDS_THREADS=1                                    on a machine with other work
 *
 * Both arms share 80 validation rows and everything else but where the later half of their training records come from: without
 * rounds from the same quota grid as the first half; with rounds half of the records come from the grid, then two rounds of a
 * quarter each from where the student was wrong on the validation rows. A round that finds no error is replaced by records of
 * the grid. Work is kept under build/bench/runs/records, a result for each point, so that a measurement goes on where it was
 * stopped. */
#include "base/file.h"
#include "chain.h"
#include "figures.h"
#include "format/json.h"
#include "store/store.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS_MAX = 9, N_VALIDATION = 80, N_FIRST = 120, N_STAGES = 5 };
static const int stages[N_STAGES] = {50, 100, 200, 400, 800};
static const char *const arms[] = {"from the grid", "with rounds"};
static const char *const example = "examples/healthcare-claims";

struct point { /* one arm of one seed at one number of records */
    struct chain chain;
    int seed, n;
    char dir[256], log[300], rows[256], result[300];
    int64_t main_set; /* records of the grid, validation rows among them */
};

static const char *number(char text[32], int64_t n) {
    snprintf(text, 32, "%lld", (long long)n);
    return text;
}

static void run_verb(const struct point *p, const char *const more[]) {
    const char *argv[24] = {chain_program("edgestill"), more[0], "-C", p->dir};
    int n = 4;
    for (int i = 1; more[i]; i++)
        argv[n++] = more[i];
    chain_run(&p->chain, argv);
}

static void train(const struct point *p) {
    const char *threads = getenv("RECORDS_THREADS");
    run_verb(p, (const char *const[]){"train", threads ? "--threads" : NULL, threads, NULL});
}

static void grow(const struct point *p) {
    char records[32];
    run_verb(p, (const char *const[]){"generate", "--records", number(records, p->main_set), "--split",
                                      "100/0/0", NULL});
}

static void begin(const struct point *p) {
    char path[300], sentence[256], seed[32], records[32];
    snprintf(path, sizeof path, "%s/edgestill.yaml", p->dir);
    if (!file_exists(path)) {
        snprintf(sentence, sizeof sentence, "%s/task.txt", example);
        char *task = chain_text(sentence);
        chain_run(&p->chain, (const char *const[]){chain_program("edgestill"), "init", p->dir, "--task", task,
                                                   "--device", "rpi5-8gb", "--base", "embedded", "--seed",
                                                   number(seed, p->seed), NULL});
        free(task);
    }
    run_verb(p, (const char *const[]){"run", "--yes", "--until", "plan", NULL});
    run_verb(p, (const char *const[]){"generate", "--records", number(records, N_FIRST), "--split", "33/67/0",
                                      NULL});
}

static int64_t count(const struct point *p, enum store_split split) {
    struct store *s = NULL;
    char path[300];
    int64_t n = 0;
    snprintf(path, sizeof path, "%s/records.sqlite", p->dir);
    if (store_open(&s, path, STORE_READ, NULL) < 0 || store_accepted_count(s, split, &n, NULL) < 0) {
        fprintf(stderr, "bench: %s cannot be read\n", path);
        exit(1);
    }
    store_close(s);
    return n;
}

static void score(const struct point *p) {
    run_verb(p,
             (const char *const[]){"eval", "--rows", p->rows, "--only", "student-f16", "--free", "0", NULL});
    json_t *summary = chain_json(p->dir, "eval/summary.json");
    json_t *out = json_pack(
        "{s:f, s:I, s:I}", "accuracy", chain_number(summary, "student_f16", "accuracy", NULL), "train",
        (json_int_t)count(p, STORE_TRAIN), "validation", (json_int_t)count(p, STORE_VALIDATION));
    if (json_file_write(p->result, out, NULL) < 0)
        exit(1);
    json_decref(out);
    json_decref(summary);
}

/* Half of the records are there: the other half from where the student is wrong. */
static void work_in_rounds(struct point *p) {
    char records[32], size[32], most[32];
    number(size, p->n / 4);
    for (int round = 1; round <= 2; round++) {
        run_verb(p,
                 (const char *const[]){"generate", "--where-wrong", "--records", number(records, p->main_set),
                                       "--split", "100/0/0", "--rounds", number(most, round),
                                       "--round-records", size, "--least-gain", "-1e9", NULL});
        train(p);
    }
    int64_t missing = p->n - count(p, STORE_TRAIN);
    if (missing <= 0)
        return;
    p->main_set += missing;
    grow(p);
    train(p);
}

static struct point make_point(const char *folder, int seed, int arm, int n) {
    struct point p = {.seed = seed, .n = n, .main_set = n + N_VALIDATION};
    if (arm == 0)
        snprintf(p.dir, sizeof p.dir, "%s/%d", folder, seed);
    else
        snprintf(p.dir, sizeof p.dir, "%s/%d-rounds-%d", folder, seed, n);
    snprintf(p.log, sizeof p.log, "%s.log", p.dir);
    snprintf(p.rows, sizeof p.rows, "%s/%d.rows.csv", folder, seed);
    snprintf(p.result, sizeof p.result, "%s/%d-%s-%d.json", folder, seed, arm ? "rounds" : "grid", n);
    return p;
}

/* The rounds' arm of 2n begins as the grid's of n: a copy, moved into place when it is whole. */
static void copy_project(const char *folder, const struct point *from) {
    struct point to = make_point(folder, from->seed, 1, 2 * from->n);
    char part[300];
    if (file_exists(to.dir))
        return;
    snprintf(part, sizeof part, "%s.part", to.dir);
    file_remove_tree(part, NULL);
    chain_run(&from->chain, (const char *const[]){"/bin/cp", "-r", from->dir, part, NULL});
    if (rename(part, to.dir) != 0)
        exit(1);
}

static void measure(const char *folder, int seed, int64_t n_rows, int most) {
    char rule[256], rows[32], rows_seed[32];
    struct point first = make_point(folder, seed, 0, stages[0]);
    first.chain = (struct chain){first.dir, first.log};
    snprintf(rule, sizeof rule, "%s/rule.yaml", example);
    if (!file_exists(first.rows))
        chain_run(&first.chain,
                  (const char *const[]){chain_program("edgestill-simulate"), rule, "--rows",
                                        number(rows, n_rows), "--balanced", "--seed",
                                        number(rows_seed, 1000 + seed), "--out", first.rows, NULL});
    for (int i = 0; i < N_STAGES && stages[i] <= most; i++) {
        struct point p = make_point(folder, seed, 0, stages[i]), r = make_point(folder, seed, 1, stages[i]);
        p.chain = (struct chain){p.dir, p.log};
        r.chain = (struct chain){r.dir, r.log};
        if (!file_exists(p.result)) {
            if (i == 0)
                begin(&p);
            grow(&p);
            train(&p);
            if (2 * stages[i] <= most)
                copy_project(folder, &p);
            score(&p);
        }
        if (i > 0 && !file_exists(r.result)) {
            r.main_set = stages[i] / 2 + N_VALIDATION;
            work_in_rounds(&r);
            score(&r);
        }
        printf("seed %d: %d records done\n", seed, stages[i]);
    }
}

static double accuracy(const char *folder, int seed, int arm, int n) {
    struct point p = make_point(folder, seed, arm, n);
    json_t *result = NULL;
    double value = NAN;
    if (json_file_read(p.result, &result, NULL) == 0)
        value = 100 * chain_number(result, "accuracy", NULL);
    json_decref(result);
    return value;
}

static void add(struct figures *f, const char *name, const char *unit, double *values, int n) {
    struct figure one = {.id = "3.4", .name = name, .unit = unit, .n = n};
    double half, low = INFINITY, high = -INFINITY;
    chain_mean(values, n, &one.value, &half);
    for (int i = 0; i < n; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    one.min = low;
    one.max = high;
    one.note = "n: seeds; min, max: over seeds";
    figures_add(f, &one);
}

static void add_stage(struct figures *f, const char *folder, int n_seeds, int n) {
    double values[2][SEEDS_MAX], gain[SEEDS_MAX];
    char name[96];
    int measured = 0;
    for (int seed = 1; seed <= n_seeds; seed++) {
        double grid = accuracy(folder, seed, 0, n), rounds = accuracy(folder, seed, 1, n);
        if (!isfinite(grid) || !isfinite(rounds))
            continue;
        values[0][measured] = grid;
        values[1][measured] = rounds;
        gain[measured++] = rounds - grid;
    }
    for (int arm = 0; arm < 2; arm++) {
        snprintf(name, sizeof name, "%d records %s", n, arms[arm]);
        if (measured > 0)
            add(f, name, "% right", values[arm], measured);
        else
            figures_skip(f, "3.4", name, "not measured in this part (RECORDS_MOST)");
    }
    snprintf(name, sizeof name, "%d records: rounds minus grid", n);
    if (measured > 0)
        add(f, name, "points", gain, measured);
}

int main(void) {
    int64_t n_seeds = chain_setting("RECORDS_SEEDS", 3), n_rows = chain_setting("RECORDS_ROWS", 1000);
    int most = (int)chain_setting("RECORDS_MOST", stages[N_STAGES - 1]);
    const char *folder = "build/bench/runs/records";
    if (n_seeds > SEEDS_MAX || file_make_folders(folder, NULL) < 0) {
        fprintf(stderr, "bench: at most %d seeds, and %s must be writable\n", (int)SEEDS_MAX, folder);
        return 2;
    }
    for (int seed = 1; seed <= n_seeds; seed++)
        measure(folder, seed, n_rows, most);
    struct figures *f = figures_new("records");
    char text[96];
    snprintf(text, sizeof text, "%lld balanced rows a seed, 1%% of labels turned round; %d validation rows",
             (long long)n_rows, (int)N_VALIDATION);
    figures_context(f, "rows", text);
    for (int i = 1; i < N_STAGES; i++)
        add_stage(f, folder, (int)n_seeds, stages[i]);
    return figures_finish(f);
}
