/* CSV through libcsv: see csv.h.
 *
 * libcsv cannot pause in the middle of the bytes it is given, so it gets them piece by piece, each up to the next line
 * end: a piece completes at most one row, and a line end inside quotes none. */
#include "format/csv.h"

#include "base/mem.h"
#include "format/text_file.h"

#include <csv.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_BYTES = 64 * 1024, MOST_COLUMNS = 10000 };
#define LONGEST_ROW ((int64_t)1 << 20)

struct csv_reader {
    char *name;
    const char *encoding; /* NULL: UTF-8 */
    FILE *file;           /* NULL when reading memory */
    char *buffer;         /* of the file's bytes */
    const char *bytes;    /* not yet given to libcsv */
    size_t n_bytes;
    struct csv_parser parser;
    bool parser_open, at_end, after_cr;
    int64_t line, column; /* of the next byte; the column counts characters, from 1 */
    int64_t row_line;     /* where the current row begins */
    int64_t row_bytes;    /* given to libcsv since then */
    struct str text;      /* fields of the current row, each with its NUL */
    size_t *starts;       /* offsets into text */
    int64_t n_fields, starts_capacity;
    bool row_done, row_has_nul;
    char **columns; /* the header */
    int n_columns;
};

static int no_memory(const struct csv_reader *r, struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "csv_reader", "%s: out of memory", r->name);
}

static void on_field(void *bytes, size_t n, void *context) {
    struct csv_reader *r = context;
    if (mem_grow((void **)&r->starts, &r->starts_capacity, r->n_fields + 1, sizeof *r->starts) < 0) {
        r->text.failed = true;
        return;
    }
    r->starts[r->n_fields++] = r->text.len;
    r->row_has_nul = r->row_has_nul || (n > 0 && memchr(bytes, '\0', n));
    if (n > 0)
        str_add_bytes(&r->text, bytes, n);
    str_add_char(&r->text, '\0');
}

static void on_row(int last_byte, void *context) {
    (void)last_byte;
    struct csv_reader *r = context;
    r->row_done = true;
}

/* ---- bytes ---- */

static int refill(struct csv_reader *r, struct err *e) {
    if (!r->file || r->n_bytes > 0)
        return 0;
    errno = 0;
    r->bytes = r->buffer;
    r->n_bytes = fread(r->buffer, 1, BUFFER_BYTES, r->file);
    if (r->n_bytes == 0 && ferror(r->file))
        return err_set_errno(e, ERR_IO, "csv_reader", "%s: cannot read", r->name);
    return 0;
}

/* Bytes up to and with the next line end, or all there are. */
static size_t piece_length(const struct csv_reader *r) {
    for (size_t i = 0; i < r->n_bytes; i++)
        if (r->bytes[i] == '\n' || r->bytes[i] == '\r')
            return i + 1;
    return r->n_bytes;
}

static void count_place(struct csv_reader *r, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool second_half = bytes[i] == '\n' && r->after_cr;
        r->after_cr = bytes[i] == '\r';
        if (bytes[i] == '\n' || bytes[i] == '\r') {
            r->line += second_half ? 0 : 1;
            r->column = 1;
        } else if (((unsigned char)bytes[i] & 0xc0) != 0x80) {
            r->column++;
        }
    }
}

static int syntax_error(struct csv_reader *r, const char *piece, size_t done, struct err *e) {
    int problem = csv_error(&r->parser);
    if (problem == CSV_ENOMEM)
        return no_memory(r, e);
    count_place(r, piece, done); /* libcsv stops before the byte that is wrong */
    int code = err_set(e, ERR_FORMAT, "csv_reader", "%s:%lld:%lld: a quote in the wrong place", r->name,
                       (long long)r->line, (long long)r->column);
    err_hint(e, "a field with quotes or delimiters in it is written in quotes, each inner quote doubled: "
                "\"5\"\" pipe\"");
    return code;
}

static int row_too_long(const struct csv_reader *r, struct err *e) {
    int code = err_set(e, ERR_FORMAT, "csv_reader", "%s:%lld: the row that begins here is longer than 1 MiB",
                       r->name, (long long)r->row_line);
    err_hint(e, "is a quote opened there and never closed?");
    return code;
}

/* A line without a row: the next one may still begin. */
static bool is_blank(const char *piece, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (piece[i] == '\0' || !strchr(" \t\r\n", piece[i]))
            return false;
    return true;
}

/* Give libcsv one piece. */
static int feed(struct csv_reader *r, struct err *e) {
    size_t n = piece_length(r);
    const char *piece = r->bytes;
    if (r->row_bytes == 0)
        r->row_line = r->line;
    size_t done = csv_parse(&r->parser, piece, n, on_field, on_row, r);
    if (done != n)
        return syntax_error(r, piece, done, e);
    count_place(r, piece, n);
    r->bytes += n;
    r->n_bytes -= n;
    r->row_bytes += (int64_t)n;
    bool blank = !r->row_done && r->row_bytes == (int64_t)n && is_blank(piece, n);
    if (blank)
        r->row_bytes = 0;
    if (r->text.failed)
        return no_memory(r, e);
    return r->row_bytes > LONGEST_ROW ? row_too_long(r, e) : 0;
}

