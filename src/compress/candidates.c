/* Making candidates: as llama.cpp mixes types, as searched, as recovered. */
#include "base/file.h"
#include "compress/internal.h"
#include "train/host/weights.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

/* What one candidate is made from. */
struct recipe {
    const char *name, *type, *source;
    const struct quantize_override *overrides;
    int n_overrides;
    bool searched, recovered;
    double predicted_loss, device_s;
};

static int measure(struct compress_run_state *x, struct compress_candidate *c, const char *path,
                   struct err *e) {
    if (!compress_measures(x))
        return 0;
    const char *what = arena_printf(&x->r->arena, "measure %s", c->name);
    struct compress_asked q = {path, what ? what : "measure", &x->first, !c->recovered, {0}};
    int rc = compress_score(x, &q, &c->scores, e);
    return rc < 0 ? rc : compress_compare(x, c, e);
}

static int quantise(struct compress_run_state *x, const struct recipe *m, struct quantize_options *o,
                    const char *path, struct err *e) {
    struct progress p;
    const char *what = arena_printf(&x->r->arena, "quantise %s", m->name);
    progress_begin(&p, what ? what : "quantise", "tensor", 0);
    o->progress = &p;
    int rc = quantize_file(m->source, path, o, e);
    progress_end(&p);
    o->progress = NULL;
    return rc;
}

static struct quantize_options options_of(const struct compress_run_state *x, const struct recipe *m) {
    return (struct quantize_options){.type = m->type,
                                     .imatrix = x->im,
                                     .n_threads = x->q->n_threads,
                                     .overrides = m->overrides,
                                     .n_overrides = m->n_overrides};
}

/* The preview also tells what a mix comes to by the table. */
static int make(struct compress_run_state *x, struct recipe *m, struct err *e) {
    int i = x->r->n_candidates;
    struct quantize_preview preview;
    struct quantize_options o = options_of(x, m);
    const char *path = compress_candidate_path(x, i);
    if (!path || !m->name || i >= x->capacity)
        return compress_no_memory(e);
    int rc = quantize_preview(&preview, m->source, &o, e);
    if (rc < 0)
        return rc;
    struct compress_candidate *c = &x->r->candidates[i];
    *c = (struct compress_candidate){.name = m->name,
                                     .type = m->type,
                                     .searched = m->searched,
                                     .recovered = m->recovered,
                                     .bits_per_weight = preview.bits_per_weight,
                                     .predicted_loss = NAN,
                                     .accuracy = NAN,
                                     .agreement = NAN,
                                     .divergence = NAN,
                                     .expected_loss = NAN};
    if (x->searching) {
        struct bits_outcome outcome;
        bits_of_preview(&x->table, &preview, &outcome);
        c->predicted_loss = m->recovered ? NAN : outcome.loss;
        c->device_s = x->table.has_speeds ? outcome.seconds : 0;
    }
    quantize_preview_release(&preview);
    x->r->n_candidates++;                   /* from here on its scores are released with the result */
    if (m->recovered || !file_exists(path)) /* it is whole, and this request's (kept.h) */
        rc = quantise(x, m, &o, path, e);
    if (rc < 0)
        return rc;
    c->file_bytes = file_size(path);
    return measure(x, c, path, e);
}

int compress_make_stock(struct compress_run_state *x, const char *type, struct err *e) {
    struct recipe m = {.name = type, .type = type, .source = x->source};
    return make(x, &m, e);
}

/* ---- searched ---- */

/* What the stock mix weighs and takes on the device: to be beaten without more of either. */
static int stock_budget(struct compress_run_state *x, const char *type, struct bits_budget *b, double *loss,
                        struct err *e) {
    struct quantize_preview p;
    struct recipe m = {.type = type};
    struct quantize_options o = options_of(x, &m);
    int rc = quantize_preview(&p, x->source, &o, e);
    if (rc < 0)
        return rc;
    struct bits_outcome outcome;
    bits_of_preview(&x->table, &p, &outcome);
    *b = (struct bits_budget){.bytes = outcome.bytes, .seconds = outcome.seconds};
    *loss = outcome.loss;
    quantize_preview_release(&p);
    return 0;
}

/* `type` is the mix that the types are to beat, or a name of theirs (`named`). */
static int make_of_types(struct compress_run_state *x, const char *type, const int *types, bool named,
                         struct err *e) {
    struct arena *a = &x->r->arena;
    struct recipe m = {.name = arena_printf(a, "%s searched", type),
                       .type = named ? arena_strdup(a, x->q->types[0]) : type,
                       .source = x->source,
                       .overrides = bits_overrides(&x->table, types, a),
                       .n_overrides = x->table.n_matrices,
                       .searched = true};
    return m.overrides ? make(x, &m, e) : compress_no_memory(e);
}

int compress_make_searched(struct compress_run_state *x, const char *type, const struct bits_budget *budget,
                           struct err *e) {
    struct bits_budget b = budget ? *budget : (struct bits_budget){0};
    struct bits_outcome outcome;
    double loss;
    int *types = arena_calloc(&x->r->arena, (size_t)x->table.n_matrices, sizeof *types);
    int rc = types ? 0 : compress_no_memory(e);
    if (rc == 0 && !budget)
        rc = stock_budget(x, type, &b, &loss, e);
    if (rc == 0)
        rc = bits_choose(&x->table, &b, types, &outcome, e);
    if (rc == ERR_UNSUPPORTED && !budget) {
        err_clear(e); /* a mix of types that the search does not offer: nothing to compare */
        return 0;
    }
    return rc < 0 ? rc : make_of_types(x, type, types, budget != NULL, e);
}

