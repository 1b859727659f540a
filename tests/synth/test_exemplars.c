/* What a large teacher's WRITE questions show, and pairs on a boundary: against a scripted teacher that is asked in the full style. */
#include "../support/scripted.h"
#include "base/file.h"
#include "format/json.h"
#include "synth/generate.h"
#include "synth/state.h"
#include <math.h>
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

enum { N = 320, RECORDS_MAX = 4096, REQUESTS_MAX = 1024 };

static struct scripted fixture;

static int set_up(void **state) {
    (void)state;
    return scripted_begin(&fixture,
                          (struct chat_script){.by_body = true, .wrong_share = 0.1, .copy_share = 0.05});
}

static int tear_down(void **state) {
    (void)state;
    return scripted_end(&fixture);
}

static int run_with(struct teacher_config c, struct generate_options o, struct err *e) {
    char url[64];
    struct teacher *t = NULL;
    struct generate_report r;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", http_script_port(fixture.server));
    c.kind = "openai";
    c.url = url;
    c.model = "scripted";
    c.sampling = true;
    c.parallel = 8;
    c.net.backoff_ms = 1;
    c.net.direct = true;
    int rc = teacher_open(&t, &c, fixture.store, e);
    if (rc < 0)
        return rc;
    o.n_records = o.n_records ? o.n_records : N;
    o.seed = 1;
    rc = generate_run(t, fixture.store, &fixture.task, &o, NULL, &r, e);
    generate_report_release(&r);
    teacher_close(t);
    return rc;
}

static void must_run(struct generate_options o) {
    struct err e = {0};
    if (run_with((struct teacher_config){0}, o, &e) < 0)
        fail_msg("%s", e.message);
}

/* ---- what the store holds afterwards ---- */

struct seen_record {
    int64_t call, index;
    char data[120], own;
    int label, wanted; /* -1: none */
    bool accepted, pair;
    enum store_split split;
    double delay, share;
};

static struct seen_record records[RECORDS_MAX];
static int n_records;

static int see(void *context, const struct store_record *r, struct err *e) {
    (void)context;
    struct seen_record *x = &records[n_records++];
    struct record record;
    struct arena a;
    *x = (struct seen_record){.call = r->write_call,
                              .index = r->write_index,
                              .own = str_equal(r->source, "own"),
                              .label = task_label_index(&fixture.task, r->label),
                              .wanted = task_label_index(&fixture.task, r->wanted),
                              .accepted = r->status == STORE_ACCEPTED,
                              .pair = r->cell && strstr(r->cell, " beside "),
                              .split = r->split};
    snprintf(x->data, sizeof x->data, "%s", r->data);
    arena_init(&a);
    int rc = state_record(&fixture.task, &a, r->data, &record, e);
    if (rc == 0) {
        x->delay = record.values[0].number;
        x->share = record.values[1].number;
    }
    arena_release(&a);
    return rc;
}

static void load_records(void) {
    n_records = 0;
    assert_int_equal(store_status_each(fixture.store, STORE_ALL_STATUSES, see, NULL, NULL), 0);
}

static int count_label(int label, bool pairs_alone) {
    int n = 0;
    for (int i = 0; i < n_records; i++)
        n += records[i].accepted && records[i].label == label && (!pairs_alone || records[i].pair);
    return n;
}

static void check_balance(int64_t n) {
    int test = 0;
    load_records();
    assert_int_equal(count_label(0, false), n / 2);
    assert_int_equal(count_label(1, false), n / 2);
    for (int i = 0; i < n_records; i++) {
        test += records[i].accepted && records[i].split == STORE_TEST;
        if (records[i].accepted)
            assert_int_equal(records[i].label, chat_script_rule(records[i].delay, records[i].share));
    }
    assert_int_equal(test, n / 10);
}

/* The user's text of every WRITE question that was answered. */
static char *requests[REQUESTS_MAX];
static int64_t request_calls[REQUESTS_MAX];
static int n_requests;

static void forget_requests(void) {
    while (n_requests > 0)
        free(requests[--n_requests]);
}

