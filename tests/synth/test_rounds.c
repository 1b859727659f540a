/* Error-driven rounds against a scripted teacher: where they come from, what they leave alone, how they end. */
#include "../support/scripted.h"
#include "base/file.h"
#include "synth/generate.h"
#include "synth/rounds.h"
#include "synth/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAIN_SET = 80 };

static struct scripted fixture;

static int set_up(void **state) {
    (void)state;
    return scripted_begin(&fixture, (struct chat_script){.by_body = true, .wrong_share = 0.1});
}

static int tear_down(void **state) {
    (void)state;
    return scripted_end(&fixture);
}

static void generate(void) {
    char url[64];
    struct teacher *t = NULL;
    struct err e = {0};
    struct generate_report r;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", http_script_port(fixture.server));
    struct teacher_config c = {.kind = "openai",
                               .url = url,
                               .model = "scripted",
                               .style = "plain",
                               .sampling = true,
                               .parallel = 8,
                               .net = {.backoff_ms = 1, .direct = true}};
    if (teacher_open(&t, &c, fixture.store, &e) < 0 ||
        generate_run(t, fixture.store, &fixture.task,
                     &(struct generate_options){.n_records = MAIN_SET, .seed = 1}, NULL, &r, &e) < 0)
        fail_msg("%s", e.message);
    generate_report_release(&r);
    teacher_close(t);
}

struct tally {
    int64_t n, label[2], split[4], short_delay; /* 2 to 6 days */
    int64_t after;                              /* only records with a later id */
    int64_t last;
};

static int count(void *context, const struct store_record *r, struct err *e) {
    struct tally *t = context;
    struct arena a;
    struct record record;
    t->last = r->id > t->last ? r->id : t->last;
    if (r->id <= t->after)
        return 0;
    arena_init(&a);
    int rc = state_record(&fixture.task, &a, r->data, &record, e);
    if (rc == 0) {
        t->n++;
        t->label[task_label_index(&fixture.task, r->label)]++;
        t->split[r->split]++;
        t->short_delay += record.values[0].number >= 2 && record.values[0].number <= 6;
    }
    arena_release(&a);
    return rc;
}

static struct tally tally(int64_t after) {
    struct tally t = {.after = after};
    assert_int_equal(store_records_each(fixture.store, STORE_ALL_SPLITS, count, &t, NULL), 0);
    return t;
}

/* A student that errs on suspicious claims of 2 to 6 days: every accepted record stands for a validation row. */
static int plan(int64_t each, bool errs, struct round *r, struct err *e) {
    struct rows rows;
    assert_int_equal(rows_from_store(&rows, &fixture.task, fixture.store, "records", STORE_ALL_SPLITS,
                                     &(struct rows_options){0}, NULL),
                     0);
    bool *wrong = calloc((size_t)rows.n, sizeof *wrong);
    for (int64_t i = 0; i < rows.n && errs; i++) {
        double delay = rows.records[i].values[0].number;
        wrong[i] = rows.records[i].label == 0 && delay >= 2 && delay <= 6;
    }
    *r = (struct round){.each = each, .money = 1.5, .records = rows.n};
    int rc = rounds_plan(fixture.store, &fixture.task, MAIN_SET, &rows, wrong, r, e);
    free(wrong);
    rows_release(&rows);
    return rc;
}

static void a_round_comes_from_where_the_errors_are(void **state) {
    (void)state;
    struct round r, known = {0};
    struct err e = {0};
    int n = -1;
    generate();
    struct tally before = tally(0);
    assert_int_equal(before.n, MAIN_SET);
    if (plan(20, true, &r, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(rounds_latest(fixture.store, &n, &known, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(known.each, 20);
    assert_int_equal(known.quota, MAIN_SET / 2 + 20);
    assert_int_equal(known.n, MAIN_SET);
    assert_int_equal(known.wrong, r.wrong);
    assert_true(known.wrong > 0 && known.money == 1.5);
    generate();
    struct tally all = tally(0), added = tally(before.last);
    assert_int_equal(all.label[0], MAIN_SET / 2 + 20);
    assert_int_equal(all.label[1], MAIN_SET / 2 + 20);
    /* measured: 25 of 40; of the main set 23 of 80 */
    assert_true((double)added.short_delay / (double)added.n >
                1.5 * (double)before.short_delay / (double)before.n);
    assert_int_equal(all.split[STORE_VALIDATION], before.split[STORE_VALIDATION]);
    assert_int_equal(all.split[STORE_TEST], before.split[STORE_TEST]);
    assert_int_equal(all.split[STORE_TRAIN], before.split[STORE_TRAIN] + 40);
    int asked = fixture.script.n_write;
    generate(); /* it is done */
    assert_int_equal(fixture.script.n_write, asked);
}

static void a_student_without_errors_gets_no_round(void **state) {
    (void)state;
    struct round r;
    struct err e = {0};
    int n = -1;
    generate();
    assert_int_equal(plan(20, false, &r, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "right"));
    assert_int_equal(rounds_latest(fixture.store, &n, NULL, NULL), 0);
    assert_int_equal(n, 0);
}

static void a_round_taken_back_leaves_nothing(void **state) {
    (void)state;
    struct round r;
    int n = -1;
    generate();
    assert_int_equal(plan(20, true, &r, NULL), 0);
    assert_int_equal(rounds_end(fixture.store, -1, NULL), 0);
    assert_int_equal(rounds_latest(fixture.store, &n, NULL, NULL), 0);
    assert_int_equal(n, 0);
    int asked = fixture.script.n_write;
    generate();
    assert_int_equal(fixture.script.n_write, asked);
    assert_int_equal(tally(0).n, MAIN_SET);
    assert_int_equal(plan(10, true, &r, NULL), 0); /* its place is free again */
    assert_int_equal(r.number, 1);
}

static void a_round_that_finds_no_more_ends_with_what_it_has(void **state) {
    (void)state;
    struct round r, known = {0};
    int n = 0;
    generate();
    assert_int_equal(plan(20, true, &r, NULL), 0);
    fixture.script.never = "suspicious";
    generate();
    struct tally t = tally(0);
    assert_int_equal(t.label[0], t.label[1]); /* the balance stays exact */
    assert_true(t.label[0] >= MAIN_SET / 2 && t.label[0] < MAIN_SET / 2 + 20);
    assert_int_equal(rounds_latest(fixture.store, &n, &known, NULL), 0);
    assert_int_equal(known.each, t.label[0] - MAIN_SET / 2);
    assert_int_equal(known.quota, t.label[0]);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_round_comes_from_where_the_errors_are),
        CASE(a_student_without_errors_gets_no_round),
        CASE(a_round_taken_back_leaves_nothing),
        CASE(a_round_that_finds_no_more_ends_with_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
