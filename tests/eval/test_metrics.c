/* Metrics against a slow plain reference that counts rows, pairs and thresholds one by one, and against figures worked
 * out by hand. Tolerance 1e-12: both sum at most a few hundred terms of size 1 in double. */
#include "base/rng.h"
#include "eval/metrics.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 160, LABELS = 4 };

static int truth[ROWS], answer[ROWS];
static double prob[ROWS * LABELS];
static int32_t count[ROWS];

/* Rows of a random model: coarse scores, so that ties occur; some invalid answers. */
static struct scored random_rows(struct rng *r, int n_labels, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, *p = prob + i * n_labels;
        truth[i] = (int)rng_range(r, 0, n_labels - 1);
        for (int k = 0; k < n_labels; k++)
            sum += p[k] = (double)rng_range(r, 1, 6) + (k == truth[i]);
        int best = 0;
        for (int k = 0; k < n_labels; k++) {
            p[k] /= sum;
            best = p[k] > p[best] ? k : best;
        }
        answer[i] = rng_chance(r, 0.1) ? -1 : best;
        count[i] = (int32_t)rng_range(r, 0, 3);
    }
    return (struct scored){n, n_labels, n_labels - 1, truth, answer, prob};
}

/* ---- the reference: weights are repetitions, every figure by its definition ---- */

static double weight(const int32_t *c, int64_t i) {
    return c ? c[i] : 1;
}

static double count_rows(const struct scored *s, const int32_t *c, int t, int a) {
    double n = 0;
    for (int64_t i = 0; i < s->n_rows; i++)
        if ((t < 0 || s->truth[i] == t) && (a == -2 || s->answer[i] == a))
            n += weight(c, i);
    return n;
}

static double label_f1(const struct scored *s, const int32_t *c, int t) {
    double hits = count_rows(s, c, t, t), of_label = count_rows(s, c, t, -2),
           answered = count_rows(s, c, -1, t);
    if (of_label + answered == 0)
        return NAN;
    double precision = answered > 0 ? hits / answered : 0, recall = of_label > 0 ? hits / of_label : 0;
    return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
}

static double score(const struct scored *s, int64_t i) {
    return s->prob[i * s->n_labels + s->positive];
}

static double plain_pr_auc(const struct scored *s, const int32_t *c) {
    double area = 0, positives = count_rows(s, c, s->positive, -2);
    for (int64_t i = 0; i < s->n_rows;
         i++) { /* each positive row contributes the precision at its own score */
        if (s->truth[i] != s->positive || weight(c, i) == 0)
            continue;
        double hits = 0, taken = 0;
        for (int64_t k = 0; k < s->n_rows; k++)
            if (score(s, k) >= score(s, i)) {
                taken += weight(c, k);
                hits += s->truth[k] == s->positive ? weight(c, k) : 0;
            }
        area += weight(c, i) * hits / taken;
    }
    return area / positives;
}

static double plain_roc_auc(const struct scored *s, const int32_t *c) {
    double wins = 0, pairs = 0;
    for (int64_t i = 0; i < s->n_rows; i++)
        for (int64_t k = 0; k < s->n_rows; k++)
            if (s->truth[i] == s->positive && s->truth[k] != s->positive) {
                double w = weight(c, i) * weight(c, k);
                pairs += w;
                wins += w * (score(s, i) > score(s, k) ? 1 : score(s, i) == score(s, k) ? 0.5 : 0);
            }
    return wins / pairs;
}

static void plain_metrics(const struct scored *s, const int32_t *c, double out[METRIC_COUNT]) {
    double n = count_rows(s, c, -1, -2), right = 0, recalls = 0, f1s = 0, n_recalls = 0, n_f1s = 0;
    for (int t = 0; t < s->n_labels; t++) {
        double of_label = count_rows(s, c, t, -2), f1 = label_f1(s, c, t);
        right += count_rows(s, c, t, t);
        if (of_label > 0) {
            recalls += count_rows(s, c, t, t) / of_label;
            n_recalls++;
        }
        if (!isnan(f1)) {
            f1s += f1;
            n_f1s++;
        }
    }
    out[METRIC_ACCURACY] = right / n;
    out[METRIC_BALANCED_ACCURACY] = recalls / n_recalls;
    out[METRIC_MACRO_F1] = f1s / n_f1s;
    out[METRIC_F1] = label_f1(s, c, s->positive);
    out[METRIC_INVALID_RATE] = count_rows(s, c, -1, -1) / n;
    out[METRIC_PR_AUC] = plain_pr_auc(s, c);
    out[METRIC_ROC_AUC] = plain_roc_auc(s, c);
    out[METRIC_BRIER] = out[METRIC_LOG_LOSS] = 0;
    for (int64_t i = 0; i < s->n_rows; i++)
        for (int k = 0; k < s->n_labels; k++) {
            double p = s->prob[i * s->n_labels + k], y = k == s->truth[i];
            out[METRIC_BRIER] += weight(c, i) * (p - y) * (p - y) / 2 / n;
            out[METRIC_LOG_LOSS] -= weight(c, i) * y * log(p) / n;
        }
}

