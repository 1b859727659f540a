/* Loading a task: every key checked, every complaint pointing at file, line and column, so that whoever edits
 * task.yaml by hand is told what to change. Record building is in record.c, writing in task_write.c. */
#include "task/task.h"
#include "task/text.h"
#include <math.h>
#include <string.h>
#include <strings.h>

#define ORIGIN "task_from_node"

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
static const char *const kind_names[] = {
#define X(name, text) text,
    TASK_KINDS(X)
#undef X
};
enum {
    N_TYPES = sizeof type_names / sizeof *type_names,
    N_OPS = sizeof op_names / sizeof *op_names,
    N_KINDS = sizeof kind_names / sizeof *kind_names
};
enum { NAME_MAX_BYTES = 80, TEXT_MAX_BYTES = 8192, DECIMALS_DEFAULT = 2, REPLY_CHARS = 200 };

const char *task_type_name(enum field_type type) {
    return type_names[type];
}

const char *task_op_name(enum derived_op op) {
    return op_names[op];
}

const char *task_order_name(enum date_order order) {
    return order_names[order];
}

const char *task_kind_name(enum task_kind kind) {
    return kind_names[kind];
}

int task_kind_find(const char *name) {
    for (int i = 0; name && i < N_KINDS; i++)
        if (strcmp(kind_names[i], name) == 0)
            return i;
    return -1;
}

int task_field_index(const struct task *t, const char *name) {
    for (int i = 0; name && i < t->n_fields; i++)
        if (strcmp(t->fields[i].name, name) == 0)
            return i;
    return -1;
}

int task_label_index(const struct task *t, const char *name) {
    for (int i = 0; name && i < t->n_labels; i++)
        if (strcmp(t->labels[i].name, name) == 0)
            return i;
    return -1;
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory while loading the task");
}

static int index_of(const char *const names[], int n, const char *text) {
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

/* ---- scalars ---- */

/* Text of a scalar as written: a label "1" may stand without quotes. NULL for lists, maps and null. */
static const char *scalar_text(const struct node *n) {
    if (!n || n->type == NODE_NULL || n->type == NODE_LIST || n->type == NODE_MAP)
        return NULL;
    return n->text;
}

/* Why `text` cannot be a name of a field or label, a category's value, or a sentence; NULL when it can. */
static const char *text_fault(const char *text, size_t max_bytes, bool is_name) {
    size_t n = strlen(text);
    if (n == 0)
        return "is empty";
    if (n > max_bytes)
        return "is too long";
    if (!str_is_utf8(text, n, NULL))
        return "is not UTF-8";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return "has a control character in it";
        if (is_name && c == ':')
            return "has a colon in it, which would be read as the end of the name";
    }
    if (is_name && (text[0] == ' ' || text[n - 1] == ' ' || strstr(text, "  ")))
        return "has blanks at an end or two in a row";
    return NULL;
}

/* A scalar child copied into the task; absent leaves *out as it is unless required. */
static int take_text(struct task *t, const struct node *map, const char *key, bool required, bool is_name,
                     const char **out, struct err *e) {
    const struct node *n = node_get(map, key);
    if (!n || n->type == NODE_NULL)
        return required ? node_error(map, e, ORIGIN, "'%s' is missing", key) : 0;
    const char *text = scalar_text(n);
    if (!text)
        return node_error(n, e, ORIGIN, "'%s' must be a text", key);
    if (!is_name) { /* folded YAML scalars end with a line feed */
        text = text_squeeze(&t->arena, text);
        if (!text)
            return no_memory(e);
    }
    const char *fault = text_fault(text, is_name ? NAME_MAX_BYTES : TEXT_MAX_BYTES, is_name);
    if (fault)
        return node_error(n, e, ORIGIN, "'%s' %s", key, fault);
    *out = arena_strdup(&t->arena, text);
    return *out ? 0 : no_memory(e);
}

/* ---- fields ---- */

