/* Compression: the student's 16-bit file becomes the file that ships, and what each step cost is measured on validation rows.
 *
 *     struct compress_request q = {.source = "train/merged-f16.gguf", .folder = "model", .task = t, .training = &train,
 *                                  .validation = &validation, .types = &plan_type, .n_types = 1};
 *     struct compress_result r;
 *     compress_run(&r, &q, &e);     // writes model/student.gguf, model/imatrix.gguf and model/sensitivity.gguf
 *     compress_release(&r);
 *
 * Steps: the vocabulary is cut to what the task needs (vocabulary.h) and, where it is asked for, layers are left out (depth.h);
 * importance and sensitivity are collected by the trainer's own passes over training rows (activity.h); each type of `types`
 * becomes a candidate as llama.cpp mixes it, and one of the same size with types searched for each matrix (bits.h); where none
 * answers as well as the 16-bit file, the best one is trained on through its rounding (recover.h). A student that the trainer
 * cannot read (another architecture) is calibrated by llama.cpp (calibrate.h) and quantised as mixed.
 *
 * With `lean`, where those mixes weigh more than COMPRESS_BITS a weight, types for that many are a candidate more.
 *
 * Chosen is the smallest file whose accuracy is at most `tolerance` below the source's; among files of about that size the
 * faster one, then the one whose probabilities stay closest to the source's. With `prefer_speed` it is the one that decides
 * soonest on the device, by what is known of how fast it runs each type, and types chosen for nothing but that time are a
 * candidate more. Where none is good enough, the most accurate. (That a loss is not significant does not excuse it: on few rows
 * hardly any loss is. A single row does where the source took it for a toss-up.)
 *
 * Many validation rows: every candidate answers the first 128 of them (32 where the source has more than 256 MB), evenly taken.
 * One whose paired interval lies below the tolerance is out; of the others the one that would be chosen answers the rest as well
 * (up to 1,024 rows in all, 96 of a large one), beside the source, and is chosen if it is good enough there; else the next one
 * is confirmed. Up to twice as many rows as the first ones are answered by all at once.
 *
 * The ledger is the same first rows through base, base with its adapter, the two merged (in 32 bits, by the trainer's own
 * arithmetic), the 16-bit file, the trimmed one, the one of fewer layers, the chosen one, and that with a rounded cache.
 *
 * What was collected is kept and used again while source, rows and settings are the same; so are, until the choice is made,
 * losses, candidates and their answers (kept.h): an interrupted run loses at most what it was at. */
#ifndef COMPRESS_COMPRESS_H
#define COMPRESS_COMPRESS_H

#include "compress/bits.h"
#include "compress/calibrate.h"
#include "compress/depth.h"
#include "compress/recover.h"
#include "compress/vocabulary.h"
#include "eval/interval.h"
#include "eval/score.h"

enum compress_recovery { COMPRESS_RECOVER_AUTO, COMPRESS_RECOVER_NEVER, COMPRESS_RECOVER_ALWAYS };

struct compress_request {
    const char *source; /* GGUF, F16 or F32 */
    const char *folder; /* of the outputs; made when absent */
    const struct task *task;
    const struct rows *training, *validation; /* validation NULL or empty: nothing is measured */
    const char *const *types;                 /* mixes of llama/quantize.h */
    int n_types;
    bool whole_vocabulary; /* leave the vocabulary as it is */
    bool lean;             /* a candidate of COMPRESS_BITS a weight too, where the first mix weighs more */
    bool no_search;        /* types as llama.cpp mixes them, nothing else */
    bool no_imatrix;       /* nor an importance matrix; implies no_search */
    /* a file to use instead of collecting; ERR_MISMATCH when it is of another model; NULL: none */
    const char *imatrix;
    struct vocabulary_options vocabulary;
    int layers; /* to keep (depth.h); 0: all */
    struct calibrate_options calibration;
    struct bits_device device; /* how fast types run there */
    struct bits_budget budget; /* a candidate more: the best choice of types within it; all 0: none */
    bool prefer_speed;         /* needs speeds of the device */
    const char *kv_type;       /* of the cache on the device as planned: "q8_0"; NULL: "f16" */
    const char *base,
        *adapter; /* GGUF files that the source was merged from, for the ledger; NULL: not there */
    enum compress_recovery recovery;
    struct recover_options recover;
    double tolerance; /* of accuracy; 0: 0.005 */
    int n_threads;    /* 0: one a core */
};

