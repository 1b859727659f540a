/* See verify.h. Tokens go in as the trainer packed them, so that nothing but weights and arithmetic is compared. */
#include "train/host/verify.h"
#include "llama/lm.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_COMPARED = 200 }; /* tokens of a written answer; longer ones are passed over */

struct verifier {
    const struct verify *v;
    struct lm *m;
    struct lm_labels *labels;
    int32_t *ids; /* of one prompt */
    double *theirs;
};

/* Shares among the labels, in place. */
static void normalise(double *log_prob, int n) {
    double top = log_prob[0], sum = 0;
    for (int i = 1; i < n; i++)
        top = fmax(top, log_prob[i]);
    for (int i = 0; i < n; i++)
        sum += exp(log_prob[i] - top);
    for (int i = 0; i < n; i++)
        log_prob[i] = exp(log_prob[i] - top) / sum;
}

/* Written answers are compared one by one; labels all at once. */
static int n_compared(const struct verify *v) {
    return v->rows->form->written ? 1 : v->task->n_labels;
}

static int open_verifier(struct verifier *r, struct err *e) {
    const struct verify *v = r->v;
    int n = n_compared(v), rc = 0;
    bool written = v->rows->form->written;
    const char **names = malloc((size_t)n * sizeof *names);
    int64_t longest = dataset_longest(v->rows) + 1;
    r->ids = malloc((size_t)longest * sizeof *r->ids);
    r->theirs = malloc(2 * (size_t)n * sizeof *r->theirs);
    if (!names || !r->ids || !r->theirs)
        rc = err_set(e, ERR_NO_MEMORY, "verify_run", "no room to compare %lld tokens", (long long)longest);
    for (int i = 0; i < n && rc == 0 && !written; i++)
        names[i] = v->task->labels[i].name;
    struct lm_options o = {.n_ctx = (int)longest + 256,
                           .n_outputs = written ? LONGEST_COMPARED + 1 : 0,
                           .lora = v->lora,
                           .n_threads = v->n_threads};
    if (rc == 0)
        rc = lm_open(&r->m, v->model, &o, e);
    if (rc == 0 && !written)
        rc = lm_labels_new(&r->labels, r->m, names, n, e);
    free(names);
    return rc;
}

/* The probability of the row's answer, as a share of one and the rest. */
static int score_written(struct verifier *r, const struct dataset_row *row, int64_t n_ids, struct err *e) {
    const struct token_span *answer = &r->v->rows->form->answers[row->label];
    struct str text = {0};
    const char *name;
    int rc = lm_detokenize(r->m, answer->ids, answer->n - 1, false, &text, e);
    name = str_text(&text);
    lm_labels_free(r->labels);
    r->labels = NULL;
    if (rc == 0)
        rc = lm_labels_new(&r->labels, r->m, &name, 1, e);
    if (rc == 0)
        rc = lm_decode_labels(r->m, 0, r->ids, n_ids, r->labels, r->theirs, e);
    str_release(&text);
    return rc;
}

static int compare_row(struct verifier *r, int64_t i, double *worst, struct err *e) {
    const struct verify *v = r->v;
    const struct dataset *d = v->rows;
    const struct dataset_row *row = &d->rows[i];
    int n = n_compared(v);
    bool written = d->form->written;
    if (written && d->form->answers[row->label].n > LONGEST_COMPARED)
        return 0;
    double *ours = r->theirs + n;
    int64_t n_ids = d->form->head.n + row->n;
    memcpy(r->ids, d->form->head.ids, (size_t)d->form->head.n * sizeof *r->ids);
    memcpy(r->ids + d->form->head.n, d->tokens + row->at, (size_t)row->n * sizeof *r->ids);
    memcpy(ours, v->log_prob + i * n, (size_t)n * sizeof *ours);
    lm_clear(r->m, 0);
    int rc = written ? score_written(r, row, n_ids, e)
                     : lm_decode_labels(r->m, 0, r->ids, n_ids, r->labels, r->theirs, e);
    if (rc < 0)
        return rc;
    if (written) {
        ours[0] = exp(ours[0]);
        r->theirs[0] = exp(r->theirs[0]);
    } else {
        normalise(ours, n);
        normalise(r->theirs, n);
    }
    for (int j = 0; j < n; j++) {
        double d_j = fabs(ours[j] - r->theirs[j]);
        *worst = d_j > *worst || isnan(d_j) ? d_j : *worst;
        if (d_j <= v->tolerance)
            continue;
        err_set(e, ERR_MISMATCH, "verify_run",
                "%s%s%s gives record %lld the answer '%s' with probability %.3f, the trainer with %.3f",
                v->model, v->lora ? " with " : "", v->lora ? v->lora : "", (long long)row->id,
                written ? "(the right answer)" : v->task->labels[j].name, r->theirs[j], ours[j]);
        return err_hint(e,
                        "the export is not what was trained: please report this with the base model's name");
    }
    return 0;
}

int verify_run(const struct verify *v, double *worst, struct err *e) {
    struct verifier r = {.v = v};
    double largest = 0;
    int rc = open_verifier(&r, e);
    for (int64_t i = 0; i < v->n_rows && i < v->rows->n_rows && rc == 0; i++)
        rc = compare_row(&r, i, &largest, e);
    if (rc == 0 && worst)
        *worst = largest;
    lm_labels_free(r.labels);
    lm_free(r.m);
    free(r.ids);
    free(r.theirs);
    return rc;
}
