/* Calibration rows through the model. */
#include "compress/calibrate.h"
#include "base/interrupt.h"
#include "llama/lm.h"
#include "task/answer.h"
#include "task/encode.h"
#include "task/prompt.h"

struct run {
    struct lm *lm;
    const struct task *task;
    struct prompt prompt;
    struct imatrix *im;
    struct tokens head, record, answer;
    struct calibrate_options o;
};

/* The prefix counts as often as there are rows. */
static int read_prefix(struct run *r, struct err *e) {
    int rc = encode_head(&r->head, r->lm, &r->prompt, e);
    imatrix_set_weight(r->im, r->o.prefix_weight * (double)r->o.n_rows);
    return rc < 0 ? rc : lm_decode(r->lm, 0, r->head.ids, r->head.n, NULL, e);
}

/* The record with its tail, then the answer token by token: each step's logits make the last block compute that position
 * alone. The end of turn is predicted but never read. */
static int read_row(struct run *r, const struct record *record, struct err *e) {
    const float *logits;
    r->record.n = r->answer.n = 0;
    int rc = encode_record(&r->record, r->lm, r->task, &r->prompt, record, e);
    if (rc == 0)
        rc = encode_answer_text(&r->answer, r->lm, record_answer(r->task, record), e);
    imatrix_set_weight(r->im, 1);
    if (rc == 0)
        rc = lm_decode(r->lm, 0, r->record.ids, r->record.n, &logits, e);
    imatrix_set_weight(r->im, r->o.answer_weight);
    for (int64_t i = 0; i < r->answer.n - 1 && rc == 0; i++)
        rc = lm_decode(r->lm, 0, &r->answer.ids[i], 1, &logits, e);
    return rc < 0 ? rc : lm_truncate(r->lm, 0, (int32_t)r->head.n, e);
}

static int read_rows(struct run *r, const struct rows *rows, struct progress *p, struct err *e) {
    int rc = read_prefix(r, e);
    for (int64_t i = 0; i < r->o.n_rows && rc == 0; i++) {
        rc = interrupt_check(e);
        if (rc == 0)
            rc = read_row(r, &rows->records[i * rows->n / r->o.n_rows], e);
        progress_update(p, i + 1);
    }
    return rc;
}

int calibrate(struct imatrix **out, const char *gguf, const struct task *t, const struct rows *rows,
              const struct calibrate_options *o, struct progress *p, int64_t *n_used, struct err *e) {
    struct run r = {.task = t, .o = *o};
    if (rows->n == 0)
        return err_set(e, ERR_INPUT, "calibrate",
                       "there are no training rows to collect an importance matrix from");
    r.o.n_rows = o->n_rows > 0 ? o->n_rows : CALIBRATE_ROWS;
    r.o.n_rows = r.o.n_rows < rows->n ? r.o.n_rows : rows->n;
    r.o.prefix_weight = o->prefix_weight > 0 ? o->prefix_weight : 1;
    r.o.answer_weight = o->answer_weight > 0 ? o->answer_weight : 1;
    int rc = imatrix_new(&r.im, e);
    if (rc < 0)
        return rc;
    struct lm_options lm = {.n_threads = o->n_threads, .observe = imatrix_observe, .observe_context = r.im};
    rc = lm_open(&r.lm, gguf, &lm, e);
    if (rc == 0)
        rc = prompt_from_model(&r.prompt, t, r.lm, e);
    if (rc == 0)
        rc = read_rows(&r, rows, p, e);
    lm_free(r.lm);
    prompt_release(&r.prompt);
    tokens_release(&r.head);
    tokens_release(&r.record);
    tokens_release(&r.answer);
    if (rc < 0) {
        imatrix_free(r.im);
        return rc;
    }
    *out = r.im;
    *n_used = r.o.n_rows;
    return 0;
}
