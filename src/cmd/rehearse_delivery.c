/* See rehearse_delivery.h. */
#include "cmd/rehearse_delivery.h"

#include "base/log.h"
#include "base/str.h"
#include "catalog/catalog.h"
#include "compress/vocabulary.h"
#include "deliver/bundle.h"
#include "deliver/runtime.h"
#include "llama/quantize.h"
#include "task/classify.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_ROWS = 4, N_GOLDEN = 2, ANSWER_TOKENS = 8 };

/* The same tokens are fed, but after each token of a label the rest is normalised over fewer words: measured 0.05 on a tiny model
 * of random weights whose vocabulary is halved. On a trained base a row that went to another token gives several units. */
#define TRIM_TOLERANCE 0.5

/* ---- records made up ---- */

struct made_up {
    int row;
    char text[64];
};

/* Something that the field takes, another in every row. */
static const char *make_up(void *context, const struct task_field *f) {
    struct made_up *m = context;
    double share = (double)m->row / (N_ROWS - 1), low = f->has_range ? f->min : 0,
           high = f->has_range ? f->max : 9, value = low + share * (high - low);
    switch (f->type) {
    case FIELD_INTEGER:
        snprintf(m->text, sizeof m->text, "%.0f", value);
        return m->text;
    case FIELD_NUMBER:
        snprintf(m->text, sizeof m->text, "%.*f", f->decimals, value);
        return m->text;
    case FIELD_CATEGORY:
        return f->n_values > 0 ? f->values[m->row % f->n_values] : "other";
    case FIELD_DATE:
        snprintf(m->text, sizeof m->text, "2026-01-%02d", 1 + m->row);
        return m->text;
    default:
        return f->max_chars > 0 && f->max_chars < 4 ? "a" : "text";
    }
}

static int make_rows(const struct task *t, struct rows *rows, struct err *e) {
    *rows = (struct rows){.source = "made up for the rehearsal"};
    arena_init(&rows->arena);
    rows->records = calloc(N_ROWS, sizeof *rows->records);
    int code = rows->records != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "rehearse", "out of memory for records");
    for (int i = 0; code == 0 && i < N_ROWS; i++) {
        struct made_up m = {.row = i};
        code = record_build(t, &rows->arena, false, make_up, &m, &rows->records[i], e);
        rows->records[i].label = t->n_labels > 0 ? i % t->n_labels : -1;
        rows->n = i + 1;
    }
    return code;
}

/* ---- the trim ---- */

/* Log probabilities of all labels for each made-up record. */
static int label_scores(const struct delivery *d, const char *file, const struct rows *rows, double *out,
                        struct err *e) {
    struct lm *m = NULL;
    struct prompt prompt = {0};
    struct classifier *c = NULL;
    double *p = calloc((size_t)d->task->n_labels + 1, sizeof *p);
    int code = p != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "rehearse", "out of memory");
    if (code == 0)
        code = lm_open(&m, file,
                       &(struct lm_options){.n_ctx = (int)d->plan->context,
                                            .n_batch = (int)d->plan->ubatch,
                                            .n_threads = d->n_threads},
                       e);
    if (code == 0)
        code = prompt_from_model(&prompt, d->task, m, e);
    if (code == 0)
        code = classifier_new(&c, m, d->task, &prompt, e);
    for (int64_t i = 0; code == 0 && i < rows->n; i++)
        if ((code = classifier_score(c, &rows->records[i], p, e)) == 0)
            memcpy(out + i * d->task->n_labels, classifier_last(c).log_prob,
                   (size_t)d->task->n_labels * sizeof *out);
    classifier_free(c);
    prompt_release(&prompt);
    lm_free(m);
    free(p);
    return code;
}

static int compare_scores(struct delivery *d, const struct rows *rows, struct err *e) {
    int64_t n = rows->n * d->task->n_labels;
    double *before = calloc((size_t)n + 1, sizeof *before), *after = calloc((size_t)n + 1, sizeof *after);
    int code = before != NULL && after != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "rehearse", "out of memory");
    if (code == 0)
        code = label_scores(d, d->merged, rows, before, e);
    if (code == 0)
        code = label_scores(d, d->trimmed, rows, after, e);
    for (int64_t i = 0; code == 0 && i < n; i++)
        /* the head lost tokens, so all of a record's labels gain alike: their differences count */
        d->trimmed_off = fmax(d->trimmed_off, fabs((after[i] - after[i - i % d->task->n_labels]) -
                                                   (before[i] - before[i - i % d->task->n_labels])));
    if (code == 0 && !(d->trimmed_off < TRIM_TOLERANCE))
        code =
            err_set(e, ERR_MISMATCH, "rehearse",
                    "labels are not as probable as before: log probabilities differ by %.2g", d->trimmed_off);
    free(before);
    free(after);
    return code;
}

