/* `edgestill eval`: base, student before and after quantisation, and teacher over the same rows with known labels, each with
 * the prompt and the decoding of the device. Writes eval/<who>.json, eval/<who>.rows.csv and eval/summary.json. */
#include "cmd/cmd.h"
#include "cmd/evaluate.h"
#include "cmd/manifest.h"
#include "cmd/teaching.h"
#include "format/json.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct option_def options[] = {
    {"rows", OPTION_STRING, "FILE",
     "rows with known labels, CSV or JSON Lines; without it those of edgestill.yaml, else the test records",
     NULL},
    {"label", OPTION_STRING, "COLUMN", "the column that holds the label (default: the project's, else label)",
     NULL},
    {"only", OPTION_STRING, "LIST",
     "some of base, student-f16, student-quant, student (both), teacher; with commas", NULL},
    {"limit", OPTION_INT, "N", "the first N rows alone", NULL},
    {"validation", OPTION_STRING, "FILE",
     "also report each figure at the threshold that these rows choose for it; 'records': the validation "
     "records",
     NULL},
    {"free", OPTION_INT, "N",
     "rows that each model also answers freely, for the share of answers that are no label", "500"},
    {"threads", OPTION_INT, "N", "threads to compute with (default: one a core)", NULL},
    {"force", OPTION_FLAG, NULL, "score again what was scored before", NULL},
    TEACHING_OPTIONS,
    {0},
};

/* ---- options ---- */

static bool word_is(const char *word, size_t n, const char *text) {
    return strlen(text) == n && memcmp(word, text, n) == 0;
}

/* Which of all are wanted, from --only. */
static int read_only(struct cmd_ctx *c, bool wanted[WHO_COUNT]) {
    const char *list = cmd_string(c, "only");
    for (int w = 0; w < WHO_COUNT; w++)
        wanted[w] = !list;
    for (const char *word = list; word && *word;) {
        size_t n = strcspn(word, ",");
        bool known = false;
        for (int w = 0; w < WHO_COUNT; w++) {
            bool student = w == WHO_STUDENT_F16 || w == WHO_STUDENT_QUANT;
            if (word_is(word, n, who_name((enum who)w)) || (student && word_is(word, n, "student")))
                wanted[w] = known = true;
        }
        if (!known) {
            int rc = err_set(&c->err, ERR_USAGE, "eval", "--only does not know '%.*s'", (int)n, word);
            err_hint(&c->err, "it knows base, student-f16, student-quant, student and teacher");
            return rc;
        }
        word += n + (word[n] == ',');
    }
    return 0;
}

static int read_settings(struct cmd_ctx *c, struct evaluation_settings *s) {
    *s = (struct evaluation_settings){.c = c,
                                      .rows_path = cmd_string(c, "rows"),
                                      .label_column = cmd_string(c, "label"),
                                      .validation = cmd_string(c, "validation"),
                                      .limit = cmd_int(c, "limit", 0),
                                      .n_free = cmd_int(c, "free", 500),
                                      .n_threads = (int)cmd_int(c, "threads", 0),
                                      .force = cmd_flag(c, "force")};
    if (s->limit < 0 || s->n_free < 0 || s->n_threads < 0 || s->n_threads > 1024)
        return err_set(&c->err, ERR_USAGE, "eval", "--limit, --free and --threads must not be negative");
    return 0;
}

/* ---- the summary ---- */

static int add_comparisons(const struct evaluation *v, json_t *summary, struct err *e) {
    static const enum who pairs[][2] = {{WHO_STUDENT_QUANT, WHO_TEACHER},
                                        {WHO_STUDENT_QUANT, WHO_BASE},
                                        {WHO_STUDENT_QUANT, WHO_STUDENT_F16}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const struct evaluated *a = &v->one[pairs[i][0]], *b = &v->one[pairs[i][1]];
        json_t *one = NULL;
        if (!a->document || !b->document)
            continue;
        int rc = result_compare(who_key(pairs[i][0]), &a->scores, who_key(pairs[i][1]), &b->scores, &one, e);
        if (rc < 0) {
            json_decref(list);
            return rc;
        }
        json_array_append_new(list, one);
    }
    json_object_set_new(summary, "comparisons", list);
    return 0;
}

/* How much of the way from base to teacher the student went: 1 is all of it. */
static void add_closed(const struct evaluation *v, json_t *summary) {
    double base = result_value(v->one[WHO_BASE].document, "accuracy");
    double student = result_value(v->one[WHO_STUDENT_QUANT].document, "accuracy");
    double teacher = result_value(v->one[WHO_TEACHER].document, "accuracy");
    double closed = (student - base) / (teacher - base);
    if (isfinite(closed))
        json_object_set_new(summary, "closed", json_real(closed));
}

