/* Watching the trainer's passes. */
#include "compress/activity.h"
#include "base/interrupt.h"
#include "train/loop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASS_TOKENS = 2048, MAX_LABELS = 8 };
#define LEAST_PROBABLE 1e-3

/* Squares of the two groups of positions are summed apart and joined at the end, when both counts are known. */
struct group {
    double *square; /* [cols] */
    double count;
};

struct collector {
    struct activity *a;
    struct student *s;
    const struct dataset *d;
    struct activity_options o;
    struct group *groups[2]; /* prompt, answer; by matrix */
    int *place;              /* of a tensor among the matrices; -1: none */
    struct packer packer;
    struct nn_run run;
    const struct nn_batch *batch;
    bool inputs; /* this pass's inputs count: every row's once, whatever the labels it is answered with */
    double *log_prob;
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "activity_collect", "out of memory");
}

/* ---- what the passes show ---- */

static void add_squares(double *sum, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        sum[i] += (double)x[i] * (double)x[i];
}

static int matrix_of(const struct collector *c, const struct nn_tensor *w) {
    return c->place[w - c->s->model.base.tensors];
}

/* Rows of the pass are all tokens, or only those with a target, which all predict the answer. */
static void on_input(void *context, const struct nn_tensor *w, const float *x, int64_t rows) {
    struct collector *c = context;
    int at = matrix_of(c, w);
    if (at < 0 || !c->inputs)
        return;
    bool whole = rows == c->batch->n_tokens;
    for (int64_t r = 0; r < rows; r++) {
        struct group *g = &c->groups[!whole || c->batch->target[r] >= 0][at];
        add_squares(g->square, x + r * w->cols, w->cols);
        g->count += 1;
    }
}

static void on_gradient(void *context, const struct nn_tensor *w, const float *dy, int64_t rows) {
    struct collector *c = context;
    int at = matrix_of(c, w);
    for (int64_t r = 0; at >= 0 && r < rows; r++)
        add_squares(c->a->matrices[at].gradient, dy + r * w->rows, w->rows);
}

/* What is seen is the gradient at the embedded tokens, which some models scale after looking them up. */
static void on_embedded(void *context, const float *dx, int64_t rows) {
    struct collector *c = context;
    double scale = c->s->model.config.embed_scale > 0 ? (double)c->s->model.config.embed_scale : 1;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < c->a->d_model; i++) {
            double g = scale * (double)dx[r * c->a->d_model + i];
            c->a->embedded[i] += g * g;
        }
        c->a->looked_up[c->batch->token[r]] += 1;
    }
}

/* ---- the passes ---- */

static int pass(struct collector *c, struct err *e) {
    struct nn_batch b = packer_batch(&c->packer);
    float *losses;
    int rc;
    if (c->packer.n_seq == 0)
        return 0;
    c->batch = &b;
    if (!c->o.forward_only && !c->inputs) {
        rc = nn_forward_backward(&c->s->model, &c->run, &b, 1, NULL, e);
    } else {
        losses = malloc((size_t)b.n_tokens * sizeof *losses);
        rc = losses ? nn_forward_loss(&c->s->model, &c->run, &b, losses, e) : no_memory(e);
        free(losses);
    }
    packer_clear(&c->packer);
    return rc < 0 ? rc : interrupt_check(e);
}

static int add(struct collector *c, int64_t row, int label, float weight, struct err *e) {
    if (packer_add(&c->packer, c->d, row, label, weight))
        return 0;
    int rc = pass(c, e);
    return rc < 0 ? rc : packer_add(&c->packer, c->d, row, label, weight) ? 0 : no_memory(e);
}

/* Every row once with its own label, for the inputs. */
static int read_inputs(struct collector *c, struct progress *p, struct err *e) {
    int rc = 0;
    c->inputs = true;
    for (int64_t i = 0; i < c->d->n_rows && rc == 0; i++) {
        rc = add(c, i, c->d->rows[i].label, 1, e);
        progress_update(p, i + 1);
    }
    if (rc == 0)
        rc = pass(c, e);
    c->inputs = false;
    return rc;
}

/* From log P of the n answers to a row to the labels' probabilities, and the least one that counts: of many labels the most probable
 * MAX_LABELS do, wherever they stand. */
