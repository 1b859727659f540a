/* Crossed records: the corners that decide, combined with each other.
 *
 * A teacher that is asked for "spoiled with packaging insulated" writes what it finds likely, and a rule's rarer ways are left
 * out: hot shipments that are not passive were 0.6% of the records and a seventh of what a student met. Here the fields that
 * the labels' definitions mention (bins.h) are drawn anew, each from one of its bins at random, independently of the others;
 * all other fields stay as the teacher wrote them for some record. What such a record is, the teacher says: crossed records
 * are pending and get their label like all others.
 *
 * Once records are labelled, it shows which corners hold which label, and a label that is still short can be aimed at: a crossed
 * record is kept with the probability that its corner has had that label. So what is aimed at a label is spread over its corners
 * as crossed records of that label are, only without paying for the others. A teacher that finds one "suspicious" record in four
 * written as such is asked 1.25 questions for one in place of 5. */
#ifndef SYNTH_CROSS_H
#define SYNTH_CROSS_H

#include "base/err.h"
#include "store/store.h"
#include "synth/similar.h"
#include "task/task.h"

#define CROSS_CELL "crossed" /* their cell in the store; of those aimed at a label "crossed for LABEL" */

/* Adds crossed records up to `n` in all, as pending; each is a function of the seed, its number and the records that were there.
 * *added: how many this call; 0 where no definition names a threshold or a value, or no record has been written yet. */
int cross_records(struct store *s, const struct task *t, struct similar *similar, int64_t n, uint64_t seed,
                  int64_t *added, struct err *e);

/* What aiming at a label would give. */
struct cross_aim {
    int64_t n_aimed, n_hit; /* aimed records with a label so far; of these, with the one aimed at */
    double chance; /* that the next one gets it: by its corners' labels, and what came of those before */
    int64_t room;  /* records that may still be crossed: each donor lends its values to at most CROSS_USES */
};
enum { CROSS_USES = 8 };
int cross_aim(struct store *s, const struct task *t, int label, uint64_t seed, struct cross_aim *out,
              struct err *e);

/* Adds n (at most) records aimed at the label, as pending. *added as above. */
int cross_records_for(struct store *s, const struct task *t, struct similar *similar, int label, int64_t n,
                      uint64_t seed, int64_t *added, struct err *e);

#endif
