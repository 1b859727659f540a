/* Token counts of a task's prompt: a middling record for the typical decision, the longest one for the context. */
#include "plan/tokens.h"

#include "llama/lm.h"
#include "task/answer.h"
#include "task/prompt.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 65536 };

/* Bytes a token of instructions and of short numeric records takes in vocabularies of 32,000 and more: rules of thumb, for
 * bases that are not here yet. */
static const double TEXT_BYTES = 3.8, RECORD_BYTES = 2.6;

struct specimen {
    bool longest;
    char number[64];
};

/* record_build's `get`: a middling or the longest value of a field. */
static const char *specimen_value(void *context, const struct task_field *f) {
    struct specimen *s = context;
    if (f->type == FIELD_CATEGORY && f->n_values > 0) {
        const char *pick = f->values[0];
        for (int i = 1; s->longest && i < f->n_values; i++)
            if (strlen(f->values[i]) > strlen(pick))
                pick = f->values[i];
        return pick;
    }
    if (f->type == FIELD_TEXT)
        return s->longest ? "some forty words of free text are taken as the longest that a record of this "
                            "kind will hold, "
                            "which is a guess, because nothing in the task says how long its texts are"
                          : "a dozen words of free text, as records of this kind hold";
    if (f->type == FIELD_DATE)
        return "2026-11-28";
    double value =
        f->has_range ? (s->longest ? (fabs(f->min) > fabs(f->max) ? f->min : f->max) : (f->min + f->max) / 2)
                     : 123;
    if (f->type == FIELD_INTEGER)
        value = floor(value);
    snprintf(s->number, sizeof s->number, "%.*f", f->type == FIELD_NUMBER ? f->decimals : 0, value);
    return s->number;
}

static int specimen_text(const struct task *t, bool longest, struct str *out, struct err *e) {
    struct arena a;
    arena_init(&a);
    struct specimen s = {.longest = longest};
    struct record r;
    int code = record_build(t, &a, false, specimen_value, &s, &r, e);
    if (code == 0)
        code = prompt_record(t, &r, out);
    arena_release(&a);
    return code == 0 ? str_check(out, e) : code;
}

/* The longest answer of extract and respond, as text. */
static int specimen_answer(const struct task *t, struct str *out, struct err *e) {
    struct task view = answer_view(t);
    struct specimen s = {.longest = true};
    struct arena a;
    struct record r;
    if (t->kind == TASK_CLASSIFY)
        return 0;
    arena_init(&a);
    int code = record_build(&view, &a, false, specimen_value, &s, &r, e);
    if (code == 0 && t->kind == TASK_EXTRACT)
        code = record_to_json(&view, &r, out);
    else if (code == 0)
        str_add(out, r.values[0].text);
    arena_release(&a);
    return code == 0 ? str_check(out, e) : code;
}

/* A teacher's reasons before there are any: a line for each condition, as the embedded one writes them for two ("- delay: 5
 * under 7: 11 57 less: yes"), or two sentences of a larger one; decision 22 has sixty tokens. */
static int64_t reasons_of(const struct task *t) {
    enum { REASON_TOKENS = 60 };
    return t->rationale ? REASON_TOKENS : 0;
}

static int64_t estimated(const char *text, double bytes_per_token) {
    return (int64_t)ceil((double)strlen(text) / bytes_per_token);
}

static void estimate(const struct task *t, const char *typical, const char *longest, const char *answer,
                     struct predict_task *out) {
    out->counted = false;
    out->prefix_tokens = 6 + estimated(t->instruction != NULL ? t->instruction : "", TEXT_BYTES);
    out->record_tokens = 6 + estimated(typical, RECORD_BYTES);
    out->answer_tokens = out->label_tokens = 0;
    for (int i = 0; i < t->n_labels; i++) {
        int64_t n = 1 + estimated(t->labels[i].name, TEXT_BYTES);
        out->label_tokens += n;
        out->answer_tokens = n > out->answer_tokens ? n : out->answer_tokens;
    }
    if (*answer)
        out->answer_tokens = out->label_tokens = 1 + estimated(answer, RECORD_BYTES);
    out->longest_tokens = out->prefix_tokens + 6 + estimated(longest, RECORD_BYTES) + out->answer_tokens;
}

static int64_t count_text(const struct lm *m, const char *text, enum lm_tokenize_mode mode, int32_t *ids,
                          struct err *e) {
    return lm_tokenize(m, text, strlen(text), mode, ids, MAX_TOKENS, e);
}

static int count_with(const struct lm *m, const struct task *t, const char *const texts[3],
                      struct predict_task *out, struct err *e) {
    const char *typical = texts[0], *longest = texts[1], *written = texts[2];
    struct str open = {0}, close = {0}, end = {0};
    struct prompt p = {0};
    int32_t *ids = malloc(MAX_TOKENS * sizeof *ids);
    int64_t head = -1, tail = -1, record = -1, most = -1, n = 0;
    int code = ids != NULL ? lm_chat_frame(m, &open, &close, &end, e)
                           : err_set(e, ERR_NO_MEMORY, "plan_count_tokens", "out of memory");
    if (code == 0)
        code = prompt_init(&p, t, str_text(&open), str_text(&close), str_text(&end), e);
    if (code == 0) {
        head = count_text(m, p.head, LM_SPECIALS, ids, e);
        tail = count_text(m, p.tail, LM_SPECIALS, ids, e);
        record = count_text(m, typical, LM_PLAIN, ids, e);
        most = count_text(m, longest, LM_PLAIN, ids, e);
        code = head < 0 || tail < 0 || record < 0 || most < 0 ? ERR_LLAMA : 0;
    }
    int64_t all = 0, answer = 0;
    for (int i = 0; code == 0 && i < t->n_labels; i++) {
        n = count_text(m, t->labels[i].name, LM_PLAIN, ids, e) + 1;
        code = n < 1 ? ERR_LLAMA : 0;
        all += n;
        answer = n > answer ? n : answer;
    }
    if (code == 0 && *written) {
        all = answer = count_text(m, written, LM_PLAIN, ids, e) + 1;
        code = answer < 1 ? ERR_LLAMA : 0;
    }
    if (code == 0) {
        out->counted = true;
        out->prefix_tokens = head;
        out->record_tokens = record + tail;
        out->answer_tokens = answer;
        out->label_tokens = all;
        out->longest_tokens = head + most + tail + answer;
    }
    prompt_release(&p);
    free(ids);
    str_release(&open);
    str_release(&close);
    str_release(&end);
    return code;
}

int plan_count_tokens(const struct task *t, const char *gguf, struct predict_task *out, struct err *e) {
    struct str typical = {0}, longest = {0}, answer = {0};
    struct lm *m = NULL;
    int code = specimen_text(t, false, &typical, e);
    if (code == 0)
        code = specimen_text(t, true, &longest, e);
    if (code == 0)
        code = specimen_answer(t, &answer, e);
    if (code == 0 && gguf == NULL)
        estimate(t, str_text(&typical), str_text(&longest), str_text(&answer), out);
    if (code == 0 && gguf != NULL) {
        code = lm_backend_init(NULL, e);
        if (code == 0)
            code = lm_open(&m, gguf, &(struct lm_options){.vocab_only = true}, e);
        if (code == 0)
            code = count_with(
                m, t, (const char *const[]){str_text(&typical), str_text(&longest), str_text(&answer)}, out,
                e);
        lm_free(m);
    }
    if (code == 0)
        out->reason_tokens = reasons_of(t);
    str_release(&typical);
    str_release(&longest);
    str_release(&answer);
    return code < 0 ? err_context(e, "counting the tokens of a decision") : 0;
}
