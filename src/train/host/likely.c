/* A teacher's most probable tokens along the answers. */
#include "train/host/likely.h"
#include "base/interrupt.h"
#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOP = 64 };

static int check_vocabulary(const struct lm *student, const struct lm *teacher, struct err *e) {
    int n = lm_n_vocab(student);
    int rc = 0;
    struct str a = {0}, b = {0};
    if (lm_n_vocab(teacher) != n)
        rc = err_set(e, ERR_MISMATCH, "likely_read", "the teacher has %d tokens, the student %d",
                     lm_n_vocab(teacher), n);
    for (int32_t i = 0; i < n && rc == 0; i++) {
        str_clear(&a);
        str_clear(&b);
        if ((rc = lm_detokenize(student, &i, 1, true, &a, e)) == 0 &&
            (rc = lm_detokenize(teacher, &i, 1, true, &b, e)) == 0 && strcmp(str_text(&a), str_text(&b)) != 0)
            rc = err_set(e, ERR_MISMATCH, "likely_read",
                         "token %d is \"%s\" for the teacher, \"%s\" for the student", i, str_text(&b),
                         str_text(&a));
    }
    if (rc == ERR_MISMATCH)
        err_hint(e, "their tokens must be the same: take a larger model of the base's family, and no --trim");
    str_release(&a);
    str_release(&b);
    return rc;
}

/* The n most probable tokens, most probable first. */
static void take_top(const float *logits, int n_vocab, struct likely_token *top, int n) {
    double sum = 0, most = -INFINITY;
    int filled = 0;
    for (int i = 0; i < n_vocab; i++)
        most = (double)logits[i] > most ? (double)logits[i] : most;
    for (int i = 0; i < n_vocab; i++) {
        sum += exp((double)logits[i] - most);
        if (filled == n && !(logits[i] > top[n - 1].p))
            continue;
        int at = filled < n ? filled++ : n - 1;
        for (; at > 0 && logits[i] > top[at - 1].p; at--)
            top[at] = top[at - 1];
        top[at] = (struct likely_token){i, logits[i]};
    }
    for (int i = 0; i < filled; i++)
        top[i].p = (float)(exp((double)top[i].p - most) / sum);
}

/* Sequence 0 holds the head: the row's record, then its answer token by token. */
static int read_row(struct lm *m, struct dataset *d, int64_t at, struct likely_token *top, int n,
                    struct err *e) {
    const struct dataset_row *row = &d->rows[at];
    const struct token_span *answer = &d->form->answers[row->label];
    const float *logits = NULL;
    int rc = lm_truncate(m, 0, (int32_t)d->form->head.n, e);
    if (rc == 0 && row->n < 1)
        rc = err_set(e, ERR_INPUT, "likely_read", "record %lld has no token of its own", (long long)row->id);
    if (rc == 0)
        rc = lm_decode(m, 0, d->tokens + row->at, row->n, &logits, e);
    for (int64_t i = 0; i < answer->n && rc == 0; i++) {
        take_top(logits, lm_n_vocab(m), top + i * n, n);
        if (i + 1 < answer->n)
            rc = lm_decode(m, 0, answer->ids + i, 1, &logits, e);
    }
    return rc == 0 ? dataset_add_likely(d, at, top, n, e) : rc;
}

static int64_t longest_answer(const struct dataset *d) {
    int64_t longest = 1;
    for (int i = 0; i < d->form->n_labels; i++)
        longest = d->form->answers[i].n > longest ? d->form->answers[i].n : longest;
    return longest;
}

static int read_rows(struct lm *m, struct dataset *d, const struct likely_from *from, struct err *e) {
    struct likely_token *top = calloc((size_t)(longest_answer(d) * from->n_top), sizeof *top);
    int rc = top ? 0 : err_set(e, ERR_NO_MEMORY, "likely_read", "no room for the teacher's tokens");
    if (rc == 0 && d->form->head.n > 0)
        rc = lm_decode(m, 0, d->form->head.ids, d->form->head.n, NULL, e);
    progress_begin(from->progress, "teacher", "record", d->n_rows);
    for (int64_t i = 0; i < d->n_rows && rc == 0; i++) {
        rc = read_row(m, d, i, top, from->n_top, e);
        progress_update(from->progress, i + 1);
        if (rc == 0)
            rc = interrupt_check(e);
    }
    progress_end(from->progress);
    free(top);
    return rc;
}

int likely_read(struct dataset *d, const struct likely_from *from, struct err *e) {
    struct lm *m = NULL;
    if (from->n_top < 1 || from->n_top > MOST_TOP)
        return err_set(e, ERR_USAGE, "likely_read", "1 to %d tokens of the teacher a place, not %d", MOST_TOP,
                       from->n_top);
    int rc =
        lm_open(&m, from->teacher,
                &(struct lm_options){.n_ctx = (int)dataset_longest(d) + 8, .n_threads = from->n_threads}, e);
    if (rc < 0)
        return err_context(e, "the teacher %s", from->teacher);
    rc = check_vocabulary(from->student, m, e);
    if (rc == 0)
        rc = read_rows(m, d, from, e);
    lm_free(m);
    return rc;
}
