/* Loading, checking and writing tasks: a good one survives both forms, a bad one is told where and what. */
#include "format/json.h"
#include "format/yaml.h"
#include "task/task.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char claims[] =
    "{\"format\":\"edgestill.task/1\",\"kind\":\"classify\",\"name\":\"claims\",\"sentence\":\"Triage: flag "
    "it.\","
    "\"instruction\":\"Label the record.\",\"fields\":["
    "{\"name\":\"delay\",\"column\":\"Days_Between\",\"type\":\"integer\",\"min\":0,\"max\":60,\"unit\":"
    "\"days\"},"
    "{\"name\":\"approved\",\"type\":\"number\",\"min\":0,\"max\":5000.5,\"decimals\":2,\"prompt\":false},"
    "{\"name\":\"claimed\",\"type\":\"number\",\"decimals\":1,\"optional\":true},"
    "{\"name\":\"visit type\",\"type\":\"category\",\"values\":[\"in: patient\",\"1\",\"out\"]},"
    "{\"name\":\"note\",\"type\":\"text\"},{\"name\":\"service\",\"type\":\"date\"},{\"name\":\"filed\","
    "\"type\":\"date\"}],"
    "\"derived\":[{\"name\":\"share\",\"op\":\"ratio\",\"of\":[\"approved\",\"claimed\"],\"decimals\":3},"
    "{\"name\":\"wait\",\"op\":\"days_between\",\"of\":[\"service\",\"filed\"],\"unit\":\"days\"}],"
    "\"labels\":[{\"name\":\"normal\",\"definition\":\"otherwise\"},{\"name\":\"suspicious\",\"definition\":"
    "\"the delay is "
    "under 2 days\"}],\"positive\":\"suspicious\"}";

static int load(const char *text, struct task *t, struct err *e) {
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = json_node_parse(&a, "task.json", 1, text, strlen(text), &root, e);
    if (rc == 0)
        rc = task_from_node(t, root, e);
    arena_release(&a); /* the task keeps nothing of the document */
    return rc;
}

static void test_loads_every_key(void **state) {
    (void)state;
    struct task t;
    assert_int_equal(load(claims, &t, NULL), 0);
    assert_int_equal(t.n_declared, 7);
    assert_int_equal(t.n_fields, 9);
    assert_string_equal(t.fields[0].column, "Days_Between");
    assert_string_equal(t.fields[0].unit, "days");
    assert_true(t.fields[0].has_range && t.fields[0].max == 60);
    assert_false(t.fields[1].in_prompt);
    assert_true(t.fields[2].optional);
    assert_int_equal(t.fields[3].n_values, 3);
    assert_int_equal(t.fields[7].op, DERIVED_RATIO);
    assert_int_equal(t.fields[7].type, FIELD_NUMBER);
    assert_int_equal(t.fields[7].decimals, 3);
    assert_int_equal(t.fields[8].type, FIELD_INTEGER);
    assert_int_equal(task_field_index(&t, "visit type"), 3);
    assert_int_equal(task_field_index(&t, "Days_Between"), -1);
    assert_int_equal(task_label_index(&t, "suspicious"), 1);
    assert_string_equal(t.positive, "suspicious");
    task_release(&t);
}

static void test_json_is_canonical(void **state) {
    (void)state;
    struct task t;
    struct str out = {0};
    assert_int_equal(load(claims, &t, NULL), 0);
    assert_int_equal(task_to_json(&t, &out, NULL), 0);
    assert_string_equal(str_text(&out), claims);
    str_release(&out);
    task_release(&t);
}

