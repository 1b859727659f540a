/* Where the student errs, as cells of the grid; rounds as notes of the store. */
#include "synth/rounds.h"
#include "format/json.h"
#include "synth/state.h"
#include "task/answer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "rounds"

/* ---- notes ---- */

static const char *note_key(char out[32], int number) {
    snprintf(out, 32, "round %d", number);
    return out;
}

/* The note of a round in `a`; *root NULL: there is none. */
static int read_note(struct store *s, int number, struct arena *a, struct node **root, struct err *e) {
    char key[32];
    const char *text = NULL;
    int rc = store_note_get(s, note_key(key, number), a, &text, e);
    *root = NULL;
    return rc == 0 && text && *text ? json_node_parse(a, key, 0, text, strlen(text), root, e) : rc;
}

static int read_round(const struct node *root, int number, struct round *r, struct err *e) {
    struct round x = {.number = number};
    int rc = node_i64(root, "each", true, &x.each, e);
    if (rc == 0)
        rc = node_i64(root, "quota", true, &x.quota, e);
    if (rc == 0)
        rc = node_i64(root, "n", true, &x.n, e);
    if (rc == 0)
        rc = node_i64(root, "wrong", true, &x.wrong, e);
    if (rc == 0)
        rc = node_i64(root, "records", true, &x.records, e);
    if (rc == 0)
        rc = node_number(root, "money", true, &x.money, e);
    if (rc == 0)
        *r = x;
    return rc;
}

int rounds_latest(struct store *s, int *n, struct round *latest, struct err *e) {
    struct arena a;
    int count = 0, rc = 0;
    for (struct node *root = NULL; rc == 0; count++) {
        arena_init(&a);
        struct round r = {0};
        rc = read_note(s, count + 1, &a, &root, e);
        if (rc == 0 && root && (rc = read_round(root, count + 1, &r, e)) == 0 && latest)
            *latest = r;
        arena_release(&a);
        if (rc == 0 && !root)
            break;
    }
    if (rc == 0)
        *n = count;
    return rc;
}

/* The cells of the round in hand: what each is to have in the end; all others wait. */
static int apply_cells(struct grid *g, const struct node *root, struct err *e) {
    struct node *cells = NULL;
    int rc = node_map(root, "cells", true, &cells, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < g->n_cells; i++)
        g->cells[i].later = true;
    for (const struct node *c = cells->first; c; c = c->next) {
        int cell = grid_cell_find(g, c->key);
        if (cell < 0)
            continue;
        g->cells[cell].share = (int64_t)c->number;
        g->cells[cell].later = false;
    }
    return 0;
}

int rounds_apply(struct grid *g, struct store *s, struct err *e) {
    struct arena a;
    struct node *latest = NULL;
    struct round r = {0};
    int rc = 0;
    arena_init(&a);
    for (int number = 1; rc == 0; number++) {
        struct node *root = NULL;
        rc = read_note(s, number, &a, &root, e);
        if (rc < 0 || !root)
            break;
        rc = read_round(root, number, &r, e);
        for (int i = 0; i < g->n_labels && rc == 0; i++)
            g->labels[i].quota += r.each;
        latest = root;
    }
    if (rc == 0 && latest && g->labels[0].quota <= r.quota)
        rc = apply_cells(g, latest, e);
    arena_release(&a);
    return rc;
}

/* ---- counting errors in cells ---- */

struct errors {
    const struct task *task;
    struct grid *grid;
    double *n, *wrong; /* [n_cells] rows that lie in the cell */
    double *weight;    /* [n_cells] */
};

static bool in_bin(const struct task_field *f, const struct protocol_hint *h, const struct value *v) {
    if (v->missing)
        return false;
    double slack =
        0.01 * pow(10, -f->decimals); /* a bin's ends are decimal numbers, rounded to binary ones */
    return f->type == FIELD_CATEGORY ? (int)v->number == h->value
                                     : v->number >= h->low - slack && v->number <= h->high + slack;
}

