/* What the files of the loop share: its state, and the parts that loop.c puts in order. */
#ifndef TRAIN_LOOP_INTERNAL_H
#define TRAIN_LOOP_INTERNAL_H

#include "train/checkpoint.h"
#include "train/loop.h"
#include "train/loop_log.h"

enum { RUNNING = 0, ALL_EPOCHS = 1, STOPPED_EARLY = 2 };

/* What a checkpoint keeps beside weights and moments. */
struct train_state {
    uint64_t run;        /* hash of settings and rows */
    int64_t epoch, next; /* next row in the epoch's order */
    int64_t finished;
    int64_t best_step, stale; /* evaluations since */
    double best_accuracy, best_loss, last_accuracy;
    int64_t log_bytes;
    double seconds;
    int64_t samples, tokens;
    double last_loss, smooth_loss, lowest_loss; /* lowest of the smooth ones */
    double macs;                                /* multiply-adds done */
};
_Static_assert(sizeof(struct train_state) == 17 * 8, "on-disk layout");

struct loop {
    struct nn_model *m;
    const struct dataset *train, *validation;
    struct train_settings s;
    const struct train_files *files;
    struct progress *progress;
    struct train_memory memory;
    double first_size;   /* root mean square of what is trained, before the first step */
    double product_rate; /* multiply-adds per second; 0: not measured */
    double counted;      /* of s.count when state.macs was last brought up to date */
    struct nn_run run;
    struct optimizer optimizer;
    struct packer packer;
    struct train_log log;
    struct train_state state;
    int64_t *order;             /* of the epoch's rows */
    struct train_scores scores; /* of the validation rows */
    int64_t steps_per_epoch;
    double clock_s, saved_s; /* when state.seconds was last brought up to date; last checkpoint */
    bool resumed;
};

/* loop.c: brings seconds and multiply-adds of the state up to date; the rest of that line of progress. */
void loop_count_time(struct loop *l);
double loop_product_share(const struct loop *l);
double loop_seconds_left(const struct loop *l);

/* loop_step.c: one optimiser step from the epoch's next rows, and its line in the log. ERR_DIVERGED with step and what to do. */
int loop_step(struct loop *l, struct err *e);

/* What to do about a loss that is not a number, or climbs: as a hint of the error. */
int loop_hint_diverged(const struct loop *l, struct err *e);
/* Root mean square of the trained weights. */
double loop_weights_size(const struct loop *l);

/* loop_grade.c: scores the validation rows, keeps the weights when they are the best so far, decides on stopping early. ERR_DIVERGED
 * naming the row when the loss is not a number. */
int loop_evaluate(struct loop *l, struct err *e);

#endif
