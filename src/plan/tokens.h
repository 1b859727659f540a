/* How many tokens a decision of a task takes: counted with a base's own tokenizer where its file is there, estimated from
 * the text's length where not. Sets everything of `out` but n_records and epochs. */
#ifndef PLAN_TOKENS_H
#define PLAN_TOKENS_H

#include "plan/predict.h"
#include "task/task.h"

/* gguf NULL: estimate. */
int plan_count_tokens(const struct task *t, const char *gguf, struct predict_task *out, struct err *e);

#endif
