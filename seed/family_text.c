/* The texts of the family: sentence, specification, the lines that prompts are made of, records and reasoning.
 * The prompts around them are the teacher protocol's (src/teacher/); tests/seed holds both against each other. */
#include "family.h"
#include "words.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int64_t powers_of_ten[] = {1, 10, 100, 1000};

static void add_scaled(struct str *out, int64_t value, int decimals) {
    int64_t unit = powers_of_ten[decimals], magnitude = value < 0 ? -value : value;
    str_addf(out, "%s%" PRId64, value < 0 ? "-" : "", magnitude / unit);
    if (decimals > 0)
        str_addf(out, ".%0*" PRId64, decimals, magnitude % unit);
}

void family_value(const struct family_field *f, int64_t value, struct str *out) {
    if (f->type == FAMILY_CATEGORY)
        str_add(out, f->values[value]);
    else
        add_scaled(out, value, f->decimals);
}

static const char *article(const char *word) {
    return strchr("aeiou", word[0]) != NULL ? "an" : "a";
}

static void add_values(struct str *out, const struct family_field *f, const char *last_separator) {
    for (int i = 0; i < f->n_values; i++)
        str_addf(out, "%s%s", i == 0 ? "" : i + 1 == f->n_values ? last_separator : ", ", f->values[i]);
}

/* style 0: "a delay from 0 to 60 days"; 1: "a delay (0 to 60 days)"; 2: "a delay between 0 and 60 days" */
static void add_sentence_field(struct str *out, const struct family_field *f, int style) {
    static const char *const open[] = {" from ", " (", " between "},
                             *const middle[] = {" to ", " to ", " and "}, *const close[] = {"", ")", ""};
    str_addf(out, "%s %s", article(f->name), f->name);
    if (f->type == FAMILY_CATEGORY) {
        str_add(out, style == 0 ? " of " : " (");
        add_values(out, f, " or ");
        str_add(out, style == 0 ? "" : ")");
        return;
    }
    str_add(out, open[style]);
    add_scaled(out, f->min, f->decimals);
    str_add(out, middle[style]);
    add_scaled(out, f->max, f->decimals);
    str_addf(out, "%s%s%s", f->unit[0] != '\0' ? " " : "", f->unit, close[style]);
}

static void add_condition(struct str *out, const struct family_task *t, int index) {
    const struct family_condition *c = &t->conditions[index];
    const struct family_field *f = &t->fields[c->field];
    if (!c->elided)
        str_addf(out, "the %s is ", f->name);
    if (f->type == FAMILY_CATEGORY) {
        str_addf(out, "%s%s", c->op == FAMILY_IS_NOT ? "not " : "", f->values[c->threshold]);
        return;
    }
    str_addf(out, "%s ", c->op_text);
    add_scaled(out, c->threshold / powers_of_ten[f->decimals - c->decimals], c->decimals);
    str_addf(out, "%s%s", f->unit[0] != '\0' ? " " : "", f->unit);
}

/* What stands before condition `index`: true for "or", false for "and". */
static bool joined_by_or(enum family_form form, int index) {
    return form == FORM_A_OR_B || form == FORM_A_OR_B_OR_C || (form == FORM_A_OR_BC && index == 1) ||
           (form == FORM_AB_OR_C && index == 2);
}

void family_rule(const struct family_task *t, struct str *out) {
    for (int i = 0; i < t->n_conditions; i++) {
        if (i > 0 && joined_by_or(t->form, i))
            str_addf(out, "%s or %s", t->comma_or ? "," : "", t->or_when ? "when " : "");
        else if (i > 0)
            str_add(out, " and ");
        add_condition(out, t, i);
    }
}

static void add_decision(struct rng *r, const struct family_task *t, struct str *out) {
    const char *yes = t->labels[0], *no = t->labels[1];
    static const char *const openings[] = {"Flag it as ", "Label it ", "Mark it as ",
                                           "It is ",      "Call it ",  "Answer "};
    if (rng_chance(r, 0.15))
        str_addf(out, "Flag the %s as %s when ", t->thing, yes);
    else
        str_addf(out, "%s%s when ", openings[rng_range(r, 0, 5)], yes);
    family_rule(t, out);
    static const char *const endings[] = {"; otherwise it is ", "; otherwise ", ", otherwise it is ",
                                          "; else ", "; if not, it is "};
    str_addf(out, "%s%s.", endings[rng_range(r, 0, 4)], no);
}

