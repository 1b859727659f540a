/* The loss ledger: the same rows through every step from the base to the file that ships, and where points were lost. */
#include "base/file.h"
#include "compress/internal.h"
#include "format/csv.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scores *ledger_own(struct compress_run_state *x) {
    return &x->ledger[x->n_ledger].own;
}

void ledger_add(struct compress_run_state *x, const char *name, int64_t file_bytes, const struct scores *s) {
    struct ledger_entry *l = &x->ledger[x->n_ledger++];
    l->name = name;
    l->file_bytes = file_bytes;
    l->scores = s;
}

void ledger_release(struct compress_run_state *x) {
    for (int i = 0; i < COMPRESS_MAX_STEPS; i++)
        scores_release(&x->ledger[i].own);
}

/* ---- what the source was made from ---- */

/* In which form the student is asked: its file says so. */
static int read_form(const struct compress_run_state *x, struct prompt_form *form, struct err *e) {
    struct lm *m;
    struct prompt p;
    int rc = lm_open(&m, x->q->source, &(struct lm_options){.vocab_only = true}, e);
    if (rc < 0)
        return rc;
    if ((rc = prompt_from_model(&p, x->q->task, m, e)) == 0) {
        *form = p.form;
        prompt_release(&p);
    }
    lm_free(m);
    return rc;
}

static int add_base(struct compress_run_state *x, const char *name, const char *lora,
                    const struct prompt_form *form, struct err *e) {
    struct compress_asked q = {.gguf = x->q->base,
                               .what = lora ? "measure the adapter" : "measure the base",
                               .rows = &x->first,
                               .keep = true,
                               .options = {.lora = lora, .form = form}};
    struct scores *s = ledger_own(x);
    int rc = compress_score(x, &q, s, e);
    if (rc == 0)
        ledger_add(x, name, file_size(lora ? lora : x->q->base), s);
    else
        scores_release(s);
    return rc;
}

/* W + scale B A of one matrix; a [rank, cols], b [rows, rank]. */
static void merge_matrix(const struct nn_tensor *t, float *w, const float *a, const float *b, int64_t rank,
                         float scale) {
    for (int64_t o = 0; o < t->rows; o++)
        for (int64_t k = 0; k < rank; k++) {
            float f = scale * b[o * rank + k];
            for (int64_t i = 0; i < t->cols; i++)
                w[o * t->cols + i] += f * a[k * t->cols + i];
        }
}

static int merge_tensor(struct nn_model *m, struct model_file *f, const char *matrix, double alpha,
                        struct err *e) {
    char names[2][112];
    struct model_tensor t[2];
    float *values[2] = {0};
    const struct nn_tensor *w = nn_set_find(&m->base, matrix);
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        snprintf(names[i], sizeof names[i], "%s.lora_%c", matrix, 'a' + i);
        int64_t at = model_file_find(f, names[i]);
        if (at < 0 || !w) {
            rc = err_set(e, ERR_MISMATCH, "compress_run",
                         "the adapter's %s has no pair or no place in the base", names[i]);
            break;
        }
        t[i] = model_file_tensor(f, at);
        values[i] = calloc((size_t)(t[i].rows * t[i].cols), sizeof(float));
        rc = values[i] ? model_file_read(f, names[i], values[i], t[i].rows * t[i].cols, e)
                       : compress_no_memory(e);
    }
    if (rc == 0 && (t[0].cols != w->cols || t[1].rows != w->rows || t[0].rows != t[1].cols))
        rc = err_set(e, ERR_MISMATCH, "compress_run", "the adapter's %s is of another shape", matrix);
    if (rc == 0)
        merge_matrix(w, m->base.value + w->offset, values[0], values[1], t[0].rows,
                     (float)alpha / (float)t[0].rows);
    free(values[0]);
    free(values[1]);
    return rc;
}

