/* `edgestill generate`: records for training, validation and test: own rows where there are any, the rest from the teacher,
 * every label its number. Waits for the accepted task and plan; says what it will cost before it costs anything. */
#include "base/file.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/generate_report.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "cmd/rehearse.h"
#include "cmd/sharing.h"
#include "cmd/teaching.h"
#include "cmd/where_wrong.h"
#include "plan/plan.h"
#include "synth/draft_numbers.h"
#include "synth/gate.h"
#include "synth/generate.h"
#include "synth/own.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option_def options[] = {
    {"records", OPTION_INT, "N", "accepted records wanted (default: as edgestill.yaml says)", NULL},
    {"per-call", OPTION_INT, "N", "records asked for in one question", "4"},
    {"split", OPTION_STRING, "A/B/C", "percent for training, validation and test", "80/10/10"},
    {"balance", OPTION_FLAG, NULL,
     "of own rows let every label weigh the same: at most four rows for one of the rarest label, weighted",
     NULL},
    {"votes", OPTION_INT, "K", "label every record K times; the votes become its weight", "1"},
    {"aim", OPTION_FLAG, NULL,
     "make records of a label that is short from the corners that held it: fewer questions, less of what a "
     "teacher "
     "writes by itself",
     NULL},
    {"gate", OPTION_NUMBER, "X",
     "with shared rows of your own: least share of them that the teacher must answer right (0: no gate)",
     "0.8"},
    {"where-wrong", OPTION_FLAG, NULL,
     "after training: one more, smaller round from the corners where the student is wrong on validation rows",
     NULL},
    {"rounds", OPTION_INT, "N", "with --where-wrong: at most N rounds in all", "5"},
    {"round-records", OPTION_INT, "N",
     "with --where-wrong: records of a round (default: a fifth of the main set)", NULL},
    {"least-gain", OPTION_NUMBER, "X",
     "with --where-wrong: points of validation accuracy that the round before must have brought for a "
     "dollar, or for "
     "100 records where the teacher costs nothing",
     "1"},
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
    struct where_wrong wrong;
    bool has_teacher;
};

/* ---- settings ---- */

