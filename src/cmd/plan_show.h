/* What `edgestill plan` found, shown: in cmd_plan.c it is put together, here it is written out. */
#ifndef CMD_PLAN_SHOW_H
#define CMD_PLAN_SHOW_H

#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/plan_feedback.h"
#include "cmd/project.h"
#include "plan/recommend.h"

/* What one run of the verb holds. */
struct planning {
    struct project project;
    struct task task;
    struct catalog catalog;
    const struct catalog_device *device;
    struct predict_host host;
    struct predict_teacher teacher;
    struct accuracy_measured measured;
    struct plan_feedback feedback;
    struct recommend_input input;
    int64_t n_own; /* labelled rows of the user's */
    struct recommendation result;
};

/* Head, options and what was dropped; with --all everything, with --why what each figure rests on. */
void plan_show(struct cmd_ctx *c, const struct planning *p);

/* The same, whole, into the --json document. */
void plan_show_result(struct cmd_ctx *c, const struct planning *p);

/* What the teacher will be asked for, by the code that `generate` quotes with, into p->teacher; a reason why not is said. plan_quote.c */
int plan_quote(struct cmd_ctx *c, struct planning *p);

#endif
