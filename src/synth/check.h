/* What becomes of a teacher's WRITE answer: records that keep to the task, or a reason why not. */
#ifndef SYNTH_CHECK_H
#define SYNTH_CHECK_H

#include "base/err.h"
#include "base/mem.h"
#include "task/task.h"
#include "teacher/teacher.h"

/* name, text as stored and shown */
#define REJECTS(X)                                                                                           \
    X(TRUNCATED, "cut off")                                                                                  \
    X(REFUSED, "refused")                                                                                    \
    X(NO_JSON, "no JSON")                                                                                    \
    X(EMPTY, "no records in the answer")                                                                     \
    X(SCHEMA, "breaks the schema")                                                                           \
    X(DUPLICATE, "duplicate")                                                                                \
    X(NEAR_DUPLICATE, "near duplicate")                                                                      \
    X(HELD_OUT, "overlaps held-out rows")                                                                    \
    X(NO_LABEL, "no label in the answer")                                                                    \
    X(DISAGREEMENT, "label disagreement") /* of the asked and the given label */                             \
    X(SPLIT_VOTE, "votes disagree")
enum reject {
#define X(name, text) REJECT_##name,
    REJECTS(X)
#undef X
};
const char *reject_text(enum reject r);

/* Calls `good` for each record of the answer that is right by the task's schema, `bad` for each that is not and for an answer
 * without records; `index` counts through both. At least one of the two is called. Negative returns stop. */
struct check_sink {
    int (*good)(void *context, int index, const struct record *r, struct err *e);
    int (*bad)(void *context, int index, enum reject why, const char *text,
               struct err *e); /* text: what was there */
    void *context;
};
int check_written(const struct task *t, const struct teacher_answer *a, const struct check_sink *sink,
                  struct err *e);

#endif