static int count_row(struct errors *x, const struct record *r, bool wrong, struct err *e) {
    const struct task *t = x->task;
    struct arena a;
    struct record answer = {0};
    struct task view = answer_view(t);
    arena_init(&a);
    int rc = t->kind == TASK_EXTRACT ? state_record(&view, &a, r->answer, &answer, e) : 0;
    for (int i = 0; i < x->grid->n_cells && rc == 0; i++) {
        const struct grid_cell *c = &x->grid->cells[i];
        const struct protocol_hint *h = &c->hint;
        if (h->field < 0 || (t->kind == TASK_CLASSIFY && c->label != r->label) ||
            (h->of_answer && !answer.values))
            continue;
        const struct task_field *f = h->of_answer ? &view.fields[h->field] : &t->fields[h->field];
        if (!in_bin(f, h, h->of_answer ? &answer.values[h->field] : &r->values[h->field]))
            continue;
        x->n[i]++;
        x->wrong[i] += wrong;
    }
    arena_release(&a);
    return rc;
}

/* Cells with more errors than usual, by errors times their rate; one row more in each, so that a single one is no proof. */
static void weigh(struct errors *x, double overall) {
    for (int i = 0; i < x->grid->n_cells; i++) {
        double rate = x->wrong[i] / (x->n[i] + 1);
        x->weight[i] = rate > overall ? x->wrong[i] * rate : 0;
    }
}

static bool same_corner(const struct protocol_hint *a, const struct protocol_hint *b) {
    return a->field >= 0 && a->field == b->field && a->of_answer == b->of_answer && a->value == b->value &&
           a->low == b->low && a->high == b->high;
}

static double weight_of_label(const struct errors *x, int label) {
    double sum = 0;
    for (int i = 0; i < x->grid->n_cells; i++)
        sum += x->grid->cells[i].label == label ? x->weight[i] : 0;
    return sum;
}

/* A label without errors: the corners of the others, seen from its side; without any, all of its space. */
static void mirror(struct errors *x, double *weight, int label) {
    const struct grid *g = x->grid;
    double sum = 0;
    for (int i = 0; i < g->n_cells; i++) {
        if (g->cells[i].label != label)
            continue;
        for (int k = 0; k < g->n_cells; k++)
            if (g->cells[k].label != label && same_corner(&g->cells[i].hint, &g->cells[k].hint))
                weight[i] += x->weight[k];
        sum += weight[i];
    }
    for (int i = 0; i < g->n_cells && sum <= 0; i++)
        if (g->cells[i].label == label && g->cells[i].hint.field < 0)
            weight[i] = 1;
}

static int fill_weights(struct errors *x, struct err *e) {
    double *mirrored = calloc((size_t)x->grid->n_cells, sizeof *mirrored);
    if (!mirrored)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (int label = 0; label < x->grid->n_labels; label++)
        if (weight_of_label(x, label) <= 0)
            mirror(x, mirrored, label);
    for (int i = 0; i < x->grid->n_cells; i++)
        x->weight[i] += mirrored[i];
    free(mirrored);
    return 0;
}

/* ---- the round ---- */

/* The label's records over its cells, by weight: whole ones first, what is left to the cells in their order. */
static void add_shares(const struct errors *x, int label, int64_t each, struct str *out) {
    double sum = weight_of_label(x, label), carried = 0;
    for (int i = 0; i < x->grid->n_cells; i++) {
        if (x->grid->cells[i].label != label || x->weight[i] <= 0)
            continue;
        double exact = carried + (double)each * x->weight[i] / sum;
        double share = floor(exact + 1e-9);
        carried = exact - share;
        if (share < 1)
            continue;
        str_add(out, out->data[out->len - 1] == '{' ? "" : ",");
        json_text_string(out, x->grid->cells[i].name);
        str_addf(out, ":%.0f", (double)x->grid->cells[i].accepted + share);
    }
}

static void head_text(const struct round *r, struct str *out) {
    str_addf(out, "{\"each\":%lld,\"quota\":%lld,\"n\":%lld,\"wrong\":%lld,\"records\":%lld,\"money\":",
             (long long)r->each, (long long)r->quota, (long long)r->n, (long long)r->wrong,
             (long long)r->records);
    json_text_number(out, r->money);
    str_add(out, ",\"cells\":");
}

