/* One table of cases drives the comparison of any operations table with the reference: the same random inputs through both, the
 * outputs compared. */
#ifndef SUPPORT_OP_CASES_H
#define SUPPORT_OP_CASES_H

#include "tensor/ops.h"

struct op_case_result {
    const char *name;
    double error; /* largest |difference| / (rms of the reference's output + |reference|) over all outputs */
};

int op_cases_count(void);
/* Runs case i through both tables. */
struct op_case_result op_cases_compare(int i, const struct ops *reference, const struct ops *candidate);

#endif
