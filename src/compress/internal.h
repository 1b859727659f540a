/* Shared by the files of src/compress that make up a run: what is open, and the steps. */
#ifndef COMPRESS_INTERNAL_H
#define COMPRESS_INTERNAL_H

#include "compress/compress.h"

/* Invariants: `source` is what is quantised, the request's file, the trimmed or the shorter one; `student` is open, and `activity` and
 * `table` are there, exactly when `searching`. */
struct compress_run_state {
    const struct compress_request *q;
    struct compress_result *r;
    const char *source, *trimmed; /* trimmed NULL: it is not */
    struct student student;
    struct activity activity;
    struct bits_table table;
    struct imatrix *im;
    bool opened, searching;
    int capacity;              /* of r->candidates */
    int n_scored;              /* files whose answers were asked for: each run asks in the same order */
    struct rows first, rest;   /* of the validation rows; records are theirs */
    struct scores source_rest; /* the source's on `rest`; n 0: not yet */
    struct ledger_entry {      /* ledger.c */
        const char *name;
        int64_t file_bytes;
        const struct scores *scores;
        struct scores own; /* to be released; scores may point to it */
    } ledger[COMPRESS_MAX_STEPS];
    int n_ledger;
};

const char *compress_path(struct compress_run_state *x, const char *name);
const char *compress_candidate_path(struct compress_run_state *x, int i);
int compress_no_memory(struct err *e);

/* measure.c */
bool compress_measures(const struct compress_run_state *x);
/* Which rows are first. After the candidates are made room for. */
int compress_split_rows(struct compress_run_state *x, struct err *e);
struct compress_asked {
    const char *gguf, *what;
    const struct rows *rows;
    bool keep; /* a file's that the request alone decides: the answers of an interrupted run will do */
    struct score_options options;
};
int compress_score(struct compress_run_state *x, const struct compress_asked *q, struct scores *out,
                   struct err *e);
double compress_accuracy(const struct scores *s);
double compress_agreement(const struct scores *a, const struct scores *b);
/* In nats, from the first to the second; NAN where answers are written, without probabilities. */
double compress_divergence_of(const struct scores *first, const struct scores *s);
int compress_pair(const struct scores *s, const struct scores *first, struct paired *out, struct err *e);
int compress_compare(struct compress_run_state *x, struct compress_candidate *c, struct err *e);
/* Chooses, and has the chosen one answer all rows, until that leaves the choice as it is. */
int compress_choose_confirmed(struct compress_run_state *x, struct err *e);

/* ledger.c. What is named is borrowed until ledger_finish; ledger_own gives storage that is the ledger's. */
struct scores *ledger_own(struct compress_run_state *x);
void ledger_add(struct compress_run_state *x, const char *name, int64_t file_bytes, const struct scores *s);
int ledger_origins(struct compress_run_state *x, struct err *e); /* base, adapter, merged */
int ledger_finish(struct compress_run_state *x, struct err *e);  /* figures, and ledger.csv */
void ledger_release(struct compress_run_state *x);
/* The chosen file with each cache, and which one is to be used. */
int compress_measure_caches(struct compress_run_state *x, struct err *e);

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
int compress_make_lean(struct compress_run_state *x, struct err *e); /* types for COMPRESS_BITS */
int compress_make_recovered(struct compress_run_state *x, int from, struct err *e);

#endif
