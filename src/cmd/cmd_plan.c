/* `edgestill plan`: what fits the device, ranked, with predictions and reasons; --accept N writes plan.yaml and plan.lock. */
#include "base/file.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/plan_feedback.h"
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

enum { SHOWN = 6, SHOWN_WISHED = 4, SHOWN_DROPPED = 6 };

/* What one run of the verb holds. */
struct planning {
    struct project project;
    struct task task;
    struct catalog catalog;
    const struct catalog_device *device;
    struct predict_host host;
    struct predict_price price;
    struct accuracy_measured measured;
    struct plan_feedback feedback;
    struct recommend_input input;
    struct recommendation result;
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

/* ---- showing ---- */

static void show_option(struct cmd_ctx *c, int64_t number, const struct candidate *o) {
    struct str size = {0}, memory = {0}, decision = {0};
    const struct plan_prediction *p = &o->predicted;
    plan_text_value(&size, p->file_bytes.value, "bytes");
    plan_text_value(&memory, p->memory_bytes.value, "bytes");
    plan_text_value(&decision, p->decision_s.value, "s");
    str_add(&decision, " (");
    plan_text_value(&decision, p->decision_s.low, "s");
    str_add(&decision, " to ");
    plan_text_value(&decision, p->decision_s.high, "s");
    str_add(&decision, ")");
    char train[32];
    cmd_print(c, "%3lld%s %-22s %-7s %4.0f%% %8s %8s  %-26s %6.0f %6.0f %12s  %s%s%s\n", (long long)number,
              o->on_front ? "*" : " ", o->base, mix_name(o->mix), 100 * p->accuracy.value, str_text(&size),
              str_text(&memory), str_text(&decision), p->prefill_tps.value, p->decode_tps.value,
              str_duration(train, sizeof train, p->train_s.value), o->path != NULL ? "ready" : "needs pull",
              o->tight ? ", tight" : "", o->method == PLAN_FULL ? ", full" : "");
    str_release(&size);
    str_release(&memory);
    str_release(&decision);
}

static void show_why(struct cmd_ctx *c, const struct candidate *o) {
#define X(name, text, unit)                                                                                  \
    if (o->predicted.name.value > 0) {                                                                       \
        struct str line = {0};                                                                               \
        plan_text_estimate(&line, &o->predicted.name, unit);                                                 \
        cmd_print(c, "       %s: %s\n         %s\n", text, str_text(&line), o->predicted.name.basis);        \
        str_release(&line);                                                                                  \
    }
    PLAN_PREDICTIONS(X)
#undef X
    cmd_print(c,
              "       settings: context %lld, ubatch %lld, %d threads, cache %s, labels %s, prefix %s, "
              "vocabulary %s\n",
              (long long)o->context, (long long)o->ubatch, o->threads, plan_kv_type_text(o->kv_type),
              o->label_scoring ? "scored" : "written", o->prefix_state ? "kept" : "read each time",
              o->trim ? "cut to the task's" : "whole");
}

/* What the teacher and the disk will be asked for. */
static void show_costs(struct cmd_ctx *c, const struct planning *p) {
    const struct predict_teacher *t = &p->result.teacher;
    if (t->calls.value <= 0)
        return;
    struct str time = {0};
    plan_text_estimate(&time, &t->seconds, "s");
    cmd_print(c, "The teacher: %.0f calls (%.0f to %.0f), %.2g million tokens, ", t->calls.value,
              t->calls.low, t->calls.high, t->tokens.value / 1e6);
    if (t->money.value > 0)
        cmd_print(c, "%.2f US dollars (%.2f to %.2f), ", t->money.value, t->money.low, t->money.high);
    else
        cmd_print(c, "%s, ", t->money.basis);
    cmd_print(c, "%s\n", str_text(&time));
    if (cmd_flag(c, "why"))
        cmd_print(c, "  %s; %s; %s\n", t->calls.basis, t->money.basis, t->seconds.basis);
    str_release(&time);
}

/* Where the figures above the list come from. */
static void show_head_why(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    const struct predict_task *t = r->n_fit > 0 ? &r->list[0].tokens : NULL;
    if (r->memory_mb.known)
        cmd_print(c, "  memory: %.0f MB (%s) less what the system keeps: %s\n", r->memory_mb.value,
                  r->memory_mb.source, r->reserved.basis);
    if (t != NULL)
        cmd_print(c, "  tokens: of the task's prompt and a typical record, %s\n",
                  t->counted ? "counted with the vocabulary of the first option's base"
                             : "estimated from the text's length");
    if (p->host.macs_per_s > 0)
        cmd_print(c,
                  "  this machine: a product of two matrices of side %.0f, measured just now; %.0f MB of "
                  "memory available\n",
                  p->host.measured_size, p->host.memory_bytes / 1e6);
    cmd_print(c, "  reading: %s\n  writing: %s\n", r->rates.read_basis, r->rates.write_basis);
}

static void show_head(struct cmd_ctx *c, const struct planning *p) {
    char free_text[32], reserved[32];
    const struct recommendation *r = &p->result;
    if (r->free_bytes > 0)
        cmd_print(c, "%s: %s free for the model (the system keeps about %s)\n", p->device->title,
                  str_bytes(free_text, sizeof free_text, (int64_t)r->free_bytes),
                  str_bytes(reserved, sizeof reserved, (int64_t)r->reserved.value));
    else
        cmd_print(c, "%s: how much memory it has is not known; state it in a catalogue entry of your own\n",
                  p->device->title);
    if (p->feedback.found)
        cmd_print(c, "Speeds and memory follow what the device measured (%s).\n", p->feedback.run.source);
    if (p->feedback.unused.len > 0)
        cmd_print(c, "%s", str_text(&p->feedback.unused));
    if (r->n_fit > 0) {
        const struct predict_task *t = &r->list[0].tokens;
        cmd_print(c, "One decision reads %lld tokens, %lld of them the same each time and kept.\n",
                  (long long)(t->prefix_tokens + t->record_tokens), (long long)t->prefix_tokens);
    }
    if (p->host.macs_per_s > 0)
        cmd_print(c, "This machine multiplies %.3g GMAC/s on %d threads.\n", p->host.macs_per_s / 1e9,
                  p->host.threads);
    if (p->host.others > HOST_BUSY)
        cmd_print(
            c,
            "Other programs had %.0f%% of its processors while that was measured: times of training are "
            "for a machine as busy as that.\n",
            100 * p->host.others);
    if (cmd_flag(c, "why"))
        show_head_why(c, p);
    show_costs(c, p);
}

/* What was dropped, and with --why what the figure that dropped it rests on. */
static void show_dropped(struct cmd_ctx *c, const struct candidate *o) {
    cmd_print(c, "     %-24s %-7s %s\n", o->base, o->mix < N_MIXES ? mix_name(o->mix) : "", o->dropped);
    const struct estimate *x = o->dropped_by != NULL ? o->dropped_by : NULL;
    if (cmd_flag(c, "why") && x != NULL && x->basis != NULL)
        cmd_print(c, "       %s\n", x->basis);
}

static void show_schedule(struct cmd_ctx *c, const struct planning *p) {
    json_t *j = plan_json_schedule(p->input.schedule);
    cmd_print(c, "     learning rate: %s after a warm-up of %g of the steps; %s\n",
              json_string_value(json_object_get(j, "shape")), json_number_value(json_object_get(j, "warmup")),
              json_string_value(json_object_get(j, "reason")));
    json_decref(j);
}

static void show(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    bool all = cmd_flag(c, "all"), why = cmd_flag(c, "why");
    show_head(c, p);
    if (r->n_fit > 0)
        cmd_print(c, "\n%3s  %-22s %-7s %5s %8s %8s  %-26s %6s %6s %12s  state\n", "", "base", "mix", "right",
                  "file", "memory", "one decision", "reads", "writes", "training");
    int64_t hidden = 0, shown_wished = 0, shown_others = 0;
    for (int64_t i = 0; i < r->n_fit; i++) {
        int64_t *shown = r->list[i].wished ? &shown_wished : &shown_others;
        if (!all && *shown >= (r->list[i].wished ? SHOWN_WISHED : SHOWN)) {
            hidden++;
            continue;
        }
        ++*shown;
        show_option(c, i + 1, &r->list[i]);
        if (why)
            show_why(c, &r->list[i]);
    }
    if (hidden > 0)
        cmd_print(c, "     %lld more with --all\n", (long long)hidden);
    if (r->n_fit > 0) {
        cmd_print(
            c,
            "     method: LoRA of rank %lld on all linear layers, or full; reads and writes in tokens/s\n"
            "     * nothing else is as good in accuracy, latency, memory and training; right: expected "
            "accuracy, "
            "a guess until eval\n",
            (long long)cmd_int(c, "rank", 16));
        show_schedule(c, p);
        cmd_print(c, "\n1: %s\n", r->list[0].reason);
        if (why)
            cmd_print(c,
                      "   perplexity: published for Llama-3-8B in llama.cpp, tools/quantize/quantize.cpp\n");
    }
    if (r->n > r->n_fit)
        cmd_print(c, "\ndropped:\n");
    for (int64_t i = r->n_fit; i < r->n && (all || i < r->n_fit + SHOWN_DROPPED); i++)
        show_dropped(c, &r->list[i]);
    if (r->n - r->n_fit > SHOWN_DROPPED && !all)
        cmd_print(c, "     %lld more with --all\n", (long long)(r->n - r->n_fit - SHOWN_DROPPED));
}

/* ---- the --json document ---- */

static json_t *option_json(int64_t number, const struct candidate *o) {
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:b, s:b}", "base", o->base, "title", o->title, "license",
                  o->license != NULL ? o->license : "unknown", "here", o->path != NULL, "tight", o->tight);
    if (o->dropped != NULL) {
        json_object_set_new(j, "dropped", json_string(o->dropped));
        if (o->mix == N_MIXES)
            return j;
    } else {
        json_object_set_new(j, "option", json_integer(number));
        json_object_set_new(j, "reason", json_string(o->reason));
    }
    json_object_set_new(j, "quantisation", json_string(mix_name(o->mix)));
    json_object_set_new(j, "method", json_string(plan_method_text(o->method)));
    json_object_set_new(j, "front", json_boolean(o->on_front));
    json_object_set_new(j, "kv_type", json_string(plan_kv_type_text(o->kv_type)));
    json_object_set_new(j, "label_scoring", json_boolean(o->label_scoring));
    json_object_set_new(j, "prefix_state", json_boolean(o->prefix_state));
    json_object_set_new(j, "trim_vocabulary", json_boolean(o->trim));
    json_object_set_new(j, "context", json_integer(o->context));
    json_object_set_new(j, "ubatch", json_integer(o->ubatch));
    json_object_set_new(j, "threads", json_integer(o->threads));
    json_object_set_new(j, "predicted", plan_json_prediction(&o->predicted));
    return j;
}

