/* The texts of the three requests, byte for byte as the embedded teacher learned them. */
#include "format/json.h"
#include "task/text.h"
#include "teacher/protocol_internal.h"
#include "teacher/protocol_words.h"
#include <string.h>

void protocol_release(struct protocol_request *r) {
    str_release(&r->system);
    str_release(&r->user);
    str_release(&r->schema);
    *r = (struct protocol_request){0};
}

void protocol_begin(struct protocol_request *r) {
    str_clear(&r->system);
    str_clear(&r->user);
    str_clear(&r->schema);
    r->schema_name = NULL;
    r->labels = NULL;
    r->n_labels = 0;
}

int protocol_finish(struct protocol_request *r, enum protocol_style style, int64_t answer_tokens,
                    struct err *e) {
    /* A large teacher may think before it answers, and its thoughts count. */
    r->max_tokens = answer_tokens + (style == PROTOCOL_FULL ? 8192 : 0);
    int rc = str_check(&r->system, e);
    if (rc == 0)
        rc = str_check(&r->user, e);
    return rc == 0 ? str_check(&r->schema, e) : rc;
}

/* ---- the lines F and L ---- */

static void add_number(const struct task_field *f, double x, struct str *out) {
    text_add_number(out, x, f->decimals);
}

static void add_field_line(const struct task_field *f, struct str *out) {
    str_addf(out, "%s: ", f->name);
    if (f->type == FIELD_CATEGORY) {
        for (int i = 0; i < f->n_values; i++)
            str_addf(out, "%s%s", i == 0 ? "one of " : ", ", f->values[i]);
        return;
    }
    str_add(out, task_type_name(f->type));
    if (f->has_range) {
        str_add_char(out, ' ');
        add_number(f, f->min, out);
        str_add(out, " to ");
        add_number(f, f->max, out);
    }
    if (f->unit)
        str_addf(out, " %s", f->unit);
}

void protocol_fields_line(const struct task *t, struct str *out) {
    for (int i = 0; i < t->n_declared; i++) {
        str_add(out, i ? "; " : "");
        add_field_line(&t->fields[i], out);
    }
}

static void add_labels(const struct task *t, struct str *out) {
    for (int i = 0; i < t->n_labels; i++)
        str_addf(out, "%s%s: %s", i ? "; " : "", t->labels[i].name, t->labels[i].definition);
}

/* ---- DRAFT ---- */

static const char draft_explained[] =
    " The sentence describes records and what is to be answered to each. kind is \"classify\" when the "
    "answer is one "
    "of a few labels, \"extract\" when it is a set of values found in the record, \"respond\" when it is a "
    "short free "
    "text. Name the fields that a record needs, each with a type: integer or number with min and max (and "
    "decimals "
    "for a number, a unit where there is one), category with its values, text, or date. classify: name the "
    "labels, "
    "each with a definition as a condition on the fields and its boundary cases; exactly one label's "
    "definition may be "
    "\"otherwise\"; answer is []. extract and respond: describe the answer's fields in `answer` in the same "
    "way "
    "(respond has one, of type text); labels is []. Invent nothing that the sentence does not say or clearly "
    "imply, "
    "except sensible ranges. Answer with one JSON object "
    "{\"refusal\":null,\"kind\":\"classify\",\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,"
    "\"max\":60,\"decimals\":null,\"unit\":\"days\",\"values\":null},…],\"labels\":[{\"name\":\"…\","
    "\"definition\":\"…\"},…],\"answer\":[]}. If the sentence describes no task of this kind, answer "
    "{\"refusal\":\"why\",\"kind\":\"classify\",\"fields\":[],\"labels\":[],\"answer\":[]}.";

/* Strict endpoints want an object at the root and every key required, so what does not apply is null. */
#define SCHEMA_FIELD_LIST                                                                                    \
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},"     \
    "\"type\":{\"type\":\"string\",\"enum\":[\"integer\",\"number\",\"category\",\"text\",\"date\"]},"       \
    "\"min\":{\"type\":[\"number\",\"null\"]},\"max\":{\"type\":[\"number\",\"null\"]},"                     \
    "\"decimals\":{\"type\":[\"integer\",\"null\"]},\"unit\":{\"type\":[\"string\",\"null\"]},"              \
    "\"values\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"string\"}}},\"required\":[\"name\","    \
    "\"type\",\"min\",\"max\",\"decimals\",\"unit\",\"values\"],\"additionalProperties\":false}}"

static const char draft_schema_full[] =
    "{\"type\":\"object\",\"properties\":{\"refusal\":{\"type\":[\"string\",\"null\"]},\"kind\":{\"type\":"
    "\"string\",\"enum\":[\"classify\",\"extract\",\"respond\"]},\"fields\":" SCHEMA_FIELD_LIST
    ",\"labels\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":"
    "\"string\"},"
    "\"definition\":{\"type\":\"string\"}},\"required\":[\"name\",\"definition\"],\"additionalProperties\":"
    "false}}"
    ",\"answer\":" SCHEMA_FIELD_LIST
    "},\"required\":[\"refusal\",\"kind\",\"fields\",\"labels\",\"answer\"],\"additionalProperties\":false}";

