/* Mutual information of columns, their pairs and their relations with the label. */
#include "synth/relate.h"
#include <math.h>
#include <stdlib.h>

enum {
    ROWS_MOST = 8000, /* looked at, evenly spread: enough for 16 bins */
    COLUMNS_MOST = 40,
    BINS = 16,
    GRID = 8,
    LABELS_MOST = 64,
    ROWS_LEAST = 200
};
static const double CLEARLY_MORE = 1.25,
                    AND_AT_LEAST = 0.1; /* of what columns and grid explain; of the entropy */

struct point {
    double x;
    int row; /* of the sample */
};

struct relating {
    const struct profile *p;
    int n, n_labels;
    int64_t *at; /* [n] the sample's rows */
    int *label;  /* [n] */
    int columns[COLUMNS_MOST], n_columns;
    double explained[COLUMNS_MOST]; /* by each column alone */
    unsigned char *bin;             /* [COLUMNS_MOST, n] in GRID bins */
    struct point *points;           /* [n] */
    int *code;                      /* [n] the bin of each row; -1: missing */
};

/* ---- information ---- */

static double plogp(double count, double n) {
    return count > 0 ? -count / n * log(count / n) : 0;
}

/* Share of the label's entropy that `code` in [0, n_codes) explains, rows with -1 left out. */
static double explained(const struct relating *r, int n_codes) {
    int joint[GRID * GRID][LABELS_MOST] = {{0}};
    double of_label = 0, of_both = 0, of_code = 0, n = 0;
    int label[LABELS_MOST] = {0}, filled = 0, seen = 0;
    for (int i = 0; i < r->n; i++) {
        if (r->code[i] < 0)
            continue;
        joint[r->code[i]][r->label[i]]++;
        label[r->label[i]]++;
        n++;
    }
    if (n < ROWS_LEAST)
        return 0;
    for (int k = 0; k < r->n_labels; k++) {
        of_label += plogp(label[k], n);
        seen += label[k] > 0;
    }
    for (int c = 0; c < n_codes; c++) {
        double sum = 0;
        for (int k = 0; k < r->n_labels; k++) {
            of_both += plogp(joint[c][k], n);
            sum += joint[c][k];
        }
        of_code += plogp(sum, n);
        filled += sum > 0;
    }
    double bias = (filled - 1.0) * (seen - 1.0) / (2 * n);
    return of_label > 0 ? fmax(0, (of_label + of_code - of_both - bias) / of_label) : 0;
}

static int by_value(const void *a, const void *b) {
    const struct point *x = a, *y = b;
    return x->x < y->x ? -1 : x->x > y->x ? 1 : x->row - y->row;
}

/* Bins of equally many of the first `n` points; equal values share one. */
static void fill_bins(struct relating *r, int n, int n_bins) {
    qsort(r->points, (size_t)n, sizeof *r->points, by_value);
    for (int i = 0; i < r->n; i++)
        r->code[i] = -1;
    for (int i = 0, first = 0; i < n; i++) {
        first = i > 0 && r->points[i].x == r->points[i - 1].x ? first : i;
        r->code[r->points[i].row] = (int)((int64_t)first * n_bins / n);
    }
}

static double value(const struct relating *r, int column, int i) {
    return r->p->columns[column].number[r->at[i]];
}

/* ---- columns ---- */

static void judge_column(struct relating *r, int k) {
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        double x = value(r, r->columns[k], i);
        if (isfinite(x))
            r->points[n++] = (struct point){x, i};
    }
    fill_bins(r, n, GRID);
    for (int i = 0; i < r->n; i++)
        r->bin[(size_t)k * (size_t)r->n + (size_t)i] = (unsigned char)(r->code[i] < 0 ? GRID : r->code[i]);
    fill_bins(r, n, BINS);
    r->explained[k] = explained(r, BINS);
}

static double grid_explains(struct relating *r, int k, int l) {
    const unsigned char *a = r->bin + (size_t)k * (size_t)r->n, *b = r->bin + (size_t)l * (size_t)r->n;
    for (int i = 0; i < r->n; i++)
        r->code[i] = a[i] == GRID || b[i] == GRID ? -1 : a[i] * GRID + b[i];
    return explained(r, GRID * GRID);
}

/* ---- pairs ---- */

struct spread {
    double low, high; /* of the relation's values */
};

static double relation_explains(struct relating *r, enum derived_op op, int a, int b, struct spread *s) {
    int n = 0;
    *s = (struct spread){INFINITY, -INFINITY};
    for (int i = 0; i < r->n; i++) {
        double x = value(r, a, i), y = value(r, b, i), z = op == DERIVED_RATIO ? x / y : x - y;
        if (!isfinite(z))
            continue;
        r->points[n++] = (struct point){z, i};
        s->low = fmin(s->low, z);
        s->high = fmax(s->high, z);
    }
    fill_bins(r, n, BINS);
    return explained(r, BINS);
}

/* A ratio wants positive numbers, and the greater one below the line. */
static bool may_divide(const struct profile *p, int *a, int *b) {
    const struct profile_column *x = &p->columns[*a], *y = &p->columns[*b];
    if (x->min + x->max > y->min + y->max) {
        int other = *a;
        *a = *b;
        *b = other;
    }
    return p->columns[*a].min >= 0 && p->columns[*b].min > 0;
}

