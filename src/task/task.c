/* Loading a task: every key checked, every complaint pointing at file, line and column, so that whoever edits
 * task.yaml by hand is told what to change. Fields are in task_fields.c, record building in record.c, writing in task_write.c. */
#include "task/task_internal.h"
#include "task/text.h"
#include <string.h>
#include <strings.h>

static const char *const kind_names[] = {
#define X(name, text) text,
    TASK_KINDS(X)
#undef X
};
enum { N_KINDS = sizeof kind_names / sizeof *kind_names };
enum { TEXT_MAX_BYTES = 8192, REPLY_CHARS = 200 };

const char *task_kind_name(enum task_kind kind) {
    return kind_names[kind];
}

int task_kind_find(const char *name) {
    for (int i = 0; name && i < N_KINDS; i++)
        if (strcmp(kind_names[i], name) == 0)
            return i;
    return -1;
}

int task_field_index(const struct task *t, const char *name) {
    for (int i = 0; name && i < t->n_fields; i++)
        if (strcmp(t->fields[i].name, name) == 0)
            return i;
    return -1;
}

int task_label_index(const struct task *t, const char *name) {
    for (int i = 0; name && i < t->n_labels; i++)
        if (strcmp(t->labels[i].name, name) == 0)
            return i;
    return -1;
}

int task_no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, TASK_ORIGIN, "out of memory while loading the task");
}

/* ---- scalars ---- */

const char *task_scalar(const struct node *n) {
    if (!n || n->type == NODE_NULL || n->type == NODE_LIST || n->type == NODE_MAP)
        return NULL;
    return n->text;
}

const char *task_text_fault(const char *text, size_t max_bytes, bool is_name) {
    size_t n = strlen(text);
    if (n == 0)
        return "is empty";
    if (n > max_bytes)
        return "is too long";
    if (!str_is_utf8(text, n, NULL))
        return "is not UTF-8";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return "has a control character in it";
        if (is_name && c == ':')
            return "has a colon in it, which would be read as the end of the name";
    }
    if (is_name && (text[0] == ' ' || text[n - 1] == ' ' || strstr(text, "  ")))
        return "has blanks at an end or two in a row";
    return NULL;
}

int task_take_text(struct task *t, const struct node *map, const char *key, bool required, bool is_name,
                   const char **out, struct err *e) {
    const struct node *n = node_get(map, key);
    if (!n || n->type == NODE_NULL)
        return required ? node_error(map, e, TASK_ORIGIN, "'%s' is missing", key) : 0;
    const char *text = task_scalar(n);
    if (!text)
        return node_error(n, e, TASK_ORIGIN, "'%s' must be a text", key);
    if (!is_name) { /* folded YAML scalars end with a line feed */
        text = text_squeeze(&t->arena, text);
        if (!text)
            return task_no_memory(e);
    }
    const char *fault = task_text_fault(text, is_name ? TASK_NAME_MAX : TEXT_MAX_BYTES, is_name);
    if (fault)
        return node_error(n, e, TASK_ORIGIN, "'%s' %s", key, fault);
    *out = arena_strdup(&t->arena, text);
    return *out ? 0 : task_no_memory(e);
}

/* ---- labels ---- */

static int load_label(struct task *t, const struct node *n, struct err *e) {
    static const char *const known[] = {"name", "definition", NULL};
    struct task_label *l = &t->labels[t->n_labels];
    if (n->type != NODE_MAP)
        return node_error(n, e, TASK_ORIGIN, "a label must be a map with 'name' and 'definition'");
    l->definition = "";
    int rc = node_check_keys(n, known, e);
    if (rc < 0 || (rc = task_take_text(t, n, "name", true, true, &l->name, e)) < 0 ||
        (rc = task_take_text(t, n, "definition", false, false, &l->definition, e)) < 0)
        return rc;
    for (int i = 0; i < t->n_labels; i++)
        if (strcasecmp(t->labels[i].name, l->name) == 0)
            return node_error(n, e, TASK_ORIGIN, "two labels are named '%s'", l->name);
    t->n_labels++;
    return 0;
}

