/* Generation against a scripted teacher: exact quotas, every reject counted, kills survived, the same records from the same
 * answers. */
#include "../support/scripted.h"
#include "base/file.h"
#include "synth/generate.h"
#include "synth/labeller.h"
#include "synth/state.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct scripted fixture;

static int set_up(void **state) {
    (void)state;
    return scripted_begin(
        &fixture,
        (struct chat_script){.by_body = true, .wrong_share = 0.15, .invalid_share = 0.05, .copy_share = 0.1});
}

static int tear_down(void **state) {
    (void)state;
    return scripted_end(&fixture);
}

static struct teacher *open_teacher(struct teacher_config c) {
    char url[64];
    struct teacher *t = NULL;
    struct err e = {0};
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", http_script_port(fixture.server));
    c.kind = "openai";
    c.url = url;
    c.model = "scripted";
    c.style = "plain";
    c.sampling = true;
    c.net.backoff_ms = 1;
    c.net.direct = true;
    if (teacher_open(&t, &c, fixture.store, &e) < 0)
        fail_msg("%s", e.message);
    return t;
}

static int run(int64_t n, struct generate_options o, struct err *e) {
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 8});
    struct generate_report r;
    o.n_records = n;
    o.seed = o.seed ? o.seed : 1;
    int rc = generate_run(t, fixture.store, &fixture.task, &o, NULL, &r, e);
    generate_report_release(&r);
    teacher_close(t);
    return rc;
}

struct tally {
    int64_t label[2], split[4], wrong, near, copies, reject[16], spare, pending, rejected;
    uint64_t seen[4096];
    int n_seen;
};

static int tally_record(void *context, const struct store_record *r, struct err *e) {
    struct tally *t = context;
    if (r->status == STORE_SPARE)
        t->spare++;
    if (r->status == STORE_PENDING)
        t->pending++;
    if (r->status == STORE_REJECTED) {
        t->rejected++;
#define X(name, text) t->reject[REJECT_INDEX_##name] += strcmp(r->reason, text) == 0;
        enum {
            REJECT_INDEX_SCHEMA,
            REJECT_INDEX_DUPLICATE,
            REJECT_INDEX_DISAGREEMENT,
            REJECT_INDEX_HELD_OUT
        };
        X(SCHEMA, "breaks the schema")
        X(DUPLICATE, "duplicate")
        X(DISAGREEMENT, "label disagreement")
        X(HELD_OUT, "overlaps held-out rows")
#undef X
    }
    if (r->status != STORE_ACCEPTED)
        return 0;
    struct arena a;
    struct record record;
    arena_init(&a);
    int rc = state_record(&fixture.task, &a, r->data, &record, e);
    if (rc == 0) {
        int label = task_label_index(&fixture.task, r->label);
        t->label[label]++;
        t->split[r->split]++;
        t->wrong += label != chat_script_rule(record.values[0].number, record.values[1].number);
        uint64_t h = hash64(r->data, strlen(r->data), 0);
        for (int i = 0; i < t->n_seen; i++)
            t->copies += t->seen[i] == h;
        t->seen[t->n_seen++] = h;
    }
    arena_release(&a);
    return rc;
}

static void tally(struct tally *t) {
    *t = (struct tally){0};
    assert_int_equal(store_status_each(fixture.store, STORE_ALL_STATUSES, tally_record, t, NULL), 0);
}

static void check_whole(int64_t n) {
    struct tally t;
    tally(&t);
    assert_int_equal(t.label[0], n / 2);
    assert_int_equal(t.label[1], n / 2);
    assert_int_equal(t.wrong, 0);
    assert_int_equal(t.copies, 0);
    assert_int_equal(t.pending, 0);
    assert_int_equal(t.split[STORE_NO_SPLIT], 0);
    assert_int_equal(t.split[STORE_TEST], n / 10);
    assert_int_equal(t.split[STORE_VALIDATION], n / 10);
}

