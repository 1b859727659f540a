/* The pool: every item exactly once, fixed ranges, many short loops, and no pool at all. */
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 1000 };

struct seen {
    int times[MOST];
    int64_t begin[16], end[16];
    atomic_int calls;
};

static void mark(void *context, int64_t begin, int64_t end, int thread) {
    struct seen *s = context;
    for (int64_t i = begin; i < end; i++)
        s->times[i]++;
    s->begin[thread] = begin;
    s->end[thread] = end;
    atomic_fetch_add(&s->calls, 1);
}

static void every_item_once(void **state) {
    (void)state;
    for (int n_threads = 1; n_threads <= 5; n_threads++) {
        struct err e = {0};
        struct thread_pool *p = thread_pool_new(n_threads, &e);
        assert_non_null(p);
        assert_int_equal(thread_pool_size(p), n_threads);
        static const int64_t sizes[] = {0, 1, 2, 3, 7, 64, MOST};
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            struct seen s = {0}, again = {0};
            thread_pool_for(p, sizes[k], mark, &s);
            thread_pool_for(p, sizes[k], mark, &again);
            for (int i = 0; i < MOST; i++)
                assert_int_equal(s.times[i], i < sizes[k] ? 1 : 0);
            assert_memory_equal(s.begin, again.begin, sizeof s.begin);
            assert_memory_equal(s.end, again.end, sizeof s.end);
        }
        thread_pool_free(p);
    }
}

static void many_short_loops(void **state) {
    (void)state;
    struct err e = {0};
    struct thread_pool *p = thread_pool_new(3, &e);
    struct seen s = {0};
    for (int i = 0; i < 2000; i++)
        thread_pool_for(p, 10, mark, &s);
    for (int i = 0; i < 10; i++)
        assert_int_equal(s.times[i], 2000);
    thread_pool_free(p);
}

static void no_pool(void **state) {
    (void)state;
    struct seen s = {0};
    thread_pool_for(NULL, MOST, mark, &s);
    assert_int_equal(atomic_load(&s.calls), 1);
    assert_int_equal(s.end[0], MOST);
    assert_int_equal(thread_pool_size(NULL), 1);
    thread_pool_free(NULL);
    assert_true(thread_core_count() >= 1);
    struct thread_pool *p = thread_pool_new(0, NULL);
    assert_int_equal(thread_pool_size(p), thread_core_count());
    thread_pool_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(many_short_loops),
        cmocka_unit_test(no_pool),
    };
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
