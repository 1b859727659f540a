/* The task out of the user's own rows: inferred, its questions asked of the person at the terminal, its findings shown. */
#ifndef CMD_TASK_ROWS_H
#define CMD_TASK_ROWS_H

#include "cmd/cmd.h"
#include "cmd/project.h"
#include "synth/infer.h"

/* `kind`: --kind, or NULL. Appends the text of task.yaml with the findings as comments; the findings go into c->result, too. */
int task_from_rows(struct cmd_ctx *c, struct project *p, const char *name, const char *kind,
                   struct str *yaml);

#endif
