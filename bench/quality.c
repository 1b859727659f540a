/* Figure 2.5: the demonstration's accuracy with the exact savings and without any (train --without all), over five seeds: the same
 * records, the same base, the same held-out rows; only the order of the records and the first adapters differ with the seed.
 *
 *     make bench-quality                          make demo first (its records are what is trained on); 15 minutes on two idle cores
 *     QUALITY_SECONDS=420 make bench-quality      begins no training after 420 s; the next call goes on where this one stopped
 *     QUALITY_SEEDS=2 QUALITY_THREADS=1           a quick look, beside other work
 *     DEMO=cold-chain make bench-quality          another example
 *
 * The difference is taken seed by seed; its 95% interval is Student's t over the seeds. The noise to hold it against is the
 * deviation between seeds and the binomial one of the rows. Runs are kept under build/bench/runs/quality, by the program's hash. */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "bench/chain.h"
#include "bench/figures.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS_MAX = 20 };
#define FOLDER "build/bench/runs/quality"

struct bench {
    const char *name;
    char threads[16], program[SHA256_HEX], rows[256];
    double until_s;
    int n_left;
};

static void must(int rc, const struct err *e) {
    if (rc < 0) {
        fprintf(stderr, "bench: %s\n", e->message);
        exit(1);
    }
}

/* The demonstration's project without what comes after its records. */
static void fresh_project(const struct bench *b, const char *dir, const char *log) {
    static const char *const later[] = {"train", "model", "eval", "dist", "receipts"};
    struct chain c = {.dir = dir, .log = log};
    struct err e = {0};
    char from[256], part[512];
    snprintf(from, sizeof from, "build/demo/%s", b->name);
    must(file_remove_tree(dir, &e), &e);
    chain_run(&c, (const char *const[]){"/bin/cp", "-r", from, dir, NULL});
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        snprintf(part, sizeof part, "%s/%s", dir, later[i]);
        must(file_remove_tree(part, &e), &e);
    }
}

/* Accuracy of the student trained so, and the seconds of its training; false: no time is left. */
static bool one_run(struct bench *b, int seed, bool plain, double *accuracy, double *seconds) {
    char key[160], file[200], dir[256], log[256], number[16];
    struct err e = {0};
    snprintf(key, sizeof key, "%s-%s-%d-%.8s", b->name, plain ? "plain" : "fast", seed, b->program);
    snprintf(file, sizeof file, "%s.json", key);
    json_t *kept = chain_json(FOLDER, file);
    if (!kept && b->until_s > 0 && clock_seconds() > b->until_s) {
        b->n_left++;
        return false;
    }
    if (!kept) {
        snprintf(dir, sizeof dir, FOLDER "/%s", key);
        snprintf(log, sizeof log, FOLDER "/%s.log", key);
        snprintf(number, sizeof number, "%d", seed);
        struct chain c = {.dir = dir, .log = log};
        fresh_project(b, dir, log);
        double took =
            chain_run(&c, (const char *const[]){chain_program("edgestill"), "train", "-C", dir, "--seed",
                                                number, "--threads", b->threads, "--quiet",
                                                plain ? "--without" : NULL, "all", NULL});
        chain_run(&c, (const char *const[]){chain_program("edgestill"), "eval", "-C", dir, "--rows", b->rows,
                                            "--only", "student-f16", "--free", "1", "--threads", b->threads,
                                            "--quiet", NULL});
        json_t *summary = chain_json(dir, "eval/summary.json");
        kept = json_pack("{s:f,s:f}", "accuracy", chain_number(summary, "student_f16", "accuracy", NULL),
                         "seconds", took);
        json_decref(summary);
        char path[512], *text = json_dumps(kept, JSON_COMPACT | JSON_REAL_PRECISION(8));
        snprintf(path, sizeof path, FOLDER "/%s", file);
        must(text ? file_write(path, text, strlen(text), &e) : ERR_NO_MEMORY, &e);
        free(text);
        must(file_remove_tree(dir, &e), &e);
    }
    *accuracy = chain_number(kept, "accuracy", NULL);
    *seconds = chain_number(kept, "seconds", NULL);
    json_decref(kept);
    printf("%s: accuracy %.4f, trained in %.0f s\n", key, *accuracy, *seconds);
    fflush(stdout);
    return true;
}

static void begin(struct bench *b) {
    struct err e = {0};
    char path[256];
    const char *name = getenv("DEMO");
    int64_t seconds = chain_setting("QUALITY_SECONDS", 0);
    b->name = name ? name : "healthcare-claims";
    b->until_s = seconds > 0 ? clock_seconds() + (double)seconds : 0;
    snprintf(b->threads, sizeof b->threads, "%d", (int)chain_setting("QUALITY_THREADS", 2));
    snprintf(path, sizeof path, "build/demo/%s/records.sqlite", b->name);
    snprintf(b->rows, sizeof b->rows, "build/demo/%s.csv", b->name);
    if (!file_exists(path) || !file_exists(b->rows)) {
        fprintf(stderr, "bench: no records at %s: type make demo first\n", path);
        exit(1);
    }
    must(sha256_file(chain_program("edgestill"), b->program, &e), &e);
    must(file_make_folders(FOLDER, &e), &e);
}

static void add_mean(struct figures *f, const char *name, const char *what, const double *v, int n,
                     const char *note) {
    double mean, half;
    char text[160];
    snprintf(text, sizeof text, "%s: %s", name, what);
    chain_mean(v, n, &mean, &half);
    if (n == 0)
        figures_skip(f, "2.5", text, "no seed was trained both ways yet");
    else
        figures_add(f, &(struct figure){"2.5", text, "points", 100 * mean, n, 100 * (mean - half),
                                        100 * (mean + half), note});
}

int main(void) {
    struct bench b = {0};
    double fast[SEEDS_MAX], plain[SEEDS_MAX], difference[SEEDS_MAX], ratio[SEEDS_MAX];
    int n = 0, n_seeds = (int)chain_setting("QUALITY_SEEDS", 5);
    n_seeds = n_seeds > SEEDS_MAX ? SEEDS_MAX : n_seeds;
    begin(&b);
    for (int seed = 1; seed <= n_seeds; seed++) {
        double s[2];
        bool both = one_run(&b, seed, false, &fast[n], &s[0]);
        both = one_run(&b, seed, true, &plain[n], &s[1]) && both;
        if (!both)
            continue;
        difference[n] = fast[n] - plain[n];
        ratio[n++] = s[1] / s[0];
    }
    if (b.n_left > 0)
        printf("%d trainings are left: the same call goes on with them\n", b.n_left);
    struct figures *f = figures_new("quality");
    add_mean(f, b.name, "accuracy with every saving", fast, n, "mean over seeds and its 95% interval");
    add_mean(f, b.name, "accuracy without any", plain, n, "mean over seeds and its 95% interval");
    add_mean(f, b.name, "difference, seed by seed", difference, n, "wanted: 0 within the interval");
    struct figure speed = {.id = "2.5",
                           .name = "time of train without savings against with them",
                           .unit = "x",
                           .note = "the whole verb, export and its checks included"};
    figures_spread(ratio, n, &speed);
    figures_add(f, &speed);
    return figures_finish(f);
}
