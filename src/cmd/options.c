/* Parsing of options and access to what was typed: see options.h and cmd.h. */
#include "cmd/options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option_def options_common[] = {
    {"project", OPTION_STRING, "DIR", "the project folder (short: -C)", "."},
    {"json", OPTION_FLAG, NULL, "one JSON document on standard output", NULL},
    {"quiet", OPTION_FLAG, NULL, "no progress, no text for people (short: -q)", NULL},
    {"help", OPTION_FLAG, NULL, "this text (short: -h)", NULL},
    {0},
};

struct parse {
    struct cmd_ctx *c;
    int argc, next; /* argv[next] is to be looked at */
    const char *const *argv;
    struct err *e;
};

static __attribute__((format(printf, 2, 3))) int usage_error(const struct parse *p, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(p->e, ERR_USAGE, "options_parse", "%s: %s", p->c->verb->name, text);
}

static int hint_help(const struct parse *p) {
    err_hint(p->e, "see: edgestill %s --help", p->c->verb->name);
    return ERR_USAGE;
}

static int count_options(const struct option_def *defs) {
    int n = 0;
    while (defs && defs[n].name)
        n++;
    return n;
}

static struct option_value *find_value(const struct cmd_ctx *c, const char *name, size_t n) {
    for (struct option_value *v = c->values; v && v->def; v++)
        if (strlen(v->def->name) == n && memcmp(v->def->name, name, n) == 0)
            return v;
    return NULL;
}

static int unknown_option(const struct parse *p, const char *argument) {
    enum { MOST_NAMES = 64 };
    const char *names[MOST_NAMES + 1];
    int n = 0;
    for (const struct option_value *v = p->c->values; v->def && n < MOST_NAMES; v++)
        names[n++] = v->def->name;
    names[n] = NULL;
    usage_error(p, "there is no option %s", argument);
    const char *near = str_starts(argument, "--") ? str_nearest(argument + 2, names) : NULL;
    if (near)
        err_hint(p->e, "did you mean --%s?", near);
    return hint_help(p);
}

static int check_value(const struct parse *p, const struct option_def *def, const char *text) {
    int64_t whole;
    double number;
    bool is_whole = def->type == OPTION_INT || def->type == OPTION_INT64;
    if (is_whole && !str_to_i64(text, &whole)) {
        usage_error(p, "--%s needs a whole number, not \"%s\"", def->name, text);
        return hint_help(p);
    }
    if (def->type == OPTION_INT && (whole < INT32_MIN || whole > INT32_MAX)) {
        usage_error(p, "--%s: %s is beyond what it can be", def->name, text);
        return hint_help(p);
    }
    if (def->type == OPTION_NUMBER && !str_to_double(text, &number)) {
        usage_error(p, "--%s needs a number, not \"%s\"", def->name, text);
        return hint_help(p);
    }
    return 0;
}

/* `inline_value`: what stands after "=", or NULL. */
static int take_option(struct parse *p, struct option_value *v, const char *inline_value) {
    const char *text = inline_value;
    if (v->def->type == OPTION_FLAG) {
        if (inline_value) {
            usage_error(p, "--%s takes no value, but \"%s\" is given", v->def->name, inline_value);
            return hint_help(p);
        }
        text = "";
    } else if (!text) {
        if (p->next >= p->argc) {
            usage_error(p, "--%s needs a value: --%s %s", v->def->name, v->def->name, v->def->metavar);
            return hint_help(p);
        }
        text = p->argv[p->next++];
    }
    int code = check_value(p, v->def, text);
    if (code < 0)
        return code;
    const char **grown = realloc(v->texts, (size_t)(v->n_texts + 1) * sizeof *grown);
    if (!grown)
        return err_set(p->e, ERR_NO_MEMORY, "options_parse", "out of memory");
    v->texts = grown;
    v->texts[v->n_texts++] = text;
    return 0;
}

static const char *long_name_of(char letter) {
    switch (letter) {
    case 'C':
        return "project";
    case 'q':
        return "quiet";
    case 'h':
        return "help";
    default:
        return NULL;
    }
}

