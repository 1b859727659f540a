/* Answers of extract and respond. */
#include "task/answer.h"
#include "format/json.h"
#include "task/text.h"
#include <string.h>

enum { NUMBER_BYTES = 24, CHARACTER_BYTES = 6 /* "\u001f" */ };

struct task answer_view(const struct task *t) {
    return (struct task){.kind = t->kind,
                         .name = t->name,
                         .fields = t->answer,
                         .n_fields = t->n_answer,
                         .n_declared = t->n_answer};
}

const char *record_answer(const struct task *t, const struct record *r) {
    return t->kind != TASK_CLASSIFY ? r->answer : r->label >= 0 ? t->labels[r->label].name : NULL;
}

/* ---- reading ---- */

static const char *the_text(void *context, const struct task_field *f) {
    (void)f;
    return context;
}

static int from_text(const struct task *t, const char *text, struct str *out, struct err *e) {
    struct task view = answer_view(t);
    struct arena a;
    struct record r;
    arena_init(&a);
    int rc = record_build(&view, &a, true, the_text, (void *)(uintptr_t)text, &r, e);
    if (rc == 0)
        str_add(out, r.values[0].text);
    arena_release(&a);
    return rc == 0 ? str_check(out, e) : rc;
}

int answer_from_node(const struct task *t, const struct node *n, struct str *out, struct err *e) {
    if (t->kind == TASK_RESPOND && n->type == NODE_STRING)
        return from_text(t, n->text, out, e);
    struct task view = answer_view(t);
    struct arena a;
    struct record r;
    arena_init(&a);
    int rc = record_from_node(&view, &a, true, n, &r, e);
    if (rc == 0 && t->kind == TASK_RESPOND)
        str_add(out, r.values[0].text);
    else if (rc == 0)
        rc = record_to_json(&view, &r, out);
    arena_release(&a);
    return rc == 0 ? str_check(out, e) : rc;
}

int answer_read(const struct task *t, const char *text, struct str *out, struct err *e) {
    if (t->kind == TASK_RESPOND)
        return from_text(t, text, out, e);
    const char *open = strchr(text, '{'), *close = strrchr(text, '}');
    if (!open || !close || close < open)
        return err_set(e, ERR_INPUT, "answer_read", "'%.80s' is no JSON object", text);
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = json_node_parse(&a, "answer", 0, open, (size_t)(close - open) + 1, &root, e);
    if (rc == 0)
        rc = answer_from_node(t, root, out, e);
    arena_release(&a);
    return rc;
}

const char *answer_field(const struct task *t, struct arena *a, const char *answer, int field) {
    struct node *root = NULL;
    struct str text = {0};
    const char *out = NULL;
    if (t->kind == TASK_RESPOND)
        return answer;
    if (answer && json_node_parse(a, "answer", 0, answer, strlen(answer), &root, NULL) == 0) {
        const struct node *n = node_get(root, t->answer[field].name);
        if (n)
            json_text_node(&text, n);
        out = n ? arena_strdup(a, str_text(&text)) : NULL;
    }
    str_release(&text);
    return out;
}

/* ---- length ---- */

static int64_t longest_value(const struct task_field *f) {
    int64_t longest = 0;
    for (int i = 0; i < f->n_values; i++) {
        int64_t n = (int64_t)strlen(f->values[i]);
        longest = n > longest ? n : longest;
    }
    if (f->type == FIELD_CATEGORY)
        return 2 + 2 * longest;
    if (f->type == FIELD_TEXT)
        return 2 + CHARACTER_BYTES * (int64_t)(f->max_chars ? f->max_chars : ANSWER_TEXT_CHARS);
    return NUMBER_BYTES;
}

int64_t answer_bytes_max(const struct task *t) {
    int64_t n = 2;
    for (int i = 0; i < t->n_answer; i++)
        n += longest_value(&t->answer[i]) + 2 * (int64_t)strlen(t->answer[i].name) + 4;
    return n;
}
