/* What a teacher sees of the user's own rows: nothing without leave; with it the named columns alone, in the journal's own words, and an
 * entry in the ledger. Own values are unlike any that a scripted teacher writes, so that they are found wherever they go. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "store/store.h"
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

#include <cmocka.h>

enum { ROWS = 24 };

static struct chat_script script;
static struct http_script *server;

static const char task_yaml[] =
    "format: edgestill.task/1\nname: claims\nkind: classify\nsentence: Triage claims.\ninstruction: Label "
    "the claim.\n"
    "fields:\n  - {name: delay, type: integer, min: 0, max: 60}\n"
    "  - {name: approved share, type: number, min: 0, max: 1, decimals: 2}\n"
    "  - {name: visit type, type: category, values: [routine, emergency]}\n"
    "derived:\n  - {name: total, op: sum, of: [delay, approved share], decimals: 2}\n"
    "labels:\n  - {name: suspicious, definition: the delay is under 2 days}\n  - {name: normal, definition: "
    "otherwise}\n";

static void write_text(const char *path, const char *text) {
    struct err e = {0};
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
}

/* Delays 7000 and on, shares 5.00 and on: far out of the task's ranges. The patient is no field of the task. */
static void write_rows(void) {
    struct str csv = {0};
    str_add(&csv, "patient,delay,approved share,visit type,outcome\n");
    for (int i = 0; i < ROWS; i++)
        str_addf(&csv, "Ada-%02d,%d,5.%02d,%s,%s\n", i, 7000 + i, i, i % 2 ? "routine" : "emergency",
                 i % 6 ? "normal" : "suspicious");
    write_text("p/rows.csv", str_text(&csv));
    str_release(&csv);
}

static int run(const char *verb, json_t **result, struct err *e, const char *const words[]) {
    return run_verb(verb, "p", false, result, e, words);
}

static void must(const char *verb, json_t **result, const char *const words[]) {
    struct err e;
    if (run(verb, result, &e, words) < 0)
        fail_msg("%s: %s", verb, e.message);
}

/* A project with own rows and its gates open; `leave` is what edgestill.yaml says of sharing them. */
static void open_project(const char *leave) {
    struct str yaml = {0};
    str_addf(
        &yaml,
        "format: edgestill.project/1\ntask: Triage claims.\ndevice: rpi5-8gb\nbase: base.gguf\nteacher:\n"
        "  kind: openai\n  url: http://127.0.0.1:%d/v1\n  model: scripted\ndata:\n  path: rows.csv\n"
        "  label: outcome\n%srecords: 60\nseed: 1\n",
        http_script_port(server), leave);
    write_text("p/edgestill.yaml", str_text(&yaml));
    str_release(&yaml);
    must("task", NULL, WORDS("--accept"));
    must("plan", NULL, WORDS("--accept", "1"));
}

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    file_remove_tree("p", NULL);
    script = (struct chat_script){.by_body = true};
    server = http_script_start(chat_script_serve, &script);
    if (!server || file_make_folders("p", &e) < 0 ||
        tiny_gguf_write("p/base.gguf", &(struct tiny_gguf){.n_layer = 1}, NULL) < 0)
        return -1;
    write_text("p/task.yaml", task_yaml);
    write_rows();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    http_script_stop(server);
    return 0;
}

/* Requests of the journal, as they were sent, that have the text. */
static int n_requests(const char *text) {
    struct store *s = NULL;
    struct store_call call;
    struct arena a;
    struct err e = {0};
    int n = 0;
    arena_init(&a);
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_READ, &e), 0);
    for (int64_t id = 1; store_call_get(s, id, &a, &call, &e) == 0; id++)
        n += strstr(call.request, text) != NULL;
    store_close(s);
    arena_release(&a);
    return n;
}

static const json_t *shared(const json_t *result, size_t i) {
    return json_array_get(json_object_get(json_object_get(result, "ledger"), "shared"), i);
}