static void load_requests(void) {
    struct store_call call;
    struct arena a;
    forget_requests();
    arena_init(&a);
    for (int64_t id = 1; store_call_get(fixture.store, id, &a, &call, NULL) == 0; id++) {
        if (strcmp(call.purpose, "write") != 0 || call.state != STORE_CALL_ANSWERED)
            continue;
        json_t *root = json_loads(call.request, 0, NULL);
        const json_t *user = json_array_get(json_object_get(root, "messages"), 1);
        assert_true(n_requests < REQUESTS_MAX);
        request_calls[n_requests] = id;
        requests[n_requests++] = strdup(json_string_value(json_object_get(user, "content")));
        json_decref(root);
    }
    arena_release(&a);
}

static const char *shown_by(const char *request) {
    const char *at = strstr(request, "\n{");
    return at ? at + 1 : NULL;
}

static const struct seen_record *find_record(const char *line, size_t n) {
    for (int i = 0; i < n_records; i++)
        if (records[i].accepted && strlen(records[i].data) == n && memcmp(records[i].data, line, n) == 0)
            return &records[i];
    return NULL;
}

/* ---- tests ---- */

static void check_shown(const char *request) {
    bool pairs = strstr(request, " pairs of records") != NULL;
    int wanted = strstr(request, " labelled normal") ? 1 : 0, n = 0;
    for (const char *line = shown_by(request); line && *line; n++) {
        size_t length = strcspn(line, "\n");
        const struct seen_record *r = find_record(line, length);
        assert_non_null(r);
        assert_int_equal(r->split, STORE_TRAIN);
        if (!pairs)
            assert_int_equal(r->label, wanted);
        line += length + (line[length] == '\n');
    }
    assert_in_range(n, 2, 3);
}

/* Two or three accepted records of the label, none of them a test row, and other ones in the next question. */
static void questions_show_records_of_their_label_and_others_each_time(void **state) {
    (void)state;
    int n_shown = 0, n_same = 0;
    must_run((struct generate_options){0});
    check_balance(N);
    load_requests();
    for (int i = 0; i < n_requests; i++) {
        const char *shown = shown_by(requests[i]);
        if (!shown)
            continue;
        n_shown++;
        check_shown(requests[i]);
        for (int k = 0; k < i; k++)
            n_same += shown_by(requests[k]) && strcmp(shown, shown_by(requests[k])) == 0;
    }
    assert_true(n_shown >= 10);
    assert_int_equal(n_shown, fixture.script.n_shown);
    assert_true(n_same * 20 <= n_shown); /* by chance, from one wave to the next */
    assert_null(shown_by(requests[0]));  /* there was nothing to show */
}

static void a_plain_teacher_is_asked_as_it_was_taught(void **state) {
    (void)state;
    struct err e = {0};
    if (run_with((struct teacher_config){.style = "plain"}, (struct generate_options){0}, &e) < 0)
        fail_msg("%s", e.message);
    check_balance(N);
    assert_int_equal(fixture.script.n_pairs, 0);
    assert_int_equal(fixture.script.n_shown, 0);
}

/* The first of each two was asked as suspicious, the second as normal; both quotas are filled from them. */
static void pairs_fill_both_quotas(void **state) {
    (void)state;
    int n_twins = 0, wanted[2] = {0};
    must_run((struct generate_options){0});
    check_balance(N);
    assert_true(fixture.script.n_pairs >= 5);
    load_requests();
    for (int i = 0; i < n_requests; i++)
        if (strstr(requests[i], " pairs of records"))
            assert_non_null(strstr(
                requests[i], "the first must deserve the label suspicious, the second the label normal."));
    for (int i = 0; i < n_records; i++) {
        if (!records[i].pair)
            continue;
        assert_int_equal(records[i].wanted, records[i].index % 2);
        wanted[records[i].wanted]++;
        const struct seen_record *second = &records[i + 1];
        if (i + 1 < n_records && records[i].index % 2 == 0 && second->call == records[i].call &&
            records[i].accepted && second->accepted) {
            assert_int_equal((records[i].delay != second->delay) + (records[i].share != second->share), 1);
            assert_int_not_equal(records[i].label, second->label);
            n_twins++;
        }
    }
    assert_int_equal(wanted[0], wanted[1]);
    assert_true(n_twins >= 10);
    assert_true(count_label(0, true) >= n_twins && count_label(1, true) >= n_twins);
}

