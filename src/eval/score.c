/* Scoring a GGUF file row by row, and keeping the outcome in a table that people and programs can read. */
#include "eval/score.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/thread.h"
#include "format/csv.h"
#include "llama/lm.h"
#include "task/classify.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FREE_TOKENS_MAX = 24 };

static int allocate(struct scores *s, int64_t n, const struct task *t, struct err *e) {
    bool written = t->kind != TASK_CLASSIFY;
    *s = (struct scores){.n = n,
                         .n_labels = written ? 2 : t->n_labels,
                         .positive = written ? 0 : task_label_index(t, t->positive),
                         .written = written};
    s->truth = calloc((size_t)n + 1, sizeof *s->truth);
    s->answer = calloc((size_t)n + 1, sizeof *s->answer);
    if (written)
        s->text = calloc((size_t)n + 1, sizeof *s->text);
    else
        s->prob = calloc((size_t)n + 1, sizeof *s->prob * (size_t)t->n_labels);
    if (s->truth && s->answer && (s->prob || s->text))
        return 0;
    scores_release(s);
    return err_set(e, ERR_NO_MEMORY, "scores_init", "out of memory for %lld rows", (long long)n);
}

int scores_init(struct scores *s, const struct task *t, const struct rows *rows, struct err *e) {
    int rc = allocate(s, rows->n, t, e);
    for (int64_t i = 0; rc == 0 && i < rows->n; i++)
        s->truth[i] = s->written ? 0 : rows->records[i].label;
    return rc;
}

int scores_set_text(struct scores *s, const struct rows *rows, int64_t i, const char *text, bool valid,
                    struct err *e) {
    free(s->text[i]);
    s->text[i] = text ? strdup(text) : NULL;
    if (text && !s->text[i])
        return err_set(e, ERR_NO_MEMORY, "scores_set_text", "out of memory for an answer");
    s->answer[i] = !text || !valid ? -1 : str_equal(text, rows->records[i].answer) ? 0 : 1;
    return 0;
}

void scores_release(struct scores *s) {
    for (int64_t i = 0; s->text && i < s->n; i++)
        free(s->text[i]);
    free(s->text);
    free(s->truth);
    free(s->answer);
    free(s->prob);
    *s = (struct scores){0};
}

struct scored scores_view(const struct scores *s) {
    return (struct scored){s->n, s->n_labels, s->positive, s->truth, s->answer, s->prob};
}

/* ---- a model: workers, each with its own context, share the rows ----
 * Several threads on one small matrix wait for each other more than they compute, so a small model gets one worker a core
 * with one thread each; a large one gets all cores for one row at a time, for its weights' and caches' sake. */

static const int64_t SMALL_MODEL_BYTES = 256 * 1024 * 1024;
enum { WORKERS_MAX = 64 };

struct worker {
    struct lm *lm;
    struct prompt prompt;
    struct classifier *classifier;
    struct err err;
    int64_t n_tokens, n_free, n_free_invalid, n_free_same;
};

struct scoring {
    struct scores *scores;
    const struct task *task;
    const struct rows *rows;
    const struct score_options *options;
    struct progress *progress;
    struct worker workers[WORKERS_MAX];
    int n_workers;
    atomic_int_least64_t n_done;
    atomic_bool failed;
};

static int check_prompt(const struct prompt *p, const char *gguf, const char *expected, struct err *e) {
    if (!expected || strcmp(p->hash, expected) == 0)
        return 0;
    int rc = err_set(e, ERR_MISMATCH, "score_model",
                     "%s frames another prompt (%.12s) than the model it is compared with (%.12s)", gguf,
                     p->hash, expected);
    err_hint(e, "its chat template was changed on the way: train and compress again");
    return rc;
}

