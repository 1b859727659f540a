/* Compression: the student's 16-bit file becomes the file that ships, and what that cost is measured on validation rows.
 *
 *     struct compress_request q = {.source = "train/merged-f16.gguf", .folder = "model", .task = t, .training = &train,
 *                                  .validation = &validation, .types = &plan_type, .n_types = 1};
 *     struct compress_result r;
 *     compress_run(&r, &q, &e);     // writes model/student.gguf and model/imatrix.gguf
 *     compress_release(&r);
 *
 * Each type of `types` becomes a candidate. With one, it is taken. With several, the smallest file is chosen whose accuracy is at
 * most `tolerance` below the source's; where none is, the most accurate. (That a loss is not significant does not excuse it: on
 * few rows hardly any loss is.) The importance matrix is kept and used again while source, rows and settings are the same, so
 * that an interrupted run loses at most one candidate. */
#ifndef COMPRESS_COMPRESS_H
#define COMPRESS_COMPRESS_H

#include "compress/calibrate.h"
#include "eval/interval.h"
#include "eval/score.h"

struct compress_request {
    const char *source; /* GGUF, F16 or F32 */
    const char *folder; /* of the outputs; made when absent */
    const struct task *task;
    const struct rows *training, *validation; /* validation NULL or empty: nothing is measured */
    const char *const *types;                 /* mixes of llama/quantize.h */
    int n_types;
    bool no_imatrix;
    struct calibrate_options calibration;
    double tolerance; /* of accuracy; 0: 0.005 */
    int n_threads;    /* 0: one a core */
};

struct compress_candidate {
    const char *type;
    int64_t file_bytes;
    double bits_per_weight;
    struct scores scores; /* on the validation rows */
    double accuracy;      /* NAN where nothing was measured, as below */
    double agreement;     /* share of rows answered as the source answers them */
    double divergence;    /* mean KL divergence of the label probabilities from the source's, in nats */
    struct paired paired; /* candidate against source */
    bool chosen;
};

struct compress_result {
    struct arena arena;
    int64_t source_bytes;
    struct scores source; /* its scores on the validation rows */
    double source_accuracy;
    int64_t calibration_rows; /* 0: no importance matrix */
    bool imatrix_reused;
    struct compress_candidate *candidates;
    int n_candidates, chosen;
    const char *reason; /* why the chosen one */
};

int compress_run(struct compress_result *out, const struct compress_request *q, struct err *e);
void compress_release(struct compress_result *r);

/* Mean over rows of sum_k p_k log(p_k / q_k), q at least 1e-12; p and q are [n_rows, n_labels]. */
double compress_divergence(const double *p, const double *q, int64_t n_rows, int n_labels);

#endif
