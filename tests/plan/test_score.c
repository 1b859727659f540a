/* How far off the planner is, as a test: what bench-planner prints must not get worse unnoticed. Devices and models are hidden in
 * turn; rows are matched to devices by name and by facts. */
#include "plan/match.h"
#include "plan/score.h"

#include "base/file.h"
#include "base/str.h"
#include "catalog/load.h"
#include "support/scratch.h"
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

/* Measured: 0.138 and 0.165 over 23 and eleven devices; a bit of room for rows to come. */
static void test_devices_never_seen(void **state) {
    (void)state;
    struct score_list l = {0};
    struct err e = {0};
    int64_t boards = 0, n = 0, inside = 0;
    assert_int_equal(score_unseen_devices(&catalog, &l, &e), 0);
    assert_true(score_median_error(&l, true, &boards, &n, &inside) < 0.15);
    assert_true(boards >= 23 && (double)inside >= 0.95 * (double)n);
    assert_true(score_median_error(&l, false, &boards, &n, &inside) < 0.20);
    assert_true(boards >= 11 && (double)inside >= 0.85 * (double)n);
    score_list_release(&l);
    for (int64_t i = 0; i < catalog.n_measurements; i++) /* all is as it was */
        assert_int_not_equal(catalog.measurements[i].tier, 'H');
}

/* Measured: 0.155 and 0.242. Every source says something of boards that others have not. */
static void test_sources_never_seen(void **state) {
    (void)state;
    struct score_list l = {0};
    struct err e = {0};
    int64_t n = 0, inside = 0;
    assert_int_equal(score_unseen_sources(&catalog, &l, &e), 0);
    assert_true(score_median_error(&l, true, NULL, &n, &inside) < 0.18 && (double)inside >= 0.95 * (double)n);
    assert_true(score_median_error(&l, false, NULL, &n, &inside) < 0.27 &&
                (double)inside >= 0.85 * (double)n);
    score_list_release(&l);
    int64_t published = 0;
    for (int64_t i = 0; i < catalog.n_devices; i++) /* all is as it was */
        published += catalog.devices[i].decode_gbps.known;
    assert_true(published >= 9);
    for (int64_t i = 0; i < catalog.n_measurements; i++)
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
    const struct catalog_device *d = match_device(&catalog, &row, made_up);
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

/* Facts as tables of others have them: counts of two digits, product lines, chips of which the catalogue has another. */
static void test_matching_by_facts(void **state) {
    (void)state;
    struct catalog_device d;
    assert_string_equal(matched("a desktop", "AMD Threadripper 3970X, 32x 4.5 GHz", &d), "by its facts");
    assert_true(d.cores.value == 32 && d.theoretical_gbps.value > 100);
    assert_string_equal(matched("Jetson AGX Orin", "Orin 12x Cortex-A78AE 2.2 GHz", &d), "by its facts");
    assert_true(d.cores.value == 12 && str_equal(d.core, "cortex-a78"));
    assert_string_equal(matched("a laptop", "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", &d), "by its facts");
    assert_true(d.cores.value == 4 && d.clock_mhz.low == 1800 && d.clock_mhz.high == 2700 &&
                d.theoretical_gbps.value > 38);
    assert_string_equal(matched("a laptop", "12th gen 2P+8E (Windows 11)", &d), "by its facts");
    assert_true(d.cores.value == 2 && str_equal(d.core, "x86-avx2"));
    assert_string_equal(matched("a laptop", "AMD Ryzen 5 5600H with Radeon Graphics", &d), "by its facts");
    assert_true(d.cores.value == 6 && fabs(d.theoretical_gbps.value - 51.2) < 0.1);
    assert_string_equal(matched("an old PC", "Intel Core 2 Quad Q8400, 4x 2.66 GHz", &d), "by its facts");
    assert_string_equal(d.core, "x86-before-avx2");
    assert_string_equal(matched("a board", "8x SiFive P550 1.4 GHz", &d), "by its facts");
    assert_true(str_equal(d.arch, "riscv64") && d.cores.value == 8);
    assert_string_equal(matched("HP Laptop", "Intel i7-12700H", &d), "by its facts"); /* not its slow cores */
}

static void test_models_and_types_by_other_names(void **state) {
    (void)state;
    static const struct {
        const char *model;
        double params;
        enum match as;
        double expected;
    } models[] = {{"llama3.2:3b", 0, MATCH_NAME, 3.21e9},
                  {"TinyLlama-1.1B-Chat-v1.0.Q4_K_M", 1.1e9, MATCH_LIKE, 1.1e9},
                  {"tinyllama:1.1b", 0, MATCH_NAME, 1.1e9},
                  {"Qwen2.5-0.5B", 0.494e9, MATCH_NAME, 0.494e9},
                  {"gemma-3-1b", 0, MATCH_NAME, 1e9},
                  {"Llama-2-7B", 6.74e9, MATCH_LIKE, 6.74e9},
                  {"Some-350M", 0, MATCH_LIKE, 0.35e9},
                  {"Qwen3-30B-A3B", 30.5e9, MATCH_LIKE, 3e9},
                  {"deepseek-r1:14b", 0, MATCH_LIKE, 14e9}};
    struct shape s;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const struct catalog_measurement row = {.model = models[i].model, .params = models[i].params};
        assert_int_equal(match_model(&catalog, &row, &s), models[i].as);
        assert_true(fabs((double)shape_params(&s) / models[i].expected - 1) < 0.06);
    }
    assert_int_equal(match_model(&catalog, &(struct catalog_measurement){.model = "a mystery"}, &s),
                     MATCH_NOT);

    static const struct {
        const char *name;
        enum match as;
        enum mix mix;
    } types[] = {{"q4_k_m", MATCH_NAME, MIX_Q4_K_M}, {"UD-Q4_K_XL", MATCH_LIKE, MIX_Q4_K_M},
                 {"Q4_0_4_4", MATCH_LIKE, MIX_Q4_0}, {"IQ3_XS", MATCH_LIKE, MIX_IQ3_M},
                 {"BF16", MATCH_LIKE, MIX_F16},      {"Q8", MATCH_LIKE, MIX_Q8_0}};
    enum mix mix = MIX_F16;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct catalog_measurement row = {.quantisation = types[i].name};
        assert_int_equal(match_mix(&row, &s, &mix), types[i].as);
        assert_int_equal(mix, types[i].mix);
    }
    const struct catalog_measurement llama = {
        .model = "Llama-3.2-1B", .quantisation = "?", .file_bytes = 1.32e9};
    assert_int_equal(match_model(&catalog, &llama, &s), MATCH_NAME);
    assert_int_equal(match_mix(&llama, &s, &mix), MATCH_LIKE); /* by its size */
    assert_int_equal(mix, MIX_Q8_0);
    assert_int_equal(match_mix(&(struct catalog_measurement){.quantisation = "Q1_0"}, &s, &mix), MATCH_NOT);
}

