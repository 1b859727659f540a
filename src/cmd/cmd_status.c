/* `edgestill status`: where a project stands, stage by stage, and what to type next. Reads only. */
#include "cmd/cmd.h"
#include "cmd/stages.h"
#include "format/json.h"

#include <string.h>

static json_t *stage_json(const struct stage *s, const struct stage_report *r) {
    json_t *o = json_pack("{s:s, s:s}", "stage", s->verb, "state", stage_state_text(r->state));
    if (r->reason[0])
        json_object_set_new(o, "reason", json_lossy_string(r->reason));
    return o;
}

/* What to type for the first stage that is not up to date; NULL when all are. */
static const char *next_command(struct project *p, const struct stage_report *reports) {
    for (int i = 0; i < N_STAGES; i++) {
        if (reports[i].state == STAGE_CURRENT)
            continue;
        bool accept = reports[i].state == STAGE_WAITING;
        return accept ? project_accept_command(p, stages[i].verb) : project_command(p, stages[i].verb);
    }
    return NULL;
}

static int run_status(struct cmd_ctx *c) {
    struct project p;
    int code = project_open(&p, c->project_dir, &c->err);
    if (code < 0)
        return code;
    struct stage_report reports[N_STAGES];
    code = stages_inspect(&p, reports, &c->err);
    json_t *list = json_array();
    cmd_print(c, "%s\ndevice %s, base %s\n\n", p.sentence, p.device, p.base ? p.base : "chosen by the plan");
    for (int i = 0; code == 0 && i < N_STAGES; i++) {
        const struct stage_report *r = &reports[i];
        json_array_append_new(list, stage_json(&stages[i], r));
        cmd_print(c, "  %-10s %s%s%s\n", stages[i].verb, stage_state_text(r->state), r->reason[0] ? ": " : "",
                  r->reason);
    }
    json_object_set_new(c->result, "stages", list);
    const char *next = code == 0 ? next_command(&p, reports) : NULL;
    if (next)
        json_object_set_new(c->result, "next", json_string(next));
    if (code == 0)
        cmd_print(c, "\n%s%s\n", next ? "Next: " : "Everything is up to date.", next ? next : "");
    project_release(&p);
    return code;
}

const struct verb verb_status = {"status", "show where a project stands and what to type next", "[options]",
                                 NULL, run_status};
