/* Figures 4.1 to 4.4: how far off the planner's predictions are.
 *
 *     4.1  against published measurements: devices it has never seen, models it has never seen, its noise floor; with
 *          PLANNER_TEST_CSV=FILE another file of throughput.csv's columns, in which rows that the catalogue has are told apart
 *     4.2  on this machine: files of real shapes with random weights, under llama-bench (speed) and in a run of its own
 *          (peak memory); PLANNER_FILES=0 leaves them out, PLANNER_FOLDER keeps them
 *     4.3  training here: time and peak memory, three shapes by two methods; PLANNER_TRAINING=0 leaves them out
 *     4.4  the time of a full recommendation
 *
 * Pictures: build/bench/planner-decode.svg, planner-prefill.svg, planner-memory.svg. On a busy machine speeds are what is
 * left of it: the load average stands in the context. */
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "bench/chain.h"
#include "bench/figures.h"
#include "bench/planner_here.h"
#include "bench/scatter.h"
#include "catalog/load.h"
#include "plan/recommend.h"
#include "plan/score.h"
#include "support/tiny_task.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GROUPS = 32 };

/* Public rows that no fit reads. The first: other runs of boards that are known. The second: machines that are not, old builds and
 * models that the catalogue has not; scored before anything was changed in view of them, see decision 19. */
static const char *const HOLDOUTS[][2] = {{"bench/planner_holdout.csv", "known boards, others' runs"},
                                          {"bench/planner_blind.csv", "blind rows"}};

static void must(int code, const struct err *e) {
    if (code < 0) {
        log_err(e);
        exit(1);
    }
}

/* ---- 4.1 ---- */

static void draw(const struct score_list *l, bool writes, const char *path, const char *title) {
    struct scatter_point *points = calloc((size_t)l->n + 1, sizeof *points);
    const char *groups[MOST_GROUPS];
    int n_groups = 0;
    int64_t n = 0;
    for (int64_t i = 0; points != NULL && i < l->n; i++) {
        const struct score_item *x = &l->items[i];
        int g = 0;
        while (g < n_groups && !str_equal(groups[g], x->device))
            g++;
        if (x->writes != writes || (g == n_groups && n_groups == MOST_GROUPS))
            continue;
        if (g == n_groups)
            groups[n_groups++] = x->device;
        points[n++] = (struct scatter_point){x->measured, x->predicted, g};
    }
    if (scatter_write(path, title, "tokens/s", points, n, groups, n_groups) == 0)
        printf("written: %s\n", path);
    free(points);
}

static void add_errors(struct figures *f, const struct score_list *l, const char *what) {
    static const char *const works[] = {"prefill", "decode"};
    for (int w = 1; w >= 0; w--) {
        char name[128], note[160];
        int64_t boards = 0, rows = 0, inside = 0;
        double error = score_median_error(l, w == 1, &boards, &rows, &inside);
        snprintf(name, sizeof name, "%s: %s, median error", what, works[w]);
        snprintf(note, sizeof note,
                 "median over %lld devices' medians; %lld of %lld rows within their interval",
                 (long long)boards, (long long)inside, (long long)rows);
        if (rows == 0)
            figures_skip(f, "4.1", name, "no such rows");
        else
            figures_add(f, &(struct figure){"4.1", name, "share", error, rows, 0, 0, note});
    }
}

/* A line for each device: the ratios of its rows, predicted over measured. */
static void print_boards(const struct score_list *l) {
    printf("%-32s %8s %6s %10s %10s %10s  predicted / measured\n", "device", "", "rows", "median", "least",
           "most");
    for (int64_t i = 0; i < l->n; i++) {
        const struct score_item *x = &l->items[i];
        bool first = true;
        for (int64_t j = 0; first && j < i; j++)
            first = !(l->items[j].writes == x->writes && str_equal(l->items[j].device, x->device));
        double *ratios = calloc((size_t)l->n, sizeof *ratios);
        int64_t n = 0;
        for (int64_t j = i; first && ratios != NULL && j < l->n; j++)
            if (l->items[j].writes == x->writes && str_equal(l->items[j].device, x->device))
                ratios[n++] = l->items[j].predicted / l->items[j].measured;
        struct figure one = {.n = 0};
        figures_spread(ratios, n, &one);
        if (n > 0)
            printf("%-32.32s %8s %6lld %10.2f %10.2f %10.2f\n", x->device, x->writes ? "decode" : "prefill",
                   (long long)n, one.value, one.min, one.max);
        free(ratios);
    }
}

/* Rows that were not scored, and why; those that were, but by what stands in. */
static void add_skipped(struct figures *f, const struct score_list *l, const char *what, int64_t n_rows) {
    const struct {
        const char *text;
        int64_t n;
    } reasons[] = {
#define X(key, why) {why, l->skipped.key},
        SCORE_SKIPPED(X)
#undef X
    };
    char name[160], note[64];
    snprintf(note, sizeof note, "of %lld rows", (long long)n_rows);
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        snprintf(name, sizeof name, "%s: not scored, %s", what, reasons[i].text);
        if (reasons[i].n > 0)
            figures_add(f, &(struct figure){"4.1", name, "rows", (double)reasons[i].n, n_rows, 0, 0, note});
    }
    int64_t like = 0;
    for (int64_t i = 0; i < l->n; i++)
        like += l->items[i].like;
    snprintf(name, sizeof name, "%s: speeds by a model or quantisation that stands in", what);
    figures_add(f, &(struct figure){"4.1", name, "speeds", (double)like, l->n, 0, 0, "match.h"});
}

