/* Importance matrix and sensitivities: collected from training rows, or kept from an earlier run. */
#include "base/file.h"
#include "compress/internal.h"
#include "llama/lm.h"
#include <string.h>

/* Larger students are watched over fewer rows: a row costs the trainer's forward and backward passes. */
enum { LARGE_PARAMS = 100000000, LARGE_ROWS = 64 };

static int64_t row_limit(const struct compress_run_state *x) {
    int64_t n = x->q->calibration.n_rows > 0 ? x->q->calibration.n_rows : CALIBRATE_ROWS;
    bool large = x->opened && x->student.model.base.n_params > LARGE_PARAMS;
    n = large && x->q->calibration.n_rows <= 0 && n > LARGE_ROWS ? LARGE_ROWS : n;
    return n < x->q->training->n ? n : x->q->training->n;
}

/* Everything that decides the matrix, as a hash: the file carries it and is used again while it is the same. */
static int matrix_key(const struct compress_run_state *x, char key[SHA256_HEX], struct err *e) {
    const struct compress_request *q = x->q;
    char source[SHA256_HEX];
    struct str s = {0}, task = {0};
    int rc = sha256_file(x->source, source, e);
    if (rc == 0)
        rc = task_to_json(q->task, &task, e);
    str_addf(&s, "imatrix/3 %s %s %s %lld %.17g %.17g %s\n%s", x->opened ? "own" : "llama.cpp", source,
             q->training->sha256, (long long)row_limit(x), q->calibration.prefix_weight,
             q->calibration.answer_weight, lm_version(), str_text(&task));
    if (rc == 0)
        rc = str_check(&s, e);
    if (rc == 0)
        sha256_bytes(s.data, s.len, key);
    str_release(&s);
    str_release(&task);
    return rc;
}

/* ---- by the trainer ---- */

static int collect_own(struct compress_run_state *x, const char *path, const char *beside, const char *key,
                       struct err *e) {
    struct dataset d = {0};
    struct progress p;
    struct activity_options o = {.prompt_weight = x->q->calibration.prefix_weight,
                                 .answer_weight = x->q->calibration.answer_weight};
    int rc = student_rows(&x->student, &d, x->q->training, row_limit(x), e);
    if (rc < 0)
        return rc;
    progress_begin(&p, "importance and sensitivity", "row", 0);
    rc = activity_collect(&x->activity, &x->student, &d, &o, &p, e);
    progress_end(&p);
    dataset_release(&d);
    if (rc == 0)
        rc = sha256_file(x->q->source, x->activity.model, e);
    return rc < 0 ? rc : activity_save(&x->activity, path, beside, key, e);
}

static int get_own(struct compress_run_state *x, const char *path, const char *beside, const char *key,
                   struct err *e) {
    x->r->imatrix_reused = activity_load(&x->activity, &x->student, path, beside, key, NULL) == 0;
    int rc = x->r->imatrix_reused ? 0 : collect_own(x, path, beside, key, e);
    x->r->calibration_rows = x->activity.n_rows;
    /* From the file, so that what llama-quantize would read is what is used here. */
    return rc < 0 ? rc : imatrix_load(&x->im, path, e);
}

/* ---- by llama.cpp ---- */

static int get_foreign(struct compress_run_state *x, const char *path, const char *key, struct err *e) {
    struct progress p;
    struct calibrate_options o = x->q->calibration;
    int64_t n = row_limit(x);
    o.n_threads = x->q->n_threads;
    if (imatrix_load(&x->im, path, NULL) == 0 && strcmp(imatrix_dataset(x->im), key) == 0) {
        x->r->imatrix_reused = true;
        x->r->calibration_rows = imatrix_rows(x->im);
        return 0;
    }
    imatrix_free(x->im);
    x->im = NULL;
    progress_begin(&p, "importance matrix", "row", n);
    int rc = calibrate(&x->im, x->source, x->q->task, x->q->training, &o, &p, &n, e);
    progress_end(&p);
    x->r->calibration_rows = n;
    char model[SHA256_HEX];
    if (rc == 0)
        rc = sha256_file(x->q->source, model, e);
    if (rc < 0)
        return rc;
    imatrix_set_model(x->im, model);
    return imatrix_save(x->im, path, key, n, e);
}

/* ---- the user's own ---- */

int compress_check_imatrix(const struct compress_request *q, struct err *e) {
    char model[SHA256_HEX];
    struct imatrix *im;
    struct quantize_preview p;
    int rc = imatrix_load(&im, q->imatrix, e);
    if (rc < 0)
        return rc;
    if (*imatrix_model(im))
        rc = sha256_file(q->source, model, e);
    if (rc == 0 && *imatrix_model(im) && strcmp(imatrix_model(im), model) != 0) {
        rc = err_set(
            e, ERR_MISMATCH, "compress_run",
            "the importance matrix %s is of another model: it was collected with %.12s, and %s is %.12s",
            q->imatrix, imatrix_model(im), q->source, model);
        err_hint(e, "leave --imatrix out: one is collected from this student's training rows");
    }
    if (rc == 0)
        rc = quantize_preview(&p, q->source, &(struct quantize_options){.type = q->types[0], .imatrix = im},
                              e);
    if (rc == 0)
        quantize_preview_release(&p);
    imatrix_free(im);
    return rc;
}

static int get_users(struct compress_run_state *x, struct err *e) {
    imatrix_free(x->im);
    x->im = NULL;
    x->r->calibration_rows = 0;
    return imatrix_load(&x->im, x->q->imatrix, e);
}

int compress_get_matrix(struct compress_run_state *x, struct err *e) {
    char key[SHA256_HEX];
    const char *path = compress_path(x, "imatrix.gguf"), *beside = compress_path(x, "sensitivity.gguf");
    if (x->q->no_imatrix)
        return 0;
    if (x->q->training->n == 0)
        return err_set(e, ERR_INPUT, "compress_run",
                       "there are no training rows to collect an importance matrix from");
    int rc = path && beside ? matrix_key(x, key, e) : compress_no_memory(e);
    if (rc < 0)
        return rc;
    rc = x->opened ? get_own(x, path, beside, key, e) : get_foreign(x, path, key, e);
    return rc < 0 || !x->q->imatrix ? rc : get_users(x, e); /* the search keeps what was seen here */
}
