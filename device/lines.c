/* Reading lines. */
#include "lines.h"
#include "base/interrupt.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 500 };

void lines_init(struct lines *l, int fd) {
    *l = (struct lines){.fd = fd};
}

void lines_release(struct lines *l) {
    free(l->buffer);
    *l = (struct lines){0};
}

/* Makes room for at least one more byte: moves what is left to the front, grows up to the limit. */
static int make_room(struct lines *l, struct err *e) {
    if (l->start > 0) {
        memmove(l->buffer, l->buffer + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    if (l->end < l->capacity)
        return 0;
    size_t capacity = l->capacity ? l->capacity * 2 : 4096;
    char *grown = realloc(l->buffer, capacity);
    if (!grown)
        return err_set(e, ERR_NO_MEMORY, "lines_next", "no memory for a line of %zu bytes", capacity);
    l->buffer = grown;
    l->capacity = capacity;
    return 0;
}

/* One read; 0 also at the end. poll ends with EINTR where read would be restarted. */
static int fill(struct lines *l, struct err *e) {
    int rc = make_room(l, e);
    if (rc < 0)
        return rc;
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    /* a signal between the look at it and the wait would be noticed at the next line alone: hence the timeout */
    for (int ready; (ready = poll(&p, 1, LOOK_AGAIN_MS)) <= 0;) {
        if (ready < 0 && errno != EINTR)
            return err_set_errno(e, ERR_IO, "lines_next", "cannot wait for input");
        if (interrupt_requested())
            return interrupt_check(e);
    }
    ssize_t n = read(l->fd, l->buffer + l->end, l->capacity - l->end);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return err_set_errno(e, ERR_IO, "lines_next", "cannot read the input");
    l->at_end = n == 0;
    l->end += n > 0 ? (size_t)n : 0;
    return 0;
}

static int skip_long_line(struct lines *l, struct err *e) {
    struct err later = {0};
    int rc = err_set(e, ERR_INPUT, "lines_next", "a line is longer than %d bytes", LINES_MAX_BYTES);
    while (!l->at_end) {
        char *newline = memchr(l->buffer + l->start, '\n', l->end - l->start);
        if (newline) {
            l->start = (size_t)(newline - l->buffer) + 1;
            return rc;
        }
        l->start = l->end;
        if (fill(l, &later) < 0)
            return later.code;
    }
    l->start = l->end;
    return rc;
}

int lines_next(struct lines *l, char **line, size_t *n, struct err *e) {
    size_t seen = 0; /* bytes after start without a line end */
    while (true) {
        if (interrupt_requested()) /* also where lines are in the buffer still: deciding those may take minutes */
            return interrupt_check(e);
        char *from = l->buffer + l->start,
             *newline = l->end > l->start + seen ? memchr(from + seen, '\n', l->end - l->start - seen) : NULL;
        if (newline || (l->at_end && l->end > l->start)) {
            char *stop = newline ? newline : l->buffer + l->end;
            l->start = (size_t)(stop - l->buffer) + (newline != NULL);
            *n = (size_t)(stop - from) - (stop > from && stop[-1] == '\r');
            *line = from;
            return 1;
        }
        if (l->at_end)
            return 0;
        seen = l->end - l->start;
        if (seen > LINES_MAX_BYTES)
            return skip_long_line(l, e);
        int rc = fill(l, e);
        if (rc < 0)
            return rc;
    }
}
