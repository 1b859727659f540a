/* The corners of one field's range, from which records are asked for: the values of a category; a number's range cut where the
 * labels' definitions cut it, so that no side of a threshold is left to chance, and a narrow strip on each side of a cut, where
 * the boundary is learned; thirds where they do not mention the field. */
#ifndef SYNTH_BINS_H
#define SYNTH_BINS_H

#include "task/task.h"
#include "teacher/protocol.h"

enum { BINS_MAX = 24 };

/* Fills out[BINS_MAX] with the field's bins, from the lowest; returns how many, 0 for a field that has none (text, no range,
 * too many values). *decisive: the definitions cut it, or name one of its values. */
int bins_of(const struct task *t, int field, struct protocol_hint *out, bool *decisive);

/* Where two labels meet: in one numeric field on either side of a cut (a range of one strip below it and one above), in the value of a
 * category that the definitions name, or, in a task whose definitions name neither, anywhere (`at.field` -1). A cut is one between
 * the labels whose definitions name it and the one that is "otherwise"; where there is no such label, all others. */
struct boundary {
    int first, second; /* labels */
    struct protocol_hint at;
};
enum { BOUNDARIES_MAX = 24 };
int boundaries_of(const struct task *t, struct boundary *out); /* [BOUNDARIES_MAX]; returns how many */

#endif
