/* The run: trim, collect, make candidates, choose, recover where that is needed. */
#include "compress/compress.h"
#include "base/file.h"
#include "compress/internal.h"
#include "compress/kept.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <unistd.h>

const char *compress_path(struct compress_run_state *x, const char *name) {
    return arena_printf(&x->r->arena, "%s/%s", x->q->folder, name);
}

const char *compress_candidate_path(struct compress_run_state *x, int i) {
    return arena_printf(&x->r->arena, "%s/candidate-%d.gguf", x->q->folder, i);
}

int compress_no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "compress_run", "out of memory");
}

/* ---- before the candidates ---- */

static int check_request(const struct compress_request *q, struct err *e) {
    if (q->n_types < 1)
        return err_set(e, ERR_USAGE, "compress_run", "no quantisation is named");
    for (int i = 0; i < q->n_types; i++) {
        if (!quantize_mix_known(q->types[i])) {
            err_set(e, ERR_USAGE, "compress_run", "\"%s\" is not a quantisation", q->types[i]);
            err_hint(e, "for example Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q3_K_M, Q2_K, IQ4_XS");
            return ERR_USAGE;
        }
        if (q->no_imatrix && quantize_mix_needs_imatrix(q->types[i]))
            return err_set(e, ERR_USAGE, "compress_run", "%s needs an importance matrix", q->types[i]);
    }
    if (q->no_imatrix &&
        (q->imatrix || q->recovery == COMPRESS_RECOVER_ALWAYS || bits_budget_given(&q->budget)))
        return err_set(e, ERR_USAGE, "compress_run",
                       "without an importance matrix there is neither a budget nor recovery");
    return 0;
}

static int prepare(struct compress_run_state *x, struct err *e) {
    struct compress_result *r = x->r;
    const struct compress_request *q = x->q;
    struct quantize_preview first;
    int rc = check_request(q, e);
    if (rc == 0)
        rc = lm_backend_init(NULL, e);
    /* A source that cannot be quantised is refused before anything is computed. */
    if (rc == 0)
        rc = quantize_preview(&first, q->source, &(struct quantize_options){.type = "F16"}, e);
    if (rc < 0)
        return rc;
    quantize_preview_release(&first);
    if (q->imatrix && (rc = compress_check_imatrix(q, e)) < 0)
        return rc;
    rc = file_make_folders(q->folder, e);
    x->capacity = 2 * q->n_types + 4; /* a budget's or the fastest, a lean and a recovered one */
    r->candidates = arena_calloc(&r->arena, (size_t)x->capacity, sizeof *r->candidates);
    r->source_bytes = file_size(q->source);
    x->source = q->source;
    if (rc == 0 && !r->candidates)
        rc = compress_no_memory(e);
    if (rc == 0)
        rc = compress_split_rows(x, e);
    return rc < 0 ? rc : kept_begin(x, e);
}

static int trim(struct compress_run_state *x, struct err *e) {
    const struct compress_request *q = x->q;
    const char *path = compress_path(x, "trimmed-f16.gguf");
    if (q->whole_vocabulary ||
        q->task->kind != TASK_CLASSIFY) /* an answer that is written may need any token */
        return 0;
    if (!path)
        return compress_no_memory(e);
    int rc = vocabulary_trim(&x->r->vocabulary, q->source, path, q->task, q->training, q->validation,
                             &q->vocabulary, e);
    if (rc == 0 && x->r->vocabulary.trimmed)
        x->source = x->trimmed = path;
    return rc;
}

/* An interrupted run's is taken: it took longest. */
static int shorten(struct compress_run_state *x, struct err *e) {
    const struct compress_request *q = x->q;
    const char *path = compress_path(x, "short-f16.gguf");
    int rc = 0;
    if (q->layers == 0)
        return 0;
    if (!path)
        return compress_no_memory(e);
    if (!kept_depth_read(x, &x->r->depth) || !file_exists(path)) {
        rc = depth_cut(&x->r->depth,
                       &(struct depth_request){.source = x->source,
                                               .path = path,
                                               .task = q->task,
                                               .training = q->training,
                                               .validation = q->validation,
                                               .layers = q->layers,
                                               .n_threads = q->n_threads},
                       e);
        if (rc == 0)
            rc = kept_depth_write(x, &x->r->depth, e);
    }
    x->source = path;
    return rc;
}