static void fill_result(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    json_t *list = json_array(), *dropped = json_array();
    for (int64_t i = 0; i < r->n; i++)
        json_array_append_new(i < r->n_fit ? list : dropped, option_json(i + 1, &r->list[i]));
    json_object_set_new(c->result, "device", json_string(p->device->name));
    json_object_set_new(c->result, "free_bytes", r->free_bytes > 0 ? json_real(r->free_bytes) : json_null());
    json_object_set_new(c->result, "sources",
                        json_pack("{s:s, s:s, s:s, s:s, s:s}", "memory",
                                  r->memory_mb.known ? r->memory_mb.source : "not known", "reserved",
                                  r->reserved.basis, "reads", r->rates.read_basis, "writes",
                                  r->rates.write_basis, "tokens",
                                  r->n_fit > 0 && r->list[0].tokens.counted ? "counted" : "estimated"));
    json_object_set_new(c->result, "feedback",
                        p->feedback.found ? json_string(p->feedback.run.source) : json_null());
    json_object_set_new(c->result, "host_macs_per_s", json_real(p->host.macs_per_s));
    json_object_set_new(c->result, "host_used_by_others", json_real(p->host.others));
    json_object_set_new(c->result, "considered", json_integer(r->n_considered));
    json_object_set_new(c->result, "records", json_integer(p->input.n_records));
    json_object_set_new(c->result, "schedule", plan_json_schedule(p->input.schedule));
    json_object_set_new(c->result, "teacher",
                        r->teacher.calls.value > 0
                            ? json_pack("{s:o, s:o, s:o, s:o}", "calls",
                                        plan_json_estimate(&r->teacher.calls, "calls"), "tokens",
                                        plan_json_estimate(&r->teacher.tokens, "tokens"), "money",
                                        plan_json_estimate(&r->teacher.money, "USD"), "seconds",
                                        plan_json_estimate(&r->teacher.seconds, "s"))
                            : json_null());
    json_object_set_new(c->result, "nearest", r->nearest != NULL ? option_json(0, r->nearest) : json_null());
    json_object_set_new(c->result, "options", list);
    json_object_set_new(c->result, "dropped", dropped);
    json_object_set_new(c->result, "accepted", json_null());
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

/* The embedded teacher is free; without a teacher nobody is asked; others cost what is published. */
static void set_price(struct planning *p) {
    const struct project_teacher *t = &p->project.teacher;
    if (str_equal(t->kind, "none"))
        return;
    p->price = (struct predict_price){.known = true, .parallel = t->parallel > 0 ? (int)t->parallel : 4};
    if (str_equal(t->kind, "openai")) {
        struct teacher_price price = teacher_list_price(t->model);
        p->price.known = price.known;
        p->price.in = price.in;
        p->price.out = price.out;
    }
    p->input.price = &p->price;
}

/* How many records there will be: all of one's own rows; beside a teacher, who fills up what they lack, at least as many as asked for. Rows
 * that cannot be read are for `generate` to refuse. */
static int64_t expected_records(const struct planning *p) {
    const struct project_data *d = &p->project.data;
    struct rows own;
    struct err e = {0};
    if (!d->path)
        return p->project.n_records;
    if (rows_read(&own, &p->task, d->path, &(struct rows_options){.label_column = d->label}, &e) < 0) {
        log_warn("%s (planned with %lld records)", e.message, (long long)p->project.n_records);
        return p->project.n_records;
    }
    int64_t n = own.n;
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
    set_price(p);
    read_measured(p);
    if ((code = plan_feedback_read(&p->project, &p->catalog, p->device, &p->feedback, &c->err)) < 0)
        return code;
    p->input.feedback = p->feedback.found ? &p->feedback.run : NULL;
    if ((code = recommend(&p->input, &p->result, &c->err)) < 0)
        return code;
    say_if_void(c, p);
    fill_result(c, p);
    show(c, p);
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
