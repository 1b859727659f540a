/* Golden rows and calibration. */
#include "deliver/golden.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "format/json.h"
#include <stdlib.h>

/* extract and respond */
static int write_answer(struct classifier *c, const struct task *t, const struct record *r, struct str *out,
                        struct err *e) {
    struct str answer = {0};
    bool valid = false;
    int rc = classifier_write(c, r, &answer, &valid, e);
    str_add(out, "{\"record\":");
    if (rc == 0)
        rc = record_to_json(t, r, out);
    str_add(out, ",\"answer\":");
    json_text_string(out, str_text(&answer));
    str_add(out, "}\n");
    str_release(&answer);
    return rc < 0 ? rc : interrupt_check(e);
}

static int write_row(struct classifier *c, const struct task *t, const struct record *r, double *p,
                     struct str *out, struct err *e) {
    if (t->kind != TASK_CLASSIFY)
        return write_answer(c, t, r, out, e);
    int rc = classifier_score(c, r, p, e);
    if (rc < 0)
        return rc;
    str_add(out, "{\"record\":");
    rc = record_to_json(t, r, out);
    str_add(out, ",\"label\":");
    json_text_string(out, t->labels[classifier_last(c).best].name);
    for (int i = 0; i < t->n_labels; i++) {
        str_add(out, i ? "," : ",\"probabilities\":{");
        json_text_string(out, t->labels[i].name);
        str_addf(out, ":%.6f", p[i]);
    }
    str_add(out, "}}\n");
    return rc < 0 ? rc : interrupt_check(e);
}

int golden_write(struct classifier *c, const struct task *t, const struct rows *rows, int64_t n,
                 struct str *out, struct err *e) {
    double *p = calloc((size_t)t->n_labels + 1, sizeof *p);
    struct progress progress;
    int rc = p ? 0 : err_set(e, ERR_NO_MEMORY, "golden_write", "no memory for the golden rows");
    progress_begin(&progress, "golden rows", "row", n);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        rc = write_row(c, t, &rows->records[i * rows->n / n], p, out, e);
        progress_update(&progress, i + 1);
    }
    progress_end(&progress);
    free(p);
    return rc;
}

static int score_rows(struct classifier *c, const struct rows *rows, int64_t n, int *truth, int *answer,
                      double *prob, int n_labels, struct err *e) {
    struct progress progress;
    int rc = 0;
    progress_begin(&progress, "when not to answer", "row", n);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        const struct record *r = &rows->records[i * rows->n / n];
        rc = classifier_score(c, r, prob + i * n_labels, e);
        truth[i] = r->label;
        answer[i] = classifier_last(c).best;
        progress_update(&progress, i + 1);
        if (rc == 0)
            rc = interrupt_check(e);
    }
    progress_end(&progress);
    return rc;
}

int golden_calibrate(struct classifier *c, const struct task *t, const struct rows *rows, double cost,
                     struct abstain *out, struct err *e) {
    int64_t n = rows->n < GOLDEN_CALIBRATION_MAX ? rows->n : GOLDEN_CALIBRATION_MAX;
    if (n < GOLDEN_CALIBRATION_MIN)
        return err_set(e, ERR_INPUT, "golden_calibrate", "%lld rows are too few to choose a threshold",
                       (long long)n);
    int *truth = calloc((size_t)n, sizeof *truth), *answer = calloc((size_t)n, sizeof *answer);
    double *prob = calloc((size_t)n * (size_t)t->n_labels, sizeof *prob);
    int rc = truth && answer && prob
                 ? score_rows(c, rows, n, truth, answer, prob, t->n_labels, e)
                 : err_set(e, ERR_NO_MEMORY, "golden_calibrate", "no memory for %lld rows", (long long)n);
    struct scored s = {.n_rows = n, .n_labels = t->n_labels, .truth = truth, .answer = answer, .prob = prob};
    if (rc == 0)
        rc = abstain_choose(&s, cost, out, e);
    free(truth);
    free(answer);
    free(prob);
    return rc;
}
