/* Predictions against rows of measurements: how far off the planner is, on what it knows and on what it has never seen.
 *
 *     struct score_list l = {0};
 *     score_rows(&catalog, rows, n_rows, NULL, &l, &e);      // each CPU row whose model's shape is known
 *     ... l.items[i].predicted, .measured ...
 *     score_list_release(&l);
 *
 * match.h says whose a row is: by name, else by the facts in it. What cannot be scored is counted by reason. */
#ifndef PLAN_SCORE_H
#define PLAN_SCORE_H

#include "plan/predict.h"

struct score_item {
    const char *device, *model, *quantisation, *source; /* of the row: borrowed */
    bool writes;                                        /* decode; else prefill */
    bool known; /* the catalogue has the same measurement: it was calibrated on */
    bool like;  /* its model or quantisation is not known: the nearest stands in (match.h) */
    double predicted, low, high, measured; /* tokens/s */
};
/* Rows that were not scored, by what kept them out. */
#define SCORE_SKIPPED(X)                                                                                     \
    X(gpu, "not of a processor (GPU, NPU)")                                                                  \
    X(duplicate, "there twice")                                                                              \
    X(set_aside, "set aside: the paper's, or a repeat")                                                      \
    X(without_speed, "without a speed")                                                                      \
    X(device, "of a device that nothing is known of")                                                        \
    X(model, "of a model that nothing is known of")                                                          \
    X(quantisation, "of a quantisation that nothing is known of")
struct score_skipped {
#define X(name, text) int64_t name;
    SCORE_SKIPPED(X)
#undef X
};
struct score_list {
    struct score_item *items;
    int64_t n, capacity;
    struct score_skipped skipped;
};
void score_list_release(struct score_list *l);

/* Appends. `only` NULL: all devices; else rows of that board alone. Rows at fewer threads than the device has are predicted for
 * those. */
int score_rows(const struct catalog *c, const struct catalog_measurement *rows, int64_t n_rows,
               const char *only, struct score_list *l, struct err *e);

/* Leave one device out: every board with measurements is predicted with its own hidden. `c` is changed and put back. */
int score_unseen_devices(struct catalog *c, struct score_list *l, struct err *e);
/* Leave one source out: a source is who published it, what `source` says up to the first blank. Every row is predicted with all rows
 * and published bandwidths of its source hidden. */
int score_unseen_sources(struct catalog *c, struct score_list *l, struct err *e);
/* Leave one model out: every model of a board with several is predicted with its rows hidden. */
int score_unseen_models(struct catalog *c, struct score_list *l, struct err *e);

/* |predicted / measured - 1|: the median over the devices' medians, since most rows are one board's. `writes` picks decode or
 * prefill; *n_devices and *n_inside (of *n rows within their interval) may be NULL. NAN when there is none. */
double score_median_error(const struct score_list *l, bool writes, int64_t *n_devices, int64_t *n,
                          int64_t *n_inside);

/* The noise floor: median ratio, larger over smaller, of repeats of one public measurement. */
double score_noise(const struct catalog *c, bool writes, int64_t *n);

#endif
