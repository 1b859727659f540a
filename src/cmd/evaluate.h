/* Evaluating a project's models and teacher over one set of rows: what is there, what was scored before, what is new.
 *
 *     struct evaluation v;
 *     evaluation_open(&v, &settings);
 *     for each who: evaluation_run(&v, who);    // v.one[who] holds scores and document, or the reason for neither
 *     for the others: evaluation_recall(&v, who); // what is known of them already
 *     evaluation_close(&v);
 *
 * Each outcome is kept as eval/<who>.json and eval/<who>.rows.csv with a key over everything that decided it, so that nothing is
 * scored or asked twice. */
#ifndef CMD_EVALUATE_H
#define CMD_EVALUATE_H

#include "cmd/cmd.h"
#include "cmd/project.h"
#include "eval/result.h"
#include "plan/plan.h"

/* name on the command line and of the files, key in the summary, model below the project (NULL: elsewhere) */
#define EVALUATED(X)                                                                                         \
    X(BASE, "base", "base", NULL)                                                                            \
    X(STUDENT_F16, "student-f16", "student_f16", "train/merged-f16.gguf")                                    \
    X(STUDENT_QUANT, "student-quant", "student_quant", "model/student.gguf")                                 \
    X(TEACHER, "teacher", "teacher", NULL)

enum who {
#define X(name, text, key, path) WHO_##name,
    EVALUATED(X)
#undef X
        WHO_COUNT
};
const char *who_name(enum who w);
const char *who_key(enum who w);

struct evaluation_settings {
    struct cmd_ctx *c; /* the verb: its project, and its options about the teacher (teaching.h) */
    const char *rows_path, *label_column, *validation; /* NULL: as the project says; validation NULL: none */
    int64_t limit, n_free;
    int n_threads;
    bool force; /* score again what was scored before */
};

struct evaluated {
    struct scores scores, validation;
    json_t *document;  /* NULL: not evaluated */
    bool reused;       /* scored by an earlier call */
    char skipped[320]; /* why there is no document; "" otherwise */
    bool waiting;      /* skipped for want of a yes to its cost */
};

struct evaluation {
    const struct evaluation_settings *settings;
    struct project project;
    struct task task;
    struct plan plan;
    struct rows rows, validation;
    bool has_validation;
    struct str base_path;                                /* the base's GGUF */
    char task_hash[SHA256_HEX], prompt_hash[SHA256_HEX]; /* prompt: of the first model scored */
    struct evaluated one[WHO_COUNT];
};

/* Errors go to the verb's own err. Opens the project and reads the rows; ERR_GATE before the task and plan are accepted. */
int evaluation_open(struct evaluation *v, const struct evaluation_settings *s);
void evaluation_close(struct evaluation *v);

/* Scores, or finds what was scored. Not being able to (no such model yet, no leave to ask the teacher) is no error: one[w].skipped
 * says why. */
int evaluation_run(struct evaluation *v, enum who w);

/* Only finds what was scored before over the same rows; nothing is scored or asked. */
int evaluation_recall(struct evaluation *v, enum who w);

/* The model's file of `w`; NULL for the teacher. Borrowed. */
const char *evaluation_model(struct evaluation *v, enum who w);

#endif
