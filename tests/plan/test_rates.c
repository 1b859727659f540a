/* Rates: the fit recovers what it should, transfers to boards that have rows keep their promise when those rows are hidden,
 * and the paper's two deployments come out as feasible with intervals that hold what it published, without having been
 * fitted to. Prints what it finds. */
#include "plan/boards.h"
#include "plan/predict.h"
#include "plan/rates.h"

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
    if (catalog_load(&catalog, NULL, &e) < 0) {
        print_error("%s\n", e.message);
        return -1;
    }
    return 0;
}

static int release(void **state) {
    (void)state;
    catalog_release(&catalog);
    return 0;
}

static const struct catalog_device *device(const char *name) {
    const struct catalog_device *d = NULL;
    struct err e = {0};
    assert_int_equal(catalog_device_find(&catalog, name, &d, &e), 0);
    return d;
}

static struct shape model_shape(const char *name) {
    const struct catalog_model *m = NULL;
    struct err e = {0};
    assert_int_equal(catalog_model_find(&catalog, name, &m, &e), 0);
    struct shape s;
    shape_from_catalog(&s, m);
    return s;
}

static void test_fit_recovers_rates(void **state) {
    (void)state;
    const double truth[3] = {2e-9, 1e-9, 5e-9};
    double a[8][3] = {{9, 1, 0}, {1, 8, 0}, {3, 3, 0}, {7, 2, 0}, {2, 9, 0}, {5, 5, 0}, {1, 1, 0}, {8, 8, 0}},
           t[8], x[3];
    for (int i = 0; i < 8; i++) {
        t[i] = 0;
        for (int j = 0; j < 3; j++)
            t[i] += a[i][j] * truth[j];
    }
    rates_fit(&a[0][0], t, 8, 3, 1e-6, x);
    assert_true(fabs(x[0] / truth[0] - 1) < 0.01);
    assert_true(fabs(x[1] / truth[1] - 1) < 0.01);
    assert_true(x[2] > 1e-9 && x[2] < 2e-9); /* no row tells: the common value */
}

static struct plan_prediction predict_for(const struct catalog_device *d, const struct shape *s, enum mix mix,
                                          struct arena *a) {
    struct device_rates rates;
    struct err e = {0};
    assert_int_equal(rates_for_device(&catalog, d, a, &rates, &e), 0);
    const struct predict_task task = {
        .prefix_tokens = 150, .record_tokens = 100, .answer_tokens = 4, .label_tokens = 8};
    const struct predict_input in = {.shape = s,
                                     .mix = mix,
                                     .rates = &rates,
                                     .task = &task,
                                     .context = 512,
                                     .ubatch = 64,
                                     .label_scoring = true,
                                     .prefix_state = true};
    struct plan_prediction p;
    assert_int_equal(predict(&in, a, &p, &e), 0);
    return p;
}

static void show(const char *what, const struct estimate *x, double truth) {
    print_message("%s: %.3g (%.3g to %.3g), published %.3g\n", what, x->value, x->low, x->high, truth);
}

static bool holds(const struct estimate *x, double truth) {
    return x->low <= truth && truth <= x->high;
}

static void test_the_papers_second_device(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct shape s =
        model_shape("qwen3-0.6b"); /* the paper does not say which size; this is the one under 700 MB */
    struct plan_prediction p = predict_for(device("stm32mp257f-ev1"), &s, MIX_Q3_K_M, &a);
    show("STM32MP257, Qwen3-0.6B Q3_K_M, reading", &p.prefill_tps, 3.2);
    show("STM32MP257, Qwen3-0.6B Q3_K_M, writing", &p.decode_tps, 2.1);
    show("STM32MP257, Qwen3-0.6B Q3_K_M, memory in MB",
         &(struct estimate){p.memory_bytes.value / 1e6, p.memory_bytes.low / 1e6, p.memory_bytes.high / 1e6,
                            ""},
         700);
    assert_true(holds(&p.prefill_tps, 3.2));
    assert_true(holds(&p.decode_tps, 2.1));
    assert_true(p.memory_bytes.high < 700e6);
    arena_release(&a);
}

static void test_the_papers_first_device(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct shape s = model_shape("tinyllama-1.1b-chat");
    struct plan_prediction p = predict_for(device("rpi5-8gb"), &s, MIX_Q4_K_M, &a);
    print_message(
        "Raspberry Pi 5, TinyLlama Q4_K_M: %.0f MB, reads %.1f, writes %.1f tokens/s, decides in %.2f s\n",
        p.memory_bytes.value / 1e6, p.prefill_tps.value, p.decode_tps.value, p.decision_s.value);
    print_message("  %s\n  %s\n", p.prefill_tps.basis, p.decode_tps.basis);
    assert_true(p.memory_bytes.high < 2e9);
    assert_true(fabs(p.file_bytes.value / 668e6 - 1) < 0.02); /* the published file's size */
    arena_release(&a);
}

