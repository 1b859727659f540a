/* A record a line in, an answer a line out. */
#ifndef DEVICE_PIPE_H
#define DEVICE_PIPE_H

#include "runner.h"
#include <stdio.h>

/* Until the input ends or a signal asks to stop (then 0: a signal between two records is a clean end). A line that cannot be used gets
 * {"error":...,"line":...}, and the next one is read; ERR_INPUT at the end when there were any. Memory does not grow. */
int pipe_run(struct runner *r, int input_fd, FILE *output, struct err *e);

/* Is it the record that is wrong, and not the program? */
bool pipe_is_records_fault(int code);

#endif
