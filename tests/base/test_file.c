/* Files, with what goes wrong with them: missing, unreadable, too large, folders in the way, a full disk (/dev/full), a
 * folder that may not be written. */
#include "../support/oom.h"
#include "../support/scratch.h"
#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_content(const char *path, const char *want) {
    struct str text = {0};
    struct err e = {0};
    assert_int_equal(file_read(path, 0, &text, &e), 0);
    assert_string_equal(str_text(&text), want);
    str_release(&text);
}

static void round_trip(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(file_write("a", "hello", 5, &e), 0);
    assert_content("a", "hello");
    assert_int_equal(file_write("a", "", 0, &e), 0);
    assert_content("a", "");
    assert_false(file_exists("a.part"));
    assert_int_equal(file_size("a"), 0);
    assert_int_equal(file_size("none"), -1);
    struct str text = {0};
    str_add(&text, "before ");
    file_write("b", "after", 5, &e);
    assert_int_equal(file_read("b", 0, &text, &e), 0);
    assert_string_equal(str_text(&text), "before after");
    str_release(&text);
}

static void reading_fails(void **state) {
    (void)state;
    struct str text = {0};
    struct err e = {0};
    assert_int_equal(file_read("none", 0, &text, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "none"));
    err_clear(&e);
    mkdir("folder", 0777);
    assert_int_equal(file_read("folder", 0, &text, &e), ERR_IO);
    err_clear(&e);
    file_write("six", "123456", 6, &e);
    str_add(&text, "x");
    assert_int_equal(file_read("six", 5, &text, &e), ERR_INPUT);
    assert_string_equal(str_text(&text), "x"); /* as it was */
    assert_non_null(strstr(e.message, "six"));
    str_release(&text);
}

static void old_or_new(void **state) {
    (void)state;
    struct err e = {0};
    struct file_writer w;
    file_write("kept", "old", 3, &e);
    assert_int_equal(file_writer_begin(&w, "kept", &e), 0);
    fputs("half of the n", w.stream);
    assert_content("kept", "old");
    file_writer_abort(&w);
    file_writer_abort(&w);
    assert_content("kept", "old");
    assert_false(file_exists("kept.part"));
    assert_int_equal(file_writer_begin(&w, "kept", &e), 0);
    fputs("new", w.stream);
    assert_int_equal(file_writer_commit(&w, &e), 0);
    file_writer_abort(&w);
    assert_content("kept", "new");
    assert_int_equal(file_writer_commit(&w, &e), ERR_FAILED);
}

static void a_full_disk(void **state) {
    (void)state;
    struct err e = {0};
    if (access("/dev/full", W_OK) != 0)
        skip(); /* a container may keep it from its users */
    file_write("target", "old", 3, &e);
    assert_int_equal(symlink("/dev/full", "target.part"), 0); /* where the new file would grow */
    assert_int_equal(file_write("target", "new", 3, &e), ERR_NO_SPACE);
    assert_non_null(strstr(e.message, "target"));
    assert_content("target", "old");
    assert_false(file_exists("target.part"));
    err_clear(&e);
    file_write("source", "123", 3, &e);
    assert_int_equal(symlink("/dev/full", "target.part"), 0);
    assert_int_equal(file_copy("source", "target", &e), ERR_NO_SPACE);
    assert_content("target", "old");
}

static void a_folder_that_may_not_be_written(void **state) {
    (void)state;
    struct err e = {0};
    if (geteuid() == 0) { /* permissions do not bind root; a file in the way does */
        file_write("wall", "", 0, &e);
        assert_int_equal(file_write("wall/a", "x", 1, &e), ERR_IO);
        assert_non_null(strstr(e.message, "wall/a"));
        return;
    }
    mkdir("closed", 0555);
    assert_int_equal(file_write("closed/a", "x", 1, &e), ERR_IO);
    assert_non_null(strstr(e.message, "closed/a"));
}

static void folders(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(file_make_folders("one/two//three/", &e), 0);
    assert_int_equal(file_make_folders("one/two/three", &e), 0);
    assert_true(file_is_folder("one/two/three"));
    file_write("one/file", "x", 1, &e);
    assert_int_equal(file_make_folders("one/file", &e), ERR_IO);
    err_clear(&e);
    assert_int_equal(file_make_folders("one/file/below", &e), ERR_IO);
    err_clear(&e);
    file_write("outside", "safe", 4, &e);
    assert_int_equal(symlink("../outside", "one/link"), 0);
    assert_int_equal(symlink("..", "one/two/up"), 0);
    assert_int_equal(file_remove_tree("one", &e), 0);
    assert_false(file_exists("one"));
    assert_content("outside", "safe");
    assert_int_equal(file_remove_tree("one", &e), 0);
    assert_int_equal(file_remove_tree("outside", &e), 0);
    assert_false(file_exists("outside"));
}

static void copies(void **state) {
    (void)state;
    struct err e = {0};
    enum { N = 200000 };
    char *bytes = malloc(N);
    for (int i = 0; i < N; i++)
        bytes[i] = (char)(i * 31 % 251);
    file_write("from", bytes, N, &e);
    chmod("from", 0750);
    assert_int_equal(file_copy("from", "to", &e), 0);
    struct stat s;
    assert_int_equal(stat("to", &s), 0);
    assert_int_equal(s.st_mode & 07777, 0750);
    struct str text = {0};
    file_read("to", 0, &text, &e);
    assert_int_equal(text.len, N);
    assert_memory_equal(text.data, bytes, N);
    str_release(&text);
    free(bytes);
    assert_int_equal(file_copy("none", "to", &e), ERR_NOT_FOUND);
}

static void free_space(void **state) {
    (void)state;
    assert_true(file_free_bytes(".") > 0);
    assert_true(file_free_bytes("not/yet/there") > 0);
    assert_true(file_free_bytes("/not-there-at-all/x") > 0);
    char *joined = file_join("a/", "b"), *other = file_join("a", "b"), *bare = file_join("", "b");
    assert_string_equal(joined, "a/b");
    assert_string_equal(other, "a/b");
    assert_string_equal(bare, "b");
    free(joined);
    free(other);
    free(bare);
}

static void each_allocation_fails(void **state) {
    (void)state;
    struct err e = {0};
    if (!oom_available())
        skip();
    file_write("old", "old", 3, &e);
    for (int64_t n = 1;; n++) {
        oom_arm(n);
        int code = file_write("old", "new", 3, &e);
        if (!oom_disarm())
            break;
        /* fopen's buffer may fail without harm: then the write succeeds */
        assert_true(code == 0 || code == ERR_NO_MEMORY);
        if (code == 0)
            file_write("old", "old", 3, &e);
        assert_content("old", "old");
        err_clear(&e);
    }
    assert_content("old", "new");
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(reading_fails),
        cmocka_unit_test(old_or_new),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(folders),
        cmocka_unit_test(a_folder_that_may_not_be_written),
        cmocka_unit_test(copies),
        cmocka_unit_test(free_space),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
