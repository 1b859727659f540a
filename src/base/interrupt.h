/* Ctrl-C and SIGTERM ask for a clean end: long loops look at interrupt_requested() and return ERR_INTERRUPTED
 * with everything resumable. A second signal ends at once, unless it comes within a third of a second: `timeout`, shells and
 * supervisors send one to the process and once more to its group. */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include "base/err.h"
#include <stdbool.h>

void interrupt_install(void);
bool interrupt_requested(void);
int interrupt_check(
    struct err *e); /* 0, or ERR_INTERRUPTED with the hint "run the same command again to go on" */

#endif
