/* Collects a project's report from what the stages left behind. A part that is not there yet is null; one that cannot be
 * read is an error, because a report that leaves something out in silence is worse than none; a receipt is left out aloud. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cmd/plan_text.h"
#include "cmd/report.h"
#include "cmd/sharing.h"
#include "cmd/stages.h"
#include "config.h"
#include "format/json.h"
#include "llama/lm.h"
#include "store/store.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "report", "out of memory");
}

/* A JSON file of the project: null where there is none. */
static int read_part(struct project *p, const char *name, json_t **out, struct err *e) {
    const char *path = project_path(p, name);
    if (path == NULL)
        return no_memory(e);
    if (!file_exists(path)) {
        *out = json_null();
        return 0;
    }
    return json_file_read(path, out, e);
}

/* ---- stages and versions ---- */

static int gather_stages(struct project *p, json_t *document, struct err *e) {
    struct stage_report reports[N_STAGES];
    int code = stages_inspect(p, reports, e);
    if (code < 0)
        return code;
    json_t *list = json_array(), *versions = json_object();
    json_object_set_new(versions, "edgestill", json_string(EDGESTILL_VERSION));
    json_object_set_new(versions, "llama.cpp", json_string(lm_version()));
    for (int i = 0; i < N_STAGES && code == 0; i++) {
        json_t *one = json_pack("{s:s, s:s, s:s}", "stage", stages[i].verb, "state",
                                stage_state_text(reports[i].state), "reason", reports[i].reason);
        json_t *manifest = json_null();
        if (stages[i].manifest != NULL)
            code = read_part(p, stages[i].manifest, &manifest, e);
        if (json_is_object(manifest)) {
            json_object_set(one, "seconds", json_object_get(manifest, "seconds"));
            json_object_set(one, "made", json_object_get(manifest, "created_at"));
            json_object_set(one, "settings", json_object_get(manifest, "settings"));
            json_object_update_missing(versions, json_object_get(manifest, "versions"));
        }
        json_decref(manifest);
        json_array_append_new(list, one);
    }
    json_object_set_new(document, "stages", list);
    json_object_set_new(document, "versions", versions);
    return code;
}

/* ---- task and plan ---- */

static int gather_task(struct project *p, json_t *document, struct err *e) {
    struct task t;
    struct str text = {0};
    struct err gate = {0};
    if (project_task(p, false, &t, &gate) < 0) {
        const char *path = project_path(p, "task.yaml");
        json_object_set_new(document, "task", json_null());
        return path != NULL && file_exists(path) ? err_set(e, gate.code, gate.origin, "%s", gate.message) : 0;
    }
    int code = task_to_json(&t, &text, e);
    if (code == 0)
        json_object_set_new(document, "task", json_loadb(text.data, text.len, 0, NULL));
    str_release(&text);
    task_release(&t);
    return code;
}

static int gather_plan(struct project *p, json_t *document, struct err *e) {
    struct plan plan;
    struct err gate = {0};
    (void)e;
    if (project_plan(p, &plan, &gate) < 0) { /* not accepted, or void: the stages say so */
        json_object_set_new(document, "plan", json_null());
        return 0;
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:I, s:I, s:i, s:s, s:b, s:b, s:s}", "device",
                          plan.device, "base", plan.base, "method", plan_method_text(plan.method), "rank",
                          plan.rank, "quantisation", plan.quantisation, "context", (json_int_t)plan.context,
                          "ubatch", (json_int_t)plan.ubatch, "threads", plan.threads, "kv_type",
                          plan_kv_type_text(plan.kv_type), "label_scoring", plan.label_scoring,
                          "prefix_state", plan.prefix_state, "reason", plan.reason);
    json_object_set_new(j, "tokens",
                        json_pack("{s:I, s:I, s:I}", "prefix", (json_int_t)plan.prefix_tokens, "record",
                                  (json_int_t)plan.record_tokens, "answer", (json_int_t)plan.answer_tokens));
    json_object_set_new(j, "predicted", plan_json_prediction(&plan.predicted));
    json_object_set_new(document, "plan", j);
    plan_release(&plan);
    return 0;
}

/* ---- records ---- */

static void add_count(json_t *map, const char *key, int64_t n) {
    json_object_set_new(map, key, json_integer(json_integer_value(json_object_get(map, key)) + n));
}

static json_t *member(json_t *map, const char *key) {
    json_t *inner = json_object_get(map, key);
    if (inner == NULL) {
        inner = json_object();
        json_object_set_new(map, key, inner);
    }
    return inner;
}