static int load_labels(struct task *t, const struct node *root, struct err *e) {
    struct node *labels = NULL;
    int rc = node_list(root, "labels", true, &labels, e);
    if (rc < 0)
        return rc;
    if (labels->n_children < 2 || labels->n_children > TASK_LABELS_MAX)
        return node_error(labels, e, TASK_ORIGIN, "a task needs 2 to %d labels", (int)TASK_LABELS_MAX);
    t->labels = arena_calloc(&t->arena, (size_t)labels->n_children, sizeof *t->labels);
    if (!t->labels)
        return task_no_memory(e);
    for (const struct node *l = labels->first; l; l = l->next)
        if ((rc = load_label(t, l, e)) < 0)
            return rc;
    t->positive = t->labels[0].name;
    if ((rc = task_take_text(t, root, "positive", false, true, &t->positive, e)) < 0)
        return rc;
    int positive = task_label_index(t, t->positive);
    if (positive < 0)
        return node_error(node_get(root, "positive"), e, TASK_ORIGIN,
                          "'positive' names '%s', which is no label", t->positive);
    t->positive = t->labels[positive].name;
    return 0;
}

/* ---- the answer of extract and respond ---- */

/* An answer's field may not be read from an input's column: the student would be given what it is to find. */
static int check_apart(const struct task *t, const struct task_field *f, const struct node *at,
                       struct err *e) {
    for (int i = 0; i < t->n_fields; i++)
        if (strcasecmp(t->fields[i].name, f->name) == 0 || strcmp(t->fields[i].column, f->column) == 0)
            return node_error(at, e, TASK_ORIGIN, "'%s' is both a field and part of the answer", f->name);
    return 0;
}

/* The answer's fields are loaded by the code of the inputs', in whose place they stand meanwhile. */
static int load_answer_list(struct task *t, const struct node *list, struct err *e) {
    struct task_field *inputs = t->fields,
                      *answer = arena_calloc(&t->arena, (size_t)list->n_children, sizeof *answer);
    int n_inputs = t->n_fields, rc = answer ? 0 : task_no_memory(e);
    t->fields = answer;
    t->n_fields = 0;
    for (const struct node *n = list->first; n && rc == 0; n = n->next)
        rc = task_load_field(t, n, e);
    t->answer = answer;
    t->n_answer = t->n_fields;
    t->fields = inputs;
    t->n_fields = n_inputs;
    const struct node *at = list->first;
    for (int i = 0; i < t->n_answer && rc == 0; i++, at = at->next)
        rc = t->rationale && strcasecmp(t->answer[i].name, "rationale") == 0
                 ? node_error(at, e, TASK_ORIGIN,
                              "'rationale' names what stands before the answer: call this field "
                              "something else, or take 'rationale: true' out")
                 : check_apart(t, &t->answer[i], at, e);
    return rc;
}

static int default_answer(struct task *t, struct err *e) {
    t->answer = arena_calloc(&t->arena, 1, sizeof *t->answer);
    if (!t->answer)
        return task_no_memory(e);
    t->answer[0] = (struct task_field){.name = "answer",
                                       .column = "answer",
                                       .type = FIELD_TEXT,
                                       .max_chars = REPLY_CHARS,
                                       .in_prompt = true};
    t->n_answer = 1;
    return 0;
}

static int load_answer(struct task *t, const struct node *root, struct err *e) {
    struct node *list = NULL;
    const struct node *labels = node_get(root, "labels");
    bool extract = t->kind == TASK_EXTRACT;
    int rc = node_list(root, "answer", extract, &list, e);
    if (rc < 0)
        return rc;
    if (labels || node_get(root, "positive"))
        return node_error(labels ? labels : node_get(root, "positive"), e, TASK_ORIGIN,
                          "a task of kind %s has an 'answer', no labels", kind_names[t->kind]);
    if (!list)
        return default_answer(t, e);
    if (list->n_children < 1 || list->n_children > TASK_FIELDS_MAX || (!extract && list->n_children != 1))
        return node_error(list, e, TASK_ORIGIN,
                          extract ? "'answer' needs 1 to %d fields" : "'answer' needs one field",
                          (int)TASK_FIELDS_MAX);
    rc = load_answer_list(t, list, e);
    if (rc == 0 && !extract && t->answer[0].type != FIELD_TEXT)
        return node_error(list->first, e, TASK_ORIGIN, "the answer of kind respond is a text");
    if (rc == 0 && !extract && t->answer[0].max_chars == 0)
        t->answer[0].max_chars = REPLY_CHARS;
    return rc;
}

/* ---- the whole ---- */

