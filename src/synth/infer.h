/* From the user's own rows to a task, with no teacher: types, ranges, values, what may be missing, the labels or the answer's fields,
 * and what in the file would spoil a training set.
 *
 *     struct inference f;
 *     infer_task(&f, &(struct infer_options){.path = "rows.csv", .label = "class", .name = "claims", .sentence = s}, &e);
 *     for (int i = 0; i < f.n_findings; i++) ... f.findings[i].text ...
 *     ... f.task ...
 *     infer_release(&f);
 *
 * What cannot be decided from the rows is a question with choices, of which the first is taken unless `answers` says
 * otherwise: questions keep their order, so that asking, answering and inferring again ends. */
#ifndef SYNTH_INFER_H
#define SYNTH_INFER_H

#include "base/err.h"
#include "base/mem.h"
#include "task/task.h"

enum { INFER_FINDINGS_MAX = 256, INFER_CHOICES_MAX = 3 };

struct infer_options {
    const char *path,
        *label;        /* label: a column, several with commas, or a key of JSON Lines that holds an object */
    const char *group; /* the column by which rows are split: no field; NULL: none */
    const char *name, *sentence; /* of the task */
    int kind;                    /* enum task_kind + 1; 0: by what the label holds */
    const int *answers;          /* the choice for each question, by their order; NULL: the first */
    int n_answers;
};

/* X-macro: what a finding is about, as programs read it. */
#define INFER_FINDINGS(X)                                                                                    \
    X(IDENTIFIER, "identifier")                                                                              \
    X(GROUP, "group")                                                                                        \
    X(CONSTANT, "constant")                                                                                  \
    X(LEAK, "leak")                                                                                          \
    X(MISSING, "missing")                                                                                    \
    X(UNREADABLE, "unreadable")                                                                              \
    X(RELATION, "relation")                                                                                  \
    X(RARE, "rare label")                                                                                    \
    X(CONTRADICTION, "contradiction")                                                                        \
    X(TYPE, "type")                                                                                          \
    X(KIND, "kind")                                                                                          \
    X(ROWS, "rows")                                                                                          \
    X(ENCODING, "encoding")
enum infer_what {
#define X(name, text) INFER_##name,
    INFER_FINDINGS(X)
#undef X
};
const char *infer_what_text(enum infer_what w);

struct infer_finding {
    enum infer_what what;
    const char *column; /* NULL: the file */
    const char *text;   /* one line for people */
    int n_choices;      /* 0: no question */
    const char *choices[INFER_CHOICES_MAX];
    int chosen;
};

struct inference {
    struct arena arena;
    struct task task;
    int64_t n_rows;
    struct infer_finding findings[INFER_FINDINGS_MAX];
    int n_findings;
};

/* ERR_INPUT when no task can be made of the rows (no field is left, no label), with the reason. */
int infer_task(struct inference *out, const struct infer_options *o, struct err *e);
void infer_release(struct inference *f); /* safe to repeat */

#endif
