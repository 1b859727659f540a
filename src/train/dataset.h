/* Rows as tokens, and their packing into batches. All rows of a task share the head (the prompt's prefix) and their answers are
 * one of a few labels, so a row keeps only what is its own:
 *
 *     head | row's record and tail | answer of its label, which ends in the end-of-turn token
 *            rows[i].at, .n
 *
 * The loss is on the answer: the token before the answer has its first token as target, and so on to the end of turn, which is
 * a target but need not be fed.
 *
 * A row may have an aside: another question about the same record, which ends in other tokens than the row does, with a text as its
 * answer (the teacher's reasons). It is learned in the row's steps, and nothing but training ever asks it:
 *     head | record, other question and tail | text, ends in the end-of-turn token */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include "train/memory.h"

struct token_span {
    const int32_t *ids;
    int64_t n;
};

/* What all rows share; borrowed by datasets, outlives them. */
struct dataset_form {
    struct token_span head;
    const struct token_span *answers; /* by label, or all different answers; each with the end of turn */
    int n_labels;                     /* how many */
    bool written; /* answers are written, not chosen: a row is scored with its own answer alone */
};

struct dataset_row {
    int64_t id; /* of the record, for messages */
    int64_t at; /* first own token in dataset.tokens */
    int32_t n;  /* own tokens */
    int32_t label;
    float weight;
    int64_t soft_at; /* in dataset.soft, where the labels' probabilities stand; -1: there are none */
    /* in dataset.likely, where a teacher's tokens for its answer stand; -1: there are none */
    int64_t likely_at;
    int64_t aside; /* in dataset.asides; -1: none */
};

struct dataset_aside {
    int64_t at; /* first own token in dataset.tokens; its answer's stand behind them */
    int32_t n, n_answer;
    float weight; /* of each token of the answer */
};

/* A token that a teacher with the same vocabulary holds possible, and its probability. */
struct likely_token {
    int32_t token;
    float p;
};

struct dataset { /* {0} and form is empty */
    const struct dataset_form *form;
    int32_t *tokens;
    int64_t n_tokens, tokens_capacity;
    struct dataset_row *rows;
    int64_t n_rows, rows_capacity;
    struct dataset_aside *asides;
    int64_t n_asides, asides_capacity;
    float *soft; /* [n_labels] for each row that has them */
    int64_t n_soft, soft_capacity;
    int n_likely;                /* tokens that a teacher names at each place of an answer; 0: none does */
    struct likely_token *likely; /* [answer's n, n_likely] for each row that has them */
    int64_t n_likely_values, likely_capacity;
};
void dataset_release(struct dataset *d);

/* Copies the tokens. ERR_INPUT naming the row when it has no token that is supervised (an empty answer, no weight) or is longer
 * than `n_ctx` with its longest answer. */
int dataset_add(struct dataset *d, const struct dataset_row *row, const int32_t *ids, int64_t n_ctx,
                struct err *e);

/* What a teacher thinks of the last row that was added: probabilities[n_labels], which sum to 1. */
int dataset_soften(struct dataset *d, const float *probabilities, struct err *e);
/* The weight of `label` as row i's answer when the target is (1 - share) its own label and `share` the teacher's probabilities;
 * cross-entropy with such a target is the sum of the labels' losses so weighted. 0 for what is below a thousandth. */
float dataset_label_weight(const struct dataset *d, int64_t i, int label, float share);

/* What a teacher would write in place of each token of row i's own answer: top[answer's n, n], the same n for all rows.
 * Probabilities are brought to a sum of 1 at each place. ERR_INPUT: negative, or none above 0. */
int dataset_add_likely(struct dataset *d, int64_t i, const struct likely_token *top, int n, struct err *e);

/* An aside of the last row that was added: ids[n] and answer[n_answer] are copied. Its loss is the mean over the answer's tokens times
 * `share` of the row's weight, so that long reasons do not drown short answers. ERR_INPUT when it does not fit n_ctx. */
int dataset_add_aside(struct dataset *d, struct token_span ids, struct token_span answer, float share,
                      int64_t n_ctx, struct err *e);

/* Tokens that row i takes in a batch with an answer; of the longest row with its longest answer. */
int64_t dataset_row_tokens(const struct dataset *d, int64_t i, int label);
int64_t dataset_longest(const struct dataset *d);
/* Tokens that every row begins with: the head, and what all records have in common after it. At least one token of each row is
 * left over. 0 where sharing would not pay: fewer than two rows, or very few tokens. */
int64_t dataset_shared(const struct dataset *d);
/* Are there so many labels that each row's prompt is better computed once for all of them than once for each, though then a row goes
 * through the model by itself? Then scoring does so, where the run has room for it. */
bool dataset_scored_by_row(const struct dataset *d);
/* The longest prefix that scoring computes once: what all rows share, or then the longest prompt but its last token. */
int64_t dataset_scored_prefix(const struct dataset *d);
/* The first n of the tokens that all rows share: to[n]. */
void dataset_shared_tokens(const struct dataset *d, int32_t *to, int64_t n);
/* Most tokens with a target that a batch of `capacity` tokens can have, when the first `n_shared` of each row are not in it. */
int64_t dataset_most_targets(const struct dataset *d, int64_t capacity, int64_t n_shared);
/* What a run over both sets needs at once; of rows that share nothing when `apart`. */
struct train_need dataset_need(const struct dataset *train, const struct dataset *validation,
                               int64_t batch_rows, bool apart);
uint64_t dataset_hash(const struct dataset *d, uint64_t seed); /* of tokens, labels and weights */

/* ---- packing ---- */

struct packer {
    int64_t capacity; /* tokens */
    int64_t n_shared; /* of each row's first tokens, left out: the batch comes after a prefix */
    int32_t *token, *position, *target, *start;
    float *weight;
    int n_others;       /* of each token with a target: nn_batch.other; 0: none */
    float others_share; /* of the target's weight that goes to what the teacher holds likely; 0: none */
    int32_t *other;
    float *other_weight;
    int64_t n_tokens;
    int n_seq;
};
int packer_init(struct packer *p, int64_t capacity, struct err *e);
int packer_init_others(struct packer *p, int n_others, struct err *e); /* room for them, after packer_init */
void packer_release(struct packer *p);
void packer_clear(struct packer *p);
void packer_share(struct packer *p, int64_t n_shared); /* clears it */
/* Row i answered with `label`, supervised with `weight`. false: no room left (the packer is as before). */
bool packer_add(struct packer *p, const struct dataset *d, int64_t i, int label, float weight);
/* Row i's aside, which it has; the same. */
bool packer_add_aside(struct packer *p, const struct dataset *d, int64_t i);
int64_t dataset_aside_tokens(const struct dataset *d, int64_t i); /* that it takes; 0: it has none */
struct nn_batch packer_batch(const struct packer *p);

#endif
