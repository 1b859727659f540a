/* Crossed records: the corners that decide, combined with each other.
 *
 * A teacher that is asked for "spoiled with packaging insulated" writes what it finds likely, and a rule's rarer ways are left
 * out: hot shipments that are not passive were 0.6% of the records and a seventh of what a student met. Here the fields that
 * the labels' definitions mention (bins.h) are drawn anew, each from one of its bins at random, independently of the others;
 * all other fields stay as the teacher wrote them for some record. What such a record is, the teacher says: crossed records
 * are pending and get their label like all others. */
#ifndef SYNTH_CROSS_H
#define SYNTH_CROSS_H

#include "base/err.h"
#include "store/store.h"
#include "synth/similar.h"
#include "task/task.h"

#define CROSS_CELL "crossed" /* their cell in the store */

/* Adds crossed records up to `n` in all, as pending; each is a function of the seed, its number and the records that were there.
 * *added: how many this call; 0 where no definition names a threshold or a value, or no record has been written yet. */
int cross_records(struct store *s, const struct task *t, struct similar *similar, int64_t n, uint64_t seed,
                  int64_t *added, struct err *e);

#endif
