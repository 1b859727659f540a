/* See task_rows.h. A question is asked only of a person: without a terminal its first choice stands, and is shown as such. */
#include "cmd/task_rows.h"
#include "base/log.h"
#include "format/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUESTIONS_MAX = 64 };

static const char *about(const struct infer_finding *f) {
    return f->column ? f->column : "the file";
}

/* The number that a person types, from 1; 0: the line was empty or the input ended. */
static int ask_number(const struct infer_finding *f) {
    char line[32] = "";
    fprintf(stderr, "%s %s\n", about(f), f->text);
    for (int i = 0; i < f->n_choices; i++)
        fprintf(stderr, "  %d  %s%s\n", i + 1, f->choices[i], i == 0 ? " (default)" : "");
    fprintf(stderr, "? ");
    fflush(stderr);
    int64_t n = 0;
    if (!fgets(line, sizeof line, stdin) || !str_to_i64(str_trim(line), &n))
        return 0;
    return n >= 1 && n <= f->n_choices ? (int)n : 0;
}

/* Asks what has not been answered; true when there was something. An answer may lead to other questions, so the first open one
 * alone is asked, then all is inferred anew. */
static bool ask_next(const struct inference *f, int answers[QUESTIONS_MAX], int *n_answers) {
    int question = 0;
    for (int i = 0; i < f->n_findings; i++) {
        if (f->findings[i].n_choices == 0)
            continue;
        if (question++ < *n_answers)
            continue;
        if (*n_answers == QUESTIONS_MAX)
            return false;
        int typed = ask_number(&f->findings[i]);
        answers[(*n_answers)++] = typed > 0 ? typed - 1 : 0;
        return true;
    }
    return false;
}

static void to_json(struct cmd_ctx *c, const struct inference *f) {
    json_t *list = json_array();
    for (int i = 0; i < f->n_findings; i++) {
        const struct infer_finding *x = &f->findings[i];
        json_t *one = json_pack("{s:s, s:o, s:o}", "what", infer_what_text(x->what), "column",
                                x->column ? json_lossy_string(x->column) : json_null(), "text",
                                json_lossy_string(x->text));
        json_t *choices = json_array();
        for (int k = 0; k < x->n_choices; k++)
            json_array_append_new(choices, json_string(x->choices[k]));
        if (x->n_choices > 0) {
            json_object_set(one, "choices", choices);
            json_object_set_new(one, "chosen", json_string(x->choices[x->chosen]));
        }
        json_decref(choices);
        json_array_append_new(list, one);
    }
    json_object_set_new(c->result, "rows", json_integer(f->n_rows));
    json_object_set_new(c->result, "findings", list);
}

/* A comment line of YAML: nothing in a column's name or value may end it. */
static void add_comment(const char *text, struct str *out) {
    for (const char *at = text; *at; at++)
        str_add_char(out, (unsigned char)*at < 0x20 ? ' ' : *at);
}

static void add_findings(const struct project *p, const struct inference *f, struct str *yaml) {
    str_addf(yaml, "# Made of %lld rows of ", (long long)f->n_rows);
    add_comment(p->data.path, yaml);
    str_add(yaml, f->n_findings ? ". What was noticed there:\n" : "; nothing in them looked wrong.\n");
    for (int i = 0; i < f->n_findings; i++) {
        const struct infer_finding *x = &f->findings[i];
        str_add(yaml, "#   ");
        add_comment(about(x), yaml);
        str_add_char(yaml, ' ');
        add_comment(x->text, yaml);
        if (x->n_choices > 0)
            str_addf(yaml, " - taken: %s", x->choices[x->chosen]);
        str_add_char(yaml, '\n');
    }
    str_add_char(yaml, '\n');
}

static int find_kind(struct cmd_ctx *c, const char *kind, int *out) {
    *out = kind ? task_kind_find(kind) + 1 : 0;
    if (!kind || *out > 0)
        return 0;
    err_set(&c->err, ERR_USAGE, "task", "--kind: there is no kind '%s'", kind);
    return err_hint(&c->err, "the kinds are classify, extract and respond");
}

int task_from_rows(struct cmd_ctx *c, struct project *p, const char *name, const char *kind,
                   struct str *yaml) {
    int answers[QUESTIONS_MAX], n_answers = 0;
    struct inference f = {0};
    struct infer_options o = {.path = p->data.path,
                              .label = p->data.label,
                              .group = p->data.group,
                              .name = name,
                              .sentence = p->sentence,
                              .answers = answers};
    bool person = !c->json && !c->quiet && isatty(0) && isatty(2), again = true;
    int code = find_kind(c, kind, &o.kind);
    while (code == 0 && again) {
        infer_release(&f);
        o.n_answers = n_answers;
        code = infer_task(&f, &o, &c->err);
        again = code == 0 && person && ask_next(&f, answers, &n_answers);
    }
    if (code == 0) {
        to_json(c, &f);
        add_findings(p, &f, yaml);
        code = task_to_yaml(&f.task, yaml, &c->err);
    }
    for (int i = 0; code == 0 && i < f.n_findings; i++)
        if (f.findings[i].n_choices == 0)
            cmd_print(c, "%s %s\n", about(&f.findings[i]), f.findings[i].text);
        else if (!c->quiet && !person)
            log_warn("%s %s (%s: %s)", about(&f.findings[i]), f.findings[i].text,
                     "taken, change it in task.yaml", f.findings[i].choices[f.findings[i].chosen]);
    infer_release(&f);
    return code;
}
