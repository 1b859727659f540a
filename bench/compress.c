/* Figures 5.1 to 5.6: what compression costs a student, and what ours saves of that.
 *
 *     make bench-compress                                every part, one seed, 5,000 held-out rows
 *     COMPRESS_PARTS=forms,tools make bench-compress     some of: quality, mixes, depth, forms, tools, quantise, choice, size, rate
 *     COMPRESS_SEEDS=5 make bench-compress               as figure 5.1 asks
 *     COMPRESS_EXAMPLES=1 COMPRESS_ROWS=1000 COMPRESS_TRAIN=600 make bench-compress    a quick look
 *
 * Each part's figures are kept under build/bench/runs/compress when it is done, and only what is missing is measured, so that a
 * measurement can be stopped at any time; the table and build/bench/compress.json have all that is there. Students are those
 * of `make bench-demo` where it has made them, else their own (bench/compressing.h), compressed in this program in several ways and
 * scored on rows that nothing has seen. Differences are paired over the same rows. */
#include "base/file.h"
#include "base/interrupt.h"
#include "bench/compress_forms.h"
#include "bench/compress_large.h"
#include "bench/compress_mixes.h"
#include "bench/compress_tools.h"
#include "bench/compressing.h"
#include "bench/series.h"
#include "figures.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_WAYS = 4 };

/* ---- 5.1 ---- */

static const struct way {
    const char *what;
    double bits; /* budget; 0: the file that compress chooses by itself */
    enum compress_recovery recovery;
} ways[N_WAYS] = {
    {"as compress chooses", 0, COMPRESS_RECOVER_AUTO},
    {"3 bits", 3, COMPRESS_RECOVER_NEVER},
    {"2.7 bits", 2.7, COMPRESS_RECOVER_NEVER},
    {"2.7 bits, recovered", 2.7, COMPRESS_RECOVER_ALWAYS},
};

static void way_name(const struct student_files *s, const struct way *w, char name[160]) {
    snprintf(name, 160, "%s %d: %s, minus 16-bit", s->example->name, s->seed, w->what);
}

static void add_quality(struct figures *f, const struct student_files *s, const struct way *w,
                        const struct outcome *o) {
    char name[160], note[160];
    way_name(s, w, name);
    snprintf(note, sizeof note,
             "%.2f bits a weight, %lld bytes, %.2f%% right, divergence %.2g; min, max: 95%% interval, paired",
             o->bits, (long long)o->bytes, 100 * o->accuracy, o->divergence);
    figures_add(f, &(struct figure){"5.1", name, "points", 100 * o->paired.difference, s->test.n,
                                    100 * o->paired.interval.low, 100 * o->paired.interval.high, note});
}

static void quality(struct figures *f, const struct student_files *s) {
    char name[128];
    snprintf(name, sizeof name, "%s %d: 16-bit", s->example->name, s->seed);
    figures_add(f, &(struct figure){.id = "5.1",
                                    .name = name,
                                    .unit = "% right",
                                    .value = 100 * scores_accuracy(&s->whole),
                                    .n = s->test.n,
                                    .note = s->of_demo ? "taught by the embedded teacher" : NULL});
    for (int i = 0; i < N_WAYS; i++) {
        struct outcome o;
        static const char *const mix = "Q2_K";
        struct compress_request q = {.types = &mix, .n_types = 1, .recovery = ways[i].recovery};
        q.budget.bits = ways[i].bits;
        if (ways[i].bits > 0)
            compress_and_judge(s, q, &o);
        else
            student_chosen(s, &o);
        add_quality(f, s, &ways[i], &o);
    }
}

static void quality_means(struct figures *f, int64_t n_seeds) {
    for (int i = 0; i < COMPRESS_N_EXAMPLES * N_WAYS; i++) {
        const struct example *x = &compress_examples[i / N_WAYS];
        const struct way *w = &ways[i % N_WAYS];
        struct series all = {0};
        char name[160];
        for (int seed = 1; seed <= n_seeds; seed++) {
            way_name(&(struct student_files){.example = x, .seed = seed}, w, name);
            series_take(&all, f, "5.1", name);
        }
        snprintf(name, sizeof name, "%s, mean of seeds: %s, minus 16-bit", x->name, w->what);
        series_add_mean(&all, f, "5.1", name, "points");
    }
}

/* ---- fewer layers, beside 5.1 ---- */

