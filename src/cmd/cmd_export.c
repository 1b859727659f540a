/* `edgestill export FILE`: the accepted records, for other trainers and for spreadsheets. */
#include "cmd/records_verbs.h"
#include "synth/exchange.h"
#include <string.h>

static const struct option_def options[] = {
    {"split", OPTION_STRING, "NAME", "train, validation, test or all", "all"},
    {0},
};

static int find_split(struct cmd_ctx *c, enum store_split *out) {
    static const enum store_split splits[] = {STORE_TRAIN, STORE_VALIDATION, STORE_TEST, STORE_ALL_SPLITS};
    const char *name = cmd_string(c, "split");
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        if (strcmp(store_split_text(splits[i]), name) == 0) {
            *out = splits[i];
            return 0;
        }
    return err_set(&c->err, ERR_USAGE, "export", "--split must be train, validation, test or all, not '%s'",
                   name);
}

static int run_export(struct cmd_ctx *c) {
    struct records_verb r;
    struct exchange_out out = {0};
    enum store_split split = STORE_ALL_SPLITS;
    int code = find_split(c, &split);
    if (code == 0 && c->n_args != 1) {
        err_set(&c->err, ERR_USAGE, "export", "export needs one file");
        return err_hint(&c->err, "for example: edgestill export records.jsonl");
    }
    if (code < 0 || (code = records_open(c, STORE_READ, &r)) < 0)
        return code;
    code = exchange_export(r.store, &r.task, split, c->args[0], &out, &c->err);
    if (code == 0) {
        json_object_set_new(c->result, "records", json_integer(out.n));
        json_object_set_new(c->result, "file", json_string(c->args[0]));
        cmd_print(c, "%lld records are in %s\n", (long long)out.n, c->args[0]);
    }
    records_close(&r);
    return code;
}

const struct verb verb_export = {"export", "write the accepted records as chat JSON Lines (.jsonl) or CSV",
                                 "FILE [options]", options, run_export};
