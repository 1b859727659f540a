/* Arenas, checked sizes and growable arrays, with every allocation failing in turn; what control groups allow. */
#include "../support/oom.h"
#include "../support/scratch.h"
#include "base/cgroup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* ---- control groups, from files as the kernel writes them ---- */

static void write_file(const char *path, const char *text) {
    struct err e = {0};
    char folder[256];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (file_make_folders(folder, &e) < 0 || file_write(path, text, strlen(text), &e) < 0)
        fail_msg("%s", e.message);
}

/* v1: the process's own group limits it, deep below the mounted root; the machine of a systemd unit with a memory limit. */
static void own_group_of_v1(void **state) {
    (void)state;
    const struct cgroup_files files = {"v1", "v1/own"};
    write_file("v1/own",
               "9:name=systemd:/\n4:memory:/system.slice/x.service\n2:cpu,cpuacct:/system.slice\n0::/\n");
    write_file("v1/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("v1/memory/memory.usage_in_bytes", "9000000000\n");
    write_file("v1/memory/system.slice/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("v1/memory/system.slice/x.service/memory.limit_in_bytes", "52428800\n");
    write_file("v1/memory/system.slice/x.service/memory.usage_in_bytes", "20971520\n");
    write_file("v1/memory/system.slice/x.service/memory.stat",
               "cache 1\ninactive_file 1\nhierarchical_memory_limit 1\ntotal_inactive_file 971520\n");
    write_file("v1/cpu/system.slice/cpu.cfs_quota_us", "150000\n");
    write_file("v1/cpu/system.slice/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cgroup_memory_limit_in(&files), 52428800);
    assert_int_equal(cgroup_memory_used_in(&files), 20000000);
    assert_true(cgroup_cpu_limit_in(&files) == 1.5);
}

/* v1 in a container: the path is the host's and is not there; what is mounted as the root is the container's. */
static void container_of_v1(void **state) {
    (void)state;
    const struct cgroup_files files = {"c1", "c1/own"};
    write_file("c1/own", "4:memory:/docker/0123\n");
    write_file("c1/memory/memory.limit_in_bytes", "1000000000\n");
    write_file("c1/memory/memory.usage_in_bytes", "400000000\n");
    assert_int_equal(cgroup_memory_limit_in(&files), 1000000000);
    assert_int_equal(cgroup_memory_used_in(&files), 400000000);
    assert_true(cgroup_cpu_limit_in(&files) == 0);
}

/* v2: an ancestor with the smaller limit binds, and what is used of it is its own count, siblings with it. */
static void ancestor_of_v2(void **state) {
    (void)state;
    const struct cgroup_files files = {"v2", "v2/own"};
    write_file("v2/own", "0::/a/b\n");
    write_file("v2/a/memory.max", "1000000\n");
    write_file("v2/a/memory.current", "900000\n");
    write_file("v2/a/memory.stat", "anon 1\ninactive_file 100000\n");
    write_file("v2/a/b/memory.max", "max\n");
    write_file("v2/a/b/memory.current", "10\n");
    write_file("v2/a/b/cpu.max", "50000 100000\n");
    assert_int_equal(cgroup_memory_limit_in(&files), 1000000);
    assert_int_equal(cgroup_memory_used_in(&files), 800000);
    assert_true(cgroup_cpu_limit_in(&files) == 0.5);
    const struct cgroup_files nowhere = {"none", "none/own"};
    assert_int_equal(cgroup_memory_limit_in(&nowhere), 0);
    assert_int_equal(cgroup_memory_used_in(&nowhere), 0);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_apart_zeroed_aligned),
        cmocka_unit_test(strings),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(arrays_grow),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(machine_has_memory),
        cmocka_unit_test(own_group_of_v1),
        cmocka_unit_test(container_of_v1),
        cmocka_unit_test(ancestor_of_v2),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
