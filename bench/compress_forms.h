/* Figure 5.3: what a decision costs in each form of the prompt, and what the form costs in answers. */
#ifndef BENCH_COMPRESS_FORMS_H
#define BENCH_COMPRESS_FORMS_H

#include "bench/compressing.h"
#include "figures.h"

enum { COMPRESS_N_FORMS = 6 };
/* The two ends first: the whole prompt with labelled fields, and nothing but values in a fixed order. */
extern const char *const compress_forms[COMPRESS_N_FORMS];

/* Tokens of a decision and accuracy of a student trained in the form `s` was begun with. */
void compress_form(struct figures *f, const struct student_files *s, const char *form);

/* The same student's answers in the second form minus those in the first, paired over the held-out rows. */
void compress_form_difference(struct figures *f, const struct example *x, int seed);

/* The mean of those differences over the seeds that are there. */
void compress_form_mean(struct figures *f, const struct example *x, int64_t n_seeds);

#endif
