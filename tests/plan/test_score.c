/* How far off the planner is, as a test: what bench-planner prints must not get worse unnoticed. Devices and models are hidden in
 * turn; rows are matched to devices by name and by facts. */
#include "plan/score.h"

#include "base/str.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct catalog catalog;

static int load(void **state) {
    (void)state;
    struct err e = {0};
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", "/nonexistent", 1);
    return catalog_load(&catalog, NULL, &e) < 0 ? -1 : 0;
}

static int release(void **state) {
    (void)state;
    catalog_release(&catalog);
    return 0;
}

/* Measured: 0.119 and 0.256 over thirteen and seven devices; a bit of room for rows to come. */
static void test_devices_never_seen(void **state) {
    (void)state;
    struct score_list l = {0};
    struct err e = {0};
    int64_t boards = 0, n = 0, inside = 0;
    assert_int_equal(score_unseen_devices(&catalog, &l, &e), 0);
    assert_true(score_median_error(&l, true, &boards, &n, &inside) < 0.15);
    assert_true(boards >= 13 && inside >= 0.95 * (double)n);
    assert_true(score_median_error(&l, false, &boards, &n, &inside) < 0.28);
    assert_true(boards >= 7 && inside >= 0.85 * (double)n);
    score_list_release(&l);
    for (int64_t i = 0; i < catalog.n_measurements; i++) /* all is as it was */
        assert_int_not_equal(catalog.measurements[i].tier, 'H');
}

/* Within 1.3 times the noise floor, which is what two runs of the same measurement differ by. */
static void test_models_never_seen(void **state) {
    (void)state;
    struct score_list l = {0};
    struct err e = {0};
    assert_int_equal(score_unseen_models(&catalog, &l, &e), 0);
    for (int writes = 0; writes < 2; writes++) {
        int64_t n = 0;
        double noise = score_noise(&catalog, writes, &n);
        assert_true(n > 50 && noise > 1.02 && noise < 1.3);
        assert_true((1 + score_median_error(&l, writes, NULL, NULL, NULL)) / noise < 1.3);
    }
    score_list_release(&l);
}

static const char *matched(const char *device, const char *cpu, struct catalog_device *made_up) {
    const struct catalog_measurement row = {.device = device, .cpu = cpu};
    const struct catalog_device *d = score_match(&catalog, &row, made_up);
    return d != NULL ? d->family : "nothing";
}

static void test_matching(void **state) {
    (void)state;
    struct catalog_device d;
    assert_string_equal(matched("Raspberry Pi 5 2GB", "", &d), "raspberry-pi-5");
    assert_string_equal(matched("Raspberry Pi 5 Model B 16GB", "BCM2712", &d), "raspberry-pi-5");
    assert_string_equal(matched("Radxa ROCK 5B+", "RK3588", &d), "rock-5b");
    assert_string_equal(matched("some mini PC", "Intel N100", &d), "n100");
    assert_string_equal(matched("a board", "8x Cortex-A76 2.2GHz", &d), "by its facts");
    assert_true(d.cores.known && d.cores.value == 8 && fabs(d.clock_mhz.value - 2200) < 1);
    assert_string_equal(d.core, "cortex-a76");
    assert_string_equal(d.dotprod, "yes");
    assert_string_equal(matched("a laptop", "Intel Core of some kind 3.1 GHz", &d), "by its facts");
    assert_string_equal(d.arch, "x86_64");
    assert_string_equal(matched("a phone", "Tensor 2x X1 2.8 GHz + 2x A76 2250 MHz + 4x A55", &d),
                        "by its facts");
    assert_string_equal(d.core, "cortex-x1"); /* the fastest, wherever it stands */
    assert_string_equal(d.second_core, "cortex-a76");
    assert_true(d.cores.value == 2 && d.second_cores.value == 2 && fabs(d.second_mhz.value - 2250) < 1);
    assert_string_equal(matched("a phone", "6x Cortex-A55 + 1x+1x Cortex-A78", &d), "by its facts");
    assert_string_equal(d.core, "cortex-a78");
    assert_true(d.cores.value == 2 && d.second_cores.value == 6 && !d.clock_mhz.known);
    assert_string_equal(matched("a mini PC", "Intel N97 3.6 GHz", &d), "by its facts");
    assert_string_equal(d.core, "gracemont");
    assert_string_equal(matched("a mini PC", "Intel Core i3-N305, 8x 3.8 GHz", &d), "by its facts");
    assert_true(str_equal(d.core, "gracemont") && d.cores.value == 8);
    assert_string_equal(matched("a laptop", "AMD Ryzen 7, 8x 5.1 GHz", &d), "by its facts");
    assert_true(d.cores.value == 8 && fabs(d.clock_mhz.value - 5100) < 1);
    assert_string_equal(matched("a mystery", "unheard of", &d), "nothing");
}

/* Rows that the catalogue has are told apart from those that it has not. */
static void test_known_rows(void **state) {
    (void)state;
    struct catalog_measurement rows[2];
    struct score_list l = {0};
    struct err e = {0};
    for (int64_t i = 0; i < catalog.n_measurements; i++)
        if (str_equal(catalog.measurements[i].device, "Raspberry Pi 4 Model B") &&
            catalog.measurements[i].tier == 'A')
            rows[0] = catalog.measurements[i];
    rows[1] = rows[0];
    rows[1].decode_tps *= 1.1;
    assert_int_equal(score_rows(&catalog, rows, 2, NULL, &l, &e), 0);
    assert_int_equal(l.n, 4);
    assert_true(l.items[0].known && l.items[1].known);
    assert_false(l.items[2].known || l.items[3].known);
    score_list_release(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices_never_seen),
        cmocka_unit_test(test_models_never_seen),
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_known_rows),
    };
    return cmocka_run_group_tests(tests, load, release);
}
