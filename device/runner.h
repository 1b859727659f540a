/* The model of a bundle, ready to decide.
 *
 *     struct runner r;
 *     runner_open(&r, dir, &(struct runner_options){0}, &e);
 *     struct decision d;
 *     runner_decide(&r, "{\"delay\":5}", 11, 1, &d, &e);      // d is valid until the next call
 *     runner_close(&r);
 *
 * Memory stays the same from one record to the next. One thread. */
#ifndef DEVICE_RUNNER_H
#define DEVICE_RUNNER_H

#include "bundle.h"
#include "guard.h"
#include "task/classify.h"

struct runner_options {
    int n_threads;          /* 0: the bundle's, at most one a core */
    bool any_memory;        /* start even where the memory does not suffice */
    bool lock_memory;       /* keep everything from being swapped out */
    const char *on_abstain; /* command to call for undecided records (escalate.h); NULL: none */
};

struct runner {
    struct bundle bundle;
    struct lm *lm;
    struct classifier *classifier;
    double *probabilities; /* of the last decision */
    struct str answer;     /* the last one, of extract and respond */
    struct arena record;   /* the last record's */
    int n_threads;
    const char *on_abstain;
    struct str request, other; /* of the last call of on_abstain */
    struct guard_watch watch;
    double load_s, prefix_s; /* opening the model; loading or computing the prefix */
    bool prefix_loaded;      /* false: it was computed */
    bool model_changed;      /* the model is not the bundled one */
    int64_t n_decided;
};

struct decision {
    int label;                   /* classify; otherwise -1 */
    const double *probabilities; /* n_labels of the task */
    bool abstained;              /* too unsure: somebody else should decide */
    const char *other;           /* what on_abstain said; NULL: not asked */
    const char *other_failed;    /* or why it said nothing */
    /* extract, respond: in normal form where valid, else as the model wrote it; else NULL */
    const char *answer;
    bool valid;
    const char *missing, *unknown,
        *outside; /* JSON lists of names (fields.h), until the next decision; NULL: none */
    double ms;
    /* the record's "id" as written, where it has one and the task has no such field; else NULL */
    const char *id;
};

/* ERR_NO_MEMORY when the machine has less memory free than the plan needs. */
int runner_open(struct runner *r, const char *dir, const struct runner_options *o, struct err *e);
void runner_close(struct runner *r); /* safe to repeat */

/* One record as a JSON object. `line` stands in messages. ERR_INPUT or ERR_FORMAT for a record that cannot be used: one that has
 * none of the task's fields, too. */
int runner_decide(struct runner *r, const char *json, size_t n, int line, struct decision *out,
                  struct err *e);

/* {"label":"normal","probabilities":{"suspicious":0.0213,"normal":0.9787},"abstained":false,"ms":12.3}, with "id" in front where
 * there is one, "abstained" where the bundle has a threshold, "other" or "other_failed" where somebody else was asked, and
 * "missing" where a field has no value that the task needs, with "unknown" for what the record has instead, and "outside" where one
 * has a value that the task does not declare.
 * Extract: {"answer":{...},"valid":true,"ms":80.1}; respond: the answer is a text; what is not valid stands as a text as well.
 * Appended without a newline. */
int runner_write(const struct runner *r, const struct decision *d, struct str *out, struct err *e);

#endif