static int take_count(void *context, const struct store_count *c, struct err *e) {
    (void)e;
    json_t *records = context;
    const char *label = c->label != NULL ? c->label : "none";
    if (c->status == STORE_ACCEPTED) {
        json_t *by_label = member(member(records, "labels"), label);
        add_count(by_label, "accepted", c->n);
        add_count(by_label, store_split_text(c->split), c->n);
    } else if (c->status == STORE_REJECTED) {
        add_count(member(records, "rejected"), c->reason != NULL ? c->reason : "no reason", c->n);
    } else {
        add_count(records, store_status_text(c->status), c->n);
    }
    return 0;
}

static json_t *ledger_json(const struct store_ledger *l) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "sent", (json_int_t)l->n_sent, "answered",
                     (json_int_t)l->n_answered, "failed", (json_int_t)l->n_failed, "doubt",
                     (json_int_t)l->n_doubt, "tokens_in", (json_int_t)l->used.tokens_in, "tokens_out",
                     (json_int_t)l->used.tokens_out, "money", l->used.money, "seconds", l->seconds);
}

/* Own rows that a teacher could have been asked about and was not. */
static bool kept_back(const struct project *p) {
    const struct project_data *d = &p->data;
    return (d->path || d->eval_path) && !d->share_rows && strcmp(p->teacher.kind, "none") != 0;
}

static int gather_records(struct project *p, json_t *document, struct err *e) {
    const char *path = project_path(p, PROJECT_RECORDS);
    struct store *s = NULL;
    json_object_set_new(document, "records", json_null());
    if (path == NULL || !file_exists(path))
        return path != NULL ? 0 : no_memory(e);
    int code = store_open(&s, path, STORE_READ, e);
    if (code < 0)
        return code;
    static const char *const purposes[] = {NULL, "draft", "write", "label"};
    json_t *records = json_pack("{s:{}, s:{}}", "labels", "rejected"), *ledger = json_object();
    code = store_counts_each(s, take_count, records, e);
    for (size_t i = 0; i < sizeof purposes / sizeof *purposes && code == 0; i++) {
        struct store_ledger l = {0};
        code = store_ledger(s, purposes[i], &l, e);
        json_object_set_new(ledger, purposes[i] != NULL ? purposes[i] : "all", ledger_json(&l));
    }
    json_object_set_new(records, "ledger", ledger);
    json_object_set_new(records, "shared", sharing_ledger(s));
    json_object_set_new(records, "kept_back", json_boolean(kept_back(p)));
    json_object_set_new(document, "records", records);
    store_close(s);
    return code;
}

/* ---- training ---- */

/* The log's lines that have a step: at most a few hundred, evenly chosen, and every line with a validation figure. */
static json_t *thin_curve(const json_t *all) {
    enum { MOST = 300 };
    json_t *out = json_array(), *line;
    size_t n = json_array_size(all), every = n / MOST + 1, i;
    json_array_foreach(all, i, line) {
        if (i % every == 0 || i + 1 == n || json_object_get(line, "validation_loss") != NULL ||
            json_object_get(line, "validation_accuracy") != NULL)
            json_array_append(out, line);
    }
    return out;
}

/* Lines with a step are the curve; what the run said of itself at its start (memory, rows) stands beside it. */
static int gather_training(struct project *p, json_t *document, struct err *e) {
    const char *path = project_path(p, "train/log.jsonl");
    struct str text = {0};
    json_object_set_new(document, "training", json_null());
    if (path == NULL || !file_exists(path))
        return path != NULL ? 0 : no_memory(e);
    int code = file_read(path, 0, &text, e);
    json_t *lines = json_array(), *training = json_object();
    for (char *line = text.data; code == 0 && line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        json_t *one = json_loadb(line, end != NULL ? (size_t)(end - line) : strlen(line), 0, NULL);
        if (json_is_object(one) && json_object_get(one, "step") != NULL)
            json_array_append(lines, one);
        else if (json_is_object(one))
            json_object_update(training, one);
        json_decref(one);
        line = end != NULL ? end + 1 : NULL;
    }
    json_object_del(training, "event");
    json_object_set_new(training, "curve", thin_curve(lines));
    json_object_set_new(document, "training", training);
    json_decref(lines);
    str_release(&text);
    return code;
}

/* ---- evaluation, bundle, receipts ---- */

