/* Cutting ranges at the thresholds that definitions mention: see bins.h. */
#include "synth/bins.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    VALUES_MAX = 8, /* of a category that get a bin of their own */
    CUTS_MAX = 8
};

static double unit_of(const struct task_field *f) {
    return pow(10, -f->decimals);
}

static double on_grid(const struct task_field *f, double x) {
    return round(x / unit_of(f)) * unit_of(f);
}

/* ---- definitions ---- */

/* Where the name stands in the text as whole words; NULL: nowhere. */
static const char *find_name(const char *text, const char *name) {
    size_t n = strlen(name);
    for (const char *at = text; n > 0 && (at = strcasestr(at, name)) != NULL; at++)
        if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[n]))
            return at;
    return NULL;
}

/* Does `at` begin a field's name, and which? The longest one counts: "claim amount" before "claim". */
static int field_at(const struct task *t, const char *text, const char *at) {
    int best = -1;
    for (int i = 0; i < t->n_fields; i++) {
        size_t n = strlen(t->fields[i].name);
        if ((at == text || !isalnum((unsigned char)at[-1])) && strncasecmp(at, t->fields[i].name, n) == 0 &&
            !isalnum((unsigned char)at[n]) && (best < 0 || n > strlen(t->fields[best].name)))
            best = i;
    }
    return best;
}

static bool stands_before(const char *clause, const char *at, const char *word) {
    size_t n = strlen(word), room = (size_t)(at - clause);
    return n < room && strncasecmp(at - n - 1, word, n) == 0;
}

/* "over 12" and "at most 12" leave 12 with the smaller numbers; "under 12" and "at least 12" with the larger ones. */
static bool belongs_below(const char *clause, const char *at) {
    static const char *const words[] = {"over",        "above",   "more than", "greater than",
                                        "higher than", "exceeds", "at most",   "up to",
                                        ">",           "<="};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (stands_before(clause, at, words[i]))
            return true;
    return false;
}

/* The last value of the lower side of each threshold that this definition names for the field. */
static int cuts_of_definition(const struct task *t, int field, const char *text, double *cuts, int n) {
    const struct task_field *f = &t->fields[field];
    int current = -1;
    for (const char *at = text; *at; at++) {
        int named = field_at(t, text, at);
        if (named >= 0) {
            current = named;
            at += strlen(t->fields[named].name) - 1;
            continue;
        }
        bool begins = isdigit((unsigned char)*at) || (*at == '-' && isdigit((unsigned char)at[1]));
        if (!begins || (at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '.')))
            continue;
        char *end;
        double x = strtod(at, &end),
               cut = belongs_below(text, at)
                         ? floor(x / unit_of(f) + 1e-9) * unit_of(f)
                         : on_grid(f, ceil(x / unit_of(f) - 1e-9) * unit_of(f) - unit_of(f));
        if (current == field && n < CUTS_MAX && cut >= f->min && cut < f->max)
            cuts[n++] = on_grid(f, cut);
        at = end - 1;
    }
    return n;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int cuts_of(const struct task *t, int field, double cuts[CUTS_MAX]) {
    int n = 0, kept = 0;
    for (int i = 0; i < t->n_labels; i++)
        if (t->labels[i].definition)
            n = cuts_of_definition(t, field, t->labels[i].definition, cuts, n);
    qsort(cuts, (size_t)n, sizeof *cuts, ascending);
    for (int i = 0; i < n; i++)
        if (kept == 0 || cuts[i] > cuts[kept - 1])
            cuts[kept++] = cuts[i];
    return kept;
}

static bool names_a_value(const struct task *t, const struct task_field *f) {
    for (int i = 0; i < t->n_labels; i++)
        for (int k = 0; k < f->n_values && t->labels[i].definition; k++)
            if (find_name(t->labels[i].definition, f->values[k]) &&
                find_name(t->labels[i].definition, f->name))
                return true;
    return false;
}

/* ---- bins ---- */

/* On both sides of a cut a strip of a thirtieth of the range, where it is much narrower than its side: sides[0] and [1]. */
static int add_strips(const struct task_field *f, const struct protocol_hint sides[2], double cut,
                      struct protocol_hint *out, int n) {
    double width = on_grid(f, (f->max - f->min) / 30), unit = unit_of(f);
    width = width < unit ? unit : width;
    struct protocol_hint below = sides[0], above = sides[1];
    below.low = on_grid(f, cut - width);
    above.high = on_grid(f, cut + unit + width);
    if (n < BINS_MAX && below.low > sides[0].low + 2 * width)
        out[n++] = below;
    if (n < BINS_MAX && above.high < sides[1].high - 2 * width)
        out[n++] = above;
    return n;
}

