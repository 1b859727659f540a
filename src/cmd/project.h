/* A project folder: edgestill.yaml (the user's, never rewritten after init) and what the stages wrote beside it.
 * Paths below are fixed names; see docs/formats.md. */
#ifndef CMD_PROJECT_H
#define CMD_PROJECT_H

#include "base/err.h"
#include "base/mem.h"
#include "task/prompt.h"
#include "task/task.h"
#include <stdbool.h>
#include <stdint.h>

#define PROJECT_FORMAT  "edgestill.project/1"
#define PROJECT_RECORDS "records.sqlite" /* below the folder: the journal and all records */

struct project_teacher {
    /* "embedded" (seed/teacher.gguf behind our own llama-server), "gguf" (another file, in this process), "openai" (any
     * endpoint), "none" */
    const char *kind;
    const char *url; /* openai: ".../v1" */
    const char *model;
    const char *gguf;    /* gguf: the model file */
    const char *key_env; /* name of the environment variable that holds the key */
    const char *key_file;
    const char *style;                              /* "plain" or "full" prompts */
    int64_t parallel;                               /* requests at once; 0: default */
    int64_t requests_per_minute, tokens_per_minute; /* what the endpoint allows; 0: not said */
    bool no_thinking;                               /* ask it not to think before it answers */
};

struct project_data {
    const char *path;           /* the user's labelled rows: CSV or JSON Lines; NULL: none */
    const char *label;          /* column */
    const char *eval_path;      /* held-out rows for eval; NULL: the test split of the records */
    const char *group, *time;   /* columns by which own rows are split; NULL: stratified by label */
    bool share_rows;            /* may own rows be sent to the teacher? default false */
    const char **share_columns; /* [n_share_columns] what of them; none: every field of the task */
    int n_share_columns;
};

struct project {
    struct arena arena;
    const char *dir;
    const char *sentence;
    const char *device; /* catalogue name */
    const char *base;   /* "embedded", a catalogue name, or a path to a GGUF; NULL: let plan choose */
    struct project_teacher teacher;
    struct project_data data;
    int64_t n_records; /* accepted records wanted from generate */
    uint64_t seed;
    const char *form;     /* what of the prompt the student reads: "none-compact", "auto"; NULL: not said */
    const char *schedule; /* of the learning rate: a name of SCHEDULES (train/optimizer.h); NULL: not said */
    int hold_fd;          /* descriptor + 1 while held; 0: not */
};

/* Does `base` name a GGUF file (a slash, or .gguf at its end) and not a catalogue entry? NULL: no. */
bool project_base_is_file(const char *base);

int project_open(struct project *p, const char *dir,
                 struct err *e); /* ERR_NOT_FOUND with the hint "edgestill init" */
void project_release(struct project *p);

/* "<dir>/<name>" in the project's arena; NULL when out of memory. */
const char *project_path(struct project *p, const char *name);

/* "edgestill task --accept", with -C <dir> where needed: what to type, for hints. */
const char *project_command(struct project *p, const char *words);
/* The same for accepting what a verb made: "edgestill task --accept", "edgestill plan --accept N". */
const char *project_accept_command(struct project *p, const char *verb);

/* For verbs that write: one at a time in a project (ERR_FAILED otherwise). Held until project_release; ends by itself with
 * the process, however that ends. */
int project_hold(struct project *p, struct err *e);

/* task.yaml or, when `accepted`, only with a task.lock that matches it (ERR_GATE otherwise, naming the command to type). */
int project_task(struct project *p, bool accepted, struct task *out, struct err *e);

/* The accepted plan: plan.yaml with a matching plan.lock; ERR_GATE when absent or void. Fields as in plan/plan.h. */
struct plan;
int project_plan(struct project *p, struct plan *out, struct err *e);

/* Who accepts and corrects: $USER, else the name that the system has for this user; "" when there is none. */
const char *project_user(void);

/* A lock: {"format":"edgestill.lock/1","of":"task.yaml","sha256":...,"accepted_at":...,"by":...,"also":{path: sha256}}.
 * `also` (NULL-terminated, or NULL) binds an acceptance to what it was based on: {"task.yaml", "edgestill.yaml#device"};
 * names as for manifest_input. The check is ERR_GATE when `name` is absent, not accepted, or differs from what was. */
int project_lock_write(struct project *p, const char *name, const char *const also[], struct err *e);
int project_lock_check(struct project *p, const char *name, struct err *e);

#endif