static void quotas_are_met_exactly_and_rejects_counted(void **state) {
    (void)state;
    struct err e = {0};
    if (run(200, (struct generate_options){0}, &e) < 0)
        fail_msg("%s", e.message);
    check_whole(200);
    struct tally t;
    tally(&t);
    assert_true(t.reject[0] > 0 && t.reject[1] > 0);
    assert_int_equal(t.rejected, t.reject[0] + t.reject[1] + t.reject[2]);
    int asked = fixture.script.n_write + fixture.script.n_label;
    assert_int_equal(run(200, (struct generate_options){0}, &e), 0); /* nothing left to do */
    assert_int_equal(fixture.script.n_write + fixture.script.n_label, asked);
}

static void more_and_fewer_records_keep_what_was_paid_for(void **state) {
    (void)state;
    assert_int_equal(run(80, (struct generate_options){0}, NULL), 0);
    check_whole(80);
    int asked = fixture.script.n_write;
    assert_int_equal(run(40, (struct generate_options){0}, NULL), 0);
    assert_int_equal(fixture.script.n_write, asked);
    struct tally t;
    tally(&t);
    assert_int_equal(t.label[0], 20);
    assert_int_equal(t.label[1], 20);
    assert_int_equal(run(80, (struct generate_options){0}, NULL),
                     0); /* the spares return, with their splits */
    assert_int_equal(fixture.script.n_write, asked);
    check_whole(80);
    assert_int_equal(run(400, (struct generate_options){0}, NULL), 0);
    assert_true(fixture.script.n_write > asked);
    check_whole(400);
}

static void records_hash(char hex[SHA256_HEX]) {
    assert_int_equal(store_records_hash(fixture.store, STORE_ALL_SPLITS, hex, NULL), 0);
}

static void start_anew(void) {
    store_close(fixture.store);
    assert_int_equal(unlink(fixture.path), 0);
    assert_int_equal(store_open(&fixture.store, fixture.path, STORE_WRITE, NULL), 0);
}

static void the_same_answers_give_the_same_records(void **state) {
    (void)state;
    char first[SHA256_HEX], second[SHA256_HEX];
    assert_int_equal(run(100, (struct generate_options){0}, NULL), 0);
    records_hash(first);
    start_anew();
    fixture.script.delay_ms = 3; /* another order of arrival */
    assert_int_equal(run(100, (struct generate_options){0}, NULL), 0);
    records_hash(second);
    assert_string_equal(first, second);
    start_anew();
    assert_int_equal(run(100, (struct generate_options){.seed = 2}, NULL), 0);
    records_hash(second);
    assert_string_not_equal(first, second);
}

/* Killed again and again, the run ends with the records of one that was not, and no answered question was asked twice. */
static void killed_at_any_moment(void **state) {
    (void)state;
    char whole[SHA256_HEX], pieces[SHA256_HEX];
    assert_int_equal(run(120, (struct generate_options){0}, NULL), 0);
    records_hash(whole);
    start_anew();
    store_close(fixture.store);
    fixture.store = NULL;
    fixture.script.delay_ms = 2;
    fixture.script.n_write = fixture.script.n_label = 0;
    int rounds = getenv("EDGESTILL_SOAK") ? 300 : 8, kills = 0;
    for (int i = 0; i < rounds; i++) {
        pid_t child = fork();
        if (child == 0) {
            if (store_open(&fixture.store, fixture.path, STORE_WRITE, NULL) < 0)
                _exit(1);
            _exit(run(120, (struct generate_options){0}, NULL) == 0 ? 0 : 1);
        }
        usleep((useconds_t)(8000 + (i * 7919) % 60000));
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        kills += WIFSIGNALED(status);
    }
    usleep(20000);
    assert_true(kills >= 3);
    assert_int_equal(store_open(&fixture.store, fixture.path, STORE_WRITE, NULL), 0);
    assert_int_equal(run(120, (struct generate_options){0}, NULL), 0);
    records_hash(pieces);
    assert_string_equal(whole, pieces);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_sent, 0);
    assert_true(fixture.script.n_write + fixture.script.n_label <= l.n_answered + l.n_doubt);
}