/* As many digits as tell about a hundred values apart; a difference has its columns' own. */
static int decimals_of(const struct profile *p, const struct relation *x, struct spread s) {
    if (x->op == DERIVED_DIFFERENCE)
        return p->columns[x->a].decimals > p->columns[x->b].decimals ? p->columns[x->a].decimals
                                                                     : p->columns[x->b].decimals;
    double digits = round(2 - log10(fmax(s.high - s.low, 1e-9)));
    return (int)fmin(fmax(digits, 1), TASK_DECIMALS_MAX);
}

/* The strongest relation of a pair; together 0: none. */
static struct relation judge_pair(struct relating *r, int k, int l) {
    static const enum derived_op ops[] = {DERIVED_RATIO, DERIVED_DIFFERENCE};
    double alone = fmax(r->explained[k], r->explained[l]);
    double known = fmax(alone, grid_explains(r, k, l));
    struct relation best = {0};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        struct relation x = {.op = ops[i], .a = r->columns[k], .b = r->columns[l], .alone = alone};
        struct spread s;
        if (x.op == DERIVED_RATIO && !may_divide(r->p, &x.a, &x.b))
            continue;
        x.together = relation_explains(r, x.op, x.a, x.b, &s);
        x.decimals = decimals_of(r->p, &x, s);
        if (x.together > CLEARLY_MORE * known && x.together > known + AND_AT_LEAST &&
            x.together > best.together)
            best = x;
    }
    return best;
}

static bool share_a_column(const struct relation *x, const struct relation *y) {
    return x->a == y->a || x->a == y->b || x->b == y->a || x->b == y->b;
}

/* Keeps the strongest, each column once. Returns how many there are now. */
static int keep(struct relation out[RELATIONS_MAX], int n, const struct relation *x) {
    int left = 0;
    for (int i = 0; i < n; i++)
        if (share_a_column(&out[i], x) && out[i].together >= x->together)
            return n;
    for (int i = 0; i < n; i++)
        if (!share_a_column(&out[i], x))
            out[left++] = out[i];
    int at = left;
    while (at > 0 && out[at - 1].together < x->together)
        at--;
    if (at == RELATIONS_MAX)
        return left;
    left -= left == RELATIONS_MAX;
    for (int i = left; i > at; i--)
        out[i] = out[i - 1];
    out[at] = *x;
    return left + 1;
}

/* ---- the sample ---- */

static const struct profile_column *label_of(const struct profile *p) {
    const struct profile_column *label = NULL;
    for (int i = 0; i < p->n_columns; i++) {
        if (p->columns[i].of_label && label)
            return NULL;
        label = p->columns[i].of_label ? &p->columns[i] : label;
    }
    return label;
}

static void take_sample(struct relating *r, const struct profile_column *label) {
    int64_t rows = r->p->n_rows, step = (rows + ROWS_MOST - 1) / ROWS_MOST;
    r->n_labels = label->n_values;
    for (int64_t row = 0; row < rows && r->n < ROWS_MOST; row += step)
        for (int k = 0; k < label->n_values; k++)
            if (label->values[k].hash == label->hash[row]) {
                r->at[r->n] = row;
                r->label[r->n++] = k;
                break;
            }
}

static void take_columns(struct relating *r, const bool *use) {
    for (int i = 0; i < r->p->n_columns && r->n_columns < COLUMNS_MOST; i++) {
        const struct profile_column *c = &r->p->columns[i];
        bool number = c->type == FIELD_INTEGER || c->type == FIELD_NUMBER;
        if (use[i] && number && !c->of_label && c->n_distinct > 2)
            r->columns[r->n_columns++] = i;
    }
}

int relate_find(const struct profile *p, const bool *use, struct relation out[RELATIONS_MAX], struct err *e) {
    const struct profile_column *label = label_of(p);
    struct relating r = {.p = p};
    int n = 0;
    if (!label || label->n_values < 2 || label->n_distinct > LABELS_MOST || p->n_rows < ROWS_LEAST)
        return 0;
    r.at = calloc(ROWS_MOST, sizeof *r.at);
    r.label = calloc(ROWS_MOST, sizeof *r.label);
    r.points = calloc(ROWS_MOST, sizeof *r.points);
    r.code = calloc(ROWS_MOST, sizeof *r.code);
    r.bin = calloc((size_t)ROWS_MOST * COLUMNS_MOST, 1);
    if (r.at && r.label && r.points && r.code && r.bin) {
        take_sample(&r, label);
        take_columns(&r, use);
        for (int k = 0; k < r.n_columns; k++)
            judge_column(&r, k);
        for (int k = 0; k < r.n_columns; k++)
            for (int l = k + 1; l < r.n_columns; l++) {
                struct relation x = judge_pair(&r, k, l);
                if (x.together > 0)
                    n = keep(out, n, &x);
            }
    } else {
        n = err_set(e, ERR_NO_MEMORY, "relate_find", "out of memory");
    }
    free(r.at);
    free(r.label);
    free(r.points);
    free(r.code);
    free(r.bin);
    return n;
}
