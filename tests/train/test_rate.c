/* The product's rate on a model's shapes: there where it can be measured, absent where it would be noise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "train/rate.h"

static struct nn_model model_of(const struct ops *ops, int width) {
    return (struct nn_model){.config = {.n_layer = 2,
                                        .d_model = width,
                                        .n_heads = width / 64,
                                        .n_kv_heads = 1,
                                        .head_dim = 64,
                                        .d_ff = 3 * width,
                                        .n_vocab = 100},
                             .ops = ops};
}

static void test_measured_where_products_are_large_enough(void **state) {
    (void)state;
    struct ops ops;
    struct ops_count count;
    struct ops_rate rate = {0};
    struct err e = {0};
    assert_int_equal(ops_open_cpu(&ops, 2, &e), 0);
    ops_count_wrap(&ops, &count);
    struct nn_model m = model_of(&ops, 256);
    assert_int_equal(train_product_rate(&m, 300, &rate, &e), 0);
    assert_true(isfinite(rate.per_s) && rate.per_s > 0);
    assert_true(rate.mean_per_s > 0 &&
                rate.mean_per_s <= rate.per_s); /* the best run is no slower than all of them */
    assert_true(isfinite(rate.per_cpu_s) && rate.per_cpu_s > 0);
    assert_true(count.macs >= 5e9); /* five shapes, a billion each */
    ops.close(&ops);
}

static void test_nothing_is_told_of_tiny_models(void **state) {
    (void)state;
    struct ops ops;
    struct ops_count count;
    struct ops_rate rate = {1, 1, 1};
    struct err e = {0};
    assert_int_equal(ops_open_cpu(&ops, 1, &e), 0);
    ops_count_wrap(&ops, &count);
    struct nn_model m = model_of(&ops, 64);
    assert_int_equal(train_product_rate(&m, 1024, &rate, &e), 0);
    assert_true(rate.per_s == 0 && rate.per_cpu_s == 0 && count.macs == 0);
    ops.close(&ops);
}

/* Rounded products are taken where they can be had and are the faster, and the table computes so from then on. */
static void test_products_are_chosen_by_measurement(void **state) {
    (void)state;
    struct ops ops;
    struct err e = {0};
    struct train_products p;
    const float a[32] = {1.001f, 1}, b[32] = {1, 1}; /* 1.001 is no bfloat16 */
    float c[32 * 40] = {0}, wide[2][40] = {{0}};
    assert_int_equal(ops_open_cpu(&ops, 1, &e), 0);
    struct nn_model m = model_of(&ops, 256);
    assert_int_equal(train_choose_products(&m, 300, &p, &e), 0);
    assert_true(p.f32.per_s > 0);
    assert_true(p.bf16 == (p.rounded.per_s > p.f32.per_s));
    print_message("single precision %.1f, bfloat16 %.1f GMAC/s\n", p.f32.per_s / 1e9, p.rounded.per_s / 1e9);
    wide[0][0] = b[0];
    ops.gemm(&ops, false, false, 1, 40, 2, 1, a, 2, &wide[0][0], 40, 0, c, 40);
    assert_true((c[0] != a[0]) == p.bf16);
    assert_int_equal(ops_round_products(&ops, false, &e), 0);
    ops.gemm(&ops, false, false, 1, 40, 2, 1, a, 2, &wide[0][0], 40, 0, c, 40);
    assert_true(c[0] == a[0]);
    m = model_of(&ops, 64);
    assert_int_equal(train_choose_products(&m, 1024, &p, &e), 0);
    assert_true(!p.bf16 && p.f32.per_s == 0);
    ops.close(&ops);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measured_where_products_are_large_enough),
        cmocka_unit_test(test_nothing_is_told_of_tiny_models),
        cmocka_unit_test(test_products_are_chosen_by_measurement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
