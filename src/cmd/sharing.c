/* See sharing.h. */
#include "cmd/sharing.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ORIGIN "sharing"
#define NOTE   "shared rows"

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

/* ---- columns ---- */

static bool names(const char *column, const struct task_field *f) {
    return strcmp(column, f->name) == 0 || strcmp(column, f->column) == 0;
}

static bool is_shared(const struct project *p, const struct task_field *f) {
    const struct project_data *d = &p->data;
    for (int i = 0; i < d->n_share_columns; i++)
        if (names(d->share_columns[i], f))
            return true;
    return d->n_share_columns == 0;
}

static bool is_field(const struct task *t, const char *column) {
    for (int i = 0; i < t->n_declared; i++)
        if (names(column, &t->fields[i]))
            return true;
    return false;
}

int sharing_check(const struct project *p, const struct task *t, struct err *e) {
    const struct project_data *d = &p->data;
    for (int i = 0; i < d->n_share_columns; i++) {
        if (is_field(t, d->share_columns[i]))
            continue;
        struct str fields = {0};
        for (int k = 0; k < t->n_declared; k++)
            str_addf(&fields, "%s%s", k ? ", " : "", t->fields[k].name);
        err_set(e, ERR_INPUT, ORIGIN,
                "share_columns in edgestill.yaml names '%s', which is no field of the task",
                d->share_columns[i]);
        err_hint(e, "only fields of the task are ever sent: %.400s", str_text(&fields));
        str_release(&fields);
        return ERR_INPUT;
    }
    return 0;
}

json_t *sharing_columns(const struct project *p, const struct task *t) {
    json_t *list = json_array();
    for (int i = 0; i < t->n_declared && list; i++)
        if (is_shared(p, &t->fields[i]))
            json_array_append_new(list, json_lossy_string(t->fields[i].name));
    return list;
}

int sharing_fields(struct project *p, const struct task *t, const bool **out, struct err *e) {
    bool *fields = arena_calloc(&p->arena, (size_t)t->n_declared + 1, sizeof *fields);
    for (int i = 0; i < t->n_declared && fields; i++)
        fields[i] = is_shared(p, &t->fields[i]);
    if (!fields)
        return no_memory(e);
    *out = fields;
    return 0;
}

/* ---- rows ---- */

struct viewing {
    const struct project *project;
    const struct task *task;
    const struct record *record;
};

static const char *shared_text(void *context, const struct task_field *f) {
    const struct viewing *x = context;
    const struct value *v = &x->record->values[f - x->task->fields];
    return v->missing || !is_shared(x->project, f) ? NULL : v->text;
}

static int view_one(struct viewing *x, struct arena *a, struct record *out, struct err *e) {
    const struct record *r = x->record;
    int rc = record_build(x->task, a, false, shared_text, x, out, e);
    out->label = r->label;
    if (rc == 0 && r->answer && !(out->answer = arena_strdup(a, r->answer)))
        rc = no_memory(e);
    return rc;
}

int sharing_view(const struct project *p, const struct task *t, const struct rows *rows, struct rows *out,
                 struct err *e) {
    struct rows seen = {.n = rows->n, .n_own = rows->n_own};
    struct viewing x = {.project = p, .task = t};
    memcpy(seen.sha256, rows->sha256, sizeof seen.sha256);
    arena_init(&seen.arena);
    seen.records = calloc((size_t)rows->n + 1, sizeof *seen.records);
    seen.source = arena_strdup(&seen.arena, rows->source);
    int rc = seen.records && seen.source ? 0 : no_memory(e);
    for (int64_t i = 0; i < rows->n && rc == 0; i++) {
        x.record = &rows->records[i];
        rc = view_one(&x, &seen.arena, &seen.records[i], e);
    }
    if (rc < 0)
        rows_release(&seen);
    else
        *out = seen;
    return rc;
}

/* ---- the ledger ---- */

json_t *sharing_ledger(struct store *s) {
    struct arena a;
    const char *text = NULL;
    arena_init(&a);
    json_t *list = store_note_get(s, NOTE, &a, &text, NULL) == 0 && text ? json_loads(text, 0, NULL) : NULL;
    arena_release(&a);
    if (json_is_array(list))
        return list;
    json_decref(list);
    return json_array();
}

static bool is_noted(const json_t *list, json_t *entry) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        json_t *timeless = json_copy(one);
        json_object_del(timeless, "at");
        bool same = json_equal(timeless, entry) != 0;
        json_decref(timeless);
        if (same)
            return true;
    }
    return false;
}

static void set_time(json_t *entry) {
    char when[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_object_set_new(entry, "at", json_string(when));
}

int sharing_enter(struct store *s, const struct project *p, const struct task *t, const struct sharing *x,
                  struct err *e) {
    json_t *list = sharing_ledger(s), *columns = sharing_columns(p, t);
    json_t *entry =
        json_pack("{s:s, s:o, s:I, s:o, s:o}", "what", x->what, "from", json_lossy_string(x->from), "rows",
                  (json_int_t)x->n_rows, "columns", columns, "teacher", json_lossy_string(x->teacher));
    int rc = list && entry ? 0 : no_memory(e);
    if (rc == 0 && !is_noted(list, entry)) {
        set_time(entry);
        json_array_append(list, entry);
        char *text = json_dumps(list, JSON_COMPACT);
        rc = text ? store_note_set(s, NOTE, text, e) : no_memory(e);
        free(text);
    }
    json_decref(entry);
    json_decref(list);
    return rc;
}
