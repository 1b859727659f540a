/* Exemplars: what a WRITE question shows of the records that are there, other ones in each.
 *
 * A question's key is made of its text, so what it shows must be the same after a crash. It is chosen from what is accepted when the
 * wave begins, and noted before the wave is asked: {"CELL":[[ordinal,id,...],...]} under `exemplars`. Of a question that is in
 * the note the note decides; what has been ingested is taken out of it with the next wave.
 *
 * A record that a teacher has been shown must not become a test row: it gets the split `train` in the same commit. So that
 * enough are left for the others, at most a fifth of a label's quota is taken for that. */
#include "base/hash.h"
#include "base/rng.h"
#include "format/json.h"
#include "synth/generate_internal.h"
#include "synth/state.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "generate_run"
#define NOTE   "exemplars"

enum {
    KEPT = 8,           /* candidates of a cell, drawn from all of it */
    ENOUGH = 6,         /* so many let a cell speak for itself; otherwise the label's others come beside */
    SHOWN_BYTES = 1500, /* of all exemplars of a question, the first apart */
};
static const double TAKEN_SHARE = 0.2, CHANCE = 0.3;

struct candidate {
    int64_t id, label_call;
    int cell, label, used;
    bool taken; /* a training record already */
    const char *data, *text, *label_text;
    double weight;
    struct record record;
};

struct choosing {
    struct generation *g;
    struct candidate *candidates; /* [n_cells * KEPT] */
    int *n_kept;                  /* [n_cells] */
    int64_t *n_seen;              /* [n_cells] */
    int64_t *n_taken;             /* [n_labels] */
    struct rng rng;
    struct node *note; /* NULL: there is none */
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

/* ---- what may be shown ---- */

/* Own rows as the shared fields alone; what the teacher wrote as it is. *text NULL: not to be shown. */
static int shown_text(struct generation *g, const struct store_record *r, const char **text, struct err *e) {
    *text = NULL;
    bool own = !str_equal(r->source, "teacher");
    if (!own) {
        *text = arena_strdup(&g->arena, r->data);
        return *text ? 0 : no_memory(e);
    }
    if (!g->o.shared_fields)
        return 0;
    struct record record;
    struct str out = {0};
    const char *gap = "{";
    int rc = state_record(g->task, &g->arena, r->data, &record, e);
    for (int i = 0; i < g->task->n_declared && rc == 0; i++) {
        const struct task_field *f = &g->task->fields[i];
        const struct value *v = &record.values[i];
        if (v->missing || !g->o.shared_fields[i])
            continue;
        str_add(&out, gap);
        json_text_string(&out, f->name);
        str_add_char(&out, ':');
        if (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER)
            str_add(&out, v->text);
        else
            json_text_string(&out, v->text);
        gap = ",";
    }
    str_add(&out, out.len ? "}" : "");
    if (rc == 0 && (out.failed || (out.len && !(*text = arena_strdup(&g->arena, out.data)))))
        rc = no_memory(e);
    str_release(&out);
    return rc;
}

/* The cell that a record speaks for: its own, or, where it got another label, the one that is for anything of its label. */
static int cell_of(const struct grid *g, const struct store_record *r, int label) {
    int cell = grid_cell_find(g, r->cell);
    if (cell >= 0 && g->cells[cell].label != label && g->cells[cell].other != label)
        cell = -1;
    for (int i = 0; cell < 0 && i < g->n_cells; i++)
        if (g->cells[i].label == label && g->cells[i].other < 0 && g->cells[i].hint.field < 0)
            cell = i;
    return cell;
}

static int keep(struct choosing *x, struct candidate *c, const struct store_record *r, struct err *e) {
    struct generation *g = x->g;
    int rc = shown_text(g, r, &c->text, e);
    if (rc == 0 && c->text)
        rc = state_record(g->task, &g->arena, r->data, &c->record, e);
    if (rc == 0 && !(c->label_text = arena_strdup(&g->arena, r->label)))
        rc = no_memory(e);
    return rc;
}

/* Every record of a cell has the same chance to be one of the KEPT (Vitter's algorithm R). */
static int consider(void *context, const struct store_record *r, struct err *e) {
    struct choosing *x = context;
    const struct grid *grid = x->g->grid;
    int label = grid_label_find(x->g->task, r->label);
    bool own = str_equal(r->source, "own");
    if (label < 0 || r->split == STORE_TEST || r->split == STORE_VALIDATION ||
        (own && (!x->g->o.shared_fields || r->split != STORE_TRAIN)))
        return 0;
    int cell = cell_of(grid, r, label);
    x->n_taken[label] += r->split == STORE_TRAIN && !own;
    if (cell < 0)
        return 0;
    int64_t at = x->n_kept[cell] < KEPT ? x->n_kept[cell]++ : rng_range(&x->rng, 0, x->n_seen[cell]);
    x->n_seen[cell]++;
    if (at >= KEPT)
        return 0;
    struct candidate *c = &x->candidates[cell * KEPT + at];
    *c = (struct candidate){.id = r->id,
                            .label_call = r->label_call,
                            .cell = cell,
                            .label = label,
                            .taken = r->split == STORE_TRAIN,
                            .weight = r->weight};
    return keep(x, c, r, e);
}

/* ---- choosing ---- */

static double text_distance(const char *a, const char *b) {
    int n = 0, other = 0;
    for (const char *at = a + strspn(a, " "); *at; at += strspn(at, " ")) {
        char word[48];
        size_t length = strcspn(at, " ");
        snprintf(word, sizeof word, "%.*s", (int)(length < 40 ? length : 40), at);
        n++;
        other += !strcasestr(b, word);
        at += length;
    }
    return n > 0 ? (double)other / n : strcmp(a, b) != 0;
}

/* Mean over the fields, each in [0, 1]. */
static double distance(const struct task *t, const struct record *a, const struct record *b) {
    double sum = 0;
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        const struct value *x = &a->values[i], *y = &b->values[i];
        bool number =
            (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER) && f->has_range && f->max > f->min;
        if (x->missing || y->missing)
            sum += x->missing != y->missing;
        else if (number)
            sum += fmin(1, fabs(x->number - y->number) / (f->max - f->min));
        else
            sum += f->type == FIELD_TEXT ? text_distance(x->text, y->text) : strcmp(x->text, y->text) != 0;
    }
    return sum / t->n_declared;
}