static void hide_rows(const char *board, bool hide) {
    for (int64_t i = 0; i < catalog.n_measurements; i++)
        if (str_equal(catalog.measurements[i].device, board) && !catalog.measurements[i].repeat)
            catalog.measurements[i].tier = hide ? 'H' : 'A';
}

/* A measured board with its rows hidden: what other boards would have said of it. */
static void hidden(const char *name, const struct shape *s, enum mix mix, double read_tps, double write_tps) {
    struct arena a;
    arena_init(&a);
    const struct catalog_device *d = device(name);
    hide_rows(d->measured_as, true);
    struct plan_prediction p = predict_for(d, s, mix, &a);
    hide_rows(d->measured_as, false);
    print_message("%s from other boards\n", name);
    show("  reading", &p.prefill_tps, read_tps);
    show("  writing", &p.decode_tps, write_tps);
    assert_true(holds(&p.prefill_tps, read_tps));
    assert_true(holds(&p.decode_tps, write_tps));
    arena_release(&a);
}

static void test_transfers_keep_their_promise(void **state) {
    (void)state;
    struct shape s = model_shape("llama-3.2-1b-instruct");
    hidden("rpi4-4gb", &s, MIX_Q4_K_M, 11.857, 4.469);
    hidden("rpi5-2gb", &s, MIX_Q4_K_M, 61.685, 11.402);
}

/* Leave one model out: the board's other models are fitted, the hidden one predicted. */
static void test_leave_one_model_out(void **state) {
    (void)state;
    const char *const models[] = {"Llama-3.2-1B", "Qwen3-0.6B", "gemma-3-1b-it"};
    const char *const names[] = {"llama-3.2-1b-instruct", "qwen3-0.6b", "gemma-3-1b-it"};
    for (size_t m = 0; m < 3; m++) {
        int n = 0, inside_read = 0, inside_write = 0;
        char kept[1024];
        memset(kept, 0, sizeof kept);
        for (int64_t i = 0; i < catalog.n_measurements; i++)
            if (str_equal(catalog.measurements[i].model, models[m])) {
                kept[i] = catalog.measurements[i].tier;
                catalog.measurements[i].tier = 'H';
            }
        struct arena a;
        arena_init(&a);
        struct shape s = model_shape(names[m]);
        s.tied = m != 1; /* the published Qwen3 file has a head of its own */
        for (int64_t i = 0; i < catalog.n_measurements; i++) {
            const struct catalog_measurement *row = &catalog.measurements[i];
            enum mix mix = MIX_F16;
            if (kept[i] != 'A' || row->repeat || !str_starts(row->device, "Raspberry Pi 4") ||
                !mix_from_name(row->quantisation, &mix))
                continue;
            struct plan_prediction p = predict_for(device("rpi4-8gb"), &s, mix, &a);
            n++;
            inside_read += holds(&p.prefill_tps, row->prefill_tps);
            inside_write += holds(&p.decode_tps, row->decode_tps);
        }
        for (int64_t i = 0; i < catalog.n_measurements; i++)
            if (kept[i] != 0)
                catalog.measurements[i].tier = kept[i];
        arena_release(&a);
        print_message("%s hidden: %d of %d rows within the interval when reading, %d when writing\n",
                      models[m], inside_read, n, inside_write);
        assert_true(n >= 10);
        assert_true(inside_read >= 0.9 * n && inside_write >= 0.9 * n);
    }
}

/* Cores and memory: each alone where the other is far away, both felt where they meet, and taken apart again. */
static void test_cores_and_memory(void **state) {
    (void)state;
    assert_true(fabs(board_together(10, 1e6) - 10) < 1e-6);
    assert_true(fabs(board_together(10, INFINITY) - 10) < 1e-9);
    assert_true(fabs(board_together(1e6, 10) - 10) < 1e-6);
    assert_true(fabs(board_together(10, 10) - 10 / cbrt(2)) < 1e-9);
    assert_true(fabs(board_cores_alone(board_together(7, 15), 15) - 7) < 1e-9);
    double at_the_limit = board_cores_alone(14.9, 15); /* says only that the cores are no slower */
    assert_true(at_the_limit > 14.9 && at_the_limit < 1.2 * 14.9);
}

/* The next cluster works where the fast one is small or it is nearly as fast; else it would hold back. */
static void test_clusters(void **state) {
    (void)state;
    assert_int_equal(board_threads(&catalog, device("rock5b-8gb")), 4);
    assert_int_equal(board_threads(&catalog, device("phone-snapdragon-695")), 8);
    assert_int_equal(board_threads(&catalog, device("pixel-6a")), 4);
    struct catalog_device d = *device("rock5b-8gb");
    double fast = board_core_ghz(&catalog, &d);
    d.second_core = "cortex-a55";
    d.second_cores = (struct catalog_figure){true, 4, 4, 4, "a test"};
    d.second_mhz = (struct catalog_figure){true, 1800, 1800, 1800, "a test"};
    assert_int_equal(board_threads(&catalog, &d), 4);
    assert_true(fabs(board_core_ghz(&catalog, &d) - fast) < 1e-9);
    d.second_core = "cortex-a78";
    assert_int_equal(board_threads(&catalog, &d), 8);
    assert_true(board_core_ghz(&catalog, &d) > 1.7 * fast);
    d.clock_mhz.known = false; /* then as fast as others with such cores */
    assert_true(board_core_ghz(&catalog, &d) > 1.5 * fast);
}

