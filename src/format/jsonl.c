/* JSON Lines: see jsonl.h. */
#include "format/jsonl.h"

#include "format/json.h"
#include "format/text_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct jsonl_reader {
    char *name;
    const char *encoding; /* NULL: UTF-8 */
    FILE *file;
    struct str text; /* the line */
    int64_t line;
    bool cut_off;
};

#define LONGEST_LINE ((size_t)64 << 20)

int jsonl_reader_open(struct jsonl_reader **out, const char *path, struct err *e) {
    struct jsonl_reader *r = calloc(1, sizeof *r);
    if (!r || !(r->name = strdup(path))) {
        jsonl_reader_close(r);
        return err_set(e, ERR_NO_MEMORY, "jsonl_reader_open", "%s: out of memory", path);
    }
    int code = text_file_open(&r->file, &r->encoding, path, e);
    if (code < 0) {
        jsonl_reader_close(r);
        return code;
    }
    *out = r;
    return 0;
}

void jsonl_reader_close(struct jsonl_reader *r) {
    if (!r)
        return;
    if (r->file)
        fclose(r->file);
    str_release(&r->text);
    free(r->name);
    free(r);
}

/* 1: a line is in r->text, without its end; 0: no more. */
static int read_line(struct jsonl_reader *r, struct err *e) {
    int c;
    str_clear(&r->text);
    errno = 0;
    while ((c = getc_unlocked(r->file)) != EOF && c != '\n') {
        str_add_char(&r->text, (char)c);
        if (r->text.failed)
            return err_set(e, ERR_NO_MEMORY, "jsonl_reader_next", "%s:%lld: out of memory", r->name,
                           (long long)r->line + 1);
        if (r->text.len > LONGEST_LINE)
            return err_set(e, ERR_FORMAT, "jsonl_reader_next", "%s:%lld: a line of more than 64 MiB", r->name,
                           (long long)r->line + 1);
    }
    if (ferror(r->file))
        return err_set_errno(e, ERR_IO, "jsonl_reader_next", "%s: cannot read", r->name);
    r->cut_off = c == EOF;
    if (c == EOF && r->text.len == 0)
        return 0;
    r->line++;
    return 1;
}

static bool is_blank(const struct str *text) {
    const char *t = str_text(text);
    return strspn(t, " \t\r") == text->len;
}

int jsonl_reader_next(struct jsonl_reader *r, struct arena *a, struct node **out, struct err *e) {
    int got;
    do
        got = read_line(r, e);
    while (got > 0 && is_blank(&r->text));
    if (got <= 0)
        return got;
    int line = r->line < INT_MAX ? (int)r->line : INT_MAX;
    int code = json_node_parse(a, r->name, line, str_text(&r->text), r->text.len, out, e);
    return code < 0 ? code : 1;
}

const char *jsonl_reader_encoding(const struct jsonl_reader *r) {
    return r->encoding;
}

int64_t jsonl_reader_line(const struct jsonl_reader *r) {
    return r->line;
}

bool jsonl_reader_cut_off(const struct jsonl_reader *r) {
    return r->cut_off;
}