static bool is_eligible(const struct choosing *x, const struct candidate *c, const struct ask *a,
                        bool own_cell) {
    const struct grid *grid = x->g->grid;
    const struct grid_cell *cell = &grid->cells[a->cell];
    const struct split_shares *s = &x->g->o.shares;
    double share = fmin(TAKEN_SHARE, (1 - s->test - s->validation) / 2);
    bool of_label = c->label == cell->label || c->label == cell->other;
    if (!c->text || (own_cell ? c->cell != a->cell : !of_label))
        return false;
    for (int i = 0; i < a->n_shown; i++)
        if (a->shown[i] == c->id)
            return false;
    return c->taken || (double)x->n_taken[c->label] < share * (double)grid->labels[c->label].quota;
}

static bool is_kept(const struct choosing *x, int i) {
    return i % KEPT < x->n_kept[i / KEPT];
}

/* Has its cell enough for more than one choice? */
static bool speaks_for_itself(const struct choosing *x, const struct ask *a) {
    int n = 0;
    for (int i = a->cell * KEPT; i < (a->cell + 1) * KEPT; i++)
        n += is_kept(x, i) && is_eligible(x, &x->candidates[i], a, true);
    return n >= ENOUGH;
}

/* Those that were shown least come first; of these one that is little like what the question shows already, and not always the same. */
static struct candidate *best_of(struct choosing *x, const struct ask *a, bool own_cell,
                                 struct candidate *const *chosen) {
    struct candidate *best = NULL;
    double most = 0;
    for (int i = 0; i < x->g->grid->n_cells * KEPT; i++) {
        struct candidate *c = &x->candidates[i];
        if (!is_kept(x, i) || !is_eligible(x, c, a, own_cell))
            continue;
        double least = 1;
        for (int k = 0; k < a->n_shown; k++)
            least = fmin(least, distance(x->g->task, &c->record, &chosen[k]->record));
        double score = least + CHANCE * rng_double(&x->rng) - 2 * c->used;
        if (!best || score > most) {
            best = c;
            most = score;
        }
    }
    return best;
}

