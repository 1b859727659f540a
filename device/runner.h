/* The model of a bundle, ready to decide.
 *
 *     struct runner r;
 *     runner_open(&r, dir, 0, &e);
 *     struct decision d;
 *     runner_decide(&r, "{\"delay\":5}", 11, 1, &d, &e);      // d is valid until the next call
 *     runner_close(&r);
 *
 * Memory stays the same from one record to the next. One thread. */
#ifndef DEVICE_RUNNER_H
#define DEVICE_RUNNER_H

#include "bundle.h"
#include "task/classify.h"

struct runner {
    struct bundle bundle;
    struct lm *lm;
    struct classifier *classifier;
    double *probabilities; /* of the last decision */
    struct arena record;   /* the last record's */
    int n_threads;
    double load_s, prefix_s; /* opening the model; loading or computing the prefix */
    bool prefix_loaded;      /* false: it was computed */
};

struct decision {
    int label;
    const double *probabilities; /* n_labels of the task */
    double ms;
    const char
        *id; /* the record's "id" as written, where it has one and the task has no such field; else NULL */
};

/* n_threads 0: the bundle's, at most one a core. */
int runner_open(struct runner *r, const char *dir, int n_threads, struct err *e);
void runner_close(struct runner *r); /* safe to repeat */

/* One record as a JSON object. `line` stands in messages. ERR_INPUT or ERR_FORMAT for a record that cannot be used. */
int runner_decide(struct runner *r, const char *json, size_t n, int line, struct decision *out,
                  struct err *e);

/* {"label":"normal","probabilities":{"suspicious":0.0213,"normal":0.9787},"ms":12.3}, with "id" in front where there is one.
 * Appended without a newline. */
int runner_write(const struct runner *r, const struct decision *d, struct str *out, struct err *e);

#endif
