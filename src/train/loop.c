/* The loop. State machine of a run:
 *
 *     begin -> [resume] -> (epoch: order rows -> step ... -> evaluation at its steps) ... -> finished -> best weights
 *
 * Invariants:
 *  1. `state` and the optimiser change together, between steps; a checkpoint is written only then.
 *  2. The order of an epoch's rows follows from seed and epoch alone.
 *  3. state.best_* describe the file `best`, which is written before the state that says so. */
#include "train/loop.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/checkpoint.h"
#include "train/loop_log.h"
#include "train/rate.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EVAL_STEPS = 200, RUNNING = 0, ALL_EPOCHS = 1, STOPPED_EARLY = 2 };

/* A validation loss that falls by less is kept, but no reason to go on. */
#define LEAST_GAIN 1e-3

/* What a checkpoint keeps beside weights and moments. */
struct train_state {
    uint64_t run;        /* hash of settings and rows */
    int64_t epoch, next; /* next row in the epoch's order */
    int64_t finished;
    int64_t best_step, stale; /* evaluations since */
    double best_accuracy, best_loss, last_accuracy;
    int64_t log_bytes;
    double seconds;
    int64_t samples, tokens;
    double last_loss, smooth_loss, lowest_loss; /* lowest of the smooth ones */
    double macs;                                /* multiply-adds done */
};
_Static_assert(sizeof(struct train_state) == 17 * 8, "on-disk layout");

struct loop {
    struct nn_model *m;
    const struct dataset *train, *validation;
    struct train_settings s;
    const struct train_files *files;
    struct progress *progress;
    struct train_memory memory;
    double product_rate; /* multiply-adds per second; 0: not measured */
    double counted;      /* of s.count when state.macs was last brought up to date */
    struct nn_run run;
    struct optimizer optimizer;
    struct packer packer;
    struct train_log log;
    struct train_state state;
    int64_t *order;             /* of the epoch's rows */
    struct train_scores scores; /* of the validation rows */
    int64_t steps_per_epoch;
    double clock_s, saved_s; /* when state.seconds was last brought up to date; last checkpoint */
    bool resumed;
};

/* ---- beginning ---- */

static uint64_t hash_run(const struct loop *l) {
    const struct train_settings *s = &l->s;
    double numbers[] = {(double)s->epochs,       (double)s->batch_rows,   (double)s->learning_rate,
                        (double)s->warmup,       (double)s->weight_decay, (double)s->patience,
                        (double)s->eval_steps,   (double)s->micro_tokens, (double)s->soft_share,
                        (double)s->likely_share, (double)s->no_prefix,    (double)s->plain};
    uint64_t h = s->seed ^ s->identity ^ (uint64_t)s->schedule << 56;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t word;
        memcpy(&word, &numbers[i], sizeof word);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 31;
    }
    return dataset_hash(l->validation, dataset_hash(l->train, h));
}

static int check_arguments(const struct loop *l, struct err *e) {
    if (l->train->n_rows < 1)
        return err_set(e, ERR_INPUT, "train_run", "there is no row to train on");
    if (!l->m->trained || !l->m->trained->gradient)
        return err_set(e, ERR_INPUT, "train_run",
                       "nothing of the model is trained: add adapters or train all of it");
    if (l->s.epochs < 1 || l->s.batch_rows < 1 || !(l->s.learning_rate > 0))
        return err_set(e, ERR_INPUT, "train_run", "epochs, rows a step and learning rate must be positive");
    return 0;
}

static int64_t base_bytes(const struct nn_model *m) {
    return m->storage_bytes + m->base.n_values * (int64_t)sizeof(float);
}

/* Weights are there already; what comes on top must be free. */
static int plan_memory(struct loop *l, struct err *e) {
    struct train_need need = dataset_need(l->train, l->validation, l->s.batch_rows, l->s.no_prefix);
    need.plain = l->s.plain;
    need.n_others = l->s.likely_share > 0 ? l->train->n_likely : 0;
    need.micro_tokens = l->s.micro_tokens;
    train_memory_plan(l->m, base_bytes(l->m), &need, mem_total_bytes(), &l->memory);
    int64_t wanted = l->memory.run_bytes + 8 * l->m->trained->n_values, available = mem_available_bytes();
    char need_text[32], have_text[32];
    if (available <= 0 || wanted < available)
        return 0;
    err_set(e, ERR_NO_MEMORY, "train_run", "training takes %s more memory, %s are free",
            str_bytes(need_text, sizeof need_text, wanted),
            str_bytes(have_text, sizeof have_text, available));
    return err_hint(e, "close other programs, shorten the prompt, or accept a plan with a smaller base");
}