static void score_file(struct figures *f, const struct catalog *c, const char *path, const char *what) {
    struct catalog other = {0};
    struct score_list all = {0}, unseen = {0};
    struct err e = {0};
    char name[128];
    arena_init(&other.arena);
    must(catalog_load_measurements(&other, path, true, &e), &e);
    must(score_rows(c, other.measurements, other.n_measurements, NULL, &all, &e), &e);
    print_boards(&all);
    for (int64_t i = 0; i < all.n; i++)
        if (!all.items[i].known &&
            mem_grow((void **)&unseen.items, &unseen.capacity, unseen.n + 1, sizeof *unseen.items) == 0)
            unseen.items[unseen.n++] = all.items[i];
    snprintf(name, sizeof name, "%s, all rows", what);
    add_errors(f, &all, name);
    snprintf(name, sizeof name, "%s, rows that the catalogue has not", what);
    add_errors(f, &unseen, name);
    add_skipped(f, &all, what, other.n_measurements);
    snprintf(name, sizeof name, "decode, %s", what);
    draw(&all, true, "build/bench/planner-test-decode.svg", name);
    snprintf(name, sizeof name, "prefill, %s", what);
    draw(&all, false, "build/bench/planner-test-prefill.svg", name);
    score_list_release(&all);
    score_list_release(&unseen);
    catalog_release(&other);
}

static void published(struct figures *f, struct catalog *c) {
    struct score_list devices = {0}, models = {0}, sources = {0};
    struct err e = {0};
    must(score_unseen_devices(c, &devices, &e), &e);
    must(score_unseen_models(c, &models, &e), &e);
    must(score_unseen_sources(c, &sources, &e), &e);
    print_boards(&devices);
    add_errors(f, &devices, "a device never seen");
    add_errors(f, &models, "a known device, a model never seen");
    add_errors(f, &sources, "a source never seen");
    for (int w = 1; w >= 0; w--) {
        int64_t n = 0;
        double noise = score_noise(c, w == 1, &n),
               error = score_median_error(&models, w == 1, NULL, NULL, NULL);
        char name[96];
        snprintf(name, sizeof name, "noise floor, %s: a repeat of the same measurement",
                 w ? "decode" : "prefill");
        figures_add(f, &(struct figure){"4.1", name, "times", noise, n, 0, 0,
                                        "median ratio of public repeats (one board), larger over smaller"});
        snprintf(name, sizeof name, "a model never seen over the noise floor, %s", w ? "decode" : "prefill");
        figures_add(
            f, &(struct figure){"4.1", name, "times", (1 + error) / noise, n, 0, 0, "asked: at most 1.3"});
    }
    draw(&devices, true, "build/bench/planner-decode.svg", "decode, each device hidden in turn");
    draw(&devices, false, "build/bench/planner-prefill.svg", "prefill, each device hidden in turn");
    score_list_release(&devices);
    score_list_release(&models);
    score_list_release(&sources);
}

/* ---- 4.4 ---- */

static void recommendation(struct figures *f, const struct catalog *c) {
    enum { TIMES = 5 };
    struct task task;
    struct err e = {0};
    double seconds[TIMES];
    int64_t considered = 0;
    const struct predict_host host = {
        .macs_per_s = 60e9, .memory_bytes = 32e9, .measured_size = 768, .threads = 2};
    const struct catalog_device *d = NULL;
    must(tiny_task(&task, &e), &e);
    must(catalog_device_find(c, "rpi5-8gb", &d, &e), &e);
    for (int i = 0; i < TIMES; i++) {
        struct recommendation r;
        double start = clock_seconds();
        must(recommend(
                 &(struct recommend_input){
                     .catalog = c, .device = d, .task = &task, .host = &host, .n_records = 1000},
                 &r, &e),
             &e);
        seconds[i] = clock_seconds() - start;
        considered = r.n_considered;
        recommend_release(&r);
    }
    struct figure one = {
        .id = "4.4", .name = "a full recommendation", .unit = "s", .note = "asked: under 2 s"};
    figures_spread(seconds, TIMES, &one);
    figures_add(f, &one);
    figures_add(
        f, &(struct figure){"4.4", "settings tried in it", "settings", (double)considered, 1, 0, 0, NULL});
    task_release(&task);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return planner_here_child(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0); /* it takes minutes: show what is there */
    struct catalog c;
    struct err e = {0};
    char load[64] = "unknown";
    FILE *average = fopen("/proc/loadavg", "r");
    if (average != NULL && fgets(load, sizeof load, average) != NULL)
        load[strcspn(load, "\n")] = '\0';
    if (average != NULL)
        fclose(average);
    must(catalog_load(&c, NULL, &e), &e);
    struct figures *f = figures_new("planner");
    figures_context(f, "load_average", load);
    published(f, &c);
    const char *csv = getenv("PLANNER_TEST_CSV");
    bool given = csv != NULL && *csv != '\0';
    for (size_t i = 0; i < sizeof HOLDOUTS / sizeof *HOLDOUTS; i++)
        score_file(f, &c, HOLDOUTS[i][0], HOLDOUTS[i][1]);
    if (given)
        score_file(f, &c, csv, "PLANNER_TEST_CSV");
    planner_here_files(f, &c);
    planner_here_training(f);
    recommendation(f, &c);
    catalog_release(&c);
    return figures_finish(f);
}
