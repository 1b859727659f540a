/* Shared by the files of src/compress that make up a run: what is open, and the steps. */
#ifndef COMPRESS_INTERNAL_H
#define COMPRESS_INTERNAL_H

#include "compress/compress.h"

/* Invariants: `source` is what is quantised, the request's or the trimmed file; `student` is open, and `activity` and
 * `table` are there, exactly when `searching`. */
struct compress_run_state {
    const struct compress_request *q;
    struct compress_result *r;
    const char *source;
    struct student student;
    struct activity activity;
    struct bits_table table;
    struct imatrix *im;
    bool opened, searching;
    const char *kv_type; /* with which the next file is scored; NULL: "f16" */
    int capacity;        /* of r->candidates */
    int n_scored;        /* files whose answers were asked for: each run asks in the same order */
};

const char *compress_path(struct compress_run_state *x, const char *name);
const char *compress_candidate_path(struct compress_run_state *x, int i);
int compress_no_memory(struct err *e);

/* measure.c */
bool compress_measures(const struct compress_run_state *x);
/* `keep`: the answers are a file's that the request alone decides, so those of an interrupted run will do. */
int compress_score(struct compress_run_state *x, const char *gguf, const char *what, bool keep,
                   struct scores *out, struct err *e);
double compress_accuracy(const struct scores *s);
int compress_compare(struct compress_run_state *x, struct compress_candidate *c, struct err *e);
int compress_add_step(struct compress_run_state *x, const char *name, int64_t bytes, const struct scores *s,
                      struct err *e);
void compress_choose(struct compress_run_state *x);
bool compress_good_enough(const struct compress_run_state *x, const struct compress_candidate *c);

/* matrix.c: importance matrix and sensitivities, collected or read. */
int compress_get_matrix(struct compress_run_state *x, struct err *e);
/* A matrix of the user's, before anything is computed. Ours say which file they were collected with; of others only names and widths
 * can be compared. */
int compress_check_imatrix(const struct compress_request *q, struct err *e);

/* candidates.c: each makes files and measures them. */
int compress_make_stock(struct compress_run_state *x, const char *type, struct err *e);
/* `type`: the mix to be beaten where there is no budget, else the budget's name. */
int compress_make_searched(struct compress_run_state *x, const char *type, const struct bits_budget *b,
                           struct err *e);
int compress_make_recovered(struct compress_run_state *x, int from, struct err *e);

#endif
