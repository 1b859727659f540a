/* Asking somebody else: a command that is called for a record that was left undecided.
 *
 * It is run by the shell. On its standard input is one line, {"record":{...},"answer":{...}}, the record as it came and what the
 * model would have said; the first line of its standard output is the other answer. It may ask a person, a bigger model, a
 * queue. */
#ifndef DEVICE_ESCALATE_H
#define DEVICE_ESCALATE_H

#include "base/err.h"
#include "base/str.h"

enum { ESCALATE_TIMEOUT_MS = 30000, ESCALATE_MAX_BYTES = 4096 };

/* The first line without its line end, appended to `out`. ERR_FAILED when the command cannot be run, exits with another status than
 * 0, says nothing, begins with a line of ESCALATE_MAX_BYTES and more, or takes longer than timeout_ms (it is ended then). One that says more
 * than ESCALATE_MAX_BYTES is ended as well: its first line stands. */
int escalate(const char *command, const char *request, int64_t timeout_ms, struct str *out, struct err *e);

#endif
