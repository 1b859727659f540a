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

/* ---- reasons ---- */

static void add_lines(const char *text, size_t n, struct str *out) {
    static const char blanks[] = " \t\r";
    for (const char *line = text, *end = text + n; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        const char *last = stop;
        while (line < last && strchr(blanks, *line))
            line++;
        while (last > line && strchr(blanks, last[-1]))
            last--;
        if (last > line) {
            str_add(out, out->len ? "\n" : "");
            str_add_bytes(out, line, (size_t)(last - line));
        }
        line = stop + 1;
    }
}

static void add_written_reasons(const char *content, struct str *out) {
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    if (protocol_json_read(&a, "answer", content, &root, NULL) == 0) {
        const struct node *n = node_get(root, "rationale");
        if (n && n->type == NODE_STRING)
            add_lines(n->text, strlen(n->text), out);
    }
    arena_release(&a);
}

void protocol_rationale_read(const struct task *t, const char *content, const char *thoughts,
                             struct str *out) {
    size_t before = out->len;
    const char *answer = t->kind == TASK_CLASSIFY ? protocol_answer_after(content) : NULL;
    while (answer && answer > content && answer[-1] != '\n')
        answer--;
    if (answer)
        add_lines(content, (size_t)(answer - content), out);
    else if (t->kind != TASK_CLASSIFY)
        add_written_reasons(content, out);
    if (out->len == before && thoughts)
        add_lines(thoughts, strlen(thoughts), out);
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

void protocol_drop_key(struct node *map, const char *key) {
    for (struct node **link = &map->first, *before = NULL; *link; before = *link, link = &(*link)->next)
        if (str_equal((*link)->key, key)) {
            map->last = map->last == *link ? before : map->last;
            *link = (*link)->next;
            map->n_children--;
            return;
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
