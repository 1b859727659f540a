/* Validation: every label of every row scored, graded, and what follows from that for the run. */
#include "train/loop_internal.h"
#include <math.h>
#include <stdlib.h>

/* A validation loss that falls by less is kept, but no reason to go on. */
#define LEAST_GAIN 1e-3

/* Written answers: the share of rows whose answer greedy decoding writes, and the mean -log of its probability. */
static void grade_written(const struct dataset *d, const struct train_scores *s, double *accuracy,
                          double *loss) {
    int64_t right = 0;
    double sum = 0;
    for (int64_t i = 0; i < d->n_rows; i++) {
        right += s->decoded[i];
        sum -= s->log_prob[i];
    }
    *accuracy = (double)right / (double)d->n_rows;
    *loss = sum / (double)d->n_rows;
}

/* A row of log-probabilities: is `label` the most probable, and -log of its share. */
static bool grade_row(const double *p, int n, int label, double *loss) {
    double top = p[0], total = 0;
    int best = 0;
    for (int j = 1; j < n; j++)
        if (p[j] > top) {
            top = p[j];
            best = j;
        }
    for (int j = 0; j < n; j++)
        total += exp(p[j] - top);
    *loss += top + log(total) - p[label];
    return best == label;
}

/* Balanced accuracy, and the mean -log of the right label's share among the labels: both as means over the labels that occur of
 * means over their rows. With one label in twelve, plain accuracy would call the untrained model the best. */
static int grade(const struct dataset *d, const struct train_scores *scores, double *accuracy, double *loss,
                 struct err *e) {
    int n = d->form->n_labels, n_present = 0;
    if (d->form->written) {
        grade_written(d, scores, accuracy, loss);
        return 0;
    }
    struct tally {
        int64_t n, right;
        double loss;
    } *of = calloc((size_t)n, sizeof *of);
    if (!of)
        return err_set(e, ERR_NO_MEMORY, "train", "no room to grade %d labels", n);
    for (int64_t i = 0; i < d->n_rows; i++) {
        struct tally *t = &of[d->rows[i].label];
        t->n++;
        t->right += grade_row(scores->log_prob + i * n, n, d->rows[i].label, &t->loss);
    }
    *accuracy = *loss = 0;
    for (int k = 0; k < n; k++) {
        if (of[k].n == 0)
            continue;
        n_present++;
        *accuracy += (double)of[k].right / (double)of[k].n;
        *loss += of[k].loss / (double)of[k].n;
    }
    *accuracy /= n_present;
    *loss /= n_present;
    free(of);
    return 0;
}

/* The first row that makes the loss something else than a number. */
static int diverged(const struct loop *l, struct err *e) {
    const struct dataset *d = l->validation;
    int n = train_scores_of(d);
    int64_t at = 0;
    while (at + 1 < d->n_rows * n && isfinite(l->scores.log_prob[at]))
        at++;
    err_set(e, ERR_DIVERGED, "train_run",
            "after step %lld: the loss of validation record %lld is not a finite number",
            (long long)l->optimizer.step, (long long)d->rows[at / n].id);
    return loop_hint_diverged(l, e);
}

/* Without validation rows the latest weights count as the best, and nothing tells when to stop early: a batch's loss goes up and down by
 * chance. */
int loop_evaluate(struct loop *l, struct err *e) {
    struct train_state *s = &l->state;
    double accuracy = 0, loss = s->last_loss;
    int rc = train_score(l->m, &l->run, &l->packer, l->validation, &l->scores, e);
    if (rc < 0)
        return rc;
    if (l->validation->n_rows > 0 && (rc = grade(l->validation, &l->scores, &accuracy, &loss, e)) < 0)
        return rc;
    if (l->validation->n_rows > 0 && !isfinite(loss))
        return diverged(l, e);
    bool better = l->validation->n_rows == 0 || accuracy > s->best_accuracy ||
                  (accuracy == s->best_accuracy && loss < s->best_loss);
    bool worth_it = accuracy > s->best_accuracy || s->best_loss - loss > LEAST_GAIN;
    s->last_accuracy = accuracy;
    s->stale = better && worth_it ? 0 : s->stale + 1;
    if (better) {
        s->best_step = l->optimizer.step;
        s->best_accuracy = accuracy;
        s->best_loss = loss;
        rc = checkpoint_save(l->files->best, &l->optimizer, NULL, 0, e);
    }
    loop_count_time(l);
    train_log_line(&l->log,
                   "{\"event\":\"evaluation\",\"step\":%lld,\"epoch\":%.3f,\"validation_accuracy\":%.6f,"
                   "\"validation_loss\":%.6f,"
                   "\"best\":%s,\"rows\":%lld}",
                   (long long)l->optimizer.step, (double)l->optimizer.step / (double)l->steps_per_epoch,
                   accuracy, loss, better ? "true" : "false", (long long)l->validation->n_rows);
    if (l->validation->n_rows > 0 && l->s.patience > 0 && s->stale >= l->s.patience)
        s->finished = STOPPED_EARLY;
    return rc;
}