int protocol_draft(struct protocol_request *r, enum protocol_style style, const char *sentence,
                   struct err *e) {
    protocol_begin(r);
    str_add(&r->system, "Draft a task specification for the sentence. Answer in JSON.");
    if (style == PROTOCOL_FULL)
        str_add(&r->system, draft_explained);
    str_add(&r->user, sentence);
    if (style == PROTOCOL_FULL)
        str_add(&r->schema, draft_schema_full);
    else
        protocol_draft_schema(sentence, &r->schema);
    r->schema_name = "specification";
    return protocol_finish(r, style, 768, e);
}

int protocol_draft_repair(struct protocol_request *r, enum protocol_style style, const char *sentence,
                          const char *answer, const char *complaint, struct err *e) {
    int rc = protocol_draft(r, style, sentence, e);
    if (rc < 0 || style == PROTOCOL_PLAIN)
        return rc;
    str_addf(&r->user, "\n\nAn earlier answer was:\n%s\nIt cannot be used: %s. Answer again, corrected.",
             answer, complaint);
    return str_check(&r->user, e);
}

/* ---- WRITE ---- */

static const char write_explained[] = " Write invented but plausible records that differ from each other in "
                                      "every field, spread over the whole of each"
                                      " field's range or what is asked for, among them some close to the "
                                      "boundary between labels. Each must deserve the label"
                                      " asked for, by the definitions. Answer with one JSON object "
                                      "{\"records\":[{…},…]} whose records have exactly the fields"
                                      " above, in this order, numbers as JSON numbers, dates as YYYY-MM-DD.";

static void add_range_schema(const struct task_field *f, const struct protocol_hint *hint, struct str *out) {
    if (!f->has_range)
        return;
    str_add(out, ",\"minimum\":");
    add_number(f, hint ? hint->low : f->min, out);
    str_add(out, ",\"maximum\":");
    add_number(f, hint ? hint->high : f->max, out);
}

/* `hint` is NULL unless it is about this field. */
static void add_field_schema(const struct task_field *f, const struct protocol_hint *hint, struct str *out) {
    json_text_string(out, f->name);
    switch (f->type) {
    case FIELD_INTEGER:
    case FIELD_NUMBER:
        str_addf(out, ":{\"type\":\"%s\"", task_type_name(f->type));
        add_range_schema(f, hint, out);
        break;
    case FIELD_CATEGORY:
        str_add(out, ":{\"type\":\"string\",\"enum\":[");
        for (int i = hint ? hint->value : 0; i < (hint ? hint->value + 1 : f->n_values); i++) {
            str_add(out, !hint && i ? "," : "");
            json_text_string(out, f->values[i]);
        }
        str_add_char(out, ']');
        break;
    case FIELD_TEXT:
    case FIELD_DATE:
        str_add(out, ":{\"type\":\"string\"");
        break;
    }
    str_add_char(out, '}');
}

/* {"type":"object",...} of all declared fields. */
void protocol_fields_schema(const struct task *t, const struct protocol_hint *hint, struct str *out) {
    str_add(out, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < t->n_declared; i++) {
        str_add(out, i ? "," : "");
        add_field_schema(&t->fields[i], hint && hint->field == i && !hint->of_answer ? hint : NULL, out);
    }
    str_add(out, "},\"required\":[");
    for (int i = 0; i < t->n_declared; i++) {
        str_add(out, i ? "," : "");
        json_text_string(out, t->fields[i].name);
    }
    str_add(out, "],\"additionalProperties\":false}");
}

void protocol_write_schema(const struct task *t, int n_records, const struct protocol_hint *hint,
                           struct str *out) {
    str_addf(out,
             "{\"type\":\"object\",\"properties\":{\"records\":{\"type\":\"array\",\"minItems\":%d,"
             "\"maxItems\":%d,"
             "\"items\":",
             n_records, n_records);
    protocol_fields_schema(t, hint, out);
    str_add(out, "}},\"required\":[\"records\"],\"additionalProperties\":false}");
}

/* A token is at least a byte, so the longest record's bytes bound its tokens. */
int64_t protocol_record_bytes(const struct task *t) {
    int64_t n = 4;
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        size_t value = f->type == FIELD_TEXT ? 400 : 24;
        for (int k = 0; k < f->n_values; k++)
            value = strlen(f->values[k]) > value ? strlen(f->values[k]) : value;
        n += (int64_t)(strlen(f->name) + value + 8);
    }
    return n;
}

