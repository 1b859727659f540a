/* What two numbers of the user's own rows say together and neither says alone: their ratio or difference tells the labels apart. A
 * model of a few million parameters reads digits and compares them; to divide one number by another is more than it learns from some
 * thousand rows, while a derived field gives it the quotient.
 *
 *     struct relation r[RELATIONS_MAX];
 *     int n = relate_find(&profile, use, r, &e);
 *     for (int i = 0; i < n; i++) ... task_op_name(r[i].op), profile.columns[r[i].a].name, … ...
 *
 * Measured as mutual information with the label, in equally filled bins, less its bias of (bins - 1)(labels - 1) / 2n (Miller, Note on
 * the bias of information estimates, 1955), as a share of the label's own entropy. A relation counts when it explains clearly more than
 * either column and than both together in a coarse grid: two numbers that each matter by themselves are none. */
#ifndef SYNTH_RELATE_H
#define SYNTH_RELATE_H

#include "synth/profile.h"

enum { RELATIONS_MAX = 3 };

struct relation {
    enum derived_op op; /* DERIVED_RATIO: a / b, mostly below 1; DERIVED_DIFFERENCE: a - b */
    int a, b;           /* columns */
    int decimals;       /* that tell its values apart */
    double alone;       /* share of the label's entropy that the better column explains, 0 to 1 */
    double together;    /* that the relation explains */
};

/* The number of relations found, the strongest first, no column in two of them; 0 unless there is one label column. `use` by column:
 * those that may take part. Errors: ERR_NO_MEMORY. */
int relate_find(const struct profile *p, const bool *use, struct relation out[RELATIONS_MAX], struct err *e);

#endif
