/* Cells, quotas, and what to ask for next. */
#include "synth/grid.h"
#include "synth/bins.h"
#include "task/answer.h"
#include <string.h>

enum {
    DRY_NEVER = 24, /* records in vain before a cell that never gave any is closed */
    DRY_SINCE = 40, /* the same for one that did */
    DRY_OPEN = 160, /* the same for the cell without a hint, the last resort of its label */
};

static bool has_label(const struct grid_cell *c, int label) {
    return c->label == label || c->other == label;
}

/* ---- cells ---- */

static const char *cell_name(struct grid *g, const struct task *t, int label, const struct protocol_hint *h) {
    struct str s = {0};
    str_add(&s, t->kind == TASK_CLASSIFY ? t->labels[label].name : "records");
    protocol_hint_text(t, h, &s);
    const char *name = s.failed ? NULL : arena_strdup(&g->arena, s.data);
    str_release(&s);
    return name;
}

static bool add_cell(struct grid *g, const struct task *t, int label, struct protocol_hint h) {
    struct grid_cell *c = &g->cells[g->n_cells];
    *c = (struct grid_cell){.label = label, .other = -1, .hint = h, .name = cell_name(g, t, label, &h)};
    g->n_cells += c->name != NULL;
    return c->name != NULL;
}

/* The label's quota over its cells [n]: half of it to the corners that decide, where there are any, evenly; the rest to all. */
static void share_quota(struct grid_cell *cells, const bool *decisive, int n, int64_t quota) {
    int n_decisive = 0;
    for (int i = 0; i < n; i++)
        n_decisive += decisive[i];
    int64_t special = n_decisive > 0 ? quota / 2 : 0, common = quota - special;
    for (int i = 0, k = 0; i < n; i++) {
        cells[i].share = common / n + (i < common % n);
        if (decisive[i]) {
            cells[i].share += special / n_decisive + (k < special % n_decisive);
            k++;
        }
    }
}

static bool add_cells(struct grid *g, const struct task *t, int label, int64_t quota) {
    struct protocol_hint bins[BINS_MAX];
    struct grid_cell *cells = &g->cells[g->n_cells];
    int before = g->n_cells, most = 1 + BINS_MAX * (t->n_declared + t->n_answer);
    bool *decisive = arena_calloc(&g->arena, (size_t)most, sizeof *decisive), decides = false;
    bool ok = decisive && add_cell(g, t, label, (struct protocol_hint){.field = -1});
    for (int i = 0; i < t->n_declared; i++) {
        int n = bins_of(t, i, bins, &decides);
        for (int k = 0; ok && k < n; k++) {
            decisive[g->n_cells - before] = decides;
            ok = add_cell(g, t, label, bins[k]);
        }
    }
    struct task answer = answer_view(t);
    for (int i = 0; i < answer.n_declared; i++) {
        int n = bins_of(&answer, i, bins, &decides);
        for (int k = 0; ok && k < n; k++) {
            bins[k].of_answer = true;
            decisive[g->n_cells - before] = decides;
            ok = add_cell(g, t, label, bins[k]);
        }
    }
    if (ok)
        share_quota(cells, decisive, g->n_cells - before, quota);
    return ok;
}

int grid_init(struct grid *g, const struct task *t, int64_t n_records, struct err *e) {
    int n_labels = t->kind == TASK_CLASSIFY ? t->n_labels : 1;
    *g = (struct grid){.n_labels = n_labels};
    arena_init(&g->arena);
    size_t most = (size_t)(1 + BINS_MAX * (t->n_declared + t->n_answer)) * (size_t)n_labels + BOUNDARIES_MAX;
    g->cells = arena_calloc(&g->arena, most, sizeof *g->cells);
    g->labels = arena_calloc(&g->arena, (size_t)n_labels, sizeof *g->labels);
    bool ok = g->cells && g->labels;
    int64_t quota = (n_records + n_labels - 1) / n_labels;
    for (int label = 0; ok && label < n_labels; label++) {
        g->labels[label].quota = quota;
        ok = add_cells(g, t, label, quota);
    }
    if (ok)
        return 0;
    grid_release(g);
    return err_set(e, ERR_NO_MEMORY, "grid_init", "out of memory");
}

/* ---- pairs ---- */

/* A quarter of each label's quota over the boundaries that it has. */
static void share_pairs(struct grid *g, struct grid_cell *pairs, int n) {
    for (int label = 0; label < g->n_labels; label++) {
        int64_t n_of = 0, quarter = g->labels[label].quota / 4, k = 0;
        for (int i = 0; i < n; i++)
            n_of += has_label(&pairs[i], label);
        for (int i = 0; i < n; i++)
            if (has_label(&pairs[i], label)) {
                pairs[i].share += quarter / n_of + (k < quarter % n_of);
                k++;
            }
        for (int i = 0; n_of > 0 && i < g->n_cells; i++)
            if (g->cells[i].label == label && g->cells[i].other < 0)
                g->cells[i].share -= g->cells[i].share / 4;
    }
}

