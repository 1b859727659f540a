/* Verbs as a user would type them, run in the test's own process. */
#include "run_verb.h"
#include "cmd/cmd.h"

int run_verb(const char *verb, const char *project, bool one_thread, json_t **result, struct err *e,
             const char *const words[]) {
    const char *argv[32] = {verb, "--quiet"};
    int argc = 2;
    if (project) {
        argv[argc++] = "--project";
        argv[argc++] = project;
    }
    if (one_thread) {
        argv[argc++] = "--threads";
        argv[argc++] = "1";
    }
    for (int i = 0; words[i]; i++)
        argv[argc++] = words[i];
    json_t *document = NULL;
    *e = (struct err){0};
    int code = cmd_run_verb(argc, argv, &document, e);
    if (result)
        *result = document;
    else
        json_decref(document);
    return code;
}
