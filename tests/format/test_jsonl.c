/* JSON Lines: places in the file, blank and broken lines, a last line that was being written. */
#include "../support/scratch.h"
#include "base/file.h"
#include "format/jsonl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct jsonl_reader *open_text(const char *text, size_t n) {
    struct err e = {0};
    struct jsonl_reader *r = NULL;
    assert_int_equal(file_write("t.jsonl", text, n, &e), 0);
    assert_int_equal(jsonl_reader_open(&r, "t.jsonl", &e), 0);
    return r;
}

static void lines(void **state) {
    (void)state;
    static const char text[] = "{\"a\":1}\n\n  \r\n{\"a\":2, \"b\":\"x\"}\r\n[3]";
    struct jsonl_reader *r = open_text(text, sizeof text - 1);
    struct arena a = {0};
    struct node *n = NULL;
    struct err e = {0};
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), 1);
    assert_int_equal(n->line, 1);
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), 1);
    assert_int_equal(node_get(n, "b")->line, 4);
    assert_int_equal(node_get(n, "b")->column, 13);
    assert_int_equal(jsonl_reader_line(r), 4);
    assert_false(jsonl_reader_cut_off(r));
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), 1);
    assert_int_equal(n->type, NODE_LIST);
    assert_true(jsonl_reader_cut_off(r));
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), 0);
    arena_release(&a);
    jsonl_reader_close(r);
}

static void broken_lines(void **state) {
    (void)state;
    static const char text[] = "{\"a\":1}\n{oops}\n\0\n{\"a\":2}\n{\"a\":";
    struct jsonl_reader *r = open_text(text, sizeof text - 1);
    struct arena a = {0};
    struct node *n = NULL;
    struct err e = {0};
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), 1);
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), ERR_FORMAT);
    assert_int_equal(strncmp(e.message, "t.jsonl:2:", 10), 0);
    assert_false(jsonl_reader_cut_off(r));
    assert_int_equal(jsonl_reader_next(r, &a, &n, NULL), ERR_FORMAT); /* the NUL */
    assert_int_equal(jsonl_reader_next(r, &a, &n, NULL), 1);
    assert_true(node_get(n, "a")->number == 2);
    err_clear(&e);
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), ERR_FORMAT);
    assert_int_equal(strncmp(e.message, "t.jsonl:5:", 10), 0);
    assert_true(jsonl_reader_cut_off(r));
    assert_int_equal(jsonl_reader_next(r, &a, &n, NULL), 0);
    arena_release(&a);
    jsonl_reader_close(r);
}

static void nothing_to_read(void **state) {
    (void)state;
    struct jsonl_reader *r = open_text("", 0);
    struct arena a = {0};
    struct node *n = NULL;
    struct err e = {0};
    assert_int_equal(jsonl_reader_next(r, &a, &n, &e), 0);
    jsonl_reader_close(r);
    assert_int_equal(jsonl_reader_open(&r, "none.jsonl", &e), ERR_NOT_FOUND);
    assert_int_equal(jsonl_reader_open(&r, ".", NULL), 0); /* a folder opens, but cannot be read */
    assert_int_equal(jsonl_reader_next(r, &a, &n, NULL), ERR_IO);
    jsonl_reader_close(r);
    jsonl_reader_close(NULL);
    arena_release(&a);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(broken_lines),
        cmocka_unit_test(nothing_to_read),
    };
    return cmocka_run_group_tests_name("jsonl", tests, NULL, NULL);
}
