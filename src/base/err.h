/* Errors as values.
 *
 * A function that can fail returns 0 or a negative `enum err_code` and takes, as its last parameter, a
 * `struct err` owned by the caller (NULL is allowed: the code alone is returned). The first writer wins: a
 * later err_set on an error that is already set changes nothing, so the root cause survives; callers on the
 * way up may add context. Output parameters are untouched on failure. A library never prints and never exits.
 *
 *     struct err e = {0};
 *     if (csv_open(&csv, path, &e) < 0)
 *         return err_context(&e, "reading the rows of %s", project_name);
 *
 * Messages are one sentence without a final full stop; `hint` says what to do next. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* name, text, process exit code (see DESIGN: 1 failed, 2 usage or input, 3 waiting for acceptance, 4 budget)
 */
#define ERR_CODES(X)                                                                                         \
    X(USAGE, "wrong usage", 2)                                                                               \
    X(INPUT, "bad input", 2)                                                                                 \
    X(FORMAT, "malformed file", 2)                                                                           \
    X(NOT_FOUND, "not found", 2)                                                                             \
    X(IO, "input or output failed", 1)                                                                       \
    X(NO_SPACE, "no space left", 1)                                                                          \
    X(NO_MEMORY, "out of memory", 1)                                                                         \
    X(NET, "network failed", 1)                                                                              \
    X(AUTH, "not authorised", 1)                                                                             \
    X(TEACHER, "the teacher's answer cannot be used", 1)                                                     \
    X(LLAMA, "llama.cpp failed", 1)                                                                          \
    X(MISMATCH, "two things that must agree do not", 1)                                                      \
    X(DIVERGED, "training diverged", 1)                                                                      \
    X(UNSUPPORTED, "not supported", 1)                                                                       \
    X(INTERRUPTED, "interrupted", 1)                                                                         \
    X(FAILED, "failed", 1)                                                                                   \
    X(GATE, "waiting for acceptance", 3)                                                                     \
    X(BUDGET, "budget reached", 4)

enum err_index {
    ERR_INDEX_NONE,
#define X(name, text, exit_code) ERR_INDEX_##name,
    ERR_CODES(X)
#undef X
        ERR_INDEX_COUNT
};

/* ERR_USAGE, ERR_INPUT, ...: the negative codes that functions return. */
enum err_code {
    ERR_NONE = 0,
#define X(name, text, exit_code) ERR_##name = -ERR_INDEX_##name,
    ERR_CODES(X)
#undef X
};

struct err {
    int code;          /* 0 or an enum err_code */
    char origin[48];   /* module_function that noticed it */
    char message[640]; /* what and where, with file, line and value where there are any */
    char hint[640];    /* what to do next; may be empty */
};

/* Set code, origin and message unless `e` is set already. Returns `code`, so that `return err_set(...)` reads
 * well. */
int err_set(struct err *e, int code, const char *origin, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* As err_set, with ": strerror(errno)" added; ENOSPC and EDQUOT become ERR_NO_SPACE, ENOMEM ERR_NO_MEMORY. */
int err_set_errno(struct err *e, int code, const char *origin, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What to do next; the first one stays. Returns e's code. */
int err_hint(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put "context: " before the message. Returns e's code. */
int err_context(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forget an error that was dealt with. */
void err_clear(struct err *e);

/* The short text ("bad input"), the name ("INPUT") and the process's exit code that belong to a code. */
const char *err_text(int code);
const char *err_name(int code);
int err_exit_code(int code);

#endif
