/* Deciding by scoring the labels.
 *
 * Invariants: between calls sequence 0 holds exactly the prefix, or something else that somebody put there, which the next
 * call notices by its length and replaces. */
#include "task/classify.h"
#include "base/mem.h"
#include "task/answer.h"
#include "task/encode.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct classifier {
    struct lm *lm;
    const struct task *task;
    const struct prompt *prompt;
    struct lm_labels *labels;
    struct tokens head, record;
    struct lm_grammar *grammar; /* extract */
    double *log_prob;
    struct classifier_last last;
};

/* ---- life ---- */

/* `gbnf` NULL: compiled from the task here. */
static int make_grammar(struct classifier *c, const char *gbnf, struct err *e) {
    struct str compiled = {0};
    if (c->task->kind != TASK_EXTRACT)
        return 0;
    if (!gbnf)
        answer_grammar(c->task, &compiled);
    int rc = str_check(&compiled, e);
    if (rc == 0)
        rc = lm_grammar_new(&c->grammar, c->lm, gbnf ? gbnf : str_text(&compiled), e);
    str_release(&compiled);
    return rc;
}

static int make_labels(struct classifier *c, struct err *e) {
    int n = c->task->n_labels;
    if (c->task->kind != TASK_CLASSIFY)
        return 0;
    const char **names = calloc((size_t)n, sizeof *names);
    c->log_prob = calloc((size_t)n, sizeof *c->log_prob);
    if (!names || !c->log_prob) {
        free(names);
        return err_set(e, ERR_NO_MEMORY, "classifier_new", "no memory for %d labels", n);
    }
    for (int i = 0; i < n; i++)
        names[i] = c->task->labels[i].name;
    int rc = lm_labels_new(&c->labels, c->lm, names, n, e);
    free(names);
    return rc;
}

static int read_prefix(struct classifier *c, struct err *e) {
    c->last.n_prefix_read = 0;
    if (lm_position(c->lm, 0) == c->head.n)
        return 0;
    lm_clear(c->lm, 0);
    int rc = lm_decode(c->lm, 0, c->head.ids, c->head.n, NULL, e);
    if (rc == 0)
        c->last.n_prefix_read = c->head.n;
    return rc;
}

