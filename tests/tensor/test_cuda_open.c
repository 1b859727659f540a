/* Without a GPU, or without its library, the CUDA table says so, says what to do, and leaves the caller's table alone. */
#include "tensor/ops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void unavailable(const char *library, const char *message) {
    struct ops o, before;
    struct err e = {0};
    memset(&o, 0x5a, sizeof o);
    before = o;
    assert_int_equal(ops_open_cuda(&o, library, &e), ERR_UNSUPPORTED);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, message));
    assert_true(e.hint[0] != '\0');
    assert_memory_equal(&o, &before, sizeof o);
}

static void test_missing(void **state) {
    (void)state;
    unavailable("/nowhere/libedgestill-cuda.so", "/nowhere/libedgestill-cuda.so");
}

static void test_setting_names_the_library(void **state) {
    (void)state;
    setenv("EDGESTILL_CUDA_LIBRARY", "/elsewhere/kernels.so", 1);
    unavailable(NULL, "/elsewhere/kernels.so");
    unavailable("/nowhere/kernels.so", "/nowhere/kernels.so"); /* what the caller names comes first */
    unsetenv("EDGESTILL_CUDA_LIBRARY");
}

static void test_default_place(void **state) {
    (void)state;
    unavailable(NULL, "libedgestill-cuda.so"); /* not beside a test program */
}

static void test_another_library(void **state) {
    (void)state;
    unavailable("libc.so.6", "another version");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_setting_names_the_library),
        cmocka_unit_test(test_default_place),
        cmocka_unit_test(test_another_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
