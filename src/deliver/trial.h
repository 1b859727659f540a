/* A trial: the self-test of a bundle, run on the machine that made it, natively or through a user-mode emulator. What an emulator
 * measures is marked so in the receipt (edgestill.receipt/1, device/receipt.h) and stands for no device. */
#ifndef DELIVER_TRIAL_H
#define DELIVER_TRIAL_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

struct trial {
    const char *folder;  /* the bundle's */
    const char *arch;    /* "arm64", "amd64" */
    const char *core;    /* to emulate: "cortex-a76"; NULL: the emulator's default */
    const char *receipt; /* file to write */
    int64_t n_rows;      /* the first so many golden rows; 0: all */
    int n_threads;       /* 0: the bundle's */
    bool quiet;          /* nothing on standard output */
};

/* Must an emulator run bundles of this architecture here? */
bool trial_is_emulated(const char *arch);

/* ERR_MISMATCH when the answers differ from the host's, ERR_UNSUPPORTED when there is no emulator for it, ERR_FAILED when it cannot
 * be run. */
int trial_run(const struct trial *q, struct err *e);

#endif