static void choose(struct choosing *x, struct ask *a) {
    struct candidate *chosen[EXEMPLARS];
    bool own_cell = speaks_for_itself(x, a);
    for (int i = 0; i < EXEMPLARS; i++) {
        struct candidate *c = best_of(x, a, own_cell, chosen);
        if (!c)
            break;
        c->used++;
        if (!c->taken)
            x->n_taken[c->label]++;
        c->taken = true;
        chosen[a->n_shown] = c;
        a->shown[a->n_shown++] = c->id;
    }
}

/* ---- the note ---- */

static int read_note(struct choosing *x, struct err *e) {
    const char *text = NULL;
    int rc = store_note_get(x->g->store, NOTE, &x->g->arena, &text, e);
    return rc == 0 && text ? json_node_parse(&x->g->arena, NOTE, 0, text, strlen(text), &x->note, e) : rc;
}

static const struct node *noted(const struct choosing *x, const struct ask *a) {
    const struct node *cell = x->note ? node_get(x->note, x->g->grid->cells[a->cell].name) : NULL;
    for (const struct node *n = cell ? cell->first : NULL; n; n = n->next)
        if (n->first && (int64_t)n->first->number == a->ordinal)
            return n;
    return NULL;
}

static void take_noted(const struct node *n, struct ask *a) {
    for (const struct node *id = n->first->next; id && a->n_shown < EXEMPLARS; id = id->next)
        a->shown[a->n_shown++] = (int64_t)id->number;
}

static bool is_asked(const struct generation *g, int cell, int64_t ordinal) {
    for (int64_t i = 0; i < g->n_asks; i++)
        if (g->asks[i].cell == cell && g->asks[i].ordinal == ordinal)
            return true;
    return false;
}

/* What an earlier wave noted and did not come to ingest, and this wave does not ask. */
static void add_waiting(const struct choosing *x, int cell, struct str *out) {
    const struct grid_cell *c = &x->g->grid->cells[cell];
    const struct node *list = x->note ? node_get(x->note, c->name) : NULL;
    for (const struct node *n = list ? list->first : NULL; n; n = n->next) {
        if (!n->first || (int64_t)n->first->number < c->calls ||
            is_asked(x->g, cell, (int64_t)n->first->number))
            continue;
        str_add(out, out->data[out->len - 1] == '[' ? "" : ",");
        json_text_node(out, n);
    }
}

static void add_asks(const struct choosing *x, int cell, struct str *out) {
    for (int64_t i = 0; i < x->g->n_asks; i++) {
        const struct ask *a = &x->g->asks[i];
        if (a->cell != cell)
            continue;
        str_addf(out, "%s[%lld", out->data[out->len - 1] == '[' ? "" : ",", (long long)a->ordinal);
        for (int k = 0; k < a->n_shown; k++)
            str_addf(out, ",%lld", (long long)a->shown[k]);
        str_add_char(out, ']');
    }
}

static int write_note(struct choosing *x, struct err *e) {
    struct str out = {0};
    for (int cell = 0; cell < x->g->grid->n_cells; cell++) {
        str_add_char(&out, cell ? ',' : '{');
        json_text_string(&out, x->g->grid->cells[cell].name);
        str_add(&out, ":[");
        if (!out.failed) {
            add_asks(x, cell, &out);
            add_waiting(x, cell, &out);
        }
        str_add_char(&out, ']');
    }
    str_add_char(&out, '}');
    int rc = str_check(&out, e);
    if (rc == 0)
        rc = store_note_set(x->g->store, NOTE, out.data, e);
    str_release(&out);
    return rc;
}

static int set_train(struct choosing *x, struct err *e) {
    int rc = 0;
    for (int i = 0; i < x->g->grid->n_cells * KEPT && rc == 0; i++) {
        const struct candidate *c = &x->candidates[i];
        if (c->used == 0)
            continue;
        struct store_record r = {.id = c->id,
                                 .label = c->label_text,
                                 .weight = c->weight,
                                 .status = STORE_ACCEPTED,
                                 .split = STORE_TRAIN,
                                 .label_call = c->label_call};
        rc = store_record_update(x->g->store, &r, e);
    }
    return rc;
}

