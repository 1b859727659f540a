/* Labels scored by the trainer: every row with every label as its answer, packed, forward only. What all rows begin with is computed
 * once; where there are many labels each row's whole prompt is, and its labels are packed behind it (dataset_scored_by_row). */
#include "base/interrupt.h"
#include "train/loop.h"
#include <stdlib.h>

int train_scores_of(const struct dataset *d) {
    return d->form->written ? 1 : d->form->n_labels;
}

static int label_of(const struct dataset *d, int64_t pair) {
    return d->form->written ? d->rows[pair].label : (int)(pair % d->form->n_labels);
}

/* A pair is a row and a label: row * train_scores_of + label. */
struct scoring {
    struct nn_model *m;
    struct nn_run *run;
    struct packer *p;
    const struct dataset *d;
    const struct train_scores *out;
    float *loss;                 /* a batch's, token by token */
    bool *top;                   /* the same; NULL: nobody asks */
    int64_t first, n, n_targets; /* the pairs that are packed since the last pass */
};

static int flush(struct scoring *s, struct err *e) {
    struct nn_batch b = packer_batch(s->p);
    int rc = s->n > 0 && s->first > 0 ? interrupt_check(e) : 0;
    int64_t at = 0;
    if (rc == 0 && s->n > 0)
        rc = nn_forward_top(s->m, s->run, &b, s->loss, s->top, e);
    for (int64_t i = 0; i < s->n && rc == 0; i++) {
        int64_t pair = s->first + i;
        double sum = 0;
        bool all = true;
        for (int64_t j = 0; j < s->d->form->answers[label_of(s->d, pair)].n; j++, at++) {
            sum += (double)s->loss[at];
            all = all && s->top && s->top[at];
        }
        s->out->log_prob[pair] = -sum;
        if (s->out->decoded)
            s->out->decoded[pair] = all;
    }
    s->first += s->n;
    s->n = s->n_targets = 0;
    packer_clear(s->p);
    return rc;
}

/* One more pair, if there is room for it. */
static bool pack(struct scoring *s, int64_t pair) {
    int label = label_of(s->d, pair);
    int64_t n = s->d->form->answers[label].n;
    if (s->n_targets + n > s->run->limits.n_targets ||
        !packer_add(s->p, s->d, pair / train_scores_of(s->d), label, 1))
        return false;
    s->n++;
    s->n_targets += n;
    return true;
}

/* All pairs before `end` that are not scored yet, behind what is shared now. */
static int score_until(struct scoring *s, int64_t end, struct err *e) {
    int rc = 0;
    while (s->first + s->n < end && rc == 0) {
        int64_t pair = s->first + s->n;
        if (pack(s, pair))
            continue;
        rc = s->n > 0 ? flush(s, e)
                      : err_set(e, ERR_INPUT, "train_score", "record %lld does not fit a batch",
                                (long long)s->d->rows[pair / train_scores_of(s->d)].id);
    }
    return rc < 0 ? rc : flush(s, e);
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

/* Row i's prompt but its last token, which is left over for the labels' batches. */
static int share_row(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                     int64_t i, struct err *e) {
    const struct dataset_row *row = &d->rows[i];
    int64_t n_head = d->form->head.n, n = n_head + row->n - 1;
    packer_share(p, n);
    for (int64_t k = 0; k < n; k++) /* lent for a moment */
        p->token[k] = k < n_head ? d->form->head.ids[k] : d->tokens[row->at + k - n_head];
    return nn_prefix_forward(m, run, p->token, n, e);
}

static int score_all(struct scoring *s, struct err *e) {
    const struct dataset *d = s->d;
    bool by_row = dataset_scored_by_row(d) && dataset_scored_prefix(d) <= s->run->limits.n_prefix;
    int rc = by_row || d->n_rows == 0 ? 0 : train_share(s->m, s->run, s->p, d, e);
    for (int64_t i = 0; i < d->n_rows && rc == 0 && by_row; i++) {
        rc = share_row(s->m, s->run, s->p, d, i, e);
        if (rc == 0)
            rc = score_until(s, (i + 1) * train_scores_of(d), e);
    }
    return rc < 0 ? rc : score_until(s, d->n_rows * train_scores_of(d), e);
}

int train_score(struct nn_model *m, struct nn_run *run, struct packer *p, const struct dataset *d,
                const struct train_scores *out, struct err *e) {
    struct scoring s = {.m = m, .run = run, .p = p, .d = d, .out = out};
    size_t n_tokens = (size_t)p->capacity;
    s.loss = malloc(n_tokens * sizeof *s.loss);
    s.top = out->decoded ? malloc(n_tokens * sizeof *s.top) : NULL;
    int rc = s.loss && (s.top || !out->decoded)
                 ? score_all(&s, e)
                 : err_set(e, ERR_NO_MEMORY, "train_score", "no room for the losses of a batch");
    packer_share(p, 0);
    free(s.loss);
    free(s.top);
    return rc;
}
