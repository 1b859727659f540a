/* The loop. State machine of a run:
 *
 *     begin -> [resume] -> (epoch: order rows -> step ... -> evaluation at its steps) ... -> finished -> best weights
 *
 * Invariants:
 *  1. `state` and the optimiser change together, between steps; a checkpoint is written only then.
 *  2. The order of an epoch's rows follows from seed and epoch alone.
 *  3. state.best_* describe the file `best`, which is written before the state that says so. */
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/loop_internal.h"
#include "train/rate.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EVAL_STEPS = 200 };

/* ---- beginning ---- */

static uint64_t hash_run(const struct loop *l) {
    const struct train_settings *s = &l->s;
    double numbers[] = {(double)s->epochs,       (double)s->batch_rows,   (double)s->learning_rate,
                        (double)s->warmup,       (double)s->weight_decay, (double)s->patience,
                        (double)s->eval_steps,   (double)s->micro_tokens, (double)s->soft_share,
                        (double)s->likely_share, (double)s->plain};
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
    struct train_need need =
        dataset_need(l->train, l->validation, l->s.batch_rows, (l->s.plain & TRAIN_PLAIN_PREFIX) != 0);
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
    if (rc < 0) {
        err_set(e, rc, own.origin, "%s", own.message);
        return err_hint(e, "%s", own.hint);
    }
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
    l->first_size = loop_weights_size(l);
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

void loop_count_time(struct loop *l) {
    double now = clock_seconds();
    l->state.seconds += now - l->clock_s;
    l->clock_s = now;
    if (!l->s.count)
        return;
    l->state.macs += l->s.count->macs - l->counted;
    l->counted = l->s.count->macs;
}

double loop_product_share(const struct loop *l) {
    return l->product_rate > 0 ? l->state.macs / (l->state.seconds + 1e-9) / l->product_rate : 0;
}

/* To the end of all epochs at the pace so far, evaluations included; early stopping ends it sooner. */
double loop_seconds_left(const struct loop *l) {
    int64_t done = l->optimizer.step, all = l->s.epochs * l->steps_per_epoch;
    return done > 0 ? l->state.seconds / (double)done * (double)(all - done) : 0;
}

static int save(struct loop *l, struct err *e) {
    loop_count_time(l);
    int rc = train_log_flush(&l->log, &l->state.log_bytes, e);
    if (rc == 0)
        rc = checkpoint_save(l->files->checkpoint, &l->optimizer, &l->state, sizeof l->state, e);
    l->saved_s = clock_seconds();
    return rc;
}

static void show(struct loop *l) {
    const struct train_state *s = &l->state;
    char memory[32], share[48] = "";
    if (l->product_rate > 0)
        snprintf(share, sizeof share, ", %.0f%% of the product's peak", 100 * loop_product_share(l));
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
        rc = loop_evaluate(l, e); /* where the base stands */
    while (rc == 0 && s->finished == RUNNING) {
        if (!ordered || s->next == 0)
            order_rows(l);
        ordered = true;
        if ((rc = loop_step(l, e)) < 0)
            break;
        bool last = s->epoch >= l->s.epochs, due = l->optimizer.step % l->s.eval_steps == 0 || last;
        if (due)
            rc = loop_evaluate(l, e);
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

/* That every row of a step begins with. */
static int64_t shared_tokens(const struct loop *l) {
    int64_t n = dataset_shared(l->train), room = l->memory.limits.n_prefix;
    return n < room ? n : room;
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
                               .product_share = loop_product_share(l),
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
            (long long)l.s.micro_tokens, (long long)shared_tokens(&l), l.memory.limits.n_recompute,
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
