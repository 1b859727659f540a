/* What generation will cost, before it costs anything. */
#include "model/file.h"
#include "plan/host.h"
#include "synth/generate_internal.h"
#include "synth/state.h"
#include "task/answer.h"
#include <math.h>
#include <string.h>

enum { PER_CALL = 4, BYTES_A_FIELD = 32, SHOWN_LEAD = 80 };
#define CHARACTERS_A_TOKEN 4.0 /* English and JSON; small vocabularies need more, and cost nothing */

int generate_check_task(struct store *s, const struct task *task, struct err *e) {
    struct protocol_request r = {0};
    struct arena a;
    char hex[SHA256_HEX];
    const char *known = NULL;
    arena_init(&a);
    enum protocol_style style = task->kind == TASK_CLASSIFY ? PROTOCOL_PLAIN : PROTOCOL_FULL;
    int rc = protocol_write(&r, style, task, 0, 1, NULL, e); /* its system text holds all fields and labels */
    if (rc == 0) {
        sha256_bytes(r.system.data, r.system.len, hex);
        rc = store_note_get(s, "task", &a, &known, e);
    }
    if (rc == 0 && !known)
        rc = store_note_set(s, "task", hex, e);
    else if (rc == 0 && strcmp(known, hex) != 0) {
        rc = err_set(e, ERR_MISMATCH, "generate",
                     "the records were made for other fields or labels than task.yaml now has");
        err_hint(e, "move records.sqlite away to begin anew, or restore the task");
    }
    arena_release(&a);
    protocol_release(&r);
    return rc;
}

/* Bytes that one question of each kind sends. */
static int question_bytes(enum protocol_style style, const struct task *task, int per_call, double *write,
                          double *label, struct err *e) {
    struct protocol_request r = {0};
    int rc = protocol_write(&r, style, task, 0, per_call, NULL, e);
    *write = (double)(r.system.len + r.user.len + r.schema.len);
    if (style == PROTOCOL_FULL) /* and what it is shown */
        *write += SHOWN_LEAD + EXEMPLARS * BYTES_A_FIELD * task->n_declared;
    size_t fields = 0;
    for (int i = 0; i < task->n_fields; i++)
        fields += strlen(task->fields[i].name) + 8;
    *label = (double)(r.system.len + fields);
    protocol_release(&r);
    return rc;
}

/* Seconds that one answer took, from the journal; 0 where there is none. */
static int measured_seconds(struct store *s, double *seconds, int64_t *n, struct err *e) {
    struct store_ledger write = {0}, label = {0};
    int rc = s ? store_ledger(s, "write", &write, e) : 0;
    if (rc == 0 && s)
        rc = store_ledger(s, "label", &label, e);
    if (rc == 0) {
        *n = write.n_answered + label.n_answered;
        *seconds = *n ? (write.seconds + label.seconds) / (double)*n : 0;
    }
    return rc;
}

/* ---- time ---- */

/* What a question takes, and how wrong that may be. */
struct question_time {
    double seconds, spread; /* of all lanes together where `shared`, else of one request */
    bool shared;
    const char *basis;
};

static double parameters_of(const char *gguf) {
    struct model_file *f;
    double n = 0;
    if (model_file_open(&f, gguf, NULL) < 0)
        return 0;
    for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
        struct model_tensor x = model_file_tensor(f, i);
        n += (double)x.rows * (double)x.cols;
    }
    model_file_close(f);
    return n;
}

/* A model file on this machine. llama.cpp reads prompts at some four fifths of the rate of a product in single precision, and a token
 * written alone takes as long as four that are read, since all weights come from memory for it; lanes share that (TinyLlama-1.1B
 * as Q4_K_M and Qwen3-0.6B as Q3_K_M, `make bench-device`). What questions have in common is read once, which makes it sooner.
 * */
static int time_of_file(const char *gguf, int lanes, double tokens_in, double tokens_out,
                        struct question_time *q, struct err *e) {
    struct predict_host host = {0};
    int rc = host_measure(&host, e);
    if (rc < 0)
        return rc;
    double written = tokens_out * fmax(1, 4.0 / lanes);
    *q = (struct question_time){parameters_of(gguf) * (tokens_in + written) / (0.8 * host.macs_per_s), 3,
                                true, "by the model's size and this machine's rate, measured just now"};
    return 0;
}

