/* Intervals: Wilson and Newcombe against what defines them and against how often they hold the truth; McNemar against the
 * binomial summed plainly; the bootstrap against Wilson where both apply. */
#include "base/rng.h"
#include "eval/interval.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Wilson's ends are where |p - p0| = z sqrt(p0 (1 - p0) / n): found here by halving. */
static double wilson_end(double p, double n, bool upper) {
    double near = p, far = upper ? 1 : 0;
    for (int i = 0; i < 200; i++) {
        double middle = (near + far) / 2;
        bool inside = fabs(p - middle) <= 1.959963984540054 * sqrt(middle * (1 - middle) / n);
        *(inside ? &near : &far) = middle;
    }
    return near;
}

static void test_wilson_solves_its_equation(void **state) {
    (void)state;
    for (int64_t n = 1; n < 400; n = n * 2 + 1)
        for (int64_t hits = 0; hits <= n; hits += 1 + n / 17) {
            struct interval i = interval_wilson(hits, n);
            double p = (double)hits / (double)n;
            assert_true(fabs(i.low - wilson_end(p, (double)n, false)) < 1e-9);
            assert_true(fabs(i.high - wilson_end(p, (double)n, true)) < 1e-9);
            assert_true(i.low >= 0 && i.high <= 1 && i.low <= p && p <= i.high);
        }
    struct interval none = interval_wilson(0, 0);
    assert_true(none.low == 0 && none.high == 1);
    struct interval all = interval_wilson(1000, 1000); /* z^2 / (n + z^2) below 1 */
    assert_true(all.high == 1 && fabs(all.low - 1000 / (1000 + 3.8414588)) < 1e-6);
}

static void test_mcnemar_is_the_binomial(void **state) {
    (void)state;
    for (int64_t a = 0; a < 15; a++)
        for (int64_t b = 0; b < 15; b++) {
            double ways = 1, total = 0, tail = 0; /* binomial coefficients of a + b, one by one */
            for (int64_t k = 0; k <= a + b; k++) {
                total += ways;
                if (k <= (a < b ? a : b))
                    tail += ways;
                ways = ways * (double)(a + b - k) / (double)(k + 1);
            }
            double want = fmin(1, 2 * tail / total);
            assert_true(fabs(paired_mcnemar(a, b) - want) < 1e-9);
        }
    assert_true(paired_mcnemar(0, 0) == 1);
    assert_true(paired_mcnemar(5000, 5000) > 0.9 && paired_mcnemar(200, 2000) < 1e-100);
}

/* How often the interval holds the true difference, over drawn tables of 120 rows. Method 10 was published with a mean
 * coverage near 0.95; 1,500 draws have a standard error of 0.006, so 0.93 to 0.985 leaves room for chance only. */
static void test_newcombe_covers(void **state) {
    (void)state;
    static const double cells[][3] = {{.8, .1, .05}, {.9, .02, .06}, {.4, .25, .1}, {.1, .02, .03}};
    struct rng r;
    rng_seed(&r, 11);
    for (size_t c = 0; c < sizeof cells / sizeof *cells; c++) {
        const double *p = cells[c];
        int held = 0, rounds = 1500;
        for (int round = 0; round < rounds; round++) {
            int64_t table[4] = {0};
            for (int i = 0; i < 120; i++) {
                double u = rng_double(&r);
                table[u < p[0] ? 0 : u < p[0] + p[1] ? 1 : u < p[0] + p[1] + p[2] ? 2 : 3]++;
            }
            struct interval i = paired_newcombe(table[0], table[1], table[2], table[3]);
            held += i.low <= p[1] - p[2] && p[1] - p[2] <= i.high;
        }
        double share = (double)held / rounds;
        if (share < 0.93 || share > 0.985)
            fail_msg("cells %zu: the interval holds the truth in %.3f of draws", c, share);
    }
}

