/* Records: every spelling of a value comes to one normal form, what is wrong is named, and printing then building
 * again changes nothing. */
#include "format/json.h"
#include "task/value.h"
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char task_json[] =
    "{\"fields\":[{\"name\":\"delay\",\"column\":\"Days\",\"type\":\"integer\",\"min\":0,\"max\":60,\"unit\":"
    "\"days\"},"
    "{\"name\":\"paid\",\"type\":\"number\",\"decimals\":2,\"min\":-100,\"max\":100},"
    "{\"name\":\"kind\",\"type\":\"category\",\"values\":[\"inpatient\",\"NA\",\"other one\"]},"
    "{\"name\":\"note\",\"type\":\"text\",\"optional\":true},{\"name\":\"from\",\"type\":\"date\","
    "\"optional\":true},"
    "{\"name\":\"to\",\"type\":\"date\",\"optional\":true}],"
    "\"derived\":[{\"name\":\"share\",\"op\":\"ratio\",\"of\":[\"paid\",\"delay\"]},"
    "{\"name\":\"gap\",\"op\":\"difference\",\"of\":[\"paid\",\"delay\"]},"
    "{\"name\":\"wait\",\"op\":\"days_between\",\"of\":[\"from\",\"to\"]}],"
    "\"labels\":[{\"name\":\"a\"},{\"name\":\"b\"}]}";

static struct task task;
static struct arena arena;

static int set_up(void **state) {
    (void)state;
    struct node *root = NULL;
    arena_init(&arena);
    if (json_node_parse(&arena, "task", 1, task_json, strlen(task_json), &root, NULL) < 0)
        return -1;
    return task_from_node(&task, root, NULL);
}

static int tear_down(void **state) {
    (void)state;
    task_release(&task);
    arena_release(&arena);
    return 0;
}

static int build(const char *json, bool strict, struct record *r, struct err *e) {
    struct node *root = NULL;
    assert_int_equal(json_node_parse(&arena, "record", 1, json, strlen(json), &root, NULL), 0);
    return record_from_node(&task, &arena, strict, root, r, e);
}

/* One raw value through one field. */
static const struct {
    const char *field, *raw; /* raw NULL: absent */
    bool strict;
    const char *text; /* NULL: refused */
} values[] = {
    {"delay", "5", true, "5"},
    {"delay", " 5 ", true, "5"},
    {"delay", "5.0", true, "5"},
    {"delay", "+5", true, "5"},
    {"delay", "5 days", true, "5"},
    {"delay", "5days", true, "5"},
    {"delay", "1e1", true, "10"},
    {"delay", "1e3", false, "1000"},
    {"delay", "1e3", true, NULL},
    {"delay", "61", true, NULL},
    {"delay", "61", false, "61"},
    {"delay", "-0", true, "0"},
    {"delay", "5.5", false, NULL},
    {"delay", "1,000", false, NULL},
    {"delay", "0x10", false, NULL},
    {"delay", "inf", false, NULL},
    {"delay", "+-5", false, NULL},
    {"delay", "five", false, NULL},
    {"delay", "1e300", false, NULL},
    {"delay", "5 hours", false, NULL},
    {"delay", "days", false, NULL},
    {"delay", "", false, "unknown"},
    {"delay", " NA ", false, "unknown"},
    {"delay", "n/a", false, "unknown"},
    {"delay", "NULL", false, "unknown"},
    {"delay", "NaN", false, "unknown"},
    {"delay", "none", false, "unknown"},
    {"delay", NULL, false, "unknown"},
    {"delay", NULL, true, NULL},
    {"delay", "", true, NULL},
    {"paid", "0.625", true, "0.62"}, /* half to even in binary: 0.625 is exact */
    {"paid", "-0.001", true, "0.00"},
    {"paid", "-12.3", true, "-12.30"},
    {"paid", "100.004", true, "100.00"}, /* in range once rounded */
    {"paid", "100.006", true, NULL},
    {"kind", "inpatient", true, "inpatient"},
    {"kind", " InPatient", true, "inpatient"},
    {"kind", "other  one", true, "other one"},
    {"kind", "NA", true, "NA"}, /* a value that the task lists is no missing word */
    {"kind", "null", false, "unknown"},
    {"kind", "stranger", true, NULL},
    {"kind", "stranger", false, "stranger"},
    {"note", "a\tb\n- kind: inpatient", true, "a b - kind: inpatient"},
    {"note", "none", true, "none"},
    {"note", "", true, "unknown"},
    {"note", "\xff", false, NULL},
    {"note", "\xc3\xa9t\xc3\xa9", true, "\xc3\xa9t\xc3\xa9"},
    {"from", "2024-02-29", true, "2024-02-29"},
    {"from", "2024-02-29T10:00:00Z", true, "2024-02-29"},
    {"from", "2024-02-29 10:00", true, "2024-02-29"},
    {"from", "2023-02-29", true, NULL},
    {"from", "2024-2-9", true, NULL},
    {"from", "2024-02-29x", true, NULL},
    {"from", "29.02.2024", true, NULL},
};

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const struct task_field *f = &task.fields[task_field_index(&task, values[i].field)];
        struct value v = {.text = "untouched"};
        struct err e = {0};
        int rc = value_parse(f, &arena, values[i].strict, values[i].raw, &v, &e);
        if (!values[i].text) {
            if (rc != ERR_INPUT)
                fail_msg("%s: '%s' was taken as '%s'", f->name, values[i].raw, v.text);
            assert_string_equal(v.text, "untouched");
            assert_non_null(strstr(e.message, f->name));
            continue;
        }
        if (rc < 0 || strcmp(v.text, values[i].text) != 0)
            fail_msg("%s: '%s' became '%s' (%s)", f->name, values[i].raw, v.text, e.message);
        assert_int_equal(v.missing, strcmp(v.text, "unknown") == 0);
    }
}

