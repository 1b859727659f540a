/* The fit of rates by tensor type to whole runs. */
#include "plan/rates.h"

#include <math.h>
#include <stdlib.h>

enum { FIT_SWEEPS = 200 };

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double common_rate(const double *a, const double *time, int64_t n_rows, int n_cols, double *scratch) {
    for (int64_t i = 0; i < n_rows; i++) {
        double work = 0;
        for (int j = 0; j < n_cols; j++)
            work += a[i * n_cols + j];
        scratch[i] = work > 0 ? time[i] / work : 0;
    }
    qsort(scratch, (size_t)n_rows, sizeof *scratch, compare_doubles);
    return scratch[n_rows / 2];
}

void rates_fit(const double *a, const double *time, int64_t n_rows, int n_cols, double pull, double *x) {
    double *residual = malloc((size_t)n_rows * sizeof *residual);
    if (residual == NULL)
        return;
    double x0 = common_rate(a, time, n_rows, n_cols, residual);
    for (int j = 0; j < n_cols; j++)
        x[j] = x0;
    for (int64_t i = 0; i < n_rows; i++) {
        residual[i] = -1;
        for (int j = 0; j < n_cols; j++)
            residual[i] += a[i * n_cols + j] * x[j] / time[i];
    }
    for (int sweep = 0; sweep < FIT_SWEEPS; sweep++)
        for (int j = 0; j < n_cols; j++) {
            double gradient = pull * (x[j] / x0 - 1) / x0, curvature = pull / (x0 * x0);
            for (int64_t i = 0; i < n_rows; i++) {
                double slope = a[i * n_cols + j] / time[i];
                gradient += residual[i] * slope;
                curvature += slope * slope;
            }
            double next = fmax(x[j] - gradient / curvature, 0.05 * x0), moved = next - x[j];
            x[j] = next;
            for (int64_t i = 0; i < n_rows; i++)
                residual[i] += a[i * n_cols + j] / time[i] * moved;
        }
    free(residual);
}