static void test_newcombe_is_symmetric(void **state) {
    (void)state;
    struct interval a = paired_newcombe(80, 9, 4, 7), b = paired_newcombe(80, 4, 9, 7);
    assert_true(fabs(a.low + b.high) < 1e-12 && fabs(a.high + b.low) < 1e-12);
    struct interval same = paired_newcombe(50, 0, 0, 0), none = paired_newcombe(0, 0, 0, 0);
    assert_true(same.low < 0 && same.high > 0 && same.high < 0.1);
    assert_true(none.low == -1 && none.high == 1);
}

enum { N = 400 };
static int truth[N], good[N], fair[N];
static double prob_good[2 * N], prob_fair[2 * N];

static void draw_models(void) {
    struct rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < N; i++) {
        truth[i] = i % 2;
        double noise = rng_normal(&r), shared = truth[i] ? 1 : -1;
        prob_good[2 * i + 1] = 1 / (1 + exp(-(2 * shared + noise)));
        prob_fair[2 * i + 1] = 1 / (1 + exp(-(0.7 * shared + noise)));
        prob_good[2 * i] = 1 - prob_good[2 * i + 1];
        prob_fair[2 * i] = 1 - prob_fair[2 * i + 1];
        good[i] = prob_good[2 * i + 1] > 0.5;
        fair[i] = prob_fair[2 * i + 1] > 0.5;
    }
}

static void test_intervals_hold_the_figures(void **state) {
    (void)state;
    draw_models();
    struct scored s = {N, 2, 1, truth, good, prob_good};
    struct interval once[METRIC_COUNT], again[METRIC_COUNT];
    struct metrics m;
    struct bootstrap_options o = {.n_resamples = 500, .seed = 9};
    assert_int_equal(metrics_compute(&s, &m, NULL), 0);
    assert_int_equal(interval_metrics(&s, &o, once, NULL), 0);
    assert_int_equal(interval_metrics(&s, &o, again, NULL), 0);
    assert_memory_equal(once, again, sizeof once); /* the same seed, the same ends */
    for (int k = 0; k < METRIC_COUNT; k++)
        assert_true(once[k].low <= m.value[k] && m.value[k] <= once[k].high);
    /* rows are balanced, so balanced accuracy is accuracy: the bootstrap's ends lie near Wilson's */
    assert_true(fabs(once[METRIC_BALANCED_ACCURACY].low - once[METRIC_ACCURACY].low) < 0.01);
    assert_true(fabs(once[METRIC_BALANCED_ACCURACY].high - once[METRIC_ACCURACY].high) < 0.01);
}

static void test_paired(void **state) {
    (void)state;
    draw_models();
    struct scored a = {N, 2, 1, truth, good, prob_good}, b = {N, 2, 1, truth, fair, prob_fair};
    struct bootstrap_options o = {.n_resamples = 500, .seed = 1};
    struct paired p, same;
    assert_int_equal(paired_compare(&a, &b, &o, &p, NULL), 0);
    assert_int_equal(p.both + p.only_a + p.only_b + p.neither, N);
    assert_true(p.difference > 0 && p.interval.low > 0 && p.p_value < 1e-6);
    assert_true(fabs(p.interval.low - p.metric_interval[METRIC_ACCURACY].low) < 0.02);
    assert_true(fabs(p.interval.high - p.metric_interval[METRIC_ACCURACY].high) < 0.02);
    assert_true(p.metric_interval[METRIC_PR_AUC].low > 0 && p.metric_interval[METRIC_BRIER].high < 0);
    assert_int_equal(paired_compare(&a, &a, &o, &same, NULL), 0);
    assert_true(same.p_value == 1 && same.difference == 0 && same.metric_interval[METRIC_F1].high == 0);
    b.n_rows--;
    assert_int_equal(paired_compare(&a, &b, &o, &p, NULL), ERR_MISMATCH);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wilson_solves_its_equation),
        cmocka_unit_test(test_mcnemar_is_the_binomial),
        cmocka_unit_test(test_newcombe_covers),
        cmocka_unit_test(test_newcombe_is_symmetric),
        cmocka_unit_test(test_intervals_hold_the_figures),
        cmocka_unit_test(test_paired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
