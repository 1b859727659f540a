/* Is it a record of this task? Records on a device are taken as leniently as they come, so what looks like a mistake is said: one
 * without any known field is refused, one without a field that the task needs is decided and marked. */
#ifndef DEVICE_FIELDS_H
#define DEVICE_FIELDS_H

#include "base/err.h"
#include "base/mem.h"
#include "format/node.h"
#include "task/task.h"

/* ERR_INPUT when `record` is no object, or has none of the task's fields; the hint names them. */
int fields_check(const struct task *t, const struct node *record, struct err *e);

/* Lists of names as JSON (["delay"]), in the arena; NULL where there is nothing to say. `missing`: declared fields without a
 * value that are not optional. `unknown`: entries that are no field of the task nor "id", only where something is missing: a
 * name misspelt? `outside`: fields whose value is beyond the declared range or none of the declared values, so that the model
 * was trained on none like it. */
struct fields_doubt {
    const char *missing, *unknown, *outside;
};
int fields_doubt(const struct task *t, const struct node *object, const struct record *record,
                 struct arena *a, struct fields_doubt *out, struct err *e);

/* "delay, visit type": the declared fields, appended. */
void fields_names(const struct task *t, struct str *out);

#endif
