/* Does a program start? For doctor: runs it with its output caught. */
#ifndef CMD_PROBE_H
#define CMD_PROBE_H

#include "base/err.h"
#include <stddef.h>

/* Runs argv (looked up in PATH), standard output and error into `line`: the first line that is not empty, cut to n bytes.
 * ERR_FAILED when it cannot be started, does not end within timeout_ms or ends with another status than 0. */
int probe_program(const char *const argv[], int timeout_ms, char *line, size_t n, struct err *e);

#endif
