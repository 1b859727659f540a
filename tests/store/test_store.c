/* records.sqlite: what is committed stays, whoever dies; the ledger adds up; wrong files are refused. */
#include "base/file.h"
#include "store/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

static char folder[64], path[128];

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/edgestill-store-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/records.sqlite", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return file_remove_tree(folder, NULL);
}

static struct store *open_store(enum store_mode mode) {
    struct err e = {0};
    struct store *s = NULL;
    int rc = store_open(&s, path, mode, &e);
    if (rc < 0)
        print_error("%s\n", e.message);
    assert_int_equal(rc, 0);
    return s;
}

static int64_t add(struct store *s, const char *data, const char *label, enum store_status status,
                   enum store_split split) {
    struct store_record r = {.source = "teacher",
                             .data = data,
                             .label = label,
                             .wanted = label,
                             .cell = "a",
                             .weight = 1,
                             .status = status,
                             .split = split,
                             .reason = status == STORE_REJECTED ? "duplicate" : NULL};
    int64_t id = 0;
    assert_int_equal(store_record_add(s, &r, &id, NULL), 0);
    return id;
}

static int see_belief(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    snprintf(context, 64, "%s", r->probabilities ? r->probabilities : "none");
    return 0;
}

static void probabilities_stay_with_their_label(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    struct store_record r = {.label = "x", .weight = 0.9, .probabilities = "{\"x\":0.9,\"y\":0.1}"};
    char text[64] = "", before[SHA256_HEX], after[SHA256_HEX];
    r.id = add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    r.status = STORE_ACCEPTED;
    r.split = STORE_TRAIN;
    assert_int_equal(store_records_hash(s, STORE_TRAIN, before, NULL), 0);
    assert_int_equal(store_record_update(s, &r, NULL), 0);
    assert_int_equal(store_records_hash(s, STORE_TRAIN, after, NULL), 0);
    assert_string_not_equal(before, after);
    r.probabilities = NULL;
    assert_int_equal(store_record_update(s, &r, NULL), 0);
    assert_int_equal(store_records_each(s, STORE_TRAIN, see_belief, text, NULL), 0);
    assert_string_equal(text, "{\"x\":0.9,\"y\":0.1}");
    r.label = "y"; /* a person knows better */
    assert_int_equal(store_record_update(s, &r, NULL), 0);
    assert_int_equal(store_records_each(s, STORE_TRAIN, see_belief, text, NULL), 0);
    assert_string_equal(text, "none");
    store_close(s);
}

/* A file from before there were probabilities: read as it is, brought up to date when it is written to. */
static void an_older_file_goes_on(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    sqlite3 *db = NULL;
    char text[64] = "";
    add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    store_close(s);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "ALTER TABLE record DROP COLUMN probabilities; PRAGMA user_version = 2",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    for (int i = 0; i < 2; i++) {
        s = open_store(i == 0 ? STORE_READ : STORE_WRITE);
        assert_int_equal(store_records_each(s, STORE_TRAIN, see_belief, text, NULL), 0);
        assert_string_equal(text, "none");
        store_close(s);
    }
}

struct seen {
    char text[256];
};

static int see(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct seen *seen = context;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%s=%s/%s;", r->data, r->label ? r->label : "-",
             store_split_text(r->split));
    return 0;
}

static void records_come_back_in_order(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    add(s, "{2}", "y", STORE_REJECTED, STORE_NO_SPLIT);
    int64_t third = add(s, "{3}", NULL, STORE_PENDING, STORE_NO_SPLIT);
    add(s, "{4}", "y", STORE_ACCEPTED, STORE_TEST);
    struct store_record r = {
        .id = third, .label = "y", .weight = 0.5, .status = STORE_ACCEPTED, .split = STORE_TRAIN};
    assert_int_equal(store_record_update(s, &r, NULL), 0);
    struct seen seen = {""};
    assert_int_equal(store_records_each(s, STORE_TRAIN, see, &seen, NULL), 0);
    assert_string_equal(seen.text, "{1}=x/train;{3}=y/train;");
    seen.text[0] = 0;
    assert_int_equal(store_records_each(s, STORE_ALL_SPLITS, see, &seen, NULL), 0);
    assert_string_equal(seen.text, "{1}=x/train;{3}=y/train;{4}=y/test;");
    seen.text[0] = 0;
    assert_int_equal(store_status_each(s, STORE_REJECTED, see, &seen, NULL), 0);
    assert_string_equal(seen.text, "{2}=y/none;");
    int64_t n = 0;
    assert_int_equal(store_accepted_count(s, STORE_ALL_SPLITS, &n, NULL), 0);
    assert_int_equal(n, 3);
    r.id = 99;
    struct err e = {0};
    assert_int_equal(store_record_update(s, &r, &e), ERR_FAILED);
    store_close(s);
}

