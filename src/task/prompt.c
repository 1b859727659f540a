/* The one place where the student's prompt is rendered. */
#include "task/prompt.h"
#include "format/json.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "prompt_init", "out of memory while making the prompt");
}

static void hash_int(struct sha256 *h, int number) {
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    sha256_add_text(h, text);
}

/* ---- forms ---- */

static const char *const instruction_names[] = {
#define X(id, text) text,
    PROMPT_INSTRUCTIONS(X)
#undef X
};
static const char *const layout_names[] = {
#define X(id, text) text,
    PROMPT_LAYOUTS(X)
#undef X
};

char *prompt_form_text(struct prompt_form f, char text[PROMPT_FORM_TEXT]) {
    snprintf(text, PROMPT_FORM_TEXT, "%s-%s", instruction_names[f.instruction], layout_names[f.layout]);
    return text;
}

bool prompt_form_parse(const char *text, struct prompt_form *out) {
    for (int i = 0; i < PROMPT_N_INSTRUCTIONS; i++)
        for (int k = 0; k < PROMPT_N_LAYOUTS; k++) {
            char name[PROMPT_FORM_TEXT];
            struct prompt_form f = {(enum prompt_instruction)i, (enum prompt_layout)k};
            if (strcmp(prompt_form_text(f, name), text) == 0) {
                *out = f;
                return true;
            }
        }
    return false;
}

static bool is_default(struct prompt_form f) {
    return f.instruction == PROMPT_FULL && f.layout == PROMPT_LABELLED;
}

/* "suspicious or normal?", "a, b or c?" */
static const char *short_instruction(struct prompt *p, const struct task *t) {
    char *text = arena_strdup(&p->arena, t->labels[0].name);
    for (int i = 1; i < t->n_labels && text; i++)
        text =
            arena_printf(&p->arena, "%s%s%s", text, i + 1 < t->n_labels ? ", " : " or ", t->labels[i].name);
    return text ? arena_printf(&p->arena, "%s?", text) : NULL;
}

static const char *make_head(struct prompt *p, const struct task *t, const char *open) {
    const char *said = t->instruction;
    if (p->form.instruction == PROMPT_NONE)
        return arena_strdup(&p->arena, open);
    if (p->form.instruction == PROMPT_SHORT)
        said = short_instruction(p, t);
    return said ? arena_printf(&p->arena, "%s%s\n", open, said) : NULL;
}

/* Everything that decides which tokens a record and its answer become. */
static int hash_prompt(struct prompt *p, const struct task *t, struct err *e) {
    struct sha256 *h = sha256_new();
    if (!h)
        return no_memory(e);
    sha256_add_text(h, PROMPT_FORMAT);
    sha256_add_text(h, p->head);
    sha256_add_text(h, p->tail);
    sha256_add_text(h, p->end_of_turn);
    char form[PROMPT_FORM_TEXT];
    if (!is_default(p->form))
        sha256_add_text(h, prompt_form_text(p->form, form));
    for (int i = 0; i < t->n_fields; i++) {
        const struct task_field *f = &t->fields[i];
        sha256_add_text(h, f->name);
        sha256_add_text(h, task_type_name(f->type));
        hash_int(h, f->decimals);
        sha256_add_text(h, f->in_prompt ? "prompt" : "aside");
        sha256_add_text(h, f->derived ? task_op_name(f->op) : "declared");
        hash_int(h, f->derived ? f->a : -1);
        hash_int(h, f->derived ? f->b : -1);
        for (int k = 0; k < f->n_values; k++)
            sha256_add_text(h, f->values[k]);
    }
    for (int i = 0; i < t->n_labels; i++) {
        sha256_add_text(h, "label");
        sha256_add_text(h, t->labels[i].name);
    }
    for (int i = 0; i < t->n_answer; i++) {
        const struct task_field *f = &t->answer[i];
        sha256_add_text(h, task_kind_name(t->kind));
        sha256_add_text(h, f->name);
        sha256_add_text(h, task_type_name(f->type));
        hash_int(h, f->decimals);
        for (int k = 0; k < f->n_values; k++)
            sha256_add_text(h, f->values[k]);
    }
    sha256_finish(h, p->hash);
    snprintf(p->tag, sizeof p->tag, "%s%s%s", p->hash, is_default(p->form) ? "" : " ",
             is_default(p->form) ? "" : prompt_form_text(p->form, form));
    return 0;
}

/* The head is tokenised with special tokens recognised, so the task's own text must not spell one. */
static int check_instruction(const struct task *t, const char *end_of_turn, struct err *e) {
    if (!strstr(t->instruction, "<|") && !(end_of_turn[0] && strstr(t->instruction, end_of_turn)))
        return 0;
    int rc = err_set(e, ERR_INPUT, "prompt_init", "the task's instruction spells a special token: '%.200s'",
                     t->instruction);
    err_hint(e, "take '<|' and '%s' out of 'instruction' in task.yaml", end_of_turn);
    return rc;
}

