/* Metrics in one pass over the rows and one over the sorted scores. tests/eval has a plain version of each that counts
 * pairs and thresholds one by one. */
#include "eval/metrics.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct metrics_work {
    const struct scored *rows;
    int64_t *order;  /* rows by falling probability of the positive label; NULL: no probabilities */
    double *matrix;  /* [n_labels, n_labels + 1] */
    double *answers; /* [n_labels] */
};

const char *metric_name(enum metric m) {
    static const char *const names[] = {
#define X(name, text) text,
        METRICS(X)
#undef X
    };
    return names[m];
}

static int check_rows(const struct scored *s, struct err *e) {
    for (int64_t i = 0; i < s->n_rows; i++) {
        if (s->truth[i] < 0 || s->truth[i] >= s->n_labels)
            return err_set(e, ERR_INPUT, "metrics_work_new", "row %lld has no label", (long long)i + 1);
        if (s->answer[i] < -1 || s->answer[i] >= s->n_labels)
            return err_set(e, ERR_INPUT, "metrics_work_new", "row %lld has an answer out of range",
                           (long long)i + 1);
        for (int k = 0; s->prob && k < s->n_labels; k++) {
            double p = s->prob[i * s->n_labels + k];
            if (!(p >= 0 && p <= 1))
                return err_set(e, ERR_INPUT, "metrics_work_new", "row %lld has a probability of %g",
                               (long long)i + 1, p);
        }
    }
    return 0;
}

/* ---- sorting rows by score; qsort has no context, so the scores travel with the rows ---- */

struct scored_row {
    double score;
    int64_t row;
};

static int by_falling_score(const void *a, const void *b) {
    const struct scored_row *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->row < y->row ? -1 : 1;
}

static int64_t *order_rows(const struct scored *s) {
    size_t n = (size_t)s->n_rows + 1;
    struct scored_row *sorted = calloc(n, sizeof *sorted);
    int64_t *order = calloc(n, sizeof *order);
    if (!sorted || !order) {
        free(sorted);
        free(order);
        return NULL;
    }
    for (int64_t i = 0; i < s->n_rows; i++)
        sorted[i] = (struct scored_row){s->prob[i * s->n_labels + s->positive], i};
    qsort(sorted, (size_t)s->n_rows, sizeof *sorted, by_falling_score);
    for (int64_t i = 0; i < s->n_rows; i++)
        order[i] = sorted[i].row;
    free(sorted);
    return order;
}

int metrics_work_new(struct metrics_work **out, const struct scored *s, struct err *e) {
    int rc = check_rows(s, e);
    if (rc < 0)
        return rc;
    struct metrics_work *w = calloc(1, sizeof *w);
    size_t labels = (size_t)s->n_labels;
    if (w) {
        w->rows = s;
        w->matrix = calloc(labels * (labels + 1), sizeof *w->matrix);
        w->answers = calloc(labels, sizeof *w->answers);
        w->order = s->prob ? order_rows(s) : NULL;
    }
    if (!w || !w->matrix || !w->answers || (s->prob && !w->order)) {
        metrics_work_free(w);
        return err_set(e, ERR_NO_MEMORY, "metrics_work_new", "out of memory for %lld rows",
                       (long long)s->n_rows);
    }
    *out = w;
    return 0;
}

void metrics_work_free(struct metrics_work *w) {
    if (!w)
        return;
    free(w->order);
    free(w->matrix);
    free(w->answers);
    free(w);
}

/* ---- figures of the confusion matrix ---- */

static void fill_matrix(struct metrics_work *w, const int32_t *count) {
    const struct scored *s = w->rows;
    int width = s->n_labels + 1;
    memset(w->matrix, 0, sizeof *w->matrix * (size_t)(s->n_labels * width));
    for (int64_t i = 0; i < s->n_rows; i++) {
        int answer = s->answer[i] < 0 ? s->n_labels : s->answer[i];
        w->matrix[s->truth[i] * width + answer] += count ? count[i] : 1;
    }
}

static double ratio(double a, double b) {
    return b > 0 ? a / b : NAN;
}

