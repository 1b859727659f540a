/* What a measurement hands over: figures with ids, printed as a table and written to build/bench/NAME.json as
 * {"bench":"NAME","figures":[{"id":"1.2","name":…,"value":…,"unit":…,"n":…,"min":…,"max":…,
 * "measured_at":…,"note":…}]}.
 *
 *     struct figures *f = figures_new("kernels");
 *     figures_add(f, &(struct figure){.id = "2.1", .name = "matrix product", .unit = "GFLOP/s", .value = 120,
 *                                     .n = 9, .min = 118, .max = 123});
 *     figures_skip(f, "2.4", "training on a GPU", "no GPU here");
 *     return figures_finish(f);        // the program's exit status
 *
 * value, min and max that are not finite are written as null; all four numbers may be left 0. min and max are
 * the spread of the repetitions or the ends of a 95% interval: say which in the note. Texts are copied. Not
 * thread-safe. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct figure {
    const char *id, *name, *unit;
    double value;
    int64_t n; /* repetitions or rows */
    double min, max;
    const char *note; /* NULL: none */
};

struct figures; /* opaque */

struct figures *figures_new(const char *bench); /* ends the program when out of memory */
void figures_add(struct figures *f, const struct figure *one);
/* A figure that could not be measured here, and why: it stands in the table and in the file with value null.
 */
void figures_skip(struct figures *f, const char *id, const char *name, const char *reason);
/* Adds a text to the document beside the figures, such as the machine or a setting. */
void figures_context(struct figures *f, const char *key, const char *text);
/* For measurements in parts: figures of the file written before that this run does not measure again stay in it, those of
 * models or settings that it did not touch as well. Each says when it was measured. Call it first. */
void figures_update(struct figures *f);
/* For measurements that take hours in all: figures_keep writes what was added since there were `from` figures to a file, and
 * figures_recall adds them again another time; false when there is no such file. */
int figures_count(const struct figures *f);
/* Value, min and max alone; false: not there. */
bool figures_find(const struct figures *f, const char *id, const char *name, struct figure *out);
void figures_keep(const struct figures *f, int from, const char *path);
bool figures_recall(struct figures *f, const char *path);
/* Prints the table, writes the file, frees. 0, or 1 with a message when the file cannot be written. */
int figures_finish(struct figures *f);

/* Median, smallest and largest of n repetitions into `to`; `values` is sorted in place. */
void figures_spread(double *values, int64_t n, struct figure *to);

#endif