static int merge(struct nn_model *m, const char *adapter, struct err *e) {
    struct model_file *f;
    int rc = model_file_open(&f, adapter, e);
    if (rc < 0)
        return rc;
    double alpha = model_file_number(f, "adapter.lora.alpha");
    if (!isfinite(alpha))
        rc = err_set(e, ERR_FORMAT, "compress_run", "%s does not say its alpha", adapter);
    for (int64_t i = 0; i < model_file_n_tensors(f) && rc == 0; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s", model_file_tensor(f, i).name);
        char *tail = strstr(name, ".lora_a");
        if (!tail)
            continue;
        *tail = 0;
        rc = merge_tensor(m, f, name, alpha, e);
    }
    model_file_close(f);
    return rc;
}

/* Log-probabilities of the labels become what the runner makes of them: shares of all labels, and the likeliest as answer. */
static void take_logs(struct scores *s) {
    for (int64_t i = 0; i < s->n; i++) {
        double *p = s->prob + i * s->n_labels, sum = 0;
        int best = 0;
        for (int k = 1; k < s->n_labels; k++)
            best = p[k] > p[best] ? k : best;
        double top = p[best];
        for (int k = 0; k < s->n_labels; k++)
            sum += p[k] = exp(p[k] - top);
        for (int k = 0; k < s->n_labels; k++)
            p[k] /= sum;
        s->answer[i] = best;
    }
}

/* Base and adapter merged in 32 bits, by the trainer's arithmetic: before anything is rounded. */
static int add_merged(struct compress_run_state *x, struct prompt_form form, struct err *e) {
    struct student s;
    struct dataset d = {0};
    struct scores *out = ledger_own(x);
    if (!x->opened || 2 * file_size(x->q->base) > mem_available_bytes() / 2)
        return 0;
    int rc = student_open_base(&s, x->q->base, x->q->task, form, x->q->n_threads, e);
    if (rc < 0)
        return rc;
    rc = merge(&s.model, x->q->adapter, e);
    if (rc == 0)
        rc = student_rows(&s, &d, &x->first, 0, e);
    if (rc == 0)
        rc = scores_init(out, x->q->task, &x->first, e);
    if (rc == 0)
        rc = student_score(&s, &d, out->prob, e);
    if (rc == 0) {
        take_logs(out);
        ledger_add(x, "merged", 0, out);
    } else {
        scores_release(out);
    }
    dataset_release(&d);
    student_release(&s);
    return rc;
}

int ledger_origins(struct compress_run_state *x, struct err *e) {
    const struct compress_request *q = x->q;
    struct err why = {0};
    struct prompt_form form;
    if (!q->base || q->task->kind != TASK_CLASSIFY)
        return 0;
    int rc = read_form(x, &form, &why);
    if (rc == 0)
        rc = add_base(x, "base", NULL, &form, &why);
    if (rc == 0 && q->adapter)
        rc = add_base(x, "adapter", q->adapter, &form, &why);
    if (rc == 0 && q->adapter)
        rc = add_merged(x, form, &why);
    if (rc < 0 && rc != ERR_INTERRUPTED) { /* a base that is no longer there is no reason not to compress */
        x->r->not_in_ledger = arena_strdup(&x->r->arena, why.message);
        return 0;
    }
    if (rc < 0 && e)
        *e = why;
    return rc;
}

/* ---- what came of it ---- */

/* Row, truth, and each step's answer. */
static int write_answers(struct compress_run_state *x, struct err *e) {
    const char *path = compress_path(x, "ledger.csv");
    const struct task *t = x->q->task;
    struct str out = {0};
    str_add(&out, "row,truth");
    for (int k = 0; k < x->n_ledger; k++) {
        str_add_char(&out, ',');
        csv_text_field(&out, x->ledger[k].name);
    }
    str_add_char(&out, '\n');
    for (int64_t i = 0; i < x->first.n; i++) {
        str_addf(&out, "%lld,", (long long)(i * x->q->validation->n / x->first.n) + 1);
        csv_text_field(&out, t->labels[x->first.records[i].label].name);
        for (int k = 0; k < x->n_ledger; k++) {
            int answer = x->ledger[k].scores->answer[i];
            str_add_char(&out, ',');
            csv_text_field(&out, answer < 0 ? "" : t->labels[answer].name);
        }
        str_add_char(&out, '\n');
    }
    int rc = path ? str_check(&out, e) : compress_no_memory(e);
    if (rc == 0)
        rc = file_write(path, out.data, out.len, e);
    str_release(&out);
    return rc;
}

