/* The risk-coverage curve and Chow's cut. */
#include "eval/abstain.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

struct row {
    double confidence;
    bool wrong;
};

/* Most confident first. */
static int by_confidence(const void *a, const void *b) {
    double x = ((const struct row *)a)->confidence, y = ((const struct row *)b)->confidence;
    return (x < y) - (x > y);
}

static void take_rows(const struct scored *s, struct row *rows) {
    for (int64_t i = 0; i < s->n_rows; i++) {
        const double *p = s->prob + i * s->n_labels;
        rows[i] = (struct row){p[0], s->answer[i] != s->truth[i]};
        for (int k = 1; k < s->n_labels; k++)
            rows[i].confidence = fmax(rows[i].confidence, p[k]);
    }
    qsort(rows, (size_t)s->n_rows, sizeof *rows, by_confidence);
}

/* Rows [0, n) are answered. Half-way to the next, so that rounding on another machine does not move rows across. */
static double threshold_after(const struct row *rows, int64_t n, int64_t n_rows) {
    return n == n_rows ? 0 : (rows[n - 1].confidence + rows[n].confidence) / 2;
}

/* Keeps a cut that is better or, equally good, answers more: cuts come in rising coverage. */
static void consider(struct abstain *a, double *best, int64_t n, int64_t n_wrong, double threshold) {
    double loss = (double)n_wrong + a->cost * (double)(a->n_rows - n);
    if (loss > *best + 1e-9)
        return;
    *best = loss;
    a->threshold = threshold;
    a->coverage = (double)n / (double)a->n_rows;
    a->risk = n ? (double)n_wrong / (double)n : 0;
}

static void add_point(struct abstain *a, int64_t n, int64_t n_wrong, double threshold) {
    double step = 1.0 / (ABSTAIN_POINTS - 1), coverage = (double)n / (double)a->n_rows;
    double next = a->n_points ? a->points[a->n_points - 1].coverage + step : 0;
    if (n < a->n_rows && (coverage < next || a->n_points == ABSTAIN_POINTS - 1))
        return;
    a->points[a->n_points++] = (struct abstain_point){coverage, (double)n_wrong / (double)n, threshold};
}

static void walk(struct abstain *a, const struct row *rows) {
    int64_t n = a->n_rows, n_wrong = 0;
    double best = a->cost * (double)n; /* nothing answered */
    a->threshold = INFINITY;
    for (int64_t i = 0, from = 0; i < n; i++) {
        n_wrong += rows[i].wrong;
        if (i + 1 < n && rows[i + 1].confidence == rows[i].confidence)
            continue; /* rows of one confidence are answered together */
        double threshold = threshold_after(rows, i + 1, n);
        a->aurc += (double)(i + 1 - from) * (double)n_wrong / (double)(i + 1);
        consider(a, &best, i + 1, n_wrong, threshold);
        add_point(a, i + 1, n_wrong, threshold);
        from = i + 1;
    }
    a->aurc /= (double)n;
    a->risk_all = (double)n_wrong / (double)n;
    if (isinf(a->threshold)) /* not one cut is worth an answer: probabilities do not exceed 1 */
        a->threshold = 1;
}

int abstain_choose(const struct scored *s, double cost, struct abstain *out, struct err *e) {
    if (s->n_rows < 1 || !s->prob || !(cost > 0 && cost <= 1))
        return err_set(e, ERR_INPUT, "abstain_choose",
                       "a threshold needs rows with probabilities, and a cost above 0 and at most 1");
    struct row *rows = calloc((size_t)s->n_rows, sizeof *rows);
    if (!rows)
        return err_set(e, ERR_NO_MEMORY, "abstain_choose", "no memory for %lld rows", (long long)s->n_rows);
    struct abstain a = {.cost = cost, .n_rows = s->n_rows};
    take_rows(s, rows);
    walk(&a, rows);
    free(rows);
    *out = a;
    return 0;
}
