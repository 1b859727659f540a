/* Scoring a GGUF file row by row, and keeping the outcome in a table that people and programs can read. */
#include "eval/score.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "format/csv.h"
#include "llama/lm.h"
#include "task/classify.h"
#include <stdlib.h>
#include <string.h>

enum { FREE_TOKENS_MAX = 24 };

static int allocate(struct scores *s, int64_t n, const struct task *t, struct err *e) {
    *s = (struct scores){.n = n, .n_labels = t->n_labels, .positive = task_label_index(t, t->positive)};
    s->truth = calloc((size_t)n + 1, sizeof *s->truth);
    s->answer = calloc((size_t)n + 1, sizeof *s->answer);
    s->prob = calloc((size_t)n + 1, sizeof *s->prob * (size_t)t->n_labels);
    if (s->truth && s->answer && s->prob)
        return 0;
    scores_release(s);
    return err_set(e, ERR_NO_MEMORY, "scores_init", "out of memory for %lld rows", (long long)n);
}

int scores_init(struct scores *s, const struct task *t, const struct rows *rows, struct err *e) {
    int rc = allocate(s, rows->n, t, e);
    for (int64_t i = 0; rc == 0 && i < rows->n; i++)
        s->truth[i] = rows->records[i].label;
    return rc;
}

void scores_release(struct scores *s) {
    free(s->truth);
    free(s->answer);
    free(s->prob);
    *s = (struct scores){0};
}

struct scored scores_view(const struct scores *s) {
    return (struct scored){s->n, s->n_labels, s->positive, s->truth, s->answer, s->prob};
}

/* ---- a model ---- */

static int answer_freely(struct scores *s, struct classifier *c, const struct task *t, const struct record *r,
                         int best, struct err *e) {
    struct str text = {0};
    int rc = classifier_answer(c, r, FREE_TOKENS_MAX, &text, e);
    if (rc == 0) {
        int label = prompt_parse_answer(t, str_text(&text));
        s->n_free++;
        s->n_free_invalid += label < 0;
        s->n_free_same += label == best;
    }
    str_release(&text);
    return rc;
}

static int score_rows(struct scores *s, struct classifier *c, const struct task *t, const struct rows *rows,
                      int64_t n_free, struct progress *progress, struct err *e) {
    for (int64_t i = 0; i < rows->n; i++) {
        int rc = interrupt_check(e);
        if (rc == 0)
            rc = classifier_score(c, &rows->records[i], s->prob + i * s->n_labels, e);
        if (rc < 0) {
            err_context(e, "row %lld", (long long)i + 1);
            return rc;
        }
        struct classifier_last last = classifier_last(c);
        s->answer[i] = last.best;
        s->n_tokens += last.n_tokens;
        if (i < n_free && (rc = answer_freely(s, c, t, &rows->records[i], last.best, e)) < 0)
            return rc;
        progress_update(progress, i + 1);
    }
    return 0;
}

static int check_prompt(const struct prompt *p, const char *gguf, const char *expected, struct err *e) {
    if (!expected || strcmp(p->hash, expected) == 0)
        return 0;
    int rc = err_set(e, ERR_MISMATCH, "score_model",
                     "%s frames another prompt (%.12s) than the model it is compared with (%.12s)", gguf,
                     p->hash, expected);
    err_hint(e, "its chat template was changed on the way: train and compress again");
    return rc;
}

int score_model(struct scores *s, const char *gguf, const struct task *t, const struct rows *rows,
                const struct score_options *o, struct progress *progress, struct err *e) {
    struct lm *m = NULL;
    struct prompt prompt = {0};
    struct classifier *c = NULL;
    int rc = lm_backend_init(NULL, e);
    if (rc == 0)
        rc = lm_open(&m, gguf, &(struct lm_options){.n_threads = o->n_threads}, e);
    if (rc == 0)
        rc = prompt_from_model(&prompt, t, m, e);
    if (rc == 0)
        rc = check_prompt(&prompt, gguf, o->prompt_hash, e);
    if (rc == 0)
        rc = classifier_new(&c, m, t, &prompt, e);
    if (rc == 0) {
        double start_s = clock_seconds();
        memcpy(s->prompt_hash, prompt.hash, sizeof s->prompt_hash);
        s->n_free = s->n_free_invalid = s->n_free_same = s->n_tokens = 0;
        rc = score_rows(s, c, t, rows, o->n_free, progress, e);
        s->seconds = clock_seconds() - start_s;
    }
    classifier_free(c);
    prompt_release(&prompt);
    lm_free(m);
    return rc;
}

