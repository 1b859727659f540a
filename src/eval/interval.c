/* Intervals. The bootstrap draws counts per row within each label and measures with those counts (metrics.h), so a
 * resample of 5,000 rows costs a few tens of microseconds per figure and no sorting. */
#include "eval/interval.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double Z = 1.959963984540054; /* 97.5% point of the normal distribution */
enum { RESAMPLES_DEFAULT = 2000 };

struct interval interval_wilson(int64_t hits, int64_t n) {
    if (n <= 0)
        return (struct interval){0, 1};
    double p = (double)hits / (double)n, m = (double)n, z2 = Z * Z;
    double middle = p + z2 / (2 * m), half = Z * sqrt(p * (1 - p) / m + z2 / (4 * m * m)), scale = 1 + z2 / m;
    /* rounding must not leave an end a hair beyond 0 or 1 */
    double low = hits == 0 ? 0 : (middle - half) / scale, high = hits == n ? 1 : (middle + half) / scale;
    return (struct interval){fmax(low, 0), fmin(high, 1)};
}

/* ---- resampling within labels ---- */

struct strata {
    int64_t *rows;  /* row numbers, label by label */
    int64_t *start; /* [n_labels + 1] */
    int n_labels;
    int64_t n_rows;
};

static void strata_free(struct strata *t) {
    free(t->rows);
    free(t->start);
}

static int strata_make(struct strata *out, const struct scored *s, struct err *e) {
    struct strata t = {.n_labels = s->n_labels, .n_rows = s->n_rows};
    t.rows = calloc((size_t)s->n_rows + 1, sizeof *t.rows);
    t.start = calloc((size_t)s->n_labels + 1, sizeof *t.start);
    if (!t.rows || !t.start) {
        strata_free(&t);
        return err_set(e, ERR_NO_MEMORY, "interval_metrics", "out of memory for the bootstrap");
    }
    int64_t n = 0;
    for (int label = 0; label < s->n_labels; label++) {
        for (int64_t i = 0; i < s->n_rows; i++)
            if (s->truth[i] == label)
                t.rows[n++] = i;
        t.start[label + 1] = n;
    }
    *out = t;
    return 0;
}

static void strata_draw(const struct strata *t, struct rng *rng, int32_t *count) {
    memset(count, 0, sizeof *count * (size_t)t->n_rows);
    for (int label = 0; label < t->n_labels; label++) {
        int64_t from = t->start[label], to = t->start[label + 1];
        for (int64_t i = from; i < to; i++)
            count[t->rows[rng_range(rng, from, to - 1)]]++;
    }
}

/* ---- the bootstrap: figures of a, or of a minus b, over resamples ---- */

struct bootstrap {
    struct strata strata;
    struct metrics_work *a, *b; /* b NULL: a alone */
    int n_resamples;
    int32_t *count;
    double *values; /* [METRIC_COUNT, n_resamples] */
};

static void bootstrap_release(struct bootstrap *t) {
    strata_free(&t->strata);
    metrics_work_free(t->a);
    metrics_work_free(t->b);
    free(t->count);
    free(t->values);
}

static int bootstrap_init(struct bootstrap *t, const struct scored *a, const struct scored *b,
                          const struct bootstrap_options *o, struct err *e) {
    *t = (struct bootstrap){.n_resamples = o && o->n_resamples > 0 ? o->n_resamples : RESAMPLES_DEFAULT};
    int rc = strata_make(&t->strata, a, e);
    if (rc == 0)
        rc = metrics_work_new(&t->a, a, e);
    if (rc == 0 && b)
        rc = metrics_work_new(&t->b, b, e);
    if (rc < 0)
        return rc;
    t->count = calloc((size_t)a->n_rows + 1, sizeof *t->count);
    t->values = calloc((size_t)t->n_resamples * METRIC_COUNT, sizeof *t->values);
    if (!t->count || !t->values)
        return err_set(e, ERR_NO_MEMORY, "interval_metrics", "out of memory for the bootstrap");
    return 0;
}

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* The 2.5% and 97.5% order statistics; resamples where the figure is undefined are left out. */
static struct interval percentiles(double *values, int n) {
    int defined = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(values[i]))
            values[defined++] = values[i];
    if (defined == 0)
        return (struct interval){NAN, NAN};
    qsort(values, (size_t)defined, sizeof *values, by_value);
    int low = (int)floor(0.025 * (defined - 1)), high = (int)ceil(0.975 * (defined - 1));
    return (struct interval){values[low], values[high]};
}

