/* The choice of a form: which is tried next, which is taken, by made-up answers; tokens of a real vocabulary. */
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "../support/tiny_rows.h"
#include "../support/tiny_task.h"
#include "compress/forms.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 100 };

/* By rising tokens; the whole prompt is the last. */
static void make_trials(struct form_trial trials[FORMS_COUNT]) {
    static const char *const names[FORMS_COUNT] = {"none-compact",   "short-compact", "none-labelled",
                                                   "short-labelled", "full-compact",  "full-labelled"};
    for (int i = 0; i < FORMS_COUNT; i++) {
        trials[i] = (struct form_trial){.tokens = 10 * (i + 1)};
        assert_true(prompt_form_parse(names[i], &trials[i].form));
    }
}

/* Right but for `n_wrong` rows from `first` on. */
static void answer(struct form_trial *f, int first, int n_wrong) {
    f->scores = (struct scores){.n = ROWS, .n_labels = 2};
    f->scores.truth = calloc(ROWS, sizeof(int));
    f->scores.answer = calloc(ROWS, sizeof(int));
    for (int i = 0; i < n_wrong; i++)
        f->scores.answer[(first + i) % ROWS] = 1;
    f->tried = true;
}

static void test_stops_at_the_first_good_one(void **state) {
    (void)state;
    struct form_trial trials[FORMS_COUNT];
    make_trials(trials);
    assert_int_equal(forms_next(trials), 5); /* what all are measured against */
    answer(&trials[5], 0, 3);
    assert_int_equal(forms_next(trials), 0);
    answer(&trials[0], 0, 13); /* ten points worse: standard error 3 points */
    assert_int_equal(forms_next(trials), 1);
    answer(&trials[1], 1, 3); /* one row won, one lost */
    assert_int_equal(forms_next(trials), -1);
    assert_int_equal(forms_choose(trials), 1);
    assert_true(trials[1].chosen && !trials[0].chosen && !trials[5].chosen);
    assert_true(fabs(trials[0].difference + 0.10) < 1e-12);
    assert_true(fabs(trials[0].standard_error - sqrt(10) / ROWS) < 1e-12);
    assert_true(fabs(trials[1].difference) < 1e-12);
    forms_release(trials);
}

static void test_none_is_as_good(void **state) {
    (void)state;
    struct form_trial trials[FORMS_COUNT];
    int at, n = 0;
    make_trials(trials);
    while ((at = forms_next(trials)) >= 0) {
        answer(&trials[at], 0, at == 5 ? 0 : 20);
        n++;
    }
    assert_int_equal(n, FORMS_COUNT);
    assert_int_equal(forms_choose(trials), 5);
    forms_release(trials);
}

/* Many rows that differ make a large error: that alone does not excuse a loss of more than two points. */
static void test_a_large_error_is_no_excuse(void **state) {
    (void)state;
    struct form_trial trials[FORMS_COUNT];
    make_trials(trials);
    answer(&trials[5], 0, 20);
    answer(&trials[0], 50, 23); /* three points worse, standard error 6.5 */
    assert_int_equal(forms_next(trials), 1);
    answer(&trials[1], 50, 21); /* one point */
    assert_int_equal(forms_next(trials), -1);
    assert_int_equal(forms_choose(trials), 1);
    forms_release(trials);
}

/* A later one that is better moves the mark for those before. */
static void test_the_best_is_the_mark(void **state) {
    (void)state;
    struct form_trial trials[FORMS_COUNT];
    make_trials(trials);
    answer(&trials[5], 0, 10);
    answer(&trials[0], 0, 11);
    assert_int_equal(forms_choose(trials), 0);
    answer(&trials[1], 0, 0);
    assert_int_equal(forms_choose(trials), 1);
    forms_release(trials);
}

static void test_tokens(void **state) {
    (void)state;
    struct err e = {0};
    struct task task;
    struct rows rows;
    struct form_trial trials[FORMS_COUNT];
    assert_int_equal(tiny_task(&task, &e), 0);
    tiny_rows(&rows, &task, 5, 1);
    assert_int_equal(tiny_gguf_write("base.gguf", &(struct tiny_gguf){0}, &e), 0);
    assert_int_equal(forms_list(trials, "base.gguf", &task, &rows, &e), 0);
    for (int i = 1; i < FORMS_COUNT; i++)
        assert_true(trials[i].tokens >= trials[i - 1].tokens);
    assert_string_equal(trials[0].name, "none-compact");
    assert_true(trials[0].tokens > 0 && trials[FORMS_COUNT - 1].tokens > 1.5 * trials[0].tokens);
    forms_release(trials);
    tiny_rows_release(&rows);
    task_release(&task);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops_at_the_first_good_one),
        cmocka_unit_test(test_none_is_as_good),
        cmocka_unit_test(test_a_large_error_is_no_excuse),
        cmocka_unit_test(test_the_best_is_the_mark),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