/* What the machine's product reaches by itself, to set the run beside it. */
static int measure_product(struct loop *l, struct err *e) {
    struct ops_rate rate = {0};
    int64_t rows = l->memory.limits.n_tokens < 1024 ? l->memory.limits.n_tokens : 1024;
    if (!l->s.count)
        return 0;
    int rc = train_product_rate(l->m, rows, &rate, e);
    l->product_rate = rate.per_s;
    l->counted = l->s.count->macs;
    return rc;
}

static int begin_memory(struct loop *l, struct err *e) {
    int64_t n_val = l->validation->n_rows * train_scores_of(l->validation);
    l->order = malloc((size_t)l->train->n_rows * sizeof *l->order);
    l->scores.log_prob = malloc((size_t)(n_val + 1) * sizeof *l->scores.log_prob);
    if (l->validation->form->written)
        l->scores.decoded = malloc((size_t)(n_val + 1) * sizeof *l->scores.decoded);
    if (!l->order || !l->scores.log_prob || (l->validation->form->written && !l->scores.decoded))
        return err_set(e, ERR_NO_MEMORY, "train_run", "no room for the order of %lld rows",
                       (long long)l->train->n_rows);
    int rc = packer_init(&l->packer, l->s.micro_tokens, e);
    if (rc == 0 && l->memory.limits.n_others > 0)
        rc = packer_init_others(&l->packer, l->memory.limits.n_others, e);
    if (rc == 0)
        rc = nn_run_init(&l->run, l->m, &l->memory.limits, e);
    struct optimizer_options o = {.learning_rate = l->s.learning_rate,
                                  .beta2 = 0.98f,
                                  .weight_decay = l->s.weight_decay,
                                  .schedule = l->s.schedule,
                                  .total_steps = l->s.epochs * l->steps_per_epoch,
                                  .final_fraction = 0.05f};
    o.warmup_steps = (int64_t)ceil((double)l->s.warmup * (double)o.total_steps);
    return rc == 0 ? optimizer_init(&l->optimizer, l->m, &o, e) : rc;
}

/* A checkpoint of this very run is continued, one of another run is left behind. */
static int resume(struct loop *l, struct err *e) {
    struct train_state kept;
    struct err own = {0};
    uint64_t run = l->state.run;
    int rc = checkpoint_peek(l->files->checkpoint, l->m, &kept, sizeof kept, &own);
    if (rc == ERR_NOT_FOUND || rc == ERR_MISMATCH || (rc == 0 && kept.run != run))
        return 0;
    if (rc < 0)
        return err_set(e, rc, own.origin, "%s", own.message);
    rc = checkpoint_load(l->files->checkpoint, &l->optimizer, &l->state, sizeof l->state, e);
    l->resumed = rc == 0;
    return rc;
}

static int begin(struct loop *l, struct err *e) {
    int rc = check_arguments(l, e);
    if (rc < 0)
        return rc;
    l->steps_per_epoch = (l->train->n_rows + l->s.batch_rows - 1) / l->s.batch_rows;
    if (l->s.eval_steps <= 0)
        l->s.eval_steps = l->steps_per_epoch < MAX_EVAL_STEPS ? l->steps_per_epoch : MAX_EVAL_STEPS;
    l->s.save_every_s = l->s.save_every_s > 0 ? l->s.save_every_s : 60;
    if ((rc = plan_memory(l, e)) < 0)
        return rc;
    l->s.micro_tokens = l->memory.limits.n_tokens;
    l->state = (struct train_state){.run = hash_run(l), .best_accuracy = -1, .best_loss = INFINITY};
    if ((rc = begin_memory(l, e)) < 0 || (rc = resume(l, e)) < 0 || (rc = measure_product(l, e)) < 0 ||
        (rc = train_log_open(&l->log, l->files->log, l->resumed ? l->state.log_bytes : 0, e)) < 0)
        return rc;
    l->clock_s = l->saved_s = clock_seconds();
    return 0;
}

