/* Tables of any kind: refused at a place, or what is written of their rows reads back as the same rows. */
#include "../support/fuzz.h"
#include "format/csv.h"

#include <string.h>

/* Rows as CSV again; the number of them, or negative after an error. */
static int64_t rewrite(const char *bytes, size_t n, char delimiter, struct str *out, struct err *e) {
    struct csv_reader *r = NULL;
    struct csv_options o = {.delimiter = delimiter};
    int code = csv_reader_open_text(&r, "fuzz", bytes, n, &o, e);
    int64_t rows = 0;
    for (int i = 0; code == 0 && i < csv_reader_n_columns(r); i++) {
        FUZZ_CHECK(csv_reader_column(r, csv_reader_name(r, i)) == i);
        str_add(out, i ? "," : "");
        csv_text_field(out, csv_reader_name(r, i));
    }
    str_add_char(out, '\n');
    int64_t line = 0;
    while (code == 0 && (code = csv_reader_next(r, e)) > 0) {
        code = 0;
        rows++;
        FUZZ_CHECK(csv_reader_line(r) >= line);
        line = csv_reader_line(r);
        for (int i = 0; i < csv_reader_n_columns(r); i++) {
            const char *field = csv_reader_field(r, i);
            FUZZ_CHECK(str_is_utf8(field, strlen(field), NULL));
            str_add(out, i ? "," : "");
            /* a row of one empty field would be an empty line */
            if (*field || csv_reader_n_columns(r) > 1)
                csv_text_field(out, field);
            else
                str_add(out, "\"\"");
        }
        str_add_char(out, '\n');
    }
    csv_reader_close(r);
    return code < 0 ? code : rows;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct str first = {0}, second = {0};
    struct err e = {0};
    int64_t rows = rewrite((const char *)bytes, n, 0, &first, &e);
    FUZZ_CHECK((rows < 0) == (e.code != 0));
    if (rows >= 0) {
        FUZZ_CHECK(rewrite(first.data, first.len, ',', &second, &e) == rows);
        FUZZ_CHECK(strcmp(first.data, second.data) == 0);
    }
    str_release(&first);
    str_release(&second);
    return 0;
}

FUZZ_MAIN("csv")