static void assert_columns(const json_t *entry, const char *wanted) {
    char *text = json_dumps(json_object_get(entry, "columns"), JSON_COMPACT);
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static bool report_says(const char *text) {
    struct str page = {0};
    must("report", NULL, NO_WORDS);
    assert_int_equal(file_read("p/report.html", 0, &page, NULL), 0);
    bool says = strstr(str_text(&page), text) != NULL;
    str_release(&page);
    return says;
}

static void without_leave_no_own_value_leaves(void **state) {
    (void)state;
    json_t *result = NULL;
    open_project("  share_columns: [delay]\n"); /* by itself it gives no leave */
    must("generate", &result, WORDS("--yes", "--records", "240"));
    assert_true(script.n_write > 0 && script.n_label > 0);
    assert_true(n_requests("delay: ") > 0);
    assert_int_equal(n_requests("delay: 70"), 0);
    assert_int_equal(n_requests("approved share: 5."), 0);
    assert_int_equal(n_requests("Ada-"), 0);
    assert_true(script.n_shown > 0); /* what the teacher wrote itself */
    assert_int_equal(n_requests("\\\"delay\\\":70"), 0);
    const char *why = json_string_value(json_object_get(json_object_get(result, "gate"), "skipped"));
    assert_non_null(strstr(why, "share_rows"));
    assert_null(shared(result, 0));
    json_decref(result);
    assert_true(report_says("No own row was sent to a teacher"));
}

static void with_it_the_named_columns_do(void **state) {
    (void)state;
    json_t *result = NULL;
    open_project("  share_rows: true\n  share_columns: [delay]\n");
    must("generate", &result, WORDS("--yes", "--gate", "0.5"));
    int n = n_requests("delay: 70");
    assert_true(n > 0);
    assert_int_equal(n_requests("approved share: 5."), 0);
    assert_int_equal(n_requests("total: 70"), 0); /* what is derived from them would give them away */
    assert_int_equal(n_requests("approved share: unknown; visit type: unknown; total: unknown"), n);
    assert_int_equal(n_requests("Ada-"), 0);
    const json_t *entry = shared(result, 0);
    assert_string_equal(json_string_value(json_object_get(entry, "what")), "gate");
    assert_string_equal(json_string_value(json_object_get(entry, "from")), "rows.csv");
    assert_int_equal(json_integer_value(json_object_get(entry, "rows")), n);
    assert_columns(entry, "[\"delay\"]");
    /* own training rows are among the exemplars, too, with that column alone */
    assert_true(n_requests("{\\\"delay\\\":70") > 0);
    assert_int_equal(n_requests("\\\"approved share\\\":5."), 0);
    assert_string_equal(json_string_value(json_object_get(shared(result, 1), "what")), "exemplars");
    assert_columns(shared(result, 1), "[\"delay\"]");
    json_decref(result);
    assert_true(report_says("Own rows shown to a teacher"));
    must("generate", &result, WORDS("--yes", "--gate", "0.5", "--records", "80"));
    assert_non_null(shared(result, 1));
    assert_null(shared(result, 2)); /* the same again is no other entry */
    /* records that the teacher has written since are none that it could be tried on */
    assert_int_equal(json_integer_value(json_object_get(json_object_get(result, "gate"), "rows")), n);
    json_decref(result);
}

static void without_names_all_fields_of_the_task_do(void **state) {
    (void)state;
    json_t *result = NULL;
    open_project("  share_rows: true\n");
    must("generate", &result, WORDS("--yes", "--gate", "0.5"));
    assert_int_equal(n_requests("delay: 70"), n_requests("approved share: 5."));
    assert_true(n_requests("\\\"approved share\\\":5.") > 0);
    assert_true(n_requests("approved share: 5.") > 0);
    assert_int_equal(n_requests("Ada-"), 0);
    assert_columns(shared(result, 0), "[\"delay\",\"approved share\",\"visit type\"]");
    json_decref(result);
}

static void a_column_that_is_never_sent_cannot_be_named(void **state) {
    (void)state;
    struct err e;
    open_project("  share_rows: true\n  share_columns: [delay, patient]\n");
    assert_int_equal(run("generate", NULL, &e, WORDS("--yes")), ERR_INPUT);
    assert_non_null(strstr(e.message, "patient"));
    assert_non_null(strstr(e.hint, "approved share"));
    assert_int_equal(script.n_write + script.n_label, 0);
}

int main(void) {
    scratch_enter();
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(without_leave_no_own_value_leaves),
        CASE(with_it_the_named_columns_do),
        CASE(without_names_all_fields_of_the_task_do),
        CASE(a_column_that_is_never_sent_cannot_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