static int stop_there(void *context, const struct store_record *r, struct err *e) {
    (void)r;
    ++*(int *)context;
    return err_set(e, ERR_INTERRUPTED, "test", "enough");
}

static void a_callback_can_stop(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    add(s, "{2}", "x", STORE_ACCEPTED, STORE_TRAIN);
    int n = 0;
    struct err e = {0};
    assert_int_equal(store_records_each(s, STORE_TRAIN, stop_there, &n, &e), ERR_INTERRUPTED);
    assert_int_equal(n, 1);
    store_close(s);
}

static int sum(void *context, const struct store_count *c, struct err *e) {
    (void)e;
    struct seen *seen = context;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%s %s %s %lld;", store_status_text(c->status),
             c->label ? c->label : "-", c->reason ? c->reason : "-", (long long)c->n);
    return 0;
}

static void counts_group_by_status_label_and_reason(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    add(s, "{2}", "x", STORE_ACCEPTED, STORE_TRAIN);
    add(s, "{3}", "y", STORE_REJECTED, STORE_NO_SPLIT);
    struct seen seen = {""};
    assert_int_equal(store_counts_each(s, sum, &seen, NULL), 0);
    assert_string_equal(seen.text, "accepted x - 2;rejected y duplicate 1;");
    store_close(s);
}

static void the_hash_follows_accepted_records_only(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    char empty[SHA256_HEX], one[SHA256_HEX], same[SHA256_HEX], two[SHA256_HEX];
    assert_int_equal(store_records_hash(s, STORE_ALL_SPLITS, empty, NULL), 0);
    add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    assert_int_equal(store_records_hash(s, STORE_ALL_SPLITS, one, NULL), 0);
    add(s, "{2}", "x", STORE_REJECTED, STORE_NO_SPLIT);
    assert_int_equal(store_note_set(s, "k", "v", NULL), 0);
    assert_int_equal(store_records_hash(s, STORE_ALL_SPLITS, same, NULL), 0);
    add(s, "{3}", "x", STORE_ACCEPTED, STORE_TEST);
    assert_int_equal(store_records_hash(s, STORE_ALL_SPLITS, two, NULL), 0);
    assert_string_not_equal(empty, one);
    assert_string_equal(one, same);
    assert_string_not_equal(one, two);
    store_close(s);
}

static int64_t begin_call(struct store *s, const char *key, double money) {
    struct store_call c = {.key = key,
                           .purpose = "write",
                           .teacher = "t",
                           .request = "{}",
                           .reserved = {100, 200, money},
                           .sent_unix_ms = 5};
    int64_t id = 0;
    assert_int_equal(store_call_begin(s, &c, &id, NULL), 0);
    return id;
}

static int end_call(struct store *s, int64_t id, enum store_call_state state, double money, struct err *e) {
    struct store_call c = {.id = id,
                           .state = state,
                           .http_status = 200,
                           .response = "answer",
                           .used = {10, 20, money},
                           .seconds = 1.5};
    return store_call_end(s, &c, e);
}

static void the_ledger_adds_up(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    assert_int_equal(end_call(s, begin_call(s, "a", 1), STORE_CALL_ANSWERED, 0.25, NULL), 0);
    assert_int_equal(end_call(s, begin_call(s, "b", 1), STORE_CALL_FAILED, 0, NULL), 0);
    assert_int_equal(end_call(s, begin_call(s, "c", 1), STORE_CALL_DOUBT, 0, NULL), 0);
    begin_call(s, "d", 2);
    struct store_ledger l;
    assert_int_equal(store_ledger(s, NULL, &l, NULL), 0);
    assert_int_equal(l.n_answered, 1);
    assert_int_equal(l.n_failed, 1);
    assert_int_equal(l.n_doubt, 1);
    assert_int_equal(l.n_sent, 1);
    assert_float_equal(l.used.money, 0.25, 1e-12);
    assert_int_equal(l.used.tokens_out, 40); /* answered and failed */
    assert_float_equal(l.reserved.money, 3, 1e-12);
    assert_int_equal(l.reserved.tokens_in, 200);
    assert_int_equal(store_ledger(s, "label", &l, NULL), 0);
    assert_int_equal(l.n_answered, 0);
    store_close(s);
}

static void a_key_is_answered_once(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    struct arena a;
    arena_init(&a);
    struct store_call c;
    bool found = true;
    assert_int_equal(store_call_find(s, "a", &a, &c, &found, NULL), 0);
    assert_false(found);
    assert_int_equal(end_call(s, begin_call(s, "a", 1), STORE_CALL_FAILED, 0, NULL), 0);
    assert_int_equal(store_call_find(s, "a", &a, &c, &found, NULL), 0);
    assert_false(found);
    assert_int_equal(end_call(s, begin_call(s, "a", 1), STORE_CALL_ANSWERED, 0, NULL), 0);
    assert_int_equal(store_call_find(s, "a", &a, &c, &found, NULL), 0);
    assert_true(found);
    assert_string_equal(c.response, "answer");
    assert_int_equal(c.used.tokens_in, 10);
    assert_int_equal(c.sent_unix_ms, 5);
    struct err e = {0};
    assert_true(end_call(s, begin_call(s, "a", 1), STORE_CALL_ANSWERED, 0, &e) < 0);
    struct err none = {0};
    assert_int_equal(store_call_get(s, 77, &a, &c, &none), ERR_NOT_FOUND);
    arena_release(&a);
    store_close(s);
}

