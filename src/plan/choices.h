/* Inside plan/: bases, and the settings that suit each of them on the device. For recommend.c. */
#ifndef PLAN_CHOICES_H
#define PLAN_CHOICES_H

#include "plan/recommend.h"

enum { DEFAULT_RANK = 16, MOST_CHOICES = 32 };

struct base {
    const char *name, *title, *license, *path, *unsupported;
    struct shape shape;
    struct catalog_figure score;
    bool shape_known, embedded, wished;
    struct predict_task tokens;
};

int base_embedded(const struct recommend_input *in, struct recommendation *r, struct base *b, struct err *e);
int base_of_catalogue(const struct recommend_input *in, struct recommendation *r,
                      const struct catalog_model *m, struct base *b, struct err *e);
int base_of_user(const struct recommend_input *in, struct recommendation *r, struct base *b, struct err *e);

/* The best settings of each method and quantisation of a base: `fit` gets n_fit of at most MOST_CHOICES that satisfy all limits, with
 * texts; `nearest` what passes its limits by least when there are none (mix N_MIXES: no quantisation was to be tried). */
int choices_of(const struct recommend_input *in, struct recommendation *r, const struct base *b,
               struct candidate fit[MOST_CHOICES], int *n_fit, struct candidate *nearest, struct err *e);

/* Marks the Pareto front among n fitting candidates. */
void choices_mark_front(struct candidate *list, int64_t n);

#endif
