/* Thresholds: as good as the best of all cuts tried one by one, and applied as chosen. */
#include "base/rng.h"
#include "eval/threshold.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { ROWS = 90 };
static int truth[ROWS], answer[ROWS];
static double prob[2 * ROWS];

static double figure_at(struct scored *s, enum metric what, double threshold) {
    struct metrics m;
    threshold_apply(s, threshold, answer);
    assert_int_equal(metrics_compute(s, &m, NULL), 0);
    return isnan(m.value[what]) ? 0 : m.value[what]; /* F1 of nothing found and nothing to find */
}

static void test_finds_the_best_cut(void **state) {
    (void)state;
    static const enum metric figures[] = {METRIC_ACCURACY, METRIC_BALANCED_ACCURACY, METRIC_F1};
    struct rng r;
    rng_seed(&r, 21);
    for (int round = 0; round < 60; round++) {
        struct scored s = {1 + rng_range(&r, 0, ROWS - 1), 2, round % 2, truth, answer, prob};
        for (int64_t i = 0; i < s.n_rows; i++) {
            double p = (double)rng_range(&r, 0, round % 3 ? 1000 : 8) / (round % 3 ? 1000 : 8);
            prob[2 * i + s.positive] = p;
            prob[2 * i + 1 - s.positive] = 1 - p;
            truth[i] = rng_chance(&r, 0.2 + 0.6 * p) ? s.positive : 1 - s.positive;
        }
        enum metric what = figures[round % 3];
        double threshold = NAN, reached = NAN, best = figure_at(&s, what, INFINITY);
        for (int64_t i = 0; i < s.n_rows; i++)
            best = fmax(best, figure_at(&s, what, prob[2 * i + s.positive]));
        assert_int_equal(threshold_choose(&s, what, &threshold, &reached, NULL), 0);
        assert_true(isfinite(threshold));
        assert_true(fabs(reached - best) < 1e-12);
        assert_true(fabs(figure_at(&s, what, threshold) - best) < 1e-12);
    }
}

static void test_prefers_the_middle(void **state) {
    (void)state;
    static const int t[] = {0, 0, 1, 1};
    static const double p[] = {.9, .1, .8, .2, .2, .8, .1, .9};
    struct scored s = {4, 2, 1, t, answer, p};
    double threshold = 0;
    assert_int_equal(threshold_choose(&s, METRIC_ACCURACY, &threshold, NULL, NULL), 0);
    assert_true(fabs(threshold - 0.5) < 1e-12);
}

static void test_refuses_what_has_none(void **state) {
    (void)state;
    static const int t[] = {0};
    static const double p[] = {1, 0, 0};
    struct scored s = {1, 2, 1, t, t, p};
    double threshold = 7;
    assert_int_equal(threshold_choose(&s, METRIC_PR_AUC, &threshold, NULL, NULL), ERR_INPUT);
    s.n_labels = 3;
    assert_int_equal(threshold_choose(&s, METRIC_F1, &threshold, NULL, NULL), ERR_INPUT);
    s.n_labels = 2;
    s.n_rows = 0;
    assert_int_equal(threshold_choose(&s, METRIC_F1, &threshold, NULL, NULL), ERR_INPUT);
    assert_true(threshold == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_best_cut),
        cmocka_unit_test(test_prefers_the_middle),
        cmocka_unit_test(test_refuses_what_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
