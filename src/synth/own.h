/* The user's own labelled rows become records: every row, under its own label, set apart into splits at once (so that test rows
 * are apart before anything else happens): stratified by label, whole groups together, or the latest rows last.
 *
 * By group: groups are drawn by seed until each split has its share of the rows. By time: rows sorted by their key (numbers as
 * numbers, dates in the field's order or in the only one that fits all, all else as text, so YYYY-MM-DD too); the last are test
 * rows, those before them validation rows; equal keys stay together. With few keys each split that has a share gets one, as long
 * as one is left to train on; test rows come first. */
#ifndef SYNTH_OWN_H
#define SYNTH_OWN_H

#include "base/err.h"
#include "eval/rows.h"
#include "store/store.h"
#include "synth/split.h"
#include "task/task.h"

enum { BALANCE_ROWS_MAX = 4 };

struct own_options {
    const char *path;         /* CSV, or JSON Lines */
    const char *label_column; /* NULL: "label" */
    struct split_shares shares;
    uint64_t seed;
    const char *group, *time; /* columns, of which one at most; NULL: stratified */
    /* rows that eval alone may see: own copies of them are rejected; NULL: none */
    const struct rows *held_out;
    /* training rows: every label weighs the same; beyond BALANCE_ROWS_MAX for one of the rarest label they become
     * spare */
    bool balance;
};

/* Does nothing when the same file was imported before (n_new is 0). ERR_MISMATCH when it was another: its rows are in the splits. */
struct own_result {
    int64_t n_new;
    int64_t n_held_out; /* of these, rejected because held-out rows have them too */
};
int own_import(struct store *s, const struct task *t, const struct own_options *o, struct own_result *out,
               struct err *e);

#endif
