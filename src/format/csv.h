/* CSV through libcsv, row by row: a header line names the columns; RFC 4180 quoting; encoded as text_file.h knows; lines end in LF, CR LF or CR; empty lines are skipped.
 *
 *     struct csv_reader *r;
 *     csv_reader_open(&r, "claims.csv", NULL, &e);
 *     int delay = csv_reader_column(r, "delay");
 *     while ((code = csv_reader_next(r, &e)) > 0)
 *         use(csv_reader_field(r, delay));
 *     csv_reader_close(r);
 *
 * Errors name file, line and column and are ERR_FORMAT: a quote that is never closed or stands inside an unquoted field, a
 * row with another number of fields than the header, two columns of one name, bytes that are not UTF-8, a NUL. After an
 * error the reader is at its end. Blanks around an unquoted field do not belong to it. */
#ifndef FORMAT_CSV_H
#define FORMAT_CSV_H

#include "base/err.h"
#include "base/str.h"
#include <stdint.h>

struct csv_reader; /* opaque */

struct csv_options {
    char delimiter; /* 0: the commonest of comma, semicolon and tab in the first line */
};

/* Opens and reads the header; ERR_FORMAT when the file has none. */
int csv_reader_open(struct csv_reader **out, const char *path, const struct csv_options *o, struct err *e);
/* The same over bytes in memory, which must stay until close; `name` stands in messages. */
int csv_reader_open_text(struct csv_reader **out, const char *name, const char *text, size_t n,
                         const struct csv_options *o, struct err *e);
void csv_reader_close(struct csv_reader *r); /* NULL is fine */

const char *csv_reader_encoding(const struct csv_reader *r); /* of the file; NULL: UTF-8 */
int csv_reader_n_columns(const struct csv_reader *r);
const char *csv_reader_name(const struct csv_reader *r, int column);
int csv_reader_column(const struct csv_reader *r, const char *name); /* -1: there is none */

/* 1: a row is there, 0: no more, negative: error. */
int csv_reader_next(struct csv_reader *r, struct err *e);
const char *csv_reader_field(const struct csv_reader *r, int column); /* borrowed until the next row */
int64_t csv_reader_line(const struct csv_reader *r);                  /* where the row begins */

/* ERR_INPUT: "claims.csv:12: column 3 (delay): <message>". */
int csv_reader_error(const struct csv_reader *r, int column, struct err *e, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Appends one field, quoted where needed. */
void csv_text_field(struct str *out, const char *text);

#endif