static double probable(double *p, int n) {
    double most[MAX_LABELS] = {0};
    student_probabilities(p, 1, n);
    for (int k = 0; k < n; k++)
        for (int at = MAX_LABELS - 1; at >= 0 && p[k] > most[at]; at--) {
            if (at + 1 < MAX_LABELS)
                most[at + 1] = most[at];
            most[at] = p[k];
        }
    return fmax(most[MAX_LABELS - 1], LEAST_PROBABLE);
}

/* Every row with each label that the student finds probable: gradients scaled by the root of the probability, so that their
 * squares are weighted by it. */
static int read_gradients(struct collector *c, struct progress *p, struct err *e) {
    int n = c->d->form->n_labels;
    int rc = student_score(c->s, c->d, c->log_prob, e);
    for (int64_t i = 0; i < c->d->n_rows && rc == 0; i++) {
        double *p_of = c->log_prob + i * n, least = probable(p_of, n);
        for (int k = 0, used = 0; k < n && used < MAX_LABELS && rc == 0; k++) {
            if (p_of[k] < least)
                continue;
            used++;
            rc = add(c, i, k, (float)sqrt(p_of[k]), e);
        }
        progress_update(p, c->d->n_rows + i + 1);
    }
    return rc < 0 ? rc : pass(c, e);
}

/* ---- the whole ---- */

static int make_matrices(struct collector *c, struct err *e) {
    struct activity *a = c->a;
    const struct nn_set *base = &c->s->model.base;
    size_t n = (size_t)base->n_tensors;
    a->matrices = arena_calloc(&a->arena, n, sizeof *a->matrices);
    c->place = arena_calloc(&a->arena, n, sizeof *c->place);
    c->groups[0] = arena_calloc(&a->arena, n, sizeof *c->groups[0]);
    c->groups[1] = arena_calloc(&a->arena, n, sizeof *c->groups[1]);
    a->d_model = c->s->model.config.d_model;
    a->n_vocab = c->s->model.config.n_vocab;
    a->embedded = arena_calloc(&a->arena, (size_t)a->d_model, sizeof *a->embedded);
    a->looked_up = arena_calloc(&a->arena, (size_t)a->n_vocab, sizeof *a->looked_up);
    if (!a->matrices || !c->place || !c->groups[0] || !c->groups[1] || !a->embedded || !a->looked_up)
        return no_memory(e);
    for (int i = 0; i < base->n_tensors; i++) {
        const struct nn_tensor *t = &base->tensors[i];
        bool lookup = t->kind == NN_EMBED && !c->s->model.config.tied_head; /* multiplies nothing */
        c->place[i] = t->rows > 1 && !lookup ? a->n_matrices : -1;
        if (c->place[i] < 0)
            continue;
        struct activity_matrix *m = &a->matrices[a->n_matrices];
        *m = (struct activity_matrix){.rows = t->rows, .cols = t->cols};
        m->name = arena_strdup(&a->arena, t->name);
        m->square = arena_calloc(&a->arena, (size_t)t->cols, sizeof *m->square);
        m->gradient = arena_calloc(&a->arena, (size_t)t->rows, sizeof *m->gradient);
        for (int k = 0; k < 2; k++)
            c->groups[k][a->n_matrices].square = arena_calloc(&a->arena, (size_t)t->cols, sizeof(double));
        if (!m->name || !m->square || !m->gradient || !c->groups[0][a->n_matrices].square ||
            !c->groups[1][a->n_matrices].square)
            return no_memory(e);
        a->n_matrices++;
    }
    return 0;
}

static struct nn_limits limits_of(const struct collector *c, int64_t n_tokens) {
    return (struct nn_limits){.n_tokens = n_tokens,
                              .n_targets = dataset_most_targets(c->d, n_tokens, 0),
                              .plain = NN_PLAIN_VOCABULARY | NN_PLAIN_INPUT,
                              .forward_only = c->o.forward_only};
}

