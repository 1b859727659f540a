/* Options of verbs: parsing, help and documentation from the one table that each verb has (cmd.h). */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include "cmd/cmd.h"

/* What was typed for one option, in the order of the verb's table and then the common one. Ends with def NULL. */
struct option_value {
    const struct option_def *def;
    const char **texts; /* as typed, borrowed from argv; "" for a flag */
    int n_texts;
};

/* --project, --json, --quiet and --help, which every verb has. */
extern const struct option_def options_common[];

/* Fills project_dir, json, quiet, args and values of `c`, whose verb is set. argv[0] is the verb's name; strings stay
 * borrowed from argv. ERR_USAGE names option and value; what was read so far is there then (a --help among it counts). */
int options_parse(struct cmd_ctx *c, int argc, const char *const argv[], struct err *e);
void options_release(struct cmd_ctx *c);

/* What --help prints for a verb, and the same as a section of docs/commands.md. Appended. */
void options_help(const struct verb *v, struct str *out);
void options_markdown(const struct verb *v, struct str *out);

#endif
