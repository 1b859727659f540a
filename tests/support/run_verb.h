/* Verbs as a user would type them, run in the test's own process. */
#ifndef TESTS_RUN_VERB_H
#define TESTS_RUN_VERB_H

#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_WORDS   ((const char *const[]){NULL})

/* `edgestill VERB [--project PROJECT] --quiet [--threads 1] WORDS…` (project NULL: without; one_thread: others use this machine
 * too): the code. *result (may be NULL) becomes a new reference to the document; *e is set anew. */
int run_verb(const char *verb, const char *project, bool one_thread, json_t **result, struct err *e,
             const char *const words[]);

#endif
