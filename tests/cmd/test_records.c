/* The verbs task and generate as a user types them: gates, quotes, consent, kills, own rows, and what is said when something is
 * wrong. The teacher is a scripted server; tests/teacher has the embedded one's process. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "store/store.h"
#include "support/chat_script.h"
#include "support/run_verb.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"
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

static struct chat_script script;
static struct http_script *server;
static char url[64];

/* `edgestill VERB -C p --quiet WORDS…` */
static int run(const char *verb, struct err *e, json_t **result, const char *const words[]) {
    return run_verb(verb, "p", false, result, e, words);
}

#define RUN(verb, e, ...) run(verb, e, NULL, (const char *const[]){__VA_ARGS__, NULL})
#define MUST(verb, ...)                                                                                      \
    do {                                                                                                     \
        struct err must_e;                                                                                   \
        if (RUN(verb, &must_e, __VA_ARGS__) < 0)                                                             \
            fail_msg("%s: %s", verb, must_e.message);                                                        \
    } while (0)

static void init(const char *teacher, const char *const more[]) {
    const char *argv[24] = {"init",     "p",         "--quiet", "--task",    CHAT_SCRIPT_SENTENCE,
                            "--device", "rpi5-8gb",  "--base",  "base.gguf", "--records",
                            "60",       "--teacher", teacher};
    int argc = 13;
    for (int i = 0; more && more[i]; i++)
        argv[argc++] = more[i];
    struct err e = {0};
    json_t *result = NULL;
    if (cmd_run_verb(argc, argv, &result, &e) < 0)
        fail_msg("init: %s", e.message);
    json_decref(result);
}

static int set_up(void **state) {
    (void)state;
    file_remove_tree("p", NULL);
    script = (struct chat_script){.wrong_share = 0.3, .invalid_share = 0.1, .copy_share = 0.1};
    server = http_script_start(chat_script_serve, &script);
    if (!server || tiny_gguf_write("base.gguf", &(struct tiny_gguf){.n_layer = 1}, NULL) < 0)
        return -1;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", http_script_port(server));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    http_script_stop(server);
    return 0;
}

static void open_gates(void) {
    MUST("task", "--yes");
    MUST("task", "--accept");
    MUST("plan", "--accept", "1");
}

static int64_t at(const json_t *j, const char *map, const char *key) {
    return json_integer_value(json_object_get(json_object_get(json_object_get(j, "records"), map), key));
}

/* A small one, one question for each corner, shown before the rest was asked for. */
static void check_first_batch(const json_t *batch, int64_t accepted_in_the_end) {
    int64_t written = 0, accepted = 0;
    const json_t *cell;
    size_t i;
    json_array_foreach(batch, i, cell) {
        written += json_integer_value(json_object_get(cell, "written"));
        accepted += json_integer_value(json_object_get(cell, "accepted"));
        assert_true(json_integer_value(json_object_get(cell, "written")) <= 4);
    }
    assert_true(json_array_size(batch) > 4 && written > 0);
    assert_true(accepted > 0 && accepted < accepted_in_the_end);
}

/* Every reason with its number and examples, each as it was written. */
static void check_rejects(const json_t *records) {
    static const char *const reasons[] = {"breaks the schema", "duplicate", "label disagreement"};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        int64_t n = json_integer_value(json_object_get(json_object_get(records, "rejected"), reasons[i]));
        const json_t *examples = json_object_get(json_object_get(records, "examples"), reasons[i]);
        if (n == 0)
            fail_msg("nothing was rejected as '%s'", reasons[i]);
        assert_true(json_array_size(examples) >= 1 && (int64_t)json_array_size(examples) <= n);
        assert_non_null(strstr(json_string_value(json_array_get(examples, 0)), "delay"));
    }
    assert_non_null(
        strstr(json_string_value(json_array_get(
                   json_object_get(json_object_get(records, "examples"), "label disagreement"), 0)),
               "(written as "));
}

