/* What the files of generation share: its state, and the parts that generate.c puts in order. */
#ifndef SYNTH_GENERATE_INTERNAL_H
#define SYNTH_GENERATE_INTERNAL_H

#include "synth/generate.h"
#include "synth/rounds.h"
#include "synth/similar.h"

enum { VOTES_MAX = 15, EXEMPLARS = 3 };

struct ask {
    int cell;
    int64_t ordinal;          /* of the cell's calls */
    int64_t call;             /* journal row of the answer; 0: not yet */
    int64_t shown[EXEMPLARS]; /* records that its request shows */
    int n_shown;
};

/* A record as a teacher is shown it; texts in the wave's arena. */
struct exemplar {
    int64_t id;
    const char *text;
};

struct pending {
    int64_t id;
    const char *data, *wanted;    /* in the arena */
    const char *votes[VOTES_MAX]; /* what the answers said, in normal form; NULL: nothing usable */
    int64_t calls[VOTES_MAX];     /* their rows in the journal */
    int winner;                   /* the first vote for the commonest answer; -1: none was usable */
    double share;                 /* of the votes, or the winner's probability */
    const char *probabilities;    /* of the labels, as they are stored; NULL: there were votes */
};

struct generation {
    struct teacher *teacher;
    struct store *store;
    const struct task *task;
    struct generate_options o;
    struct grid *grid;
    struct similar *similar;
    struct progress *progress;
    struct protocol_request request;
    struct arena arena; /* one wave */
    struct ask *asks;
    int64_t n_asks, next, done;
    struct exemplar *exemplars; /* of this wave, by id */
    int64_t n_exemplars;
    int64_t wave_written, wave_new;
    int n_rounds; /* error-driven ones; the latest is `round` */
    struct round round;
    struct pending *pending;
    int64_t n_pending, pending_capacity;
    int ingested; /* cell of the answer that is being ingested */
    int64_t ingested_call;
    /* the first record of a pair, until the second is compared; in the wave's arena; NULL: none */
    const char *twin;
    int twin_index;
    double *aimed_yield; /* by label: share of the records aimed at it that it gets; 0: it is written */
};

/* An answer has come. */
void generation_show(struct generation *g);
/* Was nothing asked for yet? */
bool generation_is_first(const struct grid *g);

/* generate_write.c: one wave of WRITE questions for what the grid lacks; the records of their answers become pending or rejected ones. */
int generation_write(struct generation *g, struct err *e);

/* generate_exemplars.c: which records the questions of a wave show (full style; none otherwise): noted before one of them is asked. */
int generation_exemplars(struct generation *g, struct err *e);
/* Adds them to g->request. */
int generation_show_exemplars(struct generation *g, const struct ask *a, struct err *e);

/* generate_label.c: asks for the labels of all pending records and accepts, keeps as spare, or rejects each. */
int generation_label(struct generation *g, struct err *e);

#endif
