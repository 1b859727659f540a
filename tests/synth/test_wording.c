/* Sentences in other words than the embedded teacher's: what becomes of them. That those of its family stay as they are is in
 * tests/seed, that it drafts from the reworded ones in tests/cmd/test_wording.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "synth/wording.h"

static void expect(const char *sentence, const char *reworded) {
    struct str out = {0};
    struct err e = {0};
    assert_int_equal(wording_plain(sentence, &out, &e), 0);
    if (strcmp(str_text(&out), reworded) != 0)
        fail_msg("%s\nbecomes   %s\nexpected  %s", sentence, str_text(&out), reworded);
    str_release(&out);
}

static void test_fields(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"Each pump has a load that is idle, partial or full.",
         "Each pump has a load (idle, partial or full)."},
        {"Each pump has a load which can be either idle or full, and a flow ranging from 0 to 9 l.",
         "Each pump has a load (idle or full) and a flow from 0 to 9 l."},
        {"Each pump has a load: idle, partial, or full.", "Each pump has a load (idle, partial or full)."},
        {"Each pump has a load (idle/partial/full) and a seal (wet, dry).",
         "Each pump has a load (idle, partial or full) and a seal (wet or dry)."},
        {"Each pump contains a flow of 0 to 1,200 l, as well as a label that is red or green.",
         "Each pump has a flow from 0 to 1200 l and a label (red or green)."},
        {"Each pump has a heat in the range 20-120 °C, and a share from .5 to 1.",
         "Each pump has a heat from 20 to 120 C and a share from 0.5 to 1."},
        {"Each pump has a frost between -20 and 8 degrees Celsius and a level from 0% to 100%.",
         "Each pump has a frost between -20 and 8 degrees Celsius and a level from 0 to 100 percent."},
        {"For every pump, we know a flow from 0 to 9 and an age from 0 to 99 years.",
         "Each pump has a flow from 0 to 9 and an age from 0 to 99 years."},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        expect(pairs[i][0], pairs[i][1]);
}

static void test_conditions(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"Flag it as worn when flow is over 5 and the age is under 7 and seal wear is at least 2; otherwise "
         "it is fine.",
         "Flag it as worn when the flow is over 5 and the age is under 7 and the seal wear is at least 2; "
         "otherwise it is fine."},
        {"Flag it as worn when the flow is over 5, or when seal is wet or when it is over 9; otherwise it is "
         "fine.",
         "Flag it as worn when the flow is over 5, or when the seal is wet or when it is over 9; otherwise "
         "it is fine."},
        {"Check pumps. Reject it if the flow is over 5; otherwise accept it.",
         "Check pumps. Flag it as reject when the flow is over 5; otherwise it is accept."},
        {"Flag it as worn if the flow exceeds 5, or if the age is no less than 7; otherwise it is fine.",
         "Flag it as worn when the flow is over 5, or when the age is at least 7; otherwise it is fine."},
        {"Flag it as worn when the flow >= 5 and the age < 7.5; otherwise it is fine.",
         "Flag it as worn when the flow is at least 5 and the age is under 7.5; otherwise it is fine."},
        {"Flag it as worn when the flow is ≤ 5 and its seal isn't \"dry\"; otherwise it is fine.",
         "Flag it as worn when the flow is at most 5 and the seal is not dry; otherwise it is fine."},
        {"Flag it as worn when the flow falls below 5, and the age is 7 years or more; otherwise it is fine.",
         "Flag it as worn when the flow is under 5 and the age is at least 7 years; otherwise it is fine."},
        {"Flag it as worn when the flow is between 5 and 7 l and the seal equals dry; otherwise it is fine.",
         "Flag it as worn when the flow is at least 5 and at most 7 l and the seal is dry; otherwise it is "
         "fine."},
        {"Flag it as worn when the flow is less than or equal to 5 while the age is greater than 7; "
         "otherwise it is fine.",
         "Flag it as worn when the flow is at most 5 and the age is greater than 7; otherwise it is fine."},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        expect(pairs[i][0], pairs[i][1]);
}

static void test_decisions(void **state) {
    (void)state;
    static const char *const same = "Flag it as worn when the flow is over 5; otherwise it is fine.";
    static const char *const ways[] = {
        "Flag a pump as worn when the flow is over 5. Otherwise it is fine.",
        "Classify it as worn if the flow is over 5; in all other cases it is fine.",
        "When the flow is over 5, flag it as worn; otherwise, it is fine",
        "Report the pump as worn whenever the flow is over 5, and otherwise it is fine.",
        "Tag each pump as worn if its flow is over 5. Everything else is fine.",
        "Mark it worn when the flow is over 5, fine otherwise.",
        "Flag it as worn when the flow is over 5; otherwise, label it as fine.",
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct str out = {0};
        assert_int_equal(wording_plain(ways[i], &out, NULL), 0);
        bool right =
            strcmp(str_text(&out), same) == 0 ||
            strcmp(str_text(&out), "Mark it as worn when the flow is over 5; otherwise it is fine.") == 0;
        if (!right)
            fail_msg("%s\nbecomes   %s", ways[i], str_text(&out));
        str_release(&out);
    }
    expect("A pump is worn if the flow is over 5; otherwise it is fine.",
           "It is worn when the flow is over 5; otherwise it is fine.");
}

/* What is not known stays, other alphabets and odd input included. */
static void test_the_rest_stays(void **state) {
    (void)state;
    expect("", "");
    expect(" ", "");
    expect("Prüfe Pumpen – schnell, «bitte»!", "Prüfe Pumpen – schnell, «bitte»!");
    expect("Tell the gardener what a bed needs.", "Tell the gardener what a bed needs.");
    expect("Each item has a report that is daily or weekly and a mark from 0 to 9.",
           "Each item has a report (daily or weekly) and a mark from 0 to 9.");
}

static void test_definitions(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"flow < 5 and seal is wet", "the flow is under 5 and the seal is wet"},
        {"the flow is under 5, or the age is at least 7", "the flow is under 5, or the age is at least 7"},
        {"otherwise", "otherwise"},
    };
    struct str out = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(wording_condition(pairs[i][0], &out, NULL), 0);
        assert_string_equal(str_text(&out), pairs[i][1]);
    }
    str_release(&out);
}

static void test_turning(void **state) {
    (void)state;
    static const char *const plain = "Check rooms. Each room has a heat between -5.0 and 8.0 C, a load (0 to "
                                     "9) and a door (open or shut). It is bad when the "
                                     "door is open; otherwise it is good.";
    static const char *const turned[] = {"Check rooms. Each room has a load (0 to 9), a door (open or shut) "
                                         "and a heat between -5.0 and 8.0 C. It is bad when the "
                                         "door is open; otherwise it is good.",
                                         "Check rooms. Each room has a door (open or shut), a heat between "
                                         "-5.0 and 8.0 C and a load (0 to 9). It is bad when the "
                                         "door is open; otherwise it is good."};
    struct str out = {0};
    for (int by = 0; by < 6; by++) {
        assert_int_equal(wording_turned(plain, by, &out, NULL), 0);
        assert_string_equal(str_text(&out), by % 3 ? turned[by % 3 - 1] : plain);
    }
    static const char *const without[] = {"", "Write a poem.", "Each room has a door",
                                          "Each room has a door. It is shut.", "It has many doors. Fine."};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        assert_int_equal(wording_turned(without[i], 1, &out, NULL), 0);
        assert_string_equal(str_text(&out), without[i]);
    }
    str_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),    cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_decisions), cmocka_unit_test(test_the_rest_stays),
        cmocka_unit_test(test_turning),   cmocka_unit_test(test_definitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
