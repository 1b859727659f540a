/* WRITE and ANSWER of the kinds extract and respond. */
#include "format/json.h"
#include "task/answer.h"
#include "teacher/protocol_internal.h"
#include <string.h>

enum { RATIONALE_TOKENS = 256 };

/* The embedded teacher knows the three requests of classify tasks, and nothing else. */
static int needs_full(enum protocol_style style, const struct task *t, struct err *e) {
    if (style == PROTOCOL_FULL)
        return 0;
    err_set(e, ERR_UNSUPPORTED, "protocol_write", "the embedded teacher labels; it does not %s",
            t->kind == TASK_EXTRACT ? "extract" : "respond");
    return err_hint(
        e, "name a larger teacher (teacher: in edgestill.yaml), or give rows of your own (data: path:)");
}

static void add_task(const struct task *t, struct str *out) {
    str_add(out, *t->sentence ? t->sentence : t->instruction);
    str_add_char(out, ' ');
}

static const char compose_explained[] = " Write invented but plausible records that differ from each other "
                                        "in every field, in wording and in length, "
                                        "spread over all that the task may meet, among them hard ones. Do "
                                        "not answer them. Answer with one JSON object "
                                        "{\"records\":[{…},…]} whose records have exactly the fields above, "
                                        "in this order, numbers as JSON numbers, dates "
                                        "as YYYY-MM-DD.";

int protocol_compose(struct protocol_request *r, enum protocol_style style, const struct task *t,
                     int n_records, const struct protocol_hint *hint, struct err *e) {
    int rc = needs_full(style, t, e);
    if (rc < 0)
        return rc;
    struct task view = answer_view(t);
    protocol_begin(r);
    str_add(&r->system, "Write records for the task: ");
    add_task(t, &r->system);
    str_add(&r->system, "Fields: ");
    protocol_fields_line(t, &r->system);
    str_add(&r->system, ". What will be answered: ");
    protocol_fields_line(&view, &r->system);
    str_add_char(&r->system, '.');
    str_add(&r->system, compose_explained);
    str_addf(&r->user, "Write %d records", n_records);
    protocol_hint_text(t, hint, &r->user);
    str_add_char(&r->user, '.');
    protocol_write_schema(t, n_records, hint, &r->schema);
    r->schema_name = "records";
    return protocol_finish(r, style, 32 + n_records * protocol_record_bytes(t), e);
}

static int answer_request(struct protocol_request *r, enum protocol_style style, const struct task *t,
                          const struct record *record, struct err *e) {
    int rc = needs_full(style, t, e);
    if (rc < 0)
        return rc;
    struct task view = answer_view(t);
    struct task_field with_reasons[1 + TASK_FIELDS_MAX];
    protocol_begin(r);
    str_add(&r->system, "Answer a record of the task: ");
    add_task(t, &r->system);
    str_add(&r->system, "The answer: ");
    protocol_fields_line(&view, &r->system);
    str_add(&r->system, ". Answer in JSON, with exactly these fields");
    for (int i = 0; i < view.n_fields; i++)
        if (view.fields[i].optional)
            str_addf(&r->system, "; \"%s\" is null where the record does not say it", view.fields[i].name);
        else if (view.fields[i].max_chars)
            str_addf(&r->system, "; \"%s\" has at most %d characters", view.fields[i].name,
                     view.fields[i].max_chars);
    str_add_char(&r->system, '.');
    if (t->rationale) { /* before the answer, where it helps it */
        str_add(&r->system,
                " Before them, in \"rationale\", say in one or two short sentences how the answer "
                "follows from the record.");
        with_reasons[0] = (struct task_field){.name = "rationale", .column = "rationale", .type = FIELD_TEXT};
        memcpy(with_reasons + 1, view.fields, (size_t)view.n_fields * sizeof *view.fields);
        view.fields = with_reasons;
        view.n_fields = view.n_declared = view.n_fields + 1;
    }
    str_add(&r->user, "Record: ");
    record_to_line(t, record, &r->user);
    protocol_fields_schema(&view, NULL, &r->schema);
    r->schema_name = "answer";
    return protocol_finish(r, style, 32 + answer_bytes_max(t) + (t->rationale ? RATIONALE_TOKENS : 0), e);
}

int protocol_judge(struct protocol_request *r, enum protocol_style style, const struct task *t,
                   const struct record *record, struct err *e) {
    return t->kind == TASK_CLASSIFY ? protocol_label(r, style, t, record, e)
                                    : answer_request(r, style, t, record, e);
}

int protocol_answer_read(const struct task *t, const char *content, struct str *out) {
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = protocol_json_read(&a, "answer", content, &root, NULL);
    if (rc == 0 && t->rationale)
        protocol_drop_key(root, "rationale");
    if (rc == 0)
        rc = answer_from_node(t, root, out, NULL);
    arena_release(&a);
    return rc == 0 || rc == ERR_NO_MEMORY ? rc : ERR_TEACHER;
}