static int make_run(struct collector *c, struct err *e) {
    int64_t longest = dataset_longest(c->d), n = longest > PASS_TOKENS ? longest : PASS_TOKENS;
    struct nn_limits limits = limits_of(c, n);
    int64_t available = mem_available_bytes();
    /* What a pass keeps for its way back grows with its tokens: a large model takes fewer at a time where memory is short. */
    while (available > 0 && n > longest && (int64_t)nn_run_bytes(&c->s->model, &limits) > available / 2) {
        n = n / 2 > longest ? n / 2 : longest;
        limits = limits_of(c, n);
    }
    int rc = packer_init(&c->packer, n, e);
    c->log_prob = calloc((size_t)(c->d->n_rows * c->d->form->n_labels), sizeof *c->log_prob);
    if (rc == 0 && !c->log_prob)
        rc = no_memory(e);
    return rc < 0 ? rc : nn_run_init(&c->run, &c->s->model, &limits, e);
}

static void join_groups(struct collector *c) {
    for (int i = 0; i < c->a->n_matrices; i++) {
        struct activity_matrix *m = &c->a->matrices[i];
        const struct group *prompt = &c->groups[0][i], *answer = &c->groups[1][i];
        double wp = c->o.prompt_weight > 0 ? c->o.prompt_weight : 1, wa = c->o.answer_weight;
        if (!(wa > 0))
            wa = prompt->count > 0 && answer->count > 0 ? wp * prompt->count / answer->count : 1;
        for (int64_t k = 0; k < m->cols; k++)
            m->square[k] = wp * prompt->square[k] + wa * answer->square[k];
        m->count = wp * prompt->count + wa * answer->count;
    }
}

int activity_collect(struct activity *out, struct student *s, const struct dataset *d,
                     const struct activity_options *o, struct progress *p, struct err *e) {
    struct activity a = {.n_rows = d->n_rows};
    struct collector c = {.a = &a, .s = s, .d = d, .o = *o};
    struct nn_watch watch = {&c, on_input, on_gradient, on_embedded};
    if (d->n_rows == 0)
        return err_set(e, ERR_INPUT, "activity_collect",
                       "there are no training rows to collect an importance matrix from");
    arena_init(&a.arena);
    nn_model_freeze(&s->model);
    int rc = make_matrices(&c, e);
    if (rc == 0)
        rc = make_run(&c, e);
    if (p)
        p->total = d->n_rows * (o->forward_only ? 1 : 2);
    if (rc == 0) {
        s->model.watch = &watch;
        rc = read_inputs(&c, p, e);
        watch.input = NULL;
        if (rc == 0 && !o->forward_only)
            rc = read_gradients(&c, p, e);
        s->model.watch = NULL;
    }
    if (rc == 0)
        join_groups(&c);
    nn_run_release(&c.run);
    packer_release(&c.packer);
    free(c.log_prob);
    if (rc < 0)
        activity_release(&a);
    else
        *out = a;
    return rc;
}

void activity_release(struct activity *a) {
    arena_release(&a->arena);
    *a = (struct activity){0};
}

const struct activity_matrix *activity_find(const struct activity *a, const char *name) {
    for (int i = 0; i < a->n_matrices; i++)
        if (strcmp(a->matrices[i].name, name) == 0)
            return &a->matrices[i];
    return NULL;
}

int activity_imatrix(const struct activity *a, struct imatrix **out, struct err *e) {
    struct imatrix *im;
    int rc = imatrix_new(&im, e);
    for (int i = 0; i < a->n_matrices && rc == 0; i++) {
        const struct activity_matrix *m = &a->matrices[i];
        if (!imatrix_add(im, m->name, m->square, m->cols, m->count))
            rc = no_memory(e);
    }
    if (rc < 0)
        imatrix_free(im);
    else
        *out = im;
    return rc;
}

double activity_loss(const struct activity *a, const struct activity_matrix *m, const float *before,
                     const float *after, int64_t n, int64_t stride) {
    double sum = 0, weight = 0, all = 0;
    for (int64_t r = 0; r < n; r++) {
        double row = 0;
        for (int64_t i = 0; i < m->cols; i++) {
            double change = (double)after[r * m->cols + i] - (double)before[r * m->cols + i];
            row += change * change * m->square[i];
        }
        sum += row * m->gradient[r * stride];
        weight += m->gradient[r * stride];
    }
    for (int64_t r = 0; r < m->rows; r++)
        all += m->gradient[r];
    if (!(m->count > 0) || !(weight > 0))
        return 0;
    return 0.5 * sum / m->count / (double)a->n_rows * (all / weight);
}