static int check_new_name(const struct task *t, const struct task_field *f, const struct node *at,
                          struct err *e) {
    for (int i = 0; i < t->n_fields; i++) {
        const struct task_field *other = &t->fields[i];
        if (strcasecmp(other->name, f->name) == 0)
            return node_error(at, e, ORIGIN, "two fields are named '%s'", f->name);
        if (!f->derived && !other->derived && strcmp(other->column, f->column) == 0)
            return node_error(at, e, ORIGIN, "fields '%s' and '%s' read the same column '%s'", other->name,
                              f->name, f->column);
    }
    return 0;
}

static int load_range(struct task_field *f, const struct node *n, struct err *e) {
    const struct node *min = node_get(n, "min"), *max = node_get(n, "max");
    if (!min && !max)
        return 0;
    if (!min || !max)
        return node_error(n, e, ORIGIN, "field '%s' has only one of 'min' and 'max'", f->name);
    if (f->type != FIELD_INTEGER && f->type != FIELD_NUMBER)
        return node_error(min, e, ORIGIN, "field '%s' is of type %s, which has no 'min' and 'max'", f->name,
                          type_names[f->type]);
    int rc = node_number(n, "min", true, &f->min, e);
    if (rc == 0)
        rc = node_number(n, "max", true, &f->max, e);
    if (rc < 0)
        return rc;
    if (!(f->min < f->max))
        return node_error(max, e, ORIGIN, "field '%s': 'min' must be below 'max'", f->name);
    if (f->type == FIELD_INTEGER && (f->min != floor(f->min) || f->max != floor(f->max)))
        return node_error(min, e, ORIGIN, "field '%s' is an integer: 'min' and 'max' must be whole", f->name);
    f->has_range = true;
    return 0;
}

static int load_decimals(struct task_field *f, const struct node *n, struct err *e) {
    int64_t decimals = f->type == FIELD_NUMBER ? DECIMALS_DEFAULT : 0;
    int rc = node_i64(n, "decimals", false, &decimals, e);
    if (rc < 0)
        return rc;
    if (decimals < 0 || decimals > TASK_DECIMALS_MAX)
        return node_error(n, e, ORIGIN, "field '%s': 'decimals' must be 0 to %d", f->name,
                          (int)TASK_DECIMALS_MAX);
    if (f->type != FIELD_NUMBER && decimals != 0)
        return node_error(n, e, ORIGIN, "field '%s': only a number has 'decimals'", f->name);
    f->decimals = (int)decimals;
    return 0;
}

