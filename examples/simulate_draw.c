/* Rows of a world: values by profile, the rule, noise, CSV. */
#include "simulate.h"
#include <math.h>

/* ---- one row ---- */

static int draw_index(struct rng *r, const double *weight, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += weight[i];
    double u = rng_double(r) * sum;
    for (int i = 0; i < n - 1; i++) {
        if (u < weight[i])
            return i;
        u -= weight[i];
    }
    return n - 1;
}

static double draw_number(struct rng *r, const struct world_draw *d) {
    if (d->shape == WORLD_NORMAL)
        return d->a + d->b * rng_normal(r);
    if (d->shape == WORLD_LOGNORMAL)
        return d->a * exp(d->b * rng_normal(r));
    return -d->a * log(1 - rng_double(r)); /* exponential */
}

/* Values out of range are drawn again; a shape that lies beyond the range ends at its near end. */
static int64_t draw_value(struct rng *r, const struct world_field *f, const struct world_draw *d) {
    if (d->shape == WORLD_WEIGHTS)
        return draw_index(r, d->weight, f->n_values);
    if (d->shape == WORLD_UNIFORM)
        return rng_range(r, f->min, f->max);
    int64_t value = 0;
    for (int i = 0; i < 100; i++) {
        value = llround(draw_number(r, d) * pow(10, f->decimals));
        if (value >= f->min && value <= f->max)
            return value;
    }
    return value < f->min ? f->min : f->max;
}

static bool condition_holds(const struct world_condition *c, int64_t value) {
    switch (c->op) {
    case WORLD_BELOW:
        return value < c->value;
    case WORLD_AT_MOST:
        return value <= c->value;
    case WORLD_ABOVE:
        return value > c->value;
    case WORLD_AT_LEAST:
        return value >= c->value;
    case WORLD_IS:
        return value == c->value;
    }
    return false;
}

bool world_rule_holds(const struct world *w, const int64_t values[]) {
    for (int i = 0; i < w->n_conditions;) {
        int alternative = w->conditions[i].alternative;
        bool all = true;
        for (; i < w->n_conditions && w->conditions[i].alternative == alternative; i++)
            all = all && condition_holds(&w->conditions[i], values[w->conditions[i].field]);
        if (all)
            return true;
    }
    return false;
}

void world_draw(const struct world *w, struct rng *r, struct world_row *row) {
    double weight[WORLD_PROFILES_MAX] = {0};
    const struct world_profile *profile = NULL;
    for (int i = 0; i < w->n_profiles; i++)
        weight[i] = w->profiles[i].weight;
    if (w->n_profiles)
        profile = &w->profiles[draw_index(r, weight, w->n_profiles)];
    for (int i = 0; i < w->n_fields; i++) {
        const struct world_field *f = &w->fields[i];
        row->values[i] = draw_value(r, f, profile && profile->draw[i].given ? &profile->draw[i] : &f->draw);
    }
    row->label = row->rule_label = world_rule_holds(w, row->values) ? 0 : 1;
}

/* ---- many rows ---- */

static int draw_of_label(const struct world *w, struct rng *r, int label, struct world_row *row,
                         struct err *e) {
    for (int i = 0; i < 100000; i++) {
        world_draw(w, r, row);
        if (row->rule_label == label)
            return 0;
    }
    return err_set(e, ERR_INPUT, "world_rows", "the label '%s' does not occur in 100,000 rows of this world",
                   w->labels[label]);
}

static void shuffle(struct rng *r, struct world_row *rows, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = rng_range(r, 0, i);
        struct world_row t = rows[i];
        rows[i] = rows[k];
        rows[k] = t;
    }
}

int world_rows(const struct world *w, struct rng *r, int64_t n, bool balanced, struct world_row *rows,
               struct err *e) {
    if (!balanced) {
        for (int64_t i = 0; i < n; i++) {
            world_draw(w, r, &rows[i]);
            if (rng_chance(r, w->noise))
                rows[i].label = 1 - rows[i].rule_label;
        }
        return 0;
    }
    int64_t half = n / 2, flips = llround(w->noise * (double)half);
    for (int64_t i = 0; i < n; i++) {
        int label = i < n - half ? 0 : 1;
        int64_t of_label = label == 0 ? i : i - (n - half);
        int rc = draw_of_label(w, r, label, &rows[i], e);
        if (rc < 0)
            return rc;
        if (of_label < flips)
            rows[i].label = 1 - label;
    }
    shuffle(r, rows, n);
    return 0;
}

double world_bayes_rate(const struct world_row *rows, int64_t n) {
    int64_t same = 0;
    for (int64_t i = 0; i < n; i++)
        same += rows[i].label == rows[i].rule_label;
    return n ? (double)same / (double)n : NAN;
}

/* ---- CSV: names and values hold no quotes, commas or line ends that would need more than quoting ---- */

static void csv_text(struct str *out, const char *text) {
    str_add_char(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            str_add_char(out, '"');
        str_add_char(out, *c);
    }
    str_add_char(out, '"');
}

static void csv_value(const struct world_field *f, int64_t value, struct str *out) {
    if (f->type == WORLD_CATEGORY) {
        csv_text(out, f->values[value]);
        return;
    }
    int64_t unit = 1, size = value < 0 ? -value : value;
    for (int i = 0; i < f->decimals; i++)
        unit *= 10;
    str_addf(out, "%s%lld", value < 0 ? "-" : "", (long long)(size / unit));
    if (f->decimals)
        str_addf(out, ".%0*lld", f->decimals, (long long)(size % unit));
}

void world_csv(const struct world *w, const struct world_row *rows, int64_t n, struct str *out) {
    for (int i = 0; i < w->n_fields; i++) {
        csv_text(out, w->fields[i].name);
        str_add_char(out, ',');
    }
    str_add(out, "label\n");
    for (int64_t row = 0; row < n; row++) {
        for (int i = 0; i < w->n_fields; i++) {
            csv_value(&w->fields[i], rows[row].values[i], out);
            str_add_char(out, ',');
        }
        csv_text(out, w->labels[rows[row].label]);
        str_add_char(out, '\n');
    }
}
