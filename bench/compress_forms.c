/* Students of one seed differ in the form alone: records, validation rows, held-out rows are the same. */
#include "bench/compress_forms.h"
#include "bench/series.h"
#include "llama/lm.h"
#include "task/encode.h"
#include <math.h>
#include <stdio.h>

const char *const compress_forms[COMPRESS_N_FORMS] = {"full-labelled", "none-compact", "short-compact",
                                                      "none-labelled", "full-compact", "short-labelled"};

static int64_t tokens_of(const struct student_files *s) {
    struct err e = {0};
    struct lm *m;
    struct prompt p;
    struct tokens ids = {0};
    bench_must(lm_open(&m, s->f16, &(struct lm_options){.vocab_only = true}, &e), &e);
    bench_must(prompt_from_model(&p, &s->task, m, &e), &e);
    for (int64_t i = 0; i < s->validation.n; i++) {
        bench_must(encode_head(&ids, m, &p, &e), &e);
        bench_must(encode_record(&ids, m, &s->task, &p, &s->validation.records[i], &e), &e);
    }
    int64_t n = ids.n / s->validation.n;
    tokens_release(&ids);
    prompt_release(&p);
    lm_free(m);
    return n;
}

void compress_form(struct figures *f, const struct student_files *s, const char *form) {
    char name[128];
    snprintf(name, sizeof name, "%s, %s: a decision", s->example->name, form);
    figures_add(f, &(struct figure){.id = "5.3",
                                    .name = name,
                                    .unit = "tokens",
                                    .value = (double)tokens_of(s),
                                    .n = s->validation.n});
    snprintf(name, sizeof name, "%s, %s: 16-bit", s->example->name, form);
    struct interval i =
        interval_wilson((int64_t)lround(scores_accuracy(&s->whole) * (double)s->test.n), s->test.n);
    figures_add(f, &(struct figure){"5.3", name, "% right", 100 * scores_accuracy(&s->whole), s->test.n,
                                    100 * i.low, 100 * i.high, NULL});
}

/* ---- the two ends, seed by seed ---- */

static void difference_name(const struct example *x, const char *seed, char name[160]) {
    snprintf(name, 160, "%s %s: %s minus %s", x->name, seed, compress_forms[1], compress_forms[0]);
}

void compress_form_difference(struct figures *f, const struct example *x, int seed) {
    struct student_files full, least;
    struct err e = {0};
    struct paired p;
    char name[160], text[16], note[120];
    student_begin(&full, x, seed, compress_forms[0]);
    student_begin(&least, x, seed, compress_forms[1]);
    struct scored a = scores_view(&least.whole), b = scores_view(&full.whole);
    bench_must(paired_compare(&a, &b, &(struct bootstrap_options){.n_resamples = 200}, &p, &e), &e);
    snprintf(text, sizeof text, "%d", seed);
    difference_name(x, text, name);
    snprintf(note, sizeof note, "%.2f%% against %.2f%% right; min, max: 95%% interval, paired",
             100 * scores_accuracy(&least.whole), 100 * scores_accuracy(&full.whole));
    figures_add(f, &(struct figure){"5.3", name, "points", 100 * p.difference, full.test.n,
                                    100 * p.interval.low, 100 * p.interval.high, note});
    student_end(&least);
    student_end(&full);
}

void compress_form_mean(struct figures *f, const struct example *x, int64_t n_seeds) {
    struct series all = {0};
    char name[160];
    for (int seed = 1; seed <= n_seeds; seed++) {
        char text[16];
        snprintf(text, sizeof text, "%d", seed);
        difference_name(x, text, name);
        series_take(&all, f, "5.3", name);
    }
    difference_name(x, "mean of seeds", name);
    series_add_mean(&all, f, "5.3", name, "points");
}
