/* What review, export and import share: the project's records opened, and the generate stage's manifest kept true when they
 * change by hand. */
#ifndef CMD_RECORDS_VERBS_H
#define CMD_RECORDS_VERBS_H

#include "cmd/cmd.h"
#include "cmd/project.h"
#include "store/store.h"

struct records_verb {
    struct project project;
    struct task task;
    struct store *store;
};

int records_open(struct cmd_ctx *c, enum store_mode mode, struct records_verb *out);
void records_close(struct records_verb *r);

/* New records get their split, and records.manifest.json the hashes of the records as they are now: what is trained from them is
 * stale then, generation is not. */
int records_changed(struct cmd_ctx *c, struct records_verb *r);

#endif
