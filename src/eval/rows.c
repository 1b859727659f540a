/* Reading labelled rows. One builder takes a label and a record from whichever source and hashes both as it goes. */
#include "eval/rows.h"
#include "format/csv.h"
#include "format/json.h"
#include "format/jsonl.h"
#include "task/answer.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct builder {
    struct rows rows;
    const struct task *task;
    int64_t capacity, keys_capacity, limit;
    bool own; /* those of the user's alone */
    const char *key_column;
    const char *key; /* of the row at hand */
    struct sha256 *hash;
    struct str text; /* scratch */
    const char *name;
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "rows_read", "out of memory for the rows");
}

static int builder_init(struct builder *b, const struct task *t, const char *name,
                        const struct rows_options *o, struct err *e) {
    *b = (struct builder){.task = t, .name = name, .limit = o && o->limit > 0 ? o->limit : INT64_MAX};
    b->key_column = o ? o->key_column : NULL;
    b->own = o && o->own;
    arena_init(&b->rows.arena);
    b->hash = sha256_new();
    b->rows.source = arena_strdup(&b->rows.arena, name);
    return b->hash && b->rows.source ? 0 : no_memory(e);
}

/* Gives the rows away when rc is 0, else frees them. */
static int builder_finish(struct builder *b, int rc, struct rows *out, struct err *e) {
    char hex[SHA256_HEX] = "";
    if (b->hash)
        sha256_finish(b->hash, hex);
    str_release(&b->text);
    if (rc == 0 && b->rows.n == 0)
        rc = err_set(e, ERR_INPUT, "rows_read", "%s has no rows", b->name);
    if (rc < 0) {
        rows_release(&b->rows);
        return rc;
    }
    memcpy(b->rows.sha256, hex, sizeof hex);
    *out = b->rows;
    return 0;
}

static int add_key(struct builder *b, struct err *e) {
    void *keys = b->rows.keys;
    if (!b->key_column)
        return 0;
    if (mem_grow(&keys, &b->keys_capacity, b->rows.n + 1, sizeof *b->rows.keys) < 0)
        return no_memory(e);
    b->rows.keys = keys;
    b->rows.keys[b->rows.n] = arena_strdup(&b->rows.arena, b->key ? b->key : "");
    return b->rows.keys[b->rows.n] ? 0 : no_memory(e);
}

static int builder_add(struct builder *b, struct record *r, bool own, struct err *e) {
    void *records = b->rows.records;
    if (mem_grow(&records, &b->capacity, b->rows.n + 1, sizeof *b->rows.records) < 0)
        return no_memory(e);
    b->rows.records = records;
    if (add_key(b, e) < 0)
        return ERR_NO_MEMORY;
    b->rows.records[b->rows.n++] = *r;
    b->rows.n_own += own;
    str_clear(&b->text);
    record_to_json(b->task, r, &b->text);
    sha256_add_text(b->hash, str_text(&b->text));
    sha256_add_text(b->hash, record_answer(b->task, r));
    return str_check(&b->text, e);
}

static int find_label(const struct task *t, const char *text) {
    int index = task_label_index(t, text);
    for (int i = 0; index < 0 && text && i < t->n_labels; i++)
        if (strcasecmp(t->labels[i].name, text) == 0)
            index = i;
    return index;
}

static int bad_label(const struct builder *b, int64_t line, const char *text, struct err *e) {
    struct str names = {0};
    for (int i = 0; i < b->task->n_labels; i++)
        str_addf(&names, "%s%s", i ? ", " : "", b->task->labels[i].name);
    int rc = text && *text ? err_set(e, ERR_INPUT, "rows_read", "%s:%lld: '%.80s' is no label of the task",
                                     b->name, (long long)line, text)
                           : err_set(e, ERR_INPUT, "rows_read", "%s:%lld: the label is missing", b->name,
                                     (long long)line);
    err_hint(e, "%sthe labels are: %s", text && *text ? "" : "write it there or take the row out; ",
             str_text(&names));
    str_release(&names);
    return rc;
}

