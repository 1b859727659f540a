/* Choosing layers, cutting, healing. */
#include "compress/depth.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "compress/compress.h"
#include "llama/quantize.h"
#include "train/host/weights.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHOOSING_ROWS = 128, CHOOSING_ROWS_LARGE = 16, LARGE_PARAMS = 50000000, HEAL_EPOCHS = 6 };

static const enum nn_kind outputs[] = {NN_O, NN_DOWN}; /* what a block adds comes out of these */

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "depth_cut", "out of memory");
}

/* ---- which layers ---- */

struct choosing {
    struct student *s;
    struct dataset rows;
    double *whole, *now; /* probabilities, [rows, labels] */
    float *spared[2];    /* the output matrices of the layer that is tried */
    bool gone[DEPTH_MOST_LAYERS];
    struct progress progress;
};

static float *matrix(struct choosing *x, int layer, int which, size_t *n_bytes) {
    const struct nn_model *m = &x->s->model;
    const struct nn_tensor *t = &m->base.tensors[m->index[(layer + 1) * NN_KINDS + (int)outputs[which]]];
    *n_bytes = (size_t)(t->rows * t->cols) * sizeof(float);
    return m->base.value + t->offset;
}

static void take_out(struct choosing *x, int layer) {
    size_t n;
    for (int i = 0; i < 2; i++) {
        float *w = matrix(x, layer, i, &n);
        memcpy(x->spared[i], w, n);
        memset(w, 0, n);
    }
}

static void put_back(struct choosing *x, int layer) {
    size_t n;
    for (int i = 0; i < 2; i++) {
        float *w = matrix(x, layer, i, &n);
        memcpy(w, x->spared[i], n);
    }
}

static int choosing_begin(struct choosing *x, const struct depth_request *q, struct err *e) {
    bool large = x->s->model.base.n_params >= LARGE_PARAMS;
    int rc = student_rows(x->s, &x->rows, q->training, large ? CHOOSING_ROWS_LARGE : CHOOSING_ROWS, e);
    size_t n = (size_t)x->rows.n_rows * (size_t)q->task->n_labels, bytes;
    if (rc < 0)
        return rc;
    x->whole = calloc(n, sizeof *x->whole);
    x->now = calloc(n, sizeof *x->now);
    for (int i = 0; i < 2; i++) {
        matrix(x, 0, i, &bytes);
        x->spared[i] = malloc(bytes);
    }
    if (!x->whole || !x->now || !x->spared[0] || !x->spared[1])
        return no_memory(e);
    rc = student_score(x->s, &x->rows, x->whole, e);
    student_probabilities(x->whole, x->rows.n_rows, q->task->n_labels);
    return rc;
}

static void choosing_end(struct choosing *x) {
    dataset_release(&x->rows);
    free(x->whole);
    free(x->now);
    free(x->spared[0]);
    free(x->spared[1]);
}

/* Divergence without those that are gone and `layer`. */
static int try_without(struct choosing *x, int layer, double *out, struct err *e) {
    int rc = interrupt_check(e);
    if (rc < 0)
        return rc;
    take_out(x, layer);
    rc = student_score(x->s, &x->rows, x->now, e);
    put_back(x, layer);
    student_probabilities(x->now, x->rows.n_rows, x->rows.form->n_labels);
    *out = compress_divergence(x->whole, x->now, x->rows.n_rows, x->rows.form->n_labels);
    return rc;
}

static int choose_next(struct choosing *x, int *out, struct err *e) {
    double least = INFINITY, divergence;
    int rc = 0, best = -1;
    for (int i = 0; i < x->s->model.config.n_layer && rc == 0; i++) {
        if (x->gone[i])
            continue;
        rc = try_without(x, i, &divergence, e);
        if (rc == 0 && (best < 0 || divergence < least)) {
            best = i;
            least = divergence;
        }
        progress_update(&x->progress, x->progress.done + 1);
    }
    *out = best;
    return rc;
}

static int choose(struct depth_result *r, struct student *s, const struct depth_request *q, struct err *e) {
    struct choosing x = {.s = s};
    int n = r->before, n_drop = n - q->layers;
    int rc = choosing_begin(&x, q, e);
    r->judged_rows = x.rows.n_rows;
    progress_begin(&x.progress, "layers that matter least", "try",
                   (int64_t)n_drop * (2 * n - n_drop + 1) / 2);
    for (int i = 0; i < n_drop && rc == 0; i++) {
        rc = choose_next(&x, &r->dropped[i], e);
        if (rc == 0) {
            x.gone[r->dropped[i]] = true;
            take_out(&x, r->dropped[i]);
        }
    }
    progress_end(&x.progress);
    choosing_end(&x);
    return rc;
}

/* ---- what the whole student answers ---- */

struct taught {
    double *training, *validation; /* probabilities, [rows, labels]; validation NULL without rows */
};

static void taught_release(struct taught *t) {
    free(t->training);
    free(t->validation);
}

static int answers_of(struct student *s, const struct rows *rows, double **out, struct err *e) {
    struct dataset d = {0};
    int rc = student_rows(s, &d, rows, 0, e);
    if (rc == 0 && !(*out = calloc((size_t)d.n_rows * (size_t)s->task->n_labels, sizeof **out)))
        rc = no_memory(e);
    if (rc == 0)
        rc = student_score(s, &d, *out, e);
    if (rc == 0)
        student_probabilities(*out, d.n_rows, s->task->n_labels);
    dataset_release(&d);
    return rc;
}

static bool has_rows(const struct rows *rows) {
    return rows && rows->n > 0;
}

