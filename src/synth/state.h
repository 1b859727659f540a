/* Inside src/synth/ only: the grid's state as the store has it. */
#ifndef SYNTH_STATE_H
#define SYNTH_STATE_H

#include "store/store.h"
#include "synth/grid.h"
#include "task/task.h"

/* A stored record's data as a record of the task. */
int state_record(const struct task *t, struct arena *a, const char *data, struct record *out, struct err *e);

/* Counts of labels and cells from all records in the order of their ids. */
int state_load(struct grid *g, const struct task *t, struct store *s, struct err *e);

/* Spare records fill quotas that have room (raised with --records); of a quota that was lowered the latest records of the
 * teacher's become spare. Own rows always stay. */
int state_restore_spares(struct grid *g, const struct task *t, struct store *s, struct err *e);

#endif
