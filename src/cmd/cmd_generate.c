/* `edgestill generate`: records for training, validation and test: own rows where there are any, the rest from the teacher,
 * every label its number. Waits for the accepted task and plan; says what it will cost before it costs anything. */
#include "base/file.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "cmd/rehearse.h"
#include "cmd/teaching.h"
#include "plan/plan.h"
#include "synth/generate.h"
#include "synth/own.h"
#include <string.h>

static const struct option_def options[] = {
    {"records", OPTION_INT, "N", "accepted records wanted (default: as edgestill.yaml says)", NULL},
    {"per-call", OPTION_INT, "N", "records asked for in one question", "4"},
    {"split", OPTION_STRING, "A/B/C", "percent for training, validation and test", "80/10/10"},
    {"balance", OPTION_FLAG, NULL, "of own rows train on as many of every label as of the rarest", NULL},
    {"quote", OPTION_FLAG, NULL, "say what it would cost and stop", NULL},
    TEACHING_OPTIONS,
    {0},
};

struct generating {
    struct cmd_ctx *c;
    struct project project;
    struct task task;
    struct store *store;
    struct teacher *teacher; /* NULL: own rows alone */
    struct rows held_out;
    struct manifest manifest;
    struct generate_options o;
    bool has_teacher;
};

/* ---- settings ---- */

static int read_options(struct generating *g) {
    struct cmd_ctx *c = g->c;
    g->o.n_records = cmd_int(c, "records", g->project.n_records);
    g->o.per_call = (int)cmd_int(c, "per-call", 4);
    g->o.seed = g->project.seed;
    g->o.has_shares = true;
    g->has_teacher = strcmp(g->project.teacher.kind, "none") != 0;
    if (g->o.n_records < 1 || g->o.n_records > 10000000)
        return err_set(&c->err, ERR_USAGE, "generate", "--records must be from 1 to 10000000");
    if (g->o.per_call < 1 || g->o.per_call > 32)
        return err_set(&c->err, ERR_USAGE, "generate", "--per-call must be from 1 to 32");
    if (!g->has_teacher && !g->project.data.path) {
        err_set(&c->err, ERR_INPUT, "generate", "this project has neither a teacher nor rows of its own");
        return err_hint(&c->err, "name one of them in edgestill.yaml: teacher: or data: path:");
    }
    return split_shares_parse(cmd_string(c, "split"), &g->o.shares, &c->err);
}

/* A file of edgestill.yaml as the manifest names it: below the project folder, or absolute. */
static const char *below(const struct project *p, const char *path) {
    size_t n = strlen(p->dir);
    while (n > 0 && p->dir[n - 1] == '/')
        n--;
    if (path[0] == '/' || n == 0 || strncmp(path, p->dir, n) != 0 || path[n] != '/')
        return path;
    return path + n + strspn(path + n, "/");
}

/* What the records depend on; the plan is a gate, not an ingredient. */
static int describe(struct generating *g) {
    struct err *e = &g->c->err;
    struct manifest *m = &g->manifest;
    const struct project_data *d = &g->project.data;
    int code = manifest_init(m, g->project.dir, "generate", MANIFEST_GENERATE, e);
    if (code == 0)
        code = manifest_input(m, "task.yaml", e);
    if (code == 0)
        code = manifest_input(m, "edgestill.yaml#teacher", e);
    if (code == 0)
        code = manifest_input(m, "edgestill.yaml#records", e);
    if (code == 0)
        code = manifest_input(m, "edgestill.yaml#seed", e);
    if (code == 0 && d->path)
        code = manifest_input(m, below(&g->project, d->path), e);
    if (code == 0 && d->eval_path)
        code = manifest_input(m, below(&g->project, d->eval_path), e);
    if (code < 0)
        return code;
    manifest_seed(m, g->o.seed);
    manifest_setting(m, "records", json_integer(g->o.n_records));
    manifest_setting(m, "per_call", json_integer(g->o.per_call));
    manifest_setting(m, "split", json_string(cmd_string(g->c, "split")));
    manifest_setting(m, "balance", json_boolean(cmd_flag(g->c, "balance")));
    return 0;
}

