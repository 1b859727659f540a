/* Splits are stratified, stable, and keep equal records together; own rows come in once and balanced when asked. */
#include "../support/chat_script.h"
#include "base/file.h"
#include "synth/own.h"
#include "synth/split.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[64], path[128], csv[128];
static struct task task;
static struct store *store;

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/edgestill-split-XXXXXX");
    if (!mkdtemp(folder) || chat_script_task(&task, NULL) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/records.sqlite", folder);
    snprintf(csv, sizeof csv, "%s/rows.csv", folder);
    return store_open(&store, path, STORE_WRITE, NULL);
}

static int tear_down(void **state) {
    (void)state;
    store_close(store);
    task_release(&task);
    return file_remove_tree(folder, NULL);
}

static void add(int first, int n, const char *label, const char *data) {
    for (int i = first; i < first + n; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"%s\":%d}", label, i);
        struct store_record r = {.source = "teacher",
                                 .data = data ? data : text,
                                 .label = label,
                                 .weight = 1,
                                 .status = STORE_ACCEPTED};
        assert_int_equal(store_record_add(store, &r, NULL, NULL), 0);
    }
}

struct tally {
    int64_t n[2][4], spare, same[4];
    double weight[2]; /* of training rows */
    enum store_split split[1000];
};

static int tally_record(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct tally *t = context;
    int label = strcmp(r->label, "normal") == 0;
    t->spare += r->status == STORE_SPARE;
    if (r->status == STORE_ACCEPTED) {
        t->n[label][r->split]++;
        t->weight[label] += r->split == STORE_TRAIN ? r->weight : 0;
        t->same[r->split] += strcmp(r->data, "{\"same\":1}") == 0;
    }
    t->split[r->id % 1000] = r->split;
    return 0;
}

static void tally(struct tally *t) {
    *t = (struct tally){0};
    assert_int_equal(store_status_each(store, STORE_ALL_STATUSES, tally_record, t, NULL), 0);
}

static const struct split_shares shares = {0.1, 0.2};

static void each_label_has_its_share(void **state) {
    (void)state;
    add(0, 100, "suspicious", NULL);
    add(0, 50, "normal", NULL);
    assert_int_equal(split_assign(store, &task, shares, 1, NULL), 0);
    struct tally t, again;
    tally(&t);
    static const int64_t want[2][4] = {{0, 70, 10, 20}, {0, 35, 5, 10}};
    assert_memory_equal(t.n, want, sizeof want);
    add(100, 100, "suspicious", NULL); /* more of them: those before stay where they are */
    assert_int_equal(split_assign(store, &task, shares, 1, NULL), 0);
    tally(&again);
    assert_memory_equal(t.split, again.split, 151 * sizeof t.split[0]);
    assert_int_equal(again.n[0][STORE_TEST], 40);
    assert_int_equal(again.n[0][STORE_VALIDATION], 20);
}

static void the_seed_decides(void **state) {
    (void)state;
    add(0, 100, "suspicious", NULL);
    assert_int_equal(split_assign(store, &task, shares, 1, NULL), 0);
    struct tally one, two;
    tally(&one);
    store_close(store);
    assert_int_equal(remove(path), 0);
    assert_int_equal(store_open(&store, path, STORE_WRITE, NULL), 0);
    add(0, 100, "suspicious", NULL);
    assert_int_equal(split_assign(store, &task, shares, 2, NULL), 0);
    tally(&two);
    assert_memory_not_equal(one.split, two.split, sizeof one.split);
}

static void equal_records_stay_together(void **state) {
    (void)state;
    add(0, 20, "suspicious", NULL);
    add(0, 30, "suspicious", "{\"same\":1}");
    add(0, 10, "normal", "{\"same\":1}");
    assert_int_equal(split_assign(store, &task, shares, 1, NULL), 0);
    struct tally t;
    tally(&t);
    int splits = 0;
    for (int i = 0; i < 4; i++)
        splits += t.same[i] > 0;
    assert_int_equal(splits, 1);
    assert_int_equal(t.same[STORE_NO_SPLIT], 0);
}

static void nothing_to_split(void **state) {
    (void)state;
    assert_int_equal(split_assign(store, &task, shares, 1, NULL), 0);
}

static void shares_are_read(void **state) {
    (void)state;
    struct split_shares s;
    assert_int_equal(split_shares_parse("60/20/20", &s, NULL), 0);
    assert_float_equal(s.validation, 0.2, 1e-12);
    assert_int_equal(split_shares_parse("90,5,5", &s, NULL), 0);
    static const char *const bad[] = {"",        "80",         "80/10", "80/10/20",
                                      "0/50/50", "80/10/10/0", "a/b/c", "110/-5/-5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_int_equal(split_shares_parse(bad[i], &s, &e), ERR_USAGE);
    }
}

/* n rows, of which each `every`th is suspicious. */
static void write_rows_of(int n, int every, const char *last) {
    struct str s = {0};
    str_add(&s, "delay,approved share,visit type,label\n");
    for (int i = 0; i < n; i++)
        str_addf(&s, "%d,0.%02d,routine,%s\n", i % 61, i % 100, i % every ? "normal" : "suspicious");
    str_add(&s, last);
    assert_int_equal(file_write(csv, s.data, s.len, NULL), 0);
    str_release(&s);
}

static void write_rows(int n, const char *last) {
    write_rows_of(n, 5, last);
}

