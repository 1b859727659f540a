/* A bundle whose model writes JSON: the grammar that was compiled when it was made is what holds the answers on the device. */
#include "../support/scratch.h"
#include "../support/tiny_bundle.h"
#include "base/file.h"
#include "base/hash.h"
#include "format/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct tiny_bundle t;
static bool possible;

static const char *rooms[] = {"hall", "attic"};
static struct task_field answer[] = {
    {.name = "room", .column = "room", .type = FIELD_CATEGORY, .values = rooms, .n_values = 2}};

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    struct bundle_result r;
    tiny_bundle_begin(&t);
    possible = tiny_bundle_possible("amd64");
    struct task classify = t.task;
    t.task.kind = TASK_EXTRACT;
    t.task.answer = answer;
    t.task.n_answer = 1;
    t.task.n_labels = 0;
    t.task.positive = NULL;
    struct bundle_request q = tiny_bundle_request(&t, "amd64", "here", NULL);
    if (possible && bundle_make(&r, &q, &e) < 0)
        fail_msg("%s", e.message);
    t.task = classify;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_bundle_end(&t);
    return 0;
}

#define RUN(bundle) "env -i " bundle "/run --threads 1 "

static void test_answers_as_on_the_host(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(tiny_shell("env -i here/selftest --threads 1 --receipt here.json"), 0);
    assert_int_equal(tiny_shell("printf '%s\\n' '{\"delay\":3}' '{\"delay\":4}' '{\"delay\":3}' | " RUN(
                         "here") ">out.jsonl"),
                     0);
    assert_int_equal(
        tiny_shell("grep -Ec '^\\{\"answer\":\\{\"room\":\"(hall|attic)\"\\},\"valid\":true,' out.jsonl "
                   "| grep -qx 3"),
        0);
    assert_int_equal(
        tiny_shell("grep -q 'an answer a line: `answer`, a JSON object' here/README.md && ! grep -q "
                   "'probability of each label' here/README.md"),
        0);
    /* the third record is the first one again: nothing is left over from the second */
    assert_int_equal(tiny_shell("sed 's/,\"ms\".*//' out.jsonl | sed -n '1p;3p' | uniq | wc -l | grep -qx 1"),
                     0);
}

/* Beginnings of answers are cut between bytes; the receipt has all of them, as text. */
static void test_differences_are_told(void **state) {
    (void)state;
    struct str line = {0};
    json_t *receipt = NULL;
    if (!possible)
        skip();
    str_add(&line, "{\"record\":{\"delay\":3},\"answer\":\"x");
    for (int i = 0; i < 40; i++)
        str_add(&line, "\xc3\xa9");
    str_add(&line, "\"}\n");
    assert_int_equal(tiny_shell("rm -rf other && cp -r here other"), 0);
    assert_int_equal(file_write("other/golden.jsonl", str_text(&line), line.len, NULL), 0);
    str_release(&line);
    assert_int_equal(
        tiny_shell("env -i other/selftest --threads 1 --rows 1 --no-verify --receipt other.json"), 1);
    assert_int_equal(json_file_read("other.json", &receipt, NULL), 0);
    json_t *list = json_object_get(json_object_get(receipt, "selftest"), "disagreements");
    assert_int_equal(json_array_size(list), 1);
    const char *host = json_string_value(json_object_get(json_array_get(list, 0), "host"));
    assert_true(host && str_starts(host, "x\xc3\xa9"));
    json_decref(receipt);
}

/* A grammar of another wish than the task's, with its hash in the manifest: the file is what counts. */
static void test_the_bundled_grammar_counts(void **state) {
    (void)state;
    static const char *const only[] = {"hall", "attic"};
    if (!possible)
        skip();
    for (int i = 0; i < 2; i++) {
        char text[120], hex[SHA256_HEX], command[900];
        int n = snprintf(text, sizeof text, "root ::= \"{\\\"room\\\":\\\"%s\\\"}\"\n", only[i]);
        sha256_bytes(text, (size_t)n, hex);
        snprintf(command, sizeof command,
                 "rm -rf other && cp -r here other && printf '%%s' '%s' >other/grammar.gbnf && "
                 "sed -i -E 's/(\"grammar.gbnf\": \")[0-9a-f]+/\\1%s/' other/bundle.json && " RUN(
                     "other") "delay=3 | grep -qxF '{\"room\":\"%s\"}'",
                 text, hex, only[i]);
        assert_int_equal(tiny_shell(command), 0);
    }
}

static void test_another_grammar_is_refused(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(
        tiny_shell("rm -rf other && cp -r here other && echo '# x' >>other/grammar.gbnf && " RUN(
            "other") "delay=3 2>words; test $? = 1 && grep -q 'grammar.gbnf is not the file that was "
                     "bundled' words && grep -q 'copy the bundle again' words"),
        0);
    assert_int_equal(tiny_shell("rm other/grammar.gbnf && " RUN("other") "delay=3 2>words; test $? != 0 && "
                                                                         "grep -q grammar.gbnf words"),
                     0);
    /* a bundle of before, which names none: the task's, with a word about it */
    assert_int_equal(
        tiny_shell("sed -i '/\"grammar.gbnf\": /d' other/bundle.json && " RUN(
            "other") "delay=3 2>words | grep -q '^{\"room\":' && grep -q 'compiled from its task' words"),
        0);
}

/* A grammar that llama.cpp cannot read ends the start, not the first record. */
static void test_a_broken_grammar_is_refused(void **state) {
    (void)state;
    char hex[SHA256_HEX], command[600];
    if (!possible)
        skip();
    sha256_bytes("root ::= (\n", 11, hex);
    snprintf(command, sizeof command,
             "rm -rf other && cp -r here other && echo 'root ::= (' >other/grammar.gbnf && sed -i -E "
             "'s/(\"grammar.gbnf\": \")[0-9a-f]+/\\1%s/' other/bundle.json && " RUN(
                 "other") "</dev/null 2>words; test $? = 2 && grep -q 'cannot read the grammar' words",
             hex);
    assert_int_equal(tiny_shell(command), 0);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_as_on_the_host),      cmocka_unit_test(test_differences_are_told),
        cmocka_unit_test(test_the_bundled_grammar_counts),  cmocka_unit_test(test_another_grammar_is_refused),
        cmocka_unit_test(test_a_broken_grammar_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
