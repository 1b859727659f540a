/* Predictions against rows of measurements: how far off the planner is, on what it knows and on what it has never seen.
 *
 *     struct score_list l = {0};
 *     score_rows(&catalog, rows, n_rows, NULL, &l, &e);      // each CPU row whose model's shape is known
 *     ... l.items[i].predicted, .measured ...
 *     score_list_release(&l);
 *
 * Devices are matched by the name that their rows go by, by name or title, by chip, else by the facts in the row ("4x Cortex-A76
 * 2.4GHz" is any board with such cores). */
#ifndef PLAN_SCORE_H
#define PLAN_SCORE_H

#include "plan/predict.h"

struct score_item {
    const char *device, *model, *quantisation; /* of the row: borrowed */
    bool writes;                               /* decode; else prefill */
    bool known;                            /* the catalogue has the same measurement: it was calibrated on */
    double predicted, low, high, measured; /* tokens/s */
};
struct score_list {
    struct score_item *items;
    int64_t n, capacity;
    int64_t n_unmatched; /* rows whose device or model nobody knows */
};
void score_list_release(struct score_list *l);

/* Appends. `only` NULL: all devices; else rows of that board alone. Rows of GPUs and of tier X are
 * left out; rows at fewer threads than the device has are predicted for those. */
int score_rows(const struct catalog *c, const struct catalog_measurement *rows, int64_t n_rows,
               const char *only, struct score_list *l, struct err *e);

/* The device of a row; `storage` takes one that is made up from the row's facts. NULL: nothing is known of it. */
const struct catalog_device *score_match(const struct catalog *c, const struct catalog_measurement *row,
                                         struct catalog_device *storage);

/* Leave one device out: every board with measurements is predicted with its own hidden. `c` is changed and put back. */
int score_unseen_devices(struct catalog *c, struct score_list *l, struct err *e);
/* Leave one model out: every model of a board with several is predicted with its rows hidden. */
int score_unseen_models(struct catalog *c, struct score_list *l, struct err *e);

/* |predicted / measured - 1|: the median over the devices' medians, since most rows are one board's. `writes` picks decode or
 * prefill; *n_devices and *n_inside (of *n rows within their interval) may be NULL. NAN when there is none. */
double score_median_error(const struct score_list *l, bool writes, int64_t *n_devices, int64_t *n,
                          int64_t *n_inside);

/* The noise floor: median ratio, larger over smaller, of repeats of one public measurement. */
double score_noise(const struct catalog *c, bool writes, int64_t *n);

#endif