/* In one commit, before the first question that shows them. */
static int commit_note(struct choosing *x, struct err *e) {
    int rc = store_begin(x->g->store, e);
    if (rc == 0)
        rc = set_train(x, e);
    if (rc == 0)
        rc = write_note(x, e);
    if (rc == 0)
        rc = store_commit(x->g->store, e);
    if (rc < 0)
        store_rollback(x->g->store);
    return rc;
}

/* ---- their texts ---- */

static int by_id(const void *a, const void *b) {
    int64_t x = ((const struct exemplar *)a)->id, y = ((const struct exemplar *)b)->id;
    return (x > y) - (x < y);
}

static struct exemplar *find(const struct generation *g, int64_t id) {
    struct exemplar key = {.id = id};
    return g->n_exemplars > 0
               ? bsearch(&key, g->exemplars, (size_t)g->n_exemplars, sizeof *g->exemplars, by_id)
               : NULL;
}

static int load_text(void *context, const struct store_record *r, struct err *e) {
    struct generation *g = context;
    struct exemplar *x = find(g, r->id);
    return x ? shown_text(g, r, &x->text, e) : 0;
}

/* Of whatever status they are now: a question stays what it was. */
static int load_texts(struct generation *g, struct err *e) {
    int64_t n = 0;
    g->n_exemplars = 0;
    g->exemplars = arena_calloc(&g->arena, (size_t)(g->n_asks * EXEMPLARS + 1), sizeof *g->exemplars);
    if (!g->exemplars)
        return no_memory(e);
    for (int64_t i = 0; i < g->n_asks; i++)
        for (int k = 0; k < g->asks[i].n_shown; k++)
            g->exemplars[n++].id = g->asks[i].shown[k];
    qsort(g->exemplars, (size_t)n, sizeof *g->exemplars, by_id);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || g->exemplars[i].id != g->exemplars[g->n_exemplars - 1].id)
            g->exemplars[g->n_exemplars++] = g->exemplars[i];
    return n > 0 ? store_status_each(g->store, STORE_ALL_STATUSES, load_text, g, e) : 0;
}

/* ---- a wave ---- */

static int begin(struct choosing *x, struct generation *g, struct err *e) {
    size_t cells = (size_t)g->grid->n_cells;
    *x = (struct choosing){.g = g,
                           .candidates = arena_calloc(&g->arena, cells * KEPT, sizeof *x->candidates),
                           .n_kept = arena_calloc(&g->arena, cells, sizeof *x->n_kept),
                           .n_seen = arena_calloc(&g->arena, cells, sizeof *x->n_seen),
                           .n_taken = arena_calloc(&g->arena, (size_t)g->grid->n_labels, sizeof *x->n_taken)};
    int64_t asked = 0;
    for (int i = 0; i < g->grid->n_cells; i++)
        asked += g->grid->cells[i].calls;
    rng_seed(&x->rng, hash64(&asked, sizeof asked, g->o.seed));
    return x->candidates && x->n_kept && x->n_seen && x->n_taken ? read_note(x, e) : no_memory(e);
}

int generation_exemplars(struct generation *g, struct err *e) {
    struct choosing x;
    int64_t n_new = 0;
    g->n_exemplars = 0;
    if (teacher_style(g->teacher) != PROTOCOL_FULL)
        return 0;
    int rc = begin(&x, g, e);
    if (rc == 0)
        rc = store_records_each(g->store, STORE_ALL_SPLITS, consider, &x, e);
    for (int64_t i = 0; i < g->n_asks && rc == 0; i++) {
        struct ask *a = &g->asks[i];
        const struct node *n = noted(&x, a);
        if (n)
            take_noted(n, a);
        else
            choose(&x, a);
        n_new += n == NULL;
    }
    if (rc == 0 && n_new > 0)
        rc = commit_note(&x, e);
    return rc == 0 ? load_texts(g, e) : rc;
}

int generation_show_exemplars(struct generation *g, const struct ask *a, struct err *e) {
    const char *texts[EXEMPLARS];
    size_t bytes = 0;
    int n = 0;
    for (int i = 0; i < a->n_shown; i++) {
        const struct exemplar *x = find(g, a->shown[i]);
        size_t length = x && x->text ? strlen(x->text) : 0;
        if (length == 0 || (n > 0 && bytes + length > SHOWN_BYTES))
            continue;
        texts[n++] = x->text;
        bytes += length;
    }
    return protocol_show(&g->request, texts, n, e);
}