int grid_add_pairs(struct grid *g, const struct task *t, struct err *e) {
    struct boundary all[BOUNDARIES_MAX];
    int n = t->kind == TASK_CLASSIFY ? boundaries_of(t, all) : 0, rc = 0;
    struct grid_cell *pairs = &g->cells[g->n_cells];
    for (int i = 0; i < n && rc == 0; i++) {
        struct str name = {0};
        str_addf(&name, "%s beside %s", t->labels[all[i].first].name, t->labels[all[i].second].name);
        protocol_pairs_text(t, &all[i].at, &name);
        pairs[i] = (struct grid_cell){.label = all[i].first,
                                      .other = all[i].second,
                                      .hint = all[i].at,
                                      .name = name.failed ? NULL : arena_strdup(&g->arena, name.data)};
        str_release(&name);
        if (!pairs[i].name)
            rc = err_set(e, ERR_NO_MEMORY, "grid_add_pairs", "out of memory");
    }
    if (rc == 0) {
        share_pairs(g, pairs, n);
        g->n_cells += n;
    }
    return rc;
}

double grid_pairs_share(const struct grid *g) {
    return g->n_cells > 0 && g->cells[g->n_cells - 1].other >= 0 ? 0.25 : 0;
}

int grid_per_call(const struct grid_cell *c, int per_call) {
    return c->other < 0 ? per_call : per_call < 2 ? 2 : per_call / 2 * 2;
}

void grid_release(struct grid *g) {
    arena_release(&g->arena);
    *g = (struct grid){0};
}

int grid_label_find(const struct task *t, const char *label) {
    return t->kind == TASK_CLASSIFY ? task_label_index(t, label) : label ? 0 : -1;
}

int grid_cell_find(const struct grid *g, const char *name) {
    for (int i = 0; name && i < g->n_cells; i++)
        if (strcmp(g->cells[i].name, name) == 0)
            return i;
    return -1;
}

int64_t grid_missing(const struct grid *g, int label) {
    const struct grid_label *l = &g->labels[label];
    return l->quota > l->accepted ? l->quota - l->accepted : 0;
}

int64_t grid_missing_all(const struct grid *g) {
    int64_t n = 0;
    for (int i = 0; i < g->n_labels; i++)
        n += grid_missing(g, i);
    return n;
}

/* ---- dry cells ---- */

void grid_close_dry(struct grid *g) {
    for (int i = 0; i < g->n_cells; i++) {
        struct grid_cell *c = &g->cells[i];
        int64_t most = c->hint.field < 0 && c->other < 0 ? DRY_OPEN
                       : c->accepted == 0                ? DRY_NEVER
                                                         : DRY_SINCE;
        c->closed = c->closed || c->dry >= most;
    }
}

/* Of its own: pairs need another label that is short, too. */
static bool has_open_cell(const struct grid *g, int label) {
    for (int i = 0; i < g->n_cells; i++)
        if (g->cells[i].label == label && g->cells[i].other < 0 && !g->cells[i].closed)
            return true;
    return false;
}

int grid_stuck_label(const struct grid *g) {
    for (int label = 0; label < g->n_labels; label++)
        if (grid_missing(g, label) > 0 && !has_open_cell(g, label))
            return label;
    return -1;
}

/* ---- planning ---- */

static double smooth_yield(int64_t accepted, int64_t written) {
    double y = ((double)accepted + 6.4) / ((double)written + 8); /* begins at 0.8, as if 8 had been written */
    return y < 0.1 ? 0.1 : y;
}

double grid_yield(const struct grid *g, int label) {
    int64_t accepted = 0, written = 0;
    for (int i = 0; i < g->n_cells; i++)
        if (has_label(&g->cells[i], label)) {
            accepted += g->cells[i].accepted;
            written += g->cells[i].written - g->cells[i].pending;
        }
    return smooth_yield(accepted, written);
}

/* The open cell of a label that is furthest below its share, counting what is planned for it already. */
static struct grid_cell *neediest(struct grid *g, int label) {
    struct grid_cell *best = NULL;
    double least = 0;
    for (int i = 0; i < g->n_cells; i++) {
        struct grid_cell *c = &g->cells[i];
        if (!has_label(c, label) || c->closed || (c->later && best && !best->later))
            continue;
        int partner = c->label == label ? c->other : c->label;
        if (partner >= 0 && partner != label && g->labels[partner].unplanned <= 0)
            continue;
        double full = ((double)c->accepted + c->planned) / (double)(c->share > 0 ? c->share : 1);
        if (!best || full < least || (best->later && !c->later)) {
            best = c;
            least = full;
        }
    }
    return best;
}

/* The label that is furthest below its quota, counting what is planned; -1: none that has an open cell. */
static int neediest_label(const struct grid *g) {
    int best = -1;
    for (int i = 0; i < g->n_labels; i++)
        if (g->labels[i].unplanned > 0 && has_open_cell(g, i) &&
            (best < 0 || g->labels[i].unplanned > g->labels[best].unplanned))
            best = i;
    return best;
}

int64_t grid_plan(struct grid *g, int per_call, int64_t limit, int64_t *calls) {
    int64_t sum = 0;
    memset(calls, 0, (size_t)g->n_cells * sizeof *calls);
    for (int i = 0; i < g->n_cells; i++)
        g->cells[i].planned = 0;
    for (int i = 0; i < g->n_labels; i++)
        g->labels[i].unplanned = (double)grid_missing(g, i);
    for (int label; sum < limit && (label = neediest_label(g)) >= 0; sum++) {
        struct grid_cell *c = neediest(g, label);
        double expected = grid_per_call(c, per_call) * smooth_yield(c->accepted, c->written - c->pending);
        calls[c - g->cells]++;
        c->planned += expected;
        g->labels[c->label].unplanned -= c->other < 0 ? expected : expected / 2;
        if (c->other >= 0)
            g->labels[c->other].unplanned -= expected / 2;
    }
    return sum;
}
