/* The quota grid: how many records of which label are wanted, and from which corner of the space each is to come. A cell is a
 * label with at most one hint (a bin of one field, see bins.h): the hints give the diversity that sampling alone does not.
 *
 * A label's quota is what must be met; a cell's share of it is a wish. Where the rule leaves no room ("suspicious with delay
 * from 40 to 60"), the cell runs dry, is closed, and the others fill the label's quota.
 *
 * A cell of pairs has two labels: "suspicious beside normal with delay from 4 to 9". Each pair brings one record to either quota. */
#ifndef SYNTH_GRID_H
#define SYNTH_GRID_H

#include "base/err.h"
#include "base/mem.h"
#include "teacher/protocol.h"

struct grid_cell {
    int label;
    int other; /* of the second record of each pair (grid_add_pairs); -1: a cell of one label */
    struct protocol_hint hint; /* field -1: none */
    const char *name;          /* "suspicious with delay from 0 to 20" */
    int64_t share;             /* of the label's quota */
    int64_t accepted;          /* written for this cell and accepted under its label */
    int64_t written;           /* records that came of it, rejected ones too */
    int64_t pending;           /* of these, not judged yet */
    int64_t dry;               /* written since one was accepted */
    int64_t calls;             /* answers turned into records */
    bool closed;               /* gives nothing more */
    bool later;                /* asked only when the label has no other open cell (rounds.h) */
    double planned;            /* grid_plan: records expected of the calls planned so far */
};

struct grid_label {
    int64_t quota, accepted;
    double unplanned; /* grid_plan: missing and not planned yet */
};

struct grid {
    struct arena arena;
    struct grid_cell *cells;
    int n_cells;
    struct grid_label *labels; /* as the task's; one for all answers of extract and respond */
    int n_labels;
};

/* Equal quotas: n_records rounded up to a multiple of the number of labels. */
int grid_init(struct grid *g, const struct task *t, int64_t n_records, struct err *e);
/* For a teacher of the full style: cells from which pairs on a boundary between two labels are asked (bins.h), with a quarter of these
 * labels' quotas; they are closed to a label whose partner is full. Nothing where the task is not of kind classify. */
int grid_add_pairs(struct grid *g, const struct task *t, struct err *e);
double grid_pairs_share(const struct grid *g); /* of the quotas that is asked in pairs: 0 or a quarter */
void grid_release(struct grid *g);
/* Records that one question of `per_call` asks of the cell: of pairs a whole number. */
int grid_per_call(const struct grid_cell *c, int per_call);

int grid_label_find(const struct task *t, const char *label); /* a stored label's place; -1: none */
int grid_cell_find(const struct grid *g, const char *name);   /* -1: none */
int64_t grid_missing(const struct grid *g, int label);        /* records short of the quota */
int64_t grid_missing_all(const struct grid *g);

/* After a batch: closes cells that have run dry. */
void grid_close_dry(struct grid *g);
/* A label that is short although all its cells are closed; -1: none. */
int grid_stuck_label(const struct grid *g);

/* How many calls of `per_call` records each cell should get next: calls[n_cells], at most `limit` in all. Takes into account
 * how many of the written were accepted so far. Returns the sum. */
int64_t grid_plan(struct grid *g, int per_call, int64_t limit, int64_t *calls);

/* Share of written records that end accepted, a guess where little is known yet. */
double grid_yield(const struct grid *g, int label);

#endif