void family_sentence(struct rng *r, const struct family_task *t, struct str *out) {
    str_addf(out, "%s. ", t->intro);
    switch (rng_range(r, 0, 3)) {
    case 0:
        str_addf(out, "Each %s has ", t->thing);
        break;
    case 1:
        str_addf(out, "%s %s has ", strlen(article(t->thing)) == 2 ? "An" : "A", t->thing);
        break;
    case 2:
        str_addf(out, "Every %s comes with ", t->thing);
        break;
    default:
        str_add(out, "A record has ");
        break;
    }
    int style = (int)rng_range(r, 0, 2);
    for (int i = 0; i < t->n_fields; i++) {
        if (i > 0)
            str_add(out, i + 1 < t->n_fields ? ", " : " and ");
        add_sentence_field(out, &t->fields[i], rng_chance(r, 0.9) ? style : (int)rng_range(r, 0, 2));
    }
    str_add(out, ". ");
    add_decision(r, t, out);
}

void family_specification(const struct family_task *t, struct str *out) {
    str_add(out, "{\"fields\":[");
    for (int i = 0; i < t->n_fields; i++) {
        const struct family_field *f = &t->fields[i];
        str_addf(out, "%s{\"name\":\"%s\",\"type\":", i > 0 ? "," : "", f->name);
        if (f->type == FAMILY_CATEGORY) {
            str_add(out, "\"category\",\"values\":[");
            for (int v = 0; v < f->n_values; v++)
                str_addf(out, "%s\"%s\"", v > 0 ? "," : "", f->values[v]);
            str_add(out, "]}");
            continue;
        }
        str_addf(out, "\"%s\",\"min\":", f->type == FAMILY_INTEGER ? "integer" : "number");
        add_scaled(out, f->min, f->decimals);
        str_add(out, ",\"max\":");
        add_scaled(out, f->max, f->decimals);
        if (f->type == FAMILY_NUMBER)
            str_addf(out, ",\"decimals\":%d", f->decimals);
        if (f->unit[0] != '\0')
            str_addf(out, ",\"unit\":\"%s\"", f->unit);
        str_add(out, "}");
    }
    str_add(out, "],\"labels\":[");
    for (int i = 0; i < 2; i++) {
        int label = t->otherwise_first ? 1 - i : i;
        str_addf(out, "%s{\"name\":\"%s\",\"definition\":\"", i > 0 ? "," : "", t->labels[label]);
        if (label == 0)
            family_rule(t, out);
        else
            str_add(out, "otherwise");
        str_add(out, "\"}");
    }
    str_add(out, "]}");
}

void family_fields_line(const struct family_task *t, struct str *out) {
    for (int i = 0; i < t->n_fields; i++) {
        const struct family_field *f = &t->fields[i];
        str_addf(out, "%s%s: ", i > 0 ? "; " : "", f->name);
        if (f->type == FAMILY_CATEGORY) {
            str_add(out, "one of ");
            add_values(out, f, ", ");
            continue;
        }
        str_add(out, f->type == FAMILY_INTEGER ? "integer " : "number ");
        add_scaled(out, f->min, f->decimals);
        str_add(out, " to ");
        add_scaled(out, f->max, f->decimals);
        str_addf(out, "%s%s", f->unit[0] != '\0' ? " " : "", f->unit);
    }
}

void family_labels_line(const struct family_task *t, struct str *out) {
    for (int i = 0; i < 2; i++) {
        int label = t->otherwise_first ? 1 - i : i;
        str_addf(out, "%s%s: ", i > 0 ? "; " : "", t->labels[label]);
        if (label == 0)
            family_rule(t, out);
        else
            str_add(out, "otherwise");
    }
}