/* Over a wide range the two of a pair lie in the same hundredth of it, where copies are looked for. */
static void twins_are_no_copies_of_each_other(void **state) {
    (void)state;
    int n_near = 0;
    fixture.task.fields[0].max = 6000;
    must_run((struct generate_options){.n_records = 80});
    load_records();
    for (int i = 0; i + 1 < n_records; i++)
        n_near += records[i].pair && records[i].index % 2 == 0 && records[i + 1].call == records[i].call &&
                  records[i].accepted && records[i + 1].accepted &&
                  floor(records[i].delay / 60) == floor(records[i + 1].delay / 60) &&
                  records[i].share == records[i + 1].share;
    assert_true(n_near > 0);
}

/* Of every WRITE question that was answered there are records: none was paid for and asked again in other words. */
static void check_all_used(void) {
    load_records();
    load_requests();
    for (int i = 0; i < n_requests; i++) {
        bool used = false;
        for (int k = 0; k < n_records; k++)
            used = used || records[k].call == request_calls[i];
        if (!used)
            fail_msg("unused: %s", requests[i]);
    }
}

static int drop_shown(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    int64_t *id = context;
    if (r->split == STORE_TRAIN)
        *id = r->id;
    return 0;
}

/* Stopped by the budget again and again, in the middle of waves, and a record that was shown taken out by a person meanwhile. */
static void a_wave_that_was_broken_off_asks_the_same(void **state) {
    (void)state;
    int n_stops = 0, rc = ERR_BUDGET;
    bool dropped = false;
    for (double budget = 0.15; rc == ERR_BUDGET && budget < 4; budget += 0.03) {
        struct err e = {0};
        rc = run_with(
            (struct teacher_config){.price_in = 10, .price_out = 10, .has_budget = true, .budget = budget},
            (struct generate_options){0}, &e);
        if (rc < 0 && rc != ERR_BUDGET)
            fail_msg("%s", e.message);
        n_stops += rc == ERR_BUDGET;
        int64_t shown = 0;
        assert_int_equal(store_records_each(fixture.store, STORE_ALL_SPLITS, drop_shown, &shown, NULL), 0);
        if (rc == ERR_BUDGET && shown > 0 && !dropped) {
            struct store_record r = {.id = shown,
                                     .weight = 1,
                                     .status = STORE_REJECTED,
                                     .split = STORE_TRAIN,
                                     .reason = "dropped"};
            assert_int_equal(store_record_update(fixture.store, &r, NULL), 0);
            dropped = true;
        }
    }
    assert_int_equal(rc, 0);
    assert_true(n_stops >= 5 && dropped);
    check_balance(N);
    check_all_used();
    assert_int_equal(fixture.script.n_write, n_requests);
}

static void records_hash(char hex[SHA256_HEX]) {
    assert_int_equal(store_records_hash(fixture.store, STORE_ALL_SPLITS, hex, NULL), 0);
}

/* Killed again and again, the run ends with the records of one that was not, and asks nothing twice that was answered. */
static void killed_at_any_moment(void **state) {
    (void)state;
    char whole[SHA256_HEX], pieces[SHA256_HEX];
    int rounds = getenv("EDGESTILL_SOAK") ? 300 : 8, kills = 0;
    must_run((struct generate_options){0});
    records_hash(whole);
    int asked = fixture.script.n_write + fixture.script.n_label;
    store_close(fixture.store);
    fixture.store = NULL;
    assert_int_equal(unlink(fixture.path), 0);
    fixture.script.delay_ms = 2;
    fixture.script.n_write = fixture.script.n_label = 0;
    for (int i = 0; i < rounds; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(store_open(&fixture.store, fixture.path, STORE_WRITE, NULL) == 0 &&
                          run_with((struct teacher_config){0}, (struct generate_options){0}, NULL) == 0
                      ? 0
                      : 1);
        usleep((useconds_t)(20000 + (i * 7919 * 3) % 150000));
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        kills += WIFSIGNALED(status);
    }
    usleep(20000);
    assert_true(kills >= 3);
    assert_int_equal(store_open(&fixture.store, fixture.path, STORE_WRITE, NULL), 0);
    must_run((struct generate_options){0});
    records_hash(pieces);
    assert_string_equal(whole, pieces);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_true(fixture.script.n_write + fixture.script.n_label <= l.n_answered + l.n_doubt);
    assert_int_equal(l.n_answered, asked);
    check_all_used();
}

