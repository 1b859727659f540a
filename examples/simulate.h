/* A small world for an example: how its records come about, and the rule that its sentence states in words. It makes
 * held-out rows with known labels and nothing else; no part of the chain reads it.
 *
 *     struct world w; world_load(&w, "examples/cold-chain/rule.yaml", &e);
 *     struct world_row row; world_draw(&w, &rng, &row);      // row.label is the rule's
 *     world_release(&w);
 *
 * Numbers are integers scaled by 10^decimals, so that comparisons with a threshold are exact. */
#ifndef EXAMPLES_SIMULATE_H
#define EXAMPLES_SIMULATE_H

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

enum { WORLD_FIELDS_MAX = 16, WORLD_VALUES_MAX = 16, WORLD_PROFILES_MAX = 8, WORLD_CONDITIONS_MAX = 8 };

enum world_type { WORLD_INTEGER, WORLD_NUMBER, WORLD_CATEGORY };

/* name, its two figures (NULL: none) */
#define WORLD_SHAPES(X)                                                                                      \
    X(UNIFORM, "uniform", NULL, NULL)                                                                        \
    X(NORMAL, "normal", "mean", "sd")                                                                        \
    X(LOGNORMAL, "lognormal", "median", "sigma")                                                             \
    X(EXPONENTIAL, "exponential", "mean", NULL)                                                              \
    X(WEIGHTS, "weights", NULL, NULL)
enum world_shape {
#define X(name, text, a, b) WORLD_##name,
    WORLD_SHAPES(X)
#undef X
};

/* How a value is drawn; numbers outside the field's range are drawn again. */
struct world_draw {
    bool given; /* in a profile: does it say anything about this field? */
    enum world_shape shape;
    double a, b;
    double weight[WORLD_VALUES_MAX]; /* of the field's values */
};

struct world_field {
    const char *name;
    enum world_type type;
    int decimals;
    int64_t min, max; /* scaled */
    const char *values[WORLD_VALUES_MAX];
    int n_values;
    struct world_draw draw;
};

struct world_profile {
    double weight;
    struct world_draw draw[WORLD_FIELDS_MAX];
};

enum world_op { WORLD_BELOW, WORLD_AT_MOST, WORLD_ABOVE, WORLD_AT_LEAST, WORLD_IS };

struct world_condition {
    int field;
    int alternative; /* conditions of one alternative must all hold; one alternative is enough */
    enum world_op op;
    int64_t value; /* scaled, or the index of a category's value */
};

struct world {
    struct arena arena;
    double noise;
    struct world_field fields[WORLD_FIELDS_MAX];
    int n_fields;
    struct world_profile profiles[WORLD_PROFILES_MAX];
    int n_profiles;
    struct world_condition conditions[WORLD_CONDITIONS_MAX];
    int n_conditions;
    const char *labels[2]; /* where the rule holds, and otherwise */
};

struct world_row {
    int64_t values[WORLD_FIELDS_MAX];
    int rule_label; /* what the rule says */
    int label;      /* what is written, noise included */
};

int world_load(struct world *w, const char *path, struct err *e);
void world_release(struct world *w);

/* One row of the world as it is, without noise. */
void world_draw(const struct world *w, struct rng *r, struct world_row *row);
bool world_rule_holds(const struct world *w, const int64_t values[]);

/* `n` rows. Balanced: half of each label (the odd one positive), the noise a fixed number of rows of each half, so that
 * both labels stay equally frequent; otherwise as they come, each row's label turned round with the world's
 * probability. ERR_INPUT when a label hardly ever occurs. */
int world_rows(const struct world *w, struct rng *r, int64_t n, bool balanced, struct world_row *rows,
               struct err *e);

/* The accuracy of who knows the rule: the share of rows whose label is the rule's. */
double world_bayes_rate(const struct world_row *rows, int64_t n);

/* Header and rows as CSV, appended; the label's column is "label". */
void world_csv(const struct world *w, const struct world_row *rows, int64_t n, struct str *out);

#endif
