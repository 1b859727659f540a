/* The chain as data: its stages in order, what each leaves behind, and in which state a project's copy of it is. */
#ifndef CMD_STAGES_H
#define CMD_STAGES_H

#include "base/err.h"
#include "base/str.h"
#include "cmd/manifest.h"
#include "cmd/project.h"

/* verb, the file that the user accepts (NULL: none), the manifest (NULL: none), what is there once it began */
#define STAGES(X)                                                                                            \
    X("task", "task.yaml", NULL, "task.yaml")                                                                \
    X("plan", "plan.yaml", NULL, "plan.yaml")                                                                \
    X("generate", NULL, MANIFEST_GENERATE, PROJECT_RECORDS)                                                  \
    X("train", NULL, MANIFEST_TRAIN, "train")                                                                \
    X("compress", NULL, MANIFEST_COMPRESS, "model")                                                          \
    X("eval", NULL, MANIFEST_EVAL, "eval")                                                                   \
    X("bundle", NULL, MANIFEST_BUNDLE, "dist")

#define STAGE_STATES(X)                                                                                      \
    X(ABSENT, "absent")                                                                                      \
    X(UNFINISHED, "unfinished")                                                                              \
    X(WAITING, "waiting for acceptance")                                                                     \
    X(STALE, "stale")                                                                                        \
    X(CURRENT, "up to date")

enum stage_state {
#define X(name, text) STAGE_##name,
    STAGE_STATES(X)
#undef X
};

struct stage {
    const char *verb, *gate, *manifest, *trace;
};

#define X(verb, gate, manifest, trace) +1
enum { N_STAGES = 0 STAGES(X) };
#undef X

extern const struct stage stages[N_STAGES];

struct stage_report {
    enum stage_state state;
    char reason[256]; /* why it is waiting or stale; may be empty */
};

/* The states of all stages, in order: reports is [N_STAGES]. A stage after one that is not up to date is stale itself. */
int stages_inspect(struct project *p, struct stage_report *reports, struct err *e);

const char *stage_state_text(enum stage_state s);

#endif
