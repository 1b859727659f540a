/* The user's own labelled rows become records: every row, under its own label, set apart into splits at once (so that test rows
 * are apart before anything else happens). */
#ifndef SYNTH_OWN_H
#define SYNTH_OWN_H

#include "base/err.h"
#include "store/store.h"
#include "synth/split.h"
#include "task/task.h"

struct own_options {
    const char *path;         /* CSV, or JSON Lines */
    const char *label_column; /* NULL: "label" */
    struct split_shares shares;
    uint64_t seed;
    bool balance; /* training rows: of every label as many as of the rarest; the others become spare */
};

/* Does nothing when the same file was imported before (*n_new is 0). ERR_MISMATCH when it was another: its rows are in the splits. */
int own_import(struct store *s, const struct task *t, const struct own_options *o, int64_t *n_new,
               struct err *e);

#endif
