/* Arenas, checked sizes and growable arrays, with every allocation failing in turn. */
#include "../support/oom.h"
#include "base/cgroup.h"
#include "base/err.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sizes beyond reason are part of these tests: AddressSanitizer shall answer NULL as malloc does, not end the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

static void objects_are_apart_zeroed_aligned(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    enum { N = 500 };
    unsigned char *objects[N];
    size_t sizes[N];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            sizes[i] = (size_t)(i * 37 % 900) + (i % 50 == 0 ? 300000 : 0);
            objects[i] = arena_alloc(&a, sizes[i]);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % 16, 0);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(objects[i][k], 0);
            memset(objects[i], i & 255, sizes[i]);
        }
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < sizes[i]; k += 97)
                assert_int_equal(objects[i][k], i & 255);
        assert_true(a.used_bytes > 0);
        arena_reset(&a);
        assert_int_equal(a.used_bytes, 0);
    }
    arena_release(&a);
    arena_release(&a);
}

static void strings(void **state) {
    (void)state;
    struct arena a = {0};
    assert_string_equal(arena_strdup(&a, "abc"), "abc");
    assert_string_equal(arena_strndup(&a, "abcdef", 2), "ab");
    assert_string_equal(arena_strndup(&a, "", 0), "");
    assert_null(arena_strdup(&a, NULL));
    char long_text[3000];
    memset(long_text, 'y', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(strlen(arena_printf(&a, "%s-%d", long_text, 12)), sizeof long_text + 2);
    arena_release(&a);
}

static void sizes_are_checked(void **state) {
    (void)state;
    struct arena a = {0};
    size_t out = 5;
    assert_false(mem_mul(SIZE_MAX / 2, 3, &out));
    assert_false(mem_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 5);
    assert_true(mem_mul(6, 7, &out));
    assert_int_equal(out, 42);
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&a, SIZE_MAX - 3));
    assert_null(arena_strndup(&a, "x", SIZE_MAX));
    int64_t *items = NULL, capacity = 0;
    assert_int_equal(mem_grow((void **)&items, &capacity, INT64_MAX / 4, sizeof *items), ERR_NO_MEMORY);
    assert_null(items);
    arena_release(&a);
}

static void arrays_grow(void **state) {
    (void)state;
    int64_t *items = NULL, capacity = 0;
    for (int64_t n = 0; n < 1000; n++) {
        assert_int_equal(mem_grow((void **)&items, &capacity, n + 1, sizeof *items), 0);
        assert_true(capacity > n);
        items[n] = n;
    }
    for (int64_t n = 0; n < 1000; n++)
        assert_int_equal(items[n], n);
    free(items);
}

static bool fill(struct arena *a) {
    for (int i = 0; i < 40; i++)
        if (!arena_printf(a, "%0*d", 200 * i, i) || !arena_alloc(a, 5000))
            return false;
    return true;
}

static void each_allocation_fails(void **state) {
    (void)state;
    int64_t n = 1;
    for (bool hit = oom_available(); hit; n++) {
        struct arena a = {0};
        oom_arm(n);
        bool filled = fill(&a);
        hit = oom_disarm();
        assert_int_equal(filled, !hit);
        arena_release(&a);
    }
    if (!oom_available())
        skip(); /* a sanitizer owns malloc */
}

static void machine_has_memory(void **state) {
    (void)state;
    assert_true(mem_total_bytes() > 0);
    assert_true(mem_available_bytes() > 0);
    assert_true(mem_available_bytes() <= mem_total_bytes());
    int64_t before = mem_peak_bytes();
    size_t n = 32u << 20;
    char *block = malloc(n);
    assert_non_null(block);
    memset(block, 1, n);
    assert_true(block[n / 2] == 1 && mem_peak_bytes() >= before);
    assert_true(mem_peak_bytes() >= (int64_t)n);
    free(block);
    assert_true(cgroup_memory_limit() >= 0 && cgroup_cpu_limit() >= 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_apart_zeroed_aligned),
        cmocka_unit_test(strings),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(arrays_grow),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(machine_has_memory),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