/* More than the first batch can hold, one question a cell: 25 cells, 80 records, of which some sixty are accepted. */
static void from_a_sentence_to_records(void **state) {
    (void)state;
    struct err e;
    init(url, (const char *const[]){"--teacher-model", "scripted", NULL});
    assert_int_equal(RUN("generate", &e, "--yes"), ERR_GATE); /* no task */
    assert_int_equal(RUN("task", &e, "--accept"), ERR_GATE);  /* nothing to accept */
    assert_int_equal(RUN("task", &e, "--json"), ERR_GATE);    /* costs: needs a yes */
    assert_int_equal(script.n_draft, 0);
    MUST("task", "--yes");
    assert_int_equal(RUN("generate", &e, "--yes"), ERR_GATE); /* task not accepted */
    MUST("task", "--accept");
    assert_int_equal(RUN("generate", &e, "--yes"), ERR_GATE); /* no plan */
    MUST("plan", "--accept", "1");
    assert_int_equal(RUN("generate", &e, "--json"), ERR_GATE); /* costs: needs a yes */
    assert_int_equal(script.n_write, 0);
    json_t *result = NULL;
    assert_int_equal(run("generate", &e, &result, (const char *const[]){"--yes", "--records", "180", NULL}),
                     0);
    assert_int_equal(at(result, "accepted", "suspicious"), 90);
    assert_int_equal(at(result, "accepted", "normal"), 90);
    assert_int_equal(at(result, "splits", "test"), 18);
    assert_true(json_integer_value(json_object_get(json_object_get(result, "quote"), "calls")) > 180);
    assert_string_equal(json_string_value(json_object_get(json_object_get(result, "way"), "own_rows")),
                        "none");
    check_first_batch(json_object_get(result, "first_batch"), at(result, "sources", "teacher"));
    check_rejects(json_object_get(result, "records"));
    json_decref(result);
    assert_true(file_exists("p/records.manifest.json"));
    int asked = script.n_write + script.n_label;
    assert_int_equal(run("generate", &e, &result, (const char *const[]){"--yes", "--records", "180", NULL}),
                     0);
    assert_true(json_is_true(json_object_get(result, "up_to_date")));
    json_decref(result);
    assert_int_equal(script.n_write + script.n_label, asked);
    /* what was written beyond the first 180 may do for a few more, not for twice as many again */
    MUST("generate", "--yes", "--records", "540");
    assert_true(script.n_write + script.n_label > asked);
}

static void a_quote_asks_nothing(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    init(url, (const char *const[]){"--teacher-model", "kimi-k2.6", NULL});
    open_gates();
    assert_int_equal(run("generate", &e, &result, (const char *const[]){"--quote", NULL}), 0);
    const json_t *quote = json_object_get(result, "quote");
    assert_true(json_is_true(json_object_get(quote, "price_known")));
    assert_true(json_real_value(json_object_get(quote, "money")) > 0);
    double seconds = json_real_value(json_object_get(quote, "seconds"));
    assert_true(json_real_value(json_object_get(quote, "seconds_low")) < seconds && seconds > 0);
    assert_true(json_real_value(json_object_get(quote, "seconds_high")) > seconds);
    json_decref(result);
    assert_int_equal(script.n_write + script.n_label, 0);
    assert_false(file_exists("p/records.manifest.json"));
}

static void the_budget_stops_it_with_its_own_code(void **state) {
    (void)state;
    struct err e;
    init(url, (const char *const[]){"--teacher-model", "scripted", NULL});
    open_gates();
    assert_int_equal(
        RUN("generate", &e, "--yes", "--price-in", "1000", "--price-out", "1000", "--budget", "3"),
        ERR_BUDGET);
    assert_int_equal(err_exit_code(e.code), 4);
    struct store *s = NULL;
    struct store_ledger l;
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_READ, &e), 0);
    assert_int_equal(store_ledger(s, NULL, &l, NULL), 0);
    assert_true(l.used.money + l.reserved.money <= 3);
    assert_true(l.n_answered > 0);
    store_close(s);
    assert_int_equal(
        RUN("generate", &e, "--yes", "--price-in", "1000", "--price-out", "1000", "--budget", "-1"),
        ERR_USAGE);
    MUST("generate", "--yes", "--price-in", "1000", "--price-out", "1000", "--budget", "300");
}

