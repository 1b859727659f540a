/* Schemas as grammars. That llama.cpp reads what comes out, and what is written under it, is test_local.c's. */
#include "teacher/grammar.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void faults_are_named(void **state) {
    (void)state;
    static const char *const bad[] = {"{",
                                      "{\"type\":\"matrix\"}",
                                      "{}",
                                      "{\"$ref\":\"#/elsewhere\"}",
                                      "{\"type\":\"object\"}",
                                      "{\"type\":\"array\"}",
                                      "{\"enum\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct str out = {0};
        struct err e = {0};
        assert_true(grammar_from_schema(bad[i], &out, &e) < 0);
        assert_non_null(strstr(e.message, "schema:1:"));
        str_release(&out);
    }
}

static void objects_lists_and_choices(void **state) {
    (void)state;
    struct str out = {0};
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"minItems\":2,\"maxItems\":4,"
        "\"items\":"
        "{\"$ref\":\"#/$defs/"
        "words\"}},\"b\":{\"type\":[\"string\",\"null\"],\"maxLength\":9}},\"required\":[\"a\"],"
        "\"additionalProperties\":false,\"$defs\":{\"words\":{\"enum\":[\"x\",\"say \\\"y\\\"\"]}}}";
    assert_int_equal(grammar_from_schema(schema, &out, NULL), 0);
    assert_non_null(
        strstr(out.data, "root ::= \"{\" ws \"\\\"a\\\"\" ws \":\" ws r1 (ws \",\" ws \"\\\"b\\\"\""));
    assert_non_null(strstr(out.data, "r1 ::= \"[\" ws r2 (ws \",\" ws r2){1,3} ws \"]\"\n"));
    assert_non_null(strstr(out.data, "r2 ::= def-words\n"));
    assert_non_null(strstr(out.data, "character{0,9} \"\\\"\" | \"null\"\n"));
    assert_non_null(strstr(out.data, "def-words ::= \"\\\"x\\\"\" | \"\\\"say \\\\\\\"y\\\\\\\"\\\"\"\n"));
    str_release(&out);
}

/* The ranges themselves are tests/task/test_grammar.c's. */
static void bounds_name_the_decimals(void **state) {
    (void)state;
    struct str out = {0};
    assert_int_equal(
        grammar_from_schema("{\"type\":\"number\",\"minimum\":0.50,\"maximum\":1.00}", &out, NULL), 0);
    assert_true(str_starts(out.data, "root ::=  ( \"0\" ( \".\" [5-9]"));
    str_clear(&out);
    assert_int_equal(grammar_from_schema("{\"type\":\"integer\",\"minimum\":20,\"maximum\":29}", &out, NULL),
                     0);
    assert_true(str_starts(out.data, "root ::=  \"2\" ( [0-9] )\n"));
    str_clear(&out);
    assert_int_equal(grammar_from_schema("{\"type\":\"number\"}", &out, NULL), 0);
    assert_true(str_starts(out.data, "root ::= \"-\"? (\"0\" | [1-9] [0-9]{0,14}) (\".\" [0-9]{1,15})?\n"));
    str_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_name_the_decimals),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(objects_lists_and_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