static void bootstrap_run(struct bootstrap *t, uint64_t seed, struct interval out[METRIC_COUNT]) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (int r = 0; r < t->n_resamples; r++) {
        struct metrics a, b = {{0}};
        strata_draw(&t->strata, &rng, t->count);
        metrics_measure(t->a, t->count, &a);
        if (t->b)
            metrics_measure(t->b, t->count, &b);
        for (int m = 0; m < METRIC_COUNT; m++)
            t->values[m * t->n_resamples + r] = a.value[m] - b.value[m];
    }
    for (int m = 0; m < METRIC_COUNT; m++)
        out[m] = percentiles(t->values + m * t->n_resamples, t->n_resamples);
}

int interval_metrics(const struct scored *s, const struct bootstrap_options *o,
                     struct interval out[METRIC_COUNT], struct err *e) {
    struct bootstrap t;
    int rc = bootstrap_init(&t, s, NULL, o, e);
    if (rc == 0) {
        int64_t right = 0, invalid = 0;
        for (int64_t i = 0; i < s->n_rows; i++) {
            right += s->answer[i] == s->truth[i];
            invalid += s->answer[i] < 0;
        }
        bootstrap_run(&t, o ? o->seed : 0, out);
        out[METRIC_ACCURACY] = interval_wilson(right, s->n_rows);
        out[METRIC_INVALID_RATE] = interval_wilson(invalid, s->n_rows);
    }
    bootstrap_release(&t);
    return rc;
}

/* ---- two models on the same rows ---- */

double paired_mcnemar(int64_t only_a, int64_t only_b) {
    int64_t n = only_a + only_b, fewer = only_a < only_b ? only_a : only_b;
    double tail = 0;
    for (int64_t k = 0; k <= fewer; k++)
        tail += exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) -
                    (double)n * log(2));
    return fmin(1, 2 * tail);
}

/* Newcombe's phi with his continuity correction: the correlation of the two models' right answers. */
static double newcombe_phi(double both, double only_a, double only_b, double neither) {
    double n = both + only_a + only_b + neither;
    double margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither);
    double product = both * neither - only_a * only_b;
    if (margins <= 0)
        return 0;
    if (product > 0)
        product = fmax(product - n / 2, 0);
    return product / sqrt(margins);
}

struct interval paired_newcombe(int64_t both, int64_t only_a, int64_t only_b, int64_t neither) {
    int64_t n = both + only_a + only_b + neither;
    if (n == 0)
        return (struct interval){-1, 1};
    double p = (double)(both + only_a) / (double)n, q = (double)(both + only_b) / (double)n;
    struct interval a = interval_wilson(both + only_a, n), b = interval_wilson(both + only_b, n);
    double phi = newcombe_phi((double)both, (double)only_a, (double)only_b, (double)neither);
    double a_down = p - a.low, a_up = a.high - p, b_down = q - b.low, b_up = b.high - q;
    double down = a_down * a_down - 2 * phi * a_down * b_up + b_up * b_up;
    double up = b_down * b_down - 2 * phi * b_down * a_up + a_up * a_up;
    return (struct interval){p - q - sqrt(fmax(down, 0)), p - q + sqrt(fmax(up, 0))};
}

static int count_pairs(const struct scored *a, const struct scored *b, struct paired *p, struct err *e) {
    if (a->n_rows != b->n_rows || a->n_labels != b->n_labels || a->positive != b->positive)
        return err_set(e, ERR_MISMATCH, "paired_compare", "the two models were scored on different rows");
    for (int64_t i = 0; i < a->n_rows; i++) {
        if (a->truth[i] != b->truth[i])
            return err_set(e, ERR_MISMATCH, "paired_compare", "row %lld has another label for each model",
                           (long long)i + 1);
        bool a_right = a->answer[i] == a->truth[i], b_right = b->answer[i] == b->truth[i];
        (*(a_right && b_right ? &p->both : a_right ? &p->only_a : b_right ? &p->only_b : &p->neither))++;
    }
    p->n = a->n_rows;
    return 0;
}

int paired_compare(const struct scored *a, const struct scored *b, const struct bootstrap_options *o,
                   struct paired *out, struct err *e) {
    struct paired p = {0};
    struct bootstrap t;
    struct metrics of_a, of_b;
    int rc = count_pairs(a, b, &p, e);
    if (rc < 0)
        return rc;
    rc = bootstrap_init(&t, a, b, o, e);
    if (rc == 0) {
        metrics_measure(t.a, NULL, &of_a);
        metrics_measure(t.b, NULL, &of_b);
        for (int m = 0; m < METRIC_COUNT; m++)
            p.metric_difference[m] = of_a.value[m] - of_b.value[m];
        bootstrap_run(&t, o ? o->seed : 0, p.metric_interval);
        p.p_value = paired_mcnemar(p.only_a, p.only_b);
        p.difference = p.metric_difference[METRIC_ACCURACY];
        p.interval = paired_newcombe(p.both, p.only_a, p.only_b, p.neither);
        *out = p;
    }
    bootstrap_release(&t);
    return rc;
}
