/* A model file opened for computing with it. */
#include "compress/student.h"
#include "train/host/weights.h"
#include "train/loop.h"
#include <math.h>
#include <stdlib.h>

enum { BATCH_TOKENS = 4096 };

static int make_form(struct student *s, struct err *e) {
    int n = s->task->n_labels;
    s->answers = calloc((size_t)n, sizeof *s->answers);
    s->spans = calloc((size_t)n, sizeof *s->spans);
    if (!s->answers || !s->spans)
        return err_set(e, ERR_NO_MEMORY, "student_open", "no room for %d labels", n);
    int rc = encode_head(&s->head, s->lm, &s->prompt, e);
    for (int i = 0; i < n && rc == 0; i++) {
        rc = encode_answer(&s->answers[i], s->lm, s->task, i, e);
        s->spans[i] = (struct token_span){s->answers[i].ids, s->answers[i].n};
    }
    s->form = (struct dataset_form){.head = {s->head.ids, s->head.n}, .answers = s->spans, .n_labels = n};
    return rc;
}

static int open_in_form(struct student *s, const char *gguf, const struct task *t,
                        const struct prompt_form *form, int n_threads, struct err *e) {
    struct model_config config;
    *s = (struct student){.task = t};
    if (t->kind != TASK_CLASSIFY)
        return err_set(e, ERR_UNSUPPORTED, "student_open",
                       "only students that choose between labels are searched");
    int rc = model_file_open(&s->file, gguf, e);
    if (rc == 0)
        rc = model_file_config(s->file, &config, e);
    if (rc == 0)
        rc = ops_open_cpu(&s->ops, n_threads, e);
    if (rc == 0)
        rc = nn_model_init(&s->model, &config, &s->ops, e);
    if (rc == 0)
        rc = weights_load(&s->model, s->file, e);
    if (rc == 0)
        rc = lm_open(&s->lm, gguf, &(struct lm_options){.vocab_only = true}, e);
    if (rc == 0)
        rc = form ? prompt_from_base(&s->prompt, t, s->lm, *form, e)
                  : prompt_from_model(&s->prompt, t, s->lm, e);
    if (rc == 0)
        rc = make_form(s, e);
    if (rc < 0)
        student_release(s);
    return rc;
}

int student_open(struct student *s, const char *gguf, const struct task *t, int n_threads, struct err *e) {
    return open_in_form(s, gguf, t, NULL, n_threads, e);
}

int student_open_base(struct student *s, const char *gguf, const struct task *t, struct prompt_form form,
                      int n_threads, struct err *e) {
    return open_in_form(s, gguf, t, &form, n_threads, e);
}

void student_release(struct student *s) {
    for (int i = 0; s->answers && i < s->task->n_labels; i++)
        tokens_release(&s->answers[i]);
    free(s->answers);
    free(s->spans);
    tokens_release(&s->head);
    prompt_release(&s->prompt);
    lm_free(s->lm);
    nn_model_release(&s->model);
    if (s->ops.close)
        s->ops.close(&s->ops);
    model_file_close(s->file);
    *s = (struct student){0};
}

int student_rows(const struct student *s, struct dataset *d, const struct rows *rows, int64_t n,
                 struct err *e) {
    struct tokens ids = {0};
    int rc = 0;
    d->form = &s->form;
    n = n > 0 && n < rows->n ? n : rows->n;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        int64_t at = i * rows->n / n;
        const struct record *r = &rows->records[at];
        ids.n = 0;
        rc = encode_record(&ids, s->lm, s->task, &s->prompt, r, e);
        struct dataset_row row = {.id = at + 1, .n = (int32_t)ids.n, .label = r->label, .weight = 1};
        if (rc == 0)
            rc = dataset_add(d, &row, ids.ids, s->model.config.n_ctx, e);
    }
    tokens_release(&ids);
    if (rc < 0)
        dataset_release(d);
    return rc;
}

int student_score(struct student *s, const struct dataset *d, double *log_prob, struct err *e) {
    struct packer p = {0};
    struct nn_run run = {0};
    int64_t longest = d->n_rows > 0 ? dataset_longest(d) : 1,
            n = longest > BATCH_TOKENS ? longest : BATCH_TOKENS;
    int rc = packer_init(&p, n, e);
    struct nn_limits limits = {.n_tokens = n,
                               .n_targets = dataset_most_targets(d, n, dataset_shared(d)),
                               .n_prefix = dataset_scored_prefix(d),
                               .forward_only = true};
    if (rc == 0)
        rc = nn_run_init(&run, &s->model, &limits, e);
    if (rc == 0)
        rc = train_score(&s->model, &run, &p, d, &(struct train_scores){.log_prob = log_prob}, e);
    nn_run_release(&run);
    packer_release(&p);
    return rc;
}

void student_probabilities(double *log_prob, int64_t n_rows, int n_labels) {
    double *p = log_prob;
    for (int64_t i = 0; i < n_rows; i++, p += n_labels) {
        double top = p[0], sum = 0;
        for (int k = 1; k < n_labels; k++)
            top = fmax(top, p[k]);
        for (int k = 0; k < n_labels; k++)
            sum += p[k] = exp(p[k] - top);
        for (int k = 0; k < n_labels; k++)
            p[k] /= sum;
    }
}