/* Two threads of a Raspberry Pi 5 write faster than four; where nobody tried, the square root with its width. */
static void test_fewer_threads(void **state) {
    (void)state;
    struct board_share two = board_threads_share(&catalog, device("rpi5-8gb"), BOARD_WRITES, 2),
                       reading = board_threads_share(&catalog, device("rpi5-8gb"), BOARD_READS, 2),
                       unknown = board_threads_share(&catalog, device("rock5b-8gb"), BOARD_WRITES, 1);
    assert_true(two.value > 1.02 && two.value < 1.5);
    assert_true(fabs(reading.value - 0.5) < 1e-9);
    assert_true(fabs(unknown.value - 0.5) < 1e-9 && unknown.spread > 1.9);
    assert_true(board_threads_share(&catalog, device("rpi5-8gb"), BOARD_WRITES, 4).value >= 1);
}

static void test_every_device_gets_bounds(void **state) {
    (void)state;
    struct shape s = model_shape("qwen3-0.6b");
    for (int64_t i = 0; i < catalog.n_devices; i++) {
        struct arena a;
        arena_init(&a);
        struct plan_prediction p = predict_for(&catalog.devices[i], &s, MIX_Q4_K_M, &a);
        const struct estimate *const all[] = {&p.file_bytes, &p.memory_bytes, &p.prefill_tps,
                                              &p.decode_tps, &p.cold_s,       &p.decision_s};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            assert_true(all[k]->value > 0 && all[k]->low > 0);
            assert_true(all[k]->low <= all[k]->value && all[k]->value <= all[k]->high);
            assert_true(all[k]->basis[0] != '\0');
        }
        assert_true(p.decision_s.value < p.cold_s.value);
        arena_release(&a);
    }
}

/* What was measured on the device itself holds for the types that it was measured with, and moves the others as a whole; the search
 * for types gets it under ggml's names. */
static void test_a_device_that_measured_itself(void **state) {
    (void)state;
    struct arena a;
    struct err e = {0};
    struct device_rates kind, own;
    struct catalog_device d = *device("generic-x86");
    arena_init(&a);
    assert_int_equal(rates_for_device(&catalog, &d, &a, &kind, &e), 0);
    assert_true(kind.s_per_mac[TENSOR_Q8_0] < kind.s_per_mac[TENSOR_Q4_K]);
    double q4 = 0.5 * kind.s_per_mac[TENSOR_Q4_K], q8 = 2 * kind.s_per_mac[TENSOR_Q8_0];
    d.reads[CATALOG_READ_Q4_K] = (struct catalog_figure){true, 1e-9 / q4, 1e-9 / q4, 1e-9 / q4, "a probe"};
    d.reads[CATALOG_READ_Q8_0] = (struct catalog_figure){true, 1e-9 / q8, 1e-9 / q8, 1e-9 / q8, "a probe"};
    assert_int_equal(rates_for_device(&catalog, &d, &a, &own, &e), 0);
    assert_true(fabs(own.s_per_mac[TENSOR_Q4_K] / q4 - 1) < 1e-9);
    assert_true(fabs(own.s_per_mac[TENSOR_Q8_0] / q8 - 1) < 1e-9);
    assert_true(fabs(own.s_per_mac[TENSOR_Q3_K] / kind.s_per_mac[TENSOR_Q3_K] - 1) < 1e-9); /* 0.5 and 2 */
    assert_non_null(strstr(own.read_basis, "2 types"));
    assert_non_null(strstr(own.read_basis, "a probe"));
    const struct bits_speed *speeds = rates_by_type(&own, &a);
    assert_non_null(speeds);
    assert_string_equal(speeds[TENSOR_Q4_K].type, "q4_K");
    assert_string_equal(speeds[TENSOR_IQ4_XS].type, "iq4_xs");
    assert_true(fabs(speeds[TENSOR_Q8_0].s_per_mac / q8 - 1) < 1e-9);
    arena_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_recovers_rates),      cmocka_unit_test(test_the_papers_second_device),
        cmocka_unit_test(test_the_papers_first_device), cmocka_unit_test(test_transfers_keep_their_promise),
        cmocka_unit_test(test_leave_one_model_out),     cmocka_unit_test(test_every_device_gets_bounds),
        cmocka_unit_test(test_cores_and_memory),        cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_fewer_threads),           cmocka_unit_test(test_a_device_that_measured_itself),
    };
    return cmocka_run_group_tests(tests, load, release);
}
