/* Checking written records against the task. */
#include "synth/check.h"
#include "format/json.h"
#include <string.h>

static const char *const texts[] = {
#define X(name, text) text,
    REJECTS(X)
#undef X
};

const char *reject_text(enum reject r) {
    return texts[r];
}

static int check_one(const struct task *t, const struct node *n, int index, const struct check_sink *sink,
                     struct err *e) {
    struct arena a;
    arena_init(&a);
    struct err fault = {0};
    struct record r;
    int rc = record_from_node(t, &a, true, n, &r, &fault);
    if (rc == 0) {
        rc = sink->good(sink->context, index, &r, e);
    } else if (rc == ERR_NO_MEMORY) {
        rc = err_set(e, rc, "check_written", "%s", fault.message);
    } else {
        struct str text = {0};
        json_text_node(&text, n);
        rc = sink->bad(sink->context, index, REJECT_SCHEMA, str_text(&text), e);
        str_release(&text);
    }
    arena_release(&a);
    return rc;
}

/* {"records":[...]}; some teachers give the list under another name, or one record alone. */
static const struct node *records_in(const struct node *root) {
    const struct node *list = node_get(root, "records");
    for (const struct node *n = root->first; n && !list; n = n->next)
        if (n->type == NODE_LIST && n->first && n->first->type == NODE_MAP)
            list = n;
    return list;
}

int check_written(const struct task *t, const struct teacher_answer *a, const struct check_sink *sink,
                  struct err *e) {
    if (a->refused)
        return sink->bad(sink->context, 0, REJECT_REFUSED, a->content, e);
    if (a->truncated)
        return sink->bad(sink->context, 0, REJECT_TRUNCATED, a->content, e);
    struct arena arena;
    arena_init(&arena);
    struct node *root = NULL;
    struct err fault = {0};
    int rc = protocol_json_read(&arena, "answer", a->content, &root, &fault), index = 0;
    if (rc == ERR_TEACHER) {
        rc = sink->bad(sink->context, index++, REJECT_NO_JSON, a->content, e);
    } else if (rc < 0) {
        rc = err_set(e, rc, "check_written", "%s", fault.message);
    } else {
        const struct node *list = records_in(root);
        for (const struct node *n = list ? list->first : NULL; n && rc >= 0; n = n->next)
            rc = check_one(t, n, index++, sink, e);
        if (rc >= 0 && index == 0)
            rc = sink->bad(sink->context, 0, REJECT_EMPTY, a->content, e);
    }
    arena_release(&arena);
    return rc < 0 ? rc : 0;
}
