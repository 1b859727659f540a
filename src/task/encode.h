/* The prompt as tokens: the three pieces of task/prompt.h, each tokenised by itself by llama.cpp, in one place, so that
 * training, evaluation, importance matrices and the device agree token by token.
 *
 *     struct tokens t = {0};
 *     encode_head(&t, lm, prompt, &e);                   // the prefix
 *     encode_record(&t, lm, task, prompt, record, &e);   // the record and the tail
 *     encode_answer(&t, lm, task, label, &e);            // the label and the end of turn, which training supervises
 *     tokens_release(&t);
 *
 * Each appends; on failure what was there before stays. */
#ifndef TASK_ENCODE_H
#define TASK_ENCODE_H

#include "llama/lm.h"
#include "task/prompt.h"

struct tokens { /* {0} is empty */
    int32_t *ids;
    int64_t n, capacity;
};

void tokens_release(struct tokens *t);

int encode_text(struct tokens *out, const struct lm *m, const char *text, enum lm_tokenize_mode mode,
                struct err *e);
int encode_head(struct tokens *out, const struct lm *m, const struct prompt *p, struct err *e);
int encode_record(struct tokens *out, const struct lm *m, const struct task *t, const struct prompt *p,
                  const struct record *r, struct err *e);
/* The same with a line of its own between record and tail: another question about the record. */
int encode_record_asked(struct tokens *out, const struct lm *m, const struct task *t, const struct prompt *p,
                        const struct record *r, const char *line, struct err *e);
int encode_answer(struct tokens *out, const struct lm *m, const struct task *t, int label, struct err *e);
/* The same of any answer's text (task/answer.h). */
int encode_answer_text(struct tokens *out, const struct lm *m, const char *answer, struct err *e);

#endif
