/* Verbs whose own file is not there yet: weak, so that each gives way to its file. */
#include "cmd/cmd.h"

static int run_missing(struct cmd_ctx *c) {
    return err_set(&c->err, ERR_UNSUPPORTED, "verbs", "%s is not part of this program yet", c->verb->name);
}

#define X(id)                                                                                                \
    __attribute__((weak)) const struct verb verb_##id = {#id, "not built yet", "", NULL, run_missing};
VERBS(X)
#undef X
