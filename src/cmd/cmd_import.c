/* `edgestill import FILE`: records of the user's own into the project, in the formats that export writes. */
#include "cmd/records_verbs.h"
#include "synth/exchange.h"
#include "synth/generate.h"

static const struct option_def options[] = {{0}};

static int run_import(struct cmd_ctx *c) {
    struct records_verb r;
    struct exchange_in in = {0};
    if (c->n_args != 1) {
        err_set(&c->err, ERR_USAGE, "import", "import needs one file");
        return err_hint(&c->err, "for example: edgestill import records.jsonl");
    }
    int code = records_open(c, STORE_WRITE, &r);
    if (code < 0)
        return code;
    code = generate_check_task(r.store, &r.task, &c->err);
    if (code == 0)
        code = exchange_import(r.store, &r.task, c->args[0], &in, &c->err);
    if (code == 0)
        code = records_changed(c, &r);
    if (code == 0) {
        json_object_set_new(c->result, "records", json_integer(in.n_new));
        json_object_set_new(c->result, "known", json_integer(in.n_known));
        cmd_print(c, "%lld records are taken in, %lld were there already\n", (long long)in.n_new,
                  (long long)in.n_known);
    }
    records_close(&r);
    return code;
}

const struct verb verb_import = {"import",
                                 "take in records that export wrote, or chat JSON Lines of your own", "FILE",
                                 options, run_import};
