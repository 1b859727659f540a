/* Strings and conversions. */
#include "../support/oom.h"
#include "base/str.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void building(void **state) {
    (void)state;
    struct str s = {0};
    assert_string_equal(str_text(&s), "");
    for (int i = 0; i < 1000; i++)
        str_addf(&s, "%d,", i);
    str_add_char(&s, 'x');
    str_add_bytes(&s, "a\0b", 3);
    assert_int_equal(str_check(&s, NULL), 0);
    assert_int_equal(s.len, 10 * 2 + 90 * 3 + 900 * 4 + 4);
    assert_int_equal(s.data[s.len], 0);
    char *taken = str_take(&s);
    assert_int_equal(memcmp(taken, "0,1,2,", 6), 0);
    free(taken);
    assert_null(s.data);
    taken = str_take(&s);
    assert_string_equal(taken, "");
    free(taken);
    str_release(&s);
}

static void a_failure_sticks(void **state) {
    (void)state;
    if (!oom_available())
        skip();
    struct str s = {0};
    struct err e = {0};
    str_add(&s, "kept");
    oom_arm(1);
    str_addf(&s, "%5000s", "");
    assert_true(oom_disarm());
    str_add(&s, "not added");
    assert_int_equal(str_check(&s, &e), ERR_NO_MEMORY);
    assert_string_equal(str_text(&s), "kept");
    assert_null(str_take(&s));
    str_release(&s);
}

static void pieces(void **state) {
    (void)state;
    char text[] = " \t a b\r\n";
    assert_string_equal(str_trim(text), "a b");
    char blank[] = "  \n";
    assert_string_equal(str_trim(blank), "");
    assert_true(str_equal("a", "a") && str_equal(NULL, NULL));
    assert_false(str_equal("a", NULL) || str_equal(NULL, "a") || str_equal("a", "b"));
    assert_true(str_starts("abc", "ab") && str_starts("abc", "") && str_ends("abc", "bc"));
    assert_false(str_starts("a", "ab") || str_ends("c", "bc"));
}

static void utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n, bad; /* bad == n: fine */
    } cases[] = {
        {"plain", 5, 5},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, 9}, /* two, three and four bytes */
        {"a\x80", 2, 1},                                /* a continuation by itself */
        {"a\xc3", 2, 1},                                /* cut off */
        {"\xc0\xaf", 2, 0},                             /* overlong */
        {"\xe0\x80\xaf", 3, 0},                         /* overlong */
        {"\xed\xa0\x80", 3, 0},                         /* surrogate */
        {"\xf4\x90\x80\x80", 4, 0},                     /* beyond U+10FFFF */
        {"\xf5\x80\x80\x80", 4, 0},
        {"ok\xff", 3, 2},
        {"", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t bad = cases[i].n;
        assert_int_equal(str_is_utf8(cases[i].text, cases[i].n, &bad), cases[i].bad == cases[i].n);
        assert_int_equal(bad, cases[i].bad);
    }
}

static void whole_numbers(void **state) {
    (void)state;
    int64_t x = 7;
    assert_true(str_to_i64("-9223372036854775808", &x) && x == INT64_MIN);
    assert_true(str_to_i64("+12", &x) && x == 12);
    static const char *const bad[] = {"",    "-",  " 1", "1 ", "1.0", "0x10", "9223372036854775808",
                                      "12a", "1e3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(str_to_i64(bad[i], &x));
    assert_int_equal(x, 12);
}

static void numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"1", 1}, {"-0.5", -0.5}, {".5", 0.5}, {"5.", 5}, {"1e3", 1000}, {"+2.5E-1", 0.25}};
    double x;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(str_to_double(good[i].text, &x) && x == good[i].value);
    static const char *const bad[] = {"",      ".",     "-",   "1e", "1e+", "nan",  "inf",
                                      "0x1p3", "1e999", "1,5", " 1", "1 ",  "1.2.3"};
    x = 3;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(str_to_double(bad[i], &x));
    assert_true(x == 3);
}

static void for_people(void **state) {
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0 B"},        {999, "999 B"}, {1000, "1.0 kB"}, {1940000000, "1.9 GB"}, {340000000, "340 MB"},
        {999999, "1.0 MB"}};
    char buffer[32];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_string_equal(str_bytes(buffer, sizeof buffer, sizes[i].bytes), sizes[i].text);
    static const struct {
        double seconds;
        const char *text;
    } times[] = {{0.5, "0.5 s"},       {9.96, "10 s"},      {41, "41 s"},    {125, "2 min 05 s"},
                 {7500, "2 h 05 min"}, {180000, "2 d 2 h"}, {-1, "unknown"}, {INFINITY, "unknown"}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        assert_string_equal(str_duration(buffer, sizeof buffer, times[i].seconds), times[i].text);
}

static void nearest(void **state) {
    (void)state;
    static const char *const names[] = {"generate", "train", "eval", "plan", NULL};
    assert_string_equal(str_nearest("genrate", names), "generate");
    assert_string_equal(str_nearest("trian", names), "train");
    assert_string_equal(str_nearest("PLAN", names), "plan");
    assert_string_equal(str_nearest("gen", names), "generate");
    assert_null(str_nearest("xyzzy", names));
    assert_null(str_nearest("", names));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(building),   cmocka_unit_test(a_failure_sticks), cmocka_unit_test(pieces),
        cmocka_unit_test(utf8),       cmocka_unit_test(whole_numbers),    cmocka_unit_test(numbers),
        cmocka_unit_test(for_people), cmocka_unit_test(nearest),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
