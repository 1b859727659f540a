/* Which tokens a task needs, and what leaving out the others costs. */
#include "compress/vocabulary.h"
#include "base/file.h"
#include "llama/lm.h"
#include "model/trim.h"
#include "task/encode.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_RESERVE = 128, RESERVE_DIVISOR = 8 };

struct cut {
    const struct task *task;
    const struct rows *training, *held_out;
    const char *in, *out;
    struct vocabulary_options o;
    struct model_file *file;
    struct vocab *vocab;
    struct lm *lm; /* vocabulary of the whole model */
    struct prompt prompt;
    struct tokens ids; /* scratch */
    bool *needed, *keep;
    struct vocabulary_trim *result;
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "vocabulary_trim", "out of memory");
}

/* ---- what is needed ---- */

static void mark(struct cut *c) {
    for (int64_t i = 0; i < c->ids.n; i++)
        c->needed[c->ids.ids[i]] = true;
    c->ids.n = 0;
}

static int need_text(struct cut *c, const char *text, struct err *e) {
    if (!text || !*text)
        return 0;
    int rc = encode_text(&c->ids, c->lm, text, LM_PLAIN, e);
    mark(c);
    return rc;
}

/* A value as it stands in a record's line, so that the blank before it joins as it does there. */
static int need_line(struct cut *c, const char *name, const char *value, struct err *e) {
    struct str line = {0};
    str_addf(&line, "- %s: %s\n", name, value);
    int rc = str_check(&line, e);
    if (rc == 0)
        rc = need_text(c, str_text(&line), e);
    str_release(&line);
    return rc;
}

static int need_words(struct cut *c, struct err *e) {
    const struct task *t = c->task;
    int rc = need_text(c, t->instruction, e);
    for (int i = 0; i < t->n_fields && rc == 0; i++) {
        rc = need_line(c, t->fields[i].name, "unknown", e);
        for (int k = 0; k < t->fields[i].n_values && rc == 0; k++)
            rc = need_line(c, t->fields[i].name, t->fields[i].values[k], e);
    }
    for (int i = 0; i < t->n_labels && rc == 0; i++) {
        rc = need_text(c, t->labels[i].name, e);
        if (rc == 0)
            rc = encode_answer(&c->ids, c->lm, t, i, e);
        mark(c);
    }
    return rc;
}

static int need_records(struct cut *c, struct err *e) {
    int rc = encode_head(&c->ids, c->lm, &c->prompt, e);
    for (int64_t i = 0; i < c->training->n && rc == 0; i++) {
        mark(c);
        rc = encode_record(&c->ids, c->lm, c->task, &c->prompt, &c->training->records[i], e);
    }
    mark(c);
    for (int32_t id = 0; id < vocab_size(c->vocab); id++)
        if (vocab_is_digits(c->vocab, id))
            c->needed[id] = true;
    return rc;
}

static int32_t count(const bool *keep, int32_t n) {
    int32_t sum = 0;
    for (int32_t id = 0; id < n; id++)
        sum += keep[id];
    return sum;
}

static int find_needed(struct cut *c, struct err *e) {
    int32_t n = vocab_size(c->vocab);
    c->needed = calloc((size_t)n, sizeof *c->needed);
    c->keep = calloc((size_t)n, sizeof *c->keep);
    int rc = c->needed && c->keep ? 0 : no_memory(e);
    if (rc == 0 && lm_n_vocab(c->lm) != n)
        rc = err_set(e, ERR_FORMAT, "vocabulary_trim", "%s lists %d tokens, llama.cpp finds %d", c->in, n,
                     lm_n_vocab(c->lm));
    if (rc == 0)
        rc = need_words(c, e);
    if (rc == 0)
        rc = need_records(c, e);
    if (rc == 0)
        vocab_keep_essential(c->vocab, c->needed);
    if (rc == 0)
        rc = vocab_keep_closure(c->vocab, c->needed, e);
    if (rc == 0)
        c->result->n_needed = count(c->needed, n);
    return rc;
}

/* ---- what it costs ---- */

/* Tokens of all records: what is read for each decision anew. */
static int count_tokens(struct cut *c, const struct lm *lm, const struct rows *rows, int64_t *n,
                        struct err *e) {
    int rc = 0;
    *n = 0;
    for (int64_t i = 0; i < rows->n && rc == 0; i++) {
        c->ids.n = 0;
        rc = encode_record(&c->ids, lm, c->task, &c->prompt, &rows->records[i], e);
        *n += c->ids.n;
    }
    c->ids.n = 0;
    return rc;
}

