/* edgestill-run: the program on the device. Decides one record from its arguments, records from a pipe, or tests itself.
 *
 *     run delay=5 "visit type=emergency"          one record, by field
 *     run '{"delay":5}'                            one record, as JSON
 *     run < records.jsonl > answers.jsonl          JSON Lines: one record a line in, one answer a line out
 *     run --selftest                               golden rows, measurements, receipt.json
 *
 * It needs nothing but the bundle: no network, no file outside it (the receipt apart). */
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "config.h"
#include "format/json.h"
#include "lines.h"
#include "receipt.h"
#include "runner.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    const char *bundle, *receipt;
    bool selftest, json;
    int64_t n_threads;
    struct selftest_options test;
    int n_words; /* record from the arguments */
    char **words;
};

static const char usage[] =
    "usage: run [options] FIELD=VALUE...   decide one record\n"
    "       run [options] JSON             the same, the record as a JSON object\n"
    "       run [options] < records.jsonl  decide a record a line; answers as JSON Lines\n"
    "       run --selftest [options]       compare with the host's answers, measure, write a receipt\n\n"
    "  --json           the answer to one record as JSON, too\n"
    "  --threads N      threads to compute with (default: as planned)\n"
    "  --bundle DIR     the bundle's folder (set by the bundle's own `run`)\n"
    "  --receipt FILE   where --selftest writes its receipt (default: receipt.json in the current folder)\n"
    "  --rows N         --selftest: the first N golden rows\n"
    "  --no-verify      --selftest: leave out the checksums of the files\n"
    "  --emulated       --selftest: mark the figures as an emulator's (user-mode emulation is noticed "
    "without)\n"
    "  --version, --help\n\n"
    "Exit codes: 0 done, 1 failed (or answers differ), 2 wrong usage or input.\n";

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
            for (int f = 0; f < t->n_declared; f++)
                str_addf(&names, "%s%s", f ? ", " : "", t->fields[f].name);
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
    if (o->n_words == 1 && o->words[0][0] == '{')
        str_add(&json, o->words[0]);
    else
        rc = words_to_json(&r->bundle.task, o, &json, e);
    if (rc == 0)
        rc = runner_decide(r, str_text(&json), json.len, 1, &d, e);
    if (rc == 0 && o->json)
        rc = runner_write(r, &d, &answer, e);
    else if (rc == 0)
        str_addf(&answer, "%s %.4f", r->bundle.task.labels[d.label].name, d.probabilities[d.label]);
    if (rc == 0 && puts(str_text(&answer)) < 0)
        rc = err_set_errno(e, ERR_IO, "edgestill-run", "cannot write the answer");
    str_release(&json);
    str_release(&answer);
    return rc;
}

/* ---- a pipe ---- */

static bool is_blank(const char *line, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (line[i] != ' ' && line[i] != '\t')
            return false;
    }
    return true;
}

static void write_problem(struct str *out, int64_t line, const struct err *e) {
    str_addf(out, "{\"error\":");
    json_text_string(out, e->message);
    str_addf(out, ",\"line\":%lld}", (long long)line);
}

/* A record's own fault becomes an answer of its own, and the pipe goes on; anything else ends it. */
static bool is_records_fault(int code) {
    return code == ERR_INPUT || code == ERR_FORMAT;
}

static int decide_line(struct runner *r, const char *line, size_t n, int64_t number, struct str *out,
                       struct err *e) {
    struct decision d;
    int rc = runner_decide(r, line, n, (int)(number & 0x3FFFFFFF), &d, e);
    return rc < 0 ? rc : runner_write(r, &d, out, e);
}

