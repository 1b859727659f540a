/* Accepted records of the store as rows for training: rendered and tokenised exactly as evaluation and device do
 * (task/encode.h).
 *
 *     struct train_rows r;
 *     train_rows_read(&r, &(struct train_rows_from){store, task, prompt, lm, n_ctx}, &e);
 *     train_run(&model, &r.train, &r.validation, ...);
 *     train_rows_release(&r); */
#ifndef TRAIN_HOST_ROWS_H
#define TRAIN_HOST_ROWS_H

#include "llama/lm.h"
#include "store/store.h"
#include "task/encode.h"
#include "train/dataset.h"

struct train_rows {
    struct dataset train, validation;
    struct dataset_form form; /* points into the fields below */
    struct tokens head, *answers;
    struct token_span *spans;
    char **texts;                     /* extract, respond: the different answers, sorted */
    int64_t n_rationales, n_too_long; /* learned; left out because they do not fit the context */
};

struct train_rows_from {
    struct store *store;
    const struct task *task;
    const struct prompt *prompt;
    const struct lm *lm; /* vocabulary is enough */
    bool soft;           /* votes become the labels' probabilities, not the row's weight */
    int64_t n_ctx;       /* tokens that a prompt and its answer may take */
    /* The teacher's reasons for a training record's label, into `a`; *text stays NULL where there are none. NULL: nobody asks. */
    int (*rationale)(void *context, const struct store_record *r, struct arena *a, const char **text,
                     struct err *e);
    void *rationale_context;
    float rationale_share; /* of a row's weight: dataset_add_aside */
};

/* What the student is asked for the reasons with: a line of its own after the record, which no other prompt has, so the answer to the
 * prompt that it is used with stays the label alone. */
#define TRAIN_RATIONALE_LINE "Why?\n"

/* ERR_INPUT names the record: an unknown label, a value that cannot be read, nothing to learn, too long. */
int train_rows_read(struct train_rows *r, const struct train_rows_from *from, struct err *e);
void train_rows_release(struct train_rows *r);

#endif
