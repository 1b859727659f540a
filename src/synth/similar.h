/* Is a record new? Exact copies by hash, near copies by shape: two records are near when every category, date and missing
 * value is equal, every number lies in the same hundredth of its field's range (at least one printed unit), and the texts,
 * if the task has any, share at least 80% of their five-character pieces (Jaccard; candidates by MinHash, then counted).
 *
 *     struct similar *s;
 *     similar_new(&s, task, &e);
 *     switch (similar_find(s, &record)) { case SIMILAR_NEW: similar_add(s, &record, false, &e); ... }
 *     similar_free(s);
 *
 * Time per record does not depend on how many there are; memory is about 40 bytes a record, with texts about 200 and the
 * texts themselves. */
#ifndef SYNTH_SIMILAR_H
#define SYNTH_SIMILAR_H

#include "base/err.h"
#include "task/task.h"
#include <stdbool.h>

struct similar;

enum similar_verdict {
    SIMILAR_NEW,
    SIMILAR_EXACT,
    SIMILAR_NEAR,
    SIMILAR_HELD_OUT /* exact copy of a held-out row */
};

int similar_new(struct similar **out, const struct task *t, struct err *e); /* the task must outlive it */
void similar_free(struct similar *s);                                       /* NULL is fine */

enum similar_verdict similar_find(const struct similar *s, const struct record *r);

/* `held_out`: a row that generated records must not repeat. */
int similar_add(struct similar *s, const struct record *r, bool held_out, struct err *e);

#endif
