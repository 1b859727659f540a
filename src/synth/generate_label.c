/* LABEL and judge: what each pending record is said to be, and whether it is kept. */
#include "synth/check.h"
#include "synth/generate_internal.h"
#include "synth/state.h"
#include "task/belief.h"
#include <string.h>

#define ORIGIN "generate_run"

/* ---- LABEL ---- */

static int add_pending(void *context, const struct store_record *r, struct err *e) {
    struct generation *g = context;
    struct pending p = {.id = r->id,
                        .data = arena_strdup(&g->arena, r->data),
                        .wanted = arena_strdup(&g->arena, r->wanted ? r->wanted : ""),
                        .winner = -1};
    if (!p.data || !p.wanted ||
        mem_grow((void **)&g->pending, &g->pending_capacity, g->n_pending + 1, sizeof *g->pending) < 0)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    g->pending[g->n_pending++] = p;
    return 0;
}

static int next_label(void *context, struct teacher_question *q, struct err *e) {
    struct generation *g = context;
    int64_t i = g->next / g->o.votes, vote = g->next % g->o.votes;
    if (i == g->n_pending)
        return 0;
    struct arena a;
    struct record r;
    arena_init(&a);
    int rc = state_record(g->task, &a, g->pending[i].data, &r, e);
    if (rc == 0)
        rc = protocol_judge(&g->request, teacher_style(g->teacher), g->task, &r, e);
    arena_release(&a);
    /* The first vote is the plain question, so that it is the same whether one is asked for or several. */
    *q = (struct teacher_question){.purpose = "label",
                                   .tag = g->next++,
                                   .repeat = vote,
                                   .request = &g->request,
                                   .temperature = vote ? 0.7 : 0,
                                   .seed = (uint64_t)vote};
    return rc < 0 ? rc : 1;
}

/* Labels that were scored: their probabilities stand where votes do. Left out where they are not of this task's labels. */
static int take_probabilities(struct generation *g, struct pending *p, int label,
                              const struct teacher_answer *a, struct err *e) {
    const struct task *t = g->task;
    double *of = arena_calloc(&g->arena, (size_t)t->n_labels, sizeof *of);
    struct str text = {0};
    int n_known = 0;
    for (int i = 0; i < a->n_labels && of; i++) {
        int k = task_label_index(t, a->labels[i].name);
        n_known += k >= 0;
        if (k >= 0)
            of[k] = a->labels[i].probability;
    }
    if (of && n_known == t->n_labels && belief_write(t, of, &text, NULL) == 0) {
        p->probabilities = arena_strdup(&g->arena, text.data);
        p->share = of[label];
    }
    bool failed = !of || text.failed || (text.len && !p->probabilities);
    str_release(&text);
    return failed ? err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory") : 0;
}

static int take_label(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    struct generation *g = context;
    struct pending *p = &g->pending[tag / g->o.votes];
    int64_t vote = tag % g->o.votes;
    struct str text = {0};
    bool usable = !a->truncated && !a->refused;
    if (usable && g->task->kind == TASK_CLASSIFY) {
        int label = protocol_label_read(g->task, a->content);
        usable = label >= 0;
        str_add(&text, usable ? g->task->labels[label].name : "");
        if (usable && a->labels && g->o.votes == 1 && take_probabilities(g, p, label, a, e) < 0)
            text.failed = true;
    } else if (usable) {
        usable = protocol_answer_read(g->task, a->content, &text) == 0;
    }
    p->calls[vote] = a->call;
    p->votes[vote] = usable ? arena_strdup(&g->arena, str_text(&text)) : NULL;
    bool failed = text.failed || (usable && !p->votes[vote]);
    str_release(&text);
    generation_show(g);
    return failed ? err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory") : 0;
}

/* ---- judge ---- */

/* The commonest usable answer; of several the one that came first in the order of asking. */
static void count_votes(const struct generation *g, struct pending *p) {
    int most = 0;
    for (int i = 0; i < g->o.votes; i++) {
        int n = 0;
        for (int k = 0; k < g->o.votes && p->votes[i]; k++)
            n += str_equal(p->votes[i], p->votes[k]);
        if (n > most) {
            most = n;
            p->winner = i;
        }
    }
    if (!p->probabilities)
        p->share = (double)most / g->o.votes;
}

/* Is it what it was written for? Of extract and respond, and of crossed records, nothing was said. */
static bool as_wanted(const struct generation *g, const struct pending *p) {
    return g->task->kind != TASK_CLASSIFY || !p->wanted[0] || strcmp(p->votes[p->winner], p->wanted) == 0;
}

static bool is_split(const struct generation *g, const struct pending *p) {
    return (g->o.votes > 1 || p->probabilities) && p->share <= 0.5;
}

static int settle_record(struct generation *g, const struct pending *p, enum store_status status,
                         const char *reason, struct err *e) {
    struct store_record r = {.id = p->id,
                             .label = p->winner >= 0 ? p->votes[p->winner] : NULL,
                             .weight = p->winner >= 0 ? p->share : 1,
                             .probabilities = p->winner >= 0 ? p->probabilities : NULL,
                             .status = status,
                             .reason = reason,
                             .label_call = p->winner >= 0 ? p->calls[p->winner] : p->calls[0]};
    if (status == STORE_ACCEPTED)
        g->grid->labels[grid_label_find(g->task, r.label)].accepted++;
    return store_record_update(g->store, &r, e);
}

static bool has_room(const struct generation *g, const struct pending *p) {
    return grid_missing(g->grid, grid_label_find(g->task, p->votes[p->winner])) > 0;
}

/* Those that are what they were written for come first; then the others fill what gaps are left. */
static int judge(struct generation *g, struct err *e) {
    int rc = store_begin(g->store, e);
    for (int64_t i = 0; i < g->n_pending && rc == 0; i++) {
        struct pending *p = &g->pending[i];
        count_votes(g, p);
        if (p->winner < 0)
            rc = settle_record(g, p, STORE_REJECTED, reject_text(REJECT_NO_LABEL), e);
        else if (is_split(g, p))
            rc = settle_record(g, p, STORE_REJECTED, reject_text(REJECT_SPLIT_VOTE), e);
        else if (as_wanted(g, p))
            rc = settle_record(g, p, has_room(g, p) ? STORE_ACCEPTED : STORE_SPARE, NULL, e);
    }
    for (int64_t i = 0; i < g->n_pending && rc == 0; i++) {
        const struct pending *p = &g->pending[i];
        if (p->winner < 0 || is_split(g, p) || as_wanted(g, p))
            continue;
        bool room = has_room(g, p);
        rc = settle_record(g, p, room ? STORE_ACCEPTED : STORE_REJECTED,
                           room ? NULL : reject_text(REJECT_DISAGREEMENT), e);
    }
    if (rc == 0)
        rc = store_commit(g->store, e);
    if (rc < 0)
        store_rollback(g->store);
    return rc;
}

int generation_label(struct generation *g, struct err *e) {
    g->n_pending = g->next = 0;
    int rc = store_status_each(g->store, STORE_PENDING, add_pending, g, e);
    if (rc < 0 || g->n_pending == 0)
        return rc;
    rc = teacher_run(g->teacher, &(struct teacher_job){next_label, take_label, g}, e);
    if (rc == 0)
        rc = judge(g, e);
    g->n_pending = 0;
    return rc;
}
