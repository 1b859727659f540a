/* `edgestill plan`: what fits the device, ranked, with predictions and reasons; --accept N writes plan.yaml and plan.lock. */
#include "base/file.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/plan_show.h"
#include "cmd/plan_text.h"
#include "cmd/project.h"
#include "eval/rows.h"
#include "format/json.h"
#include "format/yaml.h"
#include "plan/host.h"
#include "plan/recommend.h"
#include "teacher/teacher.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option_def options[] = {
    {"base", OPTION_STRING, "NAME",
     "plan for this base: embedded, a name from edgestill models, or a GGUF file", NULL},
    {"accept", OPTION_INT, "N",
     "accept option N of the list: writes plan.yaml and plan.lock (0: plan.yaml as it stands)", NULL},
    {"quantisation", OPTION_STRING, "NAME",
     "only this one: Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_NL, Q4_0, Q3_K_M, Q2_K", NULL},
    {"rank", OPTION_INT, "N", "rank of the LoRA adapters", "16"},
    {"max-latency", OPTION_STRING, "TIME", "longest time for a decision: 500ms, 2s", NULL},
    {"max-memory", OPTION_STRING, "SIZE", "most memory the model may take on the device: 700MB", NULL},
    {"max-size", OPTION_STRING, "SIZE", "largest file", NULL},
    {"max-training", OPTION_STRING, "TIME", "longest time for training here: 30min, 8h", NULL},
    {"budget", OPTION_NUMBER, "USD", "most that the teacher may cost", NULL},
    {"license", OPTION_STRING, "TEXT", "only bases whose licence begins so: apache, mit", NULL},
    {"why", OPTION_FLAG, NULL, "show what every figure rests on", NULL},
    {"all", OPTION_FLAG, NULL, "show every option and every dropped base", NULL},
    {0},
};

static void planning_release(struct planning *p) {
    recommend_release(&p->result);
    plan_feedback_release(&p->feedback);
    catalog_release(&p->catalog);
    task_release(&p->task);
    project_release(&p->project);
}

/* ---- limits ---- */

/* "700MB", "1.5 GB", "500ms", "2s": a number and one of the units. */
static int parse_amount(struct cmd_ctx *c, const char *option, const char *const units[],
                        const double factors[], double *out) {
    const char *text = cmd_string(c, option);
    if (text == NULL)
        return 0;
    char *copy = strdup(text), *end = copy != NULL ? copy + strspn(copy, "0123456789.") : NULL;
    if (copy == NULL)
        return err_set(&c->err, ERR_NO_MEMORY, "plan", "out of memory");
    const char *unit = text + (end - copy) + strspn(text + (end - copy), " ");
    *end = '\0';
    int code = ERR_USAGE;
    for (int i = 0; units[i] != NULL; i++)
        if (strcasecmp(unit, units[i]) == 0 && str_to_double(copy, out) && *out > 0) {
            *out *= factors[i];
            code = 0;
        }
    if (code < 0) {
        err_set(&c->err, ERR_USAGE, "plan", "--%s: '%s' is not an amount", option, text);
        err_hint(&c->err, "for example %s", strcmp(units[0], "s") == 0 ? "500ms or 2s" : "700MB or 1.5GB");
    }
    free(copy);
    return code;
}

static int read_limits(struct cmd_ctx *c, struct recommend_limits *l) {
    static const char *const times[] = {"s", "", "ms", "min", "h", NULL}, *const sizes[] = {"MB", "GB", "KB",
                                                                                            "B",  "",   NULL};
    static const double seconds[] = {1, 1, 1e-3, 60, 3600}, bytes[] = {1e6, 1e9, 1e3, 1, 1};
    int code = parse_amount(c, "max-latency", times, seconds, &l->max_decision_s);
    if (code == 0)
        code = parse_amount(c, "max-memory", sizes, bytes, &l->max_memory_bytes);
    if (code == 0)
        code = parse_amount(c, "max-size", sizes, bytes, &l->max_file_bytes);
    if (code == 0)
        code = parse_amount(c, "max-training", times, seconds, &l->max_train_s);
    l->license = cmd_string(c, "license");
    l->max_money = cmd_number(c, "budget", 0);
    return code;
}

/* ---- accepting ---- */

static const char *const bound_to[] = {"task.yaml", "edgestill.yaml#device", NULL};