void protocol_hint_text(const struct task *t, const struct protocol_hint *hint, struct str *out) {
    if (!hint || hint->field < 0)
        return;
    const struct task_field *f = hint->of_answer ? &t->answer[hint->field] : &t->fields[hint->field];
    str_addf(out, hint->of_answer ? " whose answer has %s " : " with %s ", f->name);
    if (f->type == FIELD_CATEGORY) {
        str_add(out, f->values[hint->value]);
        return;
    }
    str_add(out, "from ");
    add_number(f, hint->low, out);
    str_add(out, " to ");
    add_number(f, hint->high, out);
}

static void begin_write(struct protocol_request *r, enum protocol_style style, const struct task *t) {
    protocol_begin(r);
    str_add(&r->system, "Write records for the task. Fields: ");
    protocol_fields_line(t, &r->system);
    str_add(&r->system, ". Labels: ");
    add_labels(t, &r->system);
    str_add(&r->system, ". Answer in JSON.");
    if (style == PROTOCOL_FULL)
        str_add(&r->system, write_explained);
}

int protocol_write(struct protocol_request *r, enum protocol_style style, const struct task *t, int label,
                   int n_records, const struct protocol_hint *hint, struct err *e) {
    if (t->kind != TASK_CLASSIFY)
        return protocol_compose(r, style, t, n_records, hint, e);
    begin_write(r, style, t);
    str_addf(&r->user, "Write %d records labelled %s", n_records, t->labels[label].name);
    protocol_hint_text(t, hint, &r->user);
    str_add_char(&r->user, '.');
    protocol_write_schema(t, n_records, hint, &r->schema);
    r->schema_name = "records";
    return protocol_finish(r, style, 32 + n_records * protocol_record_bytes(t), e);
}

/* ---- pairs and exemplars ---- */

static bool is_number(const struct task_field *f) {
    return f->type == FIELD_INTEGER || f->type == FIELD_NUMBER;
}

void protocol_pairs_text(const struct task *t, const struct protocol_hint *at, struct str *out) {
    if (at->field >= 0 && is_number(&t->fields[at->field]))
        protocol_hint_text(t, at, out);
    else if (at->field >= 0)
        str_addf(out, " by %s", t->fields[at->field].name);
}

int protocol_write_pairs(struct protocol_request *r, const struct task *t, const struct protocol_pairs *p,
                         struct err *e) {
    const char *first = t->labels[p->first].name, *second = t->labels[p->second].name;
    const struct task_field *f = p->at.field >= 0 ? &t->fields[p->at.field] : NULL;
    begin_write(r, PROTOCOL_FULL, t);
    str_addf(&r->user, "Write %d pairs of records, %d in all, from the boundary between %s and %s", p->n,
             2 * p->n, first, second);
    protocol_pairs_text(t, &p->at, &r->user);
    str_addf(&r->user,
             ". The two of a pair stand one after the other: the first must deserve the label %s, the second "
             "the label %s.",
             first, second);
    if (f && is_number(f))
        str_addf(&r->user,
                 " They are alike in every field but %s, which lies just on either side of the "
                 "boundary: only that makes the difference.",
                 f->name);
    else if (f)
        str_addf(&r->user, " They are alike in every field but %s: only that makes the difference.", f->name);
    else
        str_add(&r->user, " They are alike in every field but one, and differ there in no more than what "
                          "makes the difference.");
    str_add(&r->user, " One pair differs from the next in every field.");
    protocol_write_schema(t, 2 * p->n, f && is_number(f) ? &p->at : NULL, &r->schema);
    r->schema_name = "records";
    return protocol_finish(r, PROTOCOL_FULL, 32 + 2 * p->n * protocol_record_bytes(t), e);
}

int protocol_show(struct protocol_request *r, const char *const *records, int n, struct err *e) {
    if (n > 0)
        str_add(&r->user, "\n\nSome that are there already; write others, no copies or variations of these:");
    for (int i = 0; i < n; i++)
        str_addf(&r->user, "\n%s", records[i]);
    return str_check(&r->user, e);
}

/* ---- LABEL ---- */

static const char label_explained[] = " Write one short line for each condition of the definitions with the "
                                      "record's value and whether it holds, then a last"
                                      " line \"Answer: \" followed by the label alone.";

int protocol_label(struct protocol_request *r, enum protocol_style style, const struct task *t,
                   const struct record *record, struct err *e) {
    protocol_begin(r);
    str_add(&r->system, "Label a record of the task. Labels: ");
    add_labels(t, &r->system);
    str_add(&r->system, ". Check each condition, then answer.");
    if (style == PROTOCOL_FULL)
        str_add(&r->system, label_explained);
    str_add(&r->user, "Record: ");
    record_to_line(t, record, &r->user);
    r->labels = t->labels;
    r->n_labels = t->n_labels;
    return protocol_finish(r, style, 512, e);
}