static int read_options(struct generating *g) {
    struct cmd_ctx *c = g->c;
    g->o.n_records = cmd_int(c, "records", g->project.n_records);
    g->o.per_call = (int)cmd_int(c, "per-call", 4);
    g->o.votes = (int)cmd_int(c, "votes", 1);
    g->o.aim = cmd_flag(c, "aim");
    g->o.seed = g->project.seed;
    g->o.has_shares = true;
    g->has_teacher = strcmp(g->project.teacher.kind, "none") != 0;
    if (g->o.n_records < 1 || g->o.n_records > 10000000)
        return err_set(&c->err, ERR_USAGE, "generate", "--records must be from 1 to 10000000");
    if (g->o.per_call < 1 || g->o.per_call > 32)
        return err_set(&c->err, ERR_USAGE, "generate", "--per-call must be from 1 to 32");
    if (g->o.votes < 1 || g->o.votes > 15)
        return err_set(&c->err, ERR_USAGE, "generate", "--votes must be from 1 to 15");
    if (!(cmd_number(c, "gate", 0.8) >= 0 && cmd_number(c, "gate", 0.8) <= 1))
        return err_set(&c->err, ERR_USAGE, "generate", "--gate must be from 0 to 1");
    if (cmd_flag(c, "where-wrong") && !g->has_teacher) {
        err_set(&c->err, ERR_INPUT, "generate",
                "a round where the student is wrong needs a teacher to write it");
        return err_hint(&c->err, "name one in edgestill.yaml: teacher:");
    }
    if (!g->has_teacher && !g->project.data.path) {
        err_set(&c->err, ERR_INPUT, "generate", "this project has neither a teacher nor rows of its own");
        return err_hint(&c->err, "name one of them in edgestill.yaml: teacher: or data: path:");
    }
    if (cmd_int(c, "rounds", 5) < 0 || cmd_int(c, "round-records", 0) < 0)
        return err_set(&c->err, ERR_USAGE, "generate", "--rounds and --round-records must not be negative");
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
    if (g->o.aim)
        manifest_setting(m, "aim", json_true());
    if (g->o.votes > 1)
        manifest_setting(m, "votes", json_integer(g->o.votes));
    if (d->group || d->time)
        manifest_setting(m, d->group ? "group" : "time", json_string(d->group ? d->group : d->time));
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

/* ---- the steps ---- */

static int import(struct generating *g) {
    const struct project_data *d = &g->project.data;
    struct own_options o = {.path = d->path,
                            .label_column = d->label,
                            .shares = g->o.shares,
                            .seed = g->o.seed,
                            .group = d->group,
                            .time = d->time,
                            .held_out = g->held_out.n > 0 ? &g->held_out : NULL,
                            .balance = cmd_flag(g->c, "balance")};
    struct own_result r = {0};
    int code = generate_check_task(g->store, &g->task, &g->c->err);
    if (code == 0)
        code = own_import(g->store, &g->task, &o, &r, &g->c->err);
    if (code == 0 && r.n_new > 0 && !g->c->quiet)
        log_info("%lld own rows taken in from %s; the test rows are set apart", (long long)r.n_new, d->path);
    if (code == 0 && r.n_held_out > 0)
        log_warn("%lld own rows are in %s, too: they are left out of training", (long long)r.n_held_out,
                 d->eval_path);
    return code;
}

/* ---- the teacher gate ---- */

static int judge_gate(struct generating *g, const struct gate *gate, double bar) {
    struct err *e = &g->c->err;
    json_t *columns = sharing_columns(&g->project, &g->task);
    char *shown = json_dumps(columns, JSON_ENSURE_ASCII);
    cmd_print(g->c, "%-10s the teacher answers %lld of %lld own rows right (%.0f%% to %.0f%%); it saw %s\n",
              "gate", (long long)gate->n_right, (long long)gate->n, 100 * gate->accuracy.low,
              100 * gate->accuracy.high, shown ? shown : "their fields");
    free(shown);
    json_object_set_new(g->c->result, "gate",
                        json_pack("{s:I, s:I, s:I, s:f, s:f, s:o}", "rows", (json_int_t)gate->n, "right",
                                  (json_int_t)gate->n_right, "invalid", (json_int_t)gate->n_invalid, "low",
                                  gate->accuracy.low, "high", gate->accuracy.high, "columns", columns));
    if ((double)gate->n_right >= bar * (double)gate->n)
        return 0;
    err_set(e, ERR_TEACHER, "generate",
            "%s answers only %lld of %lld of your own rows as you did, below the bar of %.0f%%: its data "
            "would teach that",
            teacher_name(g->teacher), (long long)gate->n_right, (long long)gate->n, 100 * bar);
    return err_hint(e, "make the definitions in task.yaml clearer, take another teacher, or lower --gate");
}

/* Says why where there is none, so that nobody takes silence for a pass. */
static const char *no_gate(const struct generating *g, double bar) {
    return bar <= 0                ? "--gate 0"
           : !g->project.data.path ? "there are no rows of your own"
           : !g->project.data.share_rows
               ? "own rows are not shared with the teacher (share_rows in edgestill.yaml)"
               : NULL;
}

static int own_training_rows(struct generating *g, struct rows *out) {
    int code = sharing_check(&g->project, &g->task, &g->c->err);
    return code < 0 ? code
                    : rows_from_store(out, &g->task, g->store, PROJECT_RECORDS, STORE_TRAIN,
                                      &(struct rows_options){.own = true}, &g->c->err);
}

/* Before they are shown. */
static int enter_in_ledger(struct generating *g, const char *what, int64_t n_rows) {
    struct sharing x = {.what = what,
                        .from = below(&g->project, g->project.data.path),
                        .teacher = teacher_name(g->teacher),
                        .n_rows = n_rows};
    return sharing_enter(g->store, &g->project, &g->task, &x, &g->c->err);
}

/* Which rows of the training split the teacher is to answer, without what it may not see; entered in the ledger before it does. */
static int share_rows(struct generating *g, int64_t most, struct rows *out) {
    struct rows rows = {0};
    int code = own_training_rows(g, &rows);
    if (code < 0)
        return code;
    int64_t n = rows.n < most ? rows.n : most;
    code = sharing_view(&g->project, &g->task, &rows, out, &g->c->err);
    rows_release(&rows);
    if (code == 0 && (code = enter_in_ledger(g, "gate", n)) < 0)
        rows_release(out);
    return code;
}

/* Own training rows among the examples that a large teacher writes by. */
static int share_exemplars(struct generating *g) {
    const struct project_data *d = &g->project.data;
    struct rows rows = {0};
    if (!d->share_rows || !d->path || teacher_style(g->teacher) != PROTOCOL_FULL)
        return 0;
    int code = own_training_rows(g, &rows);
    int64_t n = code == 0 ? rows.n : 0;
    rows_release(&rows);
    if (code < 0 || n == 0)
        return code;
    code = sharing_fields(&g->project, &g->task, &g->o.shared_fields, &g->c->err);
    return code == 0 ? enter_in_ledger(g, "exemplars", n) : code;
}

static int pass_gate(struct generating *g) {
    enum { GATE_ROWS = 100 };
    double bar = cmd_number(g->c, "gate", 0.8);
    struct rows rows = {0};
    struct progress progress;
    struct gate gate;
    const char *why = no_gate(g, bar);
    if (why) {
        json_object_set_new(g->c->result, "gate", json_pack("{s:s}", "skipped", why));
        cmd_print(g->c, "%-10s skipped: %s\n", "gate", why);
        return 0;
    }
    int code = share_rows(g, GATE_ROWS, &rows);
    if (code < 0)
        return code;
    progress_begin(&progress, "teacher gate", "row", rows.n < GATE_ROWS ? rows.n : GATE_ROWS);
    code = gate_run(&gate, g->teacher, &g->task, &rows, GATE_ROWS, g->o.seed, &progress, &g->c->err);
    progress_end(&progress);
    rows_release(&rows);
    return code == 0 ? judge_gate(g, &gate, bar) : code;
}

/* ---- generating ---- */

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
                               .seconds_low = q.seconds_low,
                               .seconds_high = q.seconds_high,
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
    code = rehearse_export(&g->project, &g->task, &plan, 0, &r, &g->c->err);
    if (code == 0 && r.repeated && !g->c->quiet)
        log_info("export rehearsed on %s in %.1f s: merged, %squantised, loaded, answered%s", plan.base,
                 r.seconds, r.trimmed ? "trimmed, " : "", r.bundled ? ", bundled" : "");
    plan_release(&plan);
    return code;
}

