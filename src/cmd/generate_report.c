/* See generate_report.h. */
#include "cmd/generate_report.h"
#include "base/log.h"
#include "cmd/teaching.h"
#include "format/json.h"
#include <string.h>

enum { EXAMPLES = 3, EXAMPLE_BYTES = 160, FEW_ROWS = 50 /* of a label */ };

/* ---- counts ---- */

static void add(json_t *map, const char *key, int64_t n) {
    json_object_set_new(map, key, json_integer(json_integer_value(json_object_get(map, key)) + n));
}

struct counting {
    json_t *map;
    bool by_label; /* the answers of extract and respond would be a list of them all */
};

static int count(void *context, const struct store_count *n, struct err *e) {
    (void)e;
    struct counting *c = context;
    if (n->status == STORE_ACCEPTED) {
        add(json_object_get(c->map, "accepted"), c->by_label ? n->label : "records", n->n);
        add(json_object_get(c->map, "splits"), store_split_text(n->split), n->n);
        add(json_object_get(c->map, "sources"), n->source, n->n);
    } else if (n->status == STORE_REJECTED) {
        add(json_object_get(c->map, "rejected"), n->reason, n->n);
    } else {
        add(c->map, store_status_text(n->status), n->n);
    }
    return 0;
}

static void print_map(const struct cmd_ctx *c, const char *title, json_t *map) {
    const char *key;
    json_t *value;
    struct str line = {0};
    json_object_foreach(map, key, value)
        str_addf(&line, "%s%s %lld", line.len ? ", " : "", key, (long long)json_integer_value(value));
    if (line.len)
        cmd_print(c, "%-10s %s\n", title, line.data);
    str_release(&line);
}

/* ---- examples of rejects ---- */

static int collect_example(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    json_t *map = context, *list = json_object_get(map, r->reason ? r->reason : "");
    if (!list) {
        list = json_array();
        json_object_set_new(map, r->reason ? r->reason : "", list);
    }
    if (json_array_size(list) >= EXAMPLES)
        return 0;
    struct str text = {0};
    str_add_bytes(&text, r->data, strnlen(r->data, EXAMPLE_BYTES));
    if (r->label)
        str_addf(&text, " -> %.60s", r->label);
    if (r->wanted && r->label && strcmp(r->wanted, r->label) != 0)
        str_addf(&text, " (written as %.60s)", r->wanted);
    json_array_append_new(list, json_lossy_string(str_text(&text)));
    str_release(&text);
    return 0;
}

static void print_examples(const struct cmd_ctx *c, json_t *map) {
    const char *reason;
    json_t *list, *text;
    size_t i;
    json_object_foreach(map, reason, list) json_array_foreach(list, i, text)
        cmd_print(c, "  %-22s %s\n", i ? "" : reason, json_string_value(text));
}

int generate_report_summary(const struct generate_reporting *x, bool has_teacher) {
    struct cmd_ctx *c = x->c;
    json_t *r =
        json_pack("{s:{}, s:{}, s:{}, s:{}, s:{}}", "accepted", "rejected", "splits", "sources", "examples");
    if (!r)
        return err_set(&c->err, ERR_NO_MEMORY, "generate", "out of memory");
    struct counting counting = {r, x->task->kind == TASK_CLASSIFY};
    int code = store_counts_each(x->store, count, &counting, &c->err);
    if (code == 0)
        code = store_status_each(x->store, STORE_REJECTED, collect_example, json_object_get(r, "examples"),
                                 &c->err);
    print_map(c, "accepted", json_object_get(r, "accepted"));
    print_map(c, "split", json_object_get(r, "splits"));
    print_map(c, "rejected", json_object_get(r, "rejected"));
    print_examples(c, json_object_get(r, "examples"));
    int64_t accepted = 0;
    json_t *value;
    const char *key;
    json_object_foreach(json_object_get(r, "accepted"), key, value) accepted += json_integer_value(value);
    json_object_set_new(c->result, "records", r);
    if (has_teacher) {
        struct str line = {0};
        json_t *ledger = teaching_ledger(x->store, &line);
        double money = json_number_value(json_object_get(ledger, "money"));
        if (accepted > 0 && money > 0) {
            str_addf(&line, "; $%.5f for each accepted record", money / (double)accepted);
            json_object_set_new(ledger, "money_per_record", json_real(money / (double)accepted));
        }
        json_object_set_new(c->result, "ledger", ledger);
        cmd_print(c, "%-10s %s\n", "teacher", str_text(&line));
        str_release(&line);
    }
    return code;
}

