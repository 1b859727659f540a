/* A model file as teacher, in this process: questions are answered by llama.cpp directly, several at once, a token of each in
 * one pass. The answers are chat completions like a server's, so journal and readers know no difference, but for one thing: of
 * a question with labels the answer also has their exact probabilities.
 *
 *     local_open(&l, &(struct local_options){.gguf = path, .lanes = 4}, &e);
 *     local_submit(l, &question, &e);                        // as many as there are lanes
 *     while (local_pending(l) > 0) local_step(l, &e);        // calls question.done for each answer
 *     local_close(l);
 *
 * Labels: the model writes its checks as asked, greedily, until it begins the line "Answer:" (or ends without it: then the line is
 * begun for it). There each label is scored whole: log P = the sum of log P(token) over its tokens and the token that ends the turn.
 * What is told is exp(log P) over the sum of the labels', so a probability given the checks that stand before it. One thread. */
#ifndef TEACHER_LOCAL_H
#define TEACHER_LOCAL_H

#include "base/err.h"
#include "net/net.h"
#include "task/task.h"
#include <stdint.h>

struct local;

struct local_options {
    const char *gguf;
    int lanes; /* questions at once; each has a context of its own, as long as the model's, at most 4,096 tokens */
    int n_threads; /* 0: one a core; one for a small model */
};
int local_open(struct local **out, const struct local_options *o, struct err *e);
void local_close(struct local *l); /* NULL is fine; questions under way are dropped without `done` */

struct local_question {
    const char *system, *user, *schema; /* borrowed until done; an empty schema: free text */
    int64_t max_tokens;
    double temperature;
    uint64_t seed;
    const struct task_label *labels; /* to be scored; NULL: none; borrowed until done */
    int n_labels;
    void *context;
    /* Exactly once: code 0 and status 200 with a chat completion, or an error (ERR_INPUT: the question does not fit). */
    void (*done)(void *context, const struct net_answer *a);
};
int local_submit(struct local *l, const struct local_question *q,
                 struct err *e); /* ERR_USAGE: no lane is free */
int local_pending(const struct local *l);

/* Reads one prompt, or writes one token of each text. */
int local_step(struct local *l, struct err *e);

/* Ends everything with ERR_INTERRUPTED. */
void local_abort(struct local *l);

#endif