/* A table of somebody else's: what can be scored is, what cannot is counted by reason, nothing is fatal. */
static void test_odd_tables(void **state) {
    (void)state;
    static const char text[] =
        "device,cpu,threads,model,params_b,quant,pp_tps,tg_tps,source,test,runtime,tier\n"
        "Raspberry Pi 5 8GB,,4,llama3.2:1b,,Q4_K_M,~60.5,12.3 +- 0.2,me,pp512,llama.cpp,A\n"
        "Raspberry Pi 5 8GB,,4,llama3.2:1b,,Q4_K_M,~60.5,12.3 +- 0.2,me,pp512,llama.cpp,A\n"
        "Raspberry Pi 5 8GB,,4,llama3.2:1b,,Q4_K_M,,,me,pp512,llama.cpp,A\n"
        "Raspberry Pi 5 8GB,,4,llama3.2:1b,,Q4_K_M,n/a,-1,me,pp512,llama.cpp,A\n"
        "Jetson Orin Nano,GPU Ampere,,llama3.2:1b,,Q4_K_M,500,40,me,pp512,llama.cpp,A\n"
        "some PC,Intel i5-9500,,llama3.2:1b,,Q4_K_M,100,30,me,pp512,llama.cpp Vulkan,A\n"
        "some PC,\"Intel i5-9500, no GPU\",,llama3.2:1b,,Q4_K_M,100,30,me,pp512,llama.cpp,\n"
        "a mystery,,,llama3.2:1b,,Q4_K_M,100,30,me,pp512,llama.cpp,A\n"
        "Raspberry Pi 5 8GB,,4,a mystery,,Q4_K_M,100,30,me,pp512,llama.cpp,A\n"
        "Raspberry Pi 5 8GB,,4,llama3.2:1b,,Q1_0,100,30,me,pp512,llama.cpp,A\n"
        "STM32MP257,2x Cortex-A35,,Qwen3-0.6B,,Q3_K_M,3.2,2.1,paper,pp512,llama.cpp,X\n";
    struct catalog other = {0};
    struct score_list l = {0};
    struct err e = {0};
    scratch_enter();
    assert_int_equal(file_write("odd.csv", text, strlen(text), &e), 0);
    arena_init(&other.arena);
    assert_int_equal(catalog_load_measurements(&other, "odd.csv", true, &e), 0);
    assert_int_equal(other.n_measurements, 11);
    assert_int_equal(score_rows(&catalog, other.measurements, other.n_measurements, NULL, &l, &e), 0);
    assert_int_equal(l.n, 4); /* one row of the Pi, one of the PC, each with two speeds */
    assert_true(fabs(l.items[0].measured - 60.5) < 1e-9 && fabs(l.items[1].measured - 12.3) < 1e-9);
    assert_true(l.skipped.duplicate == 1 && l.skipped.without_speed == 2 && l.skipped.gpu == 2);
    assert_true(l.skipped.device == 1 && l.skipped.model == 1 && l.skipped.quantisation == 1);
    assert_int_equal(l.skipped.set_aside, 1);
    catalog_release(&other);
    arena_init(&other.arena);
    assert_int_equal(catalog_load_measurements(&other, "odd.csv", false, &e), ERR_FORMAT);
    catalog_release(&other);
    score_list_release(&l);
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
        cmocka_unit_test(test_devices_never_seen), cmocka_unit_test(test_models_never_seen),
        cmocka_unit_test(test_sources_never_seen), cmocka_unit_test(test_matching),
        cmocka_unit_test(test_matching_by_facts),  cmocka_unit_test(test_models_and_types_by_other_names),
        cmocka_unit_test(test_odd_tables),         cmocka_unit_test(test_known_rows),
    };
    return cmocka_run_group_tests(tests, load, release);
}