/* ---- the table ---- */

int scores_write(const struct scores *s, const struct task *t, const char *path, struct err *e) {
    struct str out = {0}, name = {0};
    str_add(&out, "row,truth,answer");
    for (int k = 0; s->prob && k < s->n_labels; k++) {
        str_clear(&name);
        str_addf(&name, "p:%s", t->labels[k].name);
        str_add_char(&out, ',');
        csv_text_field(&out, str_text(&name));
    }
    str_add_char(&out, '\n');
    for (int64_t i = 0; i < s->n; i++) {
        str_addf(&out, "%lld,", (long long)i + 1);
        csv_text_field(&out, t->labels[s->truth[i]].name);
        str_add_char(&out, ',');
        csv_text_field(&out, s->answer[i] < 0 ? "" : t->labels[s->answer[i]].name);
        for (int k = 0; s->prob && k < s->n_labels; k++)
            str_addf(&out, ",%.9g", s->prob[i * s->n_labels + k]);
        str_add_char(&out, '\n');
    }
    int rc = str_check(&out, e);
    if (rc == 0)
        rc = file_write(path, out.data, out.len, e);
    str_release(&out);
    str_release(&name);
    return rc;
}

static int other_labels(const char *path, struct err *e) {
    return err_set(e, ERR_MISMATCH, "scores_read", "%s was made for other labels", path);
}

static int count_rows(const char *path, int64_t *n, struct err *e) {
    struct csv_reader *r;
    int rc = csv_reader_open(&r, path, NULL, e);
    if (rc < 0)
        return rc;
    for (*n = 0; (rc = csv_reader_next(r, e)) > 0;)
        ++*n;
    csv_reader_close(r);
    return rc;
}

static int read_row(struct scores *s, const struct task *t, const struct csv_reader *r, int64_t i,
                    const char *path, struct err *e) {
    const char *answer = csv_reader_field(r, 2);
    s->truth[i] = task_label_index(t, csv_reader_field(r, 1));
    s->answer[i] = *answer ? task_label_index(t, answer) : -1;
    if (s->truth[i] < 0 || (*answer && s->answer[i] < 0))
        return other_labels(path, e);
    for (int k = 0; s->prob && k < s->n_labels; k++)
        if (!str_to_double(csv_reader_field(r, 3 + k), &s->prob[i * s->n_labels + k]))
            return csv_reader_error(r, 3 + k, e, "not a number");
    return 0;
}

int scores_read(struct scores *out, const struct task *t, const char *path, struct err *e) {
    struct scores s;
    struct csv_reader *r;
    int64_t n = 0;
    int rc = count_rows(path, &n, e);
    if (rc < 0 || (rc = allocate(&s, n, t, e)) < 0)
        return rc;
    if ((rc = csv_reader_open(&r, path, NULL, e)) < 0) {
        scores_release(&s);
        return rc;
    }
    int columns = csv_reader_n_columns(r);
    if (columns == 3) {
        free(s.prob);
        s.prob = NULL;
    } else if (columns != 3 + t->n_labels) {
        rc = other_labels(path, e);
    }
    for (int64_t i = 0; rc == 0 && i < n && (rc = csv_reader_next(r, e)) > 0; i++)
        rc = read_row(&s, t, r, i, path, e);
    csv_reader_close(r);
    if (rc < 0) {
        scores_release(&s);
        return rc;
    }
    *out = s;
    return 0;
}