static void note_text(const struct errors *x, const struct round *r, struct str *out) {
    head_text(r, out);
    str_add_char(out, '{');
    for (int label = 0; label < x->grid->n_labels; label++)
        add_shares(x, label, r->each, out);
    str_add(out, "}}");
}

static int count_rows(struct errors *x, const struct rows *rows, const bool *wrong, struct round *r,
                      struct err *e) {
    int rc = 0;
    r->n = rows->n;
    r->wrong = 0;
    for (int64_t i = 0; i < rows->n && rc == 0; i++) {
        r->wrong += wrong[i];
        rc = count_row(x, &rows->records[i], wrong[i], e);
    }
    if (rc == 0 && r->wrong == 0)
        rc = err_set(e, ERR_INPUT, ORIGIN, "the student answers every validation row right");
    return rc;
}

static int write_note(struct store *s, const struct errors *x, const struct round *r, struct err *e) {
    struct str text = {0};
    char key[32];
    note_text(x, r, &text);
    int rc = str_check(&text, e);
    if (rc == 0)
        rc = store_note_set(s, note_key(key, r->number), text.data, e);
    str_release(&text);
    return rc;
}

/* The grid as it stands: quotas with the rounds so far, cells with what they have. */
static int current_grid(struct grid *g, struct store *s, const struct task *t, int64_t n_records,
                        struct err *e) {
    int rc = grid_init(g, t, n_records, e);
    if (rc < 0)
        return rc;
    rc = rounds_apply(g, s, e);
    if (rc == 0)
        rc = state_load(g, t, s, e);
    if (rc < 0)
        grid_release(g);
    return rc;
}

int rounds_plan(struct store *s, const struct task *t, int64_t n_records, const struct rows *rows,
                const bool *wrong, struct round *r, struct err *e) {
    struct grid g;
    int before = 0, rc = rounds_latest(s, &before, NULL, e);
    if (rc == 0)
        rc = current_grid(&g, s, t, n_records, e);
    if (rc < 0)
        return rc;
    double *memory = calloc((size_t)(3 * g.n_cells), sizeof *memory);
    if (!memory) {
        grid_release(&g);
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    }
    struct errors x = {t, &g, memory, memory + g.n_cells, memory + 2 * g.n_cells};
    struct round planned = *r;
    planned.number = before + 1;
    planned.quota = g.labels[0].quota + r->each;
    rc = count_rows(&x, rows, wrong, &planned, e);
    if (rc == 0) {
        weigh(&x, (double)planned.wrong / (double)planned.n);
        rc = fill_weights(&x, e);
    }
    if (rc == 0)
        rc = write_note(s, &x, &planned, e);
    if (rc == 0)
        *r = planned;
    free(memory);
    grid_release(&g);
    return rc;
}

/* The note again with another number of records; its cells, which only say where from, stay. */
static int rewrite(struct store *s, int number, int64_t each, struct err *e) {
    struct arena a;
    struct node *root = NULL, *cells = NULL;
    struct round r;
    struct str text = {0};
    char key[32];
    arena_init(&a);
    int rc = read_note(s, number, &a, &root, e);
    if (rc == 0)
        rc = read_round(root, number, &r, e);
    if (rc == 0)
        rc = node_map(root, "cells", true, &cells, e);
    if (rc == 0) {
        r.quota += each - r.each;
        r.each = each;
        head_text(&r, &text);
        json_text_node(&text, cells);
        str_add_char(&text, '}');
        rc = str_check(&text, e);
    }
    if (rc == 0)
        rc = store_note_set(s, note_key(key, number), text.data, e);
    str_release(&text);
    arena_release(&a);
    return rc;
}

int rounds_end(struct store *s, int64_t each, struct err *e) {
    int number = 0;
    char key[32];
    int rc = rounds_latest(s, &number, NULL, e);
    if (rc < 0 || number == 0)
        return rc;
    return each < 0 ? store_note_set(s, note_key(key, number), "", e) : rewrite(s, number, each, e);
}
