/* Records: built from raw text by field name, printed as JSON and as the teacher's line. One path for host
 * and device, so that both see the same text. */
#include "format/json.h"
#include "task/task.h"
#include "task/value.h"
#include <string.h>

int record_build(const struct task *t, struct arena *a, bool strict,
                 const char *(*get)(void *context, const struct task_field *f), void *context,
                 struct record *out, struct err *e) {
    struct value *values = arena_calloc(a, (size_t)t->n_fields, sizeof *values);
    if (!values)
        return err_set(e, ERR_NO_MEMORY, "record_build", "out of memory while building a record");
    for (int i = 0; i < t->n_fields; i++) {
        const struct task_field *f = &t->fields[i];
        int rc = f->derived ? value_derive(f, a, values, &values[i], e)
                            : value_parse(f, a, strict, get(context, f), &values[i], e);
        if (rc < 0)
            return rc;
    }
    *out = (struct record){.values = values, .label = -1};
    return 0;
}

/* ---- from JSON ---- */

static const struct node *entry_of(const struct node *object, const struct task_field *f) {
    const struct node *n = node_get(object, f->name);
    return n ? n : node_get(object, f->column);
}

static const char *get_from_node(void *context, const struct task_field *f) {
    const struct node *n = entry_of(context, f);
    return n && n->type != NODE_NULL ? n->text : NULL;
}

static bool is_declared(const struct task *t, const char *key) {
    for (int i = 0; i < t->n_declared; i++)
        if (strcmp(t->fields[i].name, key) == 0 || strcmp(t->fields[i].column, key) == 0)
            return true;
    return false;
}

static int check_entries(const struct task *t, bool strict, const struct node *object, struct err *e) {
    for (const struct node *n = object->first; n; n = n->next) {
        bool declared = is_declared(t, n->key);
        if (!declared && strict)
            return node_error(n, e, "record_from_node", "the record has '%s', which is no field of the task",
                              n->key);
        if (declared && (n->type == NODE_LIST || n->type == NODE_MAP))
            return node_error(n, e, "record_from_node", "field '%s' must be a single value", n->key);
        if (declared && n->type == NODE_STRING && strlen(n->text) != n->text_len)
            return node_error(n, e, "record_from_node", "field '%s' has a NUL character in it", n->key);
    }
    return 0;
}

int record_from_node(const struct task *t, struct arena *a, bool strict, const struct node *object,
                     struct record *out, struct err *e) {
    if (object->type != NODE_MAP)
        return node_error(object, e, "record_from_node", "a record must be a map of field names to values");
    int rc = check_entries(t, strict, object, e);
    if (rc < 0)
        return rc;
    return record_build(t, a, strict, get_from_node, (void *)(uintptr_t)object, out, e);
}

/* ---- printing ---- */

int record_to_json(const struct task *t, const struct record *r, struct str *out) {
    str_add_char(out, '{');
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        const struct value *v = &r->values[i];
        if (i)
            str_add_char(out, ',');
        json_text_string(out, f->name);
        str_add_char(out, ':');
        if (v->missing)
            str_add(out, "null");
        else if (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER)
            str_add(out, v->text);
        else
            json_text_string(out, v->text);
    }
    str_add_char(out, '}');
    return str_check(out, NULL);
}

int record_to_line(const struct task *t, const struct record *r, struct str *out) {
    const char *gap = "";
    for (int i = 0; i < t->n_fields; i++) {
        if (!t->fields[i].in_prompt)
            continue;
        str_addf(out, "%s%s: %s", gap, t->fields[i].name, r->values[i].text);
        gap = "; ";
    }
    return str_check(out, NULL);
}
