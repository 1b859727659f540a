/* The answers of the kinds extract (a JSON object by the task's schema) and respond (a short text): their normal form, how a
 * written one is read, and the grammar that a model is held to while it writes.
 *
 *     struct str answer = {0};
 *     if (answer_read(task, "{\"room\":\"hall\",\"level\":40}", &answer, &e) == 0) ... str_text(&answer) ...
 *
 * Normal form of extract: compact JSON, the fields in the task's order, numbers with the field's decimals, null where an
 * optional field is missing. Of respond: the text with its white space made single spaces. Two answers are the same when
 * their normal forms are. */
#ifndef TASK_ANSWER_H
#define TASK_ANSWER_H

#include "task/task.h"

/* The answer's fields as a task of their own, for record_from_node and its relatives. Borrows from `t`. */
struct task answer_view(const struct task *t);

/* From a JSON object (extract), or a text or an object with the one field (respond); appended in normal form. Strict: types,
 * ranges, categories, lengths and fields that must be there. ERR_INPUT names the field. */
int answer_from_node(const struct task *t, const struct node *n, struct str *out, struct err *e);

/* The same from what a model or a file wrote as text; for extract the JSON document in it, also in a code fence. */
int answer_read(const struct task *t, const char *text, struct str *out, struct err *e);

/* One field of an answer in normal form, for scores by field: its JSON text ("null" when missing), into `a`. */
const char *answer_field(const struct task *t, struct arena *a, const char *answer, int field);

/* What a record's right answer is as text: the label's name, or the answer. NULL where unknown. */
const char *record_answer(const struct task *t, const struct record *r);

/* A text without a length of its own is held to this many characters. */
enum { ANSWER_TEXT_CHARS = 400 };

/* GBNF of the answer (llama.cpp's grammar language), appended: ranges, lengths, calendar and all, so that what is written under it is
 * what answer_read takes (a text that must be there and says "n/a" apart). Nothing for respond, whose text is free. */
void answer_grammar(const struct task *t, struct str *out);

/* Parts of such a grammar: a literal; what an integer or number field takes (range and decimals, to the last digit). */
void answer_grammar_literal(const char *text, struct str *out);
void answer_grammar_number(const struct task_field *f, struct str *out);

/* No answer in normal form is longer, in bytes; so none has more tokens. */
int64_t answer_bytes_max(const struct task *t);

#endif
