/* See where_wrong.h. */
#include "cmd/where_wrong.h"
#include "base/log.h"
#include "cmd/manifest.h"
#include "eval/score.h"
#include "format/json.h"
#include "synth/rounds.h"
#include "synth/state.h"
#include <stdlib.h>

#define ORIGIN "generate"

/* ---- the student ---- */

/* The merged student, if it was trained on just the records that are there. */
static int find_student(struct where_wrong *w, const char **path) {
    struct err *e = &w->c->err;
    char hex[SHA256_HEX];
    json_t *document = NULL;
    const char *manifest = project_path(w->project, MANIFEST_TRAIN);
    *path = project_path(w->project, "train/merged-f16.gguf");
    if (!manifest || !*path)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int rc = store_records_hash(w->store, STORE_TRAIN, hex, e);
    bool trained =
        rc == 0 && json_file_read(manifest, &document, NULL) == 0 &&
        str_equal(json_string_value(json_object_get(json_object_get(document, "inputs"), "records:train")),
                  hex);
    json_decref(document);
    if (rc < 0 || trained)
        return rc;
    err_set(e, ERR_INPUT, ORIGIN, "there is no student trained on the records as they are");
    return err_hint(e, "train it first: %s", project_command(w->project, "train"));
}

/* wrong[rows->n], to free(). */
static int find_errors(struct where_wrong *w, const struct rows *rows, bool **wrong) {
    struct err *e = &w->c->err;
    struct scores scores = {0};
    struct progress progress;
    const char *path;
    int rc = find_student(w, &path);
    if (rc < 0 || (rc = scores_init(&scores, w->task, rows, e)) < 0)
        return rc;
    bool *out = calloc((size_t)rows->n + 1, sizeof *out);
    if (!out)
        rc = err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    if (rc == 0) {
        progress_begin(&progress, "student on validation rows", "row", rows->n);
        rc = score_model(&scores, path, w->task, rows, &(struct score_options){0}, &progress, e);
        progress_end(&progress);
    }
    for (int64_t i = 0; i < rows->n && rc == 0; i++)
        out[i] = scores.answer[i] != scores.truth[i];
    scores_release(&scores);
    if (rc < 0)
        free(out);
    else
        *wrong = out;
    return rc;
}

/* ---- is another round worth it? ---- */

static int money_spent(struct where_wrong *w, double *money) {
    struct store_ledger l;
    int rc = store_ledger(w->store, NULL, &l, &w->c->err);
    if (rc == 0)
        *money = l.used.money + l.reserved.money;
    return rc;
}

static void stop(struct where_wrong *w, json_t *round, const char *why) {
    json_object_set_new(round, "stopped", json_string(why));
    cmd_print(w->c, "%-10s no further one: %s\n", "round", why);
}

/* What the latest round brought for a dollar, or for 100 records where nothing was paid; false: less than asked for. */
static bool was_worth_it(struct where_wrong *w, const struct round *last, const struct round *now,
                         json_t *round) {
    double before = 1 - (double)last->wrong / (double)last->n,
           after = 1 - (double)now->wrong / (double)now->n;
    double money = now->money - last->money, points = 100 * (after - before);
    double records = (double)(now->records - last->records);
    double rate = money > 0 ? points / money : records > 0 ? 100 * points / records : 0;
    json_object_set_new(round, "last",
                        json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:s}", "number", last->number, "before",
                                  before, "after", after, "records", records, "money", money, "gain", rate,
                                  "gain_of", money > 0 ? "points for a dollar" : "points for 100 records"));
    cmd_print(w->c,
              "%-10s %d: %.0f records for $%.4f took the student from %.1f%% to %.1f%%: %+.2f points %s\n",
              "round", last->number, records, money, 100 * before, 100 * after, rate,
              money > 0 ? "for a dollar" : "for 100 records");
    return rate >= w->least_gain;
}

