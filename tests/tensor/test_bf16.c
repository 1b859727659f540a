/* Products with bfloat16 operands against the plain reference: the error is that of rounding operands to 8 bits of precision
 * (unit roundoff 2^-9), for every transposition, at whole tiles, at edges, and with alpha and beta. */
#include "base/rng.h"
#include "tensor/ops.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Two roundings of 2^-9 at most, each uniform: sqrt(2/3) 2^-9 = 1.6e-3 and 2.1e-3 measured over 24 shapes; twice that. */
#define TOLERANCE 4e-3

static float *random_matrix(struct rng *r, int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(r);
    return x;
}

static double distance(const float *a, const float *b, int64_t n) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(error / size);
}

static void check(const struct ops *fast, const struct ops *ref, struct rng *r, const int64_t shape[3],
                  bool trans_a, bool trans_b) {
    int64_t m = shape[0], n = shape[1], k = shape[2], lda = (trans_a ? m : k) + 3,
            ldb = (trans_b ? k : n) + 5;
    float *a = random_matrix(r, (trans_a ? k : m) * lda), *b = random_matrix(r, (trans_b ? n : k) * ldb);
    float *c = random_matrix(r, m * n), *expected = malloc((size_t)(m * n) * sizeof *expected);
    assert_non_null(expected);
    for (int64_t i = 0; i < m * n; i++)
        expected[i] = c[i];
    fast->gemm(fast, trans_a, trans_b, m, n, k, 0.5F, a, lda, b, ldb, 2, c, n);
    ref->gemm(ref, trans_a, trans_b, m, n, k, 0.5F, a, lda, b, ldb, 2, expected, n);
    double error = distance(c, expected, m * n);
    if (!(error < TOLERANCE))
        fail_msg("%ld x %ld x %ld, transposed %d %d: error %g", (long)m, (long)n, (long)k, trans_a, trans_b,
                 error);
    free(a);
    free(b);
    free(c);
    free(expected);
}

static void test_products_agree(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{12, 32, 2},   {1, 1, 1},      {37, 45, 71},    {240, 64, 256},
                                        {13, 33, 257}, {250, 900, 31}, {100, 128, 300}, {64, 7, 513}};
    struct ops fast, ref;
    struct err e = {0};
    struct rng r;
    if (ops_open_cpu_bf16(&fast, 2, &e) < 0) {
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        skip();
    }
    assert_int_equal(ops_open_ref(&ref, &e), 0);
    rng_seed(&r, 5);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int transposed = 0; transposed < 4; transposed++)
            check(&fast, &ref, &r, shapes[i], transposed & 1, transposed >> 1);
    fast.close(&fast);
    ref.close(&ref);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