/* A round that was planned and is not to be paid for is taken back. Otherwise what was done is no longer up to date. */
static int begin_round(struct generating *g, int code) {
    bool refused = code < 0 || cmd_flag(g->c, "quote");
    if (g->wrong.is_new && refused)
        (void)where_wrong_forget(&g->wrong);
    else if (g->wrong.planned && !refused)
        unlink(g->manifest.path);
    return code;
}

static int generate(struct generating *g) {
    struct cmd_ctx *c = g->c;
    bool nothing_missing = false;
    int code = teaching_open(c, &g->project, g->store, &g->teacher);
    if (code == 0 && teacher_style(g->teacher) == PROTOCOL_PLAIN)
        code = draft_check_numbers(&g->task, &c->err);
    if (code == 0)
        code = consent(g, &nothing_missing);
    if (code == 0 && !nothing_missing && teacher_style(g->teacher) == PROTOCOL_PLAIN)
        code = draft_check_rule(&g->task, &c->err);
    code = begin_round(g, code);
    if (cmd_flag(c, "quote") && code == ERR_GATE) /* asked for, and answered */
        err_clear(&c->err);
    if (cmd_flag(c, "quote") && (code == 0 || code == ERR_GATE))
        return 0;
    if (code == 0 && !nothing_missing)
        code = rehearse(g);
    if (code == 0 && !nothing_missing)
        code = pass_gate(g);
    if (code == 0 && !nothing_missing)
        code = share_exemplars(g);
    if (code < 0)
        return code;
    if (g->held_out.n > 0)
        g->o.held_out = &g->held_out;
    struct generate_report report;
    struct progress progress;
    g->o.first = generate_report_first;
    g->o.first_context = &(struct generate_reporting){c, &g->task, g->store};
    progress_begin(&progress, "generate", "answer", 0);
    code = generate_run(g->teacher, g->store, &g->task, &g->o, &progress, &report, &c->err);
    progress_end(&progress);
    if (code == 0)
        generate_report_cells(c, &report);
    generate_report_release(&report);
    return code;
}

static int plan_round(struct generating *g) {
    struct cmd_ctx *c = g->c;
    g->wrong = (struct where_wrong){.c = c,
                                    .project = &g->project,
                                    .task = &g->task,
                                    .store = g->store,
                                    .n_records = g->o.n_records,
                                    .n_round = cmd_int(c, "round-records", 0),
                                    .most = cmd_int(c, "rounds", 5),
                                    .least_gain = cmd_number(c, "least-gain", 1)};
    return where_wrong_plan(&g->wrong);
}

static int load_held_out(struct generating *g) {
    const struct project_data *d = &g->project.data;
    if (!d->eval_path)
        return 0;
    return rows_read(&g->held_out, &g->task, d->eval_path, &(struct rows_options){.label_column = d->label},
                     &g->c->err);
}

static int work(struct generating *g) {
    struct cmd_ctx *c = g->c;
    const char *records = project_path(&g->project, PROJECT_RECORDS);
    int code = records ? store_open(&g->store, records, STORE_WRITE, &c->err)
                       : err_set(&c->err, ERR_NO_MEMORY, "generate", "out of memory");
    if (code == 0)
        code = load_held_out(g);
    if (code == 0 && g->project.data.path)
        code = import(g);
    if (code == 0)
        code = generate_report_way(c, &g->task, g->store, g->has_teacher);
    if (code == 0 && cmd_flag(c, "where-wrong"))
        code = plan_round(g);
    bool asks = g->has_teacher && (g->wrong.planned || !cmd_flag(c, "where-wrong"));
    if (code == 0 && asks)
        code = generate(g);
    if (g->store) {
        int shown =
            generate_report_summary(&(struct generate_reporting){c, &g->task, g->store}, g->has_teacher);
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
    const char *records = project_path(&g->project, PROJECT_RECORDS);
    bool there = records &&
                 file_exists(records); /* outputs are named by what is in it, so the manifest does not know */
    if (there && manifest_is_current(&g->manifest, NULL) && !cmd_flag(c, "quote") &&
        !cmd_flag(c, "where-wrong")) {
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