void family_record_json(const struct family_task *t, const struct family_record *rec, struct str *out) {
    for (int i = 0; i < t->n_fields; i++) {
        const char *quote = t->fields[i].type == FAMILY_CATEGORY ? "\"" : "";
        str_addf(out, "%s\"%s\":%s", i > 0 ? "," : "{", t->fields[i].name, quote);
        family_value(&t->fields[i], rec->values[i], out);
        str_add(out, quote);
    }
    str_add(out, "}");
}

void family_record_line(const struct family_task *t, const struct family_record *rec, struct str *out) {
    for (int i = 0; i < t->n_fields; i++) {
        str_addf(out, "%s%s: ", i > 0 ? "; " : "", t->fields[i].name);
        family_value(&t->fields[i], rec->values[i], out);
    }
}

void family_record_list(const struct family_task *t, const struct family_record *rec, struct str *out) {
    for (int i = 0; i < t->n_fields; i++) {
        str_addf(out, "- %s: ", t->fields[i].name);
        family_value(&t->fields[i], rec->values[i], out);
        str_add(out, "\n");
    }
}

void family_condition_line(const struct family_task *t, int index, const struct family_record *rec,
                           struct str *out) {
    const struct family_condition *c = &t->conditions[index];
    const struct family_field *f = &t->fields[c->field];
    str_addf(out, "- %s: ", f->name);
    family_value(f, rec->values[c->field], out);
    if (f->type == FAMILY_CATEGORY) {
        str_addf(out, " is%s %s:", c->op == FAMILY_IS_NOT ? " not" : "", f->values[c->threshold]);
        return;
    }
    str_addf(out, " %s ", c->op_text);
    add_scaled(out, c->threshold / powers_of_ten[f->decimals - c->decimals], c->decimals);
    str_add(out, ":");
}

/* How the value stands to the threshold, said before the verdict: the verdict is then a matter of two words, where value,
 * threshold and operator at once are an exclusive-or that a small model hardly learns. */
static const char *relation(const struct family_task *t, const struct family_condition *c, int64_t value) {
    if (value == c->threshold)
        return "equal";
    if (t->fields[c->field].type == FAMILY_CATEGORY)
        return "other";
    return value < c->threshold ? "less" : "more";
}

static int digits_before_point(const char *digits, int n) {
    int zeros = 0;
    while (zeros < n - 1 && digits[zeros] == '0')
        zeros++;
    return n - zeros;
}

/* Two numbers in pairs, value and threshold side by side, until a pair differs: their signs if either is negative, how many
 * digits stand before the point, and the digits from the left. "4815 at most 4600" gives " 44 44 86", "5 over 12" " 12",
 * "0.62 below 0.8" " 11 00 68". Each pair is a copy, and the last one decides: comparing two numbers at one glance took a
 * small model twenty times the text (decision 8). */
static void add_digit_pairs(struct str *out, int64_t value, int64_t threshold, int decimals) {
    char left[24], right[24];
    if (value < 0 || threshold < 0)
        str_addf(out, " %c%c", value < 0 ? '-' : '+', threshold < 0 ? '-' : '+');
    if ((value < 0) != (threshold < 0))
        return;
    int n = snprintf(left, sizeof left, "%019" PRId64, value < 0 ? -value : value), whole = n - decimals;
    snprintf(right, sizeof right, "%019" PRId64, threshold < 0 ? -threshold : threshold);
    int whole_left = digits_before_point(left, whole), whole_right = digits_before_point(right, whole);
    str_addf(out, " %d%d", whole_left, whole_right);
    if (whole_left != whole_right)
        return;
    for (int i = whole - whole_left; i < n; i++) {
        str_addf(out, " %c%c", left[i], right[i]);
        if (left[i] != right[i])
            return;
    }
}

void family_condition_outcome(const struct family_task *t, int index, const struct family_record *rec,
                              struct str *out) {
    const struct family_condition *c = &t->conditions[index];
    const struct family_field *f = &t->fields[c->field];
    bool outcomes[FAMILY_CONDITIONS_MAX];
    family_rule_holds(t, rec, outcomes);
    if (f->type != FAMILY_CATEGORY)
        add_digit_pairs(out, rec->values[c->field], c->threshold, f->decimals);
    str_addf(out, " %s: %s", relation(t, c, rec->values[c->field]), outcomes[index] ? "yes" : "no");
}

