/* The vocabulary cut down to what a task needs. Kept are the tokens of the prompt, of the training rows, of the task's own words
 * (names, values, labels) and of numbers, all bytes and specials, whatever leads to a kept token (model/vocab.h), and a
 * reserve of the most frequent ones besides. Rows that were not looked at then tell by how much texts grow; the reserve is doubled
 * until that stays within bounds.
 *
 *     struct vocabulary_trim t;
 *     vocabulary_trim(&t, "base-f16.gguf", "base-trimmed.gguf", task, &training, &validation,
 *                     &(struct vocabulary_options){0}, &e);
 *     ... train on base-trimmed.gguf, or quantise it: it is a model like any other ...
 *
 * Works on a base before training, which makes training faster and smaller, as well as on a trained student. */
#ifndef COMPRESS_VOCABULARY_H
#define COMPRESS_VOCABULARY_H

#include "eval/rows.h"
#include "task/task.h"

struct vocabulary_options {
    /* tokens beside what is needed; 0: an eighth of what is needed, at least 128; negative: none */
    int32_t reserve;
    double most_rise;  /* of the tokens of held-out records, as a share; 0: 0.02 */
    double least_gain; /* of the file's bytes, as a share: below that nothing is trimmed; 0: 0.01 */
};

struct vocabulary_trim {
    int32_t n_before, n_needed, n_after; /* tokens; n_needed without the reserve */
    bool trimmed;                        /* false: there is no `out`, for the reason below */
    const char *reason;                  /* static */
    int64_t held_out_rows;
    double rise; /* of the tokens of held-out records; NAN where there were none */
    int64_t bytes_before, bytes_after;
};

/* held_out may be NULL or empty. ERR_INPUT: the file is quantised. A kind of tokenizer that cannot be trimmed is no error: `trimmed`
 * is false. */
int vocabulary_trim(struct vocabulary_trim *result, const char *in, const char *out, const struct task *t,
                    const struct rows *training, const struct rows *held_out,
                    const struct vocabulary_options *o, struct err *e);

#endif
