/* The table of verbs: see verbs.h and cmd.h. */
#include "cmd/verbs.h"

#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "cmd/options.h"
#include "config.h"
#include "format/json.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct verb *const verbs[] = {
#define X(name) &verb_##name,
    VERBS(X)
#undef X
        NULL};

static const char *const verb_names[] = {
#define X(name) #name,
    VERBS(X)
#undef X
        "help",
    NULL};

const struct verb *verbs_find(const char *name) {
    for (int i = 0; verbs[i]; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static int unknown_verb(const char *name, struct err *e) {
    int code = err_set(e, ERR_USAGE, "verbs_find", "there is no verb \"%s\"", name);
    const char *near = str_nearest(name, verb_names);
    if (near)
        err_hint(e, "did you mean \"%s\"?", near);
    else
        err_hint(e, "see: edgestill --help");
    return code;
}

void cmd_print(const struct cmd_ctx *c, const char *format, ...) {
    if (c->json || c->quiet)
        return;
    log_status("");
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

/* ---- help ---- */

static void general_help(struct str *out) {
    str_add(out, "edgestill " EDGESTILL_VERSION
                 ": one sentence and a device's name become a small language model for that device\n\n"
                 "Usage: edgestill VERB [options]\n\nVerbs:\n");
    for (int i = 0; verbs[i]; i++)
        str_addf(out, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    str_add(out, "\nedgestill VERB --help says more; edgestill --version names the version.\n"
                 "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 waiting for your acceptance, "
                 "4 budget reached.\n");
}

static void markdown_option(struct str *out, const struct option_def *o) {
    str_addf(out, "* `--%s%s%s`: %s", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "", o->help);
    if (o->default_text)
        str_addf(out, " (default: `%s`)", o->default_text);
    str_add_char(out, '\n');
}

static void whole_markdown(struct str *out) {
    str_add(
        out,
        "# Commands\n\n"
        "Made by `edgestill help --markdown` from the tables that the program parses with; do not edit.\n\n"
        "A project is a folder; each verb reads what earlier ones wrote, writes its own, and does nothing "
        "when "
        "that is up to date. Every verb has:\n\n");
    for (const struct option_def *o = options_common; o->name; o++)
        markdown_option(out, o);
    str_add(
        out,
        "\nText for people goes to standard output, progress and messages to standard error.\n"
        "\n| exit code | meaning |\n|---|---|\n| 0 | done |\n| 1 | failed |\n| 2 | wrong usage or input |\n"
        "| 3 | waiting for your acceptance |\n| 4 | budget reached |\n");
    for (int i = 0; verbs[i]; i++) {
        str_add_char(out, '\n');
        options_markdown(verbs[i], out);
    }
}

static int print_text(struct str *text, struct err *e) {
    int code = str_check(text, e);
    if (code == 0)
        fwrite(str_text(text), 1, text->len, stdout);
    str_release(text);
    return code;
}

/* "help", "help VERB", "help --markdown", and the bare program */
static int help(int argc, const char *const argv[], struct err *e) {
    struct str text = {0};
    const struct verb *v = argc > 1 ? verbs_find(argv[1]) : NULL;
    if (v)
        options_help(v, &text);
    else if (argc > 1 && strcmp(argv[1], "--markdown") == 0)
        whole_markdown(&text);
    else if (argc > 1 && argv[1][0] != '-')
        return unknown_verb(argv[1], e);
    else
        general_help(&text);
    return print_text(&text, e);
}

/* ---- running ---- */

static int run_parsed(struct cmd_ctx *c, bool wants_help, struct err *e) {
    if (wants_help) {
        struct str text = {0};
        options_help(c->verb, &text);
        return print_text(&text, e);
    }
    if (!(c->result = json_pack("{s:s}", "verb", c->verb->name)))
        return err_set(e, ERR_NO_MEMORY, "cmd_run_verb", "out of memory");
    int code = c->verb->run(c);
    log_status("");
    if (code < 0 && c->err.code == 0)
        err_set(&c->err, code, c->verb->name, "%s: %s", c->verb->name, err_text(code));
    if (code < 0 && e && e->code == 0)
        *e = c->err;
    return code;
}

static bool asks_for(int argc, const char *const argv[], const char *option, const char *short_option) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], option) == 0 || (short_option && strcmp(argv[i], short_option) == 0))
            return true;
    return false;
}

int cmd_run_verb(int argc, const char *const argv[], json_t **result, struct err *e) {
    const struct verb *v = argc > 0 ? verbs_find(argv[0]) : NULL;
    if (!v)
        return unknown_verb(argc > 0 ? argv[0] : "", e);
    struct cmd_ctx c = {.verb = v};
    int code = options_parse(&c, argc, argv, e);
    bool wants_help = asks_for(argc, argv, "--help", "-h"); /* also among mistakes */
    if (code == 0 || wants_help) {
        if (wants_help)
            err_clear(e);
        code = run_parsed(&c, wants_help, e);
    }
    options_release(&c);
    if (result)
        *result = c.result;
    else
        json_decref(c.result);
    return code;
}

static void add_error(json_t *document, const struct err *e) {
    json_t *error =
        json_pack("{s:s, s:o}", "code", err_name(e->code), "message", json_lossy_string(e->message));
    if (e->hint[0])
        json_object_set_new(error, "hint", json_lossy_string(e->hint));
    json_object_set_new(document, "error", error);
}

/* The one document of --json: the verb's, with "ok" and where needed "error". */
static int print_document(json_t *result, const struct err *e) {
    json_t *document = result ? json_incref(result) : json_object();
    json_object_set_new(document, "ok", json_boolean(e->code == 0));
    if (e->code != 0)
        add_error(document, e);
    int failed = json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
    return failed;
}

static int run_typed(int argc, const char *const argv[], struct err *e) {
    bool json = asks_for(argc, argv, "--json", NULL);
    bool wants_help = asks_for(argc, argv, "--help", "-h");
    progress_set_quiet(asks_for(argc, argv, "--quiet", "-q"));
    json_t *result = NULL;
    int code = cmd_run_verb(argc, argv, &result, e);
    if (json && !wants_help)
        print_document(result, e);
    json_decref(result);
    return code;
}

static int dispatch(int argc, const char *const argv[], struct err *e) {
    if (argc < 1) {
        int code = help(0, NULL, e);
        return code < 0 ? code : err_set(e, ERR_USAGE, "verbs_main", "a verb is needed");
    }
    if (strcmp(argv[0], "--version") == 0) {
        puts("edgestill " EDGESTILL_VERSION);
        return 0;
    }
    if (strcmp(argv[0], "help") == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
        return help(argc, argv, e);
    return run_typed(argc, argv, e);
}

int verbs_main(int argc, const char *const argv[]) {
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is a write error, not the end of a training run */
    interrupt_install();
    setvbuf(stdout, NULL, _IOLBF, 0); /* keeps its place among the messages on standard error */
    struct err e = {0};
    int code = dispatch(argc - 1, argv + 1, &e);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0)
        code = err_set(&e, ERR_IO, "verbs_main",
                       "cannot write to standard output: its reader has gone or the disk is full");
    if (code < 0)
        log_err(&e);
    return err_exit_code(code);
}
