/* States of the stages: see stages.h. */
#include "cmd/stages.h"

#include "base/file.h"
#include "format/json.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

const struct stage stages[N_STAGES] = {
#define X(verb, gate, manifest, trace) {verb, gate, manifest, trace},
    STAGES(X)
#undef X
};

const char *stage_state_text(enum stage_state s) {
    static const char *const texts[] = {
#define X(name, text) text,
        STAGE_STATES(X)
#undef X
    };
    return texts[s];
}

static void inspect_gate(struct project *p, const struct stage *s, struct stage_report *r) {
    struct err e = {0};
    const char *path = project_path(p, s->gate);
    if (!path || !file_exists(path)) {
        r->state = STAGE_ABSENT;
    } else if (project_lock_check(p, s->gate, &e) < 0) {
        r->state = STAGE_WAITING;
        snprintf(r->reason, sizeof r->reason, "%.*s", (int)sizeof r->reason - 1, e.message);
    } else {
        r->state = STAGE_CURRENT;
    }
}

static int note_one(void *begun, const struct store_count *n, struct err *e) {
    (void)e;
    *(bool *)begun = *(bool *)begun || n->n > 0;
    return 0;
}

/* Did the stage leave anything? The journal alone says nothing of generate: the draft of the task is in it too. */
static bool has_begun(struct project *p, const struct stage *s) {
    const char *trace = project_path(p, s->trace);
    if (!trace || !file_exists(trace))
        return false;
    if (strcmp(s->trace, PROJECT_RECORDS) != 0)
        return true;
    struct store *store = NULL;
    bool begun = false;
    if (store_open(&store, trace, STORE_READ, NULL) < 0 ||
        store_counts_each(store, note_one, &begun, NULL) < 0)
        begun = true; /* something is there, and generate will say what is wrong with it */
    store_close(store);
    return begun;
}

static void inspect_manifest(struct project *p, const struct stage *s, const json_t *upstream,
                             struct stage_report *r) {
    struct str why = {0};
    switch (manifest_state(p->dir, s->manifest, upstream, &why)) {
    case MANIFEST_ABSENT:
        r->state = has_begun(p, s) ? STAGE_UNFINISHED : STAGE_ABSENT;
        break;
    case MANIFEST_STALE:
        r->state = STAGE_STALE;
        snprintf(r->reason, sizeof r->reason, "%s", str_text(&why));
        break;
    case MANIFEST_CURRENT:
        r->state = STAGE_CURRENT;
        break;
    }
    str_release(&why);
}

/* What this stage made, by name, for the inputs of later ones that are not files. */
static void add_outputs(struct project *p, const struct stage *s, json_t *upstream) {
    const char *path = project_path(p, s->manifest);
    json_t *document = NULL;
    if (path && json_file_read(path, &document, NULL) == 0)
        json_object_update(upstream, json_object_get(document, "outputs"));
    json_decref(document);
}

int stages_inspect(struct project *p, struct stage_report *reports, struct err *e) {
    json_t *upstream = json_object();
    if (!upstream)
        return err_set(e, ERR_NO_MEMORY, "stages_inspect", "out of memory");
    const char *behind = NULL; /* the first stage that is not up to date */
    for (int i = 0; i < N_STAGES; i++) {
        struct stage_report *r = &reports[i];
        *r = (struct stage_report){0};
        if (stages[i].gate)
            inspect_gate(p, &stages[i], r);
        else
            inspect_manifest(p, &stages[i], upstream, r);
        if (stages[i].manifest)
            add_outputs(p, &stages[i], upstream);
        if (behind && r->state == STAGE_CURRENT) {
            r->state = STAGE_STALE;
            snprintf(r->reason, sizeof r->reason, "%s before it is not up to date", behind);
        }
        if (!behind && r->state != STAGE_CURRENT)
            behind = stages[i].verb;
    }
    json_decref(upstream);
    return 0;
}