static int worker_open(struct worker *w, const char *gguf, const struct scoring *s, int n_threads,
                       struct err *e) {
    /* attention and cache as the device computes them: what is scored is what ships */
    struct lm_options o = {.n_threads = n_threads,
                           .flash_attention = true,
                           .kv_type = s->options->kv_type,
                           .lora = s->options->lora};
    const struct prompt_form *form = s->options->form;
    int rc = lm_open(&w->lm, gguf, &o, e);
    if (rc == 0)
        rc = form ? prompt_from_base(&w->prompt, s->task, w->lm, *form, e)
                  : prompt_from_model(&w->prompt, s->task, w->lm, e);
    if (rc == 0)
        rc = check_prompt(&w->prompt, gguf, s->options->prompt_hash, e);
    if (rc == 0)
        rc = classifier_new(&w->classifier, w->lm, s->task, &w->prompt, e);
    return rc;
}

static void worker_close(struct worker *w) {
    classifier_free(w->classifier);
    prompt_release(&w->prompt);
    lm_free(w->lm);
}

static int answer_freely(const struct scoring *s, struct worker *w, const struct record *r, int best) {
    struct str text = {0};
    int rc = classifier_answer(w->classifier, r, FREE_TOKENS_MAX, &text, &w->err);
    if (rc == 0) {
        int label = prompt_parse_answer(s->task, str_text(&text));
        w->n_free++;
        w->n_free_invalid += label < 0;
        w->n_free_same += label == best;
    }
    str_release(&text);
    return rc;
}

static int write_row(struct scoring *s, struct worker *w, int64_t i) {
    struct str text = {0};
    bool valid = false;
    int rc = classifier_write(w->classifier, &s->rows->records[i], &text, &valid, &w->err);
    if (rc == 0)
        rc = scores_set_text(s->scores, s->rows, i, str_text(&text), valid, &w->err);
    w->n_tokens += classifier_last(w->classifier).n_tokens;
    str_release(&text);
    return rc;
}

static int score_row(struct scoring *s, struct worker *w, int64_t i) {
    struct scores *out = s->scores;
    const struct record *r = &s->rows->records[i];
    int rc = interrupt_check(&w->err);
    if (rc == 0 && out->written)
        return write_row(s, w, i);
    if (rc == 0)
        rc = classifier_score(w->classifier, r, out->prob + i * out->n_labels, &w->err);
    if (rc < 0)
        return rc;
    struct classifier_last last = classifier_last(w->classifier);
    out->answer[i] = last.best;
    w->n_tokens += last.n_tokens;
    return i < s->options->n_free ? answer_freely(s, w, r, last.best) : 0;
}

