/* Numbers as the sentence writes them. The embedded teacher copies a range and slips beside it: a field "from -20 to 8" that is judged by
 * 2.5 came out whole, thousandths as hundredths, a unit that it does not know ("C") as a neighbour's. What the sentence states beside a
 * field's name, in the grammar of seed/README.md, needs no model to be read. */
#ifndef SYNTH_DRAFT_NUMBERS_H
#define SYNTH_DRAFT_NUMBERS_H

#include "base/err.h"
#include "base/str.h"
#include "task/task.h"

/* Sets type, decimals (the most that range or thresholds have) and unit of each numeric field whose range the sentence states by
 * its name: "a NAME from A to B UNIT", "a NAME (A to B UNIT)", "a NAME between A and B UNIT"; the others stay as they are. A
 * range that is not the drafted one is complained about (appended; nothing is changed then). ERR_NO_MEMORY. */
int draft_settle_numbers(struct task *t, const char *sentence, struct str *complaint, struct err *e);

/* ERR_UNSUPPORTED naming the first field whose numbers the embedded teacher does not compare: beyond 9999, or with decimals
 * beyond 999, or with more than two of them. What it gets right of 200 rows each, three values in five near a threshold: 0 to
 * 9999 100%, 0 to 50000 94%, 0.00 to 900.00 99.5%, 0.00 to 5000.00 68%, 9.900 to 10.100 86%. */
int draft_check_numbers(const struct task *t, struct err *e);

/* ERR_UNSUPPORTED where the task is not one that the embedded teacher labels: two labels, and a rule over the fields in a definition
 * of theirs. Of a third label it made the second one; of "as 9 of the 60 rows show" nothing. */
int draft_check_rule(const struct task *t, struct err *e);

#endif
