/* A small task with records of its own, for tests that need something to decide: three fields, one derived, two labels,
 * and a rule ("suspicious" when the delay is under 4 days, or the visit is an emergency and the share below 0.5). */
#ifndef TESTS_TINY_TASK_H
#define TESTS_TINY_TASK_H

#include "base/rng.h"
#include "llama/lm.h"
#include "task/prompt.h"
#include "task/task.h"

int tiny_task(struct task *t, struct err *e);
int tiny_prompt(struct prompt *p, const struct task *t, const struct lm *m, struct err *e);
/* A random record with its label by the rule, in `a`. */
struct record tiny_record(const struct task *t, struct arena *a, struct rng *r);

#endif
