/* Own rows before a teacher: which columns of them it may see, and the entry that stays in the ledger.
 *
 *     struct rows seen = {0};
 *     sharing_view(&project, &task, &rows, &seen, &e);     // without what is not named
 *     sharing_enter(store, &project, &task, &(struct sharing){"gate", rows.source, teacher_name(t), n}, &e);
 *     ... ask with seen.records ...
 *     rows_release(&seen);
 *
 * The caller has seen that share_rows is true. */
#ifndef CMD_SHARING_H
#define CMD_SHARING_H

#include "cmd/project.h"
#include "eval/rows.h"
#include "store/store.h"
#include <jansson.h>

/* ERR_INPUT when data.share_columns names something that is no field of the task, which is then in no request anyhow. */
int sharing_check(const struct project *p, const struct task *t, struct err *e);

/* The fields that are shared, as a list of texts: those of share_columns, or all declared ones. NULL when out of memory. */
json_t *sharing_columns(const struct project *p, const struct task *t);

/* The same by field, in the arena of the project: [n_declared] of the task. ERR_NO_MEMORY. */
int sharing_fields(struct project *p, const struct task *t, const bool **out, struct err *e);

/* `rows` as the teacher is to see them: values of fields that are not shared are missing, and so is what is derived from them.
 * Labels and answers stay, which are never sent. *out is the caller's (rows_release) and needs `rows` no longer. */
int sharing_view(const struct project *p, const struct task *t, const struct rows *rows, struct rows *out,
                 struct err *e);

struct sharing {
    const char *what; /* "gate", "exemplars", "eval" */
    const char *from; /* where the rows are from */
    const char *teacher;
    int64_t n_rows; /* at most so many */
};

/* Notes in the store who may see what, before it is sent; what is noted already is not noted twice. */
int sharing_enter(struct store *s, const struct project *p, const struct task *t, const struct sharing *x,
                  struct err *e);

/* All entries: [{"at","what","from","rows","columns":[...],"teacher"}, ...]; an empty list where nothing was shared. */
json_t *sharing_ledger(struct store *s);

#endif
