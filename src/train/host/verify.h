/* The hand-over gate: does llama.cpp, running what was exported, answer as the trainer does? */
#ifndef TRAIN_HOST_VERIFY_H
#define TRAIN_HOST_VERIFY_H

#include "task/task.h"
#include "train/dataset.h"

struct verify {
    const char *model; /* GGUF to run */
    const char *lora;  /* adapter to apply; NULL: none */
    const struct task *task;
    const struct dataset *rows;
    const double *log_prob; /* the trainer's, as train_score gives them */
    int64_t n_rows;         /* how many to compare; at most rows->n_rows */
    double tolerance;       /* on a label's probability among the labels */
    int n_threads;
};

/* ERR_MISMATCH naming file, record and both probabilities when one differs by more than the tolerance. *worst (may be NULL)
 * gets the largest difference. */
int verify_run(const struct verify *v, double *worst, struct err *e);

#endif
