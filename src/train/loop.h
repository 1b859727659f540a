/* The fine-tuning loop: epochs over packed rows, validation by scoring the labels, early stopping, checkpoints.
 *
 *     train_settings_default(&s, &shape, reasons);            // then what the user overrides
 *     train_run(&model, &train_rows, &validation_rows, &s, &files, &progress, &result, &e);
 *
 * Everything that decides the outcome is in settings, rows, weights and the number of threads: the same give the same bits,
 * stopped and continued or not. When train_run returns 0 the model holds the weights of the best evaluation.
 * ERR_INTERRUPTED: a signal came; the checkpoint is written after the step at hand (during an evaluation the one before it stays), and
 * the same call goes on. ERR_DIVERGED names step and rows.
 *
 * Files: `checkpoint` (train/checkpoint.h), `best` (the same form, at the best evaluation), `log` (JSON Lines: events start or resume,
 * step, evaluation; continued where the checkpoint stands). Order of writing at an evaluation: best, log, checkpoint;
 * a kill in between repeats deterministic work and arrives at the same files. */
#ifndef TRAIN_LOOP_H
#define TRAIN_LOOP_H

#include "base/progress.h"
#include "tensor/count.h"
#include "train/dataset.h"
#include "train/optimizer.h"

/* The savings that are the trainer's, beside the model's (nn/transformer.h), by the plain path that each replaces:
 *   PREFIX   the prompt's common beginning computed anew for each row
 *   PACKING  each row's answer through the model by itself */
enum train_plain { TRAIN_PLAIN_PREFIX = 1 << 8, TRAIN_PLAIN_PACKING = 1 << 9 };

struct train_settings {
    int64_t epochs;
    int64_t batch_rows; /* rows of an optimiser step */
    float learning_rate;
    float warmup;                 /* share of all steps */
    enum schedule_shape schedule; /* after the warm-up; down to a twentieth of the rate */
    float weight_decay;
    /* evaluations without a gain (accuracy, or 0.001 of loss) before stopping; 0, or no validation rows: never */
    int64_t patience;
    int64_t eval_steps; /* steps between evaluations; 0: an epoch, at most 200 */
    /* of the teacher's probabilities in the target, where rows have them; the rest is the label */
    float soft_share;
    /* the same of the tokens that a teacher with this vocabulary names (dataset_add_likely) */
    float likely_share;
    uint64_t seed;        /* order of the rows */
    int64_t micro_tokens; /* tokens at once; 0: as the machine's memory allows, at most 4096 */
    /* the caller's hash of base and prompt: a checkpoint of another run is not continued */
    uint64_t identity;
    /* counts the model's operations: then the share of the product's rate is told; may be NULL */
    struct ops_count *count;
    unsigned plain;      /* NN_PLAIN_* and TRAIN_PLAIN_*: savings that are not to be made */
    double save_every_s; /* between checkpoints; 0: 60 */
};

/* What the defaults follow from. */
struct train_shape {
    int64_t n_params; /* of the base */
    int64_t n_rows;
    bool lora;
};
/* Sets epochs, batch_rows, learning_rate, warmup, schedule, weight_decay and patience; reasons[i] is one line about each, in the order
 * of TRAIN_REASONS. Static text and numbers into the caller's memory. */
#define TRAIN_REASONS(X)                                                                                     \
    X(EPOCHS, "epochs")                                                                                      \
    X(BATCH, "batch_rows")                                                                                   \
    X(RATE, "learning_rate")                                                                                 \
    X(PATIENCE, "patience") X(WARMUP, "warmup") X(DECAY, "weight_decay") X(SCHEDULE, "schedule")
enum train_reason {
#define X(id, name) TRAIN_REASON_##id,
    TRAIN_REASONS(X)
#undef X
        TRAIN_N_REASONS
};
void train_settings_default(struct train_settings *s, const struct train_shape *shape, char reasons[][160]);

struct train_files {
    const char *checkpoint, *best, *log; /* all required */
};

struct train_result {
    int64_t steps, epochs_done; /* steps taken; whole epochs */
    int64_t best_step;
    /* validation: rows whose best label is theirs, and the mean -log of its share; means over labels of means over their rows. Written
     * answers: rows whose answer greedy decoding writes (train_scores), and the mean -log of its probability */
    double best_accuracy, best_loss;
    double last_loss; /* training, of the last step: mean -log P(answer) */
    double seconds;   /* computing, over all resumptions */
    double samples_per_s, tokens_per_s;
    int64_t memory_bytes; /* weights, gradients, moments, activations */
    /* of the multiply-adds that the machine's matrix product reaches alone; 0: not counted */
    double product_share;
    bool stopped_early, resumed;
};

int train_run(struct nn_model *m, const struct dataset *train, const struct dataset *validation,
              const struct train_settings *s, const struct train_files *files, struct progress *progress,
              struct train_result *result, struct err *e);

/* Computes what all rows of d begin with, as far as `run` has room for it, and leaves it out of what `p` packs; p is clear. */
int train_share(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                struct err *e);

/* Scores of a row: one a label, or one alone, its own answer's, where answers are written (dataset_form). */
int train_scores_of(const struct dataset *d);

/* Of every label for every row, [n_rows * train_scores_of] each. */
struct train_scores {
    double *log_prob; /* log P(answer), the end of turn included */
    /* Would greedy decoding, free of any grammar, write this answer? Each token of the answer and the end of turn is the most probable
     * one after the tokens before it. That is the same as decoding step by step, at the cost of one pass: while decoding has written
     * the answer's first k tokens, it reads what this pass reads there, and so it writes token k + 1 exactly when that is the most
     * probable; at the first one that is not, it has left the answer for good. Two tokens equally probable count for the answer.
     * Held to a grammar, decoding can only give more right answers: it takes away wrong tokens. NULL: not asked. */
    bool *decoded;
};
/* `run` has room for the longest row. */
int train_score(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                const struct train_scores *out, struct err *e);

#endif
