/* Prompts to tokens. */
#include "task/encode.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

void tokens_release(struct tokens *t) {
    free(t->ids);
    *t = (struct tokens){0};
}

int encode_text(struct tokens *out, const struct lm *m, const char *text, enum lm_tokenize_mode mode,
                struct err *e) {
    size_t n_bytes = strlen(text);
    /* No tokenizer makes more tokens than bytes, but for SentencePiece's leading blank (three bytes) and its fallback. */
    int64_t room = (int64_t)n_bytes + 8;
    if (mem_grow((void **)&out->ids, &out->capacity, out->n + room, sizeof *out->ids) < 0)
        return err_set(e, ERR_NO_MEMORY, "encode_text", "no memory for %zu bytes of text", n_bytes);
    int64_t n = lm_tokenize(m, text, n_bytes, mode, out->ids + out->n, out->capacity - out->n, e);
    if (n < 0)
        return (int)n;
    out->n += n;
    return 0;
}

int encode_head(struct tokens *out, const struct lm *m, const struct prompt *p, struct err *e) {
    return encode_text(out, m, p->head, LM_SPECIALS, e);
}

int encode_record(struct tokens *out, const struct lm *m, const struct task *t, const struct prompt *p,
                  const struct record *r, struct err *e) {
    return encode_record_asked(out, m, t, p, r, NULL, e);
}

int encode_record_asked(struct tokens *out, const struct lm *m, const struct task *t, const struct prompt *p,
                        const struct record *r, const char *line, struct err *e) {
    struct str text = {0};
    int64_t before = out->n;
    prompt_render(p, t, r, &text);
    int rc = str_check(&text, e);
    if (rc == 0)
        rc = encode_text(out, m, str_text(&text), LM_PLAIN, e);
    if (rc == 0 && line)
        rc = encode_text(out, m, line, LM_PLAIN, e);
    if (rc == 0)
        rc = encode_text(out, m, p->tail, LM_SPECIALS, e);
    if (rc < 0)
        out->n = before;
    str_release(&text);
    return rc;
}

int encode_answer(struct tokens *out, const struct lm *m, const struct task *t, int label, struct err *e) {
    return encode_answer_text(out, m, t->labels[label].name, e);
}

int encode_answer_text(struct tokens *out, const struct lm *m, const char *answer, struct err *e) {
    int64_t before = out->n;
    int rc = encode_text(out, m, answer, LM_PLAIN, e);
    if (rc == 0 && mem_grow((void **)&out->ids, &out->capacity, out->n + 1, sizeof *out->ids) < 0)
        rc = err_set(e, ERR_NO_MEMORY, "encode_answer", "no memory for an answer's tokens");
    if (rc == 0 && lm_token_eot(m) < 0)
        rc = err_set(e, ERR_UNSUPPORTED, "encode_answer", "the model has no token that ends a turn");
    if (rc < 0) {
        out->n = before;
        return rc;
    }
    out->ids[out->n++] = lm_token_eot(m);
    return 0;
}
