/* One evaluation after another over the same rows. */
#include "cmd/evaluate.h"
#include "base/clock.h"
#include "base/file.h"
#include "cmd/sharing.h"
#include "cmd/teaching.h"
#include "format/json.h"
#include "llama/lm.h"
#include "synth/labeller.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *key, *model;
} whos[] = {
#define X(name, text, key, path) {text, key, path},
    EVALUATED(X)
#undef X
};

const char *who_name(enum who w) {
    return whos[w].name;
}

const char *who_key(enum who w) {
    return whos[w].key;
}

/* ---- opening ---- */

static const char *label_column(const struct evaluation *v) {
    const struct project_data *d = &v->project.data;
    return v->settings->label_column ? v->settings->label_column : d->label ? d->label : "label";
}

static int read_split(struct evaluation *v, enum store_split split, const struct rows_options *o,
                      struct rows *out, struct err *e) {
    struct store *s = NULL;
    const char *path = project_path(&v->project, PROJECT_RECORDS);
    int rc = path ? store_open(&s, path, STORE_READ, e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = rows_from_store(out, &v->task, s, PROJECT_RECORDS, split, o, e);
    store_close(s);
    return rc;
}

/* A file, or the records' own test rows. */
static int read_rows(struct evaluation *v, struct err *e) {
    const struct evaluation_settings *s = v->settings;
    const char *path = s->rows_path ? s->rows_path : v->project.data.eval_path;
    struct rows_options o = {.label_column = label_column(v), .limit = s->limit};
    int rc = path ? rows_read(&v->rows, &v->task, path, &o, e) : read_split(v, STORE_TEST, &o, &v->rows, e);
    if (rc < 0 && !path)
        err_hint(e, "name held-out rows with --rows FILE, or as eval under data in edgestill.yaml");
    if (rc < 0 || !s->validation)
        return rc;
    o.limit = 0;
    rc = strcmp(s->validation, "records") == 0 ? read_split(v, STORE_VALIDATION, &o, &v->validation, e)
                                               : rows_read(&v->validation, &v->task, s->validation, &o, e);
    v->has_validation = rc == 0;
    return rc;
}

static int hash_task(struct evaluation *v, struct err *e) {
    struct str json = {0};
    int rc = task_to_json(&v->task, &json, e);
    if (rc == 0)
        sha256_bytes(json.data, json.len, v->task_hash);
    str_release(&json);
    return rc;
}

int evaluation_open(struct evaluation *v, const struct evaluation_settings *s) {
    struct err *e = &s->c->err;
    *v = (struct evaluation){.settings = s};
    int rc = project_open(&v->project, s->c->project_dir, e);
    if (rc < 0)
        return rc;
    if ((rc = project_hold(&v->project, e)) < 0 || (rc = project_task(&v->project, true, &v->task, e)) < 0 ||
        (rc = project_plan(&v->project, &v->plan, e)) < 0 || (rc = hash_task(v, e)) < 0 ||
        (rc = read_rows(v, e)) < 0)
        evaluation_close(v);
    return rc;
}

void evaluation_close(struct evaluation *v) {
    for (int w = 0; w < WHO_COUNT; w++) {
        scores_release(&v->one[w].scores);
        scores_release(&v->one[w].validation);
        json_decref(v->one[w].document);
    }
    rows_release(&v->rows);
    rows_release(&v->validation);
    str_release(&v->base_path);
    task_release(&v->task);
    plan_release(&v->plan);
    project_release(&v->project);
    *v = (struct evaluation){0};
}

const char *evaluation_model(struct evaluation *v, enum who w) {
    if (w == WHO_TEACHER)
        return NULL;
    if (w != WHO_BASE)
        return project_path(&v->project, whos[w].model);
    if (v->base_path.len == 0) {
        struct str found = {0};
        char *whole = plan_base_file(&v->plan, &found, NULL) == 0 ? realpath(str_text(&found), NULL) : NULL;
        if (whole) /* absolute: the manifest takes other paths as the project's */
            str_add(&v->base_path, whole);
        free(whole);
        str_release(&found);
    }
    return v->base_path.len ? str_text(&v->base_path) : NULL;
}

/* ---- what was scored before ---- */

static const char *result_path(struct evaluation *v, enum who w, const char *ending) {
    const char *name = arena_printf(&v->project.arena, "eval/%s%s", whos[w].name, ending);
    return name ? project_path(&v->project, name) : NULL;
}

/* A hash over everything that decides the answers and how they are reported. `model` is a hash or a name. */
static void make_key(const struct evaluation *v, enum who w, const char *model, char key[SHA256_HEX]) {
    struct str s = {0};
    str_addf(&s, "%s %s %s\n%s\n%s\n%s\n", RESULT_FORMAT, whos[w].name, model, v->task_hash, v->rows.sha256,
             v->has_validation ? v->validation.sha256 : "");
    if (w != WHO_TEACHER)
        str_addf(&s, "%lld %s %s", (long long)v->settings->n_free, lm_version(), lm_backend_name());
    sha256_bytes(str_text(&s), s.len, key);
    str_release(&s);
}

/* The kept outcome when its key is the same and its rows can still be read. */
static bool reuse(struct evaluation *v, enum who w, const char *key) {
    struct evaluated *one = &v->one[w];
    const char *path = result_path(v, w, ".json"), *rows = result_path(v, w, ".rows.csv");
    json_t *document = NULL;
    struct scores scores = {0};
    if (v->settings->force || !path || !rows || json_file_read(path, &document, NULL) < 0)
        return false;
    bool same = str_equal(json_string_value(json_object_get(document, "key")), key) &&
                scores_read(&scores, &v->task, rows, NULL) == 0 && scores.n == v->rows.n;
    if (!same) {
        scores_release(&scores);
        json_decref(document);
        return false;
    }
    one->scores = scores;
    one->document = document;
    one->reused = true;
    return true;
}

static int keep(struct evaluation *v, enum who w, const struct result *r, struct err *e) {
    struct evaluated *one = &v->one[w];
    const char *path = result_path(v, w, ".json"), *rows = result_path(v, w, ".rows.csv");
    const char *folder = project_path(&v->project, "eval");
    json_t *document = NULL;
    int rc = path && rows && folder ? file_make_folders(folder, e)
                                    : err_set(e, ERR_NO_MEMORY, "evaluation_run", "out of memory");
    if (rc == 0)
        rc = result_to_json(r, &document, e);
    if (rc == 0)
        rc = scores_write(&one->scores, &v->task, &v->rows, rows, e);
    if (rc == 0)
        rc = json_file_write(path, document, e);
    if (rc < 0) {
        json_decref(document);
        return rc;
    }
    one->document = document;
    return 0;
}

static struct result result_of(struct evaluation *v, enum who w, const char *key, const char *model) {
    return (struct result){.who = whos[w].name,
                           .key = key,
                           .model = model,
                           .decoding = w == WHO_TEACHER                ? "chat"
                                       : v->task.kind == TASK_CLASSIFY ? "label scoring"
                                       : v->task.kind == TASK_EXTRACT  ? "greedy, by grammar"
                                                                       : "greedy",
                           .task = &v->task,
                           .rows = &v->rows,
                           .scores = &v->one[w].scores,
                           .validation = v->has_validation ? &v->validation : NULL,
                           .validation_scores = &v->one[w].validation};
}

/* ---- models ---- */

static int score(struct evaluation *v, enum who w, const char *path, const struct rows *rows, int64_t n_free,
                 struct scores *out, struct err *e) {
    struct progress p;
    struct score_options o = {.n_threads = v->settings->n_threads,
                              .n_free = n_free,
                              .prompt_hash = v->prompt_hash[0] ? v->prompt_hash : NULL};
    const char *what = arena_printf(&v->project.arena, "eval %s", whos[w].name);
    int rc = scores_init(out, &v->task, rows, e);
    if (rc < 0)
        return rc;
    progress_begin(&p, what ? what : "eval", "row", rows->n);
    rc = score_model(out, path, &v->task, rows, &o, &p, e);
    progress_end(&p);
    if (rc == 0 && w != WHO_BASE) /* a student may have learned a shorter form of the prompt */
        memcpy(v->prompt_hash, out->prompt_hash, sizeof v->prompt_hash);
    else
        err_context(e, "evaluating %s", whos[w].name);
    return rc;
}

static int run_model(struct evaluation *v, enum who w, bool recall, struct err *e) {
    struct evaluated *one = &v->one[w];
    char hash[SHA256_HEX], key[SHA256_HEX];
    const char *path = evaluation_model(v, w);
    if (!path || !file_exists(path)) {
        snprintf(one->skipped, sizeof one->skipped, "%s is not there", path ? path : "the base's file");
        return 0;
    }
    int rc = lm_backend_init(NULL, e); /* the kernels' name is part of the key */
    if (rc == 0)
        rc = sha256_file(path, hash, e);
    if (rc < 0)
        return rc;
    make_key(v, w, hash, key);
    if (reuse(v, w, key) || recall)
        return 0;
    rc = score(v, w, path, &v->rows, v->settings->n_free, &one->scores, e);
    if (rc == 0 && v->has_validation)
        rc = score(v, w, path, &v->validation, 0, &one->validation, e);
    if (rc < 0)
        return rc;
    struct result r = result_of(v, w, key, whos[w].model ? whos[w].model : v->plan.base);
    return keep(v, w, &r, e);
}

/* ---- the teacher ---- */

/* Why the teacher is not asked, into `why`; "" when it may be. */
static void teacher_refusal(const struct evaluation *v, char *why, size_t n) {
    const struct project *p = &v->project;
    why[0] = 0;
    if (strcmp(p->teacher.kind, "none") == 0)
        snprintf(why, n, "the project has no teacher");
    else if (strcmp(p->teacher.kind, "openai") == 0 && v->rows.n_own > 0 && !p->data.share_rows)
        snprintf(why, n, "the rows are your own and share_rows is not set: they are not sent to the teacher");
}

enum { CHARACTERS_A_TOKEN = 4, THOUGHT_TOKENS = 400, CONDITION_TOKENS = 40 };

/* What asking for all rows' labels will cost, from the first row's question; 0 or ERR_GATE as teaching_consent. */
static int agree(struct evaluation *v, const struct teacher *t, const struct rows *rows) {
    struct protocol_request r = {0};
    struct err *e = &v->settings->c->err;
    int rc = protocol_label(&r, teacher_style(t), &v->task, &rows->records[0], e);
    if (rc < 0)
        return rc;
    bool full = teacher_style(t) == PROTOCOL_FULL;
    struct teacher_price price = teacher_price(t);
    struct teaching_quote q = {.what = "labelling the held-out rows",
                               .calls = v->rows.n,
                               .tokens_in =
                                   v->rows.n * (int64_t)(r.system.len + r.user.len) / CHARACTERS_A_TOKEN,
                               .tokens_out = v->rows.n * (full ? THOUGHT_TOKENS : CONDITION_TOKENS)};
    q.money = ((double)q.tokens_in * price.in + (double)q.tokens_out * price.out) / 1e6;
    q.money_high = 2 * q.money;
    protocol_release(&r);
    return teaching_consent(v->settings->c, t, &q);
}

static int take_text(void *context, int64_t row, const char *text, bool valid, struct err *e) {
    struct evaluation *v = context;
    return scores_set_text(&v->one[WHO_TEACHER].scores, &v->rows, row, text, valid, e);
}

static int ask_teacher(struct evaluation *v, struct teacher *t, const struct rows *rows, struct err *e) {
    struct evaluated *one = &v->one[WHO_TEACHER];
    struct progress p;
    int rc = scores_init(&one->scores, &v->task, &v->rows, e);
    if (rc < 0)
        return rc;
    free(one->scores.prob); /* a chat answer has no probabilities */
    one->scores.prob = NULL;
    double start_s = clock_seconds();
    progress_begin(&p, "eval teacher", "row", v->rows.n);
    rc = one->scores.written ? labeller_answers(t, &v->task, rows, take_text, v, &p, e)
                             : labeller_run(t, &v->task, rows->records, rows->n, one->scores.answer, &p, e);
    progress_end(&p);
    one->scores.seconds = clock_seconds() - start_s;
    return rc;
}

static bool shares(const struct evaluation *v) {
    return v->rows.n_own > 0 && v->project.data.share_rows;
}

/* The rows as the teacher may see them: `seen` is filled where that is not all of them. */
static int view_rows(struct evaluation *v, struct rows *seen, const struct rows **rows, struct err *e) {
    *rows = &v->rows;
    if (!shares(v) || v->project.data.n_share_columns == 0)
        return 0;
    int rc = sharing_check(&v->project, &v->task, e);
    if (rc == 0)
        rc = sharing_view(&v->project, &v->task, &v->rows, seen, e);
    *rows = seen;
    return rc;
}

/* Once it is agreed to; own rows are entered in the ledger before they go. */
static int ask_agreed(struct evaluation *v, struct teacher *t, struct store *s, const struct rows *rows,
                      struct err *e) {
    struct sharing x = {"eval", v->rows.source, teacher_name(t), v->rows.n_own};
    int rc = agree(v, t, rows);
    if (rc == 0 && shares(v))
        rc = sharing_enter(s, &v->project, &v->task, &x, e);
    return rc == 0 ? ask_teacher(v, t, rows, e) : rc;
}

/* Asks for what is not known yet. */
static int label_rows(struct evaluation *v, struct teacher *t, struct store *s, const char *key,
                      struct err *e) {
    struct evaluated *one = &v->one[WHO_TEACHER];
    struct result r = result_of(v, WHO_TEACHER, key, teacher_name(t));
    struct rows seen = {0};
    const struct rows *rows;
    r.validation = NULL;
    int rc = view_rows(v, &seen, &rows, e);
    if (rc == 0)
        rc = ask_agreed(v, t, s, rows, e);
    rows_release(&seen);
    if (rc == ERR_GATE) { /* the others' figures are worth having without it */
        snprintf(one->skipped, sizeof one->skipped, "%.200s: %.100s", e->message, e->hint);
        one->waiting = true;
        err_clear(e);
        return 0;
    }
    return rc == 0 ? keep(v, WHO_TEACHER, &r, e) : rc;
}

/* Whose answers, to which view of the rows. */
static const char *teacher_identity(struct evaluation *v, const struct teacher *t) {
    struct arena *a = &v->project.arena;
    const char *text =
        arena_printf(a, "%s %s", teacher_name(t), teacher_style(t) == PROTOCOL_PLAIN ? "plain" : "full");
    for (int i = 0; i < v->project.data.n_share_columns && shares(v) && text; i++)
        text = arena_printf(a, "%s\n%s", text, v->project.data.share_columns[i]);
    return text;
}

static int run_teacher(struct evaluation *v, bool recall, struct err *e) {
    struct evaluated *one = &v->one[WHO_TEACHER];
    struct store *s = NULL;
    struct teacher *t = NULL;
    char key[SHA256_HEX];
    teacher_refusal(v, one->skipped, sizeof one->skipped);
    if (one->skipped[0])
        return 0;
    const char *path = project_path(&v->project, PROJECT_RECORDS); /* the journal */
    if (recall && path && !file_exists(path))
        return 0;
    int rc = path ? store_open(&s, path, STORE_WRITE, e)
                  : err_set(e, ERR_NO_MEMORY, "evaluation_run", "out of memory");
    if (rc == 0)
        rc = teaching_open(v->settings->c, &v->project, s, &t);
    if (rc == 0) {
        const char *name = teacher_identity(v, t);
        make_key(v, WHO_TEACHER, name ? name : "", key);
        if (!reuse(v, WHO_TEACHER, key) && !recall)
            rc = label_rows(v, t, s, key, e);
    }
    teacher_close(t);
    store_close(s);
    return rc;
}

int evaluation_run(struct evaluation *v, enum who w) {
    struct err *e = &v->settings->c->err;
    return w == WHO_TEACHER ? run_teacher(v, false, e) : run_model(v, w, false, e);
}

int evaluation_recall(struct evaluation *v, enum who w) {
    struct err *e = &v->settings->c->err;
    int rc = w == WHO_TEACHER ? run_teacher(v, true, e) : run_model(v, w, true, e);
    v->one[w].skipped[0] = 0;
    return rc;
}
