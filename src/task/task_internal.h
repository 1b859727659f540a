/* What the files that load a task share. */
#ifndef TASK_TASK_INTERNAL_H
#define TASK_TASK_INTERNAL_H

#include "task/task.h"

#define TASK_ORIGIN "task_from_node" /* where all complaints come from */
enum { TASK_NAME_MAX = 80 };         /* bytes of a name */

int task_no_memory(struct err *e);
/* Text of a scalar as written: a label "1" may stand without quotes. NULL for lists, maps and null. */
const char *task_scalar(const struct node *n);
/* Why `text` cannot be a name of a field or label, a category's value, or a sentence; NULL when it can. */
const char *task_text_fault(const char *text, size_t max_bytes, bool is_name);
/* A scalar child copied into the task; absent leaves *out as it is unless required. */
int task_take_text(struct task *t, const struct node *map, const char *key, bool required, bool is_name,
                   const char **out, struct err *e);

/* One more declared field, into t->fields[t->n_fields++], which has room. */
int task_load_field(struct task *t, const struct node *n, struct err *e);
/* 'fields' and 'derived' of a task. */
int task_load_fields(struct task *t, const struct node *root, struct err *e);

#endif
