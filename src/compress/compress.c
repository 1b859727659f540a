/* Quantising to candidates, measuring them, choosing one. */
#include "compress/compress.h"
#include "base/file.h"
#include "llama/lm.h"
#include "llama/quantize.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
    const struct compress_request *q;
    struct compress_result *r;
    struct imatrix *im;
};

static const char *path_in(struct run *x, const char *name) {
    return arena_printf(&x->r->arena, "%s/%s", x->q->folder, name);
}

static const char *candidate_path(struct run *x, int i) {
    return arena_printf(&x->r->arena, "%s/candidate-%s.gguf", x->q->folder, x->q->types[i]);
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "compress_run", "out of memory");
}

/* ---- the importance matrix ---- */

/* Everything that decides the matrix, as a hash: the file carries it and is used again while it is the same. */
static int matrix_key(const struct run *x, char key[SHA256_HEX], struct err *e) {
    const struct compress_request *q = x->q;
    char source[SHA256_HEX];
    struct str s = {0}, task = {0};
    int rc = sha256_file(q->source, source, e);
    if (rc == 0)
        rc = task_to_json(q->task, &task, e);
    str_addf(&s, "imatrix/1 %s %s %lld %.17g %.17g %s\n%s", source, q->training->sha256,
             (long long)q->calibration.n_rows, q->calibration.prefix_weight, q->calibration.answer_weight,
             lm_version(), str_text(&task));
    if (rc == 0)
        rc = str_check(&s, e);
    if (rc == 0)
        sha256_bytes(s.data, s.len, key);
    str_release(&s);
    str_release(&task);
    return rc;
}

static int collect(struct run *x, const char *path, const char *key, struct err *e) {
    struct progress p;
    struct calibrate_options o = x->q->calibration;
    o.n_threads = x->q->n_threads;
    int64_t n = o.n_rows > 0 ? o.n_rows : CALIBRATE_ROWS;
    progress_begin(&p, "importance matrix", "row", n < x->q->training->n ? n : x->q->training->n);
    int rc = calibrate(&x->im, x->q->source, x->q->task, x->q->training, &o, &p, &n, e);
    progress_end(&p);
    if (rc == 0)
        rc = imatrix_save(x->im, path, key, n, e);
    x->r->calibration_rows = n;
    return rc;
}

static int get_matrix(struct run *x, struct err *e) {
    char key[SHA256_HEX];
    const char *path = path_in(x, "imatrix.gguf");
    if (x->q->no_imatrix)
        return 0;
    int rc = path ? matrix_key(x, key, e) : no_memory(e);
    if (rc < 0)
        return rc;
    if (imatrix_load(&x->im, path, NULL) == 0 && !str_equal(imatrix_dataset(x->im), key)) {
        imatrix_free(x->im);
        x->im = NULL;
    }
    if (!x->im)
        return collect(x, path, key, e);
    x->r->imatrix_reused = true;
    x->r->calibration_rows = imatrix_rows(x->im);
    return 0;
}

/* ---- measuring ---- */

static bool measures(const struct run *x) {
    return x->q->validation && x->q->validation->n > 0;
}

static int score(struct run *x, const char *gguf, const char *what, struct scores *out, struct err *e) {
    struct progress p;
    struct score_options o = {.n_threads = x->q->n_threads};
    int rc = scores_init(out, x->q->task, x->q->validation, e);
    if (rc < 0)
        return rc;
    progress_begin(&p, what, "row", x->q->validation->n);
    rc = score_model(out, gguf, x->q->task, x->q->validation, &o, &p, e);
    progress_end(&p);
    return rc;
}

static double accuracy_of(const struct scores *s) {
    int64_t right = 0;
    for (int64_t i = 0; i < s->n; i++)
        right += s->answer[i] == s->truth[i];
    return s->n > 0 ? (double)right / (double)s->n : NAN;
}

double compress_divergence(const double *p, const double *q, int64_t n_rows, int n_labels) {
    double sum = 0;
    for (int64_t i = 0; i < n_rows * n_labels; i++)
        sum += p[i] > 0 ? p[i] * log(p[i] / fmax(q[i], 1e-12)) : 0;
    return n_rows > 0 ? fmax(sum, 0) / (double)n_rows : NAN;
}

static int compare(struct run *x, struct compress_candidate *c, struct err *e) {
    const struct scores *s = &x->r->source;
    struct scored a = scores_view(&c->scores), b = scores_view(s);
    int64_t same = 0;
    for (int64_t i = 0; i < s->n; i++)
        same += s->written ? str_equal(s->text[i], c->scores.text[i]) : s->answer[i] == c->scores.answer[i];
    c->accuracy = accuracy_of(&c->scores);
    c->agreement = (double)same / (double)s->n;
    c->divergence = s->prob ? compress_divergence(s->prob, c->scores.prob, s->n, s->n_labels) : NAN;
    return paired_compare(&a, &b, &(struct bootstrap_options){.n_resamples = 200}, &c->paired, e);
}

