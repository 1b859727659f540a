/* `edgestill run`: the whole chain in one process, each step the verb that a user would type. It stops at the gates, where
 * the user must look at the task and the plan, unless --yes accepts them unseen. */
#include "base/clock.h"
#include "base/interrupt.h"
#include "cmd/cmd.h"
#include "cmd/stages.h"
#include "cmd/verbs.h"

#include <string.h>

enum { MOST_ARGUMENTS = 20 };

static const struct option_def options[] = {
    {"yes", OPTION_FLAG, NULL,
     "accept the task and the first plan without looking, and the teacher's cost within its cap", NULL},
    {"budget", OPTION_NUMBER, "USD", "hard cap on what a paid teacher may cost in all", NULL},
    {"price-in", OPTION_NUMBER, "USD", "the teacher's price for a million tokens read", NULL},
    {"price-out", OPTION_NUMBER, "USD", "the teacher's price for a million tokens written", NULL},
    {"until", OPTION_STRING, "VERB", "stop after this stage", "bundle"},
    {"rounds", OPTION_INT, "N",
     "after training: at most N smaller rounds of records from where the student is wrong, each followed by "
     "training",
     "0"},
    {"least-gain", OPTION_NUMBER, "X",
     "what a round must bring for another to follow: points of validation accuracy for a dollar, or for 100 "
     "records "
     "where the teacher costs nothing",
     "1"},
    {0},
};

static bool has_option(const struct verb *v, const char *name) {
    for (const struct option_def *o = v->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

/* One verb, as if typed, with `more` (NULL-terminated; NULL: none) after what all get. */
static int run_verb(struct cmd_ctx *c, const char *verb, const char *const more[]) {
    const struct verb *v = verbs_find(verb);
    const char *argv[MOST_ARGUMENTS] = {verb, "--project", c->project_dir};
    int argc = 3;
    if (c->json)
        argv[argc++] = "--json";
    if (c->quiet)
        argv[argc++] = "--quiet";
    if (cmd_flag(c, "yes") && v && has_option(v, "yes"))
        argv[argc++] = "--yes";
    static const char *const passed[][2] = {
        {"budget", "--budget"}, {"price-in", "--price-in"}, {"price-out", "--price-out"}};
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (cmd_string(c, passed[i][0]) && v && has_option(v, passed[i][0])) {
            argv[argc++] = passed[i][1];
            argv[argc++] = cmd_string(c, passed[i][0]);
        }
    for (; more && *more; more++)
        argv[argc++] = *more;
    double start = clock_seconds();
    json_t *result = NULL;
    int code = cmd_run_verb(argc, argv, &result, &c->err);
    json_t *step = json_pack("{s:s, s:b, s:f, s:o?}", "verb", verb, "ok", code == 0, "seconds",
                             clock_seconds() - start, "result", result);
    json_array_append_new(json_object_get(c->result, "steps"), step);
    return code;
}

/* `accept` adds --accept and, for the plan, which one. */
static int run_step(struct cmd_ctx *c, const struct stage *s, bool accept) {
    bool plan = strcmp(s->verb, "plan") == 0;
    const char *const accepted[] = {"--accept", plan ? "1" : NULL, NULL};
    return run_verb(c, s->verb, accept ? accepted : NULL);
}

/* What the latest step reported of its round: is there one to train on? */
static bool has_round(struct cmd_ctx *c) {
    const json_t *steps = json_object_get(c->result, "steps");
    const json_t *latest = json_array_get(steps, json_array_size(steps) - 1);
    const json_t *round = json_object_get(json_object_get(latest, "result"), "round");
    return !json_object_get(round, "stopped");
}

/* More records where the student is wrong, and the student trained on them, until generate sees no sense in another round. */
static int run_rounds(struct cmd_ctx *c) {
    const char *const more[] = {"--where-wrong",
                                "--rounds",
                                cmd_string(c, "rounds"),
                                "--least-gain",
                                cmd_string(c, "least-gain"),
                                NULL};
    int code = 0;
    for (int64_t i = cmd_int(c, "rounds", 0); code == 0 && i > 0; i--) {
        cmd_print(c, "\n== where the student is wrong ==\n");
        code = run_verb(c, "generate", more);
        if (code < 0 || !has_round(c))
            return code;
        code = run_verb(c, "train", NULL);
        if (code == 0)
            code = interrupt_check(&c->err);
    }
    return code;
}

/* The state of one stage now: the project is opened anew, because the verb before may have changed it. */
static int inspect(struct cmd_ctx *c, int index, struct stage_report *out) {
    struct project p;
    int code = project_open(&p, c->project_dir, &c->err);
    if (code < 0)
        return code;
    struct stage_report reports[N_STAGES];
    code = stages_inspect(&p, reports, &c->err);
    *out = reports[index];
    project_release(&p);
    return code;
}

static int stop_at_gate(struct cmd_ctx *c, const struct stage *s) {
    struct project p;
    int code = project_open(&p, c->project_dir, &c->err);
    if (code < 0)
        return code;
    bool plan = strcmp(s->verb, "plan") == 0;
    code = err_set(&c->err, ERR_GATE, "run", "the %s waits for your acceptance", s->verb);
    err_hint(&c->err, "look at it; accept it: %s%s; go on: %s (--yes accepts without asking)",
             project_command(&p, plan ? "plan --accept 1" : "task --accept"),
             plan ? ", or another option's number" : "", project_command(&p, "run"));
    project_release(&p);
    return code;
}

/* A stage with a gate: make what is to be accepted where there is none, then accept it or stop. */
static int run_gate(struct cmd_ctx *c, int index) {
    const struct stage *s = &stages[index];
    struct stage_report now;
    int code = inspect(c, index, &now);
    if (code == 0 && now.state == STAGE_CURRENT) {
        cmd_print(c, "%s is accepted.\n", s->gate);
        return 0;
    }
    if (code == 0)
        code = run_step(c, s, false);
    if (code == 0)
        code = inspect(c, index, &now);
    if (code < 0 || now.state == STAGE_CURRENT)
        return code;
    return cmd_flag(c, "yes") ? run_step(c, s, true) : stop_at_gate(c, s);
}

static int find_stage(struct cmd_ctx *c, const char *name) {
    const char *names[N_STAGES + 1] = {0};
    for (int i = 0; i < N_STAGES; i++) {
        if (strcmp(stages[i].verb, name) == 0)
            return i;
        names[i] = stages[i].verb;
    }
    int code = err_set(&c->err, ERR_USAGE, "run", "--until: there is no stage \"%s\"", name);
    const char *near = str_nearest(name, names);
    if (near)
        err_hint(&c->err, "did you mean %s?", near);
    return code;
}

static int run_run(struct cmd_ctx *c) {
    int last = find_stage(c, cmd_string(c, "until"));
    if (last < 0)
        return last;
    json_object_set_new(c->result, "steps", json_array());
    int code = 0;
    for (int i = 0; code == 0 && i <= last; i++) {
        cmd_print(c, "%s== %d of %d: %s ==\n", i ? "\n" : "", i + 1, last + 1, stages[i].verb);
        code = stages[i].gate ? run_gate(c, i) : run_step(c, &stages[i], false);
        if (code == 0 && strcmp(stages[i].verb, "train") == 0)
            code = run_rounds(c);
        if (code == 0)
            code = interrupt_check(&c->err);
    }
    return code;
}

const struct verb verb_run = {"run", "run the whole chain; stop where your acceptance is needed", "[options]",
                              options, run_run};
