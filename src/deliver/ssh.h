/* The user's own ssh, with its keys, configuration and jump hosts: runs short shell scripts on another machine.
 *
 *     struct ssh s;
 *     ssh_open(&s, "pi@raspberrypi", NULL, &e);
 *     ssh_run(&s, &(struct ssh_call){.script = "uname -m", .out = &text}, &status, &e);
 *     ssh_close(&s);
 *
 * All calls share one connection where ssh can do that (a control socket in a folder of its own). A script is POSIX sh, is run by
 * `sh -c` whatever the login shell is, and gets `args` as $1 and on. Nothing is ever taken from or put into the user's ssh
 * configuration. */
#ifndef DELIVER_SSH_H
#define DELIVER_SSH_H

#include "base/err.h"
#include "base/progress.h"
#include "base/str.h"
#include <stdbool.h>

struct ssh {
    char command[512]; /* "ssh", or the user's own with its options, split into words as a shell does */
    char host[256];
    char control[64]; /* folder of the socket; "" none */
};

/* `command` NULL: EDGESTILL_SSH, else "ssh". ERR_USAGE for a host that ssh could take for an option, and for a
 * command that cannot be split (a quote that is not closed). */
int ssh_open(struct ssh *s, const char *host, const char *command, struct err *e);
void ssh_close(struct ssh *s); /* safe to repeat */

enum { SSH_ARGS = 6 };

struct ssh_call {
    const char *script;
    const char *args[SSH_ARGS]; /* up to the first NULL */
    const char *input;          /* a text for its standard input, or */
    const char *input_path;     /* a file, from input_offset on; both NULL: nothing */
    int64_t input_offset;
    struct str *out;           /* its standard output, appended; NULL: thrown away */
    bool echo;                 /* show the output as it comes */
    struct progress *progress; /* of input_path, in bytes from progress_base on; NULL: none */
    int64_t progress_base;
};

/* *status is the script's exit status. ERR_NET when ssh itself failed (it says why on standard error), ERR_INTERRUPTED after a
 * signal. */
int ssh_run(struct ssh *s, const struct ssh_call *q, int *status, struct err *e);

#endif
