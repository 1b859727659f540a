/* The training log: JSON Lines in a file that can be cut back to where a checkpoint stands. */
#ifndef TRAIN_LOOP_LOG_H
#define TRAIN_LOOP_LOG_H

#include "base/err.h"
#include <stdint.h>
#include <stdio.h>

struct train_log {
    FILE *stream;
    const char *path; /* borrowed */
};

/* Keeps the first `n_bytes` of what is there. */
int train_log_open(struct train_log *l, const char *path, int64_t n_bytes, struct err *e);
void train_log_close(struct train_log *l);
void train_log_line(struct train_log *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
int train_log_flush(struct train_log *l, int64_t *n_bytes, struct err *e); /* bytes in the file now */

#endif