static int hash_outputs(struct generating *g) {
    static const enum store_split splits[] = {STORE_TRAIN, STORE_VALIDATION, STORE_TEST};
    int code = 0;
    for (size_t i = 0; i < sizeof splits / sizeof *splits && code == 0; i++) {
        char name[32], hex[SHA256_HEX];
        snprintf(name, sizeof name, "records:%s", store_split_text(splits[i]));
        code = store_records_hash(g->store, splits[i], hex, &g->c->err);
        if (code == 0)
            manifest_output_hash(&g->manifest, name, hex);
    }
    return code;
}

/* ---- what there is, for people and programs ---- */

static void add(json_t *map, const char *key, int64_t n) {
    json_object_set_new(map, key, json_integer(json_integer_value(json_object_get(map, key)) + n));
}

static int count(void *context, const struct store_count *n, struct err *e) {
    (void)e;
    json_t *r = context;
    if (n->status == STORE_ACCEPTED) {
        add(json_object_get(r, "accepted"), n->label, n->n);
        add(json_object_get(r, "splits"), store_split_text(n->split), n->n);
        add(json_object_get(r, "sources"), n->source, n->n);
    } else if (n->status == STORE_REJECTED) {
        add(json_object_get(r, "rejected"), n->reason, n->n);
    } else {
        add(r, store_status_text(n->status), n->n);
    }
    return 0;
}

static void print_map(const struct cmd_ctx *c, const char *title, json_t *map) {
    const char *key;
    json_t *value;
    struct str line = {0};
    json_object_foreach(map, key, value)
        str_addf(&line, "%s%s %lld", line.len ? ", " : "", key, (long long)json_integer_value(value));
    if (line.len)
        cmd_print(c, "%-10s %s\n", title, line.data);
    str_release(&line);
}

static int summarise(struct generating *g) {
    struct cmd_ctx *c = g->c;
    json_t *r = json_pack("{s:{}, s:{}, s:{}, s:{}}", "accepted", "rejected", "splits", "sources");
    if (!r)
        return err_set(&c->err, ERR_NO_MEMORY, "generate", "out of memory");
    int code = store_counts_each(g->store, count, r, &c->err);
    print_map(c, "accepted", json_object_get(r, "accepted"));
    print_map(c, "split", json_object_get(r, "splits"));
    print_map(c, "rejected", json_object_get(r, "rejected"));
    json_object_set_new(c->result, "records", r);
    if (g->has_teacher) {
        struct str line = {0};
        json_object_set_new(c->result, "ledger", teaching_ledger(g->store, &line));
        cmd_print(c, "%-10s %s\n", "teacher", str_text(&line));
        str_release(&line);
    }
    return code;
}

/* Cells that gave less than their share, with the reason: the label's quota was filled from others. */
static void report_cells(struct generating *g, const struct generate_report *r) {
    json_t *list = json_array();
    int n_closed = 0;
    for (int i = 0; i < r->grid.n_cells; i++) {
        const struct grid_cell *cell = &r->grid.cells[i];
        n_closed += cell->closed;
        json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "cell", cell->name, "share", (json_int_t)cell->share,
                              "accepted", (json_int_t)cell->accepted, "written", (json_int_t)cell->written);
        if (cell->closed)
            json_object_set_new(o, "closed",
                                json_string("its latest records were copies or of another label"));
        json_array_append_new(list, o);
    }
    if (n_closed > 0)
        cmd_print(
            g->c,
            "%-10s %d of %d corners of the quota grid gave nothing more; the others filled the labels\n",
            "grid", n_closed, r->grid.n_cells);
    json_object_set_new(g->c->result, "cells", list);
}

/* ---- the steps ---- */

static int import(struct generating *g) {
    const struct project_data *d = &g->project.data;
    struct own_options o = {.path = d->path,
                            .label_column = d->label,
                            .shares = g->o.shares,
                            .seed = g->o.seed,
                            .balance = cmd_flag(g->c, "balance")};
    int64_t n_new = 0;
    int code = generate_check_task(g->store, &g->task, &g->c->err);
    if (code == 0)
        code = own_import(g->store, &g->task, &o, &n_new, &g->c->err);
    if (code == 0 && n_new > 0 && !g->c->quiet)
        log_info("%lld own rows taken in from %s", (long long)n_new, d->path);
    return code;
}

static int consent(struct generating *g, bool *nothing_missing) {
    struct generate_quote q;
    int code = generate_quote(g->teacher, g->store, &g->task, &g->o, &q, &g->c->err);
    if (code < 0)
        return code;
    *nothing_missing = q.missing == 0;
    if (q.missing == 0)
        return 0;
    struct teaching_quote t = {.what = "generating records",
                               .calls = q.calls,
                               .tokens_in = q.tokens_in,
                               .tokens_out = q.tokens_out,
                               .money = q.money,
                               .money_high = q.money_high,
                               .seconds = q.seconds,
                               .basis = q.basis};
    return teaching_consent(g->c, g->teacher, &t);
}

