/* Export and import of records. */
#include "synth/exchange.h"
#include "base/file.h"
#include "eval/rows.h"
#include "format/csv.h"
#include "format/json.h"
#include "format/jsonl.h"
#include "synth/similar.h"
#include "synth/state.h"
#include "task/answer.h"
#include "task/belief.h"
#include "task/prompt.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ORIGIN "exchange"

/* Columns of a CSV file behind those of the fields; the second name where a field has the first (a parcel's weight). */
enum { COLUMN_ANSWER, COLUMN_SPLIT, COLUMN_WEIGHT, COLUMN_SOURCE, N_COLUMNS };
static const char *const columns[N_COLUMNS][2] = {{"answer", "edgestill answer"},
                                                  {"split", "edgestill split"},
                                                  {"weight", "edgestill weight"},
                                                  {"source", "edgestill source"}};

static const char *column_name(const struct task *t, int column) {
    const char *name = columns[column][0];
    for (int i = 0; i < t->n_declared; i++)
        if (strcmp(t->fields[i].name, name) == 0 || strcmp(t->fields[i].column, name) == 0)
            return columns[column][1];
    return name;
}

/* ---- out ---- */

struct exporting {
    const struct task *task;
    FILE *to;
    bool csv;
    int64_t n;
    struct str line;
};

static void chat_line(struct exporting *x, const struct store_record *s, const struct record *r) {
    struct str *out = &x->line, user = {0};
    str_addf(&user, "%s\n", x->task->instruction);
    prompt_record(x->task, r, &user);
    str_add(out, "{\"messages\":[{\"role\":\"user\",\"content\":");
    json_text_string(out, str_text(&user));
    str_add(out, "},{\"role\":\"assistant\",\"content\":");
    json_text_string(out, s->label);
    str_add(out, "}],\"edgestill\":{\"record\":");
    record_to_json(x->task, r, out);
    str_add(out, ",\"answer\":");
    json_text_string(out, s->label);
    str_addf(out, ",\"split\":\"%s\",\"weight\":", store_split_text(s->split));
    json_text_number(out, s->weight);
    if (s->probabilities)
        str_addf(out, ",\"probabilities\":%s", s->probabilities);
    str_addf(out, ",\"source\":\"%s\"}}\n", s->source);
    str_release(&user);
}

static void csv_line(struct exporting *x, const struct store_record *s, const struct record *r) {
    for (int i = 0; i < x->task->n_declared; i++) {
        csv_text_field(&x->line, r->values[i].missing ? "" : r->values[i].text);
        str_add_char(&x->line, ',');
    }
    csv_text_field(&x->line, s->label);
    str_addf(&x->line, ",%s,%g,%s\n", store_split_text(s->split), s->weight, s->source);
}

static int export_record(void *context, const struct store_record *s, struct err *e) {
    struct exporting *x = context;
    struct arena a;
    struct record r;
    arena_init(&a);
    str_clear(&x->line);
    int rc = state_record(x->task, &a, s->data, &r, e);
    if (rc == 0) {
        if (x->csv)
            csv_line(x, s, &r);
        else
            chat_line(x, s, &r);
        rc = str_check(&x->line, e);
    }
    if (rc == 0)
        fwrite(x->line.data, 1, x->line.len, x->to); /* the commit looks for errors */
    x->n += rc == 0;
    arena_release(&a);
    return rc;
}

static void csv_header(struct exporting *x) {
    for (int i = 0; i < x->task->n_declared; i++) {
        csv_text_field(&x->line, x->task->fields[i].name);
        str_add_char(&x->line, ',');
    }
    for (int i = 0; i < N_COLUMNS; i++)
        str_addf(&x->line, "%s%s", column_name(x->task, i), i + 1 < N_COLUMNS ? "," : "\n");
    fwrite(str_text(&x->line), 1, x->line.len, x->to);
}

int exchange_export(struct store *s, const struct task *t, enum store_split split, const char *path,
                    struct exchange_out *out, struct err *e) {
    struct file_writer w;
    struct exporting x = {.task = t, .csv = str_ends(path, ".csv")};
    if (!x.csv && !str_ends(path, ".jsonl") && !str_ends(path, ".ndjson")) {
        err_set(e, ERR_USAGE, ORIGIN, "%s ends neither in .jsonl nor in .csv", path);
        return err_hint(e, "the ending says which format is meant");
    }
    int rc = file_writer_begin(&w, path, e);
    if (rc < 0)
        return rc;
    x.to = w.stream;
    if (x.csv)
        csv_header(&x);
    rc = store_records_each(s, split, export_record, &x, e);
    if (rc == 0)
        rc = file_writer_commit(&w, e);
    file_writer_abort(&w);
    str_release(&x.line);
    if (rc == 0)
        *out = (struct exchange_out){x.n};
    return rc;
}

/* ---- in ---- */

struct importing {
    struct store *store;
    const struct task *task;
    const char *path;
    struct similar *known;
    struct exchange_in in;
};

