/* Errors: the first writer wins, context goes in front, texts and exit codes follow the table. */
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void first_writer_wins(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(&e, ERR_INPUT, "one", "line %d", 7), ERR_INPUT);
    assert_int_equal(err_set(&e, ERR_IO, "two", "later"), ERR_IO);
    assert_int_equal(e.code, ERR_INPUT);
    assert_string_equal(e.origin, "one");
    assert_string_equal(e.message, "line 7");
    assert_int_equal(err_hint(&e, "do %s", "this"), ERR_INPUT);
    err_hint(&e, "not that");
    assert_string_equal(e.hint, "do this");
    assert_int_equal(err_context(&e, "reading %s", "a.csv"), ERR_INPUT);
    assert_string_equal(e.message, "reading a.csv: line 7");
    err_clear(&e);
    assert_int_equal(e.code, 0);
    assert_string_equal(e.hint, "");
}

static void nobody_listens(void **state) {
    (void)state;
    assert_int_equal(err_set(NULL, ERR_NET, "x", "y"), ERR_NET);
    assert_int_equal(err_set_errno(NULL, ERR_NET, "x", "y"), ERR_NET);
    assert_true(err_hint(NULL, "x") < 0);
    assert_true(err_context(NULL, "x") < 0);
    err_clear(NULL);
}

static void errno_names_its_cause(void **state) {
    (void)state;
    static const struct {
        int number, code;
    } cases[] = {{ENOSPC, ERR_NO_SPACE}, {EDQUOT, ERR_NO_SPACE}, {ENOMEM, ERR_NO_MEMORY}, {EACCES, ERR_IO}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {0};
        errno = cases[i].number;
        assert_int_equal(err_set_errno(&e, ERR_IO, "x", "a.txt"), cases[i].code);
        assert_non_null(strstr(e.message, "a.txt: "));
        assert_non_null(strstr(e.message, strerror(cases[i].number)));
    }
}

static void long_texts_are_cut(void **state) {
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct err e = {0};
    err_set(&e, ERR_INPUT, text, "%s", text);
    err_hint(&e, "%s", text);
    err_context(&e, "%s", text);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    assert_int_equal(strlen(e.hint), sizeof e.hint - 1);
    assert_int_equal(strlen(e.origin), sizeof e.origin - 1);
}

static void cuts_fall_between_characters(void **state) {
    (void)state;
    char text[2000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        struct err e = {0};
        err_set(&e, ERR_INPUT, "x", "%s", text);
        err_hint(&e, "%s", text);
        err_context(&e, "in");
        assert_true(str_is_utf8(e.message, strlen(e.message), NULL));
        assert_true(str_is_utf8(e.hint, strlen(e.hint), NULL));
        assert_true(strlen(e.message) > sizeof e.message - 6);
    }
}

static void table(void **state) {
    (void)state;
    assert_int_equal(err_exit_code(0), 0);
    assert_int_equal(err_exit_code(ERR_USAGE), 2);
    assert_int_equal(err_exit_code(ERR_IO), 1);
    assert_int_equal(err_exit_code(ERR_GATE), 3);
    assert_int_equal(err_exit_code(ERR_BUDGET), 4);
    assert_int_equal(err_exit_code(-9999), 1);
    assert_string_equal(err_name(ERR_NO_SPACE), "NO_SPACE");
    assert_string_equal(err_text(ERR_NO_SPACE), "no space left");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_writer_wins),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(errno_names_its_cause),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(cuts_fall_between_characters),
        cmocka_unit_test(table),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