static int decide_pipe(struct runner *r, struct err *e) {
    struct lines lines;
    struct str out = {0};
    int64_t number = 0, n_bad = 0;
    int rc;
    lines_init(&lines, STDIN_FILENO);
    while (true) {
        char *line = NULL;
        size_t n = 0;
        struct err one = {0};
        rc = lines_next(&lines, &line, &n, &one);
        if (rc == 0 || rc == ERR_INTERRUPTED)
            break; /* a signal between two records is a clean end */
        number++;
        if (rc > 0 && is_blank(line, n))
            continue;
        str_clear(&out);
        rc = rc > 0 ? decide_line(r, line, n, number, &out, &one) : rc;
        if (is_records_fault(rc)) {
            str_clear(&out);
            write_problem(&out, number, &one);
            n_bad++;
        } else if (rc < 0) {
            *e = one;
            break;
        }
        rc = puts(str_text(&out)) < 0 || fflush(stdout) != 0
                 ? err_set_errno(e, ERR_IO, "edgestill-run", "cannot write")
                 : 0;
        if (rc < 0)
            break;
    }
    lines_release(&lines);
    str_release(&out);
    if (rc < 0 && rc != ERR_INTERRUPTED)
        return rc;
    return n_bad ? err_set(e, ERR_INPUT, "edgestill-run", "%lld of %lld lines could not be used",
                           (long long)n_bad, (long long)number)
                 : 0;
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
    if (rc == 0 && !s.passed)
        rc = err_set(e, ERR_MISMATCH, "selftest", "%lld of %lld golden rows are answered differently here",
                     (long long)(s.n_rows - s.n_agreeing), (long long)s.n_rows);
    selftest_release(&s);
    return rc;
}

/* ---- arguments ---- */

static int bad_usage(struct err *e, const char *what) {
    err_set(e, ERR_USAGE, "edgestill-run", "%s", what);
    err_hint(e, "see --help");
    return ERR_USAGE;
}

static int set_count(const char *text, int64_t *out, const char *name, struct err *e) {
    if (str_to_i64(text, out) && *out >= 1 && *out <= 1 << 20)
        return 0;
    err_set(e, ERR_USAGE, "edgestill-run", "--%s takes a number from 1 on, not \"%s\"", name, text);
    return ERR_USAGE;
}

/* 0: go on; 1: done (help, version); negative: wrong usage. */
static int parse(int argc, char *argv[], struct options *o, struct err *e) {
    enum { BUNDLE = 1, RECEIPT, ROWS, THREADS, SELFTEST, JSON, NO_VERIFY, EMULATED, VERSION, HELP };
    static const struct option known[] = {{"bundle", required_argument, NULL, BUNDLE},
                                          {"receipt", required_argument, NULL, RECEIPT},
                                          {"rows", required_argument, NULL, ROWS},
                                          {"threads", required_argument, NULL, THREADS},
                                          {"selftest", no_argument, NULL, SELFTEST},
                                          {"json", no_argument, NULL, JSON},
                                          {"no-verify", no_argument, NULL, NO_VERIFY},
                                          {"emulated", no_argument, NULL, EMULATED},
                                          {"version", no_argument, NULL, VERSION},
                                          {"help", no_argument, NULL, HELP},
                                          {0}};
    opterr = 0;
    for (int c, rc = 0; (c = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
        switch (c) {
        case BUNDLE:
            o->bundle = optarg;
            break;
        case RECEIPT:
            o->receipt = optarg;
            break;
        case ROWS:
            rc = set_count(optarg, &o->test.n_rows, "rows", e);
            break;
        case THREADS:
            rc = set_count(optarg, &o->n_threads, "threads", e);
            break;
        case SELFTEST:
            o->selftest = true;
            break;
        case JSON:
            o->json = true;
            break;
        case NO_VERIFY:
            o->test.no_verify = true;
            break;
        case EMULATED:
            o->test.emulated = true;
            break;
        case VERSION:
            printf("edgestill-run %s\n", EDGESTILL_VERSION);
            return 1;
        case HELP:
            fputs(usage, stdout);
            return 1;
        default:
            return bad_usage(e, "an option is unknown or lacks its value");
        }
        if (rc < 0)
            return rc;
    }
    o->n_words = argc - optind;
    o->words = argv + optind;
    o->test.n_threads = (int)o->n_threads;
    return o->selftest && o->n_words ? bad_usage(e, "--selftest takes no record") : 0;
}

static int decide(const struct options *o, struct err *e) {
    struct runner r;
    int rc = runner_open(&r, o->bundle, (int)o->n_threads, e);
    if (rc < 0)
        return rc;
    rc = o->n_words ? decide_words(&r, o, e) : decide_pipe(&r, e);
    runner_close(&r);
    return rc;
}

int main(int argc, char *argv[]) {
    struct options o = {.bundle = ".", .receipt = "receipt.json"};
    struct err e = {0};
    lm_calm_threads(argv);
    int rc = parse(argc, argv, &o, &e);
    if (rc == 0) {
        interrupt_install();
        rc = o.selftest ? test_itself(&o, &e) : decide(&o, &e);
    }
    if (rc < 0)
        log_err(&e);
    return rc < 0 ? err_exit_code(rc) : 0;
}