static bool is_short_name(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* What the student is told when the task does not say: it need not be told the rule, only what to answer
 * with. */
static int default_instruction(struct task *t, struct err *e) {
    struct str s = {0};
    int n = t->kind == TASK_CLASSIFY ? t->n_labels : t->n_answer;
    str_add(&s, t->kind == TASK_CLASSIFY  ? "Label the record: "
                : t->kind == TASK_EXTRACT ? "Extract as JSON: "
                                          : "Answer with the ");
    for (int i = 0; i < n; i++)
        str_addf(&s, "%s%s",
                 i == 0                     ? ""
                 : i < n - 1                ? ", "
                 : t->kind == TASK_CLASSIFY ? " or "
                                            : " and ",
                 t->kind == TASK_CLASSIFY ? t->labels[i].name : t->answer[i].name);
    str_add(&s, ".");
    t->instruction = arena_strdup(&t->arena, str_text(&s));
    bool failed = s.failed || !t->instruction;
    str_release(&s);
    return failed ? task_no_memory(e) : 0;
}

static int load_heading(struct task *t, const struct node *root, struct err *e) {
    static const char *const known[] = {"format",  "kind",   "name",     "sentence", "instruction", "fields",
                                        "derived", "labels", "positive", "answer",   "rationale",   NULL};
    const char *format = TASK_FORMAT, *kind = "classify";
    if (root->type != NODE_MAP)
        return node_error(root, e, TASK_ORIGIN, "a task must be a map");
    int rc = node_check_keys(root, known, e);
    if (rc < 0 || (rc = node_string(root, "format", false, &format, e)) < 0 ||
        (rc = node_string(root, "kind", false, &kind, e)) < 0)
        return rc;
    if (strcmp(format, TASK_FORMAT) != 0)
        return node_error(node_get(root, "format"), e, TASK_ORIGIN, "format '%s' is not '%s'", format,
                          TASK_FORMAT);
    int index = task_kind_find(kind);
    if (index < 0) {
        rc = node_error(node_get(root, "kind"), e, TASK_ORIGIN, "there is no kind '%s'", kind);
        err_hint(e, "the kinds are classify (one of the labels), extract (JSON) and respond (a short text)");
        return rc;
    }
    t->kind = (enum task_kind)index;
    t->name = "task";
    t->sentence = "";
    if ((rc = task_take_text(t, root, "name", false, true, &t->name, e)) < 0 ||
        (rc = task_take_text(t, root, "sentence", false, false, &t->sentence, e)) < 0 ||
        (rc = task_take_text(t, root, "instruction", false, false, &t->instruction, e)) < 0 ||
        (rc = node_bool(root, "rationale", false, &t->rationale, e)) < 0)
        return rc;
    if (!is_short_name(t->name))
        return node_error(node_get(root, "name"), e, TASK_ORIGIN,
                          "the task's name '%s' must be of a-z, 0-9 and '-'", t->name);
    return 0;
}

int task_from_node(struct task *out, const struct node *root, struct err *e) {
    struct task t = {0};
    arena_init(&t.arena);
    int rc = load_heading(&t, root, e);
    if (rc == 0)
        rc = task_load_fields(&t, root, e);
    if (rc == 0 && t.kind == TASK_CLASSIFY && node_get(root, "answer"))
        rc = node_error(node_get(root, "answer"), e, TASK_ORIGIN,
                        "a task of kind classify has 'labels', no 'answer'");
    if (rc == 0)
        rc = t.kind == TASK_CLASSIFY ? load_labels(&t, root, e) : load_answer(&t, root, e);
    if (rc == 0 && !t.instruction)
        rc = default_instruction(&t, e);
    if (rc < 0) {
        arena_release(&t.arena);
        return rc;
    }
    *out = t;
    return 0;
}

int task_from_draft(struct task *out, const char *name, const char *sentence, const struct node *draft,
                    struct err *e) {
    static const char *const known[] = {"kind", "fields", "labels", "answer", NULL};
    if (draft->type != NODE_MAP)
        return node_error(draft, e, "task_from_draft", "a draft must be a map with 'fields' and 'labels'");
    int rc = node_check_keys(draft, known, e);
    if (rc < 0)
        return rc;
    /* task_from_node copies, so nodes on the stack that lead to the draft's children will do */
    struct node name_node = {.type = NODE_STRING, .key = "name", .text = name, .text_len = strlen(name)};
    struct node sentence_node = {.type = NODE_STRING,
                                 .key = "sentence",
                                 .text = sentence,
                                 .text_len = strlen(sentence),
                                 .next = draft->first};
    struct node root = *draft;
    name_node.next = &sentence_node;
    root.first = &name_node;
    root.last = draft->last ? draft->last : &sentence_node;
    root.n_children = draft->n_children + 2;
    return task_from_node(out, &root, e);
}

void task_release(struct task *t) {
    if (!t)
        return;
    arena_release(&t->arena);
    *t = (struct task){0};
}