/* ---- candidates ---- */

static int make_candidate(struct run *x, int i, struct err *e) {
    struct compress_candidate *c = &x->r->candidates[i];
    struct progress p;
    struct quantize_preview preview;
    struct quantize_options o = {
        .type = c->type, .imatrix = x->im, .n_threads = x->q->n_threads, .progress = &p};
    const char *path = candidate_path(x, i), *what = arena_printf(&x->r->arena, "quantise %s", c->type);
    if (!path || !what)
        return no_memory(e);
    int rc = quantize_preview(&preview, x->q->source, &o, e);
    if (rc < 0)
        return rc;
    c->bits_per_weight = preview.bits_per_weight;
    quantize_preview_release(&preview);
    progress_begin(&p, what, "tensor", 0);
    rc = quantize_file(x->q->source, path, &o, e);
    progress_end(&p);
    if (rc < 0)
        return rc;
    c->file_bytes = file_size(path);
    c->accuracy = c->agreement = c->divergence = NAN;
    if (measures(x)) {
        what = arena_printf(&x->r->arena, "measure %s", c->type);
        rc = score(x, path, what ? what : "measure", &c->scores, e);
        if (rc == 0)
            rc = compare(x, c, e);
    }
    return rc;
}

static bool good_enough(const struct run *x, const struct compress_candidate *c) {
    double tolerance = x->q->tolerance > 0 ? x->q->tolerance : 0.005;
    return !measures(x) || c->accuracy >= x->r->source_accuracy - tolerance - 1e-9;
}

static void choose(struct run *x) {
    struct compress_result *r = x->r;
    int smallest = -1, best = 0;
    for (int i = 0; i < r->n_candidates; i++) {
        const struct compress_candidate *c = &r->candidates[i];
        if (good_enough(x, c) && (smallest < 0 || c->file_bytes < r->candidates[smallest].file_bytes))
            smallest = i;
        if (c->accuracy > r->candidates[best].accuracy)
            best = i;
    }
    r->chosen = r->n_candidates == 1 ? 0 : smallest >= 0 ? smallest : best;
    r->candidates[r->chosen].chosen = true;
    r->reason = r->n_candidates == 1 ? "the only candidate"
                : smallest >= 0      ? "the smallest file that answers as well as the 16-bit one"
                                     : "none answers as well as the 16-bit file; this one comes nearest";
}

/* The chosen file gets its name before the others go, so that at no moment there is none. */
static int keep_chosen(struct run *x, struct err *e) {
    const char *from = candidate_path(x, x->r->chosen), *to = path_in(x, "student.gguf");
    if (!from || !to)
        return no_memory(e);
    if (rename(from, to) != 0)
        return err_set_errno(e, ERR_IO, "compress_run", "cannot rename %s to %s", from, to);
    for (int i = 0; i < x->r->n_candidates; i++) {
        const char *path = candidate_path(x, i);
        if (i != x->r->chosen && path)
            unlink(path);
    }
    return 0;
}

/* ---- the whole ---- */

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
    return 0;
}

static int prepare(struct run *x, struct err *e) {
    struct compress_result *r = x->r;
    int rc = check_request(x->q, e);
    if (rc == 0)
        rc = lm_backend_init(NULL, e);
    if (rc == 0)
        rc = file_make_folders(x->q->folder, e);
    r->n_candidates = x->q->n_types;
    r->candidates =
        arena_calloc(&r->arena, (size_t)(r->n_candidates > 0 ? r->n_candidates : 1), sizeof *r->candidates);
    if (rc == 0 && !r->candidates)
        rc = no_memory(e);
    for (int i = 0; i < r->n_candidates && rc == 0; i++) {
        r->candidates[i].type = arena_strdup(&r->arena, x->q->types[i]);
        rc = r->candidates[i].type ? 0 : no_memory(e);
    }
    r->source_bytes = file_size(x->q->source);
    return rc;
}

int compress_run(struct compress_result *out, const struct compress_request *q, struct err *e) {
    struct compress_result r = {.source_accuracy = NAN};
    struct run x = {.q = q, .r = &r};
    arena_init(&r.arena);
    int rc = prepare(&x, e);
    if (rc == 0)
        rc = get_matrix(&x, e);
    if (rc == 0 && measures(&x)) {
        rc = score(&x, q->source, "measure the 16-bit file", &r.source, e);
        r.source_accuracy = accuracy_of(&r.source);
    }
    for (int i = 0; i < r.n_candidates && rc == 0; i++)
        rc = make_candidate(&x, i, e);
    if (rc == 0) {
        choose(&x);
        rc = keep_chosen(&x, e);
    }
    imatrix_free(x.im);
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