static void depth(struct figures *f, const struct student_files *s) {
    static const char *const mix = "F16";
    for (int layers = 3; layers > 0; layers--) {
        struct outcome o;
        char name[128], note[120];
        compress_and_judge(s,
                           (struct compress_request){.types = &mix,
                                                     .n_types = 1,
                                                     .layers = layers,
                                                     .whole_vocabulary = true,
                                                     .no_search = true,
                                                     .recovery = COMPRESS_RECOVER_NEVER},
                           &o);
        snprintf(name, sizeof name, "%s %d: %d layers, minus all", s->example->name, s->seed, layers);
        snprintf(note, sizeof note, "16 bits, %lld bytes, %.2f%% right; min, max: 95%% interval, paired",
                 (long long)o.bytes, 100 * o.accuracy);
        figures_add(f, &(struct figure){"5.7", name, "points", 100 * o.paired.difference, s->test.n,
                                        100 * o.paired.interval.low, 100 * o.paired.interval.high, note});
    }
}

/* ---- in parts ---- */

static bool wanted(const char *part) {
    const char *list = getenv("COMPRESS_PARTS"), *at = list ? strstr(list, part) : NULL;
    size_t n = strlen(part);
    return !list || (at && (at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ','));
}

static const char *kept(char path[COMPRESS_PATH], const char *part, const char *example, int seed) {
    snprintf(path, COMPRESS_PATH, COMPRESS_RUNS "/%s%s%s-%d-%lld.figures.json", part, *example ? "-" : "",
             example, seed, (long long)chain_setting("COMPRESS_ROWS", 5000));
    return path;
}

/* The figures of a part of a student: recalled, or measured where they are wanted. */
static void of_student(struct figures *f, const char *part, const struct example *x, int seed,
                       const char *prompt_form,
                       void (*measure)(struct figures *f, const struct student_files *s)) {
    char path[COMPRESS_PATH];
    struct student_files s;
    int from = figures_count(f);
    if (figures_recall(f, kept(path, part, x->name, seed)) || !wanted(part))
        return;
    student_begin(&s, x, seed, prompt_form);
    measure(f, &s);
    figures_keep(f, from, path);
    student_end(&s);
}

/* All forms of one seed, and the two ends of every seed. */
static void forms(struct figures *f, const struct example *x, int64_t n_seeds) {
    char path[COMPRESS_PATH];
    for (int i = 0; i < COMPRESS_N_FORMS; i++) {
        char part[64];
        struct student_files s;
        int from = figures_count(f);
        snprintf(part, sizeof part, "forms-%s", compress_forms[i]);
        if (figures_recall(f, kept(path, part, x->name, 1)) || !wanted("forms"))
            continue;
        student_begin(&s, x, 1, compress_forms[i]);
        compress_form(f, &s, compress_forms[i]);
        figures_keep(f, from, path);
        student_end(&s);
    }
    for (int seed = 1; seed <= n_seeds; seed++) {
        int from = figures_count(f);
        if (figures_recall(f, kept(path, "forms-ends", x->name, seed)) || !wanted("forms"))
            continue;
        compress_form_difference(f, x, seed);
        figures_keep(f, from, path);
    }
    compress_form_mean(f, x, n_seeds);
}

static void alone(struct figures *f, const char *part, bool (*measure)(struct figures *f)) {
    char path[COMPRESS_PATH];
    int from = figures_count(f);
    if (figures_recall(f, kept(path, part, "", 1)) || !wanted(part))
        return;
    if (measure(f))
        figures_keep(f, from, path);
}

int main(int argc, char *argv[]) {
    if (argc == 6 && strcmp(argv[1], "--measure") == 0)
        return compress_measure_child((const char *const *)argv + 2);
    int64_t n_seeds = chain_setting("COMPRESS_SEEDS", 1),
            n_examples = chain_setting("COMPRESS_EXAMPLES", COMPRESS_N_EXAMPLES);
    struct err e = {0};
    n_examples = n_examples < COMPRESS_N_EXAMPLES ? n_examples : COMPRESS_N_EXAMPLES;
    bench_must(file_make_folders(COMPRESS_RUNS, &e), &e);
    bench_must(lm_backend_init(NULL, &e), &e);
    interrupt_install();
    struct figures *f = figures_new("compress");
    alone(f, "tools", compress_tools);
    forms(f, &compress_examples[0], n_seeds);
    for (int seed = 1; seed <= n_seeds; seed++)
        for (int x = 0; x < n_examples; x++)
            of_student(f, "mixes", &compress_examples[x], seed, "full-labelled", compress_mixes);
    compress_mixes_means(f, n_seeds);
    for (int x = 0; x < n_examples; x++)
        of_student(f, "depth", &compress_examples[x], 1, "full-labelled", depth);
    for (int seed = 1; seed <= n_seeds; seed++)
        for (int x = 0; x < n_examples; x++)
            of_student(f, "quality", &compress_examples[x], seed, "full-labelled", quality);
    quality_means(f, n_seeds);
    alone(f, "quantise", compress_quantise);
    alone(f, "choice", compress_choice);
    alone(f, "size", compress_size);
    alone(f, "rate", compress_rate);
    return figures_finish(f);
}
