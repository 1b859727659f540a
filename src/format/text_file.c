/* Finding out how a text was saved, and converting it by iconv(3) behind a stream. */
#include "format/text_file.h"
#include "base/str.h"
#include <errno.h>
#include <iconv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 64 * 1024, LONGEST_CHARACTER = 4 };

/* ---- which encoding ---- */

struct high_bytes {
    bool utf8;    /* some are characters of UTF-8 */
    bool other;   /* some are not */
    bool unknown; /* of these, one that Windows-1252 does not have, or there is a NUL */
};

static bool has_high(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            return true;
    return false;
}

static bool in_windows_1252(char byte) {
    return byte != 0 && !memchr("\x81\x8d\x8f\x90\x9d", byte, 5);
}

/* Takes in what of text[n] can be judged; returns how much. The last bytes may be the beginning of a character. */
static size_t judge(struct high_bytes *h, const char *text, size_t n, bool at_end) {
    size_t at = 0;
    while (at < n) {
        size_t bad = n - at;
        bool whole = str_is_utf8(text + at, n - at, &bad);
        bad = whole ? n - at : bad;
        h->utf8 = h->utf8 || has_high(text + at, bad);
        h->unknown = h->unknown || memchr(text + at, 0, bad);
        at += bad;
        if (whole || (!at_end && n - at < LONGEST_CHARACTER))
            break;
        h->other = true;
        h->unknown = h->unknown || !in_windows_1252(text[at]);
        at++;
    }
    return at;
}

static bool is_windows_1252(FILE *f) {
    struct high_bytes h = {.utf8 = false};
    char *piece = malloc(PIECE);
    size_t kept = 0, n = 1;
    while (piece && n > 0 && !h.utf8) {
        n = fread(piece + kept, 1, PIECE - kept, f);
        size_t used = judge(&h, piece, kept + n, n == 0);
        kept = kept + n - used;
        memmove(piece, piece + used, kept);
    }
    free(piece);
    return h.other && !h.utf8 && !h.unknown;
}

/* Leaves the file where its text begins. */
static const char *encoding_of(FILE *f) {
    static const struct {
        const char *mark, *encoding;
        size_t n;
    } marks[] = {{"\xef\xbb\xbf", NULL, 3}, {"\xff\xfe", "UTF-16LE", 2}, {"\xfe\xff", "UTF-16BE", 2}};
    char start[3];
    const char *encoding = NULL;
    size_t n = fread(start, 1, sizeof start, f), i = 0, n_marks = sizeof marks / sizeof *marks;
    while (i < n_marks && (n < marks[i].n || memcmp(start, marks[i].mark, marks[i].n) != 0))
        i++;
    rewind(f);
    if (i == n_marks)
        encoding = is_windows_1252(f) ? "WINDOWS-1252" : NULL;
    else
        encoding = marks[i].encoding;
    clearerr(f);
    fseek(f, i < n_marks ? (long)marks[i].n : 0, SEEK_SET);
    return encoding;
}

/* ---- converting ---- */

struct converting {
    FILE *file;
    iconv_t to_utf8;
    char raw[PIECE]; /* [from, from + n): read, not yet converted */
    size_t from, n;
};

static bool refill(struct converting *c) {
    memmove(c->raw, c->raw + c->from, c->n);
    c->from = 0;
    size_t more = fread(c->raw + c->n, 1, PIECE - c->n, c->file);
    c->n += more;
    return more > 0;
}

/* As read(2): a text that ends within a character ends with EILSEQ, too. */
static ssize_t read_converted(void *context, char *to, size_t size) {
    struct converting *c = context;
    char *at = to;
    size_t left = size;
    bool more = true;
    while (at == to && more) {
        more = c->n >= LONGEST_CHARACTER || refill(c);
        char *in = c->raw + c->from;
        size_t before = c->n;
        size_t rc = iconv(c->to_utf8, &in, &c->n, &at, &left);
        c->from += before - c->n;
        if (rc == (size_t)-1 && errno == EILSEQ && at == to)
            return -1;
    }
    if (at == to && ferror(c->file))
        return -1;
    if (at == to && c->n > 0) {
        errno = EILSEQ;
        return -1;
    }
    return at - to;
}

static int close_converted(void *context) {
    struct converting *c = context;
    iconv_close(c->to_utf8);
    int rc = fclose(c->file);
    free(c);
    return rc;
}

/* The stream takes `file` over, or NULL. */
static FILE *convert(FILE *file, const char *encoding) {
    struct converting *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->file = file;
    c->to_utf8 = iconv_open("UTF-8", encoding);
    cookie_io_functions_t io = {.read = read_converted, .close = close_converted};
    FILE *out = c->to_utf8 == (iconv_t)-1 ? NULL : fopencookie(c, "r", io);
    if (!out) {
        if (c->to_utf8 != (iconv_t)-1)
            iconv_close(c->to_utf8);
        free(c);
    }
    return out;
}

int text_file_open(FILE **out, const char **encoding, const char *path, struct err *e) {
    const char *found = NULL;
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "text_file_open", "%s: cannot open",
                             path);
    if (fseek(f, 0, SEEK_SET) == 0) /* a pipe cannot be looked at first: it is taken for UTF-8 */
        found = encoding_of(f);
    FILE *converted = found ? convert(f, found) : f;
    if (!converted) {
        fclose(f);
        return err_set(e, ERR_FAILED, "text_file_open", "%s: cannot convert %s to UTF-8 here", path, found);
    }
    *out = converted;
    if (encoding)
        *encoding = found;
    return 0;
}