static void measure_matrix(struct metrics_work *w, struct metrics *out) {
    int labels = w->rows->n_labels, width = labels + 1;
    const double *c = w->matrix;
    double n = 0, right = 0, invalid = 0, recalls = 0, f1s = 0;
    int n_recalls = 0, n_f1s = 0;
    memset(w->answers, 0, sizeof *w->answers * (size_t)labels);
    for (int t = 0; t < labels; t++)
        for (int a = 0; a < labels; a++)
            w->answers[a] += c[t * width + a];
    out->value[METRIC_F1] = NAN;
    for (int t = 0; t < labels; t++) {
        double rows = 0, hits = c[t * width + t];
        for (int a = 0; a < width; a++)
            rows += c[t * width + a];
        n += rows;
        right += hits;
        invalid += c[t * width + labels];
        if (rows > 0) {
            recalls += hits / rows;
            n_recalls++;
        }
        if (rows + w->answers[t] > 0) {
            double f1 = 2 * hits / (rows + w->answers[t]);
            f1s += f1;
            n_f1s++;
            if (t == w->rows->positive)
                out->value[METRIC_F1] = f1;
        }
    }
    out->value[METRIC_ACCURACY] = ratio(right, n);
    out->value[METRIC_BALANCED_ACCURACY] = ratio(recalls, n_recalls);
    out->value[METRIC_MACRO_F1] = ratio(f1s, n_f1s);
    out->value[METRIC_INVALID_RATE] = ratio(invalid, n);
}

/* ---- figures of the probabilities ---- */

/* One walk down the falling scores; rows of one score enter together. */
static void measure_ranking(const struct metrics_work *w, const int32_t *count, struct metrics *out) {
    const struct scored *s = w->rows;
    double positives = 0, negatives = 0, hits = 0, misses = 0, precision_area = 0, pairs = 0;
    for (int64_t i = 0; i < s->n_rows; i++)
        *(s->truth[i] == s->positive ? &positives : &negatives) += count ? count[i] : 1;
    for (int64_t i = 0; i < s->n_rows;) {
        double score = s->prob[w->order[i] * s->n_labels + s->positive], new_hits = 0, new_misses = 0;
        for (; i < s->n_rows && s->prob[w->order[i] * s->n_labels + s->positive] == score; i++)
            *(s->truth[w->order[i]] == s->positive ? &new_hits : &new_misses) +=
                count ? count[w->order[i]] : 1;
        pairs += new_misses * (hits + new_hits / 2);
        hits += new_hits;
        misses += new_misses;
        if (new_hits > 0)
            precision_area += new_hits * hits / (hits + misses);
    }
    out->value[METRIC_PR_AUC] = ratio(precision_area, positives);
    out->value[METRIC_ROC_AUC] = ratio(pairs, positives * negatives);
}

static void measure_calibration(const struct scored *s, const int32_t *count, struct metrics *out) {
    double n = 0, brier = 0, loss = 0;
    for (int64_t i = 0; i < s->n_rows; i++) {
        double weight = count ? count[i] : 1, squares = 0;
        const double *p = s->prob + i * s->n_labels;
        if (weight == 0)
            continue;
        for (int k = 0; k < s->n_labels; k++) {
            double d = p[k] - (k == s->truth[i]);
            squares += d * d;
        }
        n += weight;
        brier += weight * squares / 2;
        loss -= weight * log(fmax(p[s->truth[i]], 1e-12));
    }
    out->value[METRIC_BRIER] = ratio(brier, n);
    out->value[METRIC_LOG_LOSS] = ratio(loss, n);
}

void metrics_measure(struct metrics_work *w, const int32_t *count, struct metrics *out) {
    for (int m = 0; m < METRIC_COUNT; m++)
        out->value[m] = NAN;
    fill_matrix(w, count);
    measure_matrix(w, out);
    if (!w->rows->prob)
        return;
    measure_ranking(w, count, out);
    measure_calibration(w->rows, count, out);
}

int metrics_compute(const struct scored *s, struct metrics *out, struct err *e) {
    struct metrics_work *w;
    int rc = metrics_work_new(&w, s, e);
    if (rc < 0)
        return rc;
    metrics_measure(w, NULL, out);
    metrics_work_free(w);
    return 0;
}

void metrics_confusion(const struct scored *s, int64_t *matrix) {
    int width = s->n_labels + 1;
    memset(matrix, 0, sizeof *matrix * (size_t)(s->n_labels * width));
    for (int64_t i = 0; i < s->n_rows; i++)
        matrix[s->truth[i] * width + (s->answer[i] < 0 ? s->n_labels : s->answer[i])]++;
}
