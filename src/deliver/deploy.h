/* Bringing a bundle to a device over ssh, and back if it does not prove itself there.
 *
 * On the device, below a folder of the user's (default: edgestill in the home):
 *
 *     edgestill/claims/versions/ID/        a bundle; ID is the beginning of bundle.json's SHA-256
 *     edgestill/claims/versions/ID.part/   one that is being copied: whole files, and NAME.partial
 *     edgestill/claims/current -> versions/ID, previous -> versions/ID
 *     edgestill/claims/receipts/ID.json
 *
 * Invariants: versions/ID is whole or absent (one that a disk damaged since is made whole by the next deployment); `current` names a version whose self-test passed on that device; a file goes over only
 * when neither the version before nor an earlier attempt has it there with the same SHA-256, and from where an earlier attempt
 * stopped. So any step may be cut off, and the same command goes on.
 *
 * Order: look (architecture, memory, disk), copy, self-test, switch, service. A failing self-test leaves `current` as it was and takes
 * the new version away; a service that does not come up is set back to the version before. */
#ifndef DELIVER_DEPLOY_H
#define DELIVER_DEPLOY_H

#include "deliver/ssh.h"

struct deploy_device { /* what the device says of itself */
    char arch[16];     /* as bundles are named: "arm64", "amd64"; else uname's word */
    char kernel[96], model[128];
    int64_t memory_bytes, available_bytes, free_bytes; /* disk; 0 unknown */
    char current[80], previous[80];                    /* "versions/ID"; "" none */
    bool has_service;                                  /* runs as a service there */
};

struct deploy {
    struct ssh *ssh;
    const char *folder;  /* on the device: "edgestill/claims" */
    const char *bundle;  /* here: "dist/claims-arm64" */
    const char *receipt; /* here: where the receipt is brought to */
    int64_t n_rows;      /* of the self-test; 0: all */
    bool service;        /* install it */
    bool quiet;
};

struct deploy_result {
    char id[17];
    int64_t n_files, n_copied, copied_bytes;
    bool was_there;     /* this very version was there before, whole */
    bool has_receipt;   /* of this run, brought home */
    bool rolled_back;   /* and the version before is in use again */
    int64_t need_bytes; /* disk that the copy needed */
};

/* ERR_USAGE for a folder that a shell could misread. */
int deploy_check_folder(const char *folder, struct err *e);

int deploy_probe(struct ssh *s, const char *folder, struct deploy_device *out, struct err *e);

/* ERR_MISMATCH: another architecture, or the self-test failed there; ERR_NO_MEMORY, ERR_NO_SPACE: with the figures; ERR_NET: the
 * connection broke, go on with the same command. *out says how far it came, after a failure too. */
int deploy_run(const struct deploy *d, const struct deploy_device *device, struct deploy_result *out,
               struct err *e);

/* What is there: the versions' IDs, a line each, "*" before the current and "-" before the previous one, appended. */
int deploy_list(struct ssh *s, const char *folder, struct str *out, struct err *e);

/* `previous` becomes `current`, and the service's where there is one. ERR_NOT_FOUND when there is none. */
int deploy_rollback(struct ssh *s, const char *folder, struct err *e);

#endif
