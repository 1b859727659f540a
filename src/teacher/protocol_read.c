/* Reading a teacher's answers: the label on the last "Answer:" line, the JSON document among whatever surrounds it. */
#include "format/json.h"
#include "teacher/protocol_internal.h"
#include <string.h>
#include <strings.h>

/* ---- LABEL ---- */

const char *protocol_answer_after(const char *content) {
    static const char word[] = PROTOCOL_ANSWER;
    const char *found = NULL;
    for (const char *line = content; line; line = strchr(line, '\n')) {
        line += strspn(line, " \t\r\n*#>-`\"");
        if (strncasecmp(line, word, sizeof word - 1) == 0)
            found = line + sizeof word - 1;
        if (!*line)
            break;
    }
    return found;
}

int protocol_label_read(const struct task *t, const char *content) {
    static const char blanks[] = " \t\r\n*`\"'.";
    const char *text = protocol_answer_after(content);
    if (!text)
        return -1;
    text += strspn(text, blanks);
    size_t n = strcspn(text, "\r\n");
    while (n > 0 && strchr(blanks, text[n - 1]))
        n--;
    int loose = -1;
    for (int i = 0; i < t->n_labels; i++) {
        const char *name = t->labels[i].name;
        if (strlen(name) != n || strncasecmp(name, text, n) != 0)
            continue;
        if (memcmp(name, text, n) == 0)
            return i;
        loose = loose == -1 ? i : -2; /* two labels that differ only in case: no guess */
    }
    return loose < 0 ? -1 : loose;
}

/* ---- JSON ---- */

static void drop_nulls(struct node *n) {
    struct node **link = &n->first;
    n->last = NULL;
    while (*link) {
        struct node *child = *link;
        if (n->type == NODE_MAP && child->type == NODE_NULL) {
            *link = child->next;
            n->n_children--;
            continue;
        }
        drop_nulls(child);
        n->last = child;
        link = &child->next;
    }
}

int protocol_json_read(struct arena *a, const char *name, const char *content, struct node **out,
                       struct err *e) {
    const char *open = strchr(content, '{'), *close = strrchr(content, '}');
    if (!open || !close || close < open)
        return err_set(e, ERR_TEACHER, "protocol_json_read", "%s holds no JSON object", name);
    struct err inner = {0};
    struct node *root = NULL;
    int rc = json_node_parse(a, name, 0, open, (size_t)(close - open) + 1, &root, &inner);
    if (rc < 0)
        return err_set(e, rc == ERR_NO_MEMORY ? rc : ERR_TEACHER, "protocol_json_read", "%s", inner.message);
    drop_nulls(root);
    *out = root;
    return 0;
}