/* "- delay: 5 under 2: 11 52 more: no\n- delay: 5 under 7: 11 57 less: yes\n
 *  - approved share: 0.62 below 0.80: 11 00 68 less: yes\n= no or yes and yes: yes\nAnswer: suspicious" */
void family_reasoning(const struct family_task *t, const struct family_record *rec, struct str *out) {
    bool outcomes[FAMILY_CONDITIONS_MAX];
    bool holds = family_rule_holds(t, rec, outcomes);
    for (int i = 0; i < t->n_conditions; i++) {
        family_condition_line(t, i, rec, out);
        family_condition_outcome(t, i, rec, out);
        str_add(out, "\n");
    }
    str_add(out, "=");
    for (int i = 0; i < t->n_conditions; i++)
        str_addf(out, "%s %s",
                 i == 0                     ? ""
                 : joined_by_or(t->form, i) ? " or"
                                            : " and",
                 outcomes[i] ? "yes" : "no");
    str_addf(out, ": %s\nAnswer: %s", holds ? "yes" : "no", t->labels[holds ? 0 : 1]);
}

/* ---- what the teacher refuses ---- */

static void add_random_words(struct rng *r, struct str *out, int n) {
    char word[WORD_MAX];
    for (int i = 0; i < n; i++) {
        word_pick(r, rng_chance(r, 0.7) ? WORDS_NOUN : WORDS_ADJECTIVE, &(struct word_mix){.invented = 0.3},
                  word);
        str_addf(out, "%s%s", i > 0 ? " " : "", word);
    }
}

static void add_request(struct rng *r, struct str *out) {
    static const char *const requests[] = {"Translate the ",
                                           "Summarise the ",
                                           "Write a letter about the ",
                                           "Extract the ",
                                           "Explain the ",
                                           "Draw a ",
                                           "Tell me a story about the ",
                                           "Answer questions on ",
                                           "Turn a spoken wish into a ",
                                           "Recognise the ",
                                           "Predict the ",
                                           "Find the name of the ",
                                           "Correct the spelling of the ",
                                           "Read the ",
                                           "Route the ",
                                           "Decide about the ",
                                           "Sort the ",
                                           "Classify the ",
                                           "Guess the ",
                                           "Reply to the "};
    static const char *const tails[] = {".",
                                        " in French.",
                                        " and give its date as JSON.",
                                        " by how angry the writer is.",
                                        " into five kinds.",
                                        " politely.",
                                        " in one sentence.",
                                        " from the text.",
                                        " by topic.",
                                        " with a short answer."};
    str_add(out, requests[rng_range(r, 0, 19)]);
    add_random_words(r, out, (int)rng_range(r, 1, 4));
    str_add(out, tails[rng_range(r, 0, 9)]);
}

/* A sentence of the family with its decision, or its fields, left out. */
static void add_broken_sentence(struct rng *r, struct str *out) {
    struct family_task t;
    family_draw(r, &(struct family_options){.difficulty = 1, .words.invented = 0.3}, &t);
    struct str whole = {0};
    family_sentence(r, &t, &whole);
    const char *text = str_text(&whole), *fields = strstr(text, ". "), *decision = NULL;
    for (const char *at = fields; at != NULL; at = strstr(at + 2, ". "))
        decision = at;
    if (fields != NULL && decision != NULL && decision != fields) {
        if (rng_chance(r, 0.5))
            str_add_bytes(out, text, (size_t)(decision - text) + 1);
        else {
            str_add_bytes(out, text, (size_t)(fields - text) + 1);
            if (rng_chance(r, 0.3))
                str_add(out, decision + 1);
        }
    } else
        str_add(out, "Do it.");
    str_release(&whole);
}

void family_outside_sentence(struct rng *r, struct str *out) {
    double kind = rng_double(r);
    if (kind < 0.45)
        add_request(r, out);
    else if (kind < 0.75)
        add_broken_sentence(r, out);
    else {
        add_random_words(r, out, (int)rng_range(r, 3, 20));
        str_add(out, ".");
        if (rng_chance(r, 0.4)) {
            str_add(out, " ");
            add_request(r, out);
        }
    }
}