static void killed_and_started_again(void **state) {
    (void)state;
    struct err e;
    init(url, (const char *const[]){"--teacher-model", "scripted", NULL});
    open_gates();
    script.delay_ms = 5;
    int kills = 0;
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(RUN("generate", &e, "--yes") == 0 ? 0 : 1);
        usleep((useconds_t)(60000 + 25000 * i));
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        kills += WIFSIGNALED(status);
    }
    assert_true(kills > 0);
    MUST("generate", "--yes");
    struct store *s = NULL;
    struct store_ledger l;
    int64_t n = 0;
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_READ, &e), 0);
    assert_int_equal(store_accepted_count(s, STORE_ALL_SPLITS, &n, NULL), 0);
    assert_int_equal(n, 60);
    assert_int_equal(store_ledger(s, NULL, &l, NULL), 0);
    assert_int_equal(l.n_sent, 0);
    store_close(s);
}

static void own_rows_alone_will_do(void **state) {
    (void)state;
    struct str csv = {0};
    str_add(&csv, "delay,approved share,visit type,outcome\n");
    for (int i = 0; i < 100; i++)
        str_addf(&csv, "%d,0.%02d,routine,%s\n", i % 61, i % 97, i % 4 ? "normal" : "suspicious");
    assert_int_equal(file_write("rows.csv", csv.data, csv.len, NULL), 0);
    str_release(&csv);
    init("none", (const char *const[]){"--data", "rows.csv", "--label", "outcome", NULL});
    struct err e;
    assert_int_equal(RUN("task", &e, "--from", "sentence"), ERR_INPUT); /* nobody to draft it */
    json_t *inferred = NULL;
    assert_int_equal(run("task", &e, &inferred, (const char *const[]){"--json", NULL}), 0);
    const json_t *findings = json_object_get(inferred, "findings");
    assert_int_equal(json_array_size(findings), 1); /* the visit type is always the same */
    assert_string_equal(json_string_value(json_object_get(json_array_get(findings, 0), "column")),
                        "visit type");
    json_decref(inferred);
    MUST("task", "--accept");
    MUST("plan", "--accept", "1");
    json_t *result = NULL;
    assert_int_equal(run("generate", &e, &result, (const char *const[]){"--split", "60/20/20", NULL}), 0);
    assert_int_equal(at(result, "sources", "own"), 100);
    assert_int_equal(at(result, "splits", "train"), 60);
    assert_int_equal(at(result, "accepted", "suspicious"), 25);
    json_decref(result);
    assert_int_equal(script.n_draft + script.n_write + script.n_label, 0);
}

/* Votes become weights, and what they are not agreed on waits for a person. */
static void disagreement_goes_to_review(void **state) {
    (void)state;
    script.fickle_share = 0.3;
    init(url, (const char *const[]){"--teacher-model", "scripted", NULL});
    open_gates();
    MUST("generate", "--yes", "--votes", "4", "--sampling");
    struct err e;
    json_t *result = NULL;
    assert_int_equal(run("review", &e, &result, (const char *const[]){"--disagreement", "--all", NULL}), 0);
    const json_t *list = json_object_get(result, "records"), *one;
    int n_weighed = 0, n_split = 0;
    size_t i;
    json_array_foreach(list, i, one) {
        double weight = json_number_value(json_object_get(one, "weight"));
        bool accepted = strcmp(json_string_value(json_object_get(one, "status")), "accepted") == 0;
        n_weighed += accepted && weight > 0.5 && weight < 1;
        n_split += str_equal(json_string_value(json_object_get(one, "reason")), "votes disagree");
    }
    assert_true(n_weighed > 0 && n_split > 0);
    json_decref(result);
    /* a person's word settles it */
    assert_int_equal(
        run("review", &e, &result,
            (const char *const[]){"--reason", "votes disagree", "--all", "--set-label", "normal", NULL}),
        0);
    assert_int_equal(json_integer_value(json_object_get(result, "changed")), n_split);
    json_decref(result);
    assert_int_equal(run("review", &e, &result, (const char *const[]){"--reason", "votes disagree", NULL}),
                     0);
    assert_int_equal(json_array_size(json_object_get(result, "records")), 0);
    json_decref(result);
}