static void score_range(void *context, int64_t begin, int64_t end, int thread) {
    struct scoring *s = context;
    struct worker *w = &s->workers[thread];
    for (int64_t i = begin; i < end && !s->failed; i++) {
        if (score_row(s, w, i) < 0) {
            err_context(&w->err, "row %lld", (long long)i + 1);
            s->failed = true;
            return;
        }
        int64_t done = ++s->n_done;
        if (thread == 0)
            progress_update(s->progress, done);
    }
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int open_workers(struct scoring *s, const char *gguf, struct err *e) {
    int n_threads = s->options->n_threads > 0 ? s->options->n_threads : thread_core_count();
    bool small = file_size(gguf) <= SMALL_MODEL_BYTES;
    int n = small ? (int)smaller(smaller(n_threads, WORKERS_MAX), s->rows->n / 8 + 1) : 1, rc = 0;
    for (; s->n_workers < n && rc == 0; s->n_workers++)
        rc = worker_open(&s->workers[s->n_workers], gguf, s, small ? 1 : n_threads, e);
    return rc;
}

static int run_workers(struct scoring *s, struct err *e) {
    struct thread_pool *pool = NULL;
    if (s->n_workers > 1 && !(pool = thread_pool_new(s->n_workers, e)))
        return ERR_NO_MEMORY;
    thread_pool_for(pool, s->rows->n, score_range, s);
    thread_pool_free(pool);
    for (int i = 0; i < s->n_workers; i++) {
        struct worker *w = &s->workers[i];
        if (w->err.code < 0) {
            err_set(e, w->err.code, w->err.origin, "%s", w->err.message);
            err_hint(e, "%s", w->err.hint);
            return w->err.code;
        }
        s->scores->n_tokens += w->n_tokens;
        s->scores->n_free += w->n_free;
        s->scores->n_free_invalid += w->n_free_invalid;
        s->scores->n_free_same += w->n_free_same;
    }
    progress_update(s->progress, s->rows->n);
    return 0;
}

int score_model(struct scores *out, const char *gguf, const struct task *t, const struct rows *rows,
                const struct score_options *o, struct progress *progress, struct err *e) {
    struct scoring *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NO_MEMORY, "score_model", "out of memory");
    s->scores = out;
    s->task = t;
    s->rows = rows;
    s->options = o;
    s->progress = progress;
    out->n_free = out->n_free_invalid = out->n_free_same = out->n_tokens = 0;
    int rc = lm_backend_init(NULL, e);
    if (rc == 0)
        rc = open_workers(s, gguf, e);
    if (rc == 0) {
        double start_s = clock_seconds();
        memcpy(out->prompt_hash, s->workers[0].prompt.hash, sizeof out->prompt_hash);
        rc = run_workers(s, e);
        out->seconds = clock_seconds() - start_s;
    }
    for (int i = 0; i < s->n_workers; i++)
        worker_close(&s->workers[i]);
    free(s);
    return rc;
}

/* ---- the table ---- */

static void write_texts(const struct scores *s, const struct rows *rows, struct str *out) {
    str_add(out, "row,truth,answer,valid,right\n");
    for (int64_t i = 0; i < s->n; i++) {
        str_addf(out, "%lld,", (long long)i + 1);
        csv_text_field(out, rows->records[i].answer);
        str_add_char(out, ',');
        csv_text_field(out, s->text[i] ? s->text[i] : "");
        str_addf(out, ",%d,%d\n", s->answer[i] >= 0, s->answer[i] == 0);
    }
}

static void write_labels(const struct scores *s, const struct task *t, struct str *out) {
    struct str name = {0};
    str_add(out, "row,truth,answer");
    for (int k = 0; s->prob && k < s->n_labels; k++) {
        str_clear(&name);
        str_addf(&name, "p:%s", t->labels[k].name);
        str_add_char(out, ',');
        csv_text_field(out, str_text(&name));
    }
    str_add_char(out, '\n');
    for (int64_t i = 0; i < s->n; i++) {
        str_addf(out, "%lld,", (long long)i + 1);
        csv_text_field(out, t->labels[s->truth[i]].name);
        str_add_char(out, ',');
        csv_text_field(out, s->answer[i] < 0 ? "" : t->labels[s->answer[i]].name);
        for (int k = 0; s->prob && k < s->n_labels; k++)
            str_addf(out, ",%.9g", s->prob[i * s->n_labels + k]);
        str_add_char(out, '\n');
    }
    str_release(&name);
}

int scores_write(const struct scores *s, const struct task *t, const struct rows *rows, const char *path,
                 struct err *e) {
    struct str out = {0};
    if (s->written)
        write_texts(s, rows, &out);
    else
        write_labels(s, t, &out);
    int rc = str_check(&out, e);
    if (rc == 0)
        rc = file_write(path, out.data, out.len, e);
    str_release(&out);
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
    if (s->written) {
        bool valid = *csv_reader_field(r, 3) == '1', right = *csv_reader_field(r, 4) == '1';
        s->text[i] = strdup(answer);
        s->answer[i] = right ? 0 : valid ? 1 : -1;
        return s->text[i] ? 0 : err_set(e, ERR_NO_MEMORY, "scores_read", "out of memory");
    }
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
    if (s.written) {
        rc = columns == 5 ? 0 : other_labels(path, e);
    } else if (columns == 3) {
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
