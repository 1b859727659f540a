/* Which candidate is chosen on few rows: one row of a hundred is more than the tolerance. */
#include "compress/internal.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 100, LABELS = 2 };

/* Row 0 is the one that the smaller file answers otherwise; the source finds its own answer `sure` probable. */
static struct compress_run_state x;
static struct compress_result r;
static struct compress_request q;
static struct compress_candidate candidates[2];

static void fill(struct scores *s, double sure, int first_answer) {
    *s = (struct scores){.n = ROWS,
                         .n_labels = LABELS,
                         .truth = calloc(ROWS, sizeof(int)),
                         .answer = calloc(ROWS, sizeof(int)),
                         .prob = calloc((size_t)ROWS * LABELS, sizeof(double))};
    assert_true(s->truth && s->answer && s->prob);
    for (int i = 0; i < ROWS; i++) {
        s->prob[i * LABELS] = i == 0 ? sure : 0.99;
        s->prob[i * LABELS + 1] = 1 - s->prob[i * LABELS];
    }
    s->answer[0] = first_answer;
}

/* The place of the chosen one: 0 the larger file, which answers as the source does, 1 the smaller. */
static int choose(double sure, int64_t rows_wrong) {
    struct err e = {0};
    static const struct rows validation = {.n = ROWS};
    q.validation = &validation;
    r = (struct compress_result){.candidates = candidates, .n_candidates = 2, .source_accuracy = 1};
    x = (struct compress_run_state){.q = &q, .r = &r, .first = {.n = ROWS}};
    fill(&r.source, sure, 0);
    for (int i = 0; i < 2; i++) {
        candidates[i] = (struct compress_candidate){.file_bytes = i == 0 ? 2000 : 1000};
        fill(&candidates[i].scores, i == 0 ? sure : 0.49, i);
        for (int64_t k = 1; i == 1 && k < rows_wrong; k++)
            candidates[i].scores.answer[k] = 1;
        assert_int_equal(compress_compare(&x, &candidates[i], &e), 0);
    }
    compress_choose(&x);
    scores_release(&r.source);
    for (int i = 0; i < 2; i++)
        scores_release(&candidates[i].scores);
    return r.chosen;
}

static void test_a_toss_up_is_no_loss(void **state) {
    (void)state;
    assert_int_equal(choose(0.6, 1), 1);
    assert_true(candidates[1].expected_loss > 0.0019 && candidates[1].expected_loss < 0.0021);
}

static void test_a_row_that_was_certain_is(void **state) {
    (void)state;
    assert_int_equal(choose(0.99, 1), 0);
}

static void test_two_rows_are(void **state) {
    (void)state;
    assert_int_equal(choose(0.6, 2), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_toss_up_is_no_loss),
                                       cmocka_unit_test(test_a_row_that_was_certain_is),
                                       cmocka_unit_test(test_two_rows_are)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