static int make_summary(struct evaluation *v, json_t **out, struct err *e) {
    json_t *skipped = json_array();
    json_t *summary = json_pack("{s:s}", "format", RESULT_SUMMARY_FORMAT);
    int rc = 0;
    for (int w = 0; w < WHO_COUNT && rc == 0; w++) {
        const struct evaluated *one = &v->one[w];
        json_t *figures = NULL;
        if (one->skipped[0])
            json_array_append_new(
                skipped, json_pack("{s:s, s:s}", "who", who_key((enum who)w), "reason", one->skipped));
        if (!one->document)
            continue;
        json_object_set(summary, "rows", json_object_get(one->document, "rows"));
        if ((rc = result_short(one->document, &figures, e)) == 0)
            json_object_set_new(summary, who_key((enum who)w), figures);
    }
    json_object_set_new(summary, "skipped", skipped);
    add_closed(v, summary);
    if (rc == 0)
        rc = add_comparisons(v, summary, e);
    if (rc < 0) {
        json_decref(summary);
        return rc;
    }
    *out = summary;
    return 0;
}

static int write_manifest(struct evaluation *v, struct err *e) {
    struct manifest m;
    const struct evaluation_settings *s = v->settings;
    int rc = manifest_init(&m, v->project.dir, "eval", MANIFEST_EVAL, e);
    if (rc < 0)
        return rc;
    rc = manifest_input(&m, "task.yaml", e);
    manifest_input_hash(&m, "rows:held-out", v->rows.sha256);
    manifest_setting(&m, "free", json_integer(s->n_free));
    manifest_version(&m, "llama.cpp", lm_version());
    for (int w = 0; w < WHO_COUNT && rc == 0; w++) {
        if (!v->one[w].document)
            continue;
        m.start_s -=
            json_number_value(json_object_get(v->one[w].document, "seconds")); /* also of what was kept */
        const char *model = evaluation_model(v, (enum who)w);
        const char *name = w == WHO_STUDENT_F16     ? "train/merged-f16.gguf"
                           : w == WHO_STUDENT_QUANT ? "model/student.gguf"
                                                    : model;
        const char *json = arena_printf(&v->project.arena, "eval/%s.json", who_name((enum who)w));
        const char *rows = arena_printf(&v->project.arena, "eval/%s.rows.csv", who_name((enum who)w));
        if (name)
            rc = manifest_input(&m, name, e);
        if (rc == 0)
            rc = json && rows ? manifest_output(&m, json, e) : ERR_NO_MEMORY;
        if (rc == 0)
            rc = manifest_output(&m, rows, e);
    }
    if (rc == 0)
        rc = manifest_output(&m, "eval/summary.json", e);
    if (rc == 0)
        rc = manifest_write(&m, e);
    manifest_release(&m);
    return rc;
}

/* ---- the table ---- */

static void print_share(struct cmd_ctx *c, const json_t *figures, const char *name, int width) {
    const json_t *x = json_object_get(figures, name);
    char text[32] = "-";
    if (json_is_number(x))
        snprintf(text, sizeof text, "%.1f%%", 100 * json_number_value(x));
    cmd_print(c, " %*s", width, text);
}

static void print_number(struct cmd_ctx *c, const json_t *figures, const char *name, int width) {
    const json_t *x = json_object_get(figures, name);
    char text[32] = "-";
    if (json_is_number(x))
        snprintf(text, sizeof text, "%.3f", json_number_value(x));
    cmd_print(c, " %*s", width, text);
}

static void print_row(struct cmd_ctx *c, const char *name, const json_t *f) {
    char interval[48];
    snprintf(interval, sizeof interval, "(%.1f to %.1f)", 100 * json_number_value(json_object_get(f, "low")),
             100 * json_number_value(json_object_get(f, "high")));
    cmd_print(c, "%-14s", name);
    print_share(c, f, "accuracy", 8);
    cmd_print(c, " %-16s", interval);
    print_share(c, f, "balanced_accuracy", 8);
    print_number(c, f, "macro_f1", 8);
    print_number(c, f, "f1", 8);
    print_number(c, f, "pr_auc", 8);
    print_number(c, f, "brier", 8);
    print_share(c, f, "invalid_rate", 8);
    cmd_print(c, "\n");
}

static void print_thresholds(struct cmd_ctx *c, const struct evaluation *v) {
    static const char *const names[] = {"accuracy", "balanced_accuracy", "f1"};
    if (!v->has_validation)
        return;
    cmd_print(c, "\nEach figure at the threshold that the validation rows chose for it:\n");
    for (int w = 0; w < WHO_COUNT; w++) {
        const json_t *t = json_object_get(v->one[w].document, "thresholds");
        if (!t)
            continue;
        cmd_print(c, "%-14s", who_name((enum who)w));
        for (int i = 0; i < 3; i++) {
            const json_t *f = json_object_get(t, names[i]);
            cmd_print(c, "  %s %.3f (%.3f to %.3f) at %.3f", names[i],
                      json_number_value(json_object_get(f, "value")),
                      json_number_value(json_object_get(f, "low")),
                      json_number_value(json_object_get(f, "high")),
                      json_number_value(json_object_get(f, "threshold")));
        }
        cmd_print(c, "\n");
    }
}

