/* Counting tokens, and choosing by them and the answers. */
#include "compress/forms.h"
#include "llama/lm.h"
#include "task/encode.h"
#include <math.h>
#include <stdlib.h>

/* ---- tokens ---- */

static int count_tokens(struct form_trial *f, const struct lm *m, const struct task *t,
                        const struct rows *rows, struct err *e) {
    struct prompt p;
    struct tokens ids = {0};
    int rc = prompt_from_base(&p, t, m, f->form, e);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < rows->n && rc == 0; i++) {
        rc = encode_head(&ids, m, &p, e);
        if (rc == 0)
            rc = encode_record(&ids, m, t, &p, &rows->records[i], e);
    }
    f->tokens = rows->n > 0 ? (double)ids.n / (double)rows->n : 0;
    tokens_release(&ids);
    prompt_release(&p);
    return rc;
}

static int by_tokens(const void *a, const void *b) {
    const struct form_trial *x = a, *y = b;
    return (x->tokens > y->tokens) - (x->tokens < y->tokens);
}

int forms_list(struct form_trial trials[FORMS_COUNT], const char *base, const struct task *t,
               const struct rows *rows, struct err *e) {
    struct lm *m;
    int rc = lm_open(&m, base, &(struct lm_options){.vocab_only = true}, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < FORMS_COUNT && rc == 0; i++) {
        struct form_trial *f = &trials[i];
        *f = (struct form_trial){.form = {(enum prompt_instruction)(i / PROMPT_N_LAYOUTS),
                                          (enum prompt_layout)(i % PROMPT_N_LAYOUTS)}};
        prompt_form_text(f->form, f->name);
        rc = count_tokens(f, m, t, rows, e);
    }
    lm_free(m);
    if (rc == 0)
        qsort(trials, FORMS_COUNT, sizeof *trials, by_tokens);
    return rc;
}

void forms_release(struct form_trial trials[FORMS_COUNT]) {
    for (int i = 0; i < FORMS_COUNT; i++)
        scores_release(&trials[i].scores);
}

/* ---- choosing ---- */

static bool is_whole(const struct form_trial *f) {
    return f->form.instruction == PROMPT_FULL && f->form.layout == PROMPT_LABELLED;
}

static double accuracy_of(const struct scores *s) {
    int64_t right = 0;
    for (int64_t i = 0; i < s->n; i++)
        right += s->answer[i] == s->truth[i];
    return s->n > 0 ? (double)right / (double)s->n : NAN;
}

/* With b and c rows that only one of the two answers right, the difference is (b - c) / n, and its standard error sqrt(b + c) / n
 * were both equally good (McNemar, Psychometrika 12, 1947). */
static void compare(struct form_trial *f, const struct form_trial *best) {
    double only_f = 0, only_best = 0, n = (double)f->scores.n;
    for (int64_t i = 0; i < f->scores.n; i++) {
        bool a = f->scores.answer[i] == f->scores.truth[i],
             b = best->scores.answer[i] == best->scores.truth[i];
        only_f += a && !b;
        only_best += b && !a;
    }
    f->difference = (only_f - only_best) / n;
    f->standard_error = sqrt(only_f + only_best) / n;
}

static bool good_enough(const struct form_trial *f) {
    return f->tried && f->difference >= -f->standard_error - 1e-12 && f->difference >= -FORMS_MOST_LOSS;
}

int forms_choose(struct form_trial trials[FORMS_COUNT]) {
    int best = -1, chosen = -1;
    for (int i = 0; i < FORMS_COUNT; i++) {
        if (!trials[i].tried)
            continue;
        trials[i].accuracy = accuracy_of(&trials[i].scores);
        if (best < 0 || trials[i].accuracy > trials[best].accuracy)
            best = i;
    }
    for (int i = 0; i < FORMS_COUNT; i++) {
        trials[i].chosen = false;
        if (trials[i].tried)
            compare(&trials[i], &trials[best]);
        if (chosen < 0 && good_enough(&trials[i]))
            chosen = i;
    }
    trials[chosen].chosen = true; /* the best one itself is good enough */
    return chosen;
}

int forms_next(struct form_trial trials[FORMS_COUNT]) {
    for (int i = 0; i < FORMS_COUNT; i++)
        if (is_whole(&trials[i]) && !trials[i].tried)
            return i;
    int chosen = forms_choose(trials);
    for (int i = 0; i < chosen; i++)
        if (!trials[i].tried)
            return i;
    return -1;
}
