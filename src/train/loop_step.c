/* One optimiser step: rows into micro-batches, forward and backward, the update; and what says that training diverges. */
#include "train/loop_internal.h"
#include <math.h>
#include <stdlib.h>

/* Weights that have grown to so many times what a model's are (about 1 at most, or what these were) are no use any more, though RMSNorm
 * may keep the loss a number: no 16-bit file could hold them. Trained ones grow by a few times, not by tens. */
#define MOST_GROWTH 100

double loop_weights_size(const struct loop *l) {
    const struct nn_set *t = l->m->trained;
    return sqrt(l->m->ops->sum_squares(l->m->ops, t->value, t->n_values) / (double)t->n_params);
}

int loop_hint_diverged(const struct loop *l, struct err *e) {
    if (l->optimizer.step == 0)
        return err_hint(
            e,
            "nothing is trained yet: weights of the base are not numbers, or the record leads to some; try "
            "another base, or reject the record");
    return err_hint(e,
                    "try half the learning rate (now %g), or none given, which takes the default; if it is "
                    "always the same "
                    "record, correct or reject it",
                    (double)l->s.learning_rate);
}

/* A loss that is not a number: which row makes it so? */
static int diverged(struct loop *l, const int64_t *rows, int64_t n, struct err *e) {
    long long step = (long long)l->optimizer.step + 1;
    int64_t n_bad = 0, first = -1;
    float *losses = malloc((size_t)l->packer.capacity * sizeof *losses);
    for (int64_t i = 0; i < n && losses; i++) {
        const struct dataset_row *row = &l->train->rows[rows[i]];
        int64_t n_answer = l->train->form->answers[row->label].n;
        bool bad = false;
        packer_share(&l->packer, 0);
        if (!packer_add(&l->packer, l->train, rows[i], row->label, 1))
            continue;
        struct nn_batch b = packer_batch(&l->packer);
        if (nn_forward_loss(l->m, &l->run, &b, losses, NULL) < 0)
            continue;
        for (int64_t j = 0; j < n_answer; j++)
            bad = bad || !isfinite(losses[j]);
        n_bad += bad;
        first = bad && first < 0 ? row->id : first;
    }
    free(losses);
    if (first >= 0 && n_bad < n)
        err_set(e, ERR_DIVERGED, "train_run", "step %lld: the loss of record %lld is not a finite number",
                step, (long long)first);
    else
        err_set(e, ERR_DIVERGED, "train_run",
                "step %lld: the loss is not a finite number for any row (first: record %lld)", step,
                (long long)l->train->rows[rows[0]].id);
    return loop_hint_diverged(l, e);
}

static int check_loss(struct loop *l, double loss, struct err *e) {
    struct train_state *s = &l->state;
    bool first = l->optimizer.step == 0;
    s->last_loss = loss;
    s->smooth_loss = first ? loss : 0.9 * s->smooth_loss + 0.1 * loss;
    s->lowest_loss = first || s->smooth_loss < s->lowest_loss ? s->smooth_loss : s->lowest_loss;
    if (s->smooth_loss <= 3 * s->lowest_loss + 2)
        return 0;
    err_set(e, ERR_DIVERGED, "train_run", "step %lld: the loss climbed to %.3g after it had been %.3g",
            (long long)l->optimizer.step + 1, s->smooth_loss, s->lowest_loss);
    return loop_hint_diverged(l, e);
}

/* After a step; the checkpoint on disk is of before it. */
static int check_weights(struct loop *l, struct err *e) {
    double size = loop_weights_size(l);
    if (size <= MOST_GROWTH * (1 + l->first_size))
        return 0;
    err_set(e, ERR_DIVERGED, "train_run", "step %lld: the weights grew to %.3g (root mean square), from %.3g",
            (long long)l->optimizer.step, size, l->first_size);
    return loop_hint_diverged(l, e);
}

/* What is packed so far through the model; its gradients are added up. */
static int flush(struct loop *l, double divisor, double *sum, struct err *e) {
    struct nn_batch b = packer_batch(&l->packer);
    double part = 0;
    int rc = b.n_seq > 0 ? nn_forward_backward(l->m, &l->run, &b, divisor, &part, e) : 0;
    *sum += part;
    l->state.tokens += b.n_tokens;
    packer_clear(&l->packer);
    return rc;
}

/* The rows of a step with each answer that has a weight, pair by pair; where rows have asides, one is the last pair of its row. */
struct pair {
    int64_t row, tokens;
    int label; /* the number of labels: the row's aside */
    float weight;
};

static int64_t n_pairs(const struct loop *l, int64_t n_rows) {
    return n_rows * (l->train->form->n_labels + (l->train->n_asides > 0));
}