struct compress_candidate {
    const char *name; /* "Q4_K_M", "Q4_K_M searched", "Q4_K_M searched, recovered" */
    const char *type; /* the mix that it is, or that it was sized by */
    bool searched, recovered;
    int64_t file_bytes;
    double bits_per_weight;
    double predicted_loss; /* by sensitivity, in nats a row; NAN: not predicted, as below */
    double device_s;       /* of a decision's matrix products on the device */
    struct scores scores;  /* on the first rows */
    int64_t n_rows;        /* that the figures below are of: the first, or all where it was confirmed */
    bool confirmed;        /* on more than the first rows */
    double accuracy;       /* NAN where nothing was measured, as below */
    double agreement;      /* share of rows answered as the source answers them */
    double divergence;     /* mean KL divergence of the label probabilities from the source's, in nats */
    double expected_loss;  /* of accuracy, by the source's probabilities; NAN: answers are written */
    struct paired paired;  /* candidate against source */
    bool chosen;
};

/* One step from the base to the chosen one, over the same first rows. */
struct compress_step {
    /* "base", "adapter", "merged", "16-bit", "trimmed", "12 layers", "Q4_K_M searched", "cache at q8_0" */
    const char *name;
    int64_t file_bytes;                     /* 0: no file */
    double accuracy, agreement, divergence; /* against the 16-bit file */
    struct paired paired;                   /* against the 16-bit file */
    struct paired change;                   /* against the step before; n 0: the first */
};
enum { COMPRESS_MAX_STEPS = 9, COMPRESS_CACHES = 2 };
#define COMPRESS_BITS 4.5

/* The chosen file with each type of cache. */
struct compress_cache {
    const char *type;    /* "f16", "q8_0" */
    int64_t token_bytes; /* 0: not known */
    double accuracy, agreement, divergence;
    struct paired paired; /* against the 16-bit file with its cache at f16 */
};

struct compress_result {
    struct arena arena;
    int64_t source_bytes;
    struct scores source;         /* its scores on the first validation rows */
    double source_accuracy;       /* there */
    int64_t first_rows, all_rows; /* that every candidate answered; that a confirmed one did */
    double confirming_accuracy;   /* the source's on all_rows; NAN: nothing was confirmed */
    struct vocabulary_trim vocabulary;
    struct depth_result depth;
    int64_t calibration_rows; /* 0: no importance matrix */
    bool imatrix_reused, searched;
    const char *not_searched; /* why; NULL */
    double least_seconds;     /* of a decision on the device, by any types; 0: not known */
    struct recover_result recovery;
    struct compress_candidate *candidates;
    int n_candidates, chosen;
    const char *reason;                             /* why the chosen one */
    struct compress_step steps[COMPRESS_MAX_STEPS]; /* the ledger; only with validation rows */
    int n_steps, lost_at;      /* lost_at: the step with the largest loss of accuracy; -1: none lost any */
    const char *not_in_ledger; /* why the steps before the 16-bit file are not there; NULL */
    struct compress_cache caches[COMPRESS_CACHES];
    int n_caches, cache; /* cache: the chosen one, as planned unless that loses what f16 does not */
};

int compress_run(struct compress_result *out, const struct compress_request *q, struct err *e);
void compress_release(struct compress_result *r);

/* Mean over rows of sum_k p_k log(p_k / q_k), q at least 1e-12; p and q are [n_rows, n_labels]. */
double compress_divergence(const double *p, const double *q, int64_t n_rows, int n_labels);

#endif
