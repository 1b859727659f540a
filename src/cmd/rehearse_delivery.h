/* The second half of the export's rehearsal: from the merged file to the bundle, with records made up from the task's fields. */
#ifndef CMD_REHEARSE_DELIVERY_H
#define CMD_REHEARSE_DELIVERY_H

#include "cmd/project.h"
#include "plan/plan.h"

struct delivery {
    struct project *project;
    const struct task *task;
    const struct plan *plan;
    const char *merged, *trimmed, *quantised, *bundle; /* paths; bundle: a folder */
    int n_threads;
    bool was_trimmed,
        was_bundled; /* out; not bundled: there is no runtime for the device's architecture here */
    /* out: largest difference of log probabilities of labels by the trim; 0: none compared */
    double trimmed_off;
};

/* The vocabulary cut as compress cuts it; labels must be as probable as before. */
int delivery_trim(struct delivery *d, struct err *e);
/* Quantised as planned, it loads and answers. */
int delivery_answer(struct delivery *d, struct err *e);
/* The folder that the device gets. */
int delivery_bundle(struct delivery *d, struct err *e);

#endif
