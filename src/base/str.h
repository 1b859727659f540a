/* Growable byte strings. `struct str` on the caller's storage: init (or {0}) / release. `data` is always
 * NUL-terminated once something was added. A failed allocation marks the string (`failed`), later appends do
 * nothing, and str_check tells at the end: builders need one check, not one a line. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/err.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    char *data;
    size_t len;
    size_t capacity;
    bool failed;
};

void str_release(struct str *s);
void str_clear(struct str *s); /* keeps the room */
void str_add(struct str *s, const char *text);
void str_add_bytes(struct str *s, const void *bytes, size_t n);
void str_add_char(struct str *s, char c);
void str_add_quoted(struct str *s, const char *text); /* as one word of a POSIX shell */
void str_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_addv(struct str *s, const char *format, va_list args);
const char *str_text(const struct str *s); /* never NULL; borrowed until the next change */
char *str_take(struct str *s); /* gives the bytes away (free()), NULL after a failure; leaves s empty */
int str_check(const struct str *s, struct err *e); /* ERR_NO_MEMORY when an append failed */

bool str_equal(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);
char *str_trim(char *text);                                       /* in place; returns the first non-space */
bool str_is_utf8(const char *text, size_t n, size_t *bad_offset); /* bad_offset may be NULL */

/* The choice (NULL-terminated list) that `text` was probably meant to be, for hints; NULL when none is near.
 */
const char *str_nearest(const char *text, const char *const choices[]);

/* Whole-string conversions: false when there is anything but one number, or out of range. */
bool str_to_i64(const char *text, int64_t *out);
bool str_to_double(const char *text, double *out); /* decimal point whatever the locale; no inf, nan, hex */

/* "1.9 GB", "340 MB"; "2 h 05 min", "41 s". Into the caller's buffer, which is returned. */
char *str_bytes(char *buffer, size_t n, int64_t size_bytes);
char *str_duration(char *buffer, size_t n, double seconds);

#endif
