/* Defaults that follow from the data and the model, each with its reason. */
#include "train/loop.h"
#include <stdio.h>

enum { REASON_SIZE = 160 };

/* How often the records are seen, all in all. A base of few parameters knows little and its epochs cost little: with half as
 * many, its students of 1,000 records came out between 95.1 and 98.9% by the order of the rows; so, between 99.4 and 99.6%
 * (the cold-chain example, 2,000 rows without noise). */
static const struct effort {
    int64_t below_params, rows_seen, epochs_max;
} efforts[] = {{20000000, 24000, 20}, {INT64_MAX, 12000, 10}};

/* Evaluations come with each epoch, and a hundred validation rows are soon all right but one: of 20 epochs three are too few to tell
 * (a student of the demonstration stopped after six with 97.9% of 1,000 rows; going on gave 98.5%). */
enum { PATIENCE_LEAST = 3, PATIENCE_PERCENT = 30 };

static struct effort effort_for(const struct train_shape *shape) {
    return efforts[shape->n_params >= efforts[0].below_params];
}

static float rate_for(const struct train_shape *shape) {
    int64_t millions = shape->n_params / 1000000;
    float lora = millions < 20 ? 2e-3f : millions < 200 ? 1e-3f : millions < 1000 ? 4e-4f : 2e-4f;
    return shape->lora ? lora : lora / 10;
}

/* Of what is the same for all sizes. */
static void explain_steady(bool lora, char reasons[][REASON_SIZE]) {
    snprintf(reasons[TRAIN_REASON_WARMUP], REASON_SIZE,
             "of all steps: the moments of AdamW are guesses until they have seen some gradients");
    snprintf(reasons[TRAIN_REASON_DECAY], REASON_SIZE, "%s",
             lora ? "adapters are small and start at zero: nothing is to be held back"
                  : "all weights move: decay holds those back that the records say nothing about");
    snprintf(reasons[TRAIN_REASON_SCHEDULE], REASON_SIZE,
             "down to a twentieth after the warm-up; gradients clipped to a norm of 1, so that one odd batch "
             "moves "
             "little");
}

void train_settings_default(struct train_settings *s, const struct train_shape *shape,
                            char reasons[][REASON_SIZE]) {
    int64_t n = shape->n_rows > 0 ? shape->n_rows : 1;
    s->batch_rows = n >= 600 ? 32 : n >= 200 ? 16 : 8;
    struct effort effort = effort_for(shape);
    s->epochs = effort.rows_seen / n;
    s->epochs = s->epochs < 3 ? 3 : s->epochs > effort.epochs_max ? effort.epochs_max : s->epochs;
    s->learning_rate = rate_for(shape);
    s->warmup = 0.05f;
    s->schedule = SCHEDULE_COSINE;
    s->weight_decay = shape->lora ? 0 : 0.01f;
    s->patience = s->epochs * PATIENCE_PERCENT / 100;
    s->patience = s->patience < PATIENCE_LEAST ? PATIENCE_LEAST : s->patience;
    snprintf(reasons[TRAIN_REASON_EPOCHS], REASON_SIZE,
             "%lld rows: each is seen up to %lld times; early stopping ends it sooner", (long long)n,
             (long long)s->epochs);
    snprintf(reasons[TRAIN_REASON_BATCH], REASON_SIZE, "%lld steps an epoch with %lld rows each",
             (long long)((n + s->batch_rows - 1) / s->batch_rows), (long long)s->batch_rows);
    snprintf(reasons[TRAIN_REASON_RATE], REASON_SIZE, "%s of a model of %.3g million parameters%s",
             shape->lora ? "adapters" : "all weights", (double)shape->n_params / 1e6,
             shape->lora ? ": about ten times the rate of full training" : "");
    snprintf(reasons[TRAIN_REASON_PATIENCE], REASON_SIZE,
             "stops after %lld evaluations in a row without a better one", (long long)s->patience);
    explain_steady(shape->lora, reasons);
}
