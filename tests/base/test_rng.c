/* Random numbers: the published generator's stream, ranges without bias, independent forks, moments of the normal. */
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* From the step of the paper's generator worked out apart from ours, with arbitrary state {1, 2, 3, 4}. */
static void the_published_generator(void **state) {
    (void)state;
    struct rng r = {{1, 2, 3, 4}};
    assert_int_equal(rng_u64(&r), 11520); /* rotl(2 * 5, 7) * 9 */
    /* after one step s = {7, 0, 262146, 211106232532992}: s[1] is 0 */
    assert_int_equal(r.s[0], 7);
    assert_int_equal(r.s[1], 0);
    assert_int_equal(r.s[2], 262146);
    assert_int_equal(r.s[3], 211106232532992);
    assert_int_equal(rng_u64(&r), 0);
    assert_int_equal(rng_u64(&r), 1509978240);
}

static void streams(void **state) {
    (void)state;
    struct rng a, b;
    rng_seed(&a, 5);
    rng_seed(&b, 5);
    struct rng before = a, one = rng_fork(&a, 1), two = rng_fork(&a, 2), again = rng_fork(&b, 1);
    assert_memory_equal(&a, &before, sizeof a);
    assert_memory_equal(&one, &again, sizeof one);
    assert_int_not_equal(rng_u64(&one), rng_u64(&two));
    assert_int_equal(rng_u64(&a), rng_u64(&b));
    rng_seed(&b, 6);
    assert_int_not_equal(rng_u64(&a), rng_u64(&b));
}

static void ranges(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    int counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        int64_t x = rng_range(&r, -3, 3);
        assert_true(x >= -3 && x <= 3);
        counts[x + 3]++;
        double u = rng_double(&r);
        assert_true(u >= 0 && u < 1);
    }
    for (int i = 0; i < 7; i++) /* deterministic; five standard deviations are 460 */
        assert_true(counts[i] > 9500 && counts[i] < 10500);
    assert_int_equal(rng_range(&r, 9, 9), 9);
    rng_range(&r, INT64_MIN, INT64_MAX);
    int64_t top = rng_range(&r, INT64_MAX - 1, INT64_MAX);
    assert_true(top >= INT64_MAX - 1);
    int yes = 0;
    for (int i = 0; i < 10000; i++)
        yes += rng_chance(&r, 0.25);
    assert_true(yes > 2300 && yes < 2700);
    assert_false(rng_chance(&r, 0));
    assert_true(rng_chance(&r, 1));
}

static void moments(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 2);
    enum { N = 100000 };
    double sum = 0, squares = 0, fourths = 0;
    for (int i = 0; i < N; i++) {
        double x = rng_normal(&r);
        sum += x;
        squares += x * x;
        fourths += x * x * x * x;
    }
    /* five standard errors: 0.016, 0.022, 0.155 */
    assert_true(fabs(sum / N) < 0.016);
    assert_true(fabs(squares / N - 1) < 0.022);
    assert_true(fabs(fourths / N - 3) < 0.155);
}

static void shuffles(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    enum { N = 5, ROUNDS = 50000 };
    int at[N][N] = {{0}};
    for (int i = 0; i < ROUNDS; i++) {
        int64_t items[N] = {0, 1, 2, 3, 4};
        rng_shuffle(&r, items, N);
        for (int k = 0; k < N; k++)
            at[items[k]][k]++;
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) /* each item at each place a fifth of the time; five sigma: 447 */
            assert_true(at[i][k] > 9550 && at[i][k] < 10450);
    rng_shuffle(&r, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_generator),
        cmocka_unit_test(streams),
        cmocka_unit_test(ranges),
        cmocka_unit_test(moments),
        cmocka_unit_test(shuffles),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