/* ---- on the way ---- */

struct owning {
    const struct task *task;
    int64_t n, *by_label;
};

static int count_own(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct owning *o = context;
    int label = grid_label_find(o->task, r->label);
    if (strcmp(r->source, "own") != 0 || label < 0)
        return 0;
    o->n++;
    o->by_label[label]++;
    return 0;
}

int generate_report_way(struct cmd_ctx *c, const struct task *t, struct store *s, bool has_teacher) {
    int64_t by_label[TASK_LABELS_MAX] = {0};
    struct owning o = {.task = t, .by_label = by_label};
    int n_labels = t->kind == TASK_CLASSIFY ? t->n_labels : 1, rarest = 0;
    int code = store_records_each(s, STORE_ALL_SPLITS, count_own, &o, &c->err);
    if (code < 0)
        return code;
    for (int i = 1; i < n_labels; i++)
        rarest = by_label[i] < by_label[rarest] ? i : rarest;
    struct str line = {0};
    const char *name = t->kind == TASK_CLASSIFY ? t->labels[rarest].name : "";
    const char *way = o.n == 0 ? "none" : o.n < (int64_t)FEW_ROWS * n_labels ? "few" : "many";
    str_addf(&line, "%lld rows of your own: ", (long long)o.n);
    if (!has_teacher)
        str_add(&line, "they are all there is, since the project has no teacher");
    else if (o.n == 0)
        str_add(&line, "every record comes from the teacher");
    else if (way[0] == 'f')
        str_addf(&line,
                 "too few to learn from alone (under %d a label), so the teacher writes what is missing",
                 FEW_ROWS);
    else
        str_add(&line, "they are used as they are; the teacher writes only what a label lacks of its number");
    if (o.n > 0 && n_labels > 1)
        str_addf(&line, "; rarest is '%.60s' with %lld", name, (long long)by_label[rarest]);
    cmd_print(c, "%-10s %s\n", "data", str_text(&line));
    json_object_set_new(c->result, "way",
                        json_pack("{s:s, s:I, s:o}", "own_rows", way, "n", (json_int_t)o.n, "reason",
                                  json_lossy_string(str_text(&line))));
    str_release(&line);
    return 0;
}

void generate_report_first(void *context, const struct grid *g) {
    const struct generate_reporting *x = context;
    json_t *list = json_array();
    struct str line = {0};
    int64_t written = 0, accepted = 0;
    for (int i = 0; i < g->n_cells; i++) {
        const struct grid_cell *cell = &g->cells[i];
        written += cell->written;
        accepted += cell->accepted;
        if (cell->written > 0 && cell->accepted == 0)
            str_addf(&line, "%s%s", line.len ? "; " : "", cell->name);
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I}", "cell", cell->name, "written",
                                        (json_int_t)cell->written, "accepted", (json_int_t)cell->accepted));
    }
    json_object_set_new(x->c->result, "first_batch", list);
    if (!x->c->quiet)
        log_info("first batch: %lld records written, %lld accepted%s%.400s", (long long)written,
                 (long long)accepted, line.len ? "; nothing usable yet for: " : "", str_text(&line));
    str_release(&line);
}

void generate_report_cells(struct cmd_ctx *c, const struct generate_report *r) {
    json_t *list = json_array();
    int n_closed = 0;
    for (int i = 0; i < r->grid.n_cells; i++) {
        const struct grid_cell *cell = &r->grid.cells[i];
        n_closed += cell->closed;
        json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "cell", cell->name, "share", (json_int_t)cell->share,
                              "accepted", (json_int_t)cell->accepted, "written", (json_int_t)cell->written);
        if (cell->closed)
            json_object_set_new(o, "closed",
                                json_string("its latest records were copies or of another label"));
        json_array_append_new(list, o);
    }
    if (n_closed > 0)
        cmd_print(
            c, "%-10s %d of %d corners of the quota grid gave nothing more; the others filled the labels\n",
            "grid", n_closed, r->grid.n_cells);
    json_object_set_new(c->result, "cells", list);
}
