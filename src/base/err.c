/* Errors as values: see err.h. Everything here works on the caller's storage and allocates nothing, so that
 * running out of memory can be reported too. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_entry {
    const char *name, *text;
    int exit_code;
};

static const struct err_entry entries[ERR_INDEX_COUNT] = {[ERR_INDEX_NONE] = {"NONE", "no error", 0},
#define X(name, text, exit_code) [ERR_INDEX_##name] = {#name, text, exit_code},
                                                          ERR_CODES(X)
#undef X
};

static const struct err_entry *entry_of(int code) {
    int index = code <= 0 && code > -ERR_INDEX_COUNT ? -code : ERR_INDEX_FAILED;
    return &entries[index];
}

/* A text that was cut to fit may end within a UTF-8 character: drop what is left of it. `size`: of the storage. */
static void drop_partial(char *text, size_t size) {
    size_t n = strlen(text);
    if (n + 1 < size)
        return;
    size_t start = n;
    while (start > 0 && n - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
        text[start - 1] = '\0';
}

static void fill(struct err *e, int code, const char *origin, const char *format, va_list args) {
    e->code = code;
    snprintf(e->origin, sizeof e->origin, "%s", origin ? origin : "");
    vsnprintf(e->message, sizeof e->message, format, args);
    drop_partial(e->message, sizeof e->message);
}

int err_set(struct err *e, int code, const char *origin, const char *format, ...) {
    if (!e || e->code != 0)
        return code;
    va_list args;
    va_start(args, format);
    fill(e, code, origin, format, args);
    va_end(args);
    return code;
}

static int code_of_errno(int number, int code) {
    if (number == ENOSPC || number == EDQUOT)
        return ERR_NO_SPACE;
    return number == ENOMEM ? ERR_NO_MEMORY : code;
}

int err_set_errno(struct err *e, int code, const char *origin, const char *format, ...) {
    int number = errno;
    code = code_of_errno(number, code);
    if (!e || e->code != 0)
        return code;
    va_list args;
    va_start(args, format);
    fill(e, code, origin, format, args);
    va_end(args);
    size_t used = strlen(e->message);
    snprintf(e->message + used, sizeof e->message - used, ": %s", strerror(number));
    drop_partial(e->message, sizeof e->message);
    return code;
}

int err_hint(struct err *e, const char *format, ...) {
    if (!e)
        return ERR_FAILED;
    if (e->hint[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(e->hint, sizeof e->hint, format, args);
        va_end(args);
        drop_partial(e->hint, sizeof e->hint);
    }
    return e->code;
}

int err_context(struct err *e, const char *format, ...) {
    if (!e)
        return ERR_FAILED;
    char old[sizeof e->message];
    memcpy(old, e->message, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used < sizeof e->message)
        snprintf(e->message + used, sizeof e->message - used, ": %s", old);
    drop_partial(e->message, sizeof e->message);
    return e->code;
}

void err_clear(struct err *e) {
    if (e)
        memset(e, 0, sizeof *e);
}

const char *err_text(int code) {
    return entry_of(code)->text;
}

const char *err_name(int code) {
    return entry_of(code)->name;
}

int err_exit_code(int code) {
    return entry_of(code)->exit_code;
}
