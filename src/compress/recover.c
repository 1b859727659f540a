/* Training through the rounding. */
#include "compress/recover.h"
#include "base/clock.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/thread.h"
#include "compress/compress.h"
#include "model/block.h"
#include "train/loop.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_TOKENS = 2048, ROUND_ROWS = 16, LARGE_PARAMS = 50000000 };
#define LEAST_PROBABLE 0.02

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "recover_run", "out of memory");
}

/* ---- rounding ---- */

struct round_job {
    const struct block_type *type;
    float *values;
    const float *importance;
    int64_t rows, cols;
    atomic_int failed; /* by any thread */
};

static void round_rows(void *context, int64_t begin, int64_t end, int thread) {
    struct round_job *j = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t first = i * ROUND_ROWS, n = j->rows - first < ROUND_ROWS ? j->rows - first : ROUND_ROWS;
        float *at = j->values + first * j->cols;
        if (block_round(j->type, at, at, n, j->cols, j->importance, NULL) < 0)
            j->failed = ERR_NO_MEMORY;
    }
}

/* The mean squares as llama.cpp's quantiser gets them (llama/quantize.c). NULL where there are none. */
static int importance_of(const struct imatrix *im, const char *name, int64_t cols, float **out,
                         struct err *e) {
    *out = NULL;
    for (int i = 0; im && i < imatrix_count(im); i++) {
        struct imatrix_entry x = imatrix_at(im, i);
        if (strcmp(x.weight, name) != 0 || x.width != cols)
            continue;
        *out = malloc((size_t)cols * sizeof **out);
        if (!*out)
            return no_memory(e);
        for (int64_t k = 0; k < cols; k++)
            (*out)[k] = x.count > 0 ? (float)x.sum2[k] / (float)x.count : 1.0F;
    }
    return 0;
}

static int round_tensor(struct nn_model *m, const struct rounding *r, int i, struct thread_pool *pool,
                        struct err *e) {
    const struct nn_tensor *t = nn_set_find(&m->base, r->names[i]);
    struct block_type type;
    float *importance;
    if (!t || t->rows == 1)
        return 0;
    if (!block_type_find(r->types[i], &type))
        return err_set(e, ERR_USAGE, "recover_run", "\"%s\" is not a type of tensor", r->types[i]);
    int rc = importance_of(r->importance, r->names[i], t->cols, &importance, e);
    if (rc < 0)
        return rc;
    struct round_job j = {.type = &type,
                          .values = m->base.value + t->offset,
                          .importance = importance,
                          .rows = t->rows,
                          .cols = t->cols};
    thread_pool_for(pool, (t->rows + ROUND_ROWS - 1) / ROUND_ROWS, round_rows, &j);
    free(importance);
    return j.failed < 0
               ? err_set(e, j.failed, "recover_run", "%s cannot be rounded to %s", r->names[i], type.name)
               : 0;
}

static int round_all(struct nn_model *m, const struct rounding *r, struct thread_pool *pool, struct err *e) {
    int rc = 0;
    for (int i = 0; i < r->n && rc == 0; i++)
        rc = round_tensor(m, r, i, pool, e);
    return rc;
}

int rounding_apply(struct nn_model *m, const struct rounding *r, struct err *e) {
    return round_all(m, r, NULL, e);
}

/* ---- the run ---- */

/* Between steps, and at an evaluation, model.base.value holds the rounded weights of `master`. */
struct recovery {
    struct student *s;
    const struct rounding *r;
    const struct dataset *training, *judge;
    struct recover_options o;
    struct thread_pool *pool;
    float *master, *best; /* weights before rounding, [n_values] */
    double *soft, *truth,
        *now; /* probabilities: training [rows, labels], judge's of the student and of the rounded one */
    int64_t *order;
    struct packer packer;
    struct nn_run run;
    struct optimizer optimizer;
    struct recover_result result;
};

int64_t recover_memory_bytes(const struct nn_model *m) {
    return 5 * m->base.n_values * (int64_t)sizeof(float); /* gradient, two moments, master, best */
}

static size_t slab_bytes(const struct recovery *x) {
    return (size_t)x->s->model.base.n_values * sizeof(float);
}

