/* Options: every way of writing them, every mistake with them, and help from the same table. */
#include "base/err.h"
#include "cmd/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct option_def defs[] = {
    {"device", OPTION_STRING, "NAME", "the device", NULL},
    {"records", OPTION_INT, "N", "how many", "10"},
    {"seed", OPTION_INT64, "N", "a seed", NULL},
    {"share", OPTION_NUMBER, "X", "a share of all | part", NULL},
    {"label", OPTION_LIST, "NAME", "a label", NULL},
    {"yes", OPTION_FLAG, NULL, "accept", NULL},
    {0},
};
static const struct verb verb = {"try", "tries things out", "FILE [options]", defs, NULL};

static int parse(struct cmd_ctx *c, struct err *e, int argc, const char *const argv[]) {
    *c = (struct cmd_ctx){.verb = &verb};
    return options_parse(c, argc, argv, e);
}
#define PARSE(c, e, ...)                                                                                     \
    parse(c, e, (int)(sizeof((const char *[]){"try", __VA_ARGS__}) / sizeof(char *)),                        \
          (const char *[]){"try", __VA_ARGS__})

static void every_way(void **state) {
    (void)state;
    struct cmd_ctx c;
    struct err e = {0};
    const char *const *labels;
    assert_int_equal(PARSE(&c, &e, "a", "--device", "pi", "--records=-3", "--share", "0.25", "--label", "x",
                           "--seed", "4294967297", "--label=y", "--yes", "-C", "dir", "-q", "--json", "-",
                           "--", "--device"),
                     0);
    assert_string_equal(cmd_string(&c, "device"), "pi");
    assert_int_equal(cmd_int(&c, "records", 0), -3);
    assert_true(cmd_int(&c, "seed", 0) == 4294967297);
    assert_true(cmd_number(&c, "share", 0) == 0.25);
    assert_int_equal(cmd_list(&c, "label", &labels), 2);
    assert_string_equal(labels[1], "y");
    assert_true(cmd_flag(&c, "yes") && c.json && c.quiet);
    assert_string_equal(c.project_dir, "dir");
    assert_int_equal(c.n_args, 3);
    assert_string_equal(c.args[0], "a");
    assert_string_equal(c.args[1], "-");
    assert_string_equal(c.args[2], "--device");
    options_release(&c);
}

/* A verb that has no arguments passes over none. */
static void nothing_surplus(void **state) {
    (void)state;
    static const struct verb alone = {"alone", "takes options", "[options]", defs, NULL};
    struct cmd_ctx c = {.verb = &alone};
    struct err e = {0};
    const char *const argv[] = {"alone", "--yes", "extra"};
    assert_int_equal(options_parse(&c, 3, argv, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "\"extra\""));
    options_release(&c);
    c = (struct cmd_ctx){.verb = &alone};
    e = (struct err){0};
    assert_int_equal(options_parse(&c, 2, argv, &e), 0);
    options_release(&c);
}

static void nothing_typed(void **state) {
    (void)state;
    struct cmd_ctx c;
    struct err e = {0};
    const char *const argv[] = {"try"};
    assert_int_equal(parse(&c, &e, 1, argv), 0);
    const char *const *labels;
    assert_null(cmd_string(&c, "device"));
    assert_int_equal(cmd_int(&c, "records", 99), 10); /* the table's default */
    assert_true(cmd_number(&c, "share", 0.5) == 0.5);
    assert_int_equal(cmd_list(&c, "label", &labels), 0);
    assert_false(cmd_flag(&c, "yes") || c.json || c.quiet);
    assert_string_equal(c.project_dir, ".");
    options_release(&c);
}

static void mistakes(void **state) {
    (void)state;
    static const struct {
        const char *argument, *value, *message, *hint;
    } cases[] = {
        {"--devcie", "pi", "try: there is no option --devcie", "did you mean --device?"},
        {"--xyzzy", "pi", "try: there is no option --xyzzy", "see: edgestill try --help"},
        {"-x", NULL, "try: there is no option -x", "see: edgestill try --help"},
        {"-qx", NULL, "try: there is no option -qx", "see: edgestill try --help"},
        {"--device", NULL, "try: --device needs a value: --device NAME", "see: edgestill try --help"},
        {"--records", "many", "try: --records needs a whole number, not \"many\"",
         "see: edgestill try --help"},
        {"--records=1.5", NULL, "try: --records needs a whole number, not \"1.5\"",
         "see: edgestill try --help"},
        {"--records", "4294967297", "try: --records: 4294967297 is beyond what it can be",
         "see: edgestill try --help"}, /* it would have been 1 */
        {"--share", "half", "try: --share needs a number, not \"half\"", "see: edgestill try --help"},
        {"--yes=no", NULL, "try: --yes takes no value, but \"no\" is given", "see: edgestill try --help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cmd_ctx c;
        struct err e = {0};
        const char *const argv[] = {"try", cases[i].argument, cases[i].value};
        assert_int_equal(parse(&c, &e, cases[i].value ? 3 : 2, argv), ERR_USAGE);
        assert_string_equal(e.message, cases[i].message);
        assert_string_equal(e.hint, cases[i].hint);
        options_release(&c);
    }
}

static void help_is_the_table(void **state) {
    (void)state;
    struct str text = {0};
    options_help(&verb, &text);
    assert_non_null(strstr(text.data, "Usage: edgestill try FILE [options]\n\nTries things out.\n"));
    assert_non_null(strstr(text.data, "  --records N                 how many (default: 10)\n"));
    assert_non_null(strstr(text.data, "a label; may be repeated\n"));
    assert_non_null(strstr(text.data, "--json"));
    str_clear(&text);
    options_markdown(&verb, &text);
    assert_non_null(strstr(text.data, "| `--share X` | a share of all \\| part |\n"));
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way), cmocka_unit_test(nothing_surplus),   cmocka_unit_test(nothing_typed),
        cmocka_unit_test(mistakes),  cmocka_unit_test(help_is_the_table),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
