/* The table of verbs and the way from argv to one of them. */
#ifndef CMD_VERBS_H
#define CMD_VERBS_H

#include "cmd/cmd.h"

/* The whole program but main: picks the verb (or help, --version), runs it, prints the --json document and the error.
 * Returns the process's exit code. argv[0] is the program's name. */
int verbs_main(int argc, const char *const argv[]);

/* NULL when there is none. */
const struct verb *verbs_find(const char *name);

#endif