double activity_lookup_loss(const struct activity *a, const float *before, const float *after) {
    double sum = 0, all = 0;
    for (int64_t v = 0; v < a->n_vocab; v++) {
        double row = 0;
        all += a->looked_up[v];
        for (int64_t i = 0; a->looked_up[v] > 0 && i < a->d_model; i++) {
            double change = (double)after[v * a->d_model + i] - (double)before[v * a->d_model + i];
            row += change * change * a->embedded[i];
        }
        sum += row * a->looked_up[v];
    }
    return all > 0 ? 0.5 * sum / all / (double)a->n_rows : 0;
}

/* ---- files ---- */

#define EMBEDDED_NAME  "edgestill.embedded"
#define LOOKED_UP_NAME "edgestill.looked_up"

int activity_save(const struct activity *a, const char *imatrix_path, const char *sensitivity_path,
                  const char *key, struct err *e) {
    struct imatrix *squares = NULL, *gradients = NULL;
    double rows = (double)a->n_rows;
    int rc = activity_imatrix(a, &squares, e);
    if (rc == 0)
        imatrix_set_model(squares, a->model);
    if (rc == 0)
        rc = imatrix_new(&gradients, e);
    bool ok = rc == 0;
    for (int i = 0; i < a->n_matrices && ok; i++)
        ok = imatrix_add(gradients, a->matrices[i].name, a->matrices[i].gradient, a->matrices[i].rows, rows);
    ok = ok && imatrix_add(gradients, EMBEDDED_NAME, a->embedded, a->d_model, rows) &&
         imatrix_add(gradients, LOOKED_UP_NAME, a->looked_up, a->n_vocab, rows);
    if (rc == 0 && !ok)
        rc = no_memory(e);
    if (rc == 0)
        rc = imatrix_save(gradients, sensitivity_path, key, a->n_rows, e);
    if (rc == 0)
        rc = imatrix_save(squares, imatrix_path, key, a->n_rows, e);
    imatrix_free(squares);
    imatrix_free(gradients);
    return rc;
}

/* The entry's sums into `to`; false when it is not there with that width. */
static bool take(const struct imatrix *im, const char *name, int64_t width, double *to, double *count) {
    for (int i = 0; i < imatrix_count(im); i++) {
        struct imatrix_entry x = imatrix_at(im, i);
        if (strcmp(x.weight, name) != 0 || x.width != width)
            continue;
        memcpy(to, x.sum2, (size_t)width * sizeof *to);
        if (count)
            *count = x.count;
        return true;
    }
    return false;
}

static int take_all(struct activity *a, const struct imatrix *squares, const struct imatrix *gradients,
                    const char *key, struct err *e) {
    bool ok = strcmp(imatrix_dataset(squares), key) == 0 && strcmp(imatrix_dataset(gradients), key) == 0;
    for (int i = 0; i < a->n_matrices && ok; i++) {
        struct activity_matrix *m = &a->matrices[i];
        ok = take(squares, m->name, m->cols, m->square, &m->count) &&
             take(gradients, m->name, m->rows, m->gradient, NULL);
    }
    ok = ok && take(gradients, EMBEDDED_NAME, a->d_model, a->embedded, NULL) &&
         take(gradients, LOOKED_UP_NAME, a->n_vocab, a->looked_up, NULL);
    a->n_rows = imatrix_rows(gradients);
    return ok && a->n_rows > 0 ? 0
                               : err_set(e, ERR_MISMATCH, "activity_load",
                                         "the importance matrix is of another model or other rows");
}

int activity_load(struct activity *out, const struct student *s, const char *imatrix_path,
                  const char *sensitivity_path, const char *key, struct err *e) {
    struct activity a = {0};
    struct student borrowed = *s;
    struct collector c = {.a = &a, .s = &borrowed};
    struct imatrix *squares = NULL, *gradients = NULL;
    arena_init(&a.arena);
    int rc = imatrix_load(&squares, imatrix_path, e);
    if (rc == 0)
        rc = imatrix_load(&gradients, sensitivity_path, e);
    if (rc == 0)
        rc = make_matrices(&c, e);
    if (rc == 0)
        rc = take_all(&a, squares, gradients, key, e);
    imatrix_free(squares);
    imatrix_free(gradients);
    if (rc < 0)
        activity_release(&a);
    else
        *out = a;
    return rc;
}