/* Is plan.yaml, accepted and not void, the same choice? Then it stays: measuring this machine anew is no new plan. */
static bool accepted_already(struct planning *p, const struct plan *wanted) {
    struct plan now;
    struct err e = {0};
    if (project_plan(&p->project, &now, &e) < 0)
        return false;
    /* plans of before did not say */
    bool steady = (!now.schedule || str_equal(now.schedule, wanted->schedule)) &&
                  (now.warmup < 0 || now.warmup == wanted->warmup);
    bool same = steady && str_equal(now.device, wanted->device) && str_equal(now.base, wanted->base) &&
                str_equal(now.base_path, wanted->base_path) &&
                str_equal(now.quantisation, wanted->quantisation) && now.method == wanted->method &&
                now.rank == wanted->rank && now.alpha == wanted->alpha && now.context == wanted->context &&
                now.ubatch == wanted->ubatch && now.threads == wanted->threads &&
                now.kv_type == wanted->kv_type && now.label_scoring == wanted->label_scoring &&
                now.prefix_state == wanted->prefix_state && now.trim_vocabulary == wanted->trim_vocabulary;
    plan_release(&now);
    return same;
}

static int write_plan(struct planning *p, const struct plan *plan, struct err *e) {
    struct str text = {0};
    int code = plan_to_yaml(plan, &text, e);
    if (code == 0)
        code = file_write(project_path(&p->project, "plan.yaml"), text.data, text.len, e);
    if (code == 0)
        code = project_lock_write(&p->project, "plan.yaml", bound_to, e);
    str_release(&text);
    return code;
}

static int accept_option(struct cmd_ctx *c, struct planning *p, int64_t number) {
    const struct recommendation *r = &p->result;
    if (number < 1 || number > r->n_fit) {
        err_set(&c->err, ERR_USAGE, "plan", "--accept %lld: there are options 1 to %lld", (long long)number,
                (long long)r->n_fit);
        return err_hint(&c->err, "%s shows them", project_command(&p->project, "plan"));
    }
    struct plan plan;
    int code = recommend_plan(&p->input, &r->list[number - 1], &plan, &c->err);
    if (code < 0)
        return code;
    bool same = accepted_already(p, &plan);
    if (!same)
        code = write_plan(p, &plan, &c->err);
    if (code == 0) {
        cmd_print(c, "\n%s as %s %s.\n", plan.base, plan.quantisation,
                  same ? "was accepted before" : "is accepted: plan.yaml");
        json_object_set_new(c->result, "accepted", json_integer(number));
        json_object_set_new(c->result, "changed", json_boolean(!same));
    }
    plan_release(&plan);
    return code;
}

/* --accept 0: the user edited plan.yaml; check it and take it as it stands. */
static int accept_file(struct cmd_ctx *c, struct planning *p) {
    const char *path = project_path(&p->project, "plan.yaml");
    struct node *root = NULL;
    struct plan plan;
    enum mix mix = MIX_F16;
    struct str base = {0};
    int code = yaml_node_read(&p->project.arena, path, &root, &c->err);
    if (code == 0)
        code = plan_from_node(&plan, root, &c->err);
    if (code < 0)
        return code;
    if (!str_equal(plan.device, p->device->name)) {
        code = err_set(&c->err, ERR_INPUT, "plan", "%s is for %s, the project is for %s", path, plan.device,
                       p->device->name);
        err_hint(&c->err, "choose again: %s", project_command(&p->project, "plan"));
    } else if (!mix_from_name(plan.quantisation, &mix)) {
        code =
            err_set(&c->err, ERR_INPUT, "plan", "%s: there is no quantisation '%s'", path, plan.quantisation);
    } else {
        code = plan_base_file(&plan, &base, &c->err);
    }
    if (code == 0)
        code = project_lock_write(&p->project, "plan.yaml", bound_to, &c->err);
    if (code == 0)
        cmd_print(c, "%s is accepted as it stands.\n", path);
    str_release(&base);
    plan_release(&plan);
    return code;
}

/* ---- the verb ---- */

/* A base named on the command line is relative to where the user stands, not to the project. */
static const char *wished_base(struct cmd_ctx *c, const struct planning *p) {
    const char *base = cmd_string(c, "base");
    return base != NULL ? base : p->project.base;
}

static int prepare(struct cmd_ctx *c, struct planning *p) {
    int code = read_limits(c, &p->input.limits);
    if (code == 0 && (cmd_int(c, "rank", 16) < 1 || cmd_int(c, "rank", 16) > 256))
        code = err_set(&c->err, ERR_USAGE, "plan", "--rank must be 1 to 256");
    if (code == 0)
        code = project_open(&p->project, c->project_dir, &c->err);
    if (code == 0)
        code = project_task(&p->project, true, &p->task, &c->err);
    if (code == 0)
        code = catalog_load(&p->catalog, p->project.dir, &c->err);
    if (code == 0)
        code = catalog_device_find(&p->catalog, p->project.device, &p->device, &c->err);
    return code;
}