int prompt_init_form(struct prompt *out, const struct task *t, struct prompt_form form, const char *chat_open,
                     const char *chat_close, const char *end_of_turn, struct err *e) {
    struct prompt p = {.form = form};
    int rc = check_instruction(t, end_of_turn, e);
    if (rc < 0)
        return rc;
    arena_init(&p.arena);
    p.head = make_head(&p, t, chat_open);
    p.tail = arena_strdup(&p.arena, chat_close);
    p.end_of_turn = arena_strdup(&p.arena, end_of_turn);
    rc = p.head && p.tail && p.end_of_turn ? hash_prompt(&p, t, e) : no_memory(e);
    if (rc < 0) {
        arena_release(&p.arena);
        return rc;
    }
    *out = p;
    return 0;
}

int prompt_init(struct prompt *out, const struct task *t, const char *chat_open, const char *chat_close,
                const char *end_of_turn, struct err *e) {
    return prompt_init_form(out, t, (struct prompt_form){0}, chat_open, chat_close, end_of_turn, e);
}

void prompt_release(struct prompt *p) {
    if (!p)
        return;
    arena_release(&p->arena);
    *p = (struct prompt){0};
}

int prompt_record(const struct task *t, const struct record *r, struct str *out) {
    for (int i = 0; i < t->n_fields; i++)
        if (t->fields[i].in_prompt)
            str_addf(out, "- %s: %s\n", t->fields[i].name, r->values[i].text);
    return str_check(out, NULL);
}

/* A value has no line feed (record_build), so the lines of a compact record cannot be mistaken for one another. */
int prompt_render(const struct prompt *p, const struct task *t, const struct record *r, struct str *out) {
    if (p->form.layout == PROMPT_LABELLED)
        return prompt_record(t, r, out);
    for (int i = 0; i < t->n_fields; i++)
        if (t->fields[i].in_prompt)
            str_addf(out, "%s\n", r->values[i].text);
    return str_check(out, NULL);
}

/* ---- stored ---- */

int prompt_to_json(const struct prompt *p, struct str *out, struct err *e) {
    str_add(out, "{\"format\":\"" PROMPT_FORMAT "\",\"head\":");
    json_text_string(out, p->head);
    str_add(out, ",\"tail\":");
    json_text_string(out, p->tail);
    str_add(out, ",\"end_of_turn\":");
    json_text_string(out, p->end_of_turn);
    char form[PROMPT_FORM_TEXT];
    if (!is_default(p->form))
        str_addf(out, ",\"form\":\"%s\"", prompt_form_text(p->form, form));
    str_addf(out, ",\"hash\":\"%s\"}", p->hash);
    return str_check(out, e);
}

static int load(struct prompt *p, const struct node *root, const char **hash, struct err *e) {
    const char *format = NULL, *head = NULL, *tail = NULL, *end_of_turn = NULL, *form = NULL;
    int rc;
    if ((rc = node_string(root, "format", true, &format, e)) < 0 ||
        (rc = node_string(root, "head", true, &head, e)) < 0 ||
        (rc = node_string(root, "tail", true, &tail, e)) < 0 ||
        (rc = node_string(root, "end_of_turn", true, &end_of_turn, e)) < 0 ||
        (rc = node_string(root, "form", false, &form, e)) < 0 ||
        (rc = node_string(root, "hash", true, hash, e)) < 0)
        return rc;
    if (form && !prompt_form_parse(form, &p->form))
        return node_error(root, e, "prompt_from_node", "'%s' is no form of a prompt", form);
    if (strcmp(format, PROMPT_FORMAT) != 0)
        return node_error(root, e, "prompt_from_node", "prompt format '%s' is not '%s'", format,
                          PROMPT_FORMAT);
    p->head = arena_strdup(&p->arena, head);
    p->tail = arena_strdup(&p->arena, tail);
    p->end_of_turn = arena_strdup(&p->arena, end_of_turn);
    return p->head && p->tail && p->end_of_turn ? 0 : no_memory(e);
}

int prompt_from_node(struct prompt *out, const struct node *root, const struct task *t, struct err *e) {
    struct prompt p = {0};
    const char *stored = NULL;
    if (root->type != NODE_MAP)
        return node_error(root, e, "prompt_from_node", "a prompt must be a map");
    arena_init(&p.arena);
    int rc = load(&p, root, &stored, e);
    if (rc == 0)
        rc = hash_prompt(&p, t, e);
    if (rc == 0 && strcmp(p.hash, stored) != 0) {
        rc = err_set(e, ERR_MISMATCH, "prompt_from_node",
                     "the prompt stored here (%.12s) is not the task's (%.12s)", stored, p.hash);
        err_hint(e, "the task or the base changed since: run train, compress and bundle again");
    }
    if (rc < 0) {
        arena_release(&p.arena);
        return rc;
    }
    *out = p;
    return 0;
}

/* ---- answers ---- */

int prompt_parse_answer(const struct task *t, const char *text) {
    size_t start = strspn(text, " \t\r\n"), n = strlen(text);
    while (n > start && strchr(" \t\r\n", text[n - 1]))
        n--;
    text += start;
    n -= start;
    for (int i = 0; i < t->n_labels; i++)
        if (strlen(t->labels[i].name) == n && memcmp(t->labels[i].name, text, n) == 0)
            return i;
    for (int i = 0; i < t->n_labels; i++)
        if (strlen(t->labels[i].name) == n && strncasecmp(t->labels[i].name, text, n) == 0)
            return i;
    return -1;
}
