/* One LABEL question a record. */
#include "synth/labeller.h"

struct labelling {
    struct teacher *teacher;
    const struct task *task;
    const struct record *records;
    int *labels;
    int64_t n, next, done;
    int (*take)(void *, int64_t, const char *, bool, struct err *);
    void *context;
    struct protocol_request request;
    struct progress *progress;
};

static int next_question(void *context, struct teacher_question *q, struct err *e) {
    struct labelling *l = context;
    if (l->next == l->n)
        return 0;
    int rc = protocol_judge(&l->request, teacher_style(l->teacher), l->task, &l->records[l->next], e);
    if (rc < 0)
        return rc;
    *q = (struct teacher_question){.purpose = "label", .tag = l->next++, .request = &l->request};
    return 1;
}

static int take_answer(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)e;
    struct labelling *l = context;
    l->labels[tag] = a->truncated || a->refused ? -1 : protocol_label_read(l->task, a->content);
    progress_update(l->progress, ++l->done);
    return 0;
}

static int take_text(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    struct labelling *l = context;
    struct str text = {0};
    bool valid = !a->truncated && !a->refused && protocol_answer_read(l->task, a->content, &text) == 0;
    int rc = l->take(l->context, tag, valid ? str_text(&text) : a->content, valid, e);
    progress_update(l->progress, ++l->done);
    str_release(&text);
    return rc;
}

int labeller_answers(struct teacher *t, const struct task *task, const struct rows *rows,
                     int (*take)(void *context, int64_t row, const char *text, bool valid, struct err *e),
                     void *context, struct progress *progress, struct err *e) {
    struct labelling l = {.teacher = t,
                          .task = task,
                          .records = rows->records,
                          .n = rows->n,
                          .progress = progress,
                          .take = take,
                          .context = context};
    int rc = teacher_run(t, &(struct teacher_job){next_question, take_text, &l}, e);
    protocol_release(&l.request);
    return rc;
}

int labeller_run(struct teacher *t, const struct task *task, const struct record *records, int64_t n,
                 int *labels_out, struct progress *progress, struct err *e) {
    struct labelling l = {
        .teacher = t, .task = task, .records = records, .labels = labels_out, .n = n, .progress = progress};
    int rc = teacher_run(t, &(struct teacher_job){next_question, take_answer, &l}, e);
    protocol_release(&l.request);
    return rc;
}
