/* Running a program with its output caught: for doctor (does it start?) and for the probe of a device. */
#ifndef CMD_PROBE_H
#define CMD_PROBE_H

#include "base/err.h"
#include "base/str.h"
#include <stddef.h>

/* Runs argv (looked up in PATH), standard output and error into `line`: the first line that is not empty, cut to n bytes.
 * ERR_FAILED when it cannot be started, does not end within timeout_ms or ends with another status than 0. */
int probe_program(const char *const argv[], int timeout_ms, char *line, size_t n, struct err *e);

/* Runs argv with `script` on its standard input and adds what it says to `out`, at most 16 KB. The same errors. */
int probe_script(const char *const argv[], const char *script, int timeout_ms, struct str *out,
                 struct err *e);

#endif