/* Is there anything to accept, and of the base that was asked for? */
static int check_wish(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    if (p->input.base != NULL)
        for (int64_t i = r->n_fit; i < r->n; i++)
            if (r->list[i].wished) {
                err_set(&c->err, ERR_UNSUPPORTED, "plan", "the base %s cannot be used: %s", r->list[i].base,
                        r->list[i].dropped);
                return err_hint(&c->err,
                                "choose another: edgestill plan --base NAME, edgestill models lists them");
            }
    if (r->n_fit > 0)
        return 0;
    err_set(&c->err, ERR_UNSUPPORTED, "plan", "nothing fits %s within these limits", p->device->title);
    if (r->nearest == NULL)
        return err_hint(&c->err, "the list of what was dropped says why; --all shows all of it");
    return err_hint(&c->err, "the nearest is %s as %s: it needs %.2f times what is allowed (%s)",
                    r->nearest->title, mix_name(r->nearest->mix), r->nearest->excess, r->nearest->dropped);
}

/* An earlier acceptance that no longer holds is not passed over in silence. */
static void say_if_void(struct cmd_ctx *c, struct planning *p) {
    const char *lock = project_path(&p->project, "plan.lock");
    struct err gate = {0};
    bool is_void =
        lock != NULL && file_exists(lock) && project_lock_check(&p->project, "plan.yaml", &gate) < 0;
    if (is_void)
        cmd_print(c, "The accepted plan is void: %s\n\n", gate.message);
    json_object_set_new(c->result, "void", is_void ? json_string(gate.message) : json_null());
}

/* What eval found for the plan that is accepted now; nothing where it has not run or was of another plan. */
static void read_measured(struct planning *p) {
    struct plan now;
    struct err e = {0};
    json_t *summary = NULL;
    const char *path = project_path(&p->project, "eval/summary.json");
    if (path == NULL || !file_exists(path) || project_plan(&p->project, &now, &e) < 0)
        return;
    if (json_file_read(path, &summary, &e) == 0) {
        const json_t *j = json_object_get(summary, "student_quant");
        struct accuracy_measured m = {.base = arena_strdup(&p->project.arena, now.base),
                                      .quantisation = arena_strdup(&p->project.arena, now.quantisation),
                                      .value = json_number_value(json_object_get(j, "accuracy")),
                                      .low = json_number_value(json_object_get(j, "low")),
                                      .high = json_number_value(json_object_get(j, "high")),
                                      .n_rows = json_integer_value(json_object_get(j, "n"))};
        p->measured = m;
        if (m.value > 0 && m.n_rows > 0 && m.base != NULL && m.quantisation != NULL)
            p->input.measured = &p->measured;
    }
    json_decref(summary);
    plan_release(&now);
}

/* How many records there will be: all of one's own rows; beside a teacher, who fills up what they lack, at least as many as
 * asked for. Rows that cannot be read are for `generate` to refuse. */
static int64_t expected_records(struct planning *p) {
    const struct project_data *d = &p->project.data;
    struct rows own;
    struct err e = {0};
    if (!d->path)
        return p->project.n_records;
    if (rows_read(&own, &p->task, d->path, &(struct rows_options){.label_column = d->label}, &e) < 0) {
        log_warn("%s (planned with %lld records)", e.message, (long long)p->project.n_records);
        return p->project.n_records;
    }
    int64_t n = p->n_own = own.n;
    rows_release(&own);
    return str_equal(p->project.teacher.kind, "none") || n > p->project.n_records ? n : p->project.n_records;
}

static int plan_with(struct cmd_ctx *c, struct planning *p) {
    int64_t accept = cmd_int(c, "accept", -1);
    int code = prepare(c, p);
    if (code == 0 && accept >= 0)
        code = project_hold(&p->project, &c->err);
    if (code < 0 || accept == 0)
        return code < 0 ? code : accept_file(c, p);
    if ((code = host_measure(&p->host, &c->err)) < 0)
        return code;
    p->input.catalog = &p->catalog;
    p->input.device = p->device;
    p->input.task = &p->task;
    p->input.host = &p->host;
    p->input.base = wished_base(c, p);
    p->input.mix = cmd_string(c, "quantisation");
    p->input.rank = (int)cmd_int(c, "rank", 16);
    p->input.schedule = p->project.schedule;
    p->input.n_records = expected_records(p);
    read_measured(p);
    if ((code = plan_quote(c, p)) < 0 ||
        (code = plan_feedback_read(&p->project, &p->catalog, p->device, &p->feedback, &c->err)) < 0)
        return code;
    p->input.feedback = p->feedback.found ? &p->feedback.run : NULL;
    if ((code = recommend(&p->input, &p->result, &c->err)) < 0)
        return code;
    say_if_void(c, p);
    plan_show_result(c, p);
    plan_show(c, p);
    if ((code = check_wish(c, p)) < 0)
        return code;
    if (accept > 0)
        return accept_option(c, p, accept);
    cmd_print(c, "\nAccept one: %s\n", project_accept_command(&p->project, "plan"));
    return 0;
}

static int run_plan(struct cmd_ctx *c) {
    struct planning p = {0};
    int code = plan_with(c, &p);
    planning_release(&p);
    return code;
}

const struct verb verb_plan = {"plan",
                               "recommend base, method, quantisation and settings for the device; accept one",
                               "[options]", options, run_plan};