/* ---- the right answer ---- */

static int set_label(const struct builder *b, int64_t line, const char *text, struct record *r,
                     struct err *e) {
    r->label = find_label(b->task, text);
    return r->label < 0 ? bad_label(b, line, text, e) : 0;
}

static int take_answer(struct builder *b, int64_t line, struct str *answer, int rc, struct record *r,
                       struct err *e) {
    r->answer = rc == 0 ? arena_strdup(&b->rows.arena, str_text(answer)) : NULL;
    if (rc == 0 && !r->answer)
        rc = no_memory(e);
    str_release(answer);
    return rc < 0 ? err_context(e, "%s:%lld: the answer", b->name, (long long)line) : 0;
}

static int set_answer(struct builder *b, int64_t line, const char *text, struct record *r, struct err *e) {
    struct str answer = {0};
    if (b->task->kind == TASK_CLASSIFY)
        return set_label(b, line, text, r, e);
    int rc = answer_read(b->task, text ? text : "", &answer, e);
    return take_answer(b, line, &answer, rc, r, e);
}

/* ---- CSV ---- */

struct csv_source {
    struct builder *builder;
    struct csv_reader *reader;
    int *column;    /* of each declared field; -1: an optional one that the file does not have */
    int label, key; /* key: -1 where none is asked for */
    int *answer;    /* of each field of the answer, where they have columns of their own; else NULL */
};

static const char *csv_get(void *context, const struct task_field *f) {
    const struct csv_source *s = context;
    int column = s->column[f - s->builder->task->fields];
    return column < 0 ? NULL : csv_reader_field(s->reader, column);
}

static const char *csv_get_answer(void *context, const struct task_field *f) {
    const struct csv_source *s = context;
    int column = s->answer[f - s->builder->task->answer];
    return column < 0 ? NULL : csv_reader_field(s->reader, column);
}

static int no_column(const struct builder *b, const struct csv_source *s, const char *name, const char *what,
                     struct err *e) {
    struct str names = {0};
    for (int i = 0; i < csv_reader_n_columns(s->reader); i++)
        str_addf(&names, "%s%s", i ? ", " : "", csv_reader_name(s->reader, i));
    int rc = err_set(e, ERR_INPUT, "rows_read", "%s has no column '%s' (%s)", b->name, name, what);
    err_hint(e, "its columns are: %s", str_text(&names));
    str_release(&names);
    return rc;
}

static int csv_answer_columns(struct builder *b, struct csv_source *s, struct err *e) {
    const struct task *t = b->task;
    s->answer = arena_calloc(&b->rows.arena, (size_t)t->n_answer, sizeof *s->answer);
    if (!s->answer)
        return no_memory(e);
    for (int i = 0; i < t->n_answer; i++) {
        const struct task_field *f = &t->answer[i];
        s->answer[i] = csv_reader_column(s->reader, f->column);
        if (s->answer[i] < 0)
            s->answer[i] = csv_reader_column(s->reader, f->name);
        if (s->answer[i] < 0 && !f->optional)
            return no_column(b, s, f->column, "part of the answer", e);
    }
    return 0;
}

/* The answer out of its own columns: built as a record of the answer's fields. */
static int csv_answer(struct builder *b, struct csv_source *s, struct record *r, struct err *e) {
    if (!s->answer)
        return set_answer(b, csv_reader_line(s->reader), csv_reader_field(s->reader, s->label), r, e);
    struct task view = answer_view(b->task);
    struct record answer;
    struct str text = {0};
    int rc = record_build(&view, &b->rows.arena, true, csv_get_answer, s, &answer, e);
    if (rc == 0 && b->task->kind == TASK_EXTRACT)
        rc = record_to_json(&view, &answer, &text);
    else if (rc == 0)
        str_add(&text, answer.values[0].text);
    return take_answer(b, csv_reader_line(s->reader), &text, rc, r, e);
}

