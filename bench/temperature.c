/* The loss is convex in b = 1/T, so the root of its derivative is found by bisection. */
#include "bench/temperature.h"
#include <math.h>

#define LEAST_PROBABLE 1e-12
#define LEAST_INVERSE  1e-3
#define MOST_INVERSE   1e3
enum { N_HALVINGS = 60 };

static double log_prob(const struct scores *s, int64_t row, int label) {
    return log(fmax(s->prob[row * s->n_labels + label], LEAST_PROBABLE));
}

/* log sum_k exp(b l_k), and into *mean the mean of l under those probabilities. */
static double log_sum(const struct scores *s, int64_t row, double b, double *mean) {
    double top = -INFINITY, sum = 0, weighted = 0;
    for (int k = 0; k < s->n_labels; k++)
        top = fmax(top, log_prob(s, row, k));
    for (int k = 0; k < s->n_labels; k++) {
        double l = log_prob(s, row, k), e = exp(b * (l - top));
        sum += e;
        weighted += e * l;
    }
    *mean = weighted / sum;
    return b * top + log(sum);
}

/* d/db of the summed loss over the rows of one parity. */
static double slope(const struct scores *s, int parity, double b) {
    double sum = 0, mean;
    for (int64_t i = parity; i < s->n; i += 2) {
        log_sum(s, i, b, &mean);
        sum += mean - log_prob(s, i, s->truth[i]);
    }
    return sum;
}

static double fit_inverse(const struct scores *s, int parity) {
    double low = log(LEAST_INVERSE), high = log(MOST_INVERSE);
    for (int i = 0; i < N_HALVINGS; i++) {
        double middle = (low + high) / 2;
        *(slope(s, parity, exp(middle)) < 0 ? &low : &high) = middle;
    }
    return exp((low + high) / 2);
}

double temperature_losses(const struct scores *s, double *loss) {
    double inverse[2] = {fit_inverse(s, 1), fit_inverse(s, 0)}, mean;
    for (int64_t i = 0; i < s->n; i++) {
        double b = inverse[i % 2];
        loss[i] = log_sum(s, i, b, &mean) - b * log_prob(s, i, s->truth[i]);
    }
    return 1 / sqrt(inverse[0] * inverse[1]);
}
