/* Lines from a file descriptor, waiting so that a signal ends the wait: a pipe may run for weeks and must still stop at
 * once when asked to. */
#ifndef DEVICE_LINES_H
#define DEVICE_LINES_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum { LINES_MAX_BYTES = 1 << 20 };

struct lines { /* lines_init / lines_release */
    int fd;
    char *buffer;
    size_t start, end, capacity;
    bool at_end;
};

void lines_init(struct lines *l, int fd);
void lines_release(struct lines *l);

/* The next line without its line end; borrowed until the next call. 1: a line; 0: the end; ERR_INTERRUPTED after a signal, also where
 * lines that were read are left; ERR_INPUT when a line is longer than LINES_MAX_BYTES (that line is skipped: the next call goes on after it). */
int lines_next(struct lines *l, char **line, size_t *n, struct err *e);

#endif