static int measure_step(struct compress_run_state *x, const char *path, const char *name, struct err *e) {
    const char *what = arena_printf(&x->r->arena, "measure %s", name ? name : "");
    if (!name || !what)
        return compress_no_memory(e);
    struct scores *own = ledger_own(x);
    int rc = compress_score(x, &(struct compress_asked){path, what, &x->first, true, {0}}, own, e);
    if (rc == 0)
        ledger_add(x, name, file_size(path), own);
    return rc;
}

static int measure_source(struct compress_run_state *x, struct err *e) {
    struct compress_result *r = x->r;
    struct compress_asked whole = {x->q->source, "measure the 16-bit file", &x->first, true, {0}};
    if (!compress_measures(x))
        return 0;
    int rc = compress_score(x, &whole, &r->source, e);
    if (rc == 0)
        rc = ledger_origins(x, e);
    if (rc < 0)
        return rc;
    r->source_accuracy = compress_accuracy(&r->source);
    ledger_add(x, "16-bit", r->source_bytes, &r->source);
    if (x->trimmed)
        rc = measure_step(x, x->trimmed, "trimmed", e);
    if (rc == 0 && x->q->layers > 0)
        rc = measure_step(x, x->source, arena_printf(&r->arena, "%d layers", r->depth.after), e);
    return rc;
}

/* What the trainer cannot read is quantised all the same. */
static int open_student(struct compress_run_state *x, struct err *e) {
    struct err why = {0};
    if (x->q->no_imatrix)
        return 0;
    int rc = student_open(&x->student, x->source, x->q->task, x->q->n_threads, &why);
    x->opened = rc == 0;
    if (rc == ERR_UNSUPPORTED) {
        x->r->not_searched = arena_strdup(&x->r->arena, why.message);
        return 0;
    }
    if (rc < 0 && e)
        *e = why;
    return rc;
}

static int open_search(struct compress_run_state *x, struct err *e) {
    struct progress p;
    if (!x->opened || x->q->no_search)
        return 0;
    int rc = bits_list(&x->table, &x->student, &x->activity, &x->q->device, e);
    if (rc == 0 && !kept_losses_read(x, &x->table)) {
        bits_release(&x->table);
        progress_begin(&p, "types for each tensor", "tensor", 0);
        rc = bits_measure(&x->table, &x->student, &x->activity, &x->q->device, &p, e);
        progress_end(&p);
        if (rc == 0)
            rc = kept_losses_write(x, &x->table, e);
    }
    x->searching = x->r->searched = rc == 0;
    x->r->least_seconds = rc == 0 && x->table.has_speeds ? bits_least_seconds(&x->table) : 0;
    return rc;
}

/* ---- candidates ---- */

enum { FAST_SLACK_PERCENT = 5 };

/* Types for the least time of a decision, and of those that take hardly longer the ones that lose least. */
static int make_fast(struct compress_run_state *x, struct err *e) {
    struct bits_budget b = {.seconds = x->r->least_seconds * (100 + FAST_SLACK_PERCENT) / 100};
    if (!(b.seconds > 0))
        return err_set(
            e, ERR_UNSUPPORTED, "compress_run",
            "how fast the device runs each type is not known, so none can be preferred for its speed");
    return compress_make_searched(x, "fastest", &b, e);
}

static double least_bits(const struct compress_run_state *x) {
    double least = INFINITY;
    for (int i = 0; i < x->r->n_candidates; i++)
        least = fmin(least, x->r->candidates[i].bits_per_weight);
    return least;
}

