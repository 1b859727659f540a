/* Messages for the person at the terminal: standard error only. The library proper reports through struct err
 * and callbacks; log_* are for src/cmd and device/ alone, progress.h for long work. Level from EDGESTILL_LOG
 * (error, warn, info, debug); default info. Colours only on a terminal without NO_COLOR. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"
#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* "edgestill: <message>" and, where there is one, "  <hint>" on a line of its own. */
void log_err(const struct err *e);

/* A line at the foot of the terminal that rewrites itself (progress.h uses it); messages appear above it. ""
 * removes it. Only for terminals: see log_is_terminal, which is about standard error. */
void log_status(const char *text);
bool log_is_terminal(void);

#endif
