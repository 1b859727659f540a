/* Reading a world from its rule.yaml. */
#include "format/yaml.h"
#include "simulate.h"
#include <math.h>
#include <string.h>

#define ORIGIN "world_load"

static const struct {
    const char *name, *a, *b;
} shapes[] = {
#define X(name, text, a, b) {text, a, b},
    WORLD_SHAPES(X)
#undef X
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static int64_t scaled(const struct world_field *f, double value) {
    return llround(value * pow(10, f->decimals));
}

static int field_index(const struct world *w, const char *name) {
    for (int i = 0; i < w->n_fields; i++)
        if (strcmp(w->fields[i].name, name) == 0)
            return i;
    return -1;
}

static int value_index(const struct world_field *f, const char *value) {
    for (int i = 0; i < f->n_values; i++)
        if (strcmp(f->values[i], value) == 0)
            return i;
    return -1;
}

/* ---- draws ---- */

/* The field's values are those that its own draw gives weights to; a profile may only weigh them anew. */
static int load_weights(struct world_field *f, bool defines, const struct node *n, struct world_draw *d,
                        struct err *e) {
    struct node *of = NULL;
    int rc = node_map(n, "of", true, &of, e);
    if (rc < 0)
        return rc;
    for (const struct node *v = of->first; v; v = v->next) {
        double weight = 0;
        if ((rc = node_number(of, v->key, true, &weight, e)) < 0)
            return rc;
        if (defines && f->n_values < WORLD_VALUES_MAX)
            f->values[f->n_values++] = v->key;
        int index = value_index(f, v->key);
        if (index < 0 || !(weight >= 0))
            return node_error(v, e, ORIGIN, "field '%s': no such value, or a weight below 0", f->name);
        d->weight[index] = weight;
    }
    return 0;
}

static int load_draw(struct world_field *f, bool defines, const struct node *n, struct world_draw *out,
                     struct err *e) {
    const char *shape = NULL;
    struct world_draw d = {.given = true};
    int rc = node_string(n, "shape", true, &shape, e), index = 0;
    if (rc < 0)
        return rc;
    while (index < N_SHAPES && strcmp(shapes[index].name, shape) != 0)
        index++;
    if (index == N_SHAPES || (index == WORLD_WEIGHTS) != (f->type == WORLD_CATEGORY))
        return node_error(n, e, ORIGIN, "field '%s' cannot be drawn with the shape '%s'", f->name, shape);
    d.shape = (enum world_shape)index;
    if (d.shape == WORLD_WEIGHTS && (rc = load_weights(f, defines, n, &d, e)) < 0)
        return rc;
    if ((shapes[index].a && (rc = node_number(n, shapes[index].a, true, &d.a, e)) < 0) ||
        (shapes[index].b && (rc = node_number(n, shapes[index].b, true, &d.b, e)) < 0))
        return rc;
    *out = d;
    return 0;
}

static int load_field(struct world *w, const struct node *n, struct err *e) {
    static const char *const types[] = {"integer", "number", "category"};
    struct world_field *f = &w->fields[w->n_fields];
    const char *type = NULL;
    int64_t decimals = 0;
    double min = 0, max = 0;
    struct node *draw = NULL;
    int rc;
    if ((rc = node_string(n, "name", true, &f->name, e)) < 0 ||
        (rc = node_string(n, "type", true, &type, e)) < 0 ||
        (rc = node_i64(n, "decimals", false, &decimals, e)) < 0 ||
        (rc = node_map(n, "draw", true, &draw, e)) < 0)
        return rc;
    int index = 0;
    while (index < 3 && strcmp(types[index], type) != 0)
        index++;
    if (index == 3 || decimals < 0 || decimals > 6)
        return node_error(n, e, ORIGIN, "field '%s' has a wrong type or number of decimals", f->name);
    f->type = (enum world_type)index;
    f->decimals = (int)decimals;
    if (f->type != WORLD_CATEGORY) {
        if ((rc = node_number(n, "min", true, &min, e)) < 0 ||
            (rc = node_number(n, "max", true, &max, e)) < 0)
            return rc;
        f->min = scaled(f, min);
        f->max = scaled(f, max);
    }
    rc = load_draw(f, true, draw, &f->draw, e);
    w->n_fields += rc == 0;
    return rc;
}

static int load_profile(struct world *w, const struct node *n, struct err *e) {
    struct world_profile *p = &w->profiles[w->n_profiles];
    struct node *draw = NULL;
    int rc = node_number(n, "weight", true, &p->weight, e);
    if (rc == 0)
        rc = node_map(n, "draw", false, &draw, e);
    for (const struct node *d = draw ? draw->first : NULL; d && rc == 0; d = d->next) {
        int field = field_index(w, d->key);
        if (field < 0)
            return node_error(d, e, ORIGIN, "a profile draws '%s', which is no field", d->key);
        rc = load_draw(&w->fields[field], false, d, &p->draw[field], e);
    }
    w->n_profiles += rc == 0;
    return rc;
}

/* ---- the rule ---- */

static int load_condition(struct world *w, const struct node *n, int alternative, struct err *e) {
    static const char *const ops[] = {"<", "<=", ">", ">=", "is"};
    struct world_condition *c = &w->conditions[w->n_conditions];
    const char *field = NULL, *op = NULL, *text = NULL;
    double value = 0;
    int rc;
    if ((rc = node_string(n, "field", true, &field, e)) < 0 || (rc = node_string(n, "op", true, &op, e)) < 0)
        return rc;
    int index = 0;
    while (index < 5 && strcmp(ops[index], op) != 0)
        index++;
    c->field = field_index(w, field);
    c->op = (enum world_op)index;
    c->alternative = alternative;
    if (index == 5 || c->field < 0 || w->n_conditions == WORLD_CONDITIONS_MAX ||
        (c->op == WORLD_IS) != (w->fields[c->field].type == WORLD_CATEGORY))
        return node_error(n, e, ORIGIN, "the condition on '%s' with '%s' makes no sense", field, op);
    if (c->op == WORLD_IS) {
        if ((rc = node_string(n, "value", true, &text, e)) < 0)
            return rc;
        c->value = value_index(&w->fields[c->field], text);
        if (c->value < 0)
            return node_error(n, e, ORIGIN, "'%s' is no value of '%s'", text, field);
    } else {
        if ((rc = node_number(n, "value", true, &value, e)) < 0)
            return rc;
        c->value = scaled(&w->fields[c->field], value);
    }
    w->n_conditions++;
    return 0;
}

static int load_rule(struct world *w, const struct node *root, struct err *e) {
    struct node *rule = NULL, *any = NULL;
    int rc, alternative = 0;
    if ((rc = node_map(root, "rule", true, &rule, e)) < 0 ||
        (rc = node_string(rule, "label", true, &w->labels[0], e)) < 0 ||
        (rc = node_string(rule, "otherwise", true, &w->labels[1], e)) < 0 ||
        (rc = node_list(rule, "any", true, &any, e)) < 0)
        return rc;
    for (const struct node *all = any->first; all; all = all->next, alternative++)
        for (const struct node *c = all->first; c; c = c->next)
            if ((rc = load_condition(w, c, alternative, e)) < 0)
                return rc;
    return 0;
}

/* ---- the whole ---- */

static int load_all(struct world *w, const struct node *root, struct err *e) {
    const char *format = NULL;
    struct node *fields = NULL, *profiles = NULL;
    int rc;
    if ((rc = node_string(root, "format", true, &format, e)) < 0 ||
        (rc = node_number(root, "noise", true, &w->noise, e)) < 0 ||
        (rc = node_list(root, "fields", true, &fields, e)) < 0 ||
        (rc = node_list(root, "profiles", false, &profiles, e)) < 0)
        return rc;
    if (strcmp(format, "edgestill.rule/1") != 0 || !(w->noise >= 0 && w->noise < 0.5) ||
        fields->n_children > WORLD_FIELDS_MAX || (profiles && profiles->n_children > WORLD_PROFILES_MAX))
        return node_error(root, e, ORIGIN,
                          "no 'edgestill.rule/1', too many entries, or a noise that is not below 0.5");
    for (const struct node *n = fields->first; n; n = n->next)
        if ((rc = load_field(w, n, e)) < 0)
            return rc;
    for (const struct node *n = profiles ? profiles->first : NULL; n; n = n->next)
        if ((rc = load_profile(w, n, e)) < 0)
            return rc;
    return load_rule(w, root, e);
}

int world_load(struct world *out, const char *path, struct err *e) {
    struct world *w = out;
    struct node *root = NULL;
    memset(w, 0, sizeof *w);
    arena_init(&w->arena); /* names stay in the document's nodes */
    int rc = yaml_node_read(&w->arena, path, &root, e);
    if (rc == 0)
        rc = load_all(w, root, e);
    if (rc < 0)
        world_release(w);
    return rc;
}

void world_release(struct world *w) {
    arena_release(&w->arena);
    memset(w, 0, sizeof *w);
}
