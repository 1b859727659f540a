/* CSV: quoting, line ends, delimiters, encodings, and every kind of mistake with its place. */
#include "../support/oom.h"
#include "../support/scratch.h"
#include "base/file.h"
#include "format/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All rows as "a|b;c|d;", or the message of the error after what was read. */
static char *read_all(const char *text, size_t n, char *out, size_t size) {
    struct csv_reader *r = NULL;
    struct err e = {0};
    struct str s = {0};
    int code = csv_reader_open_text(&r, "t.csv", text, n, NULL, &e);
    while (code == 0 && (code = csv_reader_next(r, &e)) > 0) {
        for (int i = 0; i < csv_reader_n_columns(r); i++)
            str_addf(&s, "%s%s", i ? "|" : "", csv_reader_field(r, i));
        str_add(&s, ";");
        code = 0;
    }
    if (code < 0)
        str_add(&s, e.message);
    assert_true(code == 0 || code == ERR_FORMAT);
    csv_reader_close(r);
    snprintf(out, size, "%s", str_text(&s));
    str_release(&s);
    return out;
}

static void good_and_bad(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"a,b\n1,2\n3,4\n", "1|2;3|4;"},
        {"a,b\n1,2\n3,4", "1|2;3|4;"},
        {"a,b\r\n1,2\r\n", "1|2;"},
        {"a,b\r1,2\r3,4\r", "1|2;3|4;"},
        {"\n\na,b\n\n1,2\n  \n3,4\n\n", "1|2;3|4;"},
        {"\xef\xbb\xbf"
         "a,b\n1,2\n",
         "1|2;"},
        {"a;b\n1,5;2\n", "1,5|2;"},
        {"a\tb\n1\t2\n", "1|2;"},
        {"\"a,x;y;z\",b\n1,2\n", "1|2;"},
        {"a,b\n\"x,y\",\"q \"\"z\"\"\"\n", "x,y|q \"z\";"},
        {"a,b\n\"two\nlines\",2\n", "two\nlines|2;"},
        {"a,b\n  x , y  \n", "x|y;"},
        {"a,b\n\"  x \",\n", "  x |;"},
        {"a,b\n,\n", "|;"},
        {"a,b\nä,€\n", "ä|€;"},
        {"a,b\n", ""},
        {"", "t.csv: empty: there must be a header line with column names"},
        {"\n\n", "t.csv: empty: there must be a header line with column names"},
        {"a,,c\n", "t.csv:1: column 2: it has no name"},
        {"a,b,a\n", "t.csv:1: column 3: a second column named \"a\""},
        {"a,b\n1,2\n1,2,3\n", "1|2;t.csv:3: 3 fields, but the header has 2"},
        {"a,b\n1,2\n\n1\n", "1|2;t.csv:4: 1 fields, but the header has 2"},
        {"a,b\n1,5\" pipe\n", "t.csv:2:4: a quote in the wrong place"},
        {"a,b\n1,2\n\"x\ny\"z,1\n", "1|2;t.csv:4:3: a quote in the wrong place"},
        {"a,b\n1,2\n\"open,3\n4,5\n", "1|2;t.csv:3: a quote opened in this row is never closed"},
        {"a,b\n1,2\n3,x\xe4y\n", "1|2;t.csv:3: column 2 (b): byte 0xe4 is not UTF-8 text"},
        {"a,b\xff\n1,2\n", "t.csv:1: column 2: byte 0xff is not UTF-8 text"},
        {"\xff\xfe"
         "a",
         "t.csv:1:1: this is UTF-16 text"},
    };
    char out[512];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(read_all(cases[i].text, strlen(cases[i].text), out, sizeof out), cases[i].want);
    assert_string_equal(read_all("a,b\n1,\0002\n", 9, out, sizeof out),
                        "t.csv:2: a NUL byte: this is not a text file");
}