static int csv_columns(struct builder *b, struct csv_source *s, const char *label_column, struct err *e) {
    const struct task *t = b->task;
    s->column = arena_calloc(&b->rows.arena, (size_t)t->n_declared, sizeof *s->column);
    if (!s->column)
        return no_memory(e);
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        s->column[i] = csv_reader_column(s->reader, f->column);
        if (s->column[i] < 0)
            s->column[i] = csv_reader_column(s->reader, f->name);
        if (s->column[i] < 0 && !f->optional)
            return no_column(b, s, f->column, "a field of the task", e);
    }
    s->key = b->key_column ? csv_reader_column(s->reader, b->key_column) : -1;
    if (b->key_column && s->key < 0)
        return no_column(b, s, b->key_column, "for the splits", e);
    s->label = csv_reader_column(s->reader, label_column);
    if (t->n_answer > 0 && s->label < 0)
        return csv_answer_columns(b, s, e);
    return s->label < 0 ? no_column(b, s, label_column, "the label", e) : 0;
}

static int csv_rows(struct builder *b, struct csv_source *s, struct err *e) {
    int rc = 0;
    while (b->rows.n < b->limit && (rc = csv_reader_next(s->reader, e)) > 0) {
        struct record r;
        rc = record_build(b->task, &b->rows.arena, false, csv_get, s, &r, e);
        if (rc < 0) {
            err_context(e, "%s:%lld", b->name, (long long)csv_reader_line(s->reader));
            return rc;
        }
        b->key = s->key < 0 ? NULL : csv_reader_field(s->reader, s->key);
        if ((rc = csv_answer(b, s, &r, e)) < 0 || (rc = builder_add(b, &r, true, e)) < 0)
            return rc;
    }
    return rc < 0 ? rc : 0;
}

static int read_csv(struct builder *b, const char *path, const char *label_column, struct err *e) {
    struct csv_source s = {.builder = b};
    int rc = csv_reader_open(&s.reader, path, NULL, e);
    if (rc < 0)
        return rc;
    rc = csv_columns(b, &s, label_column, e);
    if (rc == 0)
        rc = csv_rows(b, &s, e);
    csv_reader_close(s.reader);
    return rc;
}

/* ---- JSON Lines ---- */

/* A row may lack optional fields, and its values are text or numbers; a missing other field is a mistake in the file. */
static int jsonl_answer(struct builder *b, const struct node *n, int64_t line, const char *label_column,
                        struct record *r, struct err *e) {
    const struct node *whole = node_get(n, label_column);
    const char *text = NULL;
    if (b->task->kind == TASK_CLASSIFY || (whole && whole->type != NODE_MAP)) {
        int rc = node_string(n, label_column, false, &text, e);
        return rc < 0 ? rc : set_answer(b, line, text, r, e);
    }
    struct task view = answer_view(b->task);
    struct arena a;
    struct record answer;
    struct str out = {0};
    arena_init(&a); /* the row itself holds the answer's fields beside others */
    int rc =
        whole ? answer_from_node(b->task, whole, &out, e) : record_from_node(&view, &a, false, n, &answer, e);
    if (rc == 0 && !whole && b->task->kind == TASK_RESPOND) {
        rc = answer_read(b->task, answer.values[0].text, &out, e);
    } else if (rc == 0 && !whole) {
        struct str loose = {0}; /* once more, strictly */
        rc = record_to_json(&view, &answer, &loose);
        rc = rc == 0 ? answer_read(b->task, str_text(&loose), &out, e) : rc;
        str_release(&loose);
    }
    arena_release(&a);
    return take_answer(b, line, &out, rc, r, e);
}

