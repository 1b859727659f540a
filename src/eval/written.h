/* Scores of written answers (extract, respond) beyond right and wrong. */
#ifndef EVAL_WRITTEN_H
#define EVAL_WRITTEN_H

#include "eval/score.h"

/* Rows whose answer has the right value in this field of the answer; an answer that is not valid has none. */
int64_t written_field_right(const struct task *t, const struct rows *rows, const struct scores *s, int field);

/* Mean over rows of the harmonic mean of precision and recall of the words, as multi-sets, without regard to case and
 * punctuation; 1 when both are empty. NAN without rows. Rajpurkar et al., "SQuAD", EMNLP 2016. */
double written_word_f1(const struct rows *rows, const struct scores *s);

/* Of one pair of texts. */
double written_words_shared(const char *truth, const char *answer);

#endif
