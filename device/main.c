/* edgestill-run: the program on the device. Decides one record from its arguments, records from a pipe or over HTTP, or tests itself.
 *
 *     run delay=5 "visit type=emergency"          one record, by field
 *     run '{"delay":5}'                            one record, as JSON
 *     run < records.jsonl > answers.jsonl          JSON Lines: one record a line in, one answer a line out
 *     run --serve                                  HTTP on 127.0.0.1:8077
 *     run --selftest                               golden rows, measurements, receipt.json
 *
 * It needs nothing but the bundle: no network, no file outside it (the receipt apart). */
#include "arguments.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "config.h"
#include "fields.h"
#include "format/json.h"
#include "pipe.h"
#include "receipt.h"
#include "serve.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one record ---- */

/* FIELD=VALUE... as a JSON object. */
static int words_to_json(const struct task *t, const struct options *o, struct str *out, struct err *e) {
    str_add_char(out, '{');
    for (int i = 0; i < o->n_words; i++) {
        const char *equals = strchr(o->words[i], '=');
        char *name = equals ? strndup(o->words[i], (size_t)(equals - o->words[i])) : NULL;
        if (!name || task_field_index(t, name) < 0) {
            err_set(e, ERR_USAGE, "edgestill-run",
                    name ? "the task has no field \"%s\"" : "\"%s\" is not FIELD=VALUE",
                    name ? name : o->words[i]);
            struct str names = {0};
            fields_names(t, &names);
            if (strncmp(o->words[i], "--", 2) == 0)
                err_hint(e, "options come before the record; the fields are: %s", str_text(&names));
            else
                err_hint(e, "the fields are: %s", str_text(&names));
            str_release(&names);
            free(name);
            return ERR_USAGE;
        }
        str_add(out, i ? "," : "");
        json_text_string(out, name);
        str_add_char(out, ':');
        json_text_string(out, equals + 1);
        free(name);
    }
    str_add_char(out, '}');
    return str_check(out, e);
}

static int decide_words(struct runner *r, const struct options *o, struct err *e) {
    struct str json = {0}, answer = {0};
    struct decision d;
    int rc = 0;
    if (o->n_words == 1 && o->words[0][strspn(o->words[0], " \t\r\n")] == '{')
        str_add(&json, o->words[0]);
    else
        rc = words_to_json(&r->bundle.task, o, &json, e);
    if (rc == 0)
        rc = runner_decide(r, str_text(&json), json.len, 1, &d, e);
    if (rc == 0 && d.missing && !o->json)
        log_warn("the record has no value for %s, which the task needs", d.missing);
    if (rc == 0 && d.outside && !o->json)
        log_warn("beyond what the task declares, and so what the model knows: %s", d.outside);
    if (rc == 0 && o->json)
        rc = runner_write(r, &d, &answer, e);
    else if (rc == 0 && d.answer)
        str_addf(&answer, "%s%s", d.valid ? "" : "(not valid) ", d.answer);
    else if (rc == 0)
        str_addf(&answer, "%s %.4f%s%s%s", r->bundle.task.labels[d.label].name, d.probabilities[d.label],
                 d.abstained ? " undecided" : "", d.other ? ": " : "", d.other ? d.other : "");
    if (rc == 0 && (puts(str_text(&answer)) < 0 || fflush(stdout) != 0))
        rc = err_set_errno(e, ERR_IO, "edgestill-run", "cannot write the answer");
    str_release(&json);
    str_release(&answer);
    return rc;
}

/* ---- self-test ---- */

static int test_itself(const struct options *o, struct err *e) {
    struct selftest s;
    struct str text = {0};
    int rc = selftest_run(&s, o->bundle, &o->test, e);
    if (rc < 0)
        return rc;
    receipt_print(&s, &text);
    fputs(str_text(&text), stdout);
    str_release(&text);
    rc = receipt_write(&s, o->receipt, e);
    if (rc < 0)
        err_hint(e, "--receipt FILE writes it elsewhere");
    if (rc == 0 && !s.memory_kept && s.n_agreeing == s.n_rows)
        rc = err_set(e, ERR_MISMATCH, "selftest", "the answers agree, but the plan's memory was not kept");
    if (rc == 0 && !s.passed)
        rc = err_set(e, ERR_MISMATCH, "selftest", "%lld of %lld golden rows are answered differently here",
                     (long long)(s.n_rows - s.n_agreeing), (long long)s.n_rows);
    selftest_release(&s);
    return rc;
}

/* ---- the whole ---- */

static int decide(const struct options *o, struct err *e) {
    struct runner r;
    int rc = runner_open(&r, o->bundle, &o->runner, e);
    if (rc < 0)
        return rc;
    rc = o->serve     ? serve(&r, &o->server, e)
         : o->n_words ? decide_words(&r, o, e)
                      : pipe_run(&r, STDIN_FILENO, stdout, e);
    runner_close(&r);
    return rc;
}

static int print_help(void) {
    struct str text = {0};
    arguments_help(&text);
    fputs(str_text(&text), stdout);
    str_release(&text);
    return 0;
}

static int run(const struct options *o, struct err *e) {
    if (o->help)
        return print_help();
    if (o->version)
        return printf("edgestill-run %s\n", EDGESTILL_VERSION) < 0 ? ERR_IO : 0;
    interrupt_install();
    return o->selftest ? test_itself(o, e) : decide(o, e);
}

int main(int argc, char *argv[]) {
    struct options o = {.bundle = ".", .receipt = "receipt.json"};
    struct err e = {0};
    lm_calm_threads(argv);
    int rc = arguments_parse(argc, argv, &o, &e);
    if (rc == 0)
        rc = run(&o, &e);
    if ((fflush(stdout) != 0 || ferror(stdout)) && rc == 0)
        rc = err_set(&e, ERR_IO, "edgestill-run",
                     "cannot write to standard output: its reader has gone or the disk is full");
    if (rc < 0)
        log_err(&e);
    return rc < 0 ? err_exit_code(rc) : 0;
}
