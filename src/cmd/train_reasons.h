/* The reasons that the teacher gave for the labels of records, out of the journal, for train_rows_from.rationale. */
#ifndef CMD_TRAIN_REASONS_H
#define CMD_TRAIN_REASONS_H

#include "store/store.h"
#include "task/task.h"

struct train_reasons {
    struct store *store;
    const struct task *task;
};

/* `context` is a struct train_reasons. *text stays NULL for own rows, answers without reasons, and labels that are not what that
 * answer said (somebody corrected them): reasons for another label would teach the wrong one. */
int train_reasons_of(void *context, const struct store_record *r, struct arena *a, const char **text,
                     struct err *e);

#endif
