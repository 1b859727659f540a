/* Which form of prompt a student is to read (task/prompt.h): accuracy on validation rows against tokens per decision.
 *
 *     struct form_trial trials[FORMS_COUNT];
 *     forms_list(trials, base, task, &rows, &e);                // fewest tokens first
 *     while ((i = forms_next(trials)) >= 0) { ... train in trials[i].form, score: trials[i].scores, .tried = true ... }
 *     int chosen = forms_choose(trials);
 *     forms_release(trials);
 *
 * First to be tried is the whole prompt, which all others are measured against, then the others from the fewest tokens on, until
 * one is good enough: at most one standard error of the paired difference below the most accurate one (the rule of one
 * standard error, Breiman et al., Classification and Regression Trees, 1984, 3.4.3; of the paired difference, since the rows are
 * the same), and never more than FORMS_MOST_LOSS. What is not tried would only have more tokens. */
#ifndef COMPRESS_FORMS_H
#define COMPRESS_FORMS_H

#include "eval/interval.h"
#include "eval/score.h"
#include "task/prompt.h"

enum { FORMS_COUNT = PROMPT_N_INSTRUCTIONS * PROMPT_N_LAYOUTS };
#define FORMS_MOST_LOSS 0.02

struct form_trial {
    struct prompt_form form;
    char name[PROMPT_FORM_TEXT];
    double tokens; /* of a decision: the whole prompt, mean over the rows */
    bool tried;
    struct scores scores; /* of the trained student on the validation rows; released by forms_release */
    double accuracy;
    double difference, standard_error; /* to the most accurate one, paired; set by forms_choose */
    bool chosen;
};

/* Every form with its tokens in the vocabulary of the base (a GGUF file), by rising tokens. */
int forms_list(struct form_trial trials[FORMS_COUNT], const char *base, const struct task *t,
               const struct rows *rows, struct err *e);
void forms_release(struct form_trial trials[FORMS_COUNT]); /* safe to repeat */

/* The next one to be tried; -1: the choice is clear. */
int forms_next(struct form_trial trials[FORMS_COUNT]);

/* Of those tried, the one with the fewest tokens that is good enough; fills in accuracies and differences. At least one is tried. */
int forms_choose(struct form_trial trials[FORMS_COUNT]);

#endif
