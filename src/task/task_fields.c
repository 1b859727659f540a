/* Loading the fields of a task: declared ones, those derived of them, and those of an answer. */
#include "task/task_internal.h"
#include "task/text.h"
#include <math.h>
#include <string.h>
#include <strings.h>

static const char *const type_names[] = {
#define X(name, text) text,
    FIELD_TYPES(X)
#undef X
};
static const char *const op_names[] = {
#define X(name, text) text,
    DERIVED_OPS(X)
#undef X
};
static const char *const order_names[] = {
#define X(name, text) text,
    DATE_ORDERS(X)
#undef X
};
enum { N_TYPES = sizeof type_names / sizeof *type_names, N_OPS = sizeof op_names / sizeof *op_names };
enum { DECIMALS_DEFAULT = 2 };

const char *task_type_name(enum field_type type) {
    return type_names[type];
}

const char *task_op_name(enum derived_op op) {
    return op_names[op];
}

const char *task_order_name(enum date_order order) {
    return order_names[order];
}

static int index_of(const char *const names[], int n, const char *text) {
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

/* ---- declared ---- */

static int check_new_name(const struct task *t, const struct task_field *f, const struct node *at,
                          struct err *e) {
    for (int i = 0; i < t->n_fields; i++) {
        const struct task_field *other = &t->fields[i];
        if (strcasecmp(other->name, f->name) == 0)
            return node_error(at, e, TASK_ORIGIN, "two fields are named '%s'", f->name);
        if (!f->derived && !other->derived && strcmp(other->column, f->column) == 0)
            return node_error(at, e, TASK_ORIGIN, "fields '%s' and '%s' read the same column '%s'",
                              other->name, f->name, f->column);
    }
    return 0;
}

static int load_range(struct task_field *f, const struct node *n, struct err *e) {
    const struct node *min = node_get(n, "min"), *max = node_get(n, "max");
    if (!min && !max)
        return 0;
    if (!min || !max)
        return node_error(n, e, TASK_ORIGIN, "field '%s' has only one of 'min' and 'max'", f->name);
    if (f->type != FIELD_INTEGER && f->type != FIELD_NUMBER)
        return node_error(min, e, TASK_ORIGIN, "field '%s' is of type %s, which has no 'min' and 'max'",
                          f->name, type_names[f->type]);
    int rc = node_number(n, "min", true, &f->min, e);
    if (rc == 0)
        rc = node_number(n, "max", true, &f->max, e);
    if (rc < 0)
        return rc;
    if (!(f->min < f->max))
        return node_error(max, e, TASK_ORIGIN, "field '%s': 'min' must be below 'max'", f->name);
    if (f->type == FIELD_INTEGER && (f->min != floor(f->min) || f->max != floor(f->max)))
        return node_error(min, e, TASK_ORIGIN, "field '%s' is an integer: 'min' and 'max' must be whole",
                          f->name);
    f->has_range = true;
    return 0;
}

static int load_decimals(struct task_field *f, const struct node *n, struct err *e) {
    int64_t decimals = f->type == FIELD_NUMBER ? DECIMALS_DEFAULT : 0;
    int rc = node_i64(n, "decimals", false, &decimals, e);
    if (rc < 0)
        return rc;
    if (decimals < 0 || decimals > TASK_DECIMALS_MAX)
        return node_error(n, e, TASK_ORIGIN, "field '%s': 'decimals' must be 0 to %d", f->name,
                          (int)TASK_DECIMALS_MAX);
    if (f->type != FIELD_NUMBER && decimals != 0)
        return node_error(n, e, TASK_ORIGIN, "field '%s': only a number has 'decimals'", f->name);
    f->decimals = (int)decimals;
    return 0;
}

static int load_values(struct task *t, struct task_field *f, const struct node *n, struct err *e) {
    struct node *list = NULL;
    int rc = node_list(n, "values", f->type == FIELD_CATEGORY, &list, e);
    if (rc < 0 || !list)
        return rc;
    if (f->type != FIELD_CATEGORY)
        return node_error(list, e, TASK_ORIGIN, "field '%s': only a category has 'values'", f->name);
    if (list->n_children < 2 || list->n_children > TASK_VALUES_MAX)
        return node_error(list, e, TASK_ORIGIN, "field '%s' needs 2 to %d values", f->name,
                          (int)TASK_VALUES_MAX);
    f->values = arena_calloc(&t->arena, (size_t)list->n_children, sizeof *f->values);
    if (!f->values)
        return task_no_memory(e);
    for (const struct node *v = list->first; v; v = v->next) {
        const char *text = task_scalar(v);
        if (!text)
            return node_error(v, e, TASK_ORIGIN, "a value of field '%s' is not a text", f->name);
        if (!(text = text_squeeze(&t->arena, text)))
            return task_no_memory(e);
        const char *fault = task_text_fault(text, TASK_NAME_MAX, false);
        if (fault)
            return node_error(v, e, TASK_ORIGIN, "a value of field '%s' %s", f->name, fault);
        if (index_of(f->values, f->n_values, text) >= 0)
            return node_error(v, e, TASK_ORIGIN, "field '%s' lists the value '%s' twice", f->name, text);
        f->values[f->n_values++] = text;
    }
    return 0;
}

static int load_length(struct task_field *f, const struct node *n, struct err *e) {
    int64_t length = 0;
    int rc = node_i64(n, "length", false, &length, e);
    if (rc < 0 || !node_get(n, "length"))
        return rc;
    if (f->type != FIELD_TEXT)
        return node_error(node_get(n, "length"), e, TASK_ORIGIN, "field '%s': only a text has a 'length'",
                          f->name);
    if (length < 1 || length > TASK_TEXT_MAX)
        return node_error(node_get(n, "length"), e, TASK_ORIGIN, "field '%s': 'length' must be 1 to %d",
                          f->name, (int)TASK_TEXT_MAX);
    f->max_chars = (int)length;
    return 0;
}

static int load_order(struct task_field *f, const struct node *n, struct err *e) {
    const char *order = order_names[DATE_ISO];
    const struct node *at = node_get(n, "order");
    int rc = node_string(n, "order", false, &order, e);
    if (rc < 0 || !at)
        return rc;
    int index = index_of(order_names, sizeof order_names / sizeof *order_names, order);
    if (f->type != FIELD_DATE || index < 0)
        return node_error(at, e, TASK_ORIGIN, "field '%s': 'order' is ymd, dmy or mdy, of a date", f->name);
    f->order = (enum date_order)index;
    return 0;
}

static int load_comma(struct task_field *f, const struct node *n, struct err *e) {
    int rc = node_bool(n, "comma", false, &f->comma, e);
    if (rc == 0 && f->comma && f->type != FIELD_NUMBER)
        return node_error(node_get(n, "comma"), e, TASK_ORIGIN,
                          "field '%s': only a number has a decimal 'comma'", f->name);
    return rc;
}

int task_load_field(struct task *t, const struct node *n, struct err *e) {
    static const char *const known[] = {"name",   "column",   "type",   "unit",     "min",
                                        "max",    "decimals", "values", "optional", "prompt",
                                        "length", "order",    "comma",  NULL};
    struct task_field *f = &t->fields[t->n_fields];
    if (n->type != NODE_MAP)
        return node_error(n, e, TASK_ORIGIN, "a field must be a map with at least 'name' and 'type'");
    *f = (struct task_field){.in_prompt = true};
    const char *type = NULL;
    int rc = node_check_keys(n, known, e);
    if (rc == 0)
        rc = task_take_text(t, n, "name", true, true, &f->name, e);
    if (rc < 0)
        return rc;
    f->column = f->name;
    if ((rc = task_take_text(t, n, "column", false, false, &f->column, e)) < 0 ||
        (rc = task_take_text(t, n, "unit", false, false, &f->unit, e)) < 0 ||
        (rc = node_string(n, "type", true, &type, e)) < 0 ||
        (rc = node_bool(n, "optional", false, &f->optional, e)) < 0 ||
        (rc = node_bool(n, "prompt", false, &f->in_prompt, e)) < 0)
        return rc;
    int index = index_of(type_names, N_TYPES, type);
    if (index < 0) {
        rc = node_error(node_get(n, "type"), e, TASK_ORIGIN, "field '%s' has the unknown type '%s'", f->name,
                        type);
        err_hint(e, "the types are integer, number, category, text and date");
        return rc;
    }
    f->type = (enum field_type)index;
    if ((rc = load_range(f, n, e)) < 0 || (rc = load_decimals(f, n, e)) < 0 ||
        (rc = load_values(t, f, n, e)) < 0 || (rc = load_length(f, n, e)) < 0 ||
        (rc = load_order(f, n, e)) < 0 || (rc = load_comma(f, n, e)) < 0 ||
        (rc = check_new_name(t, f, n, e)) < 0)
        return rc;
    t->n_fields++;
    return 0;
}

/* ---- derived ---- */

static int load_operand(const struct task *t, const struct task_field *f, const struct node *n, int *out,
                        struct err *e) {
    const char *name = task_scalar(n);
    int index = task_field_index(t, name);
    if (index < 0 || index >= t->n_declared)
        return node_error(n, e, TASK_ORIGIN, "derived field '%s' is made of '%s', which is no declared field",
                          f->name, name ? name : "");
    enum field_type type = t->fields[index].type;
    bool fits =
        f->op == DERIVED_DAYS_BETWEEN ? type == FIELD_DATE : type == FIELD_INTEGER || type == FIELD_NUMBER;
    if (!fits)
        return node_error(n, e, TASK_ORIGIN, "derived field '%s': %s needs %s, and '%s' is a %s", f->name,
                          op_names[f->op], f->op == DERIVED_DAYS_BETWEEN ? "dates" : "numbers", name,
                          type_names[type]);
    *out = index;
    return 0;
}

/* What a derived field prints like: a ratio has decimals, the rest as fine as its operands. */
static void derive_type(const struct task *t, struct task_field *f) {
    const struct task_field *a = &t->fields[f->a], *b = &t->fields[f->b];
    bool whole = f->op == DERIVED_DAYS_BETWEEN ||
                 (f->op != DERIVED_RATIO && a->type == FIELD_INTEGER && b->type == FIELD_INTEGER);
    f->type = whole ? FIELD_INTEGER : FIELD_NUMBER;
    f->decimals = whole                       ? 0
                  : f->op == DERIVED_RATIO    ? DECIMALS_DEFAULT
                  : a->decimals > b->decimals ? a->decimals
                                              : b->decimals;
    f->unit = f->op == DERIVED_DAYS_BETWEEN ? "days" : NULL;
}

static int load_derived(struct task *t, const struct node *n, struct err *e) {
    static const char *const known[] = {"name", "op", "of", "decimals", "unit", "prompt", NULL};
    struct task_field *f = &t->fields[t->n_fields];
    if (n->type != NODE_MAP)
        return node_error(n, e, TASK_ORIGIN, "a derived field must be a map with 'name', 'op' and 'of'");
    *f = (struct task_field){.in_prompt = true, .derived = true};
    const char *op = NULL;
    struct node *of = NULL;
    int rc = node_check_keys(n, known, e);
    if (rc < 0 || (rc = task_take_text(t, n, "name", true, true, &f->name, e)) < 0 ||
        (rc = node_string(n, "op", true, &op, e)) < 0 || (rc = node_list(n, "of", true, &of, e)) < 0 ||
        (rc = node_bool(n, "prompt", false, &f->in_prompt, e)) < 0)
        return rc;
    int index = index_of(op_names, N_OPS, op);
    if (index < 0) {
        rc = node_error(node_get(n, "op"), e, TASK_ORIGIN,
                        "derived field '%s' has the unknown operation '%s'", f->name, op);
        err_hint(e, "the operations are ratio, difference, sum and days_between");
        return rc;
    }
    f->op = (enum derived_op)index;
    f->column = f->name;
    if (of->n_children != 2)
        return node_error(of, e, TASK_ORIGIN, "derived field '%s' needs exactly two fields in 'of'", f->name);
    if ((rc = load_operand(t, f, of->first, &f->a, e)) < 0 ||
        (rc = load_operand(t, f, of->last, &f->b, e)) < 0)
        return rc;
    derive_type(t, f);
    if ((node_get(n, "decimals") && (rc = load_decimals(f, n, e)) < 0) ||
        (rc = task_take_text(t, n, "unit", false, false, &f->unit, e)) < 0 ||
        (rc = check_new_name(t, f, n, e)) < 0)
        return rc;
    t->n_fields++;
    return 0;
}

int task_load_fields(struct task *t, const struct node *root, struct err *e) {
    struct node *fields = NULL, *derived = NULL;
    int rc = node_list(root, "fields", true, &fields, e);
    if (rc == 0)
        rc = node_list(root, "derived", false, &derived, e);
    if (rc < 0)
        return rc;
    int64_t n = fields->n_children + (derived ? derived->n_children : 0);
    if (fields->n_children < 1 || n > TASK_FIELDS_MAX)
        return node_error(fields, e, TASK_ORIGIN, "a task needs 1 to %d fields", (int)TASK_FIELDS_MAX);
    t->fields = arena_calloc(&t->arena, (size_t)n, sizeof *t->fields);
    if (!t->fields)
        return task_no_memory(e);
    for (const struct node *f = fields->first; f; f = f->next)
        if ((rc = task_load_field(t, f, e)) < 0)
            return rc;
    t->n_declared = t->n_fields;
    for (const struct node *f = derived ? derived->first : NULL; f; f = f->next)
        if ((rc = load_derived(t, f, e)) < 0)
            return rc;
    for (int i = 0; i < t->n_fields; i++)
        if (t->fields[i].in_prompt)
            return 0;
    return node_error(fields, e, TASK_ORIGIN, "no field is in the prompt");
}
