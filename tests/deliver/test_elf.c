/* Reading what a program needs: this program's own libraries, and files that are broken in every way. */
#include "../support/scratch.h"
#include "base/file.h"
#include "deliver/elf.h"
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void read_self(struct str *out) {
    assert_int_equal(file_read("/proc/self/exe", 0, out, NULL), 0);
}

static void test_own_libraries(void **state) {
    (void)state;
    struct arena a;
    struct elf_info info;
    bool has_libc = false;
    arena_init(&a);
    assert_int_equal(elf_read("/proc/self/exe", &a, &info, NULL), 0);
    for (int i = 0; i < info.n_needed; i++)
        has_libc = has_libc || strcmp(info.needed[i], "libc.so.6") == 0;
    assert_true(has_libc);
#ifdef __x86_64__
    assert_int_equal(info.machine, EM_X86_64);
#endif
    arena_release(&a);
}

static void expect_refused(const void *bytes, size_t n) {
    struct arena a;
    struct elf_info info;
    arena_init(&a);
    file_write("broken", bytes, n, NULL);
    assert_int_equal(elf_read("broken", &a, &info, NULL), ERR_FORMAT);
    arena_release(&a);
}

static void test_broken_files_are_refused(void **state) {
    (void)state;
    struct arena a;
    struct elf_info info;
    struct str file = {0};
    arena_init(&a);
    assert_int_equal(elf_read("absent", &a, &info, NULL), ERR_NOT_FOUND);
    read_self(&file);
    expect_refused("", 0);
    expect_refused("#!/bin/sh\n", 10);
    expect_refused(file.data, 20);
    expect_refused(file.data, sizeof(Elf64_Ehdr)); /* program headers are past the end */
    expect_refused(file.data, 1024);               /* the dynamic section is */
    file.data[EI_CLASS] = ELFCLASS32;
    expect_refused(file.data, file.len);
    str_release(&file);
    arena_release(&a);
}

/* Whatever byte of the headers changes, there is an answer or an error (a sanitizer build sees any stray read). */
static void test_damaged_headers(void **state) {
    (void)state;
    struct str file = {0};
    struct arena a;
    struct elf_info info;
    arena_init(&a);
    read_self(&file);
    size_t n = file.len < 65536 ? file.len : 65536;
    for (size_t at = 0; at < 1024; at += 3) {
        char old = file.data[at];
        file.data[at] = (char)(old ^ 0x5A);
        file_write("damaged", file.data, n, NULL);
        elf_read("damaged", &a, &info, NULL);
        file.data[at] = old;
        arena_reset(&a);
    }
    str_release(&file);
    arena_release(&a);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_libraries),
        cmocka_unit_test(test_broken_files_are_refused),
        cmocka_unit_test(test_damaged_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
