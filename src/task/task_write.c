/* A task as text: compact JSON with its keys in a fixed order (what locks and bundles hash), and YAML for the
 * person who reads, edits and accepts it. Both leave out what has its default, and read back to the same
 * task. */
#include "format/json.h"
#include "task/task.h"
#include "task/text.h"

/* ---- JSON ---- */

static void json_key(struct str *out, const char *key, const char *text) {
    str_addf(out, ",\"%s\":", key);
    json_text_string(out, text);
}

static void json_field(const struct task_field *f, struct str *out) {
    str_add(out, "{\"name\":");
    json_text_string(out, f->name);
    if (!str_equal(f->column, f->name))
        json_key(out, "column", f->column);
    json_key(out, "type", task_type_name(f->type));
    if (f->has_range) {
        str_add(out, ",\"min\":");
        json_text_number(out, f->min);
        str_add(out, ",\"max\":");
        json_text_number(out, f->max);
    }
    if (f->type == FIELD_NUMBER)
        str_addf(out, ",\"decimals\":%d", f->decimals);
    if (f->unit)
        json_key(out, "unit", f->unit);
    for (int i = 0; i < f->n_values; i++) {
        str_add(out, i ? "," : ",\"values\":[");
        json_text_string(out, f->values[i]);
    }
    if (f->n_values)
        str_add_char(out, ']');
    if (f->order != DATE_ISO)
        json_key(out, "order", task_order_name(f->order));
    if (f->comma)
        str_add(out, ",\"comma\":true");
    if (f->max_chars)
        str_addf(out, ",\"length\":%d", f->max_chars);
    if (f->optional)
        str_add(out, ",\"optional\":true");
    if (!f->in_prompt)
        str_add(out, ",\"prompt\":false");
    str_add_char(out, '}');
}

static void json_derived(const struct task *t, const struct task_field *f, struct str *out) {
    str_add(out, "{\"name\":");
    json_text_string(out, f->name);
    json_key(out, "op", task_op_name(f->op));
    str_add(out, ",\"of\":[");
    json_text_string(out, t->fields[f->a].name);
    str_add_char(out, ',');
    json_text_string(out, t->fields[f->b].name);
    str_add_char(out, ']');
    if (f->type == FIELD_NUMBER)
        str_addf(out, ",\"decimals\":%d", f->decimals);
    if (f->unit)
        json_key(out, "unit", f->unit);
    if (!f->in_prompt)
        str_add(out, ",\"prompt\":false");
    str_add_char(out, '}');
}

static void json_labels(const struct task *t, struct str *out) {
    str_add(out, "],\"labels\":[");
    for (int i = 0; i < t->n_labels; i++) {
        str_add(out, i ? ",{\"name\":" : "{\"name\":");
        json_text_string(out, t->labels[i].name);
        json_key(out, "definition", t->labels[i].definition);
        str_add_char(out, '}');
    }
    str_add_char(out, ']');
    json_key(out, "positive", t->positive);
}

static void json_answer(const struct task *t, struct str *out) {
    str_add(out, "],\"answer\":[");
    for (int i = 0; i < t->n_answer; i++) {
        str_add(out, i ? "," : "");
        json_field(&t->answer[i], out);
    }
    str_add_char(out, ']');
}

int task_to_json(const struct task *t, struct str *out, struct err *e) {
    str_addf(out, "{\"format\":\"" TASK_FORMAT "\",\"kind\":\"%s\"", task_kind_name(t->kind));
    json_key(out, "name", t->name);
    json_key(out, "sentence", t->sentence);
    json_key(out, "instruction", t->instruction);
    str_add(out, ",\"fields\":[");
    for (int i = 0; i < t->n_declared; i++) {
        str_add(out, i ? "," : "");
        json_field(&t->fields[i], out);
    }
    for (int i = t->n_declared; i < t->n_fields; i++) {
        str_add(out, i > t->n_declared ? "," : "],\"derived\":[");
        json_derived(t, &t->fields[i], out);
    }
    if (t->kind == TASK_CLASSIFY)
        json_labels(t, out);
    else
        json_answer(t, out);
    str_add(out, t->rationale ? ",\"rationale\":true}" : "}");
    return str_check(out, e);
}

/* ---- YAML ---- */

static void yaml_key(struct str *out, const char *indent, const char *key, const char *text) {
    str_addf(out, "%s%s: ", indent, key);
    text_add_yaml(out, text);
    str_add_char(out, '\n');
}