/* Seconds of all questions: measured where there are enough answers, else by what kind of teacher it is. */
static int estimate_time(const struct teacher_traits *t, struct store *s, struct generate_quote *q,
                         bool thinks, struct err *e) {
    const char *gguf = t->model_file;
    int64_t n = 0;
    double measured_s = 0, calls = (double)(q->calls > 0 ? q->calls : 1);
    struct question_time one = {thinks ? 15 : 3, 4, false, "assumed"};
    int rc = measured_seconds(s, &measured_s, &n, e);
    if (rc == 0 && n >= 8)
        one = (struct question_time){measured_s, 2, false, "measured on earlier answers"};
    else if (rc == 0 && gguf && q->calls > 0)
        rc = time_of_file(gguf, t->parallel, (double)q->tokens_in / calls, (double)q->tokens_out / calls,
                          &one, e);
    q->seconds = (double)q->calls * one.seconds / (one.shared ? 1 : t->parallel);
    q->seconds_low = q->seconds / one.spread;
    q->seconds_high = q->seconds * one.spread;
    q->basis = one.basis;
    return rc;
}

/* What is still to be written and labelled. */
struct quote_work {
    int64_t missing;
    double written, pending;
};

static int count_work(enum protocol_style style, struct store *s, const struct task *task,
                      const struct generate_options *o, struct quote_work *w, struct err *e) {
    struct grid g;
    int rc = grid_init(&g, task, o->n_records, e);
    if (rc < 0)
        return rc;
    if (style == PROTOCOL_FULL)
        rc = grid_add_pairs(&g, task, e);
    if (rc == 0 && s)
        rc = rounds_apply(&g, s, e);
    if (rc == 0 && s)
        rc = state_load(&g, task, s, e);
    *w = (struct quote_work){0};
    for (int i = 0; i < g.n_labels; i++) {
        w->missing += grid_missing(&g, i);
        w->written += (double)grid_missing(&g, i) / grid_yield(&g, i);
    }
    for (int i = 0; i < g.n_cells; i++)
        w->pending += (double)g.cells[i].pending;
    grid_release(&g);
    return rc;
}

int generate_foresee(const struct teacher_traits *t, struct store *s, const struct task *task,
                     const struct generate_options *o, struct generate_quote *out, struct err *e) {
    struct quote_work w;
    int per_call = o->per_call > 0 ? o->per_call : PER_CALL;
    double write_bytes = 0, label_bytes = 0;
    int rc = count_work(t->style, s, task, o, &w, e);
    if (rc == 0)
        rc = question_bytes(t->style, task, per_call, &write_bytes, &label_bytes, e);
    if (rc < 0)
        return rc;
    /* those that wait for their label need not be written again */
    double labelled = w.written, written = w.written > w.pending ? w.written - w.pending : 0;
    bool full = t->style == PROTOCOL_FULL && t->thinks != 0; /* as most large ones do */
    double calls = written / per_call, thoughts = full ? 400 : 0;
    bool classify = task->kind == TASK_CLASSIFY;
    double record_tokens = (double)task->n_declared * (BYTES_A_FIELD / CHARACTERS_A_TOKEN);
    double label_tokens = classify ? 16.0 * task->n_labels + 24 : 24 + (double)answer_bytes_max(task) / 6;
    labelled *= o->votes > 1 && !(classify && t->scores) ? o->votes : 1;
    struct generate_quote q = {.missing = w.missing};
    q.calls = (int64_t)(calls + labelled + 0.999);
    q.calls_high = 2 * q.calls;
    q.tokens_in = (int64_t)((calls * write_bytes + labelled * label_bytes) / CHARACTERS_A_TOKEN);
    q.tokens_out =
        (int64_t)(calls * (per_call * record_tokens + thoughts) + labelled * (label_tokens + thoughts));
    q.money = ((double)q.tokens_in * t->price.in + (double)q.tokens_out * t->price.out) / 1e6;
    q.money_high = 2 * q.money;
    rc = estimate_time(t, s, &q, full, e);
    if (rc == 0)
        *out = q;
    return rc;
}

int generate_quote(struct teacher *t, struct store *s, const struct task *task,
                   const struct generate_options *o, struct generate_quote *out, struct err *e) {
    struct teacher_traits traits = teacher_traits(t);
    return generate_foresee(&traits, s, task, o, out, e);
}