/* argv[next - 1] begins with '-' and is not "-" or "--". */
static int take_dashed(struct parse *p, const char *argument) {
    const char *name, *value = NULL;
    size_t n;
    if (argument[1] == '-') {
        name = argument + 2;
        const char *equals = strchr(name, '=');
        n = equals ? (size_t)(equals - name) : strlen(name);
        value = equals ? equals + 1 : NULL;
    } else {
        name = argument[2] == '\0' ? long_name_of(argument[1]) : NULL;
        n = name ? strlen(name) : 0;
    }
    struct option_value *v = name ? find_value(p->c, name, n) : NULL;
    return v ? take_option(p, v, value) : unknown_option(p, argument);
}

static int take_all(struct parse *p, const char **positional) {
    bool only_positional = false;
    while (p->next < p->argc) {
        const char *argument = p->argv[p->next++];
        if (!only_positional && strcmp(argument, "--") == 0) {
            only_positional = true;
        } else if (only_positional || argument[0] != '-' || argument[1] == '\0') {
            positional[p->c->n_args++] = argument;
        } else {
            int code = take_dashed(p, argument);
            if (code < 0)
                return code;
        }
    }
    return 0;
}

/* A word that a verb of options alone would pass over is a mistake: a forgotten dash, or another verb's argument. */
static int refuse_surplus(const struct parse *p) {
    const struct verb *v = p->c->verb;
    if (p->c->n_args == 0 || strncmp(v->usage, "[options]", 9) != 0)
        return 0;
    usage_error(p, "takes options alone, not \"%s\"", p->c->args[0]);
    return hint_help(p);
}

int options_parse(struct cmd_ctx *c, int argc, const char *const argv[], struct err *e) {
    int n_own = count_options(c->verb->options), n_common = count_options(options_common);
    c->values = calloc((size_t)(n_own + n_common) + 1, sizeof *c->values);
    const char **positional = calloc((size_t)argc + 1, sizeof *positional);
    c->args = positional;
    if (!c->values || !positional)
        return err_set(e, ERR_NO_MEMORY, "options_parse", "out of memory");
    for (int i = 0; i < n_own; i++)
        c->values[i].def = &c->verb->options[i];
    for (int i = 0; i < n_common; i++)
        c->values[n_own + i].def = &options_common[i];
    struct parse p = {.c = c, .argc = argc, .next = 1, .argv = argv, .e = e};
    int code = take_all(&p, positional);
    if (code == 0)
        code = refuse_surplus(&p);
    c->json = cmd_flag(c, "json");
    c->quiet = cmd_flag(c, "quiet");
    c->project_dir = cmd_string(c, "project");
    return code;
}

void options_release(struct cmd_ctx *c) {
    for (struct option_value *v = c->values; v && v->def; v++)
        free(v->texts);
    free(c->values);
    free((void *)c->args);
    c->values = NULL;
    c->args = NULL;
    c->n_args = 0;
}

/* ---- access ---- */

static const struct option_value *value_of(const struct cmd_ctx *c, const char *name) {
    const struct option_value *v = find_value(c, name, strlen(name));
    assert(v && "the verb's table has no such option");
    return v;
}

bool cmd_flag(const struct cmd_ctx *c, const char *name) {
    return value_of(c, name)->n_texts > 0;
}

const char *cmd_string(const struct cmd_ctx *c, const char *name) {
    const struct option_value *v = value_of(c, name);
    return v->n_texts > 0 ? v->texts[v->n_texts - 1] : v->def->default_text;
}

int64_t cmd_int(const struct cmd_ctx *c, const char *name, int64_t absent) {
    const char *text = cmd_string(c, name);
    int64_t value = absent;
    bool good = !text || str_to_i64(text, &value);
    assert(good && "checked when parsed; a default in the table must be a number too");
    return good ? value : absent;
}

double cmd_number(const struct cmd_ctx *c, const char *name, double absent) {
    const char *text = cmd_string(c, name);
    double value = absent;
    bool good = !text || str_to_double(text, &value);
    assert(good && "checked when parsed; a default in the table must be a number too");
    return good ? value : absent;
}

int cmd_list(const struct cmd_ctx *c, const char *name, const char *const **out) {
    const struct option_value *v = value_of(c, name);
    *out = v->texts;
    return v->n_texts;
}