/* Extract: the share of right values by field; respond: the words. */
static void print_answers(struct cmd_ctx *c, const struct evaluation *v) {
    for (int w = 0; w < WHO_COUNT; w++) {
        const json_t *answers = json_object_get(v->one[w].document, "answers");
        const json_t *fields = json_object_get(answers, "fields"), *f1 = json_object_get(answers, "word_f1");
        if (!answers)
            continue;
        cmd_print(c, "%-14s", who_name((enum who)w));
        for (int i = 0; i < v->task.n_answer && fields; i++)
            cmd_print(c, "  %s %.1f%%", v->task.answer[i].name,
                      100 * json_number_value(
                                json_object_get(json_object_get(fields, v->task.answer[i].name), "value")));
        if (f1)
            cmd_print(c, "  F1 of the words %.3f", json_number_value(f1));
        cmd_print(c, "\n");
    }
}

static void print_table(struct cmd_ctx *c, const struct evaluation *v, const json_t *summary) {
    const json_t *one;
    size_t i;
    if (v->task.kind == TASK_CLASSIFY)
        cmd_print(c, "%lld rows from %s, 95%% intervals; F1 and PR-AUC of '%s'\n\n", (long long)v->rows.n,
                  v->rows.source, v->task.positive);
    else
        cmd_print(c, "%lld rows from %s, 95%% intervals; accuracy: answers that are exactly right\n\n",
                  (long long)v->rows.n, v->rows.source);
    cmd_print(c, "%-14s %8s %-16s %8s %8s %8s %8s %8s %8s\n", "", "accuracy", "", "balanced", "macro-F1",
              "F1", "PR-AUC", "Brier", "invalid");
    for (int w = 0; w < WHO_COUNT; w++) {
        const struct evaluated *e = &v->one[w];
        if (e->document)
            print_row(c, who_name((enum who)w), json_object_get(summary, who_key((enum who)w)));
        else if (e->skipped[0])
            cmd_print(c, "%-14s skipped: %s\n", who_name((enum who)w), e->skipped);
    }
    print_thresholds(c, v);
    print_answers(c, v);
    cmd_print(c, "\n");
    json_array_foreach(json_object_get(summary, "comparisons"), i, one) {
        cmd_print(c, "%s minus %s: %+.1f points (%+.1f to %+.1f), p = %.2g\n",
                  json_string_value(json_object_get(one, "a")), json_string_value(json_object_get(one, "b")),
                  100 * json_number_value(json_object_get(one, "difference")),
                  100 * json_number_value(json_object_get(one, "low")),
                  100 * json_number_value(json_object_get(one, "high")),
                  json_number_value(json_object_get(one, "p_value")));
    }
}

/* ---- the verb ---- */

/* What --only names must be there; what is wanted by default may be missing, but not everything. */
static int check_something(struct cmd_ctx *c, const struct evaluation *v, const bool wanted[WHO_COUNT]) {
    bool named = cmd_string(c, "only") != NULL, any = false;
    for (int w = 0; w < WHO_COUNT; w++) {
        any = any || v->one[w].document;
        if (named && wanted[w] && !v->one[w].document)
            return err_set(&c->err, v->one[w].waiting ? ERR_GATE : ERR_NOT_FOUND, "eval",
                           "%s cannot be evaluated: %s", who_name((enum who)w), v->one[w].skipped);
    }
    if (any)
        return 0;
    err_set(&c->err, ERR_NOT_FOUND, "eval", "there is nothing to evaluate yet: %s", v->one[WHO_BASE].skipped);
    err_hint(&c->err, "run the stages before it first: edgestill status shows where the project stands");
    return ERR_NOT_FOUND;
}

static int finish(struct cmd_ctx *c, struct evaluation *v) {
    json_t *summary = NULL;
    const char *path = project_path(&v->project, "eval/summary.json");
    int rc = make_summary(v, &summary, &c->err);
    if (rc == 0)
        rc = path ? json_file_write(path, summary, &c->err) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = write_manifest(v, &c->err);
    if (rc == 0) {
        print_table(c, v, summary);
        json_object_update(c->result, summary);
    }
    json_decref(summary);
    return rc;
}

static int run_eval(struct cmd_ctx *c) {
    struct evaluation_settings s;
    struct evaluation v;
    bool wanted[WHO_COUNT];
    int rc = read_settings(c, &s);
    if (rc == 0)
        rc = read_only(c, wanted);
    if (rc < 0 || (rc = evaluation_open(&v, &s)) < 0)
        return rc;
    for (int w = 0; w < WHO_COUNT && rc == 0; w++)
        rc = wanted[w] ? evaluation_run(&v, (enum who)w) : evaluation_recall(&v, (enum who)w);
    if (rc == 0)
        rc = check_something(c, &v, wanted);
    if (rc == 0)
        rc = finish(c, &v);
    evaluation_close(&v);
    return rc;
}

const struct verb verb_eval = {"eval", "score base, student and teacher on the same rows", "[options]",
                               options, run_eval};
