/* One value of a record: from raw text to what is printed and compared. Used by record.c and tested by
 * itself. */
#ifndef TASK_VALUE_H
#define TASK_VALUE_H

#include "task/task.h"

#define VALUE_MISSING_TEXT "unknown"

struct value value_missing(void);

/* Parses `raw` (NULL: missing) as the declared field's type; see record_build for what is accepted. */
int value_parse(const struct task_field *f, struct arena *a, bool strict, const char *raw, struct value *out,
                struct err *e);

/* The derived field's value from the record's declared ones. */
int value_derive(const struct task_field *f, struct arena *a, const struct value declared[],
                 struct value *out, struct err *e);

/* Days since 1970-01-01 in the proleptic Gregorian calendar of "YYYY-MM-DD" at the start of `text`; a time
 * after a 'T' or blank is passed over. False when it is no date. */
bool value_date_days(const char *text, int64_t *days);

#endif