/* A child opens a call, commits, and dies without a word; what it committed is there and its call is in doubt. */
static void a_dead_writer_leaves_its_calls_in_doubt(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct store *s = NULL;
        if (store_open(&s, path, STORE_WRITE, NULL) < 0 || store_begin(s, NULL) < 0)
            _exit(1);
        begin_call(s, "a", 1);
        add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
        if (store_commit(s, NULL) < 0 || store_begin(s, NULL) < 0)
            _exit(1);
        add(s, "{2}", "x", STORE_ACCEPTED, STORE_TRAIN); /* never committed */
        kill(getpid(), 9);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct store *reader = open_store(STORE_READ); /* a reader does not judge */
    struct store_ledger l;
    assert_int_equal(store_ledger(reader, NULL, &l, NULL), 0);
    assert_int_equal(l.n_sent, 1);
    store_close(reader);
    struct store *s = open_store(STORE_WRITE);
    assert_int_equal(store_ledger(s, NULL, &l, NULL), 0);
    assert_int_equal(l.n_doubt, 1);
    assert_int_equal(l.n_sent, 0);
    int64_t n = 0;
    assert_int_equal(store_accepted_count(s, STORE_TRAIN, &n, NULL), 0);
    assert_int_equal(n, 1);
    store_close(s);
}

static void one_writer_and_readers_beside_it(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE), *second = NULL;
    struct err e = {0};
    assert_int_equal(store_open(&second, path, STORE_WRITE, &e), ERR_FAILED);
    assert_non_null(strstr(e.message, "another edgestill"));
    assert_null(second);
    assert_int_equal(store_begin(s, NULL), 0);
    add(s, "{1}", "x", STORE_ACCEPTED, STORE_TRAIN);
    struct store *reader = open_store(STORE_READ);
    int64_t n = 5;
    assert_int_equal(store_accepted_count(reader, STORE_ALL_SPLITS, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(store_commit(s, NULL), 0);
    assert_int_equal(store_accepted_count(reader, STORE_ALL_SPLITS, &n, NULL), 0);
    assert_int_equal(n, 1);
    store_close(reader);
    store_close(s);
    char wal[160];
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_false(file_exists(wal));
}

static void undone_and_notes(void **state) {
    (void)state;
    struct store *s = open_store(STORE_WRITE);
    struct arena a;
    arena_init(&a);
    const char *text = "unset";
    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_note_set(s, "k", "v", NULL), 0);
    store_rollback(s);
    assert_int_equal(store_note_get(s, "k", &a, &text, NULL), 0);
    assert_null(text);
    assert_int_equal(store_note_set(s, "k", "1", NULL), 0);
    assert_int_equal(store_note_set(s, "k", "2", NULL), 0);
    assert_int_equal(store_note_get(s, "k", &a, &text, NULL), 0);
    assert_string_equal(text, "2");
    arena_release(&a);
    store_close(s);
}

static void wrong_files_are_refused(void **state) {
    (void)state;
    struct store *s = NULL;
    struct err e = {0};
    assert_int_equal(store_open(&s, path, STORE_READ, &e), ERR_NOT_FOUND);
    err_clear(&e);
    const char junk[] = "this is no database, and long enough not to be taken for an empty one";
    assert_int_equal(file_write(path, junk, sizeof junk, NULL), 0);
    assert_int_equal(store_open(&s, path, STORE_WRITE, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, path));
    err_clear(&e);
    assert_int_equal(store_open(&s, path, STORE_READ, &e), ERR_FORMAT);
    err_clear(&e);
    assert_int_equal(store_open(&s, "/nonexistent/folder/records.sqlite", STORE_WRITE, &e), ERR_IO);
    assert_null(s);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(records_come_back_in_order),
        CASE(probabilities_stay_with_their_label),
        CASE(an_older_file_goes_on),
        CASE(a_callback_can_stop),
        CASE(counts_group_by_status_label_and_reason),
        CASE(the_hash_follows_accepted_records_only),
        CASE(the_ledger_adds_up),
        CASE(a_key_is_answered_once),
        CASE(a_dead_writer_leaves_its_calls_in_doubt),
        CASE(one_writer_and_readers_beside_it),
        CASE(undone_and_notes),
        CASE(wrong_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
