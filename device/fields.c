/* What a record has and has not. */
#include "fields.h"
#include "format/json.h"
#include <string.h>

static bool is_field(const struct task *t, const char *key) {
    for (int i = 0; i < t->n_declared; i++) {
        if (str_equal(key, t->fields[i].name) || str_equal(key, t->fields[i].column))
            return true;
    }
    return false;
}

void fields_names(const struct task *t, struct str *out) {
    for (int i = 0; i < t->n_declared; i++)
        str_addf(out, "%s%s", i ? ", " : "", t->fields[i].name);
}

int fields_check(const struct task *t, const struct node *record, struct err *e) {
    if (!record || record->type != NODE_MAP)
        return err_set(e, ERR_INPUT, "fields_check", "a record is a JSON object of the task's fields");
    for (const struct node *f = record->first; f; f = f->next) {
        if (is_field(t, f->key))
            return 0;
    }
    struct str names = {0};
    fields_names(t, &names);
    err_set(e, ERR_INPUT, "fields_check", "the record has none of the task's fields");
    err_hint(e, "they are: %.280s", str_text(&names));
    str_release(&names);
    return ERR_INPUT;
}

static void add_name(struct str *list, const char *name) {
    str_add_char(list, list->len ? ',' : '[');
    json_text_string(list, name);
}

/* The list, closed, in the arena; NULL where it is empty. */
static int keep(struct str *list, struct arena *a, const char **out, struct err *e) {
    *out = NULL;
    if (list->len == 0)
        return 0;
    str_add_char(list, ']');
    int rc = str_check(list, e);
    if (rc == 0 && !(*out = arena_strdup(a, str_text(list))))
        rc = err_set(e, ERR_NO_MEMORY, "fields_doubt", "no memory for a record");
    return rc;
}

int fields_doubt(const struct task *t, const struct node *object, const struct record *record,
                 struct arena *a, struct fields_doubt *out, struct err *e) {
    struct str missing = {0}, unknown = {0}, outside = {0};
    *out = (struct fields_doubt){0};
    for (int i = 0; i < t->n_declared; i++) {
        if (record->values[i].missing && !t->fields[i].optional)
            add_name(&missing, t->fields[i].name);
        if (!task_field_allows(&t->fields[i], &record->values[i]))
            add_name(&outside, t->fields[i].name);
    }
    for (const struct node *f = missing.len ? object->first : NULL; f; f = f->next) {
        if (!is_field(t, f->key) && strcmp(f->key, "id") != 0)
            add_name(&unknown, f->key);
    }
    int rc = keep(&missing, a, &out->missing, e);
    if (rc == 0)
        rc = keep(&unknown, a, &out->unknown, e);
    if (rc == 0)
        rc = keep(&outside, a, &out->outside, e);
    str_release(&missing);
    str_release(&unknown);
    str_release(&outside);
    return rc;
}