static int remember(void *context, const struct store_record *s, struct err *e) {
    struct importing *x = context;
    struct arena a;
    struct record r;
    if (s->status == STORE_REJECTED)
        return 0;
    arena_init(&a);
    int rc = state_record(x->task, &a, s->data, &r, e);
    if (rc == 0)
        rc = similar_add(x->known, &r, false, e);
    arena_release(&a);
    return rc;
}

static const char *message(const struct node *row, const char *role) {
    const struct node *list = node_get(row, "messages");
    for (const struct node *n = list ? list->first : NULL; n; n = n->next) {
        const struct node *who = node_get(n, "role"), *content = node_get(n, "content");
        if (who && content && who->type == NODE_STRING && content->type == NODE_STRING &&
            strcmp(who->text, role) == 0)
            return content->text;
    }
    return NULL;
}

struct lines {
    struct arena *arena;
    const char *text;
};

/* The value of "- name: value" in the user's message; NULL when it has no such line. */
static const char *line_value(void *context, const struct task_field *f) {
    const struct lines *l = context;
    size_t n = strlen(f->name);
    for (const char *at = l->text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, "- ", 2) == 0 && strncmp(at + 2, f->name, n) == 0 &&
            strncmp(at + 2 + n, ": ", 2) == 0)
            return arena_strndup(l->arena, at + n + 4, strcspn(at + n + 4, "\n"));
    return NULL;
}

static int read_row(struct importing *x, struct arena *a, const struct node *row, struct record *r,
                    const char **answer, struct err *e) {
    const struct node *own = node_get(row, "edgestill"), *record = node_get(own, "record");
    const struct node *text = node_get(own, "answer");
    *answer = text && text->type == NODE_STRING ? text->text : message(row, "assistant");
    struct lines lines = {a, message(row, "user")};
    if (!*answer || (!record && !lines.text))
        return node_error(row, e, ORIGIN, "the line has no messages of a user and an assistant");
    return record ? record_from_node(x->task, a, false, record, r, e)
                  : record_build(x->task, a, true, line_value, &lines, r, e);
}

/* The answer as it is stored: the label's own spelling, or the normal form. */
static int normal_answer(const struct task *t, const char *text, struct str *out, struct err *e) {
    if (t->kind != TASK_CLASSIFY)
        return answer_read(t, text, out, e);
    int label = prompt_parse_answer(t, text);
    if (label < 0)
        return err_set(e, ERR_INPUT, ORIGIN, "'%.80s' is no label of the task", text);
    str_add(out, t->labels[label].name);
    return str_check(out, e);
}

/* What export says beside a record; where it says nothing, the split is drawn later and the weight is 1. */
struct beside {
    enum store_split split;
    double weight;
    const char *probabilities; /* in the arena; NULL: none */
};

/* 0, or -1 where the text is no split. */
static int read_split(const char *text, enum store_split *out) {
    for (int s = STORE_NO_SPLIT; s <= STORE_TEST; s++)
        if (strcmp(store_split_text((enum store_split)s), text) == 0) {
            *out = (enum store_split)s;
            return 0;
        }
    return *text ? -1 : 0;
}

static bool is_weight(double weight) {
    return isfinite(weight) && weight > 0;
}

static int read_probabilities(const struct task *t, struct arena *a, const struct node *map, const char **out,
                              struct err *e) {
    double *of = arena_calloc(a, (size_t)t->n_labels + 1, sizeof *of);
    struct str text = {0};
    if (!of)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (int i = 0; i < t->n_labels; i++) {
        const struct node *n = node_get(map, t->labels[i].name);
        of[i] = n && n->type == NODE_NUMBER ? n->number : NAN;
    }
    int rc = belief_write(t, of, &text, e);
    if (rc == 0)
        rc = belief_read(t, str_text(&text), of, e);
    if (rc == 0 && !(*out = arena_strdup(a, str_text(&text))))
        rc = err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    str_release(&text);
    return rc;
}

static int read_beside(const struct task *t, struct arena *a, const struct node *own, struct beside *out,
                       struct err *e) {
    const char *split = "";
    struct node *map = NULL;
    *out = (struct beside){.weight = 1};
    if (!own)
        return 0;
    int rc = node_string(own, "split", false, &split, e);
    if (rc == 0)
        rc = node_number(own, "weight", false, &out->weight, e);
    if (rc == 0)
        rc = node_map(own, "probabilities", false, &map, e);
    if (rc == 0 && read_split(split, &out->split) < 0)
        rc = node_error(node_get(own, "split"), e, ORIGIN, "'%.80s' is no split (train, validation, test)",
                        split);
    if (rc == 0 && !is_weight(out->weight))
        rc = node_error(node_get(own, "weight"), e, ORIGIN, "a weight must be positive");
    return rc == 0 && map && t->kind == TASK_CLASSIFY ? read_probabilities(t, a, map, &out->probabilities, e)
                                                      : rc;
}