static int score(struct recovery *x, const struct dataset *d, double *p, struct err *e) {
    int rc = train_score(&x->s->model, &x->run, &x->packer, d, &(struct train_scores){.log_prob = p}, e);
    if (rc == 0)
        student_probabilities(p, d->n_rows, d->form->n_labels);
    return rc;
}

/* Mean divergence of the rounded model from the student on the judge's rows. */
static int judge(struct recovery *x, double *out, struct err *e) {
    int rc = score(x, x->judge, x->now, e);
    *out = compress_divergence(x->truth, x->now, x->judge->n_rows, x->judge->form->n_labels);
    return rc;
}

static int allocate(struct recovery *x, struct err *e) {
    int n = x->training->form->n_labels;
    x->master = malloc(slab_bytes(x));
    x->best = malloc(slab_bytes(x));
    x->soft = calloc((size_t)(x->training->n_rows * n), sizeof *x->soft);
    x->truth = calloc((size_t)(x->judge->n_rows * n), sizeof *x->truth);
    x->now = calloc((size_t)(x->judge->n_rows * n), sizeof *x->now);
    x->order = calloc((size_t)x->training->n_rows, sizeof *x->order);
    if (!x->master || !x->best || !x->soft || !x->truth || !x->now || !x->order)
        return no_memory(e);
    memcpy(x->master, x->s->model.base.value, slab_bytes(x));
    memcpy(x->best, x->master, slab_bytes(x));
    for (int64_t i = 0; i < x->training->n_rows; i++)
        x->order[i] = i;
    return 0;
}

/* What was given, or what the student itself says before it is rounded. */
static int learn_from(struct recovery *x, const struct dataset *d, const double *given, double *p,
                      struct err *e) {
    if (!given)
        return score(x, d, p, e);
    memcpy(p, given, (size_t)d->n_rows * (size_t)d->form->n_labels * sizeof *p);
    return 0;
}

static int begin(struct recovery *x, struct err *e) {
    int64_t a = dataset_longest(x->training), b = dataset_longest(x->judge), n = a > b ? a : b;
    n = n > STEP_TOKENS ? n : STEP_TOKENS;
    int64_t t1 = dataset_most_targets(x->training, n, 0), t2 = dataset_most_targets(x->judge, n, 0);
    struct nn_limits limits = {.n_tokens = n, .n_targets = t1 > t2 ? t1 : t2};
    int rc = allocate(x, e);
    if (rc == 0)
        rc = packer_init(&x->packer, n, e);
    if (rc == 0)
        rc = nn_model_train_all(&x->s->model, e);
    if (rc == 0)
        rc = nn_run_init(&x->run, &x->s->model, &limits, e);
    int64_t per_epoch = (x->training->n_rows + x->o.batch_rows - 1) / x->o.batch_rows;
    struct optimizer_options o = {.learning_rate = x->o.learning_rate,
                                  .schedule = SCHEDULE_COSINE,
                                  .warmup_steps = per_epoch / 10,
                                  .total_steps = per_epoch * x->o.epochs,
                                  .final_fraction = 0.05F};
    if (rc == 0)
        rc = optimizer_init(&x->optimizer, &x->s->model, &o, e);
    if (rc == 0)
        rc = learn_from(x, x->training, x->o.taught, x->soft, e);
    return rc < 0 ? rc : learn_from(x, x->judge, x->o.judged, x->truth, e);
}

static void end(struct recovery *x) {
    optimizer_release(&x->optimizer);
    nn_run_release(&x->run);
    packer_release(&x->packer);
    thread_pool_free(x->pool);
    free(x->master);
    free(x->best);
    free(x->soft);
    free(x->truth);
    free(x->now);
    free(x->order);
}

static int flush(struct recovery *x, double divisor, struct err *e) {
    struct nn_batch b = packer_batch(&x->packer);
    int rc = x->packer.n_seq > 0 ? nn_forward_backward(&x->s->model, &x->run, &b, divisor, NULL, e) : 0;
    packer_clear(&x->packer);
    return rc;
}