static void faults_do_not_change_the_outcome(void **state) {
    (void)state;
    fixture.script.fault_share = 0.2;
    fixture.script.faults = 1u << CHAT_500 | 1u << CHAT_429 | 1u << CHAT_RESET | 1u << CHAT_HALF |
                            1u << CHAT_TRUNCATED | 1u << CHAT_REFUSED | 1u << CHAT_FENCED;
    struct err e = {0};
    if (run(100, (struct generate_options){0}, &e) < 0)
        fail_msg("%s", e.message);
    check_whole(100);
    assert_true(fixture.script.n_fault > 10);
}

/* A teacher that is asked for one label and writes the other: its records lend their values to crossed ones in the corners that
 * turned out to have the label. */
static void a_label_that_is_hard_to_write_is_aimed_at(void **state) {
    (void)state;
    fixture.script.never = "suspicious";
    fixture.script.wrong_share = fixture.script.copy_share = fixture.script.invalid_share = 0;
    struct err e = {0};
    if (run(200, (struct generate_options){.aim = true}, &e) < 0)
        fail_msg("%s", e.message);
    check_whole(200);
    struct tally t;
    tally(&t);
    assert_true(t.reject[2] < 20); /* without aiming: over a hundred */
    assert_true(fixture.script.n_write + fixture.script.n_label <
                200 * 3 / 2); /* and two questions a record and more */
}

static void a_label_that_cannot_be_written_is_said(void **state) {
    (void)state;
    fixture.task.labels[0].definition = "it looks odd"; /* nothing to cross */
    fixture.script.never = "suspicious";
    fixture.script.wrong_share = fixture.script.copy_share = 0;
    struct err e = {0};
    assert_int_equal(run(60, (struct generate_options){0}, &e), ERR_TEACHER);
    if (!strstr(e.message, "of 30 records and gets no more"))
        fail_msg("%s", e.message);
    struct tally t;
    tally(&t);
    assert_int_equal(t.label[1], 30); /* the other is full, and kept */
    assert_true(t.reject[2] > 0);
}

static void a_useless_teacher_is_found_out_at_once(void **state) {
    (void)state;
    fixture.script.invalid_share = 1;
    struct err e = {0};
    assert_int_equal(run(1000, (struct generate_options){0}, &e), ERR_TEACHER);
    assert_non_null(strstr(e.message, "can be used"));
    assert_true(fixture.script.n_write <= 64);
}

/* What is there stays; nobody pays on for copies of it. */
static void a_teacher_that_repeats_itself_is_stopped(void **state) {
    (void)state;
    fixture.script.wrong_share = fixture.script.invalid_share = 0;
    struct err e = {0};
    assert_int_equal(run(100, (struct generate_options){0}, &e), 0);
    int asked = fixture.script.n_write;
    fixture.script.copy_share = 0.99;
    assert_int_equal(run(2000, (struct generate_options){0}, &e), ERR_TEACHER);
    if (!strstr(e.message, "were not there already"))
        fail_msg("%s", e.message);
    assert_non_null(strstr(e.hint, "--records"));
    assert_true(fixture.script.n_write - asked < 400); /* 900 would be needed for four new ones a call */
    struct tally t;
    tally(&t);
    assert_int_equal(t.copies, 0);
    assert_true(t.label[0] + t.label[1] >= 100 && t.reject[1] > 100);
}

static void held_out_rows_are_not_repeated(void **state) {
    (void)state;
    assert_int_equal(run(60, (struct generate_options){0}, NULL), 0);
    struct rows rows;
    assert_int_equal(rows_from_store(&rows, &fixture.task, fixture.store, "records", STORE_ALL_SPLITS,
                                     &(struct rows_options){0}, NULL),
                     0);
    assert_int_equal(rows.n, 60);
    rows.n = 30; /* the same questions get the same answers: half of them are held out now */
    start_anew();
    struct err e = {0};
    if (run(60, (struct generate_options){.held_out = &rows}, &e) < 0)
        fail_msg("%s", e.message);
    struct tally t;
    tally(&t);
    assert_true(t.reject[3] > 0);
    check_whole(60);
    rows_release(&rows);
}

