/* A bundle as the device reads it: the folder that `edgestill bundle` made (src/deliver/bundle.h says how).
 *
 *     bundle.json    what is in it, the runtime's settings, predictions (edgestill.bundle/1)
 *     task.json, prompt.json, grammar.gbnf, model/student.gguf, prefix.state, golden.jsonl, bin/, lib/, licenses/, run, selftest
 *
 * Everything lives in the bundle's arena until bundle_close. */
#ifndef DEVICE_BUNDLE_H
#define DEVICE_BUNDLE_H

#include "format/node.h"
#include "task/prompt.h"
#include "task/task.h"

#define BUNDLE_FORMAT  "edgestill.bundle/1"
#define BUNDLE_MODEL   "model/student.gguf"
#define BUNDLE_GRAMMAR "grammar.gbnf"

struct bundle {
    struct arena arena;
    const char *dir, *name, *arch;
    const char *device;    /* that it was planned for, as the catalogue names it; NULL: it does not say */
    struct node *manifest; /* bundle.json */
    struct task task;
    struct prompt prompt;
    /* extract: the answer's, compiled on the host (BUNDLE_GRAMMAR); NULL: the bundle has none */
    const char *grammar;
    const char *model_path, *model_sha256; /* as bundle.json states it */
    int64_t n_ctx, n_batch, n_threads, n_outputs;
    const char *kv_type;
    bool flash_attention;
    bool has_fingerprint;                          /* of the model: bundle_check_model can tell */
    bool prefix_state;                             /* is there a prefix.state? */
    double tolerance;                              /* of probabilities between host and device */
    int64_t memory_need_bytes, memory_limit_bytes; /* of the plan; 0: it says nothing */
    double abstain_threshold;                      /* leave records below this undecided; 0: decide all */
};

/* ERR_NOT_FOUND when `dir` holds no bundle, ERR_FORMAT or ERR_MISMATCH when its parts do not fit together: also when the grammar that
 * answers are held to is not the one that was bundled. */
int bundle_open(struct bundle *b, const char *dir, struct err *e);
void bundle_close(struct bundle *b); /* safe to repeat */

/* "<dir>/<name>" in the arena; NULL when out of memory. */
const char *bundle_path(struct bundle *b, const char *name);

/* Compares every file that bundle.json lists with its SHA-256. ERR_MISMATCH naming the first that differs. */
int bundle_verify(struct bundle *b, struct err *e);

/* Is the model's file the one that was bundled? By size and samples (hash_file_sampled), so that it costs no time at start; the
 * self-test compares all of it. ERR_MISMATCH when it is another. */
int bundle_check_model(struct bundle *b, struct err *e);

/* SHA-256 of bundle.json itself: it names everything else. */
int bundle_hash(struct bundle *b, char hex[SHA256_HEX], struct err *e);

#endif