static void test_yaml_reads_back(void **state) {
    (void)state;
    struct task t, back;
    struct str yaml = {0}, json = {0};
    struct arena a;
    struct node *root = NULL;
    struct err e = {0};
    assert_int_equal(load(claims, &t, NULL), 0);
    assert_int_equal(task_to_yaml(&t, &yaml, NULL), 0);
    arena_init(&a);
    int rc = yaml_node_parse(&a, "task.yaml", str_text(&yaml), yaml.len, &root, &e);
    if (rc == 0)
        rc = task_from_node(&back, root, &e);
    if (rc < 0)
        print_error("%s\n%s\n", e.message, str_text(&yaml));
    assert_int_equal(rc, 0);
    assert_int_equal(task_to_json(&back, &json, NULL), 0);
    assert_string_equal(str_text(&json), claims);
    arena_release(&a);
    str_release(&yaml);
    str_release(&json);
    task_release(&t);
    task_release(&back);
}

static void test_draft_gets_defaults(void **state) {
    (void)state;
    static const char draft[] =
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":60}],"
        "\"labels\":[{\"name\":\"flag\",\"definition\":\"x\"},{\"name\":\"pass\","
        "\"definition\":\"otherwise\"}]}";
    struct arena a;
    struct node *root = NULL;
    struct task t;
    arena_init(&a);
    assert_int_equal(json_node_parse(&a, "draft", 1, draft, strlen(draft), &root, NULL), 0);
    assert_int_equal(task_from_draft(&t, "my-task", "Do  it.\n", root, NULL), 0);
    arena_release(&a);
    assert_string_equal(t.name, "my-task");
    assert_string_equal(t.sentence, "Do it.");
    assert_string_equal(t.instruction, "Label the record: flag or pass.");
    assert_string_equal(t.positive, "flag");
    assert_string_equal(t.fields[0].column, "delay");
    task_release(&t);
}

/* What is wrong, and a part of what must be said about it. */
static const struct {
    const char *json, *says;
} bad[] = {
    {"[]", "must be a map"},
    {"{\"labels\":[]}", "fields"},
    {"{\"fields\":[],\"labels\":[]}", "1 to 256 fields"},
    {"{\"fields\":[{\"type\":\"integer\"}],\"labels\":[]}", "'name' is missing"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"float\"}],\"labels\":[]}", "unknown type 'float'"},
    {"{\"fields\":[{\"name\":\"a:b\",\"type\":\"integer\"}],\"labels\":[]}", "colon"},
    {"{\"fields\":[{\"name\":\"a\\nb\",\"type\":\"integer\"}],\"labels\":[]}", "control character"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"integer\",\"min\":3}],\"labels\":[]}", "only one of"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"integer\",\"min\":3,\"max\":2}],\"labels\":[]}", "below 'max'"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"integer\",\"min\":0.5,\"max\":2}],\"labels\":[]}", "whole"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"number\",\"decimals\":7}],\"labels\":[]}", "0 to 6"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"category\",\"values\":[\"x\"]}],\"labels\":[]}", "values"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"category\",\"values\":[\"x\",\"x\"]}],\"labels\":[]}", "twice"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"},{\"name\":\"A\",\"type\":\"text\"}],\"labels\":[]}",
     "two fields"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"},{\"name\":\"b\",\"column\":\"a\",\"type\":\"text\"}],"
     "\"labels\":[]}",
     "same column"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\",\"colour\":1}],\"labels\":[]}", "colour"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"derived\":[{\"name\":\"d\",\"op\":\"ratio\",\"of\":["
     "\"a\",\"a\"]}],"
     "\"labels\":[]}",
     "needs numbers"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"number\"}],\"derived\":[{\"name\":\"d\",\"op\":\"ratio\","
     "\"of\":[\"a\",\"b\"]}],"
     "\"labels\":[]}",
     "no declared field"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"number\"}],\"derived\":[{\"name\":\"d\",\"op\":\"power\","
     "\"of\":[\"a\",\"a\"]}],"
     "\"labels\":[]}",
     "unknown operation"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\",\"prompt\":false}],\"labels\":[]}",
     "no field is in the prompt"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"labels\":[{\"name\":\"x\"}]}", "2 to 256 labels"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"labels\":[{\"name\":\"x\"},{\"name\":\"X\"}]}",
     "two labels"},
    {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"labels\":[{\"name\":\"x\"},{\"name\":\"y\"}],"
     "\"positive\":\"z\"}",
     "no label"},
    {"{\"name\":\"My Task\",\"fields\":[],\"labels\":[]}", "a-z"},
    {"{\"format\":\"edgestill.task/9\",\"fields\":[],\"labels\":[]}", "edgestill.task/9"},
};

