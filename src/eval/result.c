/* Documents of evaluations. */
#include "eval/result.h"
#include "eval/threshold.h"
#include "eval/written.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BOOTSTRAP_SEED = 20240 };

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "result_to_json", "out of memory for the result");
}

/* Six digits: a document that people read; the rows' own file has nine. */
static json_t *number(double x) {
    if (!isfinite(x))
        return json_null();
    double scale = 1e6;
    return json_real(fabs(x) < 1e6 ? round(x * scale) / scale : x);
}

static const char *interval_method(enum metric m) {
    return m == METRIC_ACCURACY || m == METRIC_INVALID_RATE ? "wilson" : "bootstrap";
}

static json_t *figure(enum metric m, double value, struct interval i) {
    return json_pack("{s:o, s:o, s:o, s:s}", "value", number(value), "low", number(i.low), "high",
                     number(i.high), "interval", interval_method(m));
}

/* ---- figures ---- */

/* Answers are the most probable label, so none of those is invalid: the share of invalid answers comes from the rows that
 * were answered freely, where there are any. */
static void put_free(const struct scores *s, struct metrics *m, struct interval *intervals) {
    if (s->n_free == 0)
        return;
    m->value[METRIC_INVALID_RATE] = (double)s->n_free_invalid / (double)s->n_free;
    intervals[METRIC_INVALID_RATE] = interval_wilson(s->n_free_invalid, s->n_free);
}

/* Right and wrong are no labels of a task: what speaks of labels says nothing about written answers. */
static void drop_labels_figures(struct metrics *m, struct interval *intervals) {
    for (int k = 0; k < METRIC_COUNT; k++) {
        if (k == METRIC_ACCURACY || k == METRIC_INVALID_RATE)
            continue;
        m->value[k] = NAN;
        intervals[k] = (struct interval){NAN, NAN};
    }
}

static int metrics_json(const struct scores *s, json_t **out, struct err *e) {
    struct scored view = scores_view(s);
    struct metrics m;
    struct interval intervals[METRIC_COUNT];
    int rc = metrics_compute(&view, &m, e);
    if (rc == 0)
        rc = interval_metrics(&view, &(struct bootstrap_options){.seed = BOOTSTRAP_SEED}, intervals, e);
    if (rc < 0)
        return rc;
    put_free(s, &m, intervals);
    if (s->written)
        drop_labels_figures(&m, intervals);
    json_t *j = json_object();
    int failed = !j;
    for (int k = 0; k < METRIC_COUNT; k++)
        failed |= json_object_set_new(j, metric_name((enum metric)k),
                                      figure((enum metric)k, m.value[k], intervals[k]));
    *out = j;
    return failed ? no_memory(e) : 0;
}

/* The shares by field, or of words: see result.h. */
static json_t *answers_json(const struct result *r) {
    json_t *fields = json_object();
    int64_t n = r->scores->n;
    for (int i = 0; i < r->task->n_answer && r->task->kind == TASK_EXTRACT; i++) {
        int64_t right = written_field_right(r->task, r->rows, r->scores, i);
        struct interval x = interval_wilson(right, n);
        json_object_set_new(fields, r->task->answer[i].name,
                            figure(METRIC_ACCURACY, n ? (double)right / (double)n : NAN, x));
    }
    if (r->task->kind == TASK_EXTRACT)
        return json_pack("{s:o}", "fields", fields);
    json_decref(fields);
    return json_pack("{s:o}", "word_f1", number(written_word_f1(r->rows, r->scores)));
}

static json_t *labels_json(const struct task *t) {
    json_t *j = json_array();
    for (int i = 0; i < t->n_labels; i++)
        json_array_append_new(j, json_string(t->labels[i].name));
    return j;
}

static json_t *confusion_json(const struct result *r) {
    struct scored view = scores_view(r->scores);
    int width = view.n_labels + 1;
    int64_t *matrix = calloc((size_t)(view.n_labels * width), sizeof *matrix);
    json_t *rows = json_array();
    if (matrix)
        metrics_confusion(&view, matrix);
    for (int t = 0; matrix && t < view.n_labels; t++) {
        json_t *row = json_array();
        for (int a = 0; a < width; a++)
            json_array_append_new(row, json_integer(matrix[t * width + a]));
        json_array_append_new(rows, row);
    }
    free(matrix);
    return json_pack("{s:o, s:o}", "labels", labels_json(r->task), "matrix", rows);
}

static json_t *rows_json(const struct task *t, const struct rows *rows) {
    int64_t *count = calloc((size_t)t->n_labels, sizeof *count);
    json_t *by_label = json_object();
    if (count)
        rows_count(rows, t, count);
    for (int i = 0; count && i < t->n_labels; i++)
        json_object_set_new(by_label, t->labels[i].name, json_integer(count[i]));
    free(count);
    return json_pack("{s:s, s:I, s:s, s:o}", "source", rows->source, "n", (json_int_t)rows->n, "sha256",
                     rows->sha256, "labels", by_label);
}

/* ---- each figure at its own threshold ---- */