static void end(struct loop *l) {
    train_log_close(&l->log);
    optimizer_release(&l->optimizer);
    nn_run_release(&l->run);
    packer_release(&l->packer);
    free(l->order);
    free(l->scores.log_prob);
    free(l->scores.decoded);
}

static void order_rows(struct loop *l) {
    struct rng base, own;
    rng_seed(&base, l->s.seed);
    own = rng_fork(&base, (uint64_t)l->state.epoch + 1);
    for (int64_t i = 0; i < l->train->n_rows; i++)
        l->order[i] = i;
    rng_shuffle(&own, l->order, l->train->n_rows);
}

/* ---- checkpoints ---- */

static void count_time(struct loop *l) {
    double now = clock_seconds();
    l->state.seconds += now - l->clock_s;
    l->clock_s = now;
    if (!l->s.count)
        return;
    l->state.macs += l->s.count->macs - l->counted;
    l->counted = l->s.count->macs;
}

static double product_share(const struct loop *l) {
    return l->product_rate > 0 ? l->state.macs / (l->state.seconds + 1e-9) / l->product_rate : 0;
}

/* To the end of all epochs at the pace so far, evaluations included; early stopping ends it sooner. */
static double seconds_left(const struct loop *l) {
    int64_t done = l->optimizer.step, all = l->s.epochs * l->steps_per_epoch;
    return done > 0 ? l->state.seconds / (double)done * (double)(all - done) : 0;
}

static int save(struct loop *l, struct err *e) {
    count_time(l);
    int rc = train_log_flush(&l->log, &l->state.log_bytes, e);
    if (rc == 0)
        rc = checkpoint_save(l->files->checkpoint, &l->optimizer, &l->state, sizeof l->state, e);
    l->saved_s = clock_seconds();
    return rc;
}

/* ---- validation ---- */

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

/* Without validation rows the latest weights count as the best. */
static int evaluate(struct loop *l, struct err *e) {
    struct train_state *s = &l->state;
    double accuracy = 0, loss = s->last_loss;
    int rc = train_score(l->m, &l->run, &l->packer, l->validation, &l->scores, e);
    if (rc < 0)
        return rc;
    if (l->validation->n_rows > 0 && (rc = grade(l->validation, &l->scores, &accuracy, &loss, e)) < 0)
        return rc;
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
    count_time(l);
    train_log_line(&l->log,
                   "{\"event\":\"evaluation\",\"step\":%lld,\"epoch\":%.3f,\"validation_accuracy\":%.6f,"
                   "\"validation_loss\":%.6f,"
                   "\"best\":%s,\"rows\":%lld}",
                   (long long)l->optimizer.step, (double)l->optimizer.step / (double)l->steps_per_epoch,
                   accuracy, loss, better ? "true" : "false", (long long)l->validation->n_rows);
    if (l->s.patience > 0 && s->stale >= l->s.patience)
        s->finished = STOPPED_EARLY;
    return rc;
}

/* ---- steps ---- */

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
    return err_hint(
        e, "try half the learning rate (now %g); if it is always the same record, correct or reject it",
        (double)l->s.learning_rate);
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
    return err_hint(e, "try half the learning rate (now %g)", (double)l->s.learning_rate);
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
        bool room = l->packer.n_tokens < full;
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

static int step(struct loop *l, struct err *e) {
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
    if (rc < 0)
        return rc;
    s->next += n;
    s->samples += n;
    if (s->next >= l->train->n_rows) {
        s->epoch++;
        s->next = 0;
    }
    count_time(l);
    train_log_line(&l->log,
                   "{\"event\":\"step\",\"step\":%lld,\"epoch\":%.3f,\"loss\":%.6f,\"learning_rate\":%.4g,"
                   "\"gradient_norm\":%.4g,\"seconds\":%.2f,\"samples_per_s\":%.1f,\"tokens_per_s\":%.0f,"
                   "\"product_share\":%.3f,\"memory_bytes\":%lld,\"seconds_left\":%.1f}",
                   (long long)l->optimizer.step, (double)l->optimizer.step / (double)l->steps_per_epoch, loss,
                   (double)report.learning_rate, report.gradient_norm, s->seconds,
                   (double)s->samples / s->seconds, (double)s->tokens / s->seconds, product_share(l),
                   (long long)l->memory.total_bytes, seconds_left(l));
    return 0;
}