static int add_record(struct importing *x, const struct record *r, const char *answer, const struct beside *b,
                      int64_t line, struct err *e) {
    struct str data = {0};
    if (similar_find(x->known, r) == SIMILAR_EXACT) {
        x->in.n_known++;
        return 0;
    }
    int rc = record_to_json(x->task, r, &data);
    struct store_record s = {.source = "own",
                             .data = str_text(&data),
                             .label = answer,
                             .weight = b->weight,
                             .probabilities = b->probabilities,
                             .status = STORE_ACCEPTED,
                             .split = b->split,
                             .write_index = line};
    if (rc == 0)
        rc = store_record_add(x->store, &s, NULL, e);
    if (rc == 0)
        rc = similar_add(x->known, r, false, e);
    x->in.n_new += rc == 0;
    str_release(&data);
    return rc;
}

static int import_row(struct importing *x, struct arena *a, const struct node *row, int64_t line,
                      struct err *e) {
    struct record r;
    struct beside beside;
    const char *text = NULL;
    struct str answer = {0};
    int rc = read_row(x, a, row, &r, &text, e);
    if (rc == 0)
        rc = normal_answer(x->task, text, &answer, e);
    if (rc == 0)
        rc = read_beside(x->task, a, node_get(row, "edgestill"), &beside, e);
    if (rc == 0)
        rc = add_record(x, &r, str_text(&answer), &beside, line, e);
    str_release(&answer);
    return rc < 0 && rc != ERR_NO_MEMORY ? err_context(e, "%s:%lld", x->path, (long long)line) : rc;
}

static int import_lines(struct importing *x, struct err *e) {
    struct jsonl_reader *lines;
    struct arena a;
    struct node *row = NULL;
    int rc = jsonl_reader_open(&lines, x->path, e);
    if (rc < 0)
        return rc;
    arena_init(&a);
    while ((rc = jsonl_reader_next(lines, &a, &row, e)) > 0) {
        rc = import_row(x, &a, row, jsonl_reader_line(lines), e);
        arena_reset(&a);
        if (rc < 0)
            break;
    }
    arena_release(&a);
    jsonl_reader_close(lines);
    return rc < 0 ? rc : 0;
}

/* Nothing where one of export's columns lacks: a weight in a file of another hand is none of a record's. */
static int csv_beside(const struct task *t, const struct csv_reader *r, struct beside *out, struct err *e) {
    int at[N_COLUMNS];
    *out = (struct beside){.weight = 1};
    for (int i = 0; i < N_COLUMNS; i++)
        if ((at[i] = csv_reader_column(r, column_name(t, i))) < 0)
            return 0;
    const char *split = csv_reader_field(r, at[COLUMN_SPLIT]),
               *weight = csv_reader_field(r, at[COLUMN_WEIGHT]);
    if (read_split(split, &out->split) < 0)
        return csv_reader_error(r, at[COLUMN_SPLIT], e, "'%.80s' is no split (train, validation, test)",
                                split);
    if (*weight && (!str_to_double(weight, &out->weight) || !is_weight(out->weight)))
        return csv_reader_error(r, at[COLUMN_WEIGHT], e, "'%.80s' is no positive weight", weight);
    return 0;
}

/* The records as any own rows, the answer in a column of that name; in step with them once more for what stands beside. */
static int import_csv(struct importing *x, struct err *e) {
    struct rows rows = {0};
    struct csv_reader *reader = NULL;
    struct beside beside;
    struct rows_options how = {.label_column = column_name(x->task, COLUMN_ANSWER)};
    int rc = rows_read(&rows, x->task, x->path, &how, e);
    if (rc == 0)
        rc = csv_reader_open(&reader, x->path, NULL, e);
    for (int64_t i = 0; rc == 0 && i < rows.n && (rc = csv_reader_next(reader, e)) > 0; i++) {
        const struct record *r = &rows.records[i];
        rc = csv_beside(x->task, reader, &beside, e);
        if (rc == 0)
            rc = add_record(x, r, record_answer(x->task, r), &beside, csv_reader_line(reader), e);
    }
    csv_reader_close(reader);
    rows_release(&rows); /* {0} after a failure */
    return rc < 0 ? rc : 0;
}

int exchange_import(struct store *s, const struct task *t, const char *path, struct exchange_in *out,
                    struct err *e) {
    struct importing x = {.store = s, .task = t, .path = path};
    int rc = similar_new(&x.known, t, e);
    if (rc == 0)
        rc = store_status_each(s, STORE_ALL_STATUSES, remember, &x, e);
    if (rc == 0)
        rc = store_begin(s, e);
    if (rc == 0) {
        rc = str_ends(path, ".csv") ? import_csv(&x, e) : import_lines(&x, e);
        if (rc == 0)
            rc = store_commit(s, e);
        if (rc < 0)
            store_rollback(s);
    }
    similar_free(x.known);
    if (rc == 0)
        *out = x.in;
    return rc;
}
