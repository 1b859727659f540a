/* Files of one size are made one after the other, and only their losses stay. */
#include "bench/compress_mixes.h"
#include "base/file.h"
#include "bench/series.h"
#include "bench/temperature.h"
#include "llama/quantize.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define Z_95 1.959964
enum { N_TYPES = 3, N_WAYS = 3, SEARCHED = 2 };
static const char *const types[N_TYPES] = {"Q4_K_M", "Q3_K_M", "Q2_K"};
static const char *const ways[N_WAYS] = {"stock with importance matrix", "stock without",
                                         "searched at equal size"};

struct judged {
    struct outcome outcome;
    double temperature, *loss; /* [rows], once its confidence is set right */
};

static double mean_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static void judge(const struct scores *scores, struct judged *j) {
    j->loss = malloc((size_t)scores->n * sizeof *j->loss);
    if (!j->loss) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    j->temperature = temperature_losses(scores, j->loss);
    j->outcome.loss = scores_loss(scores);
}

static void loss_name(const struct example *x, int seed, const char *type, const char *how, char name[160]) {
    snprintf(name, 160, "%s %d, %s, %s: calibrated loss", x->name, seed, type, how);
}

static void add_losses(struct figures *f, const struct student_files *s, const char *type, const char *how,
                       const struct judged *j) {
    const struct outcome *o = &j->outcome;
    char name[160], note[160];
    snprintf(name, sizeof name, "%s %d, %s, %s: loss", s->example->name, s->seed, type, how);
    snprintf(note, sizeof note, "%lld bytes; divergence from 16-bit %.3g; %.2f%% right", (long long)o->bytes,
             o->divergence, 100 * o->accuracy);
    figures_add(
        f, &(struct figure){
               .id = "5.4", .name = name, .unit = "nats", .value = o->loss, .n = s->test.n, .note = note});
    loss_name(s->example, s->seed, type, how, name);
    snprintf(note, sizeof note, "at its own temperature, %.2f", j->temperature);
    figures_add(f, &(struct figure){.id = "5.4",
                                    .name = name,
                                    .unit = "nats",
                                    .value = mean_of(j->loss, s->test.n),
                                    .n = s->test.n,
                                    .note = note});
}

static void difference_name(const struct example *x, const char *seed, int type, int way, char name[160]) {
    snprintf(name, 160, "%s %s, %s: searched minus %s, calibrated", x->name, seed, types[type], ways[way]);
}

/* Paired over the rows; the interval is the normal one, of thousands of rows. */
static void add_difference(struct figures *f, const struct student_files *s, int type, int way,
                           const struct judged *ours, const struct judged *theirs) {
    int64_t n = s->test.n;
    double mean = 0, square = 0;
    char name[160], seed[16];
    for (int64_t i = 0; i < n; i++)
        mean += (ours->loss[i] - theirs->loss[i]) / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += pow(ours->loss[i] - theirs->loss[i] - mean, 2);
    double half = Z_95 * sqrt(square / (double)(n - 1) / (double)n);
    snprintf(seed, sizeof seed, "%d", s->seed);
    difference_name(s->example, seed, type, way, name);
    figures_add(f, &(struct figure){"5.4", name, "nats", mean, n, mean - half, mean + half,
                                    "min, max: 95% interval, paired; below 0: the search is better"});
}

/* Makes the student's file as `way` says and scores it. */
static void measure(const struct student_files *s, int type, int way, int64_t bytes, struct judged *j) {
    struct compress_request q = {.types = &types[type],
                                 .n_types = 1,
                                 .whole_vocabulary = true,
                                 .recovery = COMPRESS_RECOVER_NEVER,
                                 .no_search = way != SEARCHED,
                                 .no_imatrix = way == 1};
    struct scores scores;
    if (way == SEARCHED)
        q.budget.bytes = bytes;
    compress_and_score(s, q, &scores, &j->outcome);
    judge(&scores, j);
    scores_release(&scores);
}

static int64_t bytes_of(const struct student_files *s, int type) {
    struct quantize_preview p;
    struct err e = {0};
    bench_must(quantize_preview(&p, s->f16, &(struct quantize_options){.type = types[type]}, &e), &e);
    int64_t bytes = p.tensor_bytes;
    quantize_preview_release(&p);
    return bytes;
}

void compress_mixes(struct figures *f, const struct student_files *s) {
    struct judged whole = {.outcome = {.bytes = file_size(s->f16), .accuracy = scores_accuracy(&s->whole)}};
    judge(&s->whole, &whole);
    add_losses(f, s, "16-bit", "as trained", &whole);
    free(whole.loss);
    for (int type = 0; type < N_TYPES; type++) {
        struct judged j[N_WAYS] = {0};
        for (int way = 0; way < N_WAYS; way++) {
            measure(s, type, way, bytes_of(s, type), &j[way]);
            add_losses(f, s, types[type], ways[way], &j[way]);
        }
        for (int way = 0; way < SEARCHED; way++)
            add_difference(f, s, type, way, &j[SEARCHED], &j[way]);
        for (int way = 0; way < N_WAYS; way++)
            free(j[way].loss);
    }
}

/* ---- over seeds ---- */

static void add_mean(struct figures *f, const struct example *x, int type, int way, int64_t n_seeds) {
    struct series all = {0};
    char name[160];
    for (int seed = 1; seed <= n_seeds; seed++) {
        char text[16];
        snprintf(text, sizeof text, "%d", seed);
        difference_name(x, text, type, way, name);
        series_take(&all, f, "5.4", name);
    }
    difference_name(x, "mean of seeds", type, way, name);
    series_add_mean(&all, f, "5.4", name, "nats");
}

/* Over all students at once: what the search gives at the size of `type` beside a stock mix of the same or of a larger one. The
 * interval is Student's over the students. */
static void add_smaller(struct figures *f, int type, int larger, int way, int64_t n_seeds) {
    double value[COMPRESS_N_EXAMPLES * SERIES_MAX], mean, half;
    char name[160];
    int n = 0;
    for (int x = 0; x < COMPRESS_N_EXAMPLES; x++)
        for (int seed = 1; seed <= n_seeds && seed <= SERIES_MAX; seed++) {
            struct figure ours, theirs;
            loss_name(&compress_examples[x], seed, types[type], ways[SEARCHED], name);
            if (!figures_find(f, "5.4", name, &ours))
                continue;
            loss_name(&compress_examples[x], seed, types[larger], ways[way], name);
            if (figures_find(f, "5.4", name, &theirs))
                value[n++] = ours.value - theirs.value;
        }
    if (n < 2)
        return;
    chain_mean(value, n, &mean, &half);
    snprintf(name, sizeof name, "all students: searched at the size of %s minus %s, %s, calibrated",
             types[type], types[larger], ways[way]);
    figures_add(f, &(struct figure){"5.4", name, "nats", mean, n, mean - half, mean + half,
                                    "min, max: 95% interval over students; below 0: the search is better"});
}

void compress_mixes_means(struct figures *f, int64_t n_seeds) {
    for (int example = 0; example < COMPRESS_N_EXAMPLES; example++)
        for (int type = 0; type < N_TYPES; type++)
            for (int way = 0; way < SEARCHED; way++)
                add_mean(f, &compress_examples[example], type, way, n_seeds);
    for (int type = 0; type < N_TYPES; type++)
        for (int larger = 0; larger <= type; larger++)
            for (int way = 0; way < SEARCHED; way++)
                add_smaller(f, type, larger, way, n_seeds);
}