static void columns_and_errors(void **state) {
    (void)state;
    struct csv_reader *r = NULL;
    struct err e = {0};
    file_write("c.csv", "id,delay\n7,\"a\nb\"\n8,soon\n", 24, &e);
    assert_int_equal(csv_reader_open(&r, "c.csv", NULL, &e), 0);
    assert_int_equal(csv_reader_column(r, "delay"), 1);
    assert_int_equal(csv_reader_column(r, "Delay"), -1);
    assert_string_equal(csv_reader_name(r, 0), "id");
    assert_int_equal(csv_reader_next(r, &e), 1);
    assert_int_equal(csv_reader_line(r), 2);
    assert_int_equal(csv_reader_next(r, &e), 1);
    assert_int_equal(csv_reader_line(r), 4);
    assert_int_equal(csv_reader_error(r, 1, &e, "not a number: \"%s\"", csv_reader_field(r, 1)), ERR_INPUT);
    assert_string_equal(e.message, "c.csv:4: column 2 (delay): not a number: \"soon\"");
    assert_int_equal(csv_reader_next(r, NULL), 0);
    assert_int_equal(csv_reader_next(r, NULL), 0);
    csv_reader_close(r);
    csv_reader_close(NULL);
}

static void files_that_cannot_be_read(void **state) {
    (void)state;
    struct csv_reader *r = NULL;
    struct err e = {0};
    assert_int_equal(csv_reader_open(&r, "none.csv", NULL, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "none.csv"));
    assert_int_equal(csv_reader_open(&r, ".", NULL, NULL), ERR_IO);
    char garbage[4096];
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * i * 31 + i * 7 + 1);
    file_write("bin.csv", garbage, sizeof garbage, NULL);
    assert_int_equal(csv_reader_open(&r, "bin.csv", NULL, NULL), ERR_FORMAT);
    assert_null(r);
}

static void long_and_many(void **state) {
    (void)state;
    struct str text = {0};
    char out[256];
    str_add(&text, "a,b\n");
    for (int i = 0; i < 20000; i++) /* over several buffers of the file reader */
        str_addf(&text, "%d,\"line\n%d\"\n", i, i);
    struct err e = {0};
    struct csv_reader *r = NULL;
    file_write("many.csv", text.data, text.len, &e);
    assert_int_equal(csv_reader_open(&r, "many.csv", NULL, &e), 0);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(csv_reader_next(r, &e), 1);
        assert_int_equal(atoi(csv_reader_field(r, 0)), i);
        assert_int_equal(csv_reader_line(r), 2 + 2 * i);
    }
    assert_int_equal(csv_reader_next(r, &e), 0);
    csv_reader_close(r);
    str_clear(&text);
    str_add(&text, "a,b\n1,\"");
    for (int i = 0; i < 200000; i++)
        str_add(&text, "row,row\n");
    assert_string_equal(read_all(text.data, text.len, out, sizeof out),
                        "t.csv:2: the row that begins here is longer than 1 MiB");
    str_release(&text);
}

static void written_fields_read_back(void **state) {
    (void)state;
    static const char *const texts[] = {"plain", "",       "a,b", "q\"q", "two\nlines",
                                        " lead", "tail\t", "a;b", "ä",    "\r"};
    struct str text = {0};
    str_add(&text, "a,b\n");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        csv_text_field(&text, texts[i]);
        str_add(&text, ",x\n");
    }
    struct csv_reader *r = NULL;
    struct err e = {0};
    assert_int_equal(
        csv_reader_open_text(&r, "t", text.data, text.len, &(struct csv_options){.delimiter = ','}, &e), 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(csv_reader_next(r, &e), 1);
        assert_string_equal(csv_reader_field(r, 0), texts[i]);
    }
    csv_reader_close(r);
    str_release(&text);
}

static void each_allocation_fails(void **state) {
    (void)state;
    static const char text[] = "a,b\n1,2\n\"3\",4\n";
    if (!oom_available())
        skip();
    for (int64_t n = 1;; n++) {
        struct csv_reader *r = NULL;
        struct err e = {0};
        oom_arm(n);
        int code = csv_reader_open_text(&r, "t.csv", text, sizeof text - 1, NULL, &e);
        int rows = 0;
        while (code == 0 && (code = csv_reader_next(r, &e)) > 0) {
            rows++;
            code = 0;
        }
        bool hit = oom_disarm();
        csv_reader_close(r);
        if (!hit) {
            assert_true(code == 0 && rows == 2);
            break;
        }
        if (code == 0 && rows == 2)
            continue; /* libcsv tries again with less */
        if (code != ERR_NO_MEMORY)
            fail_msg("allocation %d: %d %s", (int)n, code, e.message);
    }
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_and_bad),
        cmocka_unit_test(columns_and_errors),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(long_and_many),
        cmocka_unit_test(written_fields_read_back),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests_name("csv", tests, NULL, NULL);
}