static void show(struct loop *l) {
    const struct train_state *s = &l->state;
    char memory[32], share[48] = "";
    if (l->product_rate > 0)
        snprintf(share, sizeof share, ", %.0f%% of the product's peak", 100 * product_share(l));
    progress_note(l->progress, "loss %.3f, validation %.1f%% (best %.1f%%), %.1f rows/s, %.0f tokens/s%s, %s",
                  s->smooth_loss, 100 * s->last_accuracy, 100 * s->best_accuracy,
                  (double)s->samples / (s->seconds + 1e-9), (double)s->tokens / (s->seconds + 1e-9), share,
                  str_bytes(memory, sizeof memory, l->memory.total_bytes));
    progress_update(l->progress, l->optimizer.step);
}

static int run_steps(struct loop *l, struct err *e) {
    struct train_state *s = &l->state;
    int rc = 0;
    bool ordered = false;
    if (l->optimizer.step == 0 && s->best_step == 0 && s->best_accuracy < 0)
        rc = evaluate(l, e); /* where the base stands */
    while (rc == 0 && s->finished == RUNNING) {
        if (!ordered || s->next == 0)
            order_rows(l);
        ordered = true;
        if ((rc = step(l, e)) < 0)
            break;
        bool last = s->epoch >= l->s.epochs, due = l->optimizer.step % l->s.eval_steps == 0 || last;
        if (due)
            rc = evaluate(l, e);
        if (rc == 0 && last && s->finished == RUNNING)
            s->finished = ALL_EPOCHS;
        if (rc == 0 && (due || interrupt_requested() || clock_seconds() - l->saved_s > l->s.save_every_s))
            rc = save(l, e);
        if (rc == 0)
            show(l);
        if (rc == 0 && s->finished == RUNNING)
            rc = interrupt_check(e);
    }
    return rc;
}

/* ---- ending ---- */

static void report(const struct loop *l, struct train_result *r) {
    const struct train_state *s = &l->state;
    *r = (struct train_result){.steps = l->optimizer.step,
                               .epochs_done = s->epoch,
                               .best_step = s->best_step,
                               .best_accuracy = s->best_accuracy,
                               .best_loss = s->best_loss,
                               .last_loss = s->last_loss,
                               .seconds = s->seconds,
                               .samples_per_s = (double)s->samples / (s->seconds + 1e-9),
                               .tokens_per_s = (double)s->tokens / (s->seconds + 1e-9),
                               .stopped_early = s->finished == STOPPED_EARLY,
                               .memory_bytes = l->memory.total_bytes,
                               .product_share = product_share(l),
                               .resumed = l->resumed};
}

int train_run(struct nn_model *m, const struct dataset *train, const struct dataset *validation,
              const struct train_settings *s, const struct train_files *files, struct progress *progress,
              struct train_result *result, struct err *e) {
    struct loop l = {
        .m = m, .train = train, .validation = validation, .s = *s, .files = files, .progress = progress};
    int rc = begin(&l, e);
    if (rc == 0) {
        train_log_line(
            &l.log,
            "{\"event\":\"%s\",\"from_step\":%lld,\"steps\":%lld,\"rows\":%lld,\"micro_tokens\":%lld,"
            "\"shared_tokens\":%lld,\"recomputed_blocks\":%d,\"memory_bytes\":%lld}",
            l.resumed ? "resume" : "start", (long long)l.optimizer.step,
            (long long)(l.s.epochs * l.steps_per_epoch), (long long)train->n_rows,
            (long long)l.s.micro_tokens, (long long)l.memory.limits.n_prefix, l.memory.limits.n_recompute,
            (long long)l.memory.total_bytes);
        progress_begin(progress, "train", "step", l.s.epochs * l.steps_per_epoch);
        rc = run_steps(&l, e);
        progress_end(progress);
    }
    if (rc == 0)
        rc = checkpoint_load_weights(files->best, m, e);
    if (rc == 0)
        report(&l, result);
    end(&l);
    return rc;
}