int ledger_finish(struct compress_run_state *x, struct err *e) {
    struct compress_result *r = x->r;
    double most = 0;
    int rc = 0;
    for (int i = 0; i < x->n_ledger && rc == 0; i++) {
        const struct ledger_entry *l = &x->ledger[i];
        struct compress_step *s = &r->steps[r->n_steps++];
        *s = (struct compress_step){.name = l->name,
                                    .file_bytes = l->file_bytes,
                                    .accuracy = compress_accuracy(l->scores),
                                    .agreement = compress_agreement(l->scores, &r->source),
                                    .divergence = compress_divergence_of(&r->source, l->scores)};
        rc = compress_pair(l->scores, &r->source, &s->paired, e);
        if (rc == 0 && i > 0)
            rc = compress_pair(l->scores, x->ledger[i - 1].scores, &s->change, e);
        if (rc == 0 && i > 0 && s->change.difference < most) {
            most = s->change.difference;
            r->lost_at = i;
        }
    }
    return rc < 0 || x->n_ledger == 0 || x->q->task->kind != TASK_CLASSIFY ? rc : write_answers(x, e);
}

/* ---- the cache ---- */

/* Keys and values of one token; a block of q8_0 is 34 bytes for 32 values. */
static int64_t token_bytes(const struct compress_run_state *x, const char *type) {
    if (!x->opened)
        return 0;
    const struct model_config *c = &x->student.model.config;
    int64_t values = 2 * (int64_t)c->n_layer * c->n_kv_heads * c->head_dim;
    return str_equal(type, "q8_0") ? values / 32 * 34 : 2 * values;
}

int compress_measure_caches(struct compress_run_state *x, struct err *e) {
    static const char *const types[COMPRESS_CACHES] = {"f16", "q8_0"};
    struct compress_result *r = x->r;
    const struct compress_candidate *c = &r->candidates[r->chosen];
    const char *path = compress_candidate_path(x, r->chosen),
               *planned = x->q->kv_type ? x->q->kv_type : "f16";
    struct scores *rounded = ledger_own(x);
    struct compress_asked q = {.gguf = path,
                               .what = "measure the cache at q8_0",
                               .rows = &x->first,
                               .options = {.kv_type = types[1]}};
    int rc = path ? compress_score(x, &q, rounded, e) : compress_no_memory(e);
    for (int i = 0; i < COMPRESS_CACHES && rc == 0; i++) {
        const struct scores *s = i ? rounded : &c->scores;
        struct compress_cache *k = &r->caches[r->n_caches++];
        *k = (struct compress_cache){.type = types[i],
                                     .token_bytes = token_bytes(x, types[i]),
                                     .accuracy = compress_accuracy(s),
                                     .agreement = compress_agreement(s, &r->source),
                                     .divergence = compress_divergence_of(&r->source, s)};
        rc = compress_pair(s, &r->source, &k->paired, e);
    }
    if (rc < 0)
        return rc;
    double tolerance = x->q->tolerance > 0 ? x->q->tolerance : 0.005;
    bool loses = r->caches[1].accuracy < r->caches[0].accuracy - tolerance - 1e-9;
    r->cache = str_equal(planned, "q8_0") && !loses ? 1 : 0;
    if (r->cache == 1)
        ledger_add(x, "cache at q8_0", c->file_bytes, rounded);
    return 0;
}