/* The export goes the whole way before the first answer is paid for. */
static int rehearse(struct generating *g) {
    struct plan plan;
    struct rehearsal r;
    int code = project_plan(&g->project, &plan, &g->c->err);
    if (code < 0)
        return code;
    code = rehearse_export(&g->project, &plan, 0, &r, &g->c->err);
    if (code == 0 && r.repeated && !g->c->quiet)
        log_info("export rehearsed on %s in %.1f s: merged, quantised, loaded, answered", plan.base,
                 r.seconds);
    plan_release(&plan);
    return code;
}

static int generate(struct generating *g) {
    struct cmd_ctx *c = g->c;
    bool nothing_missing = false;
    int code = teaching_open(c, &g->project, g->store, &g->teacher);
    if (code == 0)
        code = consent(g, &nothing_missing);
    if (cmd_flag(c, "quote") && code == ERR_GATE) /* asked for, and answered */
        err_clear(&c->err);
    if (cmd_flag(c, "quote") && (code == 0 || code == ERR_GATE))
        return 0;
    if (code == 0 && !nothing_missing)
        code = rehearse(g);
    if (code < 0)
        return code;
    if (g->held_out.n > 0)
        g->o.held_out = &g->held_out;
    struct generate_report report;
    struct progress progress;
    progress_begin(&progress, "generate", "answer", 0);
    code = generate_run(g->teacher, g->store, &g->task, &g->o, &progress, &report, &c->err);
    progress_end(&progress);
    if (code == 0)
        report_cells(g, &report);
    generate_report_release(&report);
    return code;
}

static int load_held_out(struct generating *g) {
    const struct project_data *d = &g->project.data;
    if (!d->eval_path || !g->has_teacher)
        return 0;
    return rows_read(&g->held_out, &g->task, d->eval_path, &(struct rows_options){.label_column = d->label},
                     &g->c->err);
}

static int work(struct generating *g) {
    struct cmd_ctx *c = g->c;
    const char *records = project_path(&g->project, PROJECT_RECORDS);
    int code = records ? store_open(&g->store, records, STORE_WRITE, &c->err)
                       : err_set(&c->err, ERR_NO_MEMORY, "generate", "out of memory");
    if (code == 0 && g->project.data.path)
        code = import(g);
    if (code == 0)
        code = load_held_out(g);
    if (code == 0 && g->has_teacher)
        code = generate(g);
    if (g->store) {
        int shown = summarise(g);
        code = code < 0 ? code : shown;
    }
    if (code == 0 && !cmd_flag(c, "quote"))
        code = hash_outputs(g);
    teacher_close(g->teacher);
    store_close(g->store);
    if (code < 0 || cmd_flag(c, "quote"))
        return code;
    return manifest_write(&g->manifest, &c->err);
}

static int check_gates(struct generating *g) {
    struct plan plan;
    int code = project_task(&g->project, true, &g->task, &g->c->err);
    if (code == 0 && (code = project_plan(&g->project, &plan, &g->c->err)) == 0)
        plan_release(&plan);
    return code;
}

static int run_in(struct generating *g) {
    struct cmd_ctx *c = g->c;
    int code = read_options(g);
    if (code == 0)
        code = project_hold(&g->project, &c->err);
    if (code == 0)
        code = check_gates(g);
    if (code == 0)
        code = describe(g);
    if (code < 0)
        return code;
    if (manifest_is_current(&g->manifest, NULL) && !cmd_flag(c, "quote")) {
        json_object_set_new(c->result, "up_to_date", json_true());
        cmd_print(c, "Records are up to date.\n");
        return 0;
    }
    return work(g);
}

static int run_generate(struct cmd_ctx *c) {
    struct generating g = {.c = c};
    int code = project_open(&g.project, c->project_dir, &c->err);
    if (code < 0)
        return code;
    code = run_in(&g);
    rows_release(&g.held_out);
    manifest_release(&g.manifest);
    task_release(&g.task);
    project_release(&g.project);
    return code;
}

const struct verb verb_generate = {"generate", "make the records: balanced, checked, labelled, split",
                                   "[options]", options, run_generate};