static int load_values(struct task *t, struct task_field *f, const struct node *n, struct err *e) {
    struct node *list = NULL;
    int rc = node_list(n, "values", f->type == FIELD_CATEGORY, &list, e);
    if (rc < 0 || !list)
        return rc;
    if (f->type != FIELD_CATEGORY)
        return node_error(list, e, ORIGIN, "field '%s': only a category has 'values'", f->name);
    if (list->n_children < 2 || list->n_children > TASK_VALUES_MAX)
        return node_error(list, e, ORIGIN, "field '%s' needs 2 to %d values", f->name, (int)TASK_VALUES_MAX);
    f->values = arena_calloc(&t->arena, (size_t)list->n_children, sizeof *f->values);
    if (!f->values)
        return no_memory(e);
    for (const struct node *v = list->first; v; v = v->next) {
        const char *text = scalar_text(v);
        if (!text)
            return node_error(v, e, ORIGIN, "a value of field '%s' is not a text", f->name);
        if (!(text = text_squeeze(&t->arena, text)))
            return no_memory(e);
        const char *fault = text_fault(text, NAME_MAX_BYTES, false);
        if (fault)
            return node_error(v, e, ORIGIN, "a value of field '%s' %s", f->name, fault);
        if (index_of(f->values, f->n_values, text) >= 0)
            return node_error(v, e, ORIGIN, "field '%s' lists the value '%s' twice", f->name, text);
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
        return node_error(node_get(n, "length"), e, ORIGIN, "field '%s': only a text has a 'length'",
                          f->name);
    if (length < 1 || length > TASK_TEXT_MAX)
        return node_error(node_get(n, "length"), e, ORIGIN, "field '%s': 'length' must be 1 to %d", f->name,
                          (int)TASK_TEXT_MAX);
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
        return node_error(at, e, ORIGIN, "field '%s': 'order' is ymd, dmy or mdy, of a date", f->name);
    f->order = (enum date_order)index;
    return 0;
}

static int load_field(struct task *t, const struct node *n, struct err *e) {
    static const char *const known[] = {"name",   "column",   "type",   "unit",   "min",   "max", "decimals",
                                        "values", "optional", "prompt", "length", "order", NULL};
    struct task_field *f = &t->fields[t->n_fields];
    if (n->type != NODE_MAP)
        return node_error(n, e, ORIGIN, "a field must be a map with at least 'name' and 'type'");
    *f = (struct task_field){.in_prompt = true};
    const char *type = NULL;
    int rc = node_check_keys(n, known, e);
    if (rc == 0)
        rc = take_text(t, n, "name", true, true, &f->name, e);
    if (rc < 0)
        return rc;
    f->column = f->name;
    if ((rc = take_text(t, n, "column", false, false, &f->column, e)) < 0 ||
        (rc = take_text(t, n, "unit", false, false, &f->unit, e)) < 0 ||
        (rc = node_string(n, "type", true, &type, e)) < 0 ||
        (rc = node_bool(n, "optional", false, &f->optional, e)) < 0 ||
        (rc = node_bool(n, "prompt", false, &f->in_prompt, e)) < 0)
        return rc;
    int index = index_of(type_names, N_TYPES, type);
    if (index < 0) {
        rc =
            node_error(node_get(n, "type"), e, ORIGIN, "field '%s' has the unknown type '%s'", f->name, type);
        err_hint(e, "the types are integer, number, category, text and date");
        return rc;
    }
    f->type = (enum field_type)index;
    if ((rc = load_range(f, n, e)) < 0 || (rc = load_decimals(f, n, e)) < 0 ||
        (rc = load_values(t, f, n, e)) < 0 || (rc = load_length(f, n, e)) < 0 ||
        (rc = load_order(f, n, e)) < 0 || (rc = check_new_name(t, f, n, e)) < 0)
        return rc;
    t->n_fields++;
    return 0;
}

/* ---- derived fields ---- */

static int load_operand(const struct task *t, const struct task_field *f, const struct node *n, int *out,
                        struct err *e) {
    const char *name = scalar_text(n);
    int index = task_field_index(t, name);
    if (index < 0 || index >= t->n_declared)
        return node_error(n, e, ORIGIN, "derived field '%s' is made of '%s', which is no declared field",
                          f->name, name ? name : "");
    enum field_type type = t->fields[index].type;
    bool fits =
        f->op == DERIVED_DAYS_BETWEEN ? type == FIELD_DATE : type == FIELD_INTEGER || type == FIELD_NUMBER;
    if (!fits)
        return node_error(n, e, ORIGIN, "derived field '%s': %s needs %s, and '%s' is a %s", f->name,
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
        return node_error(n, e, ORIGIN, "a derived field must be a map with 'name', 'op' and 'of'");
    *f = (struct task_field){.in_prompt = true, .derived = true};
    const char *op = NULL;
    struct node *of = NULL;
    int rc = node_check_keys(n, known, e);
    if (rc < 0 || (rc = take_text(t, n, "name", true, true, &f->name, e)) < 0 ||
        (rc = node_string(n, "op", true, &op, e)) < 0 || (rc = node_list(n, "of", true, &of, e)) < 0 ||
        (rc = node_bool(n, "prompt", false, &f->in_prompt, e)) < 0)
        return rc;
    int index = index_of(op_names, N_OPS, op);
    if (index < 0) {
        rc = node_error(node_get(n, "op"), e, ORIGIN, "derived field '%s' has the unknown operation '%s'",
                        f->name, op);
        err_hint(e, "the operations are ratio, difference, sum and days_between");
        return rc;
    }
    f->op = (enum derived_op)index;
    f->column = f->name;
    if (of->n_children != 2)
        return node_error(of, e, ORIGIN, "derived field '%s' needs exactly two fields in 'of'", f->name);
    if ((rc = load_operand(t, f, of->first, &f->a, e)) < 0 ||
        (rc = load_operand(t, f, of->last, &f->b, e)) < 0)
        return rc;
    derive_type(t, f);
    if ((node_get(n, "decimals") && (rc = load_decimals(f, n, e)) < 0) ||
        (rc = take_text(t, n, "unit", false, false, &f->unit, e)) < 0 ||
        (rc = check_new_name(t, f, n, e)) < 0)
        return rc;
    t->n_fields++;
    return 0;
}

static int load_fields(struct task *t, const struct node *root, struct err *e) {
    struct node *fields = NULL, *derived = NULL;
    int rc = node_list(root, "fields", true, &fields, e);
    if (rc == 0)
        rc = node_list(root, "derived", false, &derived, e);
    if (rc < 0)
        return rc;
    int64_t n = fields->n_children + (derived ? derived->n_children : 0);
    if (fields->n_children < 1 || n > TASK_FIELDS_MAX)
        return node_error(fields, e, ORIGIN, "a task needs 1 to %d fields", (int)TASK_FIELDS_MAX);
    t->fields = arena_calloc(&t->arena, (size_t)n, sizeof *t->fields);
    if (!t->fields)
        return no_memory(e);
    for (const struct node *f = fields->first; f; f = f->next)
        if ((rc = load_field(t, f, e)) < 0)
            return rc;
    t->n_declared = t->n_fields;
    for (const struct node *f = derived ? derived->first : NULL; f; f = f->next)
        if ((rc = load_derived(t, f, e)) < 0)
            return rc;
    for (int i = 0; i < t->n_fields; i++)
        if (t->fields[i].in_prompt)
            return 0;
    return node_error(fields, e, ORIGIN, "no field is in the prompt");
}

/* ---- labels ---- */

static int load_label(struct task *t, const struct node *n, struct err *e) {
    static const char *const known[] = {"name", "definition", NULL};
    struct task_label *l = &t->labels[t->n_labels];
    if (n->type != NODE_MAP)
        return node_error(n, e, ORIGIN, "a label must be a map with 'name' and 'definition'");
    l->definition = "";
    int rc = node_check_keys(n, known, e);
    if (rc < 0 || (rc = take_text(t, n, "name", true, true, &l->name, e)) < 0 ||
        (rc = take_text(t, n, "definition", false, false, &l->definition, e)) < 0)
        return rc;
    for (int i = 0; i < t->n_labels; i++)
        if (strcasecmp(t->labels[i].name, l->name) == 0)
            return node_error(n, e, ORIGIN, "two labels are named '%s'", l->name);
    t->n_labels++;
    return 0;
}

static int load_labels(struct task *t, const struct node *root, struct err *e) {
    struct node *labels = NULL;
    int rc = node_list(root, "labels", true, &labels, e);
    if (rc < 0)
        return rc;
    if (labels->n_children < 2 || labels->n_children > TASK_LABELS_MAX)
        return node_error(labels, e, ORIGIN, "a task needs 2 to %d labels", (int)TASK_LABELS_MAX);
    t->labels = arena_calloc(&t->arena, (size_t)labels->n_children, sizeof *t->labels);
    if (!t->labels)
        return no_memory(e);
    for (const struct node *l = labels->first; l; l = l->next)
        if ((rc = load_label(t, l, e)) < 0)
            return rc;
    t->positive = t->labels[0].name;
    if ((rc = take_text(t, root, "positive", false, true, &t->positive, e)) < 0)
        return rc;
    int positive = task_label_index(t, t->positive);
    if (positive < 0)
        return node_error(node_get(root, "positive"), e, ORIGIN, "'positive' names '%s', which is no label",
                          t->positive);
    t->positive = t->labels[positive].name;
    return 0;
}

/* ---- the answer of extract and respond ---- */

/* An answer's field may not be read from an input's column: the student would be given what it is to find. */
static int check_apart(const struct task *t, const struct task_field *f, const struct node *at,
                       struct err *e) {
    for (int i = 0; i < t->n_fields; i++)
        if (strcasecmp(t->fields[i].name, f->name) == 0 || strcmp(t->fields[i].column, f->column) == 0)
            return node_error(at, e, ORIGIN, "'%s' is both a field and part of the answer", f->name);
    return 0;
}

/* The answer's fields are loaded by the code of the inputs', in whose place they stand meanwhile. */
static int load_answer_list(struct task *t, const struct node *list, struct err *e) {
    struct task_field *inputs = t->fields,
                      *answer = arena_calloc(&t->arena, (size_t)list->n_children, sizeof *answer);
    int n_inputs = t->n_fields, rc = answer ? 0 : no_memory(e);
    t->fields = answer;
    t->n_fields = 0;
    for (const struct node *n = list->first; n && rc == 0; n = n->next)
        rc = load_field(t, n, e);
    t->answer = answer;
    t->n_answer = t->n_fields;
    t->fields = inputs;
    t->n_fields = n_inputs;
    const struct node *at = list->first;
    for (int i = 0; i < t->n_answer && rc == 0; i++, at = at->next)
        rc = t->rationale && strcasecmp(t->answer[i].name, "rationale") == 0
                 ? node_error(at, e, ORIGIN,
                              "'rationale' names what stands before the answer: call this field "
                              "something else, or take 'rationale: true' out")
                 : check_apart(t, &t->answer[i], at, e);
    return rc;
}

static int default_answer(struct task *t, struct err *e) {
    t->answer = arena_calloc(&t->arena, 1, sizeof *t->answer);
    if (!t->answer)
        return no_memory(e);
    t->answer[0] = (struct task_field){.name = "answer",
                                       .column = "answer",
                                       .type = FIELD_TEXT,
                                       .max_chars = REPLY_CHARS,
                                       .in_prompt = true};
    t->n_answer = 1;
    return 0;
}

static int load_answer(struct task *t, const struct node *root, struct err *e) {
    struct node *list = NULL;
    const struct node *labels = node_get(root, "labels");
    bool extract = t->kind == TASK_EXTRACT;
    int rc = node_list(root, "answer", extract, &list, e);
    if (rc < 0)
        return rc;
    if (labels || node_get(root, "positive"))
        return node_error(labels ? labels : node_get(root, "positive"), e, ORIGIN,
                          "a task of kind %s has an 'answer', no labels", kind_names[t->kind]);
    if (!list)
        return default_answer(t, e);
    if (list->n_children < 1 || list->n_children > TASK_FIELDS_MAX || (!extract && list->n_children != 1))
        return node_error(list, e, ORIGIN,
                          extract ? "'answer' needs 1 to %d fields" : "'answer' needs one field",
                          (int)TASK_FIELDS_MAX);
    rc = load_answer_list(t, list, e);
    if (rc == 0 && !extract && t->answer[0].type != FIELD_TEXT)
        return node_error(list->first, e, ORIGIN, "the answer of kind respond is a text");
    if (rc == 0 && !extract && t->answer[0].max_chars == 0)
        t->answer[0].max_chars = REPLY_CHARS;
    return rc;
}

/* ---- the whole ---- */

static bool is_short_name(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* What the student is told when the task does not say: it need not be told the rule, only what to answer
 * with. */
static int default_instruction(struct task *t, struct err *e) {
    struct str s = {0};
    int n = t->kind == TASK_CLASSIFY ? t->n_labels : t->n_answer;
    str_add(&s, t->kind == TASK_CLASSIFY  ? "Label the record: "
                : t->kind == TASK_EXTRACT ? "Extract as JSON: "
                                          : "Answer with the ");
    for (int i = 0; i < n; i++)
        str_addf(&s, "%s%s",
                 i == 0                     ? ""
                 : i < n - 1                ? ", "
                 : t->kind == TASK_CLASSIFY ? " or "
                                            : " and ",
                 t->kind == TASK_CLASSIFY ? t->labels[i].name : t->answer[i].name);
    str_add(&s, ".");
    t->instruction = arena_strdup(&t->arena, str_text(&s));
    bool failed = s.failed || !t->instruction;
    str_release(&s);
    return failed ? no_memory(e) : 0;
}

static int load_heading(struct task *t, const struct node *root, struct err *e) {
    static const char *const known[] = {"format",  "kind",   "name",     "sentence", "instruction", "fields",
                                        "derived", "labels", "positive", "answer",   "rationale",   NULL};
    const char *format = TASK_FORMAT, *kind = "classify";
    if (root->type != NODE_MAP)
        return node_error(root, e, ORIGIN, "a task must be a map");
    int rc = node_check_keys(root, known, e);
    if (rc < 0 || (rc = node_string(root, "format", false, &format, e)) < 0 ||
        (rc = node_string(root, "kind", false, &kind, e)) < 0)
        return rc;
    if (strcmp(format, TASK_FORMAT) != 0)
        return node_error(node_get(root, "format"), e, ORIGIN, "format '%s' is not '%s'", format,
                          TASK_FORMAT);
    int index = task_kind_find(kind);
    if (index < 0) {
        rc = node_error(node_get(root, "kind"), e, ORIGIN, "there is no kind '%s'", kind);
        err_hint(e, "the kinds are classify (one of the labels), extract (JSON) and respond (a short text)");
        return rc;
    }
    t->kind = (enum task_kind)index;
    t->name = "task";
    t->sentence = "";
    if ((rc = take_text(t, root, "name", false, true, &t->name, e)) < 0 ||
        (rc = take_text(t, root, "sentence", false, false, &t->sentence, e)) < 0 ||
        (rc = take_text(t, root, "instruction", false, false, &t->instruction, e)) < 0 ||
        (rc = node_bool(root, "rationale", false, &t->rationale, e)) < 0)
        return rc;
    if (!is_short_name(t->name))
        return node_error(node_get(root, "name"), e, ORIGIN,
                          "the task's name '%s' must be of a-z, 0-9 and '-'", t->name);
    return 0;
}

int task_from_node(struct task *out, const struct node *root, struct err *e) {
    struct task t = {0};
    arena_init(&t.arena);
    int rc = load_heading(&t, root, e);
    if (rc == 0)
        rc = load_fields(&t, root, e);
    if (rc == 0 && t.kind == TASK_CLASSIFY && node_get(root, "answer"))
        rc = node_error(node_get(root, "answer"), e, ORIGIN,
                        "a task of kind classify has 'labels', no 'answer'");
    if (rc == 0)
        rc = t.kind == TASK_CLASSIFY ? load_labels(&t, root, e) : load_answer(&t, root, e);
    if (rc == 0 && !t.instruction)
        rc = default_instruction(&t, e);
    if (rc < 0) {
        arena_release(&t.arena);
        return rc;
    }
    *out = t;
    return 0;
}

int task_from_draft(struct task *out, const char *name, const char *sentence, const struct node *draft,
                    struct err *e) {
    static const char *const known[] = {"kind", "fields", "labels", "answer", NULL};
    if (draft->type != NODE_MAP)
        return node_error(draft, e, "task_from_draft", "a draft must be a map with 'fields' and 'labels'");
    int rc = node_check_keys(draft, known, e);
    if (rc < 0)
        return rc;
    /* task_from_node copies, so nodes on the stack that lead to the draft's children will do */
    struct node name_node = {.type = NODE_STRING, .key = "name", .text = name, .text_len = strlen(name)};
    struct node sentence_node = {.type = NODE_STRING,
                                 .key = "sentence",
                                 .text = sentence,
                                 .text_len = strlen(sentence),
                                 .next = draft->first};
    struct node root = *draft;
    name_node.next = &sentence_node;
    root.first = &name_node;
    root.last = draft->last ? draft->last : &sentence_node;
    root.n_children = draft->n_children + 2;
    return task_from_node(out, &root, e);
}

void task_release(struct task *t) {
    if (!t)
        return;
    arena_release(&t->arena);
    *t = (struct task){0};
}