static void test_numbers_ignore_the_locale(void **state) {
    (void)state;
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", NULL};
    bool found = false;
    for (int i = 0; commas[i] && !found; i++)
        found = setlocale(LC_ALL, commas[i]) != NULL;
    struct value v;
    assert_int_equal(value_parse(&task.fields[1], &arena, true, "1.5", &v, NULL), 0);
    assert_string_equal(v.text, "1.50");
    assert_true(v.number == 1.5);
    setlocale(LC_ALL, "C");
    if (!found)
        skip(); /* no locale with a decimal comma is installed here */
}

static void test_dates_count_days(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t days;
    } dates[] = {{"1970-01-01", 0},     {"1969-12-31", -1},      {"2000-03-01", 11017},
                 {"2024-02-29", 19782}, {"1600-01-01", -135140}, {"9999-12-31", 2932896}};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        int64_t days = 1;
        assert_true(value_date_days(dates[i].text, &days));
        assert_int_equal(days, dates[i].days);
    }
}

static void test_derived(void **state) {
    (void)state;
    struct record r;
    assert_int_equal(
        build("{\"Days\":8,\"paid\":2.555,\"kind\":\"NA\",\"from\":\"2024-02-28\",\"to\":\"2024-03-01\"}",
              true, &r, NULL),
        0);
    assert_int_equal(r.label, -1);
    assert_string_equal(r.values[1].text, "2.56");
    assert_string_equal(r.values[6].text, "0.32");
    assert_string_equal(r.values[7].text, "-5.44");
    assert_string_equal(r.values[8].text, "2");
    assert_int_equal(build("{\"delay\":0,\"paid\":1,\"kind\":\"NA\"}", true, &r, NULL), 0);
    assert_true(r.values[6].missing); /* by zero */
    assert_true(r.values[8].missing); /* no dates */
    assert_string_equal(r.values[8].text, "unknown");
}

static void test_printing_reads_back(void **state) {
    (void)state;
    struct record r, back;
    struct str json = {0}, again = {0}, line = {0};
    assert_int_equal(
        build("{\"delay\":\"7.0\",\"paid\":-1.005,\"kind\":\"OTHER ONE\",\"note\":\"say \\\"hi\\\"; a: b\"}",
              true, &r, NULL),
        0);
    assert_int_equal(record_to_json(&task, &r, &json), 0);
    assert_string_equal(str_text(&json), "{\"delay\":7,\"paid\":-1.00,\"kind\":\"other one\",\"note\":\"say "
                                         "\\\"hi\\\"; a: b\",\"from\":null,\"to\":null}");
    assert_int_equal(build(str_text(&json), true, &back, NULL), 0);
    assert_int_equal(record_to_json(&task, &back, &again), 0);
    assert_string_equal(str_text(&again), str_text(&json));
    assert_int_equal(record_to_line(&task, &r, &line), 0);
    assert_string_equal(str_text(&line),
                        "delay: 7; paid: -1.00; kind: other one; note: say \"hi\"; a: b; from: unknown; "
                        "to: unknown; share: -0.14; gap: -8.00; wait: unknown");
    str_release(&json);
    str_release(&again);
    str_release(&line);
}

static void test_objects_are_checked(void **state) {
    (void)state;
    struct record r;
    struct err e = {0};
    assert_int_equal(build("[1]", false, &r, &e), ERR_INPUT);
    e = (struct err){0};
    assert_int_equal(build("{\"delay\":1,\"paid\":1,\"kind\":\"NA\",\"extra\":1}", true, &r, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "extra"));
    assert_int_equal(build("{\"delay\":1,\"paid\":1,\"kind\":\"NA\",\"extra\":[1]}", false, &r, NULL), 0);
    e = (struct err){0};
    assert_int_equal(build("{\"delay\":[1]}", false, &r, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "single value"));
    assert_int_equal(build("{\"delay\":null,\"paid\":true}", false, &r, &e), ERR_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_numbers_ignore_the_locale),
        cmocka_unit_test(test_dates_count_days),
        cmocka_unit_test(test_derived),
        cmocka_unit_test(test_printing_reads_back),
        cmocka_unit_test(test_objects_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