static int gather_eval(struct project *p, json_t *document, struct err *e) {
    static const char *const files[][2] = {{"base", "eval/base.json"},
                                           {"student_f16", "eval/student-f16.json"},
                                           {"student_quant", "eval/student-quant.json"},
                                           {"teacher", "eval/teacher.json"}};
    json_t *summary = NULL, *details = json_object();
    int code = read_part(p, "eval/summary.json", &summary, e);
    for (size_t i = 0; i < sizeof files / sizeof *files && code == 0; i++) {
        json_t *one = NULL;
        code = read_part(p, files[i][1], &one, e);
        if (json_is_object(one) && json_object_get(summary, files[i][0]) != NULL)
            json_object_set(details, files[i][0], one);
        json_decref(one);
    }
    if (json_is_object(summary))
        json_object_set(summary, "details", details);
    json_object_set_new(document, "eval", summary != NULL ? summary : json_null());
    json_decref(details);
    return code;
}

/* compress.json as it is: candidates, steps, why. */
static int gather_compress(struct project *p, json_t *document, struct err *e) {
    json_t *compress = NULL;
    int code = read_part(p, "model/compress.json", &compress, e);
    json_object_set_new(document, "compress", compress != NULL ? compress : json_null());
    return code;
}

static int is_json(const struct dirent *d) {
    return d->d_name[0] != '.' && str_ends(d->d_name, ".json");
}

/* One that cannot be read is left out, and it is said. */
static int gather_receipt(struct project *p, const char *name, json_t *list, struct err *e) {
    struct err why = {0};
    json_t *one = NULL;
    int code = name != NULL ? read_part(p, name, &one, &why) : no_memory(e);
    if (json_is_object(one)) {
        json_object_set_new(one, "file", json_string(name));
        json_array_append(list, one);
    }
    json_decref(one);
    if (name == NULL)
        return code;
    if (code == ERR_NO_MEMORY)
        return err_set(e, code, "report_gather", "%s", why.message);
    if (code < 0)
        log_warn("the report leaves out %s: %s; another self-test writes it anew", name, why.message);
    return 0;
}

/* receipts/: what self-tests measured, one file a device; by name. */
static int gather_receipts(struct project *p, json_t *document, struct err *e) {
    const char *folder = project_path(p, "receipts");
    struct dirent **names = NULL;
    json_t *list = json_array();
    int code = folder != NULL ? 0 : no_memory(e),
        n = folder != NULL ? scandir(folder, &names, is_json, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        if (code == 0)
            code = gather_receipt(p, arena_printf(&p->arena, "receipts/%s", names[i]->d_name), list, e);
        free(names[i]);
    }
    free(names);
    json_object_set_new(document, "receipts", list);
    return code;
}

/* dist/NAME/bundle.json: when the device leaves a record undecided. The newest bundle's, where there are several. */
static int gather_abstain(struct project *p, json_t *document, struct err *e) {
    json_t *manifest = NULL, *outputs, *hash;
    const char *name;
    json_object_set_new(document, "abstain", json_null());
    int code = read_part(p, MANIFEST_BUNDLE, &manifest, e);
    outputs = json_object_get(manifest, "outputs");
    json_object_foreach(outputs, name, hash) {
        json_t *bundle = NULL;
        if (code == 0 && str_ends(name, "/bundle.json"))
            code = read_part(p, name, &bundle, e);
        if (json_is_object(json_object_get(bundle, "abstain")))
            json_object_set(document, "abstain", json_object_get(bundle, "abstain"));
        json_decref(bundle);
    }
    json_decref(manifest);
    return code;
}

static void gather_files(struct project *p, json_t *document) {
    const char *student = project_path(p, "model/student.gguf");
    int64_t size = student != NULL ? file_size(student) : -1;
    json_object_set_new(document, "model_bytes", size >= 0 ? json_integer(size) : json_null());
}

int report_gather(struct project *p, json_t **out, struct err *e) {
    char now[32];
    json_t *document =
        json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:I}}", "format", REPORT_FORMAT, "made",
                  clock_iso(now, clock_unix_ms()), "project", "folder", p->dir, "sentence", p->sentence,
                  "device", p->device, "teacher", p->teacher.kind, "seed", (json_int_t)p->seed);
    if (document == NULL)
        return no_memory(e);
    int code = gather_stages(p, document, e);
    int (*const parts[])(struct project *, json_t *,
                         struct err *) = {gather_task, gather_plan,    gather_records,  gather_training,
                                          gather_eval, gather_abstain, gather_receipts, gather_compress};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && code == 0; i++)
        code = parts[i](p, document, e);
    gather_files(p, document);
    if (code == 0)
        json_object_set_new(document, "comparison", report_comparison(document));
    if (code == 0)
        json_object_set_new(document, "runners", report_runners(p, document));
    if (code < 0) {
        json_decref(document);
        return err_context(e, "gathering the report");
    }
    *out = document;
    return 0;
}
