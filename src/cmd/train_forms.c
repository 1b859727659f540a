/* Trying forms until the choice is clear; the chosen training becomes the stage's. A run that was stopped goes on in the form
 * where it was, and what has been trained and scored is not done again. */
#include "cmd/train_forms.h"
#include "base/file.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "compress/forms.h"
#include "format/json.h"
#include "llama/lm.h"
#include "plan/plan.h"
#include "store/store.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMS_FORMAT "edgestill.forms/1"

struct choosing {
    struct cmd_ctx *c;
    struct err *e;
    train_form_fn *train;
    struct project project;
    struct task task;
    struct str base;
    struct rows rows; /* of the validation split */
    struct form_trial trials[FORMS_COUNT];
    const char *reason;
};

static const char *trial_path(struct choosing *x, const struct form_trial *f, const char *name) {
    const char *whole = arena_printf(&x->project.arena, "forms/%s%s%s", f->name, *name ? "/" : "", name);
    const char *path = whole ? project_path(&x->project, whole) : NULL;
    if (!path)
        err_set(x->e, ERR_NO_MEMORY, "train", "out of memory");
    return path;
}

/* ---- before ---- */

static int read_rows(struct choosing *x) {
    struct store *s = NULL;
    int64_t n = 0;
    const char *path = project_path(&x->project, PROJECT_RECORDS);
    int rc = path ? store_open(&s, path, STORE_READ, x->e)
                  : err_set(x->e, ERR_NO_MEMORY, "train", "out of memory");
    if (rc == ERR_NOT_FOUND)
        err_hint(x->e, "make the records first: %s", project_command(&x->project, "generate"));
    if (rc == 0)
        rc = store_accepted_count(s, STORE_VALIDATION, &n, x->e);
    if (rc == 0 && n == 0) {
        rc = err_set(x->e, ERR_INPUT, "train",
                     "a form is chosen by its answers to validation records, and there are none");
        err_hint(x->e, "name the form (--form none-compact), or split some off: %s",
                 project_command(&x->project, "generate --split 90/10/0"));
    }
    if (rc == 0)
        rc = rows_from_store(&x->rows, &x->task, s, PROJECT_RECORDS, STORE_VALIDATION,
                             &(struct rows_options){0}, x->e);
    store_close(s);
    return rc;
}

static int open_all(struct choosing *x) {
    struct plan plan = {0};
    int rc = project_open(&x->project, x->c->project_dir, x->e);
    if (rc == 0)
        rc = project_task(&x->project, true, &x->task, x->e);
    if (rc == 0 && x->task.kind != TASK_CLASSIFY)
        rc = err_set(x->e, ERR_UNSUPPORTED, "train",
                     "--form auto compares labels; this task's answers are written: name the form");
    if (rc == 0)
        rc = project_plan(&x->project, &plan, x->e);
    if (rc == 0)
        rc = plan_base_file(&plan, &x->base, x->e);
    plan_release(&plan);
    if (rc == 0)
        rc = lm_backend_init(NULL, x->e);
    if (rc == 0)
        rc = read_rows(x);
    return rc < 0 ? rc : forms_list(x->trials, str_text(&x->base), &x->task, &x->rows, x->e);
}

static void close_all(struct choosing *x) {
    forms_release(x->trials);
    rows_release(&x->rows);
    str_release(&x->base);
    task_release(&x->task);
    project_release(&x->project);
}

/* ---- one trial ---- */

/* Scores belong to a file and to rows: both hashes are in their name. */
static const char *scores_path(struct choosing *x, const struct form_trial *f, const char *gguf) {
    char hex[SHA256_HEX];
    if (sha256_file(gguf, hex, x->e) < 0)
        return NULL;
    const char *name =
        arena_printf(&x->project.arena, "validation-%.16s-%.16s.rows.csv", hex, x->rows.sha256);
    return name ? trial_path(x, f, name) : NULL;
}

static int score(struct choosing *x, struct form_trial *f) {
    struct progress p;
    const char *gguf = trial_path(x, f, "merged-f16.gguf"), *kept = gguf ? scores_path(x, f, gguf) : NULL;
    if (!kept)
        return x->e->code ? x->e->code : ERR_NO_MEMORY;
    if (scores_read(&f->scores, &x->task, kept, NULL) == 0 && f->scores.n == x->rows.n)
        return 0;
    scores_release(&f->scores);
    int rc = scores_init(&f->scores, &x->task, &x->rows, x->e);
    if (rc < 0)
        return rc;
    struct score_options o = {.n_threads = (int)cmd_int(x->c, "threads", 0)};
    progress_begin(&p, "score validation records", "row", x->rows.n);
    rc = score_model(&f->scores, gguf, &x->task, &x->rows, &o, &p, x->e);
    progress_end(&p);
    return rc < 0 ? rc : scores_write(&f->scores, &x->task, &x->rows, kept, x->e);
}

static int try(struct choosing *x, struct form_trial *f) {
    const char *folder = arena_printf(&x->project.arena, "forms/%s", f->name);
    cmd_print(x->c, "\n%s: %.0f tokens a decision\n", f->name, f->tokens);
    int rc =
        folder ? x->train(x->c, folder, f->name) : err_set(x->e, ERR_NO_MEMORY, "train", "out of memory");
    if (rc == 0)
        rc = score(x, f);
    f->tried = rc == 0;
    return rc;
}

/* ---- the chosen one becomes the stage's ---- */

