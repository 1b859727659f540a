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

/* A student that was fine-tuned need not be told what it learned: how much of the prompt is said. Names of fields are constant, so
 * they are learned as well as a fixed order is. What a form saves in tokens is latency on the device; what it costs in accuracy
 * is measured (compress/forms.h).
 *     instruction   full: the task's; short: "suspicious or normal?"; none
 *     record        labelled: "- name: value" a line; compact: the value alone, in the task's order */
#define PROMPT_INSTRUCTIONS(X) X(FULL, "full") X(SHORT, "short") X(NONE, "none")
#define PROMPT_LAYOUTS(X)      X(LABELLED, "labelled") X(COMPACT, "compact")
enum prompt_instruction {
#define X(id, text) PROMPT_##id,
    PROMPT_INSTRUCTIONS(X)
#undef X
        PROMPT_N_INSTRUCTIONS
};
enum prompt_layout {
#define X(id, text) PROMPT_##id,
    PROMPT_LAYOUTS(X)
#undef X
        PROMPT_N_LAYOUTS
};
struct prompt_form { /* {0}: full and labelled, what a base and a teacher's reader need */
    enum prompt_instruction instruction;
    enum prompt_layout layout;
};
enum { PROMPT_FORM_TEXT = 32 };
/* "short-compact"; into the caller's text, which is returned. */
char *prompt_form_text(struct prompt_form f, char text[PROMPT_FORM_TEXT]);
bool prompt_form_parse(const char *text, struct prompt_form *out);

struct prompt {
    struct arena arena;
    const char *head, *tail, *end_of_turn;
    struct prompt_form form;
    char hash[SHA256_HEX];
    char tag[SHA256_HEX +
             PROMPT_FORM_TEXT]; /* what a trained model carries: the hash, and the form unless it is {0} */
};

/* `chat_open` and `chat_close` are what the base's chat template puts around a user message (lm_chat_frame);
 * the instruction comes from the task. */
int prompt_init(struct prompt *p, const struct task *t, const char *chat_open, const char *chat_close,
                const char *end_of_turn, struct err *e);
/* The same in another form. */
int prompt_init_form(struct prompt *p, const struct task *t, struct prompt_form form, const char *chat_open,
                     const char *chat_close, const char *end_of_turn, struct err *e);
void prompt_release(struct prompt *p);

/* The same with the frame of the model's own chat template. ERR_MISMATCH when the model carries the hash of another prompt
 * ("edgestill.prompt"), with which it was trained. A trained model also says in which form; a base gets {0}. */
struct lm;
int prompt_from_model(struct prompt *p, const struct task *t, const struct lm *m, struct err *e);
/* For a base that is to be trained in a form. */
int prompt_from_base(struct prompt *p, const struct task *t, const struct lm *m, struct prompt_form form,
                     struct err *e);

/* Appends the record's part: in form {0}, or in the prompt's. */
int prompt_record(const struct task *t, const struct record *r, struct str *out);
int prompt_render(const struct prompt *p, const struct task *t, const struct record *r, struct str *out);

int prompt_to_json(const struct prompt *p, struct str *out, struct err *e);
int prompt_from_node(struct prompt *p, const struct node *root, const struct task *t,
                     struct err *e); /* checks the hash */

/* The label that an answer names: exact after trimming, else ignoring case, else -1 (an invalid answer). */
int prompt_parse_answer(const struct task *t, const char *text);

#endif