static int finish(struct csv_reader *r, struct err *e) {
    r->at_end = true;
    if (csv_fini(&r->parser, on_field, on_row, r) == 0)
        return r->text.failed ? no_memory(r, e) : 0;
    if (csv_error(&r->parser) == CSV_ENOMEM)
        return no_memory(r, e);
    return err_set(e, ERR_FORMAT, "csv_reader", "%s:%lld: a quote opened in this row is never closed",
                   r->name, (long long)r->row_line);
}

/* ---- rows ---- */

static const char *field(const struct csv_reader *r, int64_t i) {
    return r->text.data + r->starts[i];
}

static int check_encoding(const struct csv_reader *r, struct err *e) {
    size_t bad;
    if (r->row_has_nul)
        return err_set(e, ERR_FORMAT, "csv_reader", "%s:%lld: a NUL byte: this is not a text file", r->name,
                       (long long)r->row_line);
    if (str_is_utf8(str_text(&r->text), r->text.len, &bad))
        return 0;
    int64_t column = 0;
    while (column + 1 < r->n_fields && r->starts[column + 1] <= bad)
        column++;
    int code =
        err_set(e, ERR_FORMAT, "csv_reader", "%s:%lld: column %lld%s%s%s: byte 0x%02x is not UTF-8 text",
                r->name, (long long)r->row_line, (long long)column + 1, column < r->n_columns ? " (" : "",
                column < r->n_columns ? r->columns[column] : "", column < r->n_columns ? ")" : "",
                (unsigned char)r->text.data[bad]);
    err_hint(e, "save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8");
    return code;
}

/* 1: fields are there, 0: no more. */
static int read_row(struct csv_reader *r, struct err *e) {
    str_clear(&r->text);
    r->n_fields = 0;
    r->row_bytes = 0;
    r->row_done = r->row_has_nul = false;
    while (!r->row_done && !r->at_end) {
        int code = refill(r, e);
        if (code == 0)
            code = r->n_bytes > 0 ? feed(r, e) : finish(r, e);
        if (code < 0) {
            r->at_end = true;
            return code;
        }
    }
    if (!r->row_done)
        return 0;
    int code = check_encoding(r, e);
    if (code < 0)
        r->at_end = true;
    return code < 0 ? code : 1;
}

int csv_reader_next(struct csv_reader *r, struct err *e) {
    int got = read_row(r, e);
    if (got <= 0)
        return got;
    if (r->n_fields == r->n_columns)
        return 1;
    r->at_end = true;
    return err_set(e, ERR_FORMAT, "csv_reader", "%s:%lld: %lld fields, but the header has %d", r->name,
                   (long long)r->row_line, (long long)r->n_fields, r->n_columns);
}

/* ---- opening ---- */

static int header_error(const struct csv_reader *r, int64_t column, struct err *e, const char *problem,
                        const char *value) {
    return err_set(e, ERR_FORMAT, "csv_reader_open", "%s:%lld: column %lld: %s%s%s%s", r->name,
                   (long long)r->row_line, (long long)column + 1, problem, value ? " \"" : "",
                   value ? value : "", value ? "\"" : "");
}

static int take_header(struct csv_reader *r, struct err *e) {
    int got = read_row(r, e);
    if (got < 0)
        return got;
    if (got == 0)
        return err_set(e, ERR_FORMAT, "csv_reader_open",
                       "%s: empty: there must be a header line with column names", r->name);
    if (r->n_fields > MOST_COLUMNS)
        return header_error(r, MOST_COLUMNS, e, "more columns than are allowed (10000)", NULL);
    r->columns = calloc((size_t)r->n_fields, sizeof *r->columns);
    if (!r->columns)
        return no_memory(r, e);
    for (int64_t i = 0; i < r->n_fields; i++) {
        const char *name = field(r, i);
        if (!*name)
            return header_error(r, i, e, "it has no name", NULL);
        if (csv_reader_column(r, name) >= 0)
            return header_error(r, i, e, "a second column named", name);
        if (!(r->columns[i] = strdup(name)))
            return no_memory(r, e);
        r->n_columns++;
    }
    return 0;
}

static char guess_delimiter(const char *bytes, size_t n) {
    static const char candidates[] = {',', ';', '\t'};
    int64_t counts[sizeof candidates] = {0};
    bool quoted = false;
    for (size_t i = 0; i < n && (quoted || (bytes[i] != '\n' && bytes[i] != '\r')); i++) {
        quoted = quoted != (bytes[i] == '"');
        for (size_t c = 0; c < sizeof candidates; c++)
            counts[c] += !quoted && bytes[i] == candidates[c];
    }
    size_t best = 0;
    for (size_t c = 1; c < sizeof candidates; c++)
        if (counts[c] > counts[best])
            best = c;
    return candidates[best];
}