/* Gradients of a batch's rows, each with every label that the student finds probable. */
static int learn(struct recovery *x, const int64_t *rows, int64_t n, struct err *e) {
    int n_labels = x->training->form->n_labels, rc = 0;
    nn_zero_gradients(&x->s->model);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < n_labels && rc == 0; k++) {
            double p = x->soft[rows[i] * n_labels + k];
            if (p < LEAST_PROBABLE || packer_add(&x->packer, x->training, rows[i], k, (float)p))
                continue;
            rc = flush(x, (double)n, e);
            if (rc == 0 && !packer_add(&x->packer, x->training, rows[i], k, (float)p))
                rc = no_memory(e);
        }
    return rc < 0 ? rc : flush(x, (double)n, e);
}

/* From `master` to the rounded weights. */
static int round_now(struct recovery *x, struct err *e) {
    struct nn_model *m = &x->s->model;
    memcpy(m->base.value, x->master, slab_bytes(x));
    return round_all(m, x->r, x->pool, e);
}

static int step(struct recovery *x, const int64_t *rows, int64_t n, struct err *e) {
    struct optimizer_report report;
    struct nn_model *m = &x->s->model;
    int rc = learn(x, rows, n, e);
    if (rc < 0)
        return rc;
    memcpy(m->base.value, x->master,
           slab_bytes(x)); /* straight through: the rounded weights' gradient, here */
    rc = optimizer_step(&x->optimizer, &report, e);
    if (rc < 0)
        return rc;
    memcpy(x->master, m->base.value, slab_bytes(x));
    x->result.steps++;
    return round_now(x, e);
}

static void shuffle(struct recovery *x, struct rng *rng) {
    for (int64_t i = x->training->n_rows - 1; i > 0; i--) {
        int64_t j = rng_range(rng, 0, i), old = x->order[i];
        x->order[i] = x->order[j];
        x->order[j] = old;
    }
}

static int epoch(struct recovery *x, struct progress *p, struct err *e) {
    int64_t n = x->training->n_rows;
    double divergence;
    int rc = 0;
    for (int64_t at = 0; at < n && rc == 0; at += x->o.batch_rows) {
        rc = step(x, x->order + at, n - at < x->o.batch_rows ? n - at : x->o.batch_rows, e);
        if (rc == 0)
            rc = interrupt_check(e);
        progress_update(p, x->result.steps);
    }
    if (rc == 0)
        rc = judge(x, &divergence, e);
    if (rc == 0 && divergence < x->result.after) {
        x->result.after = divergence;
        x->result.best_step = x->result.steps;
        memcpy(x->best, x->master, slab_bytes(x));
    }
    return rc;
}

static int train(struct recovery *x, struct progress *p, struct err *e) {
    struct rng rng;
    rng_seed(&rng, x->o.seed);
    int rc = round_now(x, e);
    if (rc == 0)
        rc = judge(x, &x->result.before, e);
    x->result.after = x->result.before;
    for (int64_t i = 0; i < x->o.epochs && rc == 0; i++) {
        shuffle(x, &rng);
        rc = epoch(x, p, e);
    }
    memcpy(x->s->model.base.value, x->best, slab_bytes(x));
    return rc;
}

int recover_run(struct recover_result *result, struct student *s, const struct rounding *r,
                const struct dataset *training, const struct dataset *validation,
                const struct recover_options *o, struct progress *p, struct err *e) {
    struct recovery x = {.s = s, .r = r, .training = training, .judge = training, .o = *o};
    double start = clock_seconds();
    if (training->n_rows == 0)
        return err_set(e, ERR_INPUT, "recover_run", "there are no training rows to recover with");
    if (validation && validation->n_rows > 0)
        x.judge = validation;
    else
        x.o.judged = o->taught;
    x.o.epochs = o->epochs > 0 ? o->epochs : 3;
    x.o.batch_rows = o->batch_rows > 0 ? o->batch_rows : 16;
    if (!(o->learning_rate > 0))
        x.o.learning_rate = s->model.base.n_params < LARGE_PARAMS ? 3e-4F : 3e-5F;
    if (p)
        p->total = (training->n_rows + x.o.batch_rows - 1) / x.o.batch_rows * x.o.epochs;
    int rc = (x.pool = thread_pool_new(s->ops.n_threads, e)) ? begin(&x, e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = train(&x, p, e);
    x.result.seconds = clock_seconds() - start;
    end(&x);
    if (rc == 0)
        *result = x.result;
    return rc;
}
