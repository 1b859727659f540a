/* The CPU table against the reference, for each instruction set that this machine has and several numbers of threads; and
 * the same inputs twice, bit for bit.
 *
 * Tolerance on |difference| / (rms of the reference's output + |reference|), worst element. Measured: 4.0e-6 in the gradients
 * of 600 keys, 1e-6 in products, below 8e-7 elsewhere. The reference sums in double and rounds once, the table sums in
 * float lanes; 1e-5 leaves room for a BLAS that sums in another order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/op_cases.h"
#include "tensor/fast/cpu.h"

#define TOLERANCE 1e-5

static void compare_with(const struct cpu_kernels *k, int n_threads) {
    struct ops reference, candidate;
    struct err e = {0};
    assert_int_equal(ops_open_ref(&reference, &e), 0);
    assert_int_equal(cpu_open_with(&candidate, n_threads, k, &e), 0);
    double worst = 0;
    for (int i = 0; i < op_cases_count(); i++) {
        struct op_case_result r = op_cases_compare(i, &reference, &candidate);
        if (!(r.error <= TOLERANCE))
            fail_msg("%s, %s, %d threads: %g", r.name, k->name, n_threads, r.error);
        worst = r.error > worst ? r.error : worst;
    }
    print_message("%s, %d threads: worst %.2g\n", k->name, n_threads, worst);
    candidate.close(&candidate);
    reference.close(&reference);
}

static void test_every_set_agrees_with_the_reference(void **state) {
    (void)state;
    for (int n = 0; cpu_kernels_nth(n); n++)
        for (int threads = 1; threads <= 3; threads++)
            compare_with(cpu_kernels_nth(n), threads);
}

static void test_same_threads_give_the_same_bits(void **state) {
    (void)state;
    struct ops one, two;
    struct err e = {0};
    assert_int_equal(ops_open_cpu(&one, 2, &e), 0);
    assert_int_equal(ops_open_cpu(&two, 2, &e), 0);
    for (int i = 0; i < op_cases_count(); i++) {
        struct op_case_result r = op_cases_compare(i, &one, &two);
        if (r.error != 0)
            fail_msg("%s differs between two runs by %g", r.name, r.error);
    }
    one.close(&one);
    two.close(&two);
}

/* Memory that all threads clear, of a size that ends within a piece; used before. */
static void test_large_memory_is_zero(void **state) {
    (void)state;
    const size_t size = ((size_t)9 << 20) + 12345;
    for (int threads = 1; threads <= 3; threads++) {
        struct ops o;
        struct err e = {0};
        assert_int_equal(ops_open_cpu(&o, threads, &e), 0);
        for (int again = 0; again < 2; again++) {
            unsigned char *p = o.alloc(&o, size);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t i = 0; i < size; i++)
                if (p[i] != 0)
                    fail_msg("byte %zu of memory of %d threads", i, threads);
            memset(p, 0xff, size);
            o.free(&o, p);
        }
        o.close(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_set_agrees_with_the_reference),
        cmocka_unit_test(test_same_threads_give_the_same_bits),
        cmocka_unit_test(test_large_memory_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