/* "forms/NAME/x" of the keys becomes "train/x". */
static json_t *renamed(const json_t *map, const char *from) {
    json_t *out = json_object(), *value;
    const char *key;
    size_t n = strlen(from);
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        char name[256];
        bool ours = strncmp(key, from, n) == 0 && key[n] == '/';
        snprintf(name, sizeof name, "train%s", ours ? key + n : "");
        json_object_set(out, ours ? name : key, value);
    }
    return out;
}

/* Models are large and only ever replaced whole: the same file under two names. The log grows in place: a copy. */
static int place(struct choosing *x, const char *from, const char *to) {
    const char *source = project_path(&x->project, from), *target = project_path(&x->project, to);
    if (!source || !target)
        return err_set(x->e, ERR_NO_MEMORY, "train", "out of memory");
    unlink(target);
    if (str_ends(source, ".gguf") && link(source, target) == 0)
        return 0;
    return file_copy(source, target, x->e);
}

/* The stage's manifest is the trial's, but for the names and for the form, which was asked to be chosen. */
static int adopt(struct choosing *x, const struct form_trial *f) {
    json_t *m = NULL, *value;
    const char *key, *path = trial_path(x, f, "manifest.json"), *folder = project_path(&x->project, "train"),
                     *to = project_path(&x->project, MANIFEST_TRAIN),
                     *from = arena_printf(&x->project.arena, "forms/%s", f->name);
    if (!path || !folder || !to || !from)
        return err_set(x->e, ERR_NO_MEMORY, "train", "out of memory");
    int rc = file_make_folders(folder, x->e);
    if (rc == 0)
        rc = json_file_read(path, &m, x->e);
    if (rc < 0)
        return rc;
    json_t *outputs = renamed(json_object_get(m, "outputs"), from);
    json_object_foreach(json_object_get(m, "outputs"), key, value) {
        const char *name = strrchr(key, '/');
        const char *target = arena_printf(&x->project.arena, "train%s", name ? name : "");
        rc = rc == 0 && target ? place(x, key, target) : rc;
    }
    json_object_set_new(m, "outputs", outputs);
    json_object_set_new(m, "stat", renamed(json_object_get(m, "stat"), from));
    json_object_set_new(json_object_get(m, "settings"), "form", json_string("auto"));
    if (rc == 0)
        rc = json_file_write(to, m, x->e);
    json_decref(m);
    return rc;
}

/* ---- what came out ---- */

static json_t *trial_json(const struct form_trial *f) {
    json_t *j = json_pack("{s:s, s:f, s:b, s:b}", "form", f->name, "tokens", f->tokens, "tried", f->tried,
                          "chosen", f->chosen);
    if (f->tried) {
        json_object_set_new(j, "accuracy", json_real(f->accuracy));
        json_object_set_new(j, "difference", json_real(f->difference));
        json_object_set_new(j, "standard_error", json_real(f->standard_error));
    }
    return j;
}

static int write_choice(struct choosing *x, const struct form_trial *chosen) {
    json_t *list = json_array();
    for (int i = 0; i < FORMS_COUNT; i++)
        json_array_append_new(list, trial_json(&x->trials[i]));
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:o}", "format", FORMS_FORMAT, "chosen", chosen->name,
                          "reason", x->reason, "validation_rows", (json_int_t)x->rows.n, "forms", list);
    const char *path = project_path(&x->project, "train/forms.json");
    int rc =
        j && path ? json_file_write(path, j, x->e) : err_set(x->e, ERR_NO_MEMORY, "train", "out of memory");
    json_object_set(x->c->result, "form", json_object_get(j, "chosen"));
    json_object_set(x->c->result, "forms", json_object_get(j, "forms"));
    json_decref(j);
    return rc;
}

static void print_choice(const struct choosing *x, const struct form_trial *chosen) {
    cmd_print(x->c, "\n%-16s %8s %9s  %s\n", "form", "tokens", "accuracy",
              "points from the best, one standard error");
    for (int i = 0; i < FORMS_COUNT; i++) {
        const struct form_trial *f = &x->trials[i];
        cmd_print(x->c, "%-16s %8.1f", f->name, f->tokens);
        if (f->tried)
            cmd_print(x->c, " %8.1f%%  %+.1f +- %.1f%s\n", 100 * f->accuracy, 100 * f->difference,
                      100 * f->standard_error, f->chosen ? "  chosen" : "");
        else
            cmd_print(x->c, " %9s  not tried: more tokens than the chosen one\n", "");
    }
    cmd_print(x->c, "the student reads %s: %s (%lld validation records)\n", chosen->name, x->reason,
              (long long)x->rows.n);
}

static int choose(struct choosing *x) {
    int rc = open_all(x), at;
    while (rc == 0 && (at = forms_next(x->trials)) >= 0)
        rc = try(x, &x->trials[at]);
    if (rc < 0)
        return rc;
    const struct form_trial *chosen = &x->trials[forms_choose(x->trials)];
    x->reason = chosen->form.instruction == PROMPT_FULL && chosen->form.layout == PROMPT_LABELLED
                    ? "every shorter one answers worse"
                    : "the fewest tokens among those that answer as well, within one standard error";
    rc = adopt(x, chosen);
    if (rc == 0)
        rc = write_choice(x, chosen);
    if (rc == 0)
        print_choice(x, chosen);
    return rc;
}

int train_forms(struct cmd_ctx *c, train_form_fn *train) {
    struct choosing x = {.c = c, .e = &c->err, .train = train};
    int rc = choose(&x);
    close_all(&x);
    return rc;
}