static int make(struct classifier **out, struct lm *m, const struct task *t, const struct prompt *p,
                const char *gbnf, struct err *e) {
    struct classifier *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NO_MEMORY, "classifier_new", "no memory for a classifier");
    c->lm = m;
    c->task = t;
    c->prompt = p;
    int rc = make_labels(c, e);
    if (rc == 0)
        rc = make_grammar(c, gbnf, e);
    if (rc == 0)
        rc = encode_head(&c->head, m, p, e);
    if (rc < 0) {
        classifier_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

int classifier_new(struct classifier **out, struct lm *m, const struct task *t, const struct prompt *p,
                   struct err *e) {
    struct classifier *c;
    int rc = make(&c, m, t, p, NULL, e);
    if (rc < 0)
        return rc;
    lm_clear(m, 0);
    rc = read_prefix(c, e);
    if (rc < 0) {
        classifier_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void classifier_free(struct classifier *c) {
    if (!c)
        return;
    lm_labels_free(c->labels);
    tokens_release(&c->head);
    tokens_release(&c->record);
    lm_grammar_free(c->grammar);
    free(c->log_prob);
    free(c);
}

/* ---- what a bundle keeps ---- */

static void make_tag(const struct classifier *c, const char *model_hash, char tag[200]) {
    snprintf(tag, 200, "model %.64s prompt %.64s tokens %lld", model_hash, c->prompt->hash,
             (long long)c->head.n);
}

int classifier_save_prefix(struct classifier *c, const char *path, const char *model_hash, struct err *e) {
    char tag[200];
    make_tag(c, model_hash, tag);
    int rc = read_prefix(c, e);
    return rc < 0 ? rc : lm_state_save(c->lm, 0, path, tag, e);
}

int classifier_new_from(struct classifier **out, struct lm *m, const struct task *t, const struct prompt *p,
                        const struct classifier_kept *kept, bool *loaded, struct err *e) {
    char tag[200];
    struct classifier *c;
    int rc = make(&c, m, t, p, kept->grammar, e);
    if (rc < 0)
        return rc;
    make_tag(c, kept->model_hash, tag);
    lm_clear(m, 0);
    *loaded = lm_state_load(m, 0, kept->prefix, tag, NULL) == 0;
    rc = read_prefix(c, e); /* nothing to do when it was loaded */
    if (rc < 0) {
        classifier_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

/* ---- deciding ---- */

static int encode(struct classifier *c, const struct record *r, struct err *e) {
    c->record.n = 0;
    return encode_record(&c->record, c->lm, c->task, c->prompt, r, e);
}

/* Softmax over the labels, in a way that very improbable labels survive. */
static void normalise(struct classifier *c, double *probabilities) {
    int n = c->task->n_labels, best = 0;
    double sum = 0, mass = 0;
    for (int i = 1; i < n; i++)
        best = c->log_prob[i] > c->log_prob[best] ? i : best;
    for (int i = 0; i < n; i++) {
        probabilities[i] = exp(c->log_prob[i] - c->log_prob[best]);
        sum += probabilities[i];
        mass += exp(c->log_prob[i]);
    }
    for (int i = 0; i < n; i++)
        probabilities[i] /= sum;
    c->last.best = best;
    c->last.mass = mass;
}

int classifier_score(struct classifier *c, const struct record *r, double *probabilities, struct err *e) {
    if (c->task->kind != TASK_CLASSIFY)
        return err_set(e, ERR_UNSUPPORTED, "classifier_score", "the task %s does not choose between labels",
                       c->task->name);
    int rc = read_prefix(c, e);
    if (rc == 0)
        rc = encode(c, r, e);
    if (rc == 0)
        rc = lm_decode_labels(c->lm, 0, c->record.ids, c->record.n, c->labels, c->log_prob, e);
    if (rc < 0)
        return rc;
    normalise(c, probabilities);
    c->last.n_tokens = c->record.n + lm_labels_n_outputs(c->labels) - 1;
    return 0;
}

struct classifier_last classifier_last(const struct classifier *c) {
    struct classifier_last last = c->last;
    last.log_prob = c->log_prob;
    return last;
}

static int generate(struct classifier *c, const struct record *r, int64_t n_max, struct str *text,
                    struct lm_generation *g, struct err *e) {
    const float *logits;
    struct err later = {0};
    int rc = read_prefix(c, e);
    if (rc == 0)
        rc = encode(c, r, e);
    if (rc == 0)
        rc = lm_decode(c->lm, 0, c->record.ids, c->record.n, &logits, e);
    if (rc == 0)
        rc = lm_generate_grammar(c->lm, 0, c->grammar, n_max, text, g, e);
    if (lm_truncate(c->lm, 0, (int32_t)c->head.n, &later) < 0)
        lm_clear(c->lm, 0); /* a model that cannot forget: the prefix is read again */
    return rc;
}

int classifier_answer(struct classifier *c, const struct record *r, int64_t n_max, struct str *text,
                      struct err *e) {
    return generate(c, r, n_max, text, NULL, e);
}

int classifier_write(struct classifier *c, const struct record *r, struct str *answer, bool *valid,
                     struct err *e) {
    struct str text = {0};
    struct lm_generation g = {0};
    if (c->task->kind == TASK_CLASSIFY)
        return err_set(e, ERR_UNSUPPORTED, "classifier_write", "the task %s chooses between labels",
                       c->task->name);
    int rc = generate(c, r, answer_bytes_max(c->task), &text, &g, e);
    if (rc == 0) {
        size_t before = answer->len;
        *valid = g.ended && answer_read(c->task, str_text(&text), answer, NULL) == 0;
        if (!*valid) {
            if (answer->len > before)
                answer->data[answer->len = before] = 0;
            str_add(answer, str_text(&text));
        }
        c->last = (struct classifier_last){
            .best = -1, .n_tokens = c->record.n + g.n_tokens, .n_prefix_read = c->last.n_prefix_read};
        rc = str_check(answer, e);
    }
    str_release(&text);
    return rc;
}

int64_t classifier_prefix_tokens(const struct classifier *c) {
    return c->head.n;
}

int classifier_n_outputs(const struct classifier *c) {
    return c->labels ? lm_labels_n_outputs(c->labels) : 1;
}
