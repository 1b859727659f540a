/* The embedded teacher's process: a real llama-server of the private prefix on a free loopback port, with a GGUF of ours, for as
 * long as this program lives. It has a process group of its own, so that Ctrl-C in the terminal leaves it alone until we stop
 * it, and the kernel ends it when this program dies in whatever way.
 *
 *     struct embedded *s;
 *     embedded_start(&s, &(struct embedded_options){.gguf = path, .slots = 4}, &e);   // waits until it answers /health
 *     ... embedded_url(s) ...
 *     embedded_stop(s); */
#ifndef TEACHER_EMBEDDED_H
#define TEACHER_EMBEDDED_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

struct embedded;

enum { EMBEDDED_SMALL_MODEL = 64 << 20 }; /* bytes; below, a second thread costs more than it brings */

struct embedded_options {
    const char *gguf;
    int slots;           /* requests at once [4] */
    int slot_tokens;     /* context of each [2048] */
    int n_threads;       /* [one a core; 1 for a file below 64 MiB] */
    const char *program; /* another llama-server; NULL: $EDGESTILL_LLAMA_SERVER, else the built-in one */
};

int embedded_start(struct embedded **out, const struct embedded_options *o, struct err *e);
const char *embedded_url(const struct embedded *s); /* "http://127.0.0.1:PORT/v1" */
int64_t embedded_pid(const struct embedded *s);
/* ERR_TEACHER with the last thing it said when the process has ended. */
int embedded_check(struct embedded *s, struct err *e);
void embedded_stop(struct embedded *s); /* NULL is fine */

#endif