static int threshold_json(const struct scored *validation, const struct scored *rows, enum metric what,
                          int *answer, json_t **out, struct err *e) {
    double threshold = 0;
    struct metrics m;
    struct interval intervals[METRIC_COUNT];
    int rc = threshold_choose(validation, what, &threshold, NULL, e);
    if (rc < 0)
        return rc;
    threshold_apply(rows, threshold, answer);
    struct scored cut = *rows;
    cut.answer = answer;
    cut.prob = NULL; /* the figures of the matrix alone */
    rc = metrics_compute(&cut, &m, e);
    if (rc == 0)
        rc = interval_metrics(&cut, &(struct bootstrap_options){.seed = BOOTSTRAP_SEED}, intervals, e);
    if (rc < 0)
        return rc;
    *out = figure(what, m.value[what], intervals[what]);
    return *out && json_object_set_new(*out, "threshold", json_real(threshold)) == 0 ? 0 : no_memory(e);
}

static int thresholds_json(const struct result *r, json_t **out, struct err *e) {
    static const enum metric figures[] = {METRIC_ACCURACY, METRIC_BALANCED_ACCURACY, METRIC_F1};
    struct scored validation = scores_view(r->validation_scores), rows = scores_view(r->scores);
    int *answer = calloc((size_t)rows.n_rows + 1, sizeof *answer);
    json_t *j = json_pack("{s:o}", "rows", rows_json(r->task, r->validation));
    int rc = answer && j ? 0 : no_memory(e);
    for (size_t i = 0; i < sizeof figures / sizeof *figures && rc == 0; i++) {
        json_t *one = NULL;
        rc = threshold_json(&validation, &rows, figures[i], answer, &one, e);
        if (rc == 0 && json_object_set_new(j, metric_name(figures[i]), one) != 0)
            rc = no_memory(e);
    }
    free(answer);
    *out = j;
    return rc;
}

/* ---- the document ---- */

static int add_figures(const struct result *r, json_t *j, struct err *e) {
    json_t *metrics = NULL, *thresholds = NULL;
    int rc = metrics_json(r->scores, &metrics, e);
    if (rc == 0 && r->validation && r->scores->prob && r->task->n_labels == 2)
        rc = thresholds_json(r, &thresholds, e);
    if (rc < 0 || json_object_set_new(j, "metrics", metrics) != 0) {
        json_decref(thresholds);
        return rc < 0 ? rc : no_memory(e);
    }
    return !thresholds || json_object_set_new(j, "thresholds", thresholds) == 0 ? 0 : no_memory(e);
}

int result_to_json(const struct result *r, json_t **out, struct err *e) {
    const struct scores *s = r->scores;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s?, s:o}", "format", RESULT_FORMAT, "who",
                          r->who, "key", r->key, "model", r->model, "prompt_hash", s->prompt_hash, "decoding",
                          r->decoding, "rows", rows_json(r->task, r->rows), "positive", r->task->positive,
                          "confusion", s->written ? json_null() : confusion_json(r));
    if (!j)
        return no_memory(e);
    int rc = add_figures(r, j, e);
    if (rc == 0 && s->written)
        json_object_set_new(j, "answers", answers_json(r));
    if (rc == 0 && s->n_free > 0)
        json_object_set_new(j, "free_answers",
                            json_pack("{s:I, s:I, s:I}", "n", (json_int_t)s->n_free, "invalid",
                                      (json_int_t)s->n_free_invalid, "same", (json_int_t)s->n_free_same));
    json_object_set_new(j, "seconds", number(s->seconds));
    json_object_set_new(j, "tokens", json_integer(s->n_tokens));
    if (rc < 0) {
        json_decref(j);
        return rc;
    }
    *out = j;
    return 0;
}

double result_value(const json_t *result, const char *metric) {
    const json_t *value =
        json_object_get(json_object_get(json_object_get(result, "metrics"), metric), "value");
    return json_is_number(value) ? json_number_value(value) : NAN;
}

int result_short(const json_t *result, json_t **out, struct err *e) {
    static const char *const names[] = {"accuracy", "balanced_accuracy", "macro_f1", "f1", "pr_auc",
                                        "brier",    "invalid_rate"};
    const json_t *accuracy = json_object_get(json_object_get(result, "metrics"), "accuracy");
    json_t *j = json_object();
    int failed = !j;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        failed |= json_object_set_new(j, names[i], number(result_value(result, names[i])));
    failed |= json_object_set(j, "n", json_object_get(json_object_get(result, "rows"), "n"));
    failed |= json_object_set(j, "low", json_object_get(accuracy, "low"));
    failed |= json_object_set(j, "high", json_object_get(accuracy, "high"));
    if (failed) {
        json_decref(j);
        return no_memory(e);
    }
    *out = j;
    return 0;
}

int result_compare(const char *a, const struct scores *scores_a, const char *b, const struct scores *scores_b,
                   json_t **out, struct err *e) {
    struct scored view_a = scores_view(scores_a), view_b = scores_view(scores_b);
    struct paired p;
    view_a.prob = view_b.prob = NULL; /* accuracies alone */
    int rc = paired_compare(&view_a, &view_b, &(struct bootstrap_options){.n_resamples = 1}, &p, e);
    if (rc < 0)
        return rc;
    *out = json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:f, s:I, s:I}", "a", a, "b", b, "n", (json_int_t)p.n,
                     "difference", number(p.difference), "low", number(p.interval.low), "high",
                     number(p.interval.high), "p_value", p.p_value, "only_a", (json_int_t)p.only_a, "only_b",
                     (json_int_t)p.only_b);
    return *out ? 0 : no_memory(e);
}
