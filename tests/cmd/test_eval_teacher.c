/* `edgestill eval` and the teacher: asked only with leave, own rows only when shared, each row once, wrong and useless answers
 * counted as what they are. The teacher is a scripted server. */
#include "base/file.h"
#include "base/rng.h"
#include "cmd/cmd.h"
#include "cmd/project.h"
#include "cmd/sharing.h"
#include "config.h"
#include "eval/score.h"
#include "support/chat_script.h"
#include "support/run_verb.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 30, TURNED_ROUND = 3 };

static struct chat_script script;
static struct http_script *server;

static void write_text(const char *path, const char *text) {
    struct err e = {0};
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
}

static int run(const char *verb, json_t **result, struct err *e, const char *const words[]) {
    return run_verb(verb, "p", false, result, e, words);
}

static void write_project(const char *leave) {
    struct str text = {0};
    str_addf(&text,
             "format: edgestill.project/1\ntask: \"%s\"\ndevice: rpi5-8gb\nbase: embedded\nteacher:\n  kind: "
             "openai\n"
             "  url: http://127.0.0.1:%d/v1\n  model: scripted\n  style: plain\ndata:\n  label: label\n"
             "  share_rows: %s\nseed: 1\n",
             CHAT_SCRIPT_SENTENCE, http_script_port(server), leave);
    write_text("p/edgestill.yaml", str_text(&text));
    str_release(&text);
}

/* Rows by the teacher's own rule, some labels turned round: there the teacher is wrong. */
static void write_rows(const char *path) {
    static const char *const labels[] = {"suspicious", "normal"}, *const visits[] = {"routine", "emergency"};
    struct rng r;
    struct str csv = {0};
    rng_seed(&r, 8);
    str_add(&csv, "delay,approved share,visit type,label\n");
    for (int i = 0; i < ROWS; i++) {
        int delay = (int)rng_range(&r, 0, 14), share = (int)rng_range(&r, 0, 100);
        int label = chat_script_rule(delay, share / 100.0) ^ (i < TURNED_ROUND);
        str_addf(&csv, "%d,%d.%02d,%s,%s\n", delay, share / 100, share % 100, visits[i % 2], labels[label]);
    }
    write_text(path, str_text(&csv));
    str_release(&csv);
}

static int set_up(void **state) {
    (void)state;
    struct task t;
    struct project p;
    struct str yaml = {0};
    struct err e = {0};
    scratch_enter();
    setenv("HOME", "/nonexistent", 1);
    setenv("EDGESTILL_DATA_DIR", "data", 1);
    server = http_script_start(chat_script_serve, &script);
    file_make_folders("p", &e);
    file_make_folders("data/seed", &e);
    struct tiny_gguf base = {.n_layer = 1, .n_embd = 64, .n_head = 2, .n_kv = 1, .n_ff = 128, .n_vocab = 640};
    if (!server || symlink(EDGESTILL_SOURCE_DIR "/catalog", "data/catalog") != 0 ||
        tiny_gguf_write("data/seed/base.gguf", &base, &e) < 0 || chat_script_task(&t, &e) < 0)
        return -1;
    task_to_yaml(&t, &yaml, &e);
    write_text("p/task.yaml", str_text(&yaml));
    str_release(&yaml);
    task_release(&t);
    write_rows("rows.csv");
    write_project("false");
    int rc = project_open(&p, "p", &e);
    if (rc == 0)
        rc = project_lock_write(&p, "task.yaml", NULL, &e);
    project_release(&p);
    if (rc == 0)
        rc = run("plan", NULL, &e, WORDS("--accept", "1"));
    if (rc < 0)
        print_error("%s\n", e.message);
    return rc;
}

static int tear_down(void **state) {
    (void)state;
    http_script_stop(server);
    return 0;
}

static double number(const json_t *j, const char *key) {
    return json_number_value(json_object_get(json_object_get(j, "teacher"), key));
}

static void test_own_rows_stay_here(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--only", "teacher", "--yes")),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "share_rows"));
    assert_int_equal(script.n_label, 0);
}

static void test_cost_waits_for_a_yes(void **state) {
    (void)state;
    struct err e;
    write_project("true");
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--only", "teacher")), ERR_GATE);
    assert_non_null(strstr(e.message, "--yes"));
    assert_int_equal(script.n_label, 0);
    /* beside others it is skipped, not in their way */
    json_t *j = NULL;
    assert_int_equal(
        run("eval", &j, &e, WORDS("--rows", "rows.csv", "--limit", "4", "--free", "0", "--threads", "1")), 0);
    assert_non_null(json_object_get(j, "base"));
    assert_null(json_object_get(j, "teacher"));
    json_decref(j);
}

static void test_answers_are_scored(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    int rc = run("eval", &j, &e, WORDS("--rows", "rows.csv", "--only", "teacher", "--yes"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_true(number(j, "accuracy") > 0.899 &&
                number(j, "accuracy") < 0.901); /* all but the three turned round */
    assert_true(
        json_is_null(json_object_get(json_object_get(j, "teacher"), "pr_auc"))); /* no probabilities */
    json_decref(j);
    int asked = script.n_label;
    assert_true(asked > 0 && asked <= ROWS);
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--only", "teacher")),
                     0); /* costs nothing now */
    assert_int_equal(
        run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--only", "teacher", "--force", "--yes")), 0);
    assert_int_equal(script.n_label, asked); /* not even when scored anew: the journal knows */
}

/* The named columns alone, entered in the ledger; another view of the rows is another question. */
static void test_named_columns_are_shown(void **state) {
    (void)state;
    struct err e;
    struct store *s = NULL;
    int asked = script.n_label;
    write_project("true\n  share_columns: [delay]");
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--only", "teacher", "--yes")), 0);
    assert_true(script.n_label > asked);
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_READ, &e), 0);
    json_t *list = sharing_ledger(s);
    store_close(s);
    assert_int_equal(json_array_size(list), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *entry = json_array_get(list, i);
        assert_string_equal(json_string_value(json_object_get(entry, "what")), "eval");
        assert_string_equal(json_string_value(json_object_get(entry, "from")), "rows.csv");
        assert_int_equal(json_integer_value(json_object_get(entry, "rows")), ROWS);
        assert_int_equal(json_array_size(json_object_get(entry, "columns")), i ? 1 : 3);
    }
    json_decref(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_rows_stay_here),
        cmocka_unit_test(test_cost_waits_for_a_yes),
        cmocka_unit_test(test_answers_are_scored),
        cmocka_unit_test(test_named_columns_are_shown),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