int delivery_trim(struct delivery *d, struct err *e) {
    struct rows rows;
    struct vocabulary_trim trim = {0};
    if (!d->plan->trim_vocabulary)
        return 0;
    int code = make_rows(d->task, &rows, e);
    if (code == 0)
        code = vocabulary_trim(&trim, d->merged, d->trimmed, d->task, &rows, NULL,
                               &(struct vocabulary_options){0}, e);
    d->was_trimmed = code == 0 && trim.trimmed;
    if (d->was_trimmed && d->task->kind == TASK_CLASSIFY)
        code = compare_scores(d, &rows, e);
    rows_release(&rows);
    return code;
}

/* ---- the answer ---- */

/* What is delivered: quantised, but for mixes whose importance matrix needs records. */
static const char *delivered(const struct delivery *d) {
    return !quantize_mix_needs_imatrix(d->plan->quantisation) ? d->quantised
           : d->was_trimmed                                   ? d->trimmed
                                                              : d->merged;
}

int delivery_answer(struct delivery *d, struct err *e) {
    static const char text[] = "Say whether the record is good or bad.\n- value: 12\n- kind: other\n";
    struct lm *m = NULL;
    struct str answer = {0};
    struct lm_generation g;
    const float *logits;
    int32_t ids[128];
    int code = 0;
    if (!quantize_mix_needs_imatrix(d->plan->quantisation))
        code = quantize_file(
            d->was_trimmed ? d->trimmed : d->merged, d->quantised,
            &(struct quantize_options){.type = d->plan->quantisation, .n_threads = d->n_threads}, e);
    if (code == 0)
        code = lm_open(&m, delivered(d), &(struct lm_options){.n_ctx = 256, .n_threads = d->n_threads}, e);
    int64_t n = code == 0 ? lm_tokenize(m, text, strlen(text), LM_PLAIN, ids, 128, e) : code;
    if (n > 0)
        code = lm_decode(m, 0, ids, n, &logits, e);
    if (n > 0 && code == 0)
        code = lm_generate(m, 0, ANSWER_TOKENS, &answer, &g, e);
    lm_free(m);
    str_release(&answer);
    return n < 0 ? (int)n : code;
}

/* ---- the bundle ---- */

static int bundle_arch(const struct delivery *d, const char **arch, struct err *e) {
    struct catalog catalog;
    const struct catalog_device *device = NULL;
    int code = catalog_load(&catalog, d->project->dir, e);
    if (code < 0)
        return code;
    code = catalog_device_find(&catalog, d->project->device, &device, e);
    *arch = code == 0 && str_equal(device->arch, "x86_64") ? "amd64" : "arm64";
    catalog_release(&catalog);
    return code;
}

int delivery_bundle(struct delivery *d, struct err *e) {
    struct rows rows;
    struct runtime runtime;
    struct bundle_result result;
    struct err none = {0};
    const char *arch = NULL;
    int code = bundle_arch(d, &arch, e);
    if (code < 0)
        return code;
    if (runtime_collect(&runtime, arch, &none) < 0) { /* bundling may be meant for another machine */
        log_warn("the bundle was not rehearsed: %s", none.message);
        return 0;
    }
    runtime_release(&runtime);
    code = make_rows(d->task, &rows, e);
    if (code == 0)
        code = bundle_make(&result,
                           &(struct bundle_request){.arch = arch,
                                                    .device = d->project->device,
                                                    .model = delivered(d),
                                                    .task = d->task,
                                                    .plan = d->plan,
                                                    .golden = &rows,
                                                    .n_golden = d->task->kind == TASK_CLASSIFY ? N_GOLDEN : 1,
                                                    .golden_are_training = true,
                                                    .folder = d->bundle,
                                                    .n_threads = d->n_threads},
                           e);
    d->was_bundled = code == 0;
    rows_release(&rows);
    return code;
}
