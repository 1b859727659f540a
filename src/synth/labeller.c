/* One LABEL question a record. */
#include "synth/labeller.h"

struct labelling {
    struct teacher *teacher;
    const struct task *task;
    const struct record *records;
    int *labels;
    int64_t n, next, done;
    struct protocol_request request;
    struct progress *progress;
};

static int next_question(void *context, struct teacher_question *q, struct err *e) {
    struct labelling *l = context;
    if (l->next == l->n)
        return 0;
    int rc = protocol_label(&l->request, teacher_style(l->teacher), l->task, &l->records[l->next], e);
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

int labeller_run(struct teacher *t, const struct task *task, const struct record *records, int64_t n,
                 int *labels_out, struct progress *progress, struct err *e) {
    struct labelling l = {
        .teacher = t, .task = task, .records = records, .labels = labels_out, .n = n, .progress = progress};
    int rc = teacher_run(t, &(struct teacher_job){next_question, take_answer, &l}, e);
    protocol_release(&l.request);
    return rc;
}