static int plan_round(struct where_wrong *w, const struct rows *rows, const bool *wrong, struct round *r) {
    int64_t n_labels = w->task->kind == TASK_CLASSIFY ? w->task->n_labels : 1;
    int64_t n = w->n_round > 0 ? w->n_round : w->n_records / 5;
    r->each = (n + n_labels - 1) / n_labels;
    int rc = rounds_plan(w->store, w->task, w->n_records, rows, wrong, r, &w->c->err);
    if (rc == 0)
        w->planned = w->is_new = true;
    return rc;
}

static int decide(struct where_wrong *w, const struct rows *rows, const bool *wrong, json_t *round) {
    struct round last = {0}, now = {.n = rows->n};
    int n_rounds = 0, rc = rounds_latest(w->store, &n_rounds, &last, &w->c->err);
    for (int64_t i = 0; i < rows->n; i++)
        now.wrong += wrong[i];
    if (rc == 0)
        rc = money_spent(w, &now.money);
    if (rc == 0)
        rc = store_accepted_count(w->store, STORE_ALL_SPLITS, &now.records, &w->c->err);
    if (rc < 0)
        return rc;
    json_object_set_new(round, "done", json_integer(n_rounds));
    json_object_set_new(round, "validation",
                        json_pack("{s:I, s:I}", "rows", (json_int_t)rows->n, "wrong", (json_int_t)now.wrong));
    bool worth = n_rounds == 0 || was_worth_it(w, &last, &now, round);
    if (now.wrong == 0) {
        stop(w, round, "the student answers every validation row right");
    } else if (n_rounds >= w->most) {
        stop(w, round, "there were as many as allowed (--rounds)");
    } else if (!worth) {
        stop(w, round, "the last one brought less than --least-gain asks for");
    } else if ((rc = plan_round(w, rows, wrong, &now)) == 0) {
        json_object_set_new(round, "number", json_integer(now.number));
        json_object_set_new(round, "records", json_integer(now.each));
        cmd_print(w->c,
                  "%-10s %d: the student is wrong on %lld of %lld validation rows; %lld records a label from "
                  "there\n",
                  "round", now.number, (long long)now.wrong, (long long)now.n, (long long)now.each);
    }
    return rc;
}

/* Records that the quotas still want: of the main set, or of the latest round. */
static int count_missing(struct where_wrong *w, int64_t *missing) {
    struct grid g;
    struct err *e = &w->c->err;
    int rc = grid_init(&g, w->task, w->n_records, e);
    if (rc < 0)
        return rc;
    rc = rounds_apply(&g, w->store, e);
    if (rc == 0)
        rc = state_load(&g, w->task, w->store, e);
    *missing = grid_missing_all(&g);
    grid_release(&g);
    return rc;
}

int where_wrong_plan(struct where_wrong *w) {
    struct err *e = &w->c->err;
    struct rows rows = {0};
    bool *wrong = NULL;
    int64_t missing = 0;
    int n_rounds = 0, rc = count_missing(w, &missing);
    if (rc == 0)
        rc = rounds_latest(w->store, &n_rounds, NULL, e);
    if (rc == 0 && missing > 0 && n_rounds > 0) { /* stopped on the way: that comes first */
        w->planned = true;
        return 0;
    }
    if (rc == 0)
        rc = rows_from_store(&rows, w->task, w->store, PROJECT_RECORDS, STORE_VALIDATION,
                             &(struct rows_options){0}, e);
    if (rc < 0)
        return rc;
    json_t *round = json_object();
    rc = find_errors(w, &rows, &wrong);
    if (rc == 0)
        rc = decide(w, &rows, wrong, round);
    json_object_set_new(w->c->result, "round", round);
    free(wrong);
    rows_release(&rows);
    return rc;
}

int where_wrong_forget(struct where_wrong *w) {
    int rc = w->is_new ? rounds_end(w->store, -1, &w->c->err) : 0;
    w->is_new = w->planned = false;
    return rc;
}
