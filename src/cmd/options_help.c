/* Help and documentation from the option tables: see options.h. */
#include "cmd/options.h"

#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 30, LINE_WIDTH = 100 };

static void add_blanks(struct str *out, size_t n) {
    for (size_t i = 0; i < n; i++)
        str_add_char(out, ' ');
}

/* `text` broken at blanks so that lines end before LINE_WIDTH, each continued at HELP_COLUMN. */
static void add_wrapped(struct str *out, const char *text) {
    size_t column = HELP_COLUMN;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + word > LINE_WIDTH) {
            str_add_char(out, '\n');
            add_blanks(out, HELP_COLUMN);
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            str_add_char(out, ' ');
            column++;
        }
        str_add_bytes(out, text, word);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    str_add_char(out, '\n');
}

static void full_help(const struct option_def *o, struct str *text) {
    str_add(text, o->help);
    if (o->type == OPTION_LIST)
        str_add(text, "; may be repeated");
    if (o->default_text)
        str_addf(text, " (default: %s)", o->default_text);
}

static void add_option(struct str *out, const struct option_def *o) {
    char head[96];
    snprintf(head, sizeof head, "  --%s%s%s", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
    str_add(out, head);
    size_t n = strlen(head);
    if (n + 1 < HELP_COLUMN) {
        add_blanks(out, HELP_COLUMN - n);
    } else {
        str_add_char(out, '\n');
        add_blanks(out, HELP_COLUMN);
    }
    struct str text = {0};
    full_help(o, &text);
    add_wrapped(out, str_text(&text));
    str_release(&text);
}

static void add_sentence(struct str *out, const char *summary) {
    if (*summary)
        str_add_char(out, *summary >= 'a' && *summary <= 'z' ? (char)(*summary - 'a' + 'A') : *summary);
    if (*summary)
        str_add(out, summary + 1);
    str_add(out, ".\n");
}

static const char *usage_of(const struct verb *v) {
    return v->usage && *v->usage ? v->usage : "[options]";
}

void options_help(const struct verb *v, struct str *out) {
    str_addf(out, "Usage: edgestill %s %s\n\n", v->name, usage_of(v));
    add_sentence(out, v->summary);
    if (v->options && v->options[0].name)
        str_add(out, "\nOptions:\n");
    for (const struct option_def *o = v->options; o && o->name; o++)
        add_option(out, o);
    str_add(out, "\nEvery verb has:\n");
    for (const struct option_def *o = options_common; o->name; o++)
        add_option(out, o);
}

/* A table cell: "|" would end it. */
static void add_cell(struct str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|')
            str_add_char(out, '\\');
        str_add_char(out, *text);
    }
}

void options_markdown(const struct verb *v, struct str *out) {
    str_addf(out, "## edgestill %s\n\n", v->name);
    add_sentence(out, v->summary);
    str_addf(out, "\n```\nedgestill %s %s\n```\n", v->name, usage_of(v));
    if (!v->options || !v->options[0].name)
        return;
    str_add(out, "\n| option | meaning |\n|---|---|\n");
    for (const struct option_def *o = v->options; o->name; o++) {
        struct str text = {0};
        full_help(o, &text);
        str_addf(out, "| `--%s%s%s` | ", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
        add_cell(out, str_text(&text));
        str_add(out, " |\n");
        str_release(&text);
    }
}
