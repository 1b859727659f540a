/* See train_reasons.h. */
#include "cmd/train_reasons.h"
#include "teacher/teacher.h"

static bool says_label(const struct task *t, const char *content, const char *label) {
    if (t->kind == TASK_CLASSIFY) {
        int said = protocol_label_read(t, content);
        return said >= 0 && str_equal(t->labels[said].name, label);
    }
    struct str text = {0};
    bool same = protocol_answer_read(t, content, &text) == 0 && str_equal(str_text(&text), label);
    str_release(&text);
    return same;
}

int train_reasons_of(void *context, const struct store_record *r, struct arena *a, const char **text,
                     struct err *e) {
    const struct train_reasons *from = context;
    struct teacher_answer answer;
    struct str reasons = {0};
    if (!r->label_call)
        return 0;
    int rc = teacher_recall(from->store, r->label_call, a, &answer, e);
    if (rc < 0 || !says_label(from->task, answer.content, r->label))
        return rc;
    protocol_rationale_read(from->task, answer.content, answer.thoughts, &reasons);
    rc = str_check(&reasons, e);
    if (rc == 0 && reasons.len && !(*text = arena_strdup(a, reasons.data)))
        rc = err_set(e, ERR_NO_MEMORY, "train", "out of memory");
    str_release(&reasons);
    return rc;
}