static void compare(const struct scored *s, const int32_t *c) {
    struct metrics_work *w;
    struct metrics m;
    double want[METRIC_COUNT];
    assert_int_equal(metrics_work_new(&w, s, NULL), 0);
    metrics_measure(w, c, &m);
    plain_metrics(s, c, want);
    for (int k = 0; k < METRIC_COUNT; k++)
        if (!(fabs(m.value[k] - want[k]) <= 1e-12) && !(isnan(m.value[k]) && isnan(want[k])))
            fail_msg("%s: %.15g, reference %.15g", metric_name((enum metric)k), m.value[k], want[k]);
    metrics_work_free(w);
}

static void test_reference(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 60; round++) {
        struct scored s = random_rows(&r, 2 + round % 3, 1 + rng_range(&r, 0, ROWS - 1));
        compare(&s, NULL);
        compare(&s, count);
    }
}

static void test_by_hand(void **state) {
    (void)state;
    static const int t[] = {1, 1, 1, 0, 0, 0, 0, 0}, a[] = {1, 1, 0, 1, 0, 0, 0, -1};
    static const double p[] = {.1, .9, .2, .8, .7, .3, .3, .7, .8, .2, .9, .1, 1, 0, .6, .4};
    struct scored s = {8, 2, 1, t, a, p};
    struct metrics m;
    int64_t matrix[6];
    assert_int_equal(metrics_compute(&s, &m, NULL), 0);
    assert_true(fabs(m.value[METRIC_ACCURACY] - 5.0 / 8) < 1e-12);
    assert_true(fabs(m.value[METRIC_BALANCED_ACCURACY] - (2.0 / 3 + 3.0 / 5) / 2) < 1e-12);
    assert_true(fabs(m.value[METRIC_F1] - 2.0 / 3) < 1e-12);
    assert_true(fabs(m.value[METRIC_MACRO_F1] - (2.0 / 3 + 6.0 / 9) / 2) < 1e-12);
    assert_true(fabs(m.value[METRIC_INVALID_RATE] - 1.0 / 8) < 1e-12);
    assert_true(fabs(m.value[METRIC_PR_AUC] - (1 + 1 + 3.0 / 5) / 3) < 1e-12);
    assert_true(fabs(m.value[METRIC_ROC_AUC] - (5 + 5 + 3) / 15.0) < 1e-12);
    metrics_confusion(&s, matrix);
    static const int64_t want[] = {3, 1, 1, 1, 2, 0};
    assert_memory_equal(matrix, want, sizeof want);
}

static void test_undefined_is_nan(void **state) {
    (void)state;
    static const int t[] = {0, 0}, a[] = {0, -1};
    struct scored s = {2, 3, 2, t, a, NULL};
    struct metrics m;
    assert_int_equal(metrics_compute(&s, &m, NULL), 0);
    assert_true(isnan(m.value[METRIC_F1]) && isnan(m.value[METRIC_PR_AUC]) && isnan(m.value[METRIC_BRIER]));
    assert_true(m.value[METRIC_ACCURACY] == 0.5 && m.value[METRIC_BALANCED_ACCURACY] == 0.5);
    s.n_rows = 0;
    assert_int_equal(metrics_compute(&s, &m, NULL), 0);
    assert_true(isnan(m.value[METRIC_ACCURACY]) && isnan(m.value[METRIC_INVALID_RATE]));
}

static void test_refuses_rows_out_of_range(void **state) {
    (void)state;
    int t[] = {0, 1}, a[] = {0, 1};
    double p[] = {.5, .5, .5, .5};
    struct scored s = {2, 2, 0, t, a, p};
    struct metrics m;
    assert_int_equal(metrics_compute(&s, &m, NULL), 0);
    t[1] = 2;
    assert_int_equal(metrics_compute(&s, &m, NULL), ERR_INPUT);
    t[1] = -1;
    assert_int_equal(metrics_compute(&s, &m, NULL), ERR_INPUT);
    t[1] = 1;
    a[0] = -2;
    assert_int_equal(metrics_compute(&s, &m, NULL), ERR_INPUT);
    a[0] = 0;
    p[3] = NAN;
    assert_int_equal(metrics_compute(&s, &m, NULL), ERR_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_undefined_is_nan),
        cmocka_unit_test(test_refuses_rows_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