static void own_rows_come_in_once(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 1};
    struct err e = {0};
    struct own_result n = {-1, 0};
    write_rows(100, "");
    if (own_import(store, &task, &o, &n, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(n.n_new, 100);
    struct tally t;
    tally(&t);
    static const int64_t want[2][4] = {{0, 14, 2, 4}, {0, 56, 8, 16}};
    assert_memory_equal(t.n, want, sizeof want);
    assert_int_equal(own_import(store, &task, &o, &n, &e), 0);
    assert_int_equal(n.n_new, 0);
    write_rows(101, "");
    assert_int_equal(own_import(store, &task, &o, &n, &e), ERR_MISMATCH);
}

static void balance_weighs_the_training_rows_only(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 1, .balance = true};
    struct own_result n = {-1, 0};
    write_rows(100, "");
    assert_int_equal(own_import(store, &task, &o, &n, NULL), 0);
    struct tally t;
    tally(&t);
    static const int64_t want[2][4] = {{0, 14, 2, 4}, {0, 56, 8, 16}};
    assert_memory_equal(t.n, want, sizeof want);
    assert_int_equal(t.spare, 0);
    assert_true(fabs(t.weight[0] - 35) < 1e-9 && fabs(t.weight[1] - 35) < 1e-9);
}

static void balance_leaves_out_what_is_far_too_many(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 1, .balance = true};
    struct own_result n = {-1, 0};
    write_rows_of(200, 20, "");
    assert_int_equal(own_import(store, &task, &o, &n, NULL), 0);
    struct tally t;
    tally(&t);
    static const int64_t want[2][4] = {{0, 7, 1, 2}, {0, 28, 19, 38}};
    assert_memory_equal(t.n, want, sizeof want);
    assert_int_equal(t.spare, 133 - 28);
    assert_true(fabs(t.weight[0] - 17.5) < 1e-9 && fabs(t.weight[1] - 17.5) < 1e-9);
}

static void bad_rows_leave_nothing_behind(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 1};
    struct err e = {0};
    struct own_result n = {-1, 0};
    write_rows(10, "5,0.5,routine,unheard-of\n");
    assert_true(own_import(store, &task, &o, &n, &e) < 0);
    assert_non_null(strstr(e.message, "rows.csv:12"));
    struct tally t;
    tally(&t);
    assert_int_equal(t.n[0][0] + t.n[1][0], 0);
}

/* patient,day: 10 patients of 10 rows each, days rising. */
static void write_keyed(void) {
    struct str s = {0};
    str_add(&s, "delay,approved share,visit type,label,patient,day\n");
    for (int i = 0; i < 100; i++)
        str_addf(&s, "%d,0.%02d,routine,%s,p%d,2026-%02d-%02d\n", i % 61, i, i % 5 ? "normal" : "suspicious",
                 i * 7 % 10, i / 28 + 1, i % 28 + 1);
    assert_int_equal(file_write(csv, s.data, s.len, NULL), 0);
    str_release(&s);
}

struct keyed_tally {
    enum store_split split[101]; /* by line */
};

static int tally_keyed(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct keyed_tally *t = context;
    t->split[r->write_index] = r->split;
    return 0;
}

static void groups_stay_together(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 3, .group = "patient"};
    struct own_result n;
    struct keyed_tally t = {0};
    int64_t counts[4] = {0};
    write_keyed();
    assert_int_equal(own_import(store, &task, &o, &n, NULL), 0);
    assert_int_equal(store_records_each(store, STORE_ALL_SPLITS, tally_keyed, &t, NULL), 0);
    for (int i = 0; i < 100; i++)
        counts[t.split[i + 1]]++;
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < i; k++)
            if (i * 7 % 10 == k * 7 % 10)
                assert_int_equal(t.split[i + 1], t.split[k + 1]);
    assert_int_equal(counts[STORE_TEST], 20);
    assert_int_equal(counts[STORE_VALIDATION], 10);
}

static void the_latest_rows_are_the_test(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 3, .time = "day"};
    struct own_result n;
    struct keyed_tally t = {0};
    struct err e = {0};
    write_keyed();
    assert_int_equal(own_import(store, &task, &o, &n, NULL), 0);
    assert_int_equal(store_records_each(store, STORE_ALL_SPLITS, tally_keyed, &t, NULL), 0);
    for (int i = 1; i <= 100; i++)
        assert_int_equal(t.split[i], i <= 70 ? STORE_TRAIN : i <= 80 ? STORE_VALIDATION : STORE_TEST);
    o.time = "visit type";
    store_close(store);
    remove(path);
    assert_int_equal(store_open(&store, path, STORE_WRITE, NULL), 0);
    assert_int_equal(own_import(store, &task, &o, &n, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "visit type"));
}

static void held_out_rows_do_not_train(void **state) {
    (void)state;
    struct own_options o = {.path = csv, .shares = shares, .seed = 1};
    struct own_result n;
    struct rows rows;
    write_rows(7, "");
    assert_int_equal(rows_read(&rows, &task, csv, NULL, NULL), 0);
    write_rows(100, "");
    o.held_out = &rows;
    assert_int_equal(own_import(store, &task, &o, &n, NULL), 0);
    assert_int_equal(n.n_new, 100);
    assert_int_equal(n.n_held_out, 7);
    int64_t accepted = 0;
    assert_int_equal(store_accepted_count(store, STORE_ALL_SPLITS, &accepted, NULL), 0);
    assert_int_equal(accepted, 93);
    rows_release(&rows);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(each_label_has_its_share),
        CASE(the_seed_decides),
        CASE(equal_records_stay_together),
        CASE(nothing_to_split),
        CASE(shares_are_read),
        CASE(own_rows_come_in_once),
        CASE(balance_weighs_the_training_rows_only),
        CASE(balance_leaves_out_what_is_far_too_many),
        CASE(bad_rows_leave_nothing_behind),
        CASE(groups_stay_together),
        CASE(the_latest_rows_are_the_test),
        CASE(held_out_rows_do_not_train),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
