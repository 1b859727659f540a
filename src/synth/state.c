/* The state of generation is what the store holds, nothing else: loading it gives the same grid after a crash as before. */
#include "synth/state.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>

int state_record(const struct task *t, struct arena *a, const char *data, struct record *out, struct err *e) {
    struct node *root = NULL;
    int rc = json_node_parse(a, "stored record", 0, data, strlen(data), &root, e);
    return rc == 0 ? record_from_node(t, a, false, root, out, e) : rc;
}

/* ---- loading ---- */

struct loading {
    struct grid *grid;
    const struct task *task;
};

static int count_record(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct loading *l = context;
    bool accepted = r->status == STORE_ACCEPTED;
    int label = grid_label_find(l->task, r->label), cell = grid_cell_find(l->grid, r->cell);
    if (accepted && label >= 0)
        l->grid->labels[label].accepted++;
    if (cell < 0)
        return 0;
    struct grid_cell *c = &l->grid->cells[cell];
    int wanted = c->other < 0 ? c->label : grid_label_find(l->task, r->wanted);
    /* A spare was right, only late: it counts as a yield of its cell, not as accepted. */
    bool right = (accepted || r->status == STORE_SPARE) && label == wanted;
    c->calls += r->write_index == 0;
    c->written++;
    c->pending += r->status == STORE_PENDING;
    c->accepted += accepted && right;
    if (r->status != STORE_PENDING)
        c->dry = right ? 0 : c->dry + 1;
    return 0;
}

int state_load(struct grid *g, const struct task *t, struct store *s, struct err *e) {
    for (int i = 0; i < g->n_labels; i++)
        g->labels[i].accepted = 0;
    for (int i = 0; i < g->n_cells; i++) {
        struct grid_cell *c = &g->cells[i];
        c->accepted = c->written = c->pending = c->dry = c->calls = 0;
    }
    return store_status_each(s, STORE_ALL_STATUSES, count_record, &(struct loading){g, t}, e);
}

/* ---- spares ---- */

struct change {
    int64_t id, label_call;
    int label;
    const char *text; /* of the label, in the arena */
    double weight;
    enum store_split split;
};

struct changes {
    const struct task *task;
    struct arena arena;
    struct change *items;
    int64_t n, capacity;
};

static int collect(void *context, const struct store_record *r, struct err *e) {
    struct changes *c = context;
    int label = grid_label_find(c->task, r->label);
    if (label < 0 || strcmp(r->source, "teacher") != 0)
        return 0;
    if (mem_grow((void **)&c->items, &c->capacity, c->n + 1, sizeof *c->items) < 0)
        return err_set(e, ERR_NO_MEMORY, "generate_run", "out of memory");
    c->items[c->n++] =
        (struct change){r->id, r->label_call, label, arena_strdup(&c->arena, r->label), r->weight, r->split};
    return c->items[c->n - 1].text ? 0 : err_set(e, ERR_NO_MEMORY, "generate_run", "out of memory");
}

static int set_status(struct store *s, const struct change *c, enum store_status status, struct err *e) {
    struct store_record r = {.id = c->id,
                             .label = c->text,
                             .weight = c->weight,
                             .status = status,
                             .split = c->split, /* kept: a test row that returns is a test row again */
                             .label_call = c->label_call};
    return store_record_update(s, &r, e);
}

static int move_records(struct grid *g, const struct task *t, struct store *s, struct err *e) {
    struct changes spares = {.task = t}, accepted = {.task = t};
    arena_init(&spares.arena);
    arena_init(&accepted.arena);
    int rc = store_status_each(s, STORE_SPARE, collect, &spares, e);
    if (rc == 0)
        rc = store_records_each(s, STORE_ALL_SPLITS, collect, &accepted, e);
    for (int64_t i = accepted.n - 1; i >= 0 && rc == 0; i--) {
        struct grid_label *l = &g->labels[accepted.items[i].label];
        if (l->accepted > l->quota) {
            l->accepted--;
            rc = set_status(s, &accepted.items[i], STORE_SPARE, e);
        }
    }
    for (int64_t i = 0; i < spares.n && rc == 0; i++) {
        struct grid_label *l = &g->labels[spares.items[i].label];
        if (l->accepted < l->quota) {
            l->accepted++;
            rc = set_status(s, &spares.items[i], STORE_ACCEPTED, e);
        }
    }
    free(spares.items);
    free(accepted.items);
    arena_release(&spares.arena);
    arena_release(&accepted.arena);
    return rc;
}

int state_restore_spares(struct grid *g, const struct task *t, struct store *s, struct err *e) {
    int rc = store_begin(s, e);
    if (rc == 0 && (rc = move_records(g, t, s, e)) == 0)
        rc = store_commit(s, e);
    if (rc < 0)
        store_rollback(s);
    return rc;
}
