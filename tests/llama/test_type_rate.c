/* How fast a type multiplies: every type that the search for types offers can be measured here, and what is no type of weights is
 * refused. How fast it is depends on the machine and is not asserted. */
#include "catalog/catalog.h"
#include "llama/lm.h"
#include "llama/type_rate.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_every_type_can_be_measured(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(lm_backend_init(NULL, &e), 0);
    for (int i = 0; i < CATALOG_N_READS; i++) {
        double rate = 0;
        const char *type = catalog_read_type((enum catalog_read)i);
        if (type_rate_measure(type, 1, &rate, &e) < 0)
            fail_msg("%s: %s", type, e.message);
        assert_true(isfinite(rate) && rate > 0);
    }
}

static void test_other_types_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"q9_K", "", "i8", "q8_1", "q8_K", "iq2_xxs"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err e = {0};
        double rate = -1;
        assert_int_equal(type_rate_measure(wrong[i], 1, &rate, &e), ERR_UNSUPPORTED);
        assert_true(rate < 0);
        assert_int_not_equal(e.message[0], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_can_be_measured),
        cmocka_unit_test(test_other_types_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
