/* How accurate a base will be on the task once it is fine-tuned: a prior, honest about its width, until something is measured.
 *
 * The paper's TinyLlama-1.1B came to 95% where its teacher had 97%. From there the share of wrong answers is taken to halve with
 * every fourfold number of parameters, which is what public scores do between 0.1 and 7 billion (the catalogue's own scores give
 * each base its place above or below that line), plus what the quantisation costs by its published perplexity, more for small
 * models. A factor of 2.5 either way around the wrong answers is the width: tasks differ more than bases do. An evaluation of the
 * same base and quantisation replaces all that; one of another quantisation of the base corrects it and narrows it. */
#ifndef PLAN_ACCURACY_H
#define PLAN_ACCURACY_H

#include "catalog/catalog.h"
#include "plan/mix.h"
#include "plan/plan.h"

struct accuracy_measured {
    const char *base, *quantisation;
    double value, low, high; /* shares */
    int64_t n_rows;
};

struct
    accuracy_line { /* score = at_1b + per_fourfold * log4(parameters / 1e9), least squares over the catalogue */
    double at_1b, per_fourfold;
    int64_t n; /* scores it rests on; below 4: no line */
};
struct accuracy_line accuracy_fit(const struct catalog *c);

struct accuracy_query {
    const struct accuracy_line *line;
    const char *base;
    double params;
    const struct catalog_figure *score; /* MMLU; NULL or unknown: the line's */
    enum mix mix;
    const struct accuracy_measured *measured; /* of this project; NULL: nothing yet */
};
/* Shares; basis in `a` ("" without one). */
struct estimate accuracy_prior(const struct accuracy_query *q, struct arena *a);

#endif
