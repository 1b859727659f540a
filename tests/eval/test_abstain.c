/* Chow's cut and the risk-coverage curve on rows counted by hand. */
#include "eval/abstain.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MOST = 400 };

static struct {
    int truth[MOST], answer[MOST];
    double prob[MOST * 2];
    int64_t n;
} rows;

static void add(double confidence, bool wrong) {
    int64_t i = rows.n++;
    rows.answer[i] = 1;
    rows.truth[i] = wrong ? 0 : 1;
    rows.prob[2 * i] = 1 - confidence;
    rows.prob[2 * i + 1] = confidence;
}

static struct scored view(void) {
    return (struct scored){
        .n_rows = rows.n, .n_labels = 2, .truth = rows.truth, .answer = rows.answer, .prob = rows.prob};
}

/* 6 sure and right, then at 0.6 one right and two wrong, at 0.55 one wrong. */
static void fill(void) {
    rows.n = 0;
    add(0.55, true);
    for (int i = 0; i < 6; i++)
        add(0.9 + i * 0.01, false);
    add(0.6, true);
    add(0.6, false);
    add(0.6, true);
}

static void test_cut(void **state) {
    (void)state;
    struct abstain a;
    fill();
    assert_int_equal(abstain_choose(&(struct scored){0}, 0.2, &a, NULL), ERR_INPUT);
    struct scored s = view();
    assert_int_equal(abstain_choose(&s, 0, &a, NULL), ERR_INPUT);
    /* leaving the last four costs 0.8, answering all of them 3 */
    assert_int_equal(abstain_choose(&s, 0.2, &a, NULL), 0);
    assert_float_equal(a.threshold, 0.75, 1e-12);
    assert_float_equal(a.coverage, 0.6, 1e-12);
    assert_float_equal(a.risk, 0, 1e-12);
    assert_float_equal(a.risk_all, 0.3, 1e-12);
    /* at 0.7 the three at 0.6 cost 2.1 left and 2 answered; the one at 0.55 0.7 left and 1 answered */
    assert_int_equal(abstain_choose(&s, 0.7, &a, NULL), 0);
    assert_float_equal(a.threshold, 0.575, 1e-12);
    assert_float_equal(a.coverage, 0.9, 1e-12);
    assert_float_equal(a.risk, 2.0 / 9, 1e-12);
    /* a row left is as dear as a wrong one: answer all, the tie goes to the larger coverage */
    assert_int_equal(abstain_choose(&s, 1, &a, NULL), 0);
    assert_float_equal(a.threshold, 0, 0);
    assert_float_equal(a.coverage, 1, 0);
}

static void test_curve(void **state) {
    (void)state;
    struct abstain a;
    fill();
    struct scored s = view();
    assert_int_equal(abstain_choose(&s, 0.2, &a, NULL), 0);
    assert_int_equal(a.n_points, 8); /* six single ones, three together, the last */
    assert_float_equal(a.points[6].coverage, 0.9, 1e-12);
    assert_float_equal(a.points[6].risk, 2.0 / 9, 1e-12);
    assert_float_equal(a.points[7].coverage, 1, 0);
    assert_float_equal(a.points[7].risk, 0.3, 1e-12);
    assert_float_equal(a.aurc, (3 * 2.0 / 9 + 0.3) / 10, 1e-12);
}

static void test_many_rows_few_points(void **state) {
    (void)state;
    struct abstain a;
    rows.n = 0;
    for (int i = 0; i < MOST; i++)
        add(0.5 + i * 0.001, i < 40);
    struct scored s = view();
    assert_int_equal(abstain_choose(&s, 0.2, &a, NULL), 0);
    assert_in_range(a.n_points, 30, ABSTAIN_POINTS);
    for (int i = 1; i < a.n_points; i++)
        assert_true(a.points[i].coverage > a.points[i - 1].coverage);
    assert_float_equal(a.points[a.n_points - 1].coverage, 1, 0);
    assert_float_equal(a.points[a.n_points - 1].risk, 0.1, 1e-12);
    assert_float_equal(a.coverage, 0.9, 1e-12);
}

static void test_hopeless(void **state) {
    (void)state;
    struct abstain a;
    rows.n = 0;
    for (int i = 0; i < 10; i++)
        add(0.5 + i * 0.01, true);
    struct scored s = view();
    assert_int_equal(abstain_choose(&s, 0.2, &a, NULL), 0);
    assert_float_equal(a.coverage, 0, 0);
    assert_float_equal(a.threshold, 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_curve),
        cmocka_unit_test(test_many_rows_few_points),
        cmocka_unit_test(test_hopeless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