static int numeric_bins(const struct task *t, int field, struct protocol_hint *out, bool *decisive) {
    const struct task_field *f = &t->fields[field];
    double cuts[CUTS_MAX];
    int n = cuts_of(t, field, cuts);
    *decisive = n > 0;
    if (n == 0 && f->max - f->min < 3 * unit_of(f))
        return 0;
    if (n == 0) {
        for (int i = 0; i < 3; i++)
            out[i] = (struct protocol_hint){.field = field,
                                            .low = on_grid(f, f->min + (f->max - f->min) * i / 3),
                                            .high = on_grid(f, f->min + (f->max - f->min) * (i + 1) / 3)};
        return 3;
    }
    int n_bins = 0;
    for (int i = 0; i <= n; i++)
        out[n_bins++] = (struct protocol_hint){.field = field,
                                               .low = i == 0 ? f->min : on_grid(f, cuts[i - 1] + unit_of(f)),
                                               .high = i == n ? f->max : cuts[i]};
    for (int i = 0; i < n; i++)
        n_bins = add_strips(f, &out[i], cuts[i], out, n_bins);
    return n_bins;
}

int bins_of(const struct task *t, int field, struct protocol_hint *out, bool *decisive) {
    const struct task_field *f = &t->fields[field];
    *decisive = false;
    if (f->type == FIELD_CATEGORY) {
        int n = f->n_values <= VALUES_MAX ? f->n_values : 0;
        for (int i = 0; i < n; i++)
            out[i] = (struct protocol_hint){.field = field, .value = i};
        *decisive = n > 0 && names_a_value(t, f);
        return n;
    }
    bool number = (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER) && f->has_range;
    return number ? numeric_bins(t, field, out, decisive) : 0;
}

/* ---- boundaries ---- */

static bool is_otherwise(const struct task_label *l) {
    return l->definition && strcasecmp(l->definition, "otherwise") == 0;
}

static bool names_cut(const struct task *t, int field, int label, double cut) {
    double cuts[CUTS_MAX];
    const char *text = t->labels[label].definition;
    int n = text ? cuts_of_definition(t, field, text, cuts, 0) : 0;
    for (int i = 0; i < n; i++)
        if (fabs(cuts[i] - cut) < unit_of(&t->fields[field]) / 2)
            return true;
    return false;
}

static bool names_value(const struct task *t, int field, int label) {
    const char *text = t->labels[label].definition;
    const struct task_field *f = &t->fields[field];
    for (int k = 0; text && k < f->n_values; k++)
        if (find_name(text, f->values[k]) && find_name(text, f->name))
            return true;
    return false;
}

/* Each two of the labels that name the boundary and "otherwise"; each of them with each other where nothing is. */
static int add_boundaries(const struct task *t, const bool *named, const struct protocol_hint *at,
                          struct boundary *out, int n) {
    bool rest = false;
    int n_named = 0;
    for (int i = 0; i < t->n_labels; i++) {
        rest = rest || is_otherwise(&t->labels[i]);
        n_named += named[i];
    }
    for (int i = 0; i < t->n_labels; i++)
        for (int k = i + 1; k < t->n_labels && n < BOUNDARIES_MAX; k++) {
            bool in_i = named[i] || is_otherwise(&t->labels[i]),
                 in_k = named[k] || is_otherwise(&t->labels[k]);
            if (n_named > 0 && (rest || n_named > 1 ? in_i && in_k : named[i] || named[k]))
                out[n++] = (struct boundary){i, k, *at};
        }
    return n;
}

/* A strip on either side of cut number `c` of n, up to the next cut. */
static struct protocol_hint around(const struct task_field *f, int field, const double *cuts, int n, int c) {
    double unit = unit_of(f), width = fmax(unit, on_grid(f, (f->max - f->min) / 30));
    double low = c > 0 ? cuts[c - 1] + unit : f->min, high = c + 1 < n ? cuts[c + 1] : f->max;
    return (struct protocol_hint){.field = field,
                                  .low = on_grid(f, fmax(low, cuts[c] - width)),
                                  .high = on_grid(f, fmin(high, cuts[c] + unit + width))};
}

static int field_boundaries(const struct task *t, int field, struct boundary *out, int n) {
    const struct task_field *f = &t->fields[field];
    bool named[TASK_LABELS_MAX] = {0};
    if (f->type == FIELD_CATEGORY) {
        for (int i = 0; i < t->n_labels; i++)
            named[i] = names_value(t, field, i);
        return add_boundaries(t, named, &(struct protocol_hint){.field = field}, out, n);
    }
    if ((f->type != FIELD_INTEGER && f->type != FIELD_NUMBER) || !f->has_range)
        return n;
    double cuts[CUTS_MAX];
    int n_cuts = cuts_of(t, field, cuts);
    for (int c = 0; c < n_cuts; c++) {
        struct protocol_hint at = around(f, field, cuts, n_cuts, c);
        for (int i = 0; i < t->n_labels; i++)
            named[i] = names_cut(t, field, i, cuts[c]);
        n = add_boundaries(t, named, &at, out, n);
    }
    return n;
}

int boundaries_of(const struct task *t, struct boundary *out) {
    bool all[TASK_LABELS_MAX];
    int n = 0;
    for (int i = 0; i < t->n_declared; i++)
        n = field_boundaries(t, i, out, n);
    memset(all, true, sizeof all);
    return n > 0 ? n : add_boundaries(t, all, &(struct protocol_hint){.field = -1}, out, 0);
}
