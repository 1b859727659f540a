/* The best cut by one walk down the falling scores: moving the cut below a group of equal scores turns them positive. */
#include "eval/threshold.h"
#include <math.h>
#include <stdlib.h>

struct cut_row {
    double score;
    bool positive;
};

static int by_falling_score(const void *a, const void *b) {
    double x = ((const struct cut_row *)a)->score, y = ((const struct cut_row *)b)->score;
    return (x < y) - (x > y);
}

/* The figure when hits of the positives and misses of the negatives lie above the cut. */
static double figure(enum metric what, double hits, double misses, double positives, double negatives) {
    if (what == METRIC_ACCURACY)
        return (hits + negatives - misses) / (positives + negatives);
    if (what == METRIC_F1)
        return positives + hits + misses > 0 ? 2 * hits / (positives + hits + misses) : 0;
    double sum = 0, n = 0;
    if (positives > 0) {
        sum += hits / positives;
        n++;
    }
    if (negatives > 0) {
        sum += (negatives - misses) / negatives;
        n++;
    }
    return sum / n;
}

static void walk(const struct cut_row *rows, int64_t n, enum metric what, double *threshold, double *best) {
    double positives = 0, negatives = 0, hits = 0, misses = 0;
    for (int64_t i = 0; i < n; i++)
        *(rows[i].positive ? &positives : &negatives) += 1;
    *threshold = nextafter(rows[0].score, INFINITY); /* nothing is positive */
    *best = figure(what, 0, 0, positives, negatives);
    for (int64_t i = 0; i < n;) {
        double score = rows[i].score;
        for (; i < n && rows[i].score == score; i++)
            *(rows[i].positive ? &hits : &misses) += 1;
        double cut = i < n ? (score + rows[i].score) / 2 : score;
        if (cut <= (i < n ? rows[i].score : -INFINITY))
            cut = score; /* neighbours so close that there is nothing half-way */
        double value = figure(what, hits, misses, positives, negatives);
        if (value > *best || (value == *best && fabs(cut - 0.5) < fabs(*threshold - 0.5))) {
            *best = value;
            *threshold = cut;
        }
    }
}

int threshold_choose(const struct scored *s, enum metric what, double *threshold, double *best,
                     struct err *e) {
    if (what != METRIC_ACCURACY && what != METRIC_BALANCED_ACCURACY && what != METRIC_F1)
        return err_set(e, ERR_INPUT, "threshold_choose", "%s has no threshold to choose", metric_name(what));
    if (s->n_labels != 2 || !s->prob || s->n_rows < 1)
        return err_set(e, ERR_INPUT, "threshold_choose",
                       "a threshold needs two labels, probabilities and rows");
    struct cut_row *rows = calloc((size_t)s->n_rows, sizeof *rows);
    if (!rows)
        return err_set(e, ERR_NO_MEMORY, "threshold_choose", "out of memory for %lld rows",
                       (long long)s->n_rows);
    for (int64_t i = 0; i < s->n_rows; i++)
        rows[i] = (struct cut_row){s->prob[2 * i + s->positive], s->truth[i] == s->positive};
    qsort(rows, (size_t)s->n_rows, sizeof *rows, by_falling_score);
    double reached = 0;
    walk(rows, s->n_rows, what, threshold, &reached);
    if (best)
        *best = reached;
    free(rows);
    return 0;
}

void threshold_apply(const struct scored *s, double threshold, int *answer) {
    for (int64_t i = 0; i < s->n_rows; i++)
        answer[i] = s->prob[2 * i + s->positive] >= threshold ? s->positive : 1 - s->positive;
}
