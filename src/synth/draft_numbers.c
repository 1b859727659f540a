/* Reading ranges, thresholds and units where the sentence has them: see draft_numbers.h. */
#include "synth/draft_numbers.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ORIGIN "draft_task"

enum { UNIT_WORDS = 3 };

/* A number as it is written: "-0.50" is -0.5 with two decimals. */
struct written {
    double value;
    int decimals;
    const char *end;
};

static bool read_number(const char *at, struct written *out) {
    const char *digits = at + (*at == '-');
    size_t whole = strspn(digits, "0123456789"), part = 0;
    if (whole == 0)
        return false;
    if (digits[whole] == '.' && isdigit((unsigned char)digits[whole + 1]))
        part = strspn(digits + whole + 1, "0123456789");
    *out = (struct written){strtod(at, NULL), (int)part, digits + whole + (part ? part + 1 : 0)};
    return true;
}

/* Behind the words, where they stand at `at`; NULL where they do not. */
static const char *after(const char *at, const char *words) {
    size_t n = strlen(words);
    return strncasecmp(at, words, n) == 0 ? at + n : NULL;
}

/* ---- the range ---- */

struct range {
    struct written low, high;
};

static bool read_range(const char *at, struct range *out) {
    static const struct {
        const char *open, *middle;
    } forms[] = {{" from ", " to "}, {" (", " to "}, {" between ", " and "}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const char *low = after(at, forms[i].open);
        const char *high = low && read_number(low, &out->low) ? after(out->low.end, forms[i].middle) : NULL;
        if (high && read_number(high, &out->high))
            return true;
    }
    return false;
}

/* Where the sentence has the name as words of their own. */
static bool find_range(const char *sentence, const char *name, struct range *out) {
    size_t n = strlen(name);
    for (const char *at = sentence; *at; at++)
        if ((at == sentence || at[-1] == ' ') && strncasecmp(at, name, n) == 0 && read_range(at + n, out))
            return true;
    return false;
}

/* ---- the unit ---- */

static bool ends_unit(const char *at) {
    return !*at || strchr(",;()", *at) || (*at == '.' && (!at[1] || at[1] == ' ')) || after(at, " and ");
}

/* What stands between the range and the end of its clause; *n 0: nothing. False: more than a unit. */
static bool read_unit(const char *at, const char **unit, size_t *n) {
    int words = 1;
    at += *at == ' ' && !ends_unit(at);
    *unit = at;
    for (; !ends_unit(at); at++)
        words += *at == ' ';
    *n = (size_t)(at - *unit);
    return words <= UNIT_WORDS;
}

/* ---- the thresholds ---- */

/* The field that a condition speaks of from here on, by its name; -1: none begins here. The longest one, where several do. */
static int field_at(const struct task *t, const char *at) {
    int found = -1;
    for (int i = 0; i < t->n_declared; i++) {
        size_t n = strlen(t->fields[i].name);
        if (strncasecmp(at, t->fields[i].name, n) == 0 && at[n] == ' ' &&
            (found < 0 || n > strlen(t->fields[found].name)))
            found = i;
    }
    return found;
}

/* decimals[n_declared] grows to what the conditions compare with: "the delay is under 2.5 days, or under 7 days". */
static void read_thresholds(const struct task *t, const char *definition, int *decimals) {
    int field = -1;
    for (const char *at = definition; *at; at++) {
        struct written number;
        if (at > definition && at[-1] != ' ')
            continue;
        int named = field_at(t, at);
        field = named >= 0 ? named : field;
        if (named >= 0)
            at += strlen(t->fields[named].name) - 1;
        else if (field >= 0 && read_number(at, &number) && number.decimals > decimals[field])
            decimals[field] = number.decimals;
    }
}

/* ---- the field ---- */