enum { OWN_ROWS = 4 };
static const char *const own_rows[OWN_ROWS][2] = {
    {"{\"delay\":1,\"approved share\":0.11,\"visit type\":\"routine\"}", "suspicious"},
    {"{\"delay\":0,\"approved share\":0.11,\"visit type\":\"routine\"}", "suspicious"},
    {"{\"delay\":41,\"approved share\":0.11,\"visit type\":\"routine\"}", "normal"},
    {"{\"delay\":53,\"approved share\":0.11,\"visit type\":\"routine\"}", "normal"},
};

/* The last one is a test row. */
static void add_own_rows(void) {
    for (int i = 0; i < OWN_ROWS; i++) {
        struct store_record r = {.source = "own",
                                 .data = own_rows[i][0],
                                 .label = own_rows[i][1],
                                 .weight = 1,
                                 .status = STORE_ACCEPTED,
                                 .split = i == OWN_ROWS - 1 ? STORE_TEST : STORE_TRAIN,
                                 .write_index = i + 2};
        assert_int_equal(store_record_add(fixture.store, &r, NULL, NULL), 0);
    }
}

static int count_requests(const char *text) {
    int n = 0;
    for (int i = 0; i < n_requests; i++)
        n += strstr(requests[i], text) != NULL;
    return n;
}

static void own_rows_are_shown_with_leave_alone(void **state) {
    (void)state;
    static const bool delay_alone[] = {true, false, false};
    fixture.script.copy_share = fixture.script.wrong_share = 0;
    add_own_rows();
    must_run((struct generate_options){0});
    load_requests();
    assert_true(fixture.script.n_shown > 0);
    for (int i = 0; i < OWN_ROWS; i++)
        assert_int_equal(count_requests(own_rows[i][0]), 0);
    assert_int_equal(count_requests("{\"delay\":41}") + count_requests("{\"delay\":1}"), 0);
    store_close(fixture.store);
    assert_int_equal(unlink(fixture.path), 0);
    assert_int_equal(store_open(&fixture.store, fixture.path, STORE_WRITE, NULL), 0);
    add_own_rows();
    must_run((struct generate_options){.shared_fields = delay_alone});
    load_requests();
    assert_true(count_requests("{\"delay\":41}") > 0);
    assert_true(count_requests("{\"delay\":1}") + count_requests("{\"delay\":0}") > 0);
    assert_int_equal(count_requests("{\"delay\":53"), 0); /* a test row */
    for (int i = 0; i < OWN_ROWS; i++)
        assert_int_equal(count_requests(own_rows[i][0]), 0);
}

/* Three records of a few numbers each: the quote has room for what was sent. */
static void the_quote_counts_what_is_shown(void **state) {
    (void)state;
    struct teacher_traits full = {.style = PROTOCOL_FULL, .parallel = 8}, plain = full;
    struct generate_quote with, without;
    struct generate_options o = {.n_records = N};
    plain.style = PROTOCOL_PLAIN;
    assert_int_equal(generate_foresee(&full, NULL, &fixture.task, &o, &with, NULL), 0);
    assert_int_equal(generate_foresee(&plain, NULL, &fixture.task, &o, &without, NULL), 0);
    assert_int_equal(with.missing, N);
    must_run((struct generate_options){0});
    load_requests();
    size_t shown = 0;
    for (int i = 0; i < n_requests; i++)
        shown += shown_by(requests[i]) ? strlen(shown_by(requests[i])) : 0;
    assert_true((double)(with.tokens_in - without.tokens_in) > (double)shown / 4);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(questions_show_records_of_their_label_and_others_each_time),
        CASE(a_plain_teacher_is_asked_as_it_was_taught),
        CASE(pairs_fill_both_quotas),
        CASE(twins_are_no_copies_of_each_other),
        CASE(a_wave_that_was_broken_off_asks_the_same),
        CASE(killed_at_any_moment),
        CASE(own_rows_are_shown_with_leave_alone),
        CASE(the_quote_counts_what_is_shown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    forget_requests();
    return failed;
}
