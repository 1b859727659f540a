/* Labelled rows from CSV and JSON Lines: the same rows give the same hash, and every mistake is named with its line. */
#include "base/file.h"
#include "eval/rows.h"
#include "format/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char task_json[] =
    "{\"fields\":[{\"name\":\"delay\",\"column\":\"Days\",\"type\":\"integer\",\"min\":0,\"max\":60},"
    "{\"name\":\"visit type\",\"type\":\"category\",\"values\":[\"inpatient\",\"outpatient\"]},"
    "{\"name\":\"note\",\"type\":\"text\",\"optional\":true}],"
    "\"labels\":[{\"name\":\"flag\"},{\"name\":\"pass\"}]}";

static struct task task;

static int set_up(void **state) {
    (void)state;
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = json_node_parse(&a, "task", 1, task_json, strlen(task_json), &root, NULL);
    if (rc == 0)
        rc = task_from_node(&task, root, NULL);
    arena_release(&a);
    return rc;
}

static int tear_down(void **state) {
    (void)state;
    task_release(&task);
    return 0;
}

/* Reads `text` as a file of that name. */
static int read_text(const char *name, const char *text, const struct rows_options *o, struct rows *rows,
                     struct err *e) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/edgestill-rows-%ld-%s", (long)getpid(), name);
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
    int rc = rows_read(rows, &task, path, o, e);
    unlink(path);
    return rc;
}

static const char good_csv[] =
    "\xef\xbb\xbf"
    "label,Days,visit type,extra\r\nflag,1,Inpatient,x\r\nPASS, 9 ,outpatient,\r\n";

static void test_csv_and_jsonl_agree(void **state) {
    (void)state;
    static const char jsonl[] =
        "{\"delay\":1,\"visit type\":\"inpatient\",\"label\":\"flag\",\"other\":[1]}\n\n"
        "{\"Days\":\"9.0\",\"visit type\":\"outpatient\",\"label\":\"pass\",\"note\":null}\n";
    struct rows a, b;
    struct err e = {0};
    int64_t count[2];
    int rc = read_text("a.csv", good_csv, NULL, &a, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    rc = read_text("b.jsonl", jsonl, NULL, &b, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.n_own, 2);
    assert_int_equal(a.records[1].label, 1);
    assert_string_equal(a.records[0].values[1].text, "inpatient");
    assert_true(a.records[0].values[2].missing);
    assert_string_equal(a.sha256, b.sha256);
    rows_count(&a, &task, count);
    assert_true(count[0] == 1 && count[1] == 1);
    rows_release(&a);
    rows_release(&b);
    rows_release(&b);
}

static void test_limit_and_label_column(void **state) {
    (void)state;
    struct rows rows;
    assert_int_equal(read_text("c.csv",
                               "Days,visit type,verdict\n1,inpatient,pass\n2,inpatient,flag\n3,bad,xx\n",
                               &(struct rows_options){.label_column = "verdict", .limit = 2}, &rows, NULL),
                     0);
    assert_int_equal(rows.n, 2);
    assert_int_equal(rows.records[0].label, 1);
    rows_release(&rows);
}

static const struct {
    const char *name, *text, *says;
} bad[] = {
    {"a.csv", "Days,visit type\n1,inpatient\n", "no column 'label'"},
    {"b.csv", "visit type,label\ninpatient,flag\n", "no column 'Days'"},
    {"c.csv", "Days,visit type,label\n1,inpatient,flag\n2,inpatient,flagged\n", "c.csv:3: 'flagged'"},
    {"d.csv", "Days,visit type,label\n1,inpatient,\n", "d.csv:2: the label is missing"},
    {"e.csv", "Days,visit type,label\nx,inpatient,flag\n", "e.csv:2"},
    {"f.csv", "Days,visit type,label\n", "no rows"},
    {"g.csv", "Days,visit type,label\n1,\"inpat\n", "g.csv"},
    {"h.csv", "", "h.csv"},
    {"i.jsonl",
     "{\"delay\":1,\"visit type\":\"inpatient\",\"label\":\"flag\"}\n{\"delay\":1,\"label\":\"flag\"}\n",
     "i.jsonl:2"},
    {"j.jsonl", "[]\n", "j.jsonl:1"},
    {"k.jsonl", "{\"delay\":1,\"visit type\":\"inpatient\"}\n", "label is missing"},
    {"l.jsonl", "{\"delay\":1,\n", "l.jsonl"},
};

static void test_mistakes_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rows rows = {.n = 77};
        struct err e = {0};
        int rc = read_text(bad[i].name, bad[i].text, NULL, &rows, &e);
        assert_true(rc == ERR_INPUT || rc == ERR_FORMAT);
        if (!strstr(e.message, bad[i].says))
            fail_msg("%s: '%s' does not say '%s'", bad[i].name, e.message, bad[i].says);
        assert_int_equal(rows.n, 77);
    }
    struct rows rows;
    assert_int_equal(rows_read(&rows, &task, "/tmp/edgestill-no-such-file.csv", NULL, NULL), ERR_NOT_FOUND);
}

static void test_from_store(void **state) {
    (void)state;
    char path[64];
    struct store *s = NULL;
    struct rows rows;
    snprintf(path, sizeof path, "/tmp/edgestill-rows-%ld.sqlite", (long)getpid());
    assert_int_equal(store_open(&s, path, STORE_WRITE, NULL), 0);
    for (int i = 0; i < 6; i++) {
        char data[80];
        snprintf(data, sizeof data, "{\"delay\":%d,\"visit type\":\"inpatient\",\"note\":null}", i);
        struct store_record r = {.source = i == 5 ? "own" : "teacher",
                                 .data = data,
                                 .label = i % 2 ? "pass" : "flag",
                                 .weight = 1,
                                 .status = STORE_ACCEPTED,
                                 .split = i < 3 ? STORE_TRAIN : STORE_TEST};
        int64_t id = 0;
        assert_int_equal(store_record_add(s, &r, &id, NULL), 0);
    }
    struct err e = {0};
    int rc = rows_from_store(&rows, &task, s, "records.sqlite", STORE_TEST, NULL, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_int_equal(rows.n, 3);
    assert_int_equal(rows.n_own, 1);
    assert_string_equal(rows.source, "records.sqlite (test)");
    assert_string_equal(rows.records[0].values[0].text, "3");
    assert_int_equal(rows.records[0].label, 1);
    rows_release(&rows);
    assert_int_equal(rows_from_store(&rows, &task, s, "records.sqlite", STORE_VALIDATION, NULL, &e),
                     ERR_INPUT);
    store_close(s);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv_and_jsonl_agree),
        cmocka_unit_test(test_limit_and_label_column),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_from_store),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