static int begin(struct csv_reader *r, const struct csv_options *o, struct err *e) {
    int code = refill(r, e);
    if (code < 0)
        return code;
    if (r->n_bytes >= 2 && (memcmp(r->bytes, "\xff\xfe", 2) == 0 || memcmp(r->bytes, "\xfe\xff", 2) == 0)) {
        code = err_set(e, ERR_FORMAT, "csv_reader_open", "%s:1:1: this is UTF-16 text", r->name);
        err_hint(e, "save the file as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8");
        return code;
    }
    if (r->n_bytes >= 3 && memcmp(r->bytes, "\xef\xbb\xbf", 3) == 0) {
        r->bytes += 3;
        r->n_bytes -= 3;
    }
    if (csv_init(&r->parser, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return no_memory(r, e);
    r->parser_open = true;
    char delimiter = o && o->delimiter ? o->delimiter : guess_delimiter(r->bytes, r->n_bytes);
    csv_set_delim(&r->parser, (unsigned char)delimiter);
    return take_header(r, e);
}

static struct csv_reader *reader_new(const char *name) {
    struct csv_reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->line = r->column = 1;
    r->name = strdup(name);
    r->buffer = malloc(BUFFER_BYTES);
    if (r->name && r->buffer)
        return r;
    csv_reader_close(r);
    return NULL;
}

static int begin_or_close(struct csv_reader **out, struct csv_reader *r, const struct csv_options *o,
                          struct err *e) {
    int code = begin(r, o, e);
    if (code == 0)
        *out = r;
    else
        csv_reader_close(r);
    return code;
}

int csv_reader_open(struct csv_reader **out, const char *path, const struct csv_options *o, struct err *e) {
    struct csv_reader *r = reader_new(path);
    if (!r)
        return err_set(e, ERR_NO_MEMORY, "csv_reader_open", "%s: out of memory", path);
    int code = text_file_open(&r->file, &r->encoding, path, e);
    if (code < 0) {
        csv_reader_close(r);
        return code;
    }
    return begin_or_close(out, r, o, e);
}

int csv_reader_open_text(struct csv_reader **out, const char *name, const char *text, size_t n,
                         const struct csv_options *o, struct err *e) {
    struct csv_reader *r = reader_new(name);
    if (!r)
        return err_set(e, ERR_NO_MEMORY, "csv_reader_open", "%s: out of memory", name);
    r->bytes = text;
    r->n_bytes = n;
    return begin_or_close(out, r, o, e);
}

void csv_reader_close(struct csv_reader *r) {
    if (!r)
        return;
    if (r->file)
        fclose(r->file);
    if (r->parser_open)
        csv_free(&r->parser);
    for (int i = 0; i < r->n_columns; i++)
        free(r->columns[i]);
    free(r->columns);
    str_release(&r->text);
    free(r->starts);
    free(r->buffer);
    free(r->name);
    free(r);
}

/* ---- access ---- */

const char *csv_reader_encoding(const struct csv_reader *r) {
    return r->encoding;
}

int csv_reader_n_columns(const struct csv_reader *r) {
    return r->n_columns;
}

const char *csv_reader_name(const struct csv_reader *r, int column) {
    return r->columns[column];
}

int csv_reader_column(const struct csv_reader *r, const char *name) {
    for (int i = 0; i < r->n_columns; i++)
        if (strcmp(r->columns[i], name) == 0)
            return i;
    return -1;
}

const char *csv_reader_field(const struct csv_reader *r, int column) {
    return field(r, column);
}

int64_t csv_reader_line(const struct csv_reader *r) {
    return r->row_line;
}

int csv_reader_error(const struct csv_reader *r, int column, struct err *e, const char *format, ...) {
    char text[sizeof e->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(e, ERR_INPUT, "csv_reader", "%s:%lld: column %d (%s): %s", r->name, (long long)r->row_line,
                   column + 1, r->columns[column], text);
}

void csv_text_field(struct str *out, const char *text) {
    size_t n = strlen(text);
    bool blank_edge = n > 0 && (strchr(" \t", text[0]) || strchr(" \t", text[n - 1]));
    bool mark =
        str_starts(text, "\xef\xbb\xbf"); /* at the start of a file it would be taken for a byte order mark */
    if (!blank_edge && !mark && strcspn(text, ",;\t\"\r\n") == n) {
        str_add(out, text);
        return;
    }
    str_add_char(out, '"');
    for (; *text; text++) {
        if (*text == '"')
            str_add_char(out, '"');
        str_add_char(out, *text);
    }
    str_add_char(out, '"');
}