static int weights(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    int64_t *n = context;
    if (r->status == STORE_ACCEPTED)
        n[r->weight > 0.99 ? 0 : r->weight > 0.5 ? 1 : 2]++;
    return 0;
}

static void votes_become_weights(void **state) {
    (void)state;
    fixture.script.fickle_share = 0.15;
    fixture.script.wrong_share = 0;
    assert_int_equal(run(60, (struct generate_options){.votes = 3}, NULL), 0);
    int64_t n[3] = {0};
    assert_int_equal(store_status_each(fixture.store, STORE_ALL_STATUSES, weights, n, NULL), 0);
    assert_int_equal(n[0] + n[1], 60);
    assert_true(n[0] > 20 && n[1] > 5);
    assert_int_equal(n[2], 0); /* without a majority nothing is accepted */
    int asked = fixture.script.n_label;
    assert_int_equal(run(60, (struct generate_options){.votes = 3}, NULL), 0);
    assert_int_equal(fixture.script.n_label, asked);
}

static void another_task_is_not_mixed_in(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(generate_check_task(fixture.store, &fixture.task, NULL), 0);
    assert_int_equal(generate_check_task(fixture.store, &fixture.task, NULL), 0);
    fixture.task.labels[0].definition = "the delay is under 3 days";
    assert_int_equal(generate_check_task(fixture.store, &fixture.task, &e), ERR_MISMATCH);
}

static void the_quote_is_near_what_comes(void **state) {
    (void)state;
    struct generate_quote q;
    struct teacher *t = open_teacher((struct teacher_config){.price_in = 10, .price_out = 10});
    assert_int_equal(generate_quote(t, fixture.store, &fixture.task,
                                    &(struct generate_options){.n_records = 200}, &q, NULL),
                     0);
    teacher_close(t);
    assert_int_equal(q.missing, 200);
    assert_true(q.money > 0 && q.money_high >= q.money && q.seconds > 0);
    assert_int_equal(run(200, (struct generate_options){0}, NULL), 0);
    int asked = fixture.script.n_write + fixture.script.n_label;
    assert_in_range(asked, q.calls / 2, q.calls_high);
    t = open_teacher((struct teacher_config){0});
    assert_int_equal(generate_quote(t, fixture.store, &fixture.task,
                                    &(struct generate_options){.n_records = 200}, &q, NULL),
                     0);
    assert_int_equal(q.missing, 0);
    assert_int_equal(q.calls, 0);
    teacher_close(t);
}

static void the_teacher_labels_rows(void **state) {
    (void)state;
    assert_int_equal(run(40, (struct generate_options){0}, NULL), 0);
    struct rows rows;
    assert_int_equal(rows_from_store(&rows, &fixture.task, fixture.store, "records", STORE_ALL_SPLITS,
                                     &(struct rows_options){0}, NULL),
                     0);
    int labels[40], asked = fixture.script.n_label;
    struct teacher *t = open_teacher((struct teacher_config){0});
    assert_int_equal(labeller_run(t, &fixture.task, rows.records, rows.n, labels, NULL, NULL), 0);
    for (int i = 0; i < 40; i++)
        assert_int_equal(labels[i], rows.records[i].label);
    assert_int_equal(fixture.script.n_label, asked); /* the journal knows them all */
    teacher_close(t);
    rows_release(&rows);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(quotas_are_met_exactly_and_rejects_counted),
        CASE(more_and_fewer_records_keep_what_was_paid_for),
        CASE(the_same_answers_give_the_same_records),
        CASE(killed_at_any_moment),
        CASE(faults_do_not_change_the_outcome),
        CASE(a_label_that_is_hard_to_write_is_aimed_at),
        CASE(a_label_that_cannot_be_written_is_said),
        CASE(a_useless_teacher_is_found_out_at_once),
        CASE(a_teacher_that_repeats_itself_is_stopped),
        CASE(held_out_rows_are_not_repeated),
        CASE(votes_become_weights),
        CASE(another_task_is_not_mixed_in),
        CASE(the_quote_is_near_what_comes),
        CASE(the_teacher_labels_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
