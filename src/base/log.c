/* Messages on standard error: see log.h. One lock covers the level, the status line and the writing, so that
 * lines of several threads do not mix and a message never lands inside the status line. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int level_now = -1; /* -1: not yet read from EDGESTILL_LOG */
static char status_text[256];

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

static int level_from_environment(void) {
    const char *name = getenv("EDGESTILL_LOG");
    for (int i = 0; name && i <= LOG_DEBUG; i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return LOG_INFO;
}

static int level_locked(void) {
    if (level_now < 0)
        level_now = level_from_environment();
    return level_now;
}

void log_set_level(enum log_level level) {
    pthread_mutex_lock(&lock);
    level_now = (int)level;
    pthread_mutex_unlock(&lock);
}

enum log_level log_get_level(void) {
    pthread_mutex_lock(&lock);
    int level = level_locked();
    pthread_mutex_unlock(&lock);
    return (enum log_level)level;
}

bool log_is_terminal(void) {
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) && !(kind && strcmp(kind, "dumb") == 0);
}

static bool use_colours(void) {
    const char *no = getenv("NO_COLOR");
    return log_is_terminal() && !(no && *no);
}

static void clear_status_locked(void) {
    if (status_text[0])
        fputs("\r\033[K", stderr);
}

static void draw_status_locked(void) {
    if (status_text[0])
        fputs(status_text, stderr);
    fflush(stderr);
}

/* A line that wraps could not be rewritten. */
static size_t terminal_width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* Cut to n bytes, never inside a UTF-8 character. */
static void cut_text(char *text, size_t n) {
    if (strlen(text) <= n)
        return;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    text[n] = '\0';
}

void log_status(const char *text) {
    pthread_mutex_lock(&lock);
    clear_status_locked();
    snprintf(status_text, sizeof status_text, "%s", text);
    cut_text(status_text, terminal_width() - 1);
    draw_status_locked();
    pthread_mutex_unlock(&lock);
}

static void write_message(enum log_level level, const char *text) {
    static const char *const colours[] = {
        [LOG_ERROR] = "\033[31m", [LOG_WARN] = "\033[33m", [LOG_INFO] = "", [LOG_DEBUG] = "\033[2m"};
    static const char *const prefixes[] = {[LOG_ERROR] = "edgestill: ",
                                           [LOG_WARN] = "edgestill: warning: ",
                                           [LOG_INFO] = "",
                                           [LOG_DEBUG] = "debug: "};
    const char *colour = use_colours() ? colours[level] : "";
    fprintf(stderr, "%s%s%s%s\n", colour, prefixes[level], text, *colour ? "\033[0m" : "");
}

void log_line(enum log_level level, const char *format, ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    if ((int)level <= level_locked()) {
        clear_status_locked();
        write_message(level, text);
        draw_status_locked();
    }
    pthread_mutex_unlock(&lock);
}

void log_err(const struct err *e) {
    if (e->code == 0)
        return;
    pthread_mutex_lock(&lock);
    clear_status_locked();
    write_message(LOG_ERROR, e->message[0] ? e->message : err_text(e->code));
    if (e->hint[0])
        fprintf(stderr, "  %s\n", e->hint);
    if (level_locked() >= LOG_DEBUG)
        fprintf(stderr, "debug: %s in %s\n", err_name(e->code), e->origin);
    draw_status_locked();
    pthread_mutex_unlock(&lock);
}
