/* One difference measured for several seeds over the same rows, and its mean.
 *
 *     struct series s = {0};
 *     for (each seed) series_take(&s, f, "5.1", name of the seed's figure);
 *     series_add_mean(&s, f, "5.1", "claims, mean of seeds: …", "points");
 */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include "figures.h"

enum { SERIES_MAX = 20 };

struct series {
    double value[SERIES_MAX], half[SERIES_MAX]; /* half: of the interval over the rows */
    int n;
};

/* A figure with the ends of its interval as min and max; one that is not there is left out. */
void series_take(struct series *s, const struct figures *f, const char *id, const char *name);

/* Nothing below two seeds. Rows and seeds both count: the interval's half-width is the root of both squares. The rows are the
 * same for all seeds, so their share is taken as one seed's, which a mean over seeds can only make smaller. */
void series_add_mean(const struct series *s, struct figures *f, const char *id, const char *name,
                     const char *unit);

#endif