static int settle(struct task *t, struct task_field *f, const struct range *r, int decimals, struct err *e) {
    const char *unit = NULL;
    size_t n = 0;
    decimals = r->low.decimals > decimals ? r->low.decimals : decimals;
    decimals = r->high.decimals > decimals ? r->high.decimals : decimals;
    f->decimals = decimals > TASK_DECIMALS_MAX ? TASK_DECIMALS_MAX : decimals;
    f->type = decimals > 0 ? FIELD_NUMBER : FIELD_INTEGER;
    if (!read_unit(r->high.end, &unit, &n))
        return 0;
    f->unit = n ? arena_strndup(&t->arena, unit, n) : NULL;
    return n && !f->unit ? err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory") : 0;
}

int draft_check_numbers(const struct task *t, struct err *e) {
    enum { DECIMALS = 2, WHOLE = 9999, WITH_DECIMALS = 999 };
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        double most = f->has_range ? fmax(fabs(f->min), fabs(f->max)) : 0;
        if ((f->type != FIELD_INTEGER && f->type != FIELD_NUMBER) ||
            (f->decimals <= DECIMALS && most <= (f->decimals > 0 ? WITH_DECIMALS : WHOLE)))
            continue;
        err_set(
            e, ERR_UNSUPPORTED, ORIGIN,
            "the embedded teacher does not compare such numbers reliably: '%s' goes to %.*f with %d decimals",
            f->name, f->decimals, f->has_range && fabs(f->min) > fabs(f->max) ? f->min : f->max, f->decimals);
        return err_hint(e,
                        "it knows whole numbers to %d and one or two decimals to %d: state '%s' in a larger "
                        "or smaller unit "
                        "(thousands, thousandths), give labelled rows of your own (--data), or use a larger "
                        "teacher (--teacher)",
                        (int)WHOLE, (int)WITH_DECIMALS, f->name);
    }
    return 0;
}

static bool states_rule(const struct task *t, const char *definition) {
    bool states = false;
    for (int i = 0; i < t->n_fields && definition; i++)
        states = states || strcasestr(definition, t->fields[i].name);
    return states;
}

int draft_check_rule(const struct task *t, struct err *e) {
    bool states = false;
    for (int i = 0; i < t->n_labels; i++)
        states = states || states_rule(t, t->labels[i].definition);
    if (t->kind == TASK_CLASSIFY && t->n_labels == 2 && states)
        return 0;
    if (t->kind != TASK_CLASSIFY)
        err_set(e, ERR_UNSUPPORTED, ORIGIN,
                "the embedded teacher labels records, and this task is of kind %s", task_kind_name(t->kind));
    else if (t->n_labels != 2)
        err_set(e, ERR_UNSUPPORTED, ORIGIN,
                "the embedded teacher tells two labels apart, and this task has %d", t->n_labels);
    else
        err_set(e, ERR_UNSUPPORTED, ORIGIN,
                "the embedded teacher follows a stated rule, and no label's definition in task.yaml names a "
                "field");
    return err_hint(
        e, "%suse a larger teacher, or take own rows as they are (edgestill.yaml: teacher: kind: none)",
        t->kind == TASK_CLASSIFY && t->n_labels == 2 && t->n_declared > 0
            ? "state the rule there (\"the NAME is under 5\", \"otherwise\"), "
            : "");
}

int draft_settle_numbers(struct task *t, const char *sentence, struct str *complaint, struct err *e) {
    int decimals[TASK_FIELDS_MAX] = {0}, rc = 0;
    struct range r;
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        bool numeric = f->type == FIELD_INTEGER || f->type == FIELD_NUMBER;
        if (numeric && find_range(sentence, f->name, &r) &&
            (!f->has_range || r.low.value != f->min || r.high.value != f->max)) {
            str_addf(complaint, "the range of '%s' is not the sentence's", f->name);
            return 0;
        }
    }
    for (int i = 0; i < t->n_labels; i++)
        read_thresholds(t, t->labels[i].definition, decimals);
    for (int i = 0; i < t->n_declared && rc == 0; i++) {
        struct task_field *f = &t->fields[i];
        if ((f->type == FIELD_INTEGER || f->type == FIELD_NUMBER) && find_range(sentence, f->name, &r))
            rc = settle(t, f, &r, decimals[i], e);
    }
    return rc;
}