static void yaml_field(const struct task_field *f, struct str *out) {
    static const char indent[] = "    ";
    yaml_key(out, "  - ", "name", f->name);
    if (!str_equal(f->column, f->name))
        yaml_key(out, indent, "column", f->column);
    yaml_key(out, indent, "type", task_type_name(f->type));
    if (f->has_range) {
        str_addf(out, "%smin: ", indent);
        json_text_number(out, f->min);
        str_addf(out, "\n%smax: ", indent);
        json_text_number(out, f->max);
        str_add_char(out, '\n');
    }
    if (f->type == FIELD_NUMBER)
        str_addf(out, "%sdecimals: %d\n", indent, f->decimals);
    if (f->unit)
        yaml_key(out, indent, "unit", f->unit);
    for (int i = 0; i < f->n_values; i++) {
        str_addf(out, "%s%s", i ? ", " : indent, i ? "" : "values: [");
        text_add_yaml(out, f->values[i]);
    }
    if (f->n_values)
        str_add(out, "]\n");
    if (f->order != DATE_ISO)
        yaml_key(out, indent, "order", task_order_name(f->order));
    if (f->comma)
        str_addf(out, "%scomma: true # own rows write 4,5 for 4.5\n", indent);
    if (f->max_chars)
        str_addf(out, "%slength: %d # characters at most\n", indent, f->max_chars);
    if (f->optional)
        str_addf(out, "%soptional: true\n", indent);
    if (!f->in_prompt)
        str_addf(out, "%sprompt: false # feeds a derived field only\n", indent);
}

static void yaml_derived(const struct task *t, const struct task_field *f, struct str *out) {
    static const char indent[] = "    ";
    yaml_key(out, "  - ", "name", f->name);
    yaml_key(out, indent, "op", task_op_name(f->op));
    str_addf(out, "%sof: [", indent);
    text_add_yaml(out, t->fields[f->a].name);
    str_add(out, ", ");
    text_add_yaml(out, t->fields[f->b].name);
    str_add(out, "]\n");
    if (f->type == FIELD_NUMBER)
        str_addf(out, "%sdecimals: %d\n", indent, f->decimals);
    if (f->unit)
        yaml_key(out, indent, "unit", f->unit);
    if (!f->in_prompt)
        str_addf(out, "%sprompt: false\n", indent);
}

static void yaml_labels(const struct task *t, struct str *out) {
    str_add(out, "\n# The answers, each with what makes it the right one\nlabels:\n");
    for (int i = 0; i < t->n_labels; i++) {
        yaml_key(out, "  - ", "name", t->labels[i].name);
        yaml_key(out, "    ", "definition", t->labels[i].definition);
    }
    str_add(out, "\n# The label that F1 and PR-AUC are about\n");
    yaml_key(out, "", "positive", t->positive);
}

static void yaml_answer(const struct task *t, struct str *out) {
    str_add(out, t->kind == TASK_EXTRACT ? "\n# The answer: a JSON object with exactly these fields, null "
                                           "where an optional one is missing\n"
                                         : "\n# The answer: a short text\n");
    str_add(out, "answer:\n");
    for (int i = 0; i < t->n_answer; i++)
        yaml_field(&t->answer[i], out);
}

int task_to_yaml(const struct task *t, struct str *out, struct err *e) {
    static const char *const about[] = {[TASK_CLASSIFY] = "fields in, one of the labels out",
                                        [TASK_EXTRACT] = "fields in, a JSON object out",
                                        [TASK_RESPOND] = "fields in, a short text out"};
    str_addf(out,
             "# What the model must do. Edit it freely, then accept it with: edgestill task --accept\n"
             "format: " TASK_FORMAT "\n"
             "kind: %s # %s\n",
             task_kind_name(t->kind), about[t->kind]);
    yaml_key(out, "", "name", t->name);
    str_add(out, "\n# Your own sentence\n");
    yaml_key(out, "", "sentence", t->sentence);
    str_add(out,
            "\n# What the student is told before every record; the rule itself it learns from examples\n");
    yaml_key(out, "", "instruction", t->instruction);
    str_add(out, "\n# What a record consists of; types: integer, number, category, text, date\nfields:\n");
    for (int i = 0; i < t->n_declared; i++)
        yaml_field(&t->fields[i], out);
    if (t->n_fields > t->n_declared)
        str_add(
            out,
            "\n# Computed from the fields before the prompt, here and on the device: ratio, difference, sum, "
            "days_between\nderived:\n");
    for (int i = t->n_declared; i < t->n_fields; i++)
        yaml_derived(t, &t->fields[i], out);
    if (t->kind == TASK_CLASSIFY)
        yaml_labels(t, out);
    else
        yaml_answer(t, out);
    if (t->rationale)
        str_add(out, "\n# The teacher's reasons are learned, too, by questions of their own; answers stay as "
                     "they are\n"
                     "rationale: true\n");
    return str_check(out, e);
}
