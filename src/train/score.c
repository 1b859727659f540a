/* Labels scored by the trainer: every row with every label as its answer, packed, forward only. */
#include "base/interrupt.h"
#include "train/loop.h"
#include <stdlib.h>

/* The packed pairs since the last pass: where each one's sum goes. */
struct pending {
    int64_t first, n; /* pair = row * train_scores_of + label */
};

int train_scores_of(const struct dataset *d) {
    return d->form->written ? 1 : d->form->n_labels;
}

static int label_of(const struct dataset *d, int64_t pair) {
    return d->form->written ? d->rows[pair].label : (int)(pair % d->form->n_labels);
}

/* A batch's, token by token. */
struct tokens {
    float *loss;
    bool *top; /* NULL: nobody asks */
};

static int flush(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                 struct pending *w, const struct tokens *of, const struct train_scores *out, struct err *e) {
    struct nn_batch b = packer_batch(p);
    int rc = w->n > 0 ? nn_forward_top(m, run, &b, of->loss, of->top, e) : 0;
    int64_t at = 0;
    for (int64_t i = 0; i < w->n && rc == 0; i++) {
        int64_t pair = w->first + i;
        double sum = 0;
        bool all = true;
        for (int64_t j = 0; j < d->form->answers[label_of(d, pair)].n; j++, at++) {
            sum += (double)of->loss[at];
            all = all && of->top && of->top[at];
        }
        out->log_prob[pair] = -sum;
        if (out->decoded)
            out->decoded[pair] = all;
    }
    *w = (struct pending){.first = w->first + w->n};
    packer_clear(p);
    return rc;
}

int train_share(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                struct err *e) {
    int64_t n = dataset_shared(d);
    n = n < run->limits.n_prefix ? n : run->limits.n_prefix; /* a part of it is shared as well */
    packer_share(p, n);
    if (n == 0)
        return 0;
    if (n > p->capacity)
        return err_set(e, ERR_INPUT, "train_share", "the packer has no room for %lld tokens", (long long)n);
    dataset_shared_tokens(d, p->token, n); /* lent for a moment */
    return nn_prefix_forward(m, run, p->token, n, e);
}

int train_score(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                const struct train_scores *out, struct err *e) {
    int64_t n_pairs = d->n_rows * train_scores_of(d);
    size_t n_tokens = (size_t)p->capacity;
    struct tokens of = {malloc(n_tokens * sizeof *of.loss),
                        out->decoded ? malloc(n_tokens * sizeof *of.top) : NULL};
    struct pending w = {0};
    int rc = of.loss && (of.top || !out->decoded)
                 ? 0
                 : err_set(e, ERR_NO_MEMORY, "train_score", "no room for the losses of a batch");
    if (rc == 0 && n_pairs > 0)
        rc = train_share(m, run, p, d, e);
    for (int64_t pair = 0; pair < n_pairs && rc == 0;) {
        int64_t row = pair / train_scores_of(d);
        if (packer_add(p, d, row, label_of(d, pair), 1)) {
            w.n++;
            pair++;
        } else if (w.n == 0) {
            rc = err_set(e, ERR_INPUT, "train_score", "record %lld does not fit a batch",
                         (long long)d->rows[row].id);
        } else if ((rc = flush(m, run, p, d, &w, &of, out, e)) == 0) {
            rc = interrupt_check(e);
        }
    }
    if (rc == 0)
        rc = flush(m, run, p, d, &w, &of, out, e);
    packer_share(p, 0);
    free(of.loss);
    free(of.top);
    return rc;
}