static void test_refuses_and_says_why(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct task t = {.n_fields = 77};
        struct err e = {0};
        assert_int_equal(load(bad[i].json, &t, &e), ERR_INPUT);
        if (!strstr(e.message, bad[i].says))
            fail_msg("case %zu: '%s' does not say '%s'", i, e.message, bad[i].says);
        assert_non_null(strstr(e.message, "task.json:1:"));
        assert_int_equal(t.n_fields, 77); /* untouched */
    }
}

static const char wishes[] =
    "{\"format\":\"edgestill.task/"
    "1\",\"kind\":\"extract\",\"name\":\"task\",\"sentence\":\"Do it.\",\"instruction\":\"Extract "
    "as JSON: room and "
    "level.\",\"fields\":[{\"name\":\"wish\",\"type\":\"text\"},{\"name\":\"day\",\"type\":\"date\","
    "\"order\":\"dmy\"}],\"answer\":[{\"name\":\"room\",\"type\":\"category\",\"values\":[\"hall\",\"attic\"]"
    "},"
    "{\"name\":\"level\",\"type\":\"integer\",\"min\":0,\"max\":100,\"optional\":true}]}";

static void test_other_kinds_read_back(void **state) {
    (void)state;
    struct task t;
    struct str json = {0};
    struct err e = {0};
    if (load(wishes, &t, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(t.kind, TASK_EXTRACT);
    assert_int_equal(t.n_answer, 2);
    assert_int_equal(t.fields[1].order, DATE_DAY_FIRST);
    assert_int_equal(task_to_json(&t, &json, NULL), 0);
    assert_string_equal(json.data, wishes);
    task_release(&t);
    assert_int_equal(load("{\"kind\":\"respond\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}]}", &t, NULL),
                     0);
    assert_int_equal(t.n_answer, 1);
    assert_int_equal(t.answer[0].type, FIELD_TEXT);
    assert_true(t.answer[0].max_chars > 0);
    task_release(&t);
    str_release(&json);
}

static void test_answers_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *json, *says;
    } faulty[] = {
        {"{\"kind\":\"sing\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}]}", "no kind 'sing'"},
        {"{\"kind\":\"extract\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}]}", "answer\" is missing"},
        {"{\"kind\":\"extract\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"answer\":[{\"name\":\"A\","
         "\"type\":\"text\"}]}",
         "both a field and part of the answer"},
        {"{\"kind\":\"respond\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"labels\":[]}", "no labels"},
        {"{\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"answer\":[]}", "no 'answer'"},
        {"{\"kind\":\"respond\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}],\"answer\":[{\"name\":\"b\","
         "\"type\":\"date\"}]}",
         "is a text"},
        {"{\"kind\":\"respond\",\"fields\":[{\"name\":\"a\",\"type\":\"date\",\"order\":\"xyz\"}]}",
         "ymd, dmy or mdy"},
        {"{\"kind\":\"respond\",\"fields\":[{\"name\":\"a\",\"type\":\"date\",\"length\":5}]}",
         "only a text has a 'length'"},
    };
    for (size_t i = 0; i < sizeof faulty / sizeof *faulty; i++) {
        struct task t;
        struct err e = {0};
        assert_int_equal(load(faulty[i].json, &t, &e), ERR_INPUT);
        if (!strstr(e.message, faulty[i].says))
            fail_msg("case %zu: '%s' does not say '%s'", i, e.message, faulty[i].says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads_every_key),      cmocka_unit_test(test_json_is_canonical),
        cmocka_unit_test(test_yaml_reads_back),      cmocka_unit_test(test_draft_gets_defaults),
        cmocka_unit_test(test_refuses_and_says_why), cmocka_unit_test(test_other_kinds_read_back),
        cmocka_unit_test(test_answers_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