static int make_candidates(struct compress_run_state *x, struct err *e) {
    const struct compress_request *q = x->q;
    bool budget = bits_budget_given(&q->budget);
    int rc = 0;
    if (budget && !x->searching)
        return err_set(e, ERR_UNSUPPORTED, "compress_run", "types cannot be searched for this student: %s",
                       x->r->not_searched ? x->r->not_searched : "it was asked not to");
    if (budget)
        rc = compress_make_searched(x, "budget", &q->budget, e);
    for (int i = 0; i < q->n_types && rc == 0 && !budget; i++) {
        const char *type = arena_strdup(&x->r->arena, q->types[i]);
        rc = type ? compress_make_stock(x, type, e) : compress_no_memory(e);
        if (rc == 0 && x->searching)
            rc = compress_make_searched(x, type, NULL, e);
    }
    if (rc == 0 && !budget && q->lean && x->searching && least_bits(x) > COMPRESS_BITS)
        rc = compress_make_lean(x, e);
    return rc < 0 || budget || !q->prefer_speed ? rc : make_fast(x, e);
}

static bool wants_recovery(const struct compress_run_state *x) {
    const struct compress_result *r = x->r;
    if (!x->opened || x->q->recovery == COMPRESS_RECOVER_NEVER)
        return false;
    if (x->q->recovery == COMPRESS_RECOVER_ALWAYS)
        return true;
    int64_t free_bytes = mem_available_bytes();
    return compress_measures(x) && !compress_good_enough(x, &r->candidates[r->chosen]) &&
           recover_memory_bytes(&x->student.model) < free_bytes / 2;
}

/* The chosen file gets its name before the others go, so that at no moment there is none. */
static int keep_chosen(struct compress_run_state *x, struct err *e) {
    const char *from = compress_candidate_path(x, x->r->chosen), *to = compress_path(x, "student.gguf");
    if (!from || !to)
        return compress_no_memory(e);
    if (rename(from, to) != 0)
        return err_set_errno(e, ERR_IO, "compress_run", "cannot rename %s to %s", from, to);
    kept_end(x);
    if (x->trimmed)
        unlink(x->trimmed);
    return 0;
}

static int run(struct compress_run_state *x, struct err *e) {
    struct compress_result *r = x->r;
    int rc = prepare(x, e);
    if (rc == 0)
        rc = trim(x, e);
    if (rc == 0)
        rc = shorten(x, e);
    if (rc == 0)
        rc = open_student(x, e);
    if (rc == 0)
        rc = compress_get_matrix(x, e);
    if (rc == 0)
        rc = measure_source(x, e);
    if (rc == 0)
        rc = open_search(x, e);
    if (rc == 0)
        rc = make_candidates(x, e);
    if (rc == 0)
        rc = compress_choose_confirmed(x, e);
    if (rc == 0 && wants_recovery(x)) {
        rc = compress_make_recovered(x, r->chosen, e);
        if (rc == 0)
            rc = compress_choose_confirmed(x, e);
    }
    if (rc < 0)
        return rc;
    const struct compress_candidate *c = &r->candidates[r->chosen];
    if (compress_measures(x)) {
        ledger_add(x, c->name, c->file_bytes, &c->scores);
        rc = compress_measure_caches(x, e);
    }
    if (rc == 0)
        rc = ledger_finish(x, e);
    return rc < 0 ? rc : keep_chosen(x, e);
}

int compress_run(struct compress_result *out, const struct compress_request *q, struct err *e) {
    struct compress_result r = {.source_accuracy = NAN, .vocabulary = {.rise = NAN}, .lost_at = -1};
    struct compress_run_state x = {.q = q, .r = &r};
    arena_init(&r.arena);
    int rc = run(&x, e);
    bits_release(&x.table);
    activity_release(&x.activity);
    if (x.opened)
        student_release(&x.student);
    imatrix_free(x.im);
    ledger_release(&x);
    scores_release(&x.source_rest);
    if (rc < 0) {
        compress_release(&r);
        return rc;
    }
    *out = r;
    return 0;
}

void compress_release(struct compress_result *r) {
    for (int i = 0; r->candidates && i < r->n_candidates; i++)
        scores_release(&r->candidates[i].scores);
    scores_release(&r->source);
    arena_release(&r->arena);
    *r = (struct compress_result){0};
}
