/* Means over seeds. */
#include "bench/series.h"
#include "bench/chain.h"
#include <math.h>

void series_take(struct series *s, const struct figures *f, const char *id, const char *name) {
    struct figure found;
    if (s->n == SERIES_MAX || !figures_find(f, id, name, &found))
        return;
    s->value[s->n] = found.value;
    s->half[s->n++] = (found.max - found.min) / 2;
}

void series_add_mean(const struct series *s, struct figures *f, const char *id, const char *name,
                     const char *unit) {
    double mean, seeds, rows, unused;
    if (s->n < 2)
        return;
    chain_mean(s->value, s->n, &mean, &seeds);
    chain_mean(s->half, s->n, &rows, &unused);
    double half = sqrt(seeds * seeds + rows * rows);
    figures_add(f, &(struct figure){id, name, unit, mean, s->n, mean - half, mean + half,
                                    "min, max: 95% interval over rows and seeds"});
}
