/* Inferring. The task is written as its JSON form and loaded by the code that loads any other, so that what is inferred is
 * checked like what is written by hand. */
#include "synth/infer.h"
#include "format/json.h"
#include "synth/profile.h"
#include "synth/relate.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ORIGIN "infer_task"

enum {
    CATEGORY_MOST = 40, /* different values of a category, at most */
    CODES_MOST = 12,    /* different whole numbers that may be codes */
    LABELS_MOST = 64,
    RARE_ROWS = 10,      /* a label with fewer has too little to learn from */
    IDENTIFIER_ROWS = 20 /* fewer rows, all different, prove nothing */
};
static const double GIVES_AWAY = 0.995; /* share of rows from which a column's label is certain */

static const char *const what_texts[] = {
#define X(name, text) text,
    INFER_FINDINGS(X)
#undef X
};

const char *infer_what_text(enum infer_what w) {
    return what_texts[w];
}

struct inferring {
    struct inference *out;
    const struct infer_options *o;
    struct profile p;
    bool *use; /* by column: a field of the task */
    bool *category;
    enum date_order *order;
    bool keep_giving, keep_identifiers; /* by default: there is nothing else to decide by */
    enum task_kind kind;
    struct relation relations[RELATIONS_MAX]; /* derived fields of the task */
    int n_relations;
    int n_questions;
};

/* ---- findings ---- */

