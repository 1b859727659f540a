/* Predicted against measured as a picture: an SVG with both axes logarithmic, the line where they agree and a band of a quarter. */
#ifndef BENCH_SCATTER_H
#define BENCH_SCATTER_H

#include <stdint.h>

struct scatter_point {
    double measured, predicted;
    int group; /* colours */
};
/* 0, or 1 with a message when the file cannot be written. */
int scatter_write(const char *path, const char *title, const char *unit, const struct scatter_point *points,
                  int64_t n, const char *const groups[], int n_groups);

#endif
