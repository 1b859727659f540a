/* Verbs: one file each (cmd_<verb>.c), one table (main.c), one table of options a verb. The option tables feed parsing,
 * --help and docs/commands.md, so they cannot drift. Every verb has --json, --help, --quiet and --project DIR (-C DIR, default ".").
 *
 *     static const struct option_def options[] = {
 *         {"device", OPTION_STRING, "NAME", "the device to build for (see: edgestill devices)", NULL}, {0}};
 *     const struct verb verb_plan = {"plan", "recommend base, method and quantisation", "[options]", options, run_plan};
 *
 * A verb's run() returns 0 or a negative err_code with ctx->err set; main prints it and exits with err_exit_code. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/err.h"
#include "base/str.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum option_type {
    OPTION_FLAG,
    OPTION_STRING,
    OPTION_INT, /* of 32 bits */
    OPTION_INT64,
    OPTION_NUMBER,
    OPTION_LIST /* may be repeated */
};

struct option_def {
    const char *name; /* long name without dashes */
    enum option_type type;
    const char *metavar;
    const char *help;
    const char *default_text; /* shown and used when absent; NULL: none */
};

struct cmd_ctx {
    const struct verb *verb;
    const char *project_dir;
    bool json, quiet;
    int n_args; /* positional arguments */
    const char *const *args;
    struct option_value *values; /* parsed options; use cmd_* below */
    json_t *result;              /* the --json document: a verb fills it whether or not --json was given */
    struct err err;
};

struct verb {
    const char *name, *summary, *usage;
    const struct option_def *options; /* ends with {0} */
    int (*run)(struct cmd_ctx *c);
};

bool cmd_flag(const struct cmd_ctx *c, const char *name);
const char *cmd_string(const struct cmd_ctx *c, const char *name); /* NULL when absent and no default */
int64_t cmd_int(const struct cmd_ctx *c, const char *name, int64_t absent);
double cmd_number(const struct cmd_ctx *c, const char *name, double absent);
int cmd_list(const struct cmd_ctx *c, const char *name, const char *const **out); /* count */

/* Text for people on standard output: shown unless --json or --quiet. */
void cmd_print(const struct cmd_ctx *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Runs another verb in this process as if typed ("run" drives the chain with it). argv[0] is the verb's name. *result
 * becomes a new reference to the verb's document, after a failure too (what it got to; NULL when it did not start). */
int cmd_run_verb(int argc, const char *const argv[], json_t **result, struct err *e);

/* X-macro of all verbs, in the order of the chain: declares verb_<name> and builds main's table. */
#define VERBS(X)                                                                                             \
    X(init)                                                                                                  \
    X(task)                                                                                                  \
    X(plan)                                                                                                  \
    X(generate)                                                                                              \
    X(review)                                                                                                \
    X(export)                                                                                                \
    X(import)                                                                                                \
    X(train)                                                                                                 \
    X(compress)                                                                                              \
    X(eval) X(bundle) X(deploy) X(run) X(status) X(report) X(devices) X(models) X(pull) X(probe) X(doctor)
#define X(name) extern const struct verb verb_##name;
VERBS(X)
#undef X

#endif
