/* Records to tokens. */
#include "train/host/rows.h"
#include "base/mem.h"
#include "format/json.h"
#include "llama/lm.h"
#include "task/belief.h"
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct train_rows_from *from;
    struct train_rows *rows;
    struct dataset *to;
    struct arena arena; /* of one record */
    struct tokens ids;
};

/* ---- extract and respond: the different answers stand where a classifier has its labels ---- */

struct texts {
    char **items;
    int64_t n, capacity;
};

static int add_text(void *context, const struct store_record *s, struct err *e) {
    struct texts *t = context;
    if ((s->split != STORE_TRAIN && s->split != STORE_VALIDATION) || !s->label)
        return 0;
    if (mem_grow((void **)&t->items, &t->capacity, t->n + 1, sizeof *t->items) < 0 ||
        !(t->items[t->n] = strdup(s->label)))
        return err_set(e, ERR_NO_MEMORY, "train_rows_read", "no room for the answers");
    t->n++;
    return 0;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int find_text(const struct train_rows *r, const char *text) {
    char **found =
        text ? bsearch(&text, r->texts, (size_t)r->form.n_labels, sizeof *r->texts, compare_texts) : NULL;
    return found ? (int)(found - r->texts) : -1;
}

/* *n different ones, sorted, in r->texts. */
static int collect_answers(struct train_rows *r, const struct train_rows_from *from, int *n, struct err *e) {
    struct texts all = {0};
    int rc = store_records_each(from->store, STORE_ALL_SPLITS, add_text, &all, e);
    if (all.n > 0)
        qsort(all.items, (size_t)all.n, sizeof *all.items, compare_texts);
    int64_t unique = 0;
    for (int64_t i = 0; i < all.n; i++) {
        if (unique > 0 && strcmp(all.items[unique - 1], all.items[i]) == 0)
            free(all.items[i]);
        else
            all.items[unique++] = all.items[i];
    }
    r->texts = all.items;
    r->form.n_labels = *n = (int)unique;
    return rc;
}

static int read_form(struct train_rows *r, const struct train_rows_from *from, struct err *e) {
    bool written = from->task->kind != TASK_CLASSIFY;
    int n = from->task->n_labels;
    if (written && collect_answers(r, from, &n, e) < 0)
        return e ? e->code : ERR_NO_MEMORY;
    if (n == 0) /* said in full by the caller, which finds no row */
        n = 1;
    r->answers = calloc((size_t)n, sizeof *r->answers);
    r->spans = calloc((size_t)n, sizeof *r->spans);
    if (!r->answers || !r->spans)
        return err_set(e, ERR_NO_MEMORY, "train_rows_read", "no room for %d labels", n);
    int rc = encode_head(&r->head, from->lm, from->prompt, e);
    for (int i = 0; i < n && rc == 0 && (!written || r->form.n_labels); i++) {
        rc = written ? encode_answer_text(&r->answers[i], from->lm, r->texts[i], e)
                     : encode_answer(&r->answers[i], from->lm, from->task, i, e);
        r->spans[i] = (struct token_span){r->answers[i].ids, r->answers[i].n};
    }
    r->form = (struct dataset_form){{r->head.ids, r->head.n}, r->spans, n, written};
    r->train.form = r->validation.form = &r->form;
    return rc;
}

/* The probabilities that the teacher gave the labels. Where it gave none, the share of votes for the label is its probability, and what
 * is left belongs to the other labels alike. */
static int soften(struct reader *r, int label, const struct store_record *s, struct err *e) {
    int n = r->from->task->n_labels, rc = 0;
    float *p = arena_calloc(&r->arena, (size_t)n, sizeof *p), share = (float)s->weight;
    double *exact = arena_calloc(&r->arena, (size_t)n, sizeof *exact);
    if (!p || !exact)
        return err_set(e, ERR_NO_MEMORY, "train_rows_read", "no room for probabilities");
    if (s->probabilities)
        rc = belief_read(r->from->task, s->probabilities, exact, e);
    for (int i = 0; i < n; i++)
        p[i] = s->probabilities ? (float)exact[i]
               : i == label     ? (n > 1 ? share : 1)
                                : (1 - share) / (float)(n - 1);
    return rc == 0 ? dataset_soften(r->to, p, e) : rc;
}

/* The record's other question: why? */
static int add_rationale(struct reader *r, const struct store_record *s, const struct record *record,
                         struct err *e) {
    const struct train_rows_from *from = r->from;
    const char *text = NULL;
    struct tokens why = {0};
    int rc = from->rationale(from->rationale_context, s, &r->arena, &text, e);
    if (rc < 0 || !text || !*text)
        return rc;
    r->ids.n = 0;
    rc = encode_record_asked(&r->ids, from->lm, from->task, from->prompt, record, TRAIN_RATIONALE_LINE, e);
    if (rc == 0)
        rc = encode_answer_text(&why, from->lm, text, e);
    if (rc == 0 && r->rows->form.head.n + r->ids.n + why.n > from->n_ctx)
        r->rows->n_too_long++;
    else if (rc == 0 && (rc = dataset_add_aside(r->to, (struct token_span){r->ids.ids, r->ids.n},
                                                (struct token_span){why.ids, why.n}, from->rationale_share,
                                                from->n_ctx, e)) == 0)
        r->rows->n_rationales++;
    tokens_release(&why);
    return rc;
}

static int add_record(struct reader *r, const struct store_record *s, struct err *e) {
    const struct task *task = r->from->task;
    struct node *n = NULL;
    struct record record;
    int label = task->kind != TASK_CLASSIFY ? find_text(r->rows, s->label) : task_label_index(task, s->label);
    if (label < 0) {
        err_set(e, ERR_INPUT, "train_rows_read",
                "record %lld has the label '%s', which the task does not have", (long long)s->id,
                s->label ? s->label : "");
        return err_hint(e,
                        "the task changed after the records were made: edgestill generate makes them anew");
    }
    int rc = json_node_parse(&r->arena, "records.sqlite", 0, s->data, strlen(s->data), &n, e);
    if (rc == 0)
        rc = record_from_node(task, &r->arena, false, n, &record, e);
    r->ids.n = 0;
    if (rc == 0)
        rc = encode_record(&r->ids, r->from->lm, task, r->from->prompt, &record, e);
    if (rc < 0)
        return err_context(e, "record %lld", (long long)s->id);
    struct dataset_row row = {
        .id = s->id, .n = (int32_t)r->ids.n, .label = label, .weight = (float)s->weight};
    /* written answers have no probabilities, own rows' weights are no votes */
    bool softened = r->from->soft && !r->rows->form.written && strcmp(s->source, "own") != 0;
    if (softened)
        row.weight = 1;
    rc = dataset_add(r->to, &row, r->ids.ids, r->from->n_ctx, e);
    if (rc == 0 && softened)
        rc = soften(r, label, s, e);
    if (rc == 0 && r->from->rationale && r->to == &r->rows->train)
        rc = add_rationale(r, s, &record, e);
    return rc;
}

static int take_record(void *context, const struct store_record *s, struct err *e) {
    struct reader *r = context;
    int rc = add_record(r, s, e);
    arena_reset(&r->arena);
    return rc;
}

static int read_split(struct reader *r, struct dataset *to, enum store_split split, struct err *e) {
    r->to = to;
    return store_records_each(r->from->store, split, take_record, r, e);
}

int train_rows_read(struct train_rows *out, const struct train_rows_from *from, struct err *e) {
    struct reader r = {.from = from, .rows = out};
    *out = (struct train_rows){0};
    arena_init(&r.arena);
    int rc = read_form(out, from, e);
    if (rc == 0)
        rc = read_split(&r, &out->train, STORE_TRAIN, e);
    if (rc == 0)
        rc = read_split(&r, &out->validation, STORE_VALIDATION, e);
    if (rc == 0 && out->train.n_rows == 0) {
        rc = err_set(e, ERR_INPUT, "train_rows_read", "there is no accepted record to train on");
        err_hint(e, "make some: edgestill generate");
    }
    tokens_release(&r.ids);
    arena_release(&r.arena);
    if (rc < 0)
        train_rows_release(out);
    return rc;
}

void train_rows_release(struct train_rows *r) {
    for (int i = 0; r->answers && i < r->form.n_labels; i++)
        tokens_release(&r->answers[i]);
    for (int i = 0; r->texts && i < r->form.n_labels; i++)
        free(r->texts[i]);
    free(r->texts);
    free(r->answers);
    free(r->spans);
    tokens_release(&r->head);
    dataset_release(&r->train);
    dataset_release(&r->validation);
    *r = (struct train_rows){0};
}
