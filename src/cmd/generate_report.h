/* What generation says: the way that was chosen and why, the first small batch, what there is at the end, what was rejected with
 * examples. For people on standard output, for programs in the verb's document. */
#ifndef CMD_GENERATE_REPORT_H
#define CMD_GENERATE_REPORT_H

#include "cmd/cmd.h"
#include "store/store.h"
#include "synth/generate.h"

struct generate_reporting {
    struct cmd_ctx *c;
    const struct task *task;
    struct store *store;
};

/* Many own rows, few, or none: who makes the records, and why. */
int generate_report_way(struct cmd_ctx *c, const struct task *t, struct store *s, bool has_teacher);

/* generate_options.first; the context is a struct generate_reporting. */
void generate_report_first(void *context, const struct grid *g);

/* Cells that gave less than their share, with the reason: the label's quota was filled from others. */
void generate_report_cells(struct cmd_ctx *c, const struct generate_report *r);

/* Counts by label, split, source and reason, up to three examples a reason, and the ledger. */
int generate_report_summary(const struct generate_reporting *r, bool has_teacher);

#endif