static int jsonl_row(struct builder *b, const struct node *n, int64_t line, const char *label_column,
                     struct err *e) {
    struct record r;
    if (n->type != NODE_MAP)
        return node_error(n, e, "rows_read", "a row must be a map of field names to values");
    for (int i = 0; i < b->task->n_declared; i++) {
        const struct task_field *f = &b->task->fields[i];
        if (!f->optional && !node_get(n, f->name) && !node_get(n, f->column))
            return node_error(n, e, "rows_read", "the row has no '%s'", f->name);
    }
    int rc = record_from_node(b->task, &b->rows.arena, false, n, &r, e);
    if (rc < 0) {
        err_context(e, "%s:%lld", b->name, (long long)line);
        return rc;
    }
    const struct node *key = b->key_column ? node_get(n, b->key_column) : NULL;
    b->key = key ? key->text : NULL;
    if (b->key_column && (!b->key || !*b->key))
        return node_error(n, e, "rows_read", "the row has no '%s', by which the rows are split",
                          b->key_column);
    rc = jsonl_answer(b, n, line, label_column, &r, e);
    return rc < 0 ? rc : builder_add(b, &r, true, e);
}

static int read_jsonl(struct builder *b, const char *path, const char *label_column, struct err *e) {
    struct jsonl_reader *reader;
    struct arena scratch;
    struct node *n = NULL;
    int rc = jsonl_reader_open(&reader, path, e);
    if (rc < 0)
        return rc;
    arena_init(&scratch);
    while (b->rows.n < b->limit && (rc = jsonl_reader_next(reader, &scratch, &n, e)) > 0) {
        rc = jsonl_row(b, n, jsonl_reader_line(reader), label_column, e);
        arena_reset(&scratch);
        if (rc < 0)
            break;
    }
    arena_release(&scratch);
    jsonl_reader_close(reader);
    return rc < 0 ? rc : 0;
}

int rows_read(struct rows *out, const struct task *t, const char *path, const struct rows_options *o,
              struct err *e) {
    struct builder b;
    const char *label_column = o && o->label_column       ? o->label_column
                               : t->kind == TASK_CLASSIFY ? "label"
                                                          : "answer";
    bool jsonl = str_ends(path, ".jsonl") || str_ends(path, ".ndjson");
    int rc = builder_init(&b, t, path, o, e);
    if (rc == 0)
        rc = jsonl ? read_jsonl(&b, path, label_column, e) : read_csv(&b, path, label_column, e);
    return builder_finish(&b, rc, out, e);
}

/* ---- records ---- */

static int store_row(void *context, const struct store_record *s, struct err *e) {
    struct builder *b = context;
    struct arena scratch;
    struct node *n = NULL;
    struct record r;
    bool own = str_equal(s->source, "own");
    if (b->rows.n >= b->limit || (b->own && !own))
        return 0;
    arena_init(&scratch);
    int rc = json_node_parse(&scratch, b->name, (int)s->id, s->data, strlen(s->data), &n, e);
    if (rc == 0)
        rc = record_from_node(b->task, &b->rows.arena, false, n, &r, e);
    arena_release(&scratch);
    if (rc == 0)
        rc = set_answer(b, s->id, s->label, &r, e);
    return rc < 0 ? rc : builder_add(b, &r, own, e);
}

int rows_from_store(struct rows *out, const struct task *t, struct store *s, const char *name,
                    enum store_split split, const struct rows_options *o, struct err *e) {
    struct builder b;
    int rc = builder_init(&b, t, name, o, e);
    if (rc == 0) {
        b.rows.source = split == STORE_ALL_SPLITS
                            ? b.rows.source
                            : arena_printf(&b.rows.arena, "%s (%s)", name, store_split_text(split));
        rc = b.rows.source ? store_records_each(s, split, store_row, &b, e) : no_memory(e);
    }
    return builder_finish(&b, rc, out, e);
}

void rows_release(struct rows *r) {
    if (!r)
        return;
    free(r->records);
    free(r->keys);
    arena_release(&r->arena);
    *r = (struct rows){0};
}

void rows_count(const struct rows *r, const struct task *t, int64_t *count) {
    memset(count, 0, sizeof *count * (size_t)t->n_labels);
    for (int64_t i = 0; i < r->n; i++)
        if (r->records[i].label >= 0)
            count[r->records[i].label]++;
}