static struct infer_finding *find(struct inferring *f, enum infer_what what, const char *column,
                                  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Beyond INFER_FINDINGS_MAX the last place is used again: a file of that many faults has shown enough of them. */
static struct infer_finding *find(struct inferring *f, enum infer_what what, const char *column,
                                  const char *format, ...) {
    struct inference *out = f->out;
    struct str text = {0};
    va_list args;
    va_start(args, format);
    str_addv(&text, format, args);
    va_end(args);
    struct infer_finding *x =
        &out->findings[out->n_findings < INFER_FINDINGS_MAX ? out->n_findings++ : INFER_FINDINGS_MAX - 1];
    *x = (struct infer_finding){.what = what,
                                .column = arena_strdup(&out->arena, column),
                                .text = arena_strdup(&out->arena, str_text(&text))};
    str_release(&text);
    return x;
}

/* Makes a finding a question; returns what is chosen. */
static int ask(struct inferring *f, struct infer_finding *x, const char *first, const char *second,
               const char *third) {
    x->choices[0] = first;
    x->choices[1] = second;
    x->choices[2] = third;
    x->n_choices = third ? 3 : 2;
    int i = f->n_questions++;
    int answer = f->o->answers && i < f->o->n_answers ? f->o->answers[i] : 0;
    x->chosen = answer >= 0 && answer < x->n_choices ? answer : 0;
    return x->chosen;
}

static long long percent(double share) {
    return llround(100 * share);
}

/* ---- which columns are fields ---- */

static bool looks_like_identifier(const struct profile_column *c) {
    if (c->n < IDENTIFIER_ROWS || c->n_distinct < c->n - c->n / 100)
        return false;
    if (c->type == FIELD_INTEGER)
        return c->rising || c->max - c->min >= 1e6;
    return c->type == FIELD_TEXT && c->words < 1.2 && !c->near_number && !c->near_date;
}

static bool gives_away(const struct inferring *f, const struct profile_column *c) {
    return c->determined >= GIVES_AWAY && c->n_distinct * 5 <= c->n && f->p.majority < 0.95;
}

/* No field at all, whatever is asked. */
static bool cannot_be_field(const struct inferring *f, const struct profile_column *c) {
    return c->of_label || c->structured || c->n == 0 || (c->n_distinct == 1 && c->n_missing == 0) ||
           str_equal(c->name, f->o->group);
}

/* Where only doubtful columns are there, those that tell the label are what the user wants to decide by; failing these, those that
 * look like identifiers. */
static void judge_doubts(struct inferring *f) {
    bool sound = false;
    for (int i = 0; i < f->p.n_columns; i++) {
        const struct profile_column *c = &f->p.columns[i];
        if (cannot_be_field(f, c))
            continue;
        bool identifier = looks_like_identifier(c), gives = !identifier && gives_away(f, c);
        sound = sound || (!identifier && !gives);
        f->keep_giving = f->keep_giving || gives;
    }
    f->keep_identifiers = !sound && !f->keep_giving;
    f->keep_giving = f->keep_giving && !sound;
}

/* A question whether the column stays; what is usual comes first. */
static bool ask_to_keep(struct inferring *f, struct infer_finding *x, const char *keep, const char *leave,
                        bool usual) {
    return (ask(f, x, usual ? keep : leave, usual ? leave : keep, NULL) == 0) == usual;
}

static void judge_column(struct inferring *f, int i) {
    const struct profile_column *c = &f->p.columns[i];
    f->use[i] = !c->of_label;
    if (c->of_label)
        return;
    if (str_equal(c->name, f->o->group)) {
        f->use[i] = false;
        find(f, INFER_GROUP, c->name, "says which rows belong together in a split; left out");
    } else if (c->structured) {
        f->use[i] = false;
        find(f, INFER_UNREADABLE, c->name, "holds lists or objects, which a field cannot; left out");
    } else if (c->n == 0) {
        f->use[i] = false;
        find(f, INFER_CONSTANT, c->name, "is always missing; left out");
    } else if (c->n_distinct == 1 && c->n_missing == 0) {
        f->use[i] = false;
        find(f, INFER_CONSTANT, c->name, "is always '%.60s'; left out", c->values[0].text);
    } else if (looks_like_identifier(c)) {
        struct infer_finding *x =
            find(f, INFER_IDENTIFIER, c->name,
                 "has another value in every row, as an identifier has; a model would learn rows by heart");
        f->use[i] = ask_to_keep(f, x, "keep it", "leave it out", f->keep_identifiers);
    } else if (gives_away(f, c)) {
        struct infer_finding *x =
            find(f, INFER_LEAK, c->name,
                 "alone gives the label in %lld%% of the rows: is it known before the decision?",
                 percent(c->determined));
        f->use[i] = ask_to_keep(f, x, "yes, keep it", "no, leave it out", f->keep_giving);
    } else if (c->by_threshold >= GIVES_AWAY && f->p.majority < 0.95) {
        struct infer_finding *x =
            find(f, INFER_LEAK, c->name,
                 "gives the label in %lld%% of the rows by one threshold: is it known before the decision?",
                 percent(c->by_threshold));
        f->use[i] = ask_to_keep(f, x, "yes, keep it", "no, leave it out", true);
    }
}

/* ---- types ---- */

static bool is_category(const struct profile_column *c) {
    return c->type == FIELD_TEXT && c->n_distinct <= CATEGORY_MOST && c->n_distinct >= 2 && c->words <= 4 &&
           (c->n_distinct * 4 <= c->n || (c->n_distinct <= 12 && c->n_distinct * 2 <= c->n));
}

/* Whole numbers of which few different ones occur, with gaps: 10, 20, 99. */
static bool may_be_code(const struct profile_column *c) {
    return c->type == FIELD_INTEGER && c->n_distinct >= 3 && c->n_distinct <= CODES_MOST &&
           c->n_distinct * 10 <= c->n && c->max - c->min + 1 > 3 * (double)c->n_distinct;
}

static void judge_type(struct inferring *f, int i) {
    const struct profile_column *c = &f->p.columns[i];
    f->category[i] = is_category(c);
    if (may_be_code(c)) {
        struct infer_finding *x =
            find(f, INFER_TYPE, c->name, "has only %lld different whole numbers, with gaps: codes?",
                 (long long)c->n_distinct);
        f->category[i] = ask(f, x, "codes (a category)", "quantities (an integer)", NULL) == 0;
    }
    f->order[i] = c->dates == DATES_MONTH_FIRST ? DATE_MONTH_FIRST
                  : c->dates == DATES_ISO       ? DATE_ISO
                                                : DATE_DAY_FIRST;
    if (c->dates == DATES_EITHER) {
        struct infer_finding *x =
            find(f, INFER_TYPE, c->name, "has dates such as '%.20s': day or month first?", c->values[0].text);
        f->order[i] = ask(f, x, "day first", "month first", NULL) == 0 ? DATE_DAY_FIRST : DATE_MONTH_FIRST;
    }
    if (c->near_date)
        find(f, INFER_UNREADABLE, c->name,
             "has dates in more than one order, read as text: write them all as 2026-01-31");
    if (c->near_number)
        find(f, INFER_UNREADABLE, c->name,
             "has numbers with signs or with commas that may be either ('%.20s'), read as text: write the "
             "numbers alone, with a point",
             c->values[0].text);
    if (c->n_missing > 0 && !c->of_label)
        find(f, INFER_MISSING, c->name, "is missing in %lld of %lld rows: optional", (long long)c->n_missing,
             (long long)f->p.n_rows);
}

/* ---- the kind ---- */

static int label_columns(const struct profile *p, const struct profile_column **one) {
    int n = 0;
    for (int i = 0; i < p->n_columns; i++)
        if (p->columns[i].of_label) {
            *one = &p->columns[i];
            n++;
        }
    return n;
}

static int no_label(const struct inferring *f, struct err *e) {
    struct str names = {0};
    for (int i = 0; i < f->p.n_columns; i++)
        str_addf(&names, "%s%s", i ? ", " : "", f->p.columns[i].name);
    err_set(e, ERR_INPUT, ORIGIN, "%s has no column '%s'", f->o->path, f->o->label);
    err_hint(e, "its columns are: %s", str_text(&names));
    str_release(&names);
    return ERR_INPUT;
}

static bool few_values(const struct profile_column *c) {
    return c->n_distinct <= LABELS_MOST && (c->n_distinct * 5 <= c->n || c->n_distinct <= 3) &&
           c->longest <= 80;
}

static int judge_kind(struct inferring *f, struct err *e) {
    const struct profile_column *label = NULL;
    int n = label_columns(&f->p, &label);
    if (n == 0)
        return no_label(f, e);
    bool json = n == 1 && label->n > 0 && label->n_values > 0 && label->values[0].text[0] == '{';
    enum task_kind guess = f->p.nested_label || n > 1 || json ? TASK_EXTRACT
                           : few_values(label)                ? TASK_CLASSIFY
                                                              : TASK_RESPOND;
    f->kind = guess;
    if (f->o->kind > 0) {
        f->kind = (enum task_kind)(f->o->kind - 1);
    } else if (guess == TASK_RESPOND && label->n_distinct <= 2 * LABELS_MOST) {
        struct infer_finding *x = find(f, INFER_KIND, label->name, "has %lld different values in %lld rows",
                                       (long long)label->n_distinct, (long long)label->n);
        f->kind = ask(f, x, "texts to be written (respond)", "labels (classify)", NULL) == 0 ? TASK_RESPOND
                                                                                             : TASK_CLASSIFY;
    }
    if (f->kind == TASK_CLASSIFY && (n > 1 || f->p.nested_label))
        return err_set(e, ERR_INPUT, ORIGIN, "a task of kind classify has one label column, not %d", n);
    if (f->kind == TASK_CLASSIFY && (label->n_distinct < 2 || label->n_distinct > PROFILE_VALUES_MAX)) {
        err_set(e, ERR_INPUT, ORIGIN, "column '%s' of %s has %lld different labels; 2 to %d are possible",
                label->name, f->o->path, (long long)label->n_distinct, (int)PROFILE_VALUES_MAX);
        return err_hint(
            e, label->n_distinct < 2
                   ? "add rows of another label, or name the right column in edgestill.yaml (data: label)"
                   : "put labels together, or let the model write texts: --kind respond");
    }
    if (json) {
        err_set(e, ERR_INPUT, ORIGIN, "column '%s' of %s holds JSON inside of a text", label->name,
                f->o->path);
        return err_hint(
            e, "give the rows as JSON Lines with an object there, or a column for each of its entries "
               "(--label a,b,c)");
    }
    return 0;
}

/* ---- relations ---- */

static int judge_relations(struct inferring *f, struct err *e) {
    bool *may = arena_calloc(&f->p.arena, (size_t)f->p.n_columns, sizeof *may);
    struct relation found[RELATIONS_MAX];
    if (!may)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (int i = 0; i < f->p.n_columns; i++)
        may[i] = f->use[i] && !f->category[i];
    int n = f->kind == TASK_CLASSIFY ? relate_find(&f->p, may, found, e) : 0;
    for (int i = 0; i < n; i++) {
        const struct relation *r = &found[i];
        struct infer_finding *x = find(
            f, INFER_RELATION, f->p.columns[r->a].name,
            "%s %s explains %lld%% of the label, neither of the two more than %lld%%: a small model does "
            "not learn to compute it",
            r->op == DERIVED_RATIO ? "divided by" : "less", f->p.columns[r->b].name, percent(r->together),
            percent(r->alone));
        if (ask(f, x, "declare it as a derived field", "leave it", NULL) == 0)
            f->relations[f->n_relations++] = *r;
    }
    return n < 0 ? n : 0;
}

static int check_any_field(const struct inferring *f, struct err *e) {
    for (int i = 0; i < f->p.n_columns; i++)
        if (f->use[i])
            return 0;
    err_set(e, ERR_INPUT, ORIGIN, "no column of %s is left that a record could be made of", f->o->path);
    return err_hint(e, "beside the label it needs a column that is known before the decision and is not the "
                       "same in every row");
}

/* ---- the task as JSON ---- */

/* A column's name as a field may be called: no blanks in a row, no colon. */
static void plain_name(const struct profile_column *c, struct str *name) {
    for (const char *at = c->name + strspn(c->name, " "); *at; at++) {
        unsigned char ch = (unsigned char)*at;
        bool blank = ch <= 0x20 || ch == 0x7f || ch == ':';
        if (blank && (name->len == 0 || name->data[name->len - 1] == ' '))
            continue;
        str_add_char(name, blank ? ' ' : *at);
    }
    while (name->len > 0 && name->data[name->len - 1] == ' ')
        name->data[--name->len] = 0;
    if (name->len == 0)
        str_add(name, "field");
}

/* The same, with a number behind it where columns before have that name, in whatever letters: fields are told apart without case. */
static void field_name(const struct profile *p, int column, struct str *name) {
    int n_same = 0;
    struct str other = {0};
    plain_name(&p->columns[column], name);
    for (int i = 0; i < column; i++) {
        str_clear(&other);
        plain_name(&p->columns[i], &other);
        n_same += strcasecmp(str_text(&other), str_text(name)) == 0;
    }
    if (n_same > 0)
        str_addf(name, " %d", n_same + 1);
    str_release(&other);
}

static void add_name(const struct profile *p, int column, struct str *out) {
    const struct profile_column *c = &p->columns[column];
    struct str name = {0};
    field_name(p, column, &name);
    str_add(out, "{\"name\":");
    json_text_string(out, str_text(&name));
    if (!str_equal(str_text(&name), c->name)) {
        str_add(out, ",\"column\":");
        json_text_string(out, c->name);
    }
    str_release(&name);
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_values(const struct profile_column *c, struct str *out) {
    const char *sorted[PROFILE_VALUES_MAX];
    for (int i = 0; i < c->n_values; i++)
        sorted[i] = c->values[i].text;
    qsort(sorted, (size_t)c->n_values, sizeof *sorted, compare_texts);
    str_add(out, ",\"type\":\"category\",\"values\":[");
    for (int i = 0; i < c->n_values; i++) {
        str_add(out, i ? "," : "");
        json_text_string(out, sorted[i]);
    }
    str_add_char(out, ']');
}

/* The values seen, as a field's range. Of an answer the range binds what may be written, and rows rarely show its very ends:
 * there it goes on to the next round number, 3 to 96 becoming 0 to 100. */
static void add_range(const struct profile_column *c, struct str *out) {
    double step = c->of_label ? pow(10, floor(log10(c->max - c->min))) : 0;
    str_add(out, ",\"min\":");
    json_text_number(out, step > 0 ? floor(c->min / step) * step : c->min);
    str_add(out, ",\"max\":");
    json_text_number(out, step > 0 ? ceil(c->max / step) * step : c->max);
}

static void add_type(const struct inferring *f, int i, struct str *out) {
    const struct profile_column *c = &f->p.columns[i];
    enum field_type type = c->type;
    if (f->category[i]) {
        add_values(c, out);
        return;
    }
    str_addf(out, ",\"type\":\"%s\"", task_type_name(type));
    if ((type == FIELD_INTEGER || type == FIELD_NUMBER) && c->min < c->max)
        add_range(c, out);
    if (type == FIELD_NUMBER)
        str_addf(out, ",\"decimals\":%d%s", c->decimals, c->comma ? ",\"comma\":true" : "");
    if (type == FIELD_DATE && f->order[i] != DATE_ISO)
        str_addf(out, ",\"order\":\"%s\"", task_order_name(f->order[i]));
    if (type == FIELD_TEXT && c->of_label) {
        int64_t length = (c->longest + 19) / 20 * 20; /* room to the next twenty */
        str_addf(out, ",\"length\":%lld", (long long)(length < TASK_TEXT_MAX ? length : TASK_TEXT_MAX));
    }
}

static void add_fields(const struct inferring *f, bool of_label, struct str *out) {
    const char *gap = "";
    for (int i = 0; i < f->p.n_columns; i++) {
        const struct profile_column *c = &f->p.columns[i];
        if (c->of_label != of_label || (!of_label && !f->use[i]) || c->structured)
            continue;
        str_add(out, gap);
        add_name(&f->p, i, out);
        add_type(f, i, out);
        str_add(out, c->n_missing > 0 ? ",\"optional\":true}" : "}");
        gap = ",";
    }
}

static void add_derived(const struct inferring *f, struct str *out) {
    for (int i = 0; i < f->n_relations; i++) {
        const struct relation *r = &f->relations[i];
        struct str a = {0}, b = {0}, name = {0};
        field_name(&f->p, r->a, &a);
        field_name(&f->p, r->b, &b);
        str_addf(&name, "%s %s %s", str_text(&a), r->op == DERIVED_RATIO ? "per" : "less", str_text(&b));
        str_add(out, i ? ",{\"name\":" : "],\"derived\":[{\"name\":");
        json_text_string(out, str_text(&name));
        str_addf(out, ",\"op\":\"%s\",\"of\":[", task_op_name(r->op));
        json_text_string(out, str_text(&a));
        str_add_char(out, ',');
        json_text_string(out, str_text(&b));
        str_addf(out, "],\"decimals\":%d}", r->decimals);
        str_release(&a);
        str_release(&b);
        str_release(&name);
    }
}

static void add_labels(const struct inferring *f, struct str *out) {
    const struct profile_column *label = NULL;
    label_columns(&f->p, &label);
    str_add(out, "],\"labels\":[");
    int rarest = 0;
    for (int i = 0; i < label->n_values; i++) {
        str_add(out, i ? ",{\"name\":" : "{\"name\":");
        json_text_string(out, label->values[i].text);
        str_addf(out, ",\"definition\":\"as %lld of the %lld rows show\"}", (long long)label->values[i].n,
                 (long long)f->p.n_rows);
        rarest = label->values[i].n < label->values[rarest].n ? i : rarest;
    }
    str_add(out, "],\"positive\":");
    json_text_string(out, label->values[rarest].text);
}

static int make_task(struct inferring *f, struct err *e) {
    struct str json = {0};
    struct node *root = NULL;
    struct arena a;
    arena_init(&a);
    str_addf(&json, "{\"kind\":\"%s\",\"name\":", task_kind_name(f->kind));
    json_text_string(&json, f->o->name);
    str_add(&json, ",\"sentence\":");
    json_text_string(&json, f->o->sentence);
    str_add(&json, ",\"fields\":[");
    add_fields(f, false, &json);
    add_derived(f, &json);
    if (f->kind == TASK_CLASSIFY) {
        add_labels(f, &json);
    } else {
        str_add(&json, "],\"answer\":[");
        add_fields(f, true, &json);
        str_add_char(&json, ']');
    }
    str_add_char(&json, '}');
    int rc = str_check(&json, e);
    if (rc == 0)
        rc = json_node_parse(&a, "inferred task", 0, json.data, json.len, &root, e);
    if (rc == 0)
        rc = task_from_node(&f->out->task, root, e);
    if (rc == ERR_INPUT)
        err_context(e, "the columns of %s make no task", f->o->path);
    arena_release(&a);
    str_release(&json);
    return rc;
}

/* ---- the rows as a whole ---- */

static int judge_rows(struct inferring *f, struct err *e) {
    const struct profile_column *label = NULL;
    int64_t never = 0;
    label_columns(&f->p, &label);
    if (f->p.encoding)
        find(f, INFER_ENCODING, NULL, "is %s text, not UTF-8: read as that", f->p.encoding);
    if (f->p.cut)
        find(f, INFER_ROWS, NULL, "has more than %d rows: these were looked at", (int)PROFILE_ROWS_MAX);
    for (int i = 0; f->kind == TASK_CLASSIFY && i < label->n_values; i++)
        if (label->values[i].n < RARE_ROWS)
            find(f, INFER_RARE, label->name,
                 "has the label '%.60s' in %lld row%s: too few to learn from without more of it",
                 label->values[i].text, (long long)label->values[i].n, label->values[i].n == 1 ? "" : "s");
    if (f->p.n_unlabelled > 0)
        find(f, INFER_MISSING, label->name,
             "is missing in %lld rows, which cannot be used so: fill it in or take them out",
             (long long)f->p.n_unlabelled);
    int rc = profile_contradictions(&f->p, f->use, &never, e);
    if (rc == 0 && never > 0)
        find(
            f, INFER_CONTRADICTION, NULL,
            "has %lld rows with the fields of another row but another %s: no model can be right in more than "
            "%.1f%%",
            (long long)never, f->kind == TASK_CLASSIFY ? "label" : "answer",
            100 - 100 * (double)never / (double)f->p.n_rows);
    return rc;
}

static int infer(struct inferring *f, struct err *e) {
    int rc = profile_read(&f->p, f->o->path, f->o->label, e);
    if (rc < 0)
        return rc;
    f->use = arena_calloc(&f->p.arena, (size_t)f->p.n_columns, sizeof *f->use);
    f->category = arena_calloc(&f->p.arena, (size_t)f->p.n_columns, sizeof *f->category);
    f->order = arena_calloc(&f->p.arena, (size_t)f->p.n_columns, sizeof *f->order);
    if (!f->use || !f->category || !f->order)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    f->out->n_rows = f->p.n_rows;
    if ((rc = judge_kind(f, e)) < 0)
        return rc;
    judge_doubts(f);
    for (int i = 0; i < f->p.n_columns; i++) {
        judge_column(f, i);
        if (f->use[i] || (f->p.columns[i].of_label && f->kind == TASK_EXTRACT))
            judge_type(f, i);
    }
    if ((rc = check_any_field(f, e)) == 0 && (rc = judge_relations(f, e)) == 0)
        rc = judge_rows(f, e);
    return rc == 0 ? make_task(f, e) : rc;
}

int infer_task(struct inference *out, const struct infer_options *o, struct err *e) {
    *out = (struct inference){0};
    arena_init(&out->arena);
    struct inferring f = {.out = out, .o = o};
    int rc = infer(&f, e);
    profile_release(&f.p);
    if (rc < 0)
        infer_release(out);
    return rc;
}

void infer_release(struct inference *f) {
    task_release(&f->task);
    arena_release(&f->arena);
    *f = (struct inference){0};
}
