/* Texts as people save them: the same bytes come out of every encoding, at every length of file and piece; what is damaged is not
 * taken for another encoding. Compared with iconv(3) over the whole. */
#include "../support/scratch.h"
#include "base/file.h"
#include "base/rng.h"
#include "format/csv.h"
#include "format/jsonl.h"
#include "format/text_file.h"
#include <errno.h>
#include <iconv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The whole stream; errno of its end (0: a clean one) in *end. */
static const char *read_all(const char *path, struct str *out, int *end) {
    struct err e = {0};
    const char *encoding = NULL;
    FILE *f = NULL;
    char piece[1000];
    assert_int_equal(text_file_open(&f, &encoding, path, &e), 0);
    str_clear(out);
    errno = 0;
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        str_add_bytes(out, piece, n);
    *end = ferror(f) ? errno : 0;
    fclose(f);
    return encoding;
}

static void write_as(const char *path, const char *encoding, const char *mark, size_t n_mark,
                     const struct str *text) {
    size_t room = 4 * text->len + 16, left = room, n = text->len;
    char *to = malloc(room), *at = to, *in = text->data;
    iconv_t convert = iconv_open(encoding, "UTF-8");
    memcpy(at, mark, n_mark);
    at += n_mark, left -= n_mark;
    assert_int_equal(iconv(convert, &in, &n, &at, &left), 0);
    assert_int_equal(file_write(path, to, (size_t)(at - to), NULL), 0);
    iconv_close(convert);
    free(to);
}

/* Characters of one to four bytes, all in Windows-1252 where `narrow`; at least one is above 127, and none of these stand side by
 * side: two may be one character of UTF-8 ("ß€"), which no language has. */
static void make_text(struct rng *r, bool narrow, int64_t n, struct str *out) {
    static const char *const characters[] = {"a", ",", "\n", "7", "é-", "ß-", "€-", "–-", "漢", "🙂"};
    str_clear(out);
    str_add(out, "é-");
    for (int64_t i = 0; i < n; i++)
        str_add(out, characters[rng_range(r, 0, narrow ? 7 : 9)]);
}

static void test_every_encoding_gives_the_same(void **state) {
    (void)state;
    struct str text = {0}, got = {0};
    struct rng r;
    int end;
    rng_seed(&r, 4);
    for (int i = 0; i < 60; i++) {
        make_text(&r, true, i < 30 ? i : rng_range(&r, 20000, 90000), &text);
        write_as("t", "UTF-8", "", 0, &text);
        assert_null(read_all("t", &got, &end));
        assert_string_equal(str_text(&got), str_text(&text));
        write_as("t", "UTF-8", "\xef\xbb\xbf", 3, &text);
        assert_null(read_all("t", &got, &end));
        assert_string_equal(str_text(&got), str_text(&text));
        write_as("t", "WINDOWS-1252", "", 0, &text);
        assert_string_equal(read_all("t", &got, &end), "WINDOWS-1252");
        assert_string_equal(str_text(&got), str_text(&text));
        make_text(&r, false, i < 30 ? i : rng_range(&r, 20000, 90000), &text);
        write_as("t", "UTF-16LE", "\xff\xfe", 2, &text);
        assert_string_equal(read_all("t", &got, &end), "UTF-16LE");
        assert_string_equal(str_text(&got), str_text(&text));
        write_as("t", "UTF-16BE", "\xfe\xff", 2, &text);
        assert_string_equal(read_all("t", &got, &end), "UTF-16BE");
        assert_string_equal(str_text(&got), str_text(&text));
        assert_int_equal(end, 0);
    }
    str_release(&text);
    str_release(&got);
}

/* Given as they are, so that their reader can say where the damage is. */
static void test_damaged_utf8_stays_utf8(void **state) {
    (void)state;
    static const char *const texts[] = {"a,é\n1,\xe4\n", /* one byte of another encoding among UTF-8 */
                                        "a,\x81\n",      /* no character of Windows-1252 */
                                        "\xef\xbb\xbf"
                                        "a,\xe4\n", /* marked as UTF-8 */
                                        "plain", ""};
    struct str got = {0};
    int end;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(file_write("t", texts[i], strlen(texts[i]), NULL), 0);
        assert_null(read_all("t", &got, &end));
        assert_string_equal(str_text(&got), texts[i] + (i == 2 ? 3 : 0));
        assert_int_equal(end, 0);
    }
    assert_int_equal(file_write("t", "a\xe4\0b", 4, NULL), 0); /* no text */
    assert_null(read_all("t", &got, &end));
    assert_int_equal(got.len, 4);
    str_release(&got);
}

static void test_what_cannot_be_converted_ends_with_an_error(void **state) {
    (void)state;
    struct str got = {0};
    int end;
    assert_int_equal(file_write("t",
                                "\xff\xfe"
                                "a\0"
                                "\0\xd8"
                                "b\0",
                                8, NULL),
                     0); /* half a pair */
    assert_string_equal(read_all("t", &got, &end), "UTF-16LE");
    assert_string_equal(str_text(&got), "a");
    assert_int_equal(end, EILSEQ);
    assert_int_equal(file_write("t",
                                "\xff\xfe"
                                "a\0"
                                "b",
                                5, NULL),
                     0); /* half a character */
    read_all("t", &got, &end);
    assert_int_equal(end, EILSEQ);
    str_release(&got);
}

static void test_readers_say_the_encoding(void **state) {
    (void)state;
    struct str csv = {0}, line = {0};
    struct csv_reader *c = NULL;
    struct jsonl_reader *l = NULL;
    struct arena a = {0};
    struct node *n = NULL;
    struct err e = {0};
    str_add(&csv, "größe;b\nfünf;1\n");
    write_as("t.csv", "UTF-16LE", "\xff\xfe", 2, &csv);
    assert_int_equal(csv_reader_open(&c, "t.csv", NULL, &e), 0);
    assert_string_equal(csv_reader_encoding(c), "UTF-16LE");
    assert_int_equal(csv_reader_column(c, "größe"), 0);
    assert_int_equal(csv_reader_next(c, &e), 1);
    assert_string_equal(csv_reader_field(c, 0), "fünf");
    csv_reader_close(c);
    str_add(&line, "{\"note\": \"fünf\"}\n");
    write_as("t.jsonl", "UTF-16LE", "\xff\xfe", 2, &line); /* as a shell on Windows writes by > */
    assert_int_equal(jsonl_reader_open(&l, "t.jsonl", &e), 0);
    assert_string_equal(jsonl_reader_encoding(l), "UTF-16LE");
    assert_int_equal(jsonl_reader_next(l, &a, &n, &e), 1);
    assert_string_equal(node_get(n, "note")->text, "fünf");
    jsonl_reader_close(l);
    arena_release(&a);
    str_release(&csv);
    str_release(&line);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_encoding_gives_the_same),
        cmocka_unit_test(test_damaged_utf8_stays_utf8),
        cmocka_unit_test(test_what_cannot_be_converted_ends_with_an_error),
        cmocka_unit_test(test_readers_say_the_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