static int measure_rise(struct cut *c, struct err *e) {
    struct lm *small = NULL;
    int64_t before = 0, after = 0;
    c->result->rise = NAN;
    if (!c->held_out || c->held_out->n == 0)
        return 0;
    int rc = lm_open(&small, c->out, &(struct lm_options){.vocab_only = true}, e);
    if (rc == 0)
        rc = count_tokens(c, c->lm, c->held_out, &before, e);
    if (rc == 0)
        rc = count_tokens(c, small, c->held_out, &after, e);
    lm_free(small);
    c->result->held_out_rows = c->held_out->n;
    c->result->rise = before > 0 ? (double)after / (double)before - 1 : NAN;
    return rc;
}

/* ---- trimming ---- */

static int64_t row_bytes(const struct cut *c) {
    static const char *const tables[] = {"token_embd.weight", "output.weight"};
    int64_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        int64_t at = model_file_find(c->file, tables[i]);
        struct model_tensor t = at >= 0 ? model_file_tensor(c->file, at) : (struct model_tensor){.rows = 1};
        bytes += t.n_bytes / t.rows;
    }
    return bytes;
}

static int leave(struct cut *c, const char *reason) {
    c->result->trimmed = false;
    c->result->n_after = c->result->n_before;
    c->result->bytes_after = c->result->bytes_before;
    c->result->reason = reason;
    unlink(c->out); /* of a smaller reserve, or of an earlier run */
    return 0;
}

/* One try with a reserve; *enough when the rise stays within bounds or there is nothing more to keep. */
static int try_reserve(struct cut *c, int32_t reserve, bool *enough, struct err *e) {
    struct vocabulary_trim *r = c->result;
    memcpy(c->keep, c->needed, (size_t)r->n_before * sizeof *c->keep);
    int rc = vocab_keep_reserve(c->vocab, c->keep, r->n_needed + reserve, e);
    r->n_after = count(c->keep, r->n_before);
    double gain = (double)(row_bytes(c) * (r->n_before - r->n_after)) / (double)r->bytes_before;
    *enough = gain < c->o.least_gain;
    if (rc < 0 || *enough)
        return rc < 0 ? rc : leave(c, "the task needs nearly all of the vocabulary");
    rc = model_trim(c->file, c->out, c->vocab, c->keep, e);
    if (rc == 0)
        rc = measure_rise(c, e);
    *enough = rc < 0 || !(r->rise > c->o.most_rise);
    r->trimmed = rc == 0;
    r->bytes_after = file_size(c->out);
    r->reason = "only what the task does not need is gone";
    return rc;
}

static int trim(struct cut *c, struct err *e) {
    bool enough = false;
    int32_t reserve = c->o.reserve > 0   ? c->o.reserve
                      : c->o.reserve < 0 ? 0
                                         : c->result->n_needed / RESERVE_DIVISOR;
    if (c->o.reserve == 0 && reserve < LEAST_RESERVE)
        reserve = LEAST_RESERVE;
    int rc = 0;
    while (rc == 0 && !enough) {
        rc = try_reserve(c, reserve, &enough, e);
        reserve = reserve > 0 ? 2 * reserve : LEAST_RESERVE;
    }
    return rc;
}

static int open_cut(struct cut *c, struct err *e) {
    int rc = model_file_open(&c->file, c->in, e);
    if (rc == 0)
        rc = lm_open(&c->lm, c->in, &(struct lm_options){.vocab_only = true}, e);
    if (rc == 0)
        rc = prompt_from_model(&c->prompt, c->task, c->lm, e);
    return rc < 0 ? rc : vocab_open(&c->vocab, c->file, e);
}

static void close_cut(struct cut *c) {
    tokens_release(&c->ids);
    free(c->needed);
    free(c->keep);
    vocab_close(c->vocab);
    prompt_release(&c->prompt);
    lm_free(c->lm);
    model_file_close(c->file);
}

int vocabulary_trim(struct vocabulary_trim *result, const char *in, const char *out, const struct task *t,
                    const struct rows *training, const struct rows *held_out,
                    const struct vocabulary_options *o, struct err *e) {
    struct vocabulary_trim r = {.rise = NAN, .bytes_before = file_size(in)};
    struct cut c = {
        .task = t, .training = training, .held_out = held_out, .in = in, .out = out, .o = *o, .result = &r};
    struct err why = {0};
    c.o.most_rise = o->most_rise > 0 ? o->most_rise : 0.02;
    c.o.least_gain = o->least_gain > 0 ? o->least_gain : 0.01;
    int rc = open_cut(&c, &why);
    if (rc == 0) {
        r.n_before = vocab_size(c.vocab);
        rc = find_needed(&c, &why);
    }
    if (rc == 0)
        rc = trim(&c, &why);
    if (rc == ERR_UNSUPPORTED)
        rc = leave(&c, "its kind of tokenizer cannot be trimmed");
    if (rc == 0)
        *result = r;
    else if (e && !e->code)
        *e = why;
    close_cut(&c);
    return rc;
}
