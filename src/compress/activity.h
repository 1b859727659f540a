/* What meets each matrix of the student over training rows, from one forward and backward pass of our own: the mean squares of
 * its inputs (the importance matrix) and the squared gradients of the loss at its outputs (its sensitivity).
 *
 *     struct activity a;
 *     activity_collect(&a, &student, &dataset, &(struct activity_options){0}, &progress, &e);
 *     activity_imatrix(&a, &im, &e);                 // for llama.cpp's quantiser, and as a file for llama-quantize
 *     double loss = activity_loss(&a.matrices[i], original, rounded);
 *     activity_release(&a);
 *
 * What a change E of a matrix W [out, in] costs: with y = x W^T, the second-order term of the loss under the Fisher information,
 * taking tokens and channels as independent (the diagonal of K-FAC, arXiv 1503.05671), is
 *     1/2 sum_o sum_i E_oi^2 g_o s_i,   s_i the mean of x_i^2, g_o the sum over a row's tokens of (dL/dy_o)^2, mean over rows.
 * The Fisher information is the model's own: each row is answered with every label that it finds probable, weighted by that
 * probability, so that a student that fits its rows perfectly still tells which weights its answers rest on. */
#ifndef COMPRESS_ACTIVITY_H
#define COMPRESS_ACTIVITY_H

#include "base/progress.h"
#include "compress/student.h"
#include "llama/imatrix.h"

struct activity_matrix {
    const char *name; /* "blk.0.attn_q.weight" */
    int64_t rows, cols;
    double *square;   /* [cols] weighted sum of squared inputs */
    double count;     /* weights summed: square / count is the mean */
    double *gradient; /* [rows] sum of squared gradients, of all rows of data */
};

struct activity {
    struct arena arena;
    struct activity_matrix *matrices; /* in the order of the model's tensors */
    int n_matrices;
    int64_t n_rows;         /* of data */
    char model[SHA256_HEX]; /* hash of the file that the student comes from; "": not said */
    /* The embedding as a table: squared gradients at what was looked up [d_model], and how often each token was [n_vocab]. */
    double *embedded, *looked_up;
    int64_t d_model, n_vocab;
};

struct activity_options {
    double prompt_weight; /* of each of the prompt's positions in the squares; 0: 1 */
    /* of each position that predicts a token of the answer; 0: as much as makes both groups weigh the same */
    double answer_weight;
    bool forward_only; /* no gradients */
};

/* The student's weights stay; it is frozen afterwards (nn_model_freeze). ERR_INPUT: no rows. */
int activity_collect(struct activity *out, struct student *s, const struct dataset *d,
                     const struct activity_options *o, struct progress *p, struct err *e);
void activity_release(struct activity *a); /* safe to repeat */

const struct activity_matrix *activity_find(const struct activity *a, const char *name); /* NULL: none */

/* The squares as an importance matrix, to be freed by the caller. */
int activity_imatrix(const struct activity *a, struct imatrix **out, struct err *e);

/* Both parts as files, so that an interrupted choice goes on: the squares as an importance matrix that llama-quantize reads, the
 * gradients in the same form beside it. `key` says what they were made from; loading is ERR_MISMATCH with another one. */
int activity_save(const struct activity *a, const char *imatrix_path, const char *sensitivity_path,
                  const char *key, struct err *e);
int activity_load(struct activity *out, const struct student *s, const char *imatrix_path,
                  const char *sensitivity_path, const char *key, struct err *e);

/* The same for the embedding as a table, all of whose rows [n_vocab, d_model] are given: what is looked up changes by its row's
 * error. A head that is tied to it costs activity_loss besides. */
double activity_lookup_loss(const struct activity *a, const float *before, const float *after);

/* The loss in nats a row that rounding a matrix's values from `before` to `after` costs; both hold `n` of its rows, every
 * `stride`-th from the first. */
double activity_loss(const struct activity *a, const struct activity_matrix *m, const float *before,
                     const float *after, int64_t n, int64_t stride);

#endif
