/* One prompt. The student's prompt is rendered here and nowhere else; training, evaluation and device
 * tokenise the same three pieces, so they agree token by token:
 *
 *     head   everything before the record: chat opening and instruction; the prefix that all prompts of a
 * task share record "- name: value\n" for each in-prompt field; never parsed for special tokens tail   end of
 * the user's turn, opening of the assistant's answer the label, then `end_of_turn`, supervised in every row
 *
 * tokens = tokenize(head, specials) ++ tokenize(record, plain) ++ tokenize(tail, specials): each piece by
 * itself. `hash` covers the format's version, head, tail, end_of_turn and the record layout of the task; a
 * model, an adapter, an evaluation and a bundle each carry it, and a difference is ERR_MISMATCH. */
#ifndef TASK_PROMPT_H
#define TASK_PROMPT_H

#include "base/hash.h"
#include "task/task.h"

#define PROMPT_FORMAT "edgestill.prompt/1"

struct prompt {
    struct arena arena;
    const char *head, *tail, *end_of_turn;
    char hash[SHA256_HEX];
};

/* `chat_open` and `chat_close` are what the base's chat template puts around a user message (lm_chat_frame);
 * the instruction comes from the task. */
int prompt_init(struct prompt *p, const struct task *t, const char *chat_open, const char *chat_close,
                const char *end_of_turn, struct err *e);
void prompt_release(struct prompt *p);

/* The same with the frame of the model's own chat template. ERR_MISMATCH when the model carries the hash of another prompt
 * ("edgestill.prompt"), with which it was trained. */
struct lm;
int prompt_from_model(struct prompt *p, const struct task *t, const struct lm *m, struct err *e);

/* Appends the record's part. */
int prompt_record(const struct task *t, const struct record *r, struct str *out);

int prompt_to_json(const struct prompt *p, struct str *out, struct err *e);
int prompt_from_node(struct prompt *p, const struct node *root, const struct task *t,
                     struct err *e); /* checks the hash */

/* The label that an answer names: exact after trimming, else ignoring case, else -1 (an invalid answer). */
int prompt_parse_answer(const struct task *t, const char *text);

#endif
