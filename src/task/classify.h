/* Deciding: a record in, the labels' probabilities out (kind classify), or the answer written (extract, respond). The one piece
 * of code that evaluation, compression and the device share, so that what is scored is what ships.
 *
 *     struct classifier *c;
 *     classifier_new(&c, lm, task, prompt, &e);        // reads the prefix once
 *     double p[2]; classifier_score(c, &record, p, &e); // then the record's tokens alone, all labels in the same pass
 *     classifier_free(c);
 *
 *     classifier_write(c, &record, &answer, &e);         // extract and respond: the answer, held to its grammar
 *
 * A label's probability is that of its tokens and the end of turn after the prompt, normalised over the labels. The
 * classifier uses the model's sequence 0 and borrows model, task and prompt: all outlive it, and nobody else decodes with
 * that model in between (if somebody does, the prefix is read again). One thread at a time. */
#ifndef TASK_CLASSIFY_H
#define TASK_CLASSIFY_H

#include "llama/lm.h"
#include "task/prompt.h"

struct classifier;

int classifier_new(struct classifier **out, struct lm *m, const struct task *t, const struct prompt *p,
                   struct err *e);
void classifier_free(struct classifier *c); /* NULL is fine */

/* classify only. probabilities [n_labels of the task] sum to 1. ERR_INPUT when the record does not fit the context. */
int classifier_score(struct classifier *c, const struct record *r, double *probabilities, struct err *e);

/* What the last score cost and said besides. */
struct classifier_last {
    int best;               /* the most probable label */
    double mass;            /* probability that the answer is a label at all; log_prob are its parts */
    const double *log_prob; /* n_labels; borrowed until the next call */
    int64_t n_tokens;       /* read for this record: its own, the tail's and the labels' */
    int64_t n_prefix_read;  /* prefix tokens that had to be computed (0 when they were there) */
};
struct classifier_last classifier_last(const struct classifier *c);

/* What the model answers to the record when left to itself (greedy, at most n_max tokens), appended to text. For the share
 * of answers that are no label. */
int classifier_answer(struct classifier *c, const struct record *r, int64_t n_max, struct str *text,
                      struct err *e);

/* extract and respond: the model's answer, greedily and under the answer's grammar where it has one, appended in normal form.
 * *valid is false when it keeps to no schema (cut off, out of range, too long): then the text is as the model wrote it. */
int classifier_write(struct classifier *c, const struct record *r, struct str *answer, bool *valid,
                     struct err *e);

/* The prefix's state on disk. The tag binds it: the caller's text (the model's hash) and the prompt's hash go into it. */
int classifier_save_prefix(struct classifier *c, const char *path, const char *model_hash, struct err *e);

/* What a bundle keeps so that nothing is computed at start. */
struct classifier_kept {
    const char *prefix, *model_hash; /* the state's file; what it was saved with */
    const char *grammar;             /* extract: the answer's GBNF; NULL: compiled from the task */
};
/* A state that does not fit is as if there were none: the prefix is computed; *loaded tells. A grammar that cannot be read is
 * ERR_INPUT. */
int classifier_new_from(struct classifier **out, struct lm *m, const struct task *t, const struct prompt *p,
                        const struct classifier_kept *kept, bool *loaded, struct err *e);

int64_t classifier_prefix_tokens(const struct classifier *c);
/* lm_options.n_outputs that lets all labels be scored in one pass (1 where nothing is scored). */
int classifier_n_outputs(const struct classifier *c);

#endif
