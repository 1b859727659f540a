/* Arguments. */
#include "arguments.h"
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { FLAG, TEXT, COUNT, COUNT_INT };
enum { COUNT_MAX = 1 << 24 };

/* name, kind, member of struct options, metavar, help */
#define OPTIONS(X)                                                                                           \
    X("json", FLAG, json, "", "the answer to one record as JSON, too")                                       \
    X("threads", COUNT_INT, runner.n_threads, "N", "threads to compute with (default: as planned)")          \
    X("any-memory", FLAG, runner.any_memory, "", "start even where less memory is free than planned")        \
    X("lock", FLAG, runner.lock_memory, "", "keep all memory from being swapped out")                        \
    X("on-abstain", TEXT, runner.on_abstain, "COMMAND",                                                      \
      "call it for a record that is too unsure: {\"record\",\"answer\"} on its standard input; the first "   \
      "line "                                                                                                \
      "it prints becomes \"other\" in the answer")                                                           \
    X("bundle", TEXT, bundle, "DIR", "the bundle's folder (set by the bundle's own `run`)")                  \
    X("serve", FLAG, serve, "", "answer over HTTP until SIGTERM")                                            \
    X("listen", TEXT, server.listen, "HOST:PORT", "--serve: address (default: 127.0.0.1:8077)")              \
    X("max-body", COUNT, server.max_body_bytes, "BYTES", "--serve: longest request (default: 65536)")        \
    X("max-queue", COUNT_INT, server.max_queue, "N", "--serve: requests that may wait (default: 64)")        \
    X("max-wait", COUNT, server.max_wait_ms, "MS", "--serve: longest wait in the queue (default: 30000)")    \
    X("selftest", FLAG, selftest, "", "compare with the host's answers, measure, write a receipt")           \
    X("receipt", TEXT, receipt, "FILE",                                                                      \
      "--selftest: where to (default: receipt.json in the current folder)")                                  \
    X("rows", COUNT, test.n_rows, "N", "--selftest: the first N golden rows, without rates by type")         \
    X("no-verify", FLAG, test.no_verify, "", "--selftest: leave out the checksums of the files")             \
    X("emulated", FLAG, test.emulated, "",                                                                   \
      "--selftest: mark the figures as an emulator's (user-mode emulation is noticed without)")              \
    X("version", FLAG, version, "", "print the version")                                                     \
    X("help", FLAG, help, "", "print this")

struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *metavar, *help;
};

static const struct row rows[] = {
#define X(name, kind, member, metavar, help) {name, kind, offsetof(struct options, member), metavar, help},
    OPTIONS(X)
#undef X
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static int bad_usage(struct err *e, const char *what) {
    err_set(e, ERR_USAGE, "edgestill-run", "%s", what);
    err_hint(e, "see --help");
    return ERR_USAGE;
}

static int set(struct options *o, const struct row *r, const char *text, struct err *e) {
    void *at = (char *)o + r->offset;
    int64_t count = 0;
    if (r->kind == FLAG)
        *(bool *)at = true;
    if (r->kind == TEXT)
        *(const char **)at = text;
    if (r->kind != COUNT && r->kind != COUNT_INT)
        return 0;
    if (!str_to_i64(text, &count) || count < 1 || count > COUNT_MAX)
        return err_set(e, ERR_USAGE, "edgestill-run", "--%s takes a number from 1 to %d, not \"%s\"", r->name,
                       COUNT_MAX, text);
    if (r->kind == COUNT)
        *(int64_t *)at = count;
    else
        *(int *)at = (int)count;
    return 0;
}

int arguments_parse(int argc, char *argv[], struct options *o, struct err *e) {
    struct option known[N_ROWS + 1] = {0};
    for (int i = 0; i < N_ROWS; i++)
        known[i] = (struct option){rows[i].name, rows[i].kind == FLAG ? no_argument : required_argument, NULL,
                                   i + 1};
    opterr = 0;
    for (int c, at; at = optind, (c = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
        if (c < 1 || c > N_ROWS) {
            /* inside "-abc" getopt_long has not gone on yet */
            const char *word = argv[optind > at ? optind - 1 : at];
            err_set(e, ERR_USAGE, "edgestill-run", "%s is unknown or lacks its value", word);
            return err_hint(e, "see --help");
        }
        int rc = set(o, &rows[c - 1], optarg, e);
        if (rc < 0)
            return rc;
    }
    o->n_words = argc - optind;
    o->words = argv + optind;
    o->test.runner = o->runner;
    if (o->selftest && o->serve)
        return bad_usage(e, "--selftest and --serve are two things");
    return (o->selftest || o->serve) && o->n_words ? bad_usage(e, "--selftest and --serve take no record")
                                                   : 0;
}

void arguments_help(struct str *out) {
    str_add(out, "usage: run [options] FIELD=VALUE...   decide one record\n"
                 "       run [options] JSON             the same, the record as a JSON object\n"
                 "       run [options] < records.jsonl  decide a record a line; answers as JSON Lines\n"
                 "       run --serve [options]          answer over HTTP\n"
                 "       run --selftest [options]       compare with the host's answers, measure\n\n");
    for (int i = 0; i < N_ROWS; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].metavar[0] ? " " : "", rows[i].metavar);
        str_addf(out, "  %-21s %s\n", left, rows[i].help);
    }
    str_add(out, "\nExit codes: 0 done, 1 failed (or answers differ), 2 wrong usage or input.\n");
}