static int ask_whole(struct taught *t, struct student *s, const struct depth_request *q, struct err *e) {
    int rc = answers_of(s, q->training, &t->training, e);
    return rc < 0 || !has_rows(q->validation) ? rc : answers_of(s, q->validation, &t->validation, e);
}

static int check(const struct student *s, const struct depth_request *q, struct err *e) {
    const struct model_config *c = &s->model.config;
    if (q->layers < 1 || q->layers >= c->n_layer || c->n_layer > DEPTH_MOST_LAYERS)
        return err_set(e, ERR_USAGE, "depth_cut",
                       "%d layers cannot be kept of %d in %s: give a number from 1 to %d", q->layers,
                       c->n_layer, q->source, c->n_layer - 1);
    if (!has_rows(q->training))
        return err_set(e, ERR_INPUT, "depth_cut", "there are no training rows to choose layers by");
    if (c->window > 0)
        return err_set(
            e, ERR_UNSUPPORTED, "depth_cut",
            "%s: which of its layers see only a window goes by their place, so none can be left out",
            q->source);
    int64_t wanted = recover_memory_bytes(&s->model), available = mem_available_bytes();
    if (wanted <= available)
        return 0;
    err_set(e, ERR_NO_MEMORY, "depth_cut",
            "training the layers that are left takes %.1f GB, and %.1f are free", (double)wanted / 1e9,
            (double)available / 1e9);
    return err_hint(e, "a smaller base, or fewer bits, needs no such training");
}

static int choose_layers(struct depth_result *r, struct taught *t, const struct depth_request *q,
                         struct err *e) {
    struct student s;
    int rc = student_open(&s, q->source, q->task, q->n_threads, e);
    if (rc < 0)
        return rc;
    r->before = s.model.config.n_layer;
    r->after = q->layers;
    rc = check(&s, q, e);
    if (rc == 0)
        rc = ask_whole(t, &s, q, e);
    if (rc == 0)
        rc = choose(r, &s, q, e); /* which takes its layers out: the last that it is good for */
    student_release(&s);
    return rc;
}

/* ---- the shorter one ---- */

static int by_number(const void *a, const void *b) {
    return *(const int32_t *)a - *(const int32_t *)b;
}

static int write_cut(const struct depth_result *r, const struct depth_request *q, const char *path,
                     struct err *e) {
    int32_t drop[DEPTH_MOST_LAYERS];
    int n = r->before - r->after;
    for (int i = 0; i < n; i++)
        drop[i] = r->dropped[i];
    qsort(drop, (size_t)n, sizeof *drop, by_number);
    struct quantize_options o = {
        .type = "F16", .drop_layers = drop, .n_drop_layers = n, .n_threads = q->n_threads};
    return quantize_file(q->source, path, &o, e);
}

static int teach(struct depth_result *r, struct student *s, const struct taught *t,
                 const struct depth_request *q, struct err *e) {
    struct dataset training = {0}, validation = {0};
    struct recover_options o = q->heal;
    struct recover_result healed = {0};
    struct progress p;
    o.epochs = o.epochs > 0 ? o.epochs : HEAL_EPOCHS;
    o.taught = t->training;
    o.judged = t->validation;
    int rc = student_rows(s, &training, q->training, 0, e);
    if (rc == 0 && has_rows(q->validation))
        rc = student_rows(s, &validation, q->validation, 0, e);
    if (rc == 0) {
        progress_begin(&p, "healing", "step", 0);
        rc = recover_run(&healed, s, &(struct rounding){0}, &training, &validation, &o, &p, e);
        progress_end(&p);
    }
    r->taught_rows = training.n_rows;
    r->cut = healed.before;
    r->healed = healed.after;
    dataset_release(&training);
    dataset_release(&validation);
    return rc;
}

static int heal(struct depth_result *r, const struct taught *t, const struct depth_request *q,
                const char *cut, struct err *e) {
    struct student s;
    int rc = student_open(&s, cut, q->task, q->n_threads, e);
    if (rc < 0)
        return rc;
    rc = teach(r, &s, t, q, e);
    if (rc == 0)
        rc = weights_write_merged(&s.model, s.file, q->path, MODEL_F16, s.prompt.tag, e);
    student_release(&s);
    return rc;
}

int depth_cut(struct depth_result *out, const struct depth_request *q, struct err *e) {
    struct depth_result r = {0};
    struct taught t = {0};
    struct str cut = {0};
    double start = clock_seconds();
    str_addf(&cut, "%s.cut", q->path);
    int rc = str_check(&cut, e);
    if (rc == 0)
        rc = choose_layers(&r, &t, q, e);
    if (rc == 0)
        rc = write_cut(&r, q, str_text(&cut), e);
    if (rc == 0)
        rc = heal(&r, &t, q, str_text(&cut), e);
    unlink(str_text(&cut));
    r.seconds = clock_seconds() - start;
    taught_release(&t);
    str_release(&cut);
    if (rc == 0)
        *out = r;
    return rc;
}

json_t *depth_to_json(const struct depth_result *r) {
    json_t *dropped = json_array();
    for (int i = 0; i < r->before - r->after; i++)
        json_array_append_new(dropped, json_integer(r->dropped[i]));
    return json_pack("{s:i, s:i, s:o, s:I, s:I, s:f, s:f, s:f}", "before", r->before, "after", r->after,
                     "dropped", dropped, "judged_rows", (json_int_t)r->judged_rows, "taught_rows",
                     (json_int_t)r->taught_rows, "cut", r->cut, "healed", r->healed, "seconds", r->seconds);
}
