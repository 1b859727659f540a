/* Crossed records: corners that nobody wrote, other fields as somebody did, the same again from the same seed. */
#include "../support/chat_script.h"
#include "base/file.h"
#include "synth/cross.h"
#include "synth/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[64], path[128];
static struct task task;
static struct store *store;
static struct similar *similar;

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/edgestill-cross-XXXXXX");
    if (!mkdtemp(folder) || chat_script_task(&task, NULL) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/records.sqlite", folder);
    return store_open(&store, path, STORE_WRITE, NULL) == 0 ? similar_new(&similar, &task, NULL) : -1;
}

static int tear_down(void **state) {
    (void)state;
    similar_free(similar);
    store_close(store);
    store = NULL;
    task_release(&task);
    return file_remove_tree(folder, NULL);
}

static void write_donor(const char *data, enum store_status status, const char *label, const char *reason) {
    struct store_record r = {.source = "teacher",
                             .data = data,
                             .label = label,
                             .cell = "suspicious",
                             .weight = 1,
                             .status = status,
                             .reason = reason};
    assert_int_equal(store_record_add(store, &r, NULL, NULL), 0);
}

/* All records were written far from both thresholds (a delay of 7 days, a share of 0.80), all for routine visits. */
static void write_donors(void) {
    write_donor("{\"delay\":30,\"approved share\":0.20,\"visit type\":\"routine\"}", STORE_ACCEPTED, "normal",
                NULL);
    write_donor("{\"delay\":31,\"approved share\":0.21,\"visit type\":\"routine\"}", STORE_REJECTED, "normal",
                "label disagreement");
    write_donor("no record at all", STORE_REJECTED, NULL, "breaks the schema");
}

struct tally {
    struct arena arena;
    int64_t n, early_high, near_delay, near_share, routine;
    uint64_t sum;
};

static int count(void *context, const struct store_record *r, struct err *e) {
    struct tally *t = context;
    struct record record;
    if (!str_equal(r->cell, CROSS_CELL) || r->status != STORE_PENDING)
        return 0;
    assert_null(r->wanted);
    assert_int_equal(state_record(&task, &t->arena, r->data, &record, e), 0);
    double delay = record.values[0].number, share = record.values[1].number;
    assert_true(delay >= 0 && delay <= 60 && share >= 0 && share <= 1);
    t->n++;
    t->early_high += delay < 7 && share > 0.8;
    t->near_delay += delay >= 5 && delay <= 8;
    t->near_share += share >= 0.78 && share <= 0.82;
    t->routine += str_equal(record.values[2].text, "routine");
    t->sum = t->sum * 31 + (uint64_t)(delay * 1000 + share * 100);
    return 0;
}

static struct tally tally(void) {
    struct tally t = {0};
    arena_init(&t.arena);
    assert_int_equal(store_status_each(store, STORE_ALL_STATUSES, count, &t, NULL), 0);
    arena_release(&t.arena);
    return t;
}

static void corners_that_nobody_wrote_are_there(void **state) {
    (void)state;
    int64_t added = -1;
    write_donors();
    assert_int_equal(cross_records(store, &task, similar, 200, 1, &added, NULL), 0);
    assert_int_equal(added, 200);
    struct tally t = tally();
    assert_in_range(t.n, 150, 200); /* the others would have been copies */
    assert_true(t.early_high * 8 > t.n);
    assert_true(t.near_delay * 6 > t.n && t.near_share * 6 > t.n);
    assert_int_equal(t.routine, t.n); /* no definition names a visit type: it stays as it was written */
}

static void the_number_is_kept_and_the_seed_decides(void **state) {
    (void)state;
    int64_t added = -1;
    write_donors();
    assert_int_equal(cross_records(store, &task, similar, 40, 1, &added, NULL), 0);
    assert_int_equal(cross_records(store, &task, similar, 40, 1, &added, NULL), 0);
    assert_int_equal(added, 0);
    assert_int_equal(cross_records(store, &task, similar, 50, 1, &added, NULL), 0);
    assert_int_equal(added, 10);
    uint64_t sums[3] = {tally().sum};
    for (uint64_t seed = 1; seed < 3; seed++) {
        assert_int_equal(tear_down(NULL), 0);
        assert_int_equal(set_up(NULL), 0);
        write_donors();
        assert_int_equal(cross_records(store, &task, similar, 50, seed, &added, NULL), 0);
        sums[seed] = tally().sum;
    }
    assert_int_equal(sums[0], sums[1]);
    assert_int_not_equal(sums[1], sums[2]);
}

struct aimed {
    struct arena arena;
    int64_t n, early, high;
};

static int count_aimed(void *context, const struct store_record *r, struct err *e) {
    struct aimed *t = context;
    struct record record;
    if (!str_equal(r->cell, CROSS_CELL " for suspicious") || r->status != STORE_PENDING)
        return 0;
    assert_null(r->wanted);
    assert_int_equal(state_record(&task, &t->arena, r->data, &record, e), 0);
    t->n++;
    t->early += record.values[0].number < 2;
    t->high += record.values[1].number > 0.8;
    return 0;
}

/* Under 2 days is suspicious here and nothing else: what is aimed at it has such a delay, at every share. */
static void what_is_aimed_at_a_label_lies_where_it_was(void **state) {
    (void)state;
    char text[96];
    struct cross_aim a = {0};
    int64_t added = 0;
    write_donors();
    assert_int_equal(cross_aim(store, &task, 0, 1, &a, NULL), 0);
    assert_true(a.chance < 0.5); /* two records, neither suspicious */
    for (int i = 0; i < 60; i++) {
        snprintf(text, sizeof text, "{\"delay\":%d,\"approved share\":0.%02d,\"visit type\":\"routine\"}",
                 i % 2 ? i % 4 / 2 : 2 + i % 50, 10 + i * 3 / 2);
        write_donor(text, STORE_ACCEPTED, i % 2 ? "suspicious" : "normal", NULL);
    }
    assert_int_equal(cross_aim(store, &task, 0, 1, &a, NULL), 0);
    assert_true(a.chance > 0.6 && a.n_aimed == 0 && a.room == 62 * CROSS_USES);
    assert_int_equal(cross_records_for(store, &task, similar, 0, 50, 1, &added, NULL), 0);
    assert_int_equal(added, 50);
    struct aimed t = {0};
    arena_init(&t.arena);
    assert_int_equal(store_status_each(store, STORE_ALL_STATUSES, count_aimed, &t, NULL), 0);
    arena_release(&t.arena);
    assert_in_range(t.n, 35, 50); /* the others would have been copies */
    assert_true(t.early * 10 > t.n * 7);
    assert_true(t.high * 5 > t.n);
}

static void without_a_donor_or_a_threshold_there_are_none(void **state) {
    (void)state;
    int64_t added = -1;
    assert_int_equal(cross_records(store, &task, similar, 40, 1, &added, NULL), 0);
    assert_int_equal(added, 0);
    write_donors();
    struct task vague = task;
    struct task_label labels[2] = {task.labels[0], task.labels[1]};
    labels[0].definition = "it looks wrong";
    labels[1].definition = "otherwise";
    vague.labels = labels;
    assert_int_equal(cross_records(store, &vague, similar, 40, 1, &added, NULL), 0);
    assert_int_equal(added, 0);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(corners_that_nobody_wrote_are_there),
        CASE(the_number_is_kept_and_the_seed_decides),
        CASE(what_is_aimed_at_a_label_lies_where_it_was),
        CASE(without_a_donor_or_a_threshold_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
