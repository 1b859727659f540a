/* Records to tokens. */
#include "train/host/rows.h"
#include "format/json.h"
#include "llama/lm.h"
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct train_rows_from *from;
    struct dataset *to;
    struct arena arena; /* of one record */
    struct tokens ids;
};

static int read_form(struct train_rows *r, const struct train_rows_from *from, struct err *e) {
    int n = from->task->n_labels;
    r->answers = calloc((size_t)n, sizeof *r->answers);
    r->spans = calloc((size_t)n, sizeof *r->spans);
    if (!r->answers || !r->spans)
        return err_set(e, ERR_NO_MEMORY, "train_rows_read", "no room for %d labels", n);
    int rc = encode_head(&r->head, from->lm, from->prompt, e);
    for (int i = 0; i < n && rc == 0; i++) {
        rc = encode_answer(&r->answers[i], from->lm, from->task, i, e);
        r->spans[i] = (struct token_span){r->answers[i].ids, r->answers[i].n};
    }
    r->form = (struct dataset_form){{r->head.ids, r->head.n}, r->spans, n};
    r->train.form = r->validation.form = &r->form;
    return rc;
}

static int add_record(struct reader *r, const struct store_record *s, struct err *e) {
    const struct task *task = r->from->task;
    struct node *n = NULL;
    struct record record;
    int label = s->label ? task_label_index(task, s->label) : -1;
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
    return dataset_add(r->to, &row, r->ids.ids, r->from->n_ctx, e);
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
    struct reader r = {.from = from};
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
    free(r->answers);
    free(r->spans);
    tokens_release(&r->head);
    dataset_release(&r->train);
    dataset_release(&r->validation);
    *r = (struct train_rows){0};
}