static struct pair pair_at(const struct loop *l, const int64_t *rows, int64_t pair) {
    const struct dataset *d = l->train;
    int64_t each = n_pairs(l, 1);
    struct pair p = {.row = rows[pair / each], .label = (int)(pair % each)};
    if (p.label < d->form->n_labels) {
        p.weight = dataset_label_weight(d, p.row, p.label, l->s.soft_share);
        p.tokens = p.weight > 0 ? dataset_row_tokens(d, p.row, p.label) : 0;
    } else {
        p.tokens = dataset_aside_tokens(d, p.row);
        p.weight = p.tokens > 0 ? 1 : 0; /* its tokens have theirs */
    }
    return p;
}

static bool pack(struct loop *l, const struct pair *p) {
    return p->label < l->train->form->n_labels ? packer_add(&l->packer, l->train, p->row, p->label, p->weight)
                                               : packer_add_aside(&l->packer, l->train, p->row);
}

/* Tokens from which a micro-batch is full: as few batches as the packer's room allows, all about the same size. A small rest would
 * read all weights for a few rows. */
static int64_t even_share(const struct loop *l, const int64_t *rows, int64_t n_rows) {
    int64_t total = 0, room = l->packer.capacity;
    for (int64_t i = 0; i < n_pairs(l, n_rows); i++) {
        struct pair p = pair_at(l, rows, i);
        total += p.weight > 0 ? p.tokens - l->packer.n_shared : 0;
    }
    int64_t n_batches = (total + room - 1) / room;
    return n_batches > 0 ? (total + n_batches - 1) / n_batches : room;
}

/* Rows order[first, first + n) through the model in as many batches as they need; gradients of the mean are added up. */
static int forward_backward(struct loop *l, const int64_t *rows, int64_t n, double *loss, struct err *e) {
    bool packing = !(l->s.plain & TRAIN_PLAIN_PACKING);
    double weights = 0, sum = 0;
    int rc = 0;
    for (int64_t i = 0; i < n; i++)
        weights += (double)l->train->rows[rows[i]].weight;
    nn_zero_gradients(l->m);
    packer_share(&l->packer, 0);
    if (n > 1) /* one row alone has nobody to share with */
        rc = train_share(l->m, &l->run, &l->packer, l->train, e);
    l->state.tokens += l->packer.n_shared;
    l->packer.others_share = l->packer.n_others > 0 ? l->s.likely_share : 0;
    int64_t full = even_share(l, rows, n);
    for (int64_t i = 0; i < n_pairs(l, n) && rc == 0; i++) {
        struct pair p = pair_at(l, rows, i);
        bool room = l->packer.n_seq == 0 || (packing && l->packer.n_tokens < full);
        if (p.weight <= 0 || (room && pack(l, &p)))
            continue;
        rc = flush(l, weights, &sum, e);
        pack(l, &p); /* it has room for the longest row */
    }
    if (rc == 0)
        rc = flush(l, weights, &sum, e);
    l->packer.others_share = 0; /* evaluations know the answers alone */
    if (rc == 0 && l->packer.n_shared > 0)
        rc = nn_prefix_backward(l->m, &l->run, e);
    *loss = sum / weights;
    return rc;
}

int loop_step(struct loop *l, struct err *e) {
    struct train_state *s = &l->state;
    struct optimizer_report report;
    const int64_t *rows = l->order + s->next;
    int64_t n = l->train->n_rows - s->next < l->s.batch_rows ? l->train->n_rows - s->next : l->s.batch_rows;
    double loss;
    int rc = forward_backward(l, rows, n, &loss, e);
    if (rc == 0 && !isfinite(loss))
        return diverged(l, rows, n, e);
    if (rc == 0)
        rc = check_loss(l, loss, e);
    if (rc == 0)
        rc = optimizer_step(&l->optimizer, &report, e);
    if (rc == 0)
        rc = check_weights(l, e);
    if (rc < 0)
        return rc;
    s->next += n;
    s->samples += n;
    if (s->next >= l->train->n_rows) {
        s->epoch++;
        s->next = 0;
    }
    loop_count_time(l);
    train_log_line(&l->log,
                   "{\"event\":\"step\",\"step\":%lld,\"epoch\":%.3f,\"loss\":%.6f,\"learning_rate\":%.4g,"
                   "\"gradient_norm\":%.4g,\"seconds\":%.2f,\"samples_per_s\":%.1f,\"tokens_per_s\":%.0f,"
                   "\"product_share\":%.3f,\"memory_bytes\":%lld,\"seconds_left\":%.1f}",
                   (long long)l->optimizer.step, (double)l->optimizer.step / (double)l->steps_per_epoch, loss,
                   (double)report.learning_rate, report.gradient_norm, s->seconds,
                   (double)s->samples / s->seconds, (double)s->tokens / s->seconds, loop_product_share(l),
                   (long long)l->memory.total_bytes, loop_seconds_left(l));
    return 0;
}
