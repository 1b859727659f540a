/* Growable strings and conversions: see str.h. */
#include "base/str.h"

#include "base/mem.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void str_release(struct str *s) {
    free(s->data);
    *s = (struct str){0};
}

void str_clear(struct str *s) {
    s->len = 0;
    s->failed = false;
    if (s->data)
        s->data[0] = '\0';
}

/* Room for n more bytes and the NUL. */
static bool make_room(struct str *s, size_t n) {
    size_t needed;
    if (s->failed || !mem_add(s->len, n, &needed) || !mem_add(needed, 1, &needed)) {
        s->failed = true;
        return false;
    }
    if (needed <= s->capacity)
        return true;
    size_t capacity = s->capacity < 64 ? 64 : s->capacity + s->capacity / 2;
    if (capacity < needed)
        capacity = needed;
    char *data = realloc(s->data, capacity);
    if (!data) {
        s->failed = true;
        return false;
    }
    s->data = data;
    s->capacity = capacity;
    return true;
}

void str_add_bytes(struct str *s, const void *bytes, size_t n) {
    if (!make_room(s, n))
        return;
    if (n > 0)
        memcpy(s->data + s->len, bytes, n);
    s->len += n;
    s->data[s->len] = '\0';
}

void str_add(struct str *s, const char *text) {
    str_add_bytes(s, text, strlen(text));
}

void str_add_char(struct str *s, char c) {
    str_add_bytes(s, &c, 1);
}

void str_add_quoted(struct str *s, const char *text) {
    str_add_char(s, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            str_add(s, "'\\''");
        else
            str_add_char(s, *text);
    }
    str_add_char(s, '\'');
}

void str_addv(struct str *s, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0)
        s->failed = true;
    else if (make_room(s, (size_t)n))
        s->len += (size_t)vsnprintf(s->data + s->len, (size_t)n + 1, format, again);
    va_end(again);
}

void str_addf(struct str *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    str_addv(s, format, args);
    va_end(args);
}

const char *str_text(const struct str *s) {
    return s->data ? s->data : "";
}

char *str_take(struct str *s) {
    char *data = s->failed ? NULL : s->data;
    if (!data && !s->failed)
        data = calloc(1, 1);
    if (s->failed)
        free(s->data);
    *s = (struct str){0};
    return data;
}

int str_check(const struct str *s, struct err *e) {
    if (!s->failed)
        return 0;
    return err_set(e, ERR_NO_MEMORY, "str_check", "out of memory after %zu bytes of text", s->len);
}

bool str_equal(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_starts(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix) {
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

char *str_trim(char *text) {
    while (is_space(*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && is_space(text[n - 1]))
        n--;
    text[n] = '\0';
    return text;
}

/* Bytes of the UTF-8 character at `s` (RFC 3629: shortest form, no surrogates, up to U+10FFFF); 0: malformed.
 */
static size_t utf8_length(const unsigned char *s, size_t n) {
    if (s[0] < 0x80)
        return 1;
    size_t length = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
                    : (s[0] & 0xf0) == 0xe0       ? 3
                    : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                  : 0;
    if (length == 0 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return overlong || outside ? 0 : length;
}

bool str_is_utf8(const char *text, size_t n, size_t *bad_offset) {
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length((const unsigned char *)text + i, n - i);
        if (length == 0) {
            if (bad_offset)
                *bad_offset = i;
            return false;
        }
        i += length;
    }
    return true;
}

bool str_to_i64(const char *text, int64_t *out) {
    const char *digits = *text == '-' || *text == '+' ? text + 1 : text;
    if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno == ERANGE)
        return false;
    *out = value;
    return true;
}

static const char *skip_digits(const char *s) {
    return s + strspn(s, "0123456789");
}

/* [+-] digits [. digits] [e [+-] digits] with a digit on at least one side of the point */
static bool is_decimal(const char *s) {
    if (*s == '-' || *s == '+')
        s++;
    const char *after = skip_digits(s);
    bool digits = after > s;
    if (*after == '.') {
        s = after + 1;
        after = skip_digits(s);
        digits = digits || after > s;
    }
    if (!digits)
        return false;
    if (*after == 'e' || *after == 'E') {
        s = after + 1;
        if (*s == '-' || *s == '+')
            s++;
        after = skip_digits(s);
        digits = after > s;
    }
    return digits && *after == '\0';
}

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool str_to_double(const char *text, double *out) {
    if (!is_decimal(text))
        return false;
    pthread_once(&c_locale_once, make_c_locale);
    double value = c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
    if (!isfinite(value))
        return false;
    *out = value;
    return true;
}

char *str_bytes(char *buffer, size_t n, int64_t size_bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)size_bytes;
    size_t unit = 0;
    while (fabs(value) >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    snprintf(buffer, n, unit > 0 && fabs(value) < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

char *str_duration(char *buffer, size_t n, double seconds) {
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e9) {
        snprintf(buffer, n, "unknown");
        return buffer;
    }
    int64_t s = (int64_t)llround(seconds);
    if (s >= 48 * 3600)
        snprintf(buffer, n, "%lld d %lld h", (long long)(s / 86400), (long long)(s % 86400 / 3600));
    else if (s >= 3600)
        snprintf(buffer, n, "%lld h %02lld min", (long long)(s / 3600), (long long)(s % 3600 / 60));
    else if (s >= 60)
        snprintf(buffer, n, "%lld min %02lld s", (long long)(s / 60), (long long)(s % 60));
    else if (seconds < 9.95)
        snprintf(buffer, n, "%.1f s", seconds);
    else
        snprintf(buffer, n, "%lld s", (long long)s);
    return buffer;
}
