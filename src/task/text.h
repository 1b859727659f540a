/* Text helpers of the task folder: YAML scalars, numbers whatever the locale. */
#ifndef TASK_TEXT_H
#define TASK_TEXT_H

#include "base/mem.h"
#include "base/str.h"

/* Appends `text` as a YAML scalar: plain where nothing in it could be misread, else quoted. */
void text_add_yaml(struct str *out, const char *text);

/* Appends `number` with exactly `decimals` digits after a point; never "-0". */
void text_add_number(struct str *out, double number, int decimals);

/* `text` trimmed, with every run of white space and control characters made one space. NULL when out of
 * memory. */
char *text_squeeze(struct arena *a, const char *text);

#endif