/* Types within `b`'s bits that take no longer than `b`'s seconds; where that costs more than MOST_LOSS times the mix's loss by
 * prediction, or cannot be had, as little longer as will do. */
static int choose_lean(struct compress_run_state *x, struct bits_budget b, double loss, int *types,
                       struct err *e) {
    static const double longer[] = {1, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2, 0}; /* 0: no limit */
    enum { N = sizeof longer / sizeof *longer, MOST_LOSS = 2 };
    struct bits_outcome outcome;
    int rc = ERR_UNSUPPORTED;
    double seconds = b.seconds;
    bool done = false;
    for (size_t i = 0; i < N && !done; i++) {
        err_clear(e);
        b.seconds = longer[i] * seconds;
        rc = bits_choose(&x->table, &b, types, &outcome, e);
        done = !(b.seconds > 0) || (rc < 0 && rc != ERR_UNSUPPORTED) ||
               (rc == 0 && outcome.loss <= MOST_LOSS * loss);
    }
    return rc;
}

int compress_make_lean(struct compress_run_state *x, struct err *e) {
    const char *name = arena_printf(&x->r->arena, "%.2g bits", COMPRESS_BITS);
    struct bits_budget b = {0};
    int *types = arena_calloc(&x->r->arena, (size_t)x->table.n_matrices, sizeof *types);
    double loss = 0;
    int rc = types && name ? stock_budget(x, x->q->types[0], &b, &loss, e) : compress_no_memory(e);
    b.bytes = 0;
    b.bits = COMPRESS_BITS;
    if (rc == 0)
        rc = choose_lean(x, b, loss, types, e);
    if (rc == ERR_UNSUPPORTED) { /* not even the smallest types: widths that are no multiple of 256 */
        err_clear(e);
        return 0;
    }
    return rc < 0 ? rc : make_of_types(x, name, types, true, e);
}

/* ---- recovered ---- */

/* The types of a candidate, tensor by tensor, from its own file: what is rounded to in training is what will be in it. */
static int read_types(struct compress_run_state *x, const char *path, struct rounding *r,
                      struct quantize_override **overrides, struct err *e) {
    struct arena *a = &x->r->arena;
    struct model_file *f;
    int rc = model_file_open(&f, path, e);
    if (rc < 0)
        return rc;
    int64_t n = model_file_n_tensors(f);
    const char **names = arena_calloc(a, (size_t)n, sizeof *names),
               **types = arena_calloc(a, (size_t)n, sizeof *types);
    *overrides = arena_calloc(a, (size_t)n, sizeof **overrides);
    bool ok = names && types && *overrides;
    for (int64_t i = 0; i < n && ok; i++) {
        struct model_tensor t = model_file_tensor(f, i);
        if (t.rows == 1)
            continue;
        names[r->n] = arena_strdup(a, t.name);
        types[r->n] = arena_strdup(a, t.type);
        (*overrides)[r->n] = (struct quantize_override){quantize_pattern(t.name, a), types[r->n]};
        ok = names[r->n] && types[r->n] && (*overrides)[r->n].pattern;
        r->n++;
    }
    r->names = names;
    r->types = types;
    r->importance = x->im;
    model_file_close(f);
    return ok ? 0 : compress_no_memory(e);
}

static int train_on(struct compress_run_state *x, const struct rounding *r, const char *path, struct err *e) {
    struct dataset training = {0}, validation = {0};
    struct progress p;
    int rc = student_rows(&x->student, &training, x->q->training, 0, e);
    if (rc == 0 && compress_measures(x))
        rc = student_rows(&x->student, &validation, &x->first, 0, e);
    if (rc == 0) {
        progress_begin(&p, "recovery", "step", 0);
        rc = recover_run(&x->r->recovery, &x->student, r, &training, &validation, &x->q->recover, &p, e);
        progress_end(&p);
    }
    dataset_release(&training);
    dataset_release(&validation);
    return rc < 0 ? rc
                  : weights_write_merged(&x->student.model, x->student.file, path, MODEL_F32,
                                         x->student.prompt.tag, e);
}

int compress_make_recovered(struct compress_run_state *x, int from, struct err *e) {
    const struct compress_candidate *c = &x->r->candidates[from];
    struct rounding r = {0};
    struct quantize_override *overrides = NULL;
    const char *path = compress_path(x, "recovered-f32.gguf"), *old = compress_candidate_path(x, from);
    int rc = path && old ? read_types(x, old, &r, &overrides, e) : compress_no_memory(e);
    if (rc == 0)
        rc = train_on(x, &r, path, e);
    if (rc == 0 && x->r->recovery.best_step > 0) {
        struct recipe m = {.name = arena_printf(&x->r->arena, "%s, recovered", c->name),
                           .type = c->type,
                           .source = path,
                           .overrides = overrides,
                           .n_overrides = r.n,
                           .searched = c->searched,
                           .recovered = true};
        rc = make(x, &m, e);
    }
    if (path)
        unlink(path);
    return rc;
}