/* Few rows of one's own: the teacher writes what a label lacks, the rare one above all. */
static void few_own_rows_are_filled_up(void **state) {
    (void)state;
    struct str csv = {0};
    str_add(&csv, "delay,approved share,visit type,outcome\n");
    for (int i = 0; i < 24; i++)
        str_addf(&csv, "%d,0.%02d,routine,%s\n", i % 8 ? 20 + i : 1, 90 - i, i % 8 ? "normal" : "suspicious");
    assert_int_equal(file_write("few.csv", csv.data, csv.len, NULL), 0);
    str_release(&csv);
    init(url, (const char *const[]){"--teacher-model", "scripted", "--data", "few.csv", "--label", "outcome",
                                    NULL});
    MUST("task", "--yes", "--from", "sentence");
    MUST("task", "--accept");
    MUST("plan", "--accept", "1");
    struct err e;
    json_t *result = NULL;
    assert_int_equal(run("generate", &e, &result, (const char *const[]){"--yes", NULL}), 0);
    const json_t *way = json_object_get(result, "way");
    assert_string_equal(json_string_value(json_object_get(way, "own_rows")), "few");
    assert_non_null(
        strstr(json_string_value(json_object_get(way, "reason")), "rarest is 'suspicious' with 3"));
    assert_int_equal(at(result, "sources", "own"), 24);
    assert_int_equal(at(result, "sources", "teacher"), 36);
    assert_int_equal(at(result, "accepted", "suspicious"), 30);
    assert_int_equal(at(result, "accepted", "normal"), 30);
    json_decref(result);
}

static void editing_is_checked(void **state) {
    (void)state;
    struct err e;
    init(url, (const char *const[]){"--teacher-model", "scripted", NULL});
    setenv("EDITOR", "sed -i 's/max: 60/max: 90/'", 1);
    unsetenv("VISUAL");
    MUST("task", "--yes", "--edit");
    struct str yaml = {0};
    assert_int_equal(file_read("p/task.yaml", 0, &yaml, NULL), 0);
    assert_non_null(strstr(yaml.data, "max: 90"));
    str_release(&yaml);
    setenv("EDITOR", "sed -i 's/max: 90/max: -5/'", 1);
    assert_int_equal(RUN("task", &e, "--edit"), ERR_INPUT);
    assert_non_null(strstr(e.message, "task.yaml:"));
    setenv("EDITOR", "false", 1);
    assert_int_equal(RUN("task", &e, "--edit"), ERR_FAILED);
}

static void what_is_wrong_is_said(void **state) {
    (void)state;
    struct err e;
    init(url, (const char *const[]){"--teacher-model", "scripted", "--teacher-key-env", "EDGESTILL_TEST_KEY",
                                    NULL});
    unsetenv("EDGESTILL_TEST_KEY");
    assert_int_equal(RUN("task", &e, "--yes"), ERR_AUTH);
    assert_non_null(strstr(e.message, "EDGESTILL_TEST_KEY"));
    script.key = "right";
    setenv("EDGESTILL_TEST_KEY", "wrong", 1);
    assert_int_equal(RUN("task", &e, "--yes"), ERR_AUTH);
    setenv("EDGESTILL_TEST_KEY", "right", 1);
    script.draft = "{\"refusal\":\"no\"}";
    assert_int_equal(RUN("task", &e, "--yes"), ERR_UNSUPPORTED);
    assert_false(file_exists("p/task.yaml"));
    assert_int_equal(RUN("generate", &e, "--records", "0"), ERR_USAGE);
    assert_int_equal(RUN("generate", &e, "--split", "1/2/3"), ERR_USAGE);
}

int main(void) {
    scratch_enter();
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(from_a_sentence_to_records),
        CASE(a_quote_asks_nothing),
        CASE(the_budget_stops_it_with_its_own_code),
        CASE(killed_and_started_again),
        CASE(own_rows_alone_will_do),
        CASE(disagreement_goes_to_review),
        CASE(few_own_rows_are_filled_up),
        CASE(editing_is_checked),
        CASE(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
