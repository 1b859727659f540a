/* Answers of extract and respond: one normal form whatever they were read from, and nothing else is taken. */
#include "format/json.h"
#include "task/answer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct task extract, respond;

static void load(const char *json, struct task *t) {
    struct arena a;
    struct node *root = NULL;
    struct err e = {0};
    arena_init(&a);
    int rc = json_node_parse(&a, "task.json", 1, json, strlen(json), &root, &e);
    if (rc == 0)
        rc = task_from_node(t, root, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    arena_release(&a);
}

static int set_up(void **state) {
    (void)state;
    load("{\"kind\":\"extract\",\"fields\":[{\"name\":\"wish\",\"type\":\"text\"}],\"answer\":["
         "{\"name\":\"room\",\"type\":\"category\",\"values\":[\"hall\",\"attic\"]},"
         "{\"name\":\"heat\",\"type\":\"number\",\"decimals\":1,\"min\":5,\"max\":30},"
         "{\"name\":\"day\",\"type\":\"date\",\"optional\":true},{\"name\":\"who\",\"type\":\"text\","
         "\"length\":8,"
         "\"optional\":true}]}",
         &extract);
    load("{\"kind\":\"respond\",\"fields\":[{\"name\":\"wish\",\"type\":\"text\"}],\"answer\":[{\"name\":"
         "\"reply\","
         "\"type\":\"text\",\"length\":12}]}",
         &respond);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    task_release(&extract);
    task_release(&respond);
    return 0;
}

static void one_normal_form(void **state) {
    (void)state;
    static const char normal[] = "{\"room\":\"hall\",\"heat\":21.0,\"day\":null,\"who\":\"Ann B\"}";
    static const char *const same[] = {
        normal,
        "{\"who\":\" Ann  B \",\"heat\":21,\"room\":\"Hall\"}",
        "Here it is:\n```json\n{\"room\":\"hall\",\"heat\":\"21.04\",\"day\":null,\"who\":\"Ann B\"}\n```",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct str out = {0};
        struct err e = {0};
        if (answer_read(&extract, same[i], &out, &e) < 0)
            fail_msg("%s: %s", same[i], e.message);
        assert_string_equal(str_text(&out), normal);
        str_release(&out);
    }
    struct str out = {0};
    assert_int_equal(answer_read(&respond, "  come \n soon ", &out, NULL), 0);
    assert_string_equal(str_text(&out), "come soon");
    str_release(&out);
}

static void what_breaks_the_schema_is_refused(void **state) {
    (void)state;
    static const struct {
        const struct task *t;
        const char *text, *says;
    } bad[] = {
        {&extract, "", "no JSON"},
        {&extract, "[1]", "no JSON"},
        {&extract, "{\"room\":\"hall\"}", "'heat' is missing"},
        {&extract, "{\"room\":\"hall\",\"heat\":31}", "range"},
        {&extract, "{\"room\":\"cellar\",\"heat\":20}", "not one of"},
        {&extract, "{\"room\":\"hall\",\"heat\":20,\"cat\":1}", "no field"},
        {&extract, "{\"room\":\"hall\",\"heat\":20,\"who\":\"much too long\"}", "too long"},
        {&extract, "{\"room\":\"hall\",\"heat\":20,\"day\":\"tomorrow\"}", "not a date"},
        {&respond, "this is more than twelve", "too long"},
        {&respond, "  ", "missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct str out = {0};
        struct err e = {0};
        assert_int_equal(answer_read(bad[i].t, bad[i].text, &out, &e), ERR_INPUT);
        if (!strstr(e.message, bad[i].says))
            fail_msg("'%s' does not say '%s'", e.message, bad[i].says);
        str_release(&out);
    }
}

static void fields_are_compared_as_text(void **state) {
    (void)state;
    struct arena a;
    static const char answer[] = "{\"room\":\"hall\",\"heat\":21.0,\"day\":null,\"who\":\"Ann\"}";
    arena_init(&a);
    assert_string_equal(answer_field(&extract, &a, answer, 0), "\"hall\"");
    assert_string_equal(answer_field(&extract, &a, answer, 1), "21.0");
    assert_string_equal(answer_field(&extract, &a, answer, 2), "null");
    assert_null(answer_field(&extract, &a, "not json", 0));
    assert_string_equal(answer_field(&respond, &a, "come soon", 0), "come soon");
    arena_release(&a);
}

static void the_grammar_names_every_field(void **state) {
    (void)state;
    struct str g = {0};
    answer_grammar(&extract, &g);
    assert_non_null(strstr(str_text(&g), "root ::= \"{\" \"\\\"room\\\":\" f0 \",\" \"\\\"heat\\\":\" f1"));
    assert_non_null(strstr(str_text(&g), "\".\" [0-9]{1}"));
    assert_non_null(strstr(str_text(&g), "\"null\""));
    str_clear(&g);
    answer_grammar(&respond, &g);
    assert_int_equal(g.len, 0);
    assert_true(answer_bytes_max(&extract) >= 60);
    str_release(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_normal_form),
        cmocka_unit_test(what_breaks_the_schema_is_refused),
        cmocka_unit_test(fields_are_compared_as_text),
        cmocka_unit_test(the_grammar_names_every_field),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
