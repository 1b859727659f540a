/* What deploy brought back, for the planner: the newest receipt of a board of the planned device's family. Where its bundle is no longer in
 * dist/, what it says of the board alone counts: rates by type, memory. */
#ifndef CMD_PLAN_FEEDBACK_H
#define CMD_PLAN_FEEDBACK_H

#include "catalog/catalog.h"
#include "cmd/project.h"
#include "plan/feedback.h"

struct plan_feedback {
    bool found;
    struct feedback run; /* where found */
    struct str unused;   /* a line for each receipt that could not be used, with the reason */
};
/* Everything but `unused` lives in the project's arena. Emulated receipts and those of the building machine are passed over in
 * silence: they say nothing of the device. */
int plan_feedback_read(struct project *p, const struct catalog *c, const struct catalog_device *d,
                       struct plan_feedback *out, struct err *e);
void plan_feedback_release(struct plan_feedback *f);

#endif
