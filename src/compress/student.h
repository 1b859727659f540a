/* The student in memory as floats, with its vocabulary and prompt: what compression needs of the trainer's side. Rows become
 * tokens exactly as training, evaluation and device make them.
 *
 *     struct student s;
 *     student_open(&s, "train/merged-f16.gguf", task, n_threads, &e);
 *     struct dataset d = {0};
 *     student_rows(&s, &d, rows, 256, &e);
 *     ... nn_forward_backward(&s.model, ...) ...
 *     dataset_release(&d);
 *     student_release(&s); */
#ifndef COMPRESS_STUDENT_H
#define COMPRESS_STUDENT_H

#include "eval/rows.h"
#include "llama/lm.h"
#include "model/file.h"
#include "task/encode.h"
#include "train/dataset.h"

struct student {
    struct model_file *file;
    struct ops ops;
    struct nn_model model; /* weights as in the file; nothing is trained yet */
    struct lm *lm;         /* vocabulary alone */
    const struct task *task;
    struct prompt prompt;
    struct dataset_form form; /* points into the next three */
    struct tokens head, *answers;
    struct token_span *spans;
};

/* ERR_UNSUPPORTED: the trainer does not know the architecture, or the task does not choose between labels. On failure there is
 * nothing to release. */
int student_open(struct student *s, const char *gguf, const struct task *t, int n_threads, struct err *e);
/* The same of a base that was not trained yet, in the form in which its student is asked. */
int student_open_base(struct student *s, const char *gguf, const struct task *t, struct prompt_form form,
                      int n_threads, struct err *e);
void student_release(struct student *s); /* safe to repeat */

/* Rows as data for training: n of them taken evenly over all (0 or more than there are: all). d is empty before. */
int student_rows(const struct student *s, struct dataset *d, const struct rows *rows, int64_t n,
                 struct err *e);

/* log P(answer) of every label for every row of d, into log_prob [n_rows, n_labels]. */
int student_score(struct student *s, const struct dataset *d, double *log_prob, struct err *e);

/* In place, [n_rows, n_labels]: log P of the answers to probabilities of the labels, which add up to 1. */
void student_probabilities(double *log_prob, int64_t n_rows, int n_labels);

#endif
