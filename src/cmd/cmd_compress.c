/* `edgestill compress`: cuts the student's vocabulary to the task's, chooses types for its tensors by what its training rows tell,
 * recovers what was lost where that is needed, and measures on validation rows what each step cost. Writes model/student.gguf,
 * model/imatrix.gguf, model/sensitivity.gguf, model/compress.json, model/ledger.csv. */
#include "base/file.h"
#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/compress_text.h"
#include "cmd/manifest.h"
#include "cmd/plan_feedback.h"
#include "cmd/project.h"
#include "compress/compress.h"
#include "format/json.h"
#include "llama/lm.h"
#include "plan/plan.h"
#include "plan/rates.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option_def options[] = {
    {"type", OPTION_LIST, "NAME",
     "quantisation, e.g. Q4_K_M; several: the smallest is chosen that answers as well as the 16-bit file "
     "(default: as planned, and 4.5 bits a weight where that is less)",
     NULL},
    {"calibration", OPTION_INT, "N", "training rows for the importance matrix", "256"},
    {"size", OPTION_NUMBER, "MB", "choose types so that the tensors take at most so many million bytes",
     NULL},
    {"bits", OPTION_NUMBER, "N", "choose types so that a weight takes at most N bits on average", NULL},
    {"latency", OPTION_NUMBER, "SECONDS", "choose types so that the device decides within so many seconds",
     NULL},
    {"prefer", OPTION_STRING, "WHAT",
     "of the files that answer as well as the 16-bit one: size (the smallest), or speed (the one that "
     "decides soonest "
     "on the device)",
     "size"},
    {"recover", OPTION_STRING, "WHEN",
     "train on through the rounding: auto (when accuracy was lost), always, never", "auto"},
    {"full-vocabulary", OPTION_FLAG, NULL, "keep all of the vocabulary, not just what the task needs", NULL},
    {"reserve", OPTION_INT, "N", "tokens to keep beside those the task needs (default: an eighth of them)",
     NULL},
    {"depth", OPTION_INT, "N",
     "keep N layers: those that matter least go, and the others are trained to answer as all did", NULL},
    {"no-search", OPTION_FLAG, NULL, "types as llama.cpp mixes them, without the searched ones", NULL},
    {"imatrix", OPTION_STRING, "FILE",
     "quantise with this importance matrix instead of one of the training rows", NULL},
    {"no-imatrix", OPTION_FLAG, NULL, "quantise without an importance matrix (and without a search)", NULL},
    {"tolerance", OPTION_NUMBER, "X", "with several types: accuracy that may be lost", "0.005"},
    {"threads", OPTION_INT, "N", "threads to compute with (default: one a core)", NULL},
    {"force", OPTION_FLAG, NULL, "compress again what is up to date", NULL},
    {0},
};

struct compression {
    struct cmd_ctx *c;
    struct err *e;
    struct project project;
    struct task task;
    struct plan plan;
    struct catalog catalog;
    struct plan_feedback feedback;
    struct rows training, validation;
    struct manifest manifest;
    char rates_sha256[SHA256_HEX]; /* of what the device's rates by type are taken to be */
    struct compress_request request;
    struct compress_result result;
};

/* ---- what is to be done ---- */

static int read_recovery(struct compression *x) {
    static const char *const names[] = {"auto", "never", "always"};
    const char *text = cmd_string(x->c, "recover");
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            x->request.recovery = (enum compress_recovery)i;
            return 0;
        }
    return err_set(x->e, ERR_USAGE, "compress", "--recover takes auto, never or always, not \"%s\"", text);
}

static int read_options(struct compression *x) {
    struct cmd_ctx *c = x->c;
    struct compress_request *q = &x->request;
    int64_t n_rows = cmd_int(c, "calibration", 0), n_threads = cmd_int(c, "threads", 0);
    int64_t reserve = cmd_int(c, "reserve", 0), layers = cmd_int(c, "depth", 0);
    double size_mb = cmd_number(c, "size", 0);
    q->tolerance = cmd_number(c, "tolerance", 0);
    q->budget.seconds = cmd_number(c, "latency", 0);
    q->budget.bits = cmd_number(c, "bits", 0);
    q->no_imatrix = cmd_flag(c, "no-imatrix");
    q->no_search = cmd_flag(c, "no-search");
    q->whole_vocabulary = cmd_flag(c, "full-vocabulary");
    q->imatrix = cmd_string(c, "imatrix");
    q->n_types = cmd_list(c, "type", &q->types);
    if (n_rows < 1 || n_threads < 0 || n_threads > 1024 || reserve < 0 || reserve > 1 << 24 ||
        !(q->tolerance >= 0 && q->tolerance <= 1))
        return err_set(x->e, ERR_USAGE, "compress",
                       "--calibration takes a number from 1 on, --threads and --reserve from 0, --tolerance "
                       "from 0 to 1");
    if (cmd_string(c, "depth") && (layers < 1 || layers > DEPTH_MOST_LAYERS))
        return err_set(x->e, ERR_USAGE, "compress", "--depth takes a number of layers, not %lld",
                       (long long)layers);
    if (!(size_mb >= 0 && size_mb < 1e6) || !(q->budget.seconds >= 0) || !(q->budget.bits >= 0))
        return err_set(x->e, ERR_USAGE, "compress", "--size, --bits and --latency take positive numbers");
    q->budget.bytes = (int64_t)(size_mb * 1e6);
    q->calibration.n_rows = n_rows;
    q->layers = (int)layers;
    q->vocabulary.reserve = (int32_t)reserve;
    q->n_threads = (int)n_threads;
    const char *prefer = cmd_string(c, "prefer");
    q->prefer_speed = strcmp(prefer, "speed") == 0;
    if (!q->prefer_speed && strcmp(prefer, "size") != 0)
        return err_set(x->e, ERR_USAGE, "compress", "--prefer takes size or speed, not \"%s\"", prefer);
    return read_recovery(x);
}

/* ---- the device ---- */

/* What the choice of types rests on: rates by type, but not the factor by which a receipt moves all of them, which is gone with the
 * bundle that it is of. */
static void note_rates(struct compression *x, const struct device_rates *r) {
    struct str text = {0};
    for (int i = 0; i < N_TENSOR_TYPES; i++)
        str_addf(&text, "%.6g %.6g ", r->s_per_mac[i], r->s_per_byte[i]);
    sha256_bytes(str_text(&text), text.len, x->rates_sha256);
    str_release(&text);
}

/* The catalogue's or a probe's, then what the newest receipt of the device says. */
static int read_rates(struct compression *x, struct device_rates *out) {
    struct arena *a = &x->plan.arena;
    const struct catalog_device *d;
    int rc = catalog_load(&x->catalog, x->project.dir, x->e);
    if (rc == 0)
        rc = catalog_device_find(&x->catalog, x->project.device, &d, x->e);
    if (rc == 0)
        rc = rates_for_device(&x->catalog, d, a, out, x->e);
    if (rc == 0)
        rc = plan_feedback_read(&x->project, &x->catalog, d, &x->feedback, x->e);
    bool measured = rc == 0 && x->feedback.found;
    if (measured)
        rc = feedback_reads(&x->feedback.run, out, a, x->e);
    if (rc == 0)
        note_rates(x, out);
    return rc == 0 && measured ? feedback_rates(&x->feedback.run, out, a, x->e) : rc;
}

/* How fast the device runs each type. */
static int read_speeds(struct compression *x) {
    struct device_rates rates;
    struct bits_device *out = &x->request.device;
    int rc = read_rates(x, &rates);
    if (rc == 0 && !(out->speeds = rates_by_type(&rates, &x->plan.arena)))
        rc = err_set(x->e, ERR_NO_MEMORY, "compress", "out of memory");
    if (rc < 0)
        return rc;
    out->n_speeds = N_TENSOR_TYPES;
    out->head_rows = x->plan.answer_tokens > 0 ? x->plan.answer_tokens * x->task.n_labels : 1;
    out->tokens_read =
        x->plan.record_tokens + out->head_rows + (x->plan.prefix_state ? 0 : x->plan.prefix_tokens);
    json_object_set_new(x->c->result, "rates", json_string(rates.read_basis));
    return 0;
}

static int read_split(struct compression *x, struct store *s, enum store_split split, struct rows *out) {
    return rows_from_store(out, &x->task, s, PROJECT_RECORDS, split, &(struct rows_options){0}, x->e);
}

static int note_records(struct compression *x, struct store *s) {
    static const struct {
        enum store_split split;
        const char *name;
    } splits[] = {{STORE_TRAIN, "records:train"}, {STORE_VALIDATION, "records:validation"}};
    char hex[SHA256_HEX];
    int rc = 0;
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        rc = store_records_hash(s, splits[i].split, hex, x->e);
        if (rc == 0)
            manifest_input_hash(&x->manifest, splits[i].name, hex);
    }
    return rc;
}

/* Records that were all put into training leave nothing to measure on: that is no error. */
static int open_records(struct compression *x) {
    struct store *s = NULL;
    int64_t n_validation = 0;
    const char *path = project_path(&x->project, PROJECT_RECORDS);
    int rc = path ? store_open(&s, path, STORE_READ, x->e) : ERR_NO_MEMORY;
    if (rc == ERR_NOT_FOUND)
        err_hint(x->e, "make the records first: %s", project_command(&x->project, "generate"));
    if (rc == 0)
        rc = note_records(x, s);
    if (rc == 0)
        rc = read_split(x, s, STORE_TRAIN, &x->training);
    if (rc == 0)
        rc = store_accepted_count(s, STORE_VALIDATION, &n_validation, x->e);
    if (rc == 0 && n_validation > 0)
        rc = read_split(x, s, STORE_VALIDATION, &x->validation);
    store_close(s);
    return rc;
}

/* By its whole name, since manifests take relative ones as the project's. */
static int note_imatrix(struct compression *x) {
    const char *given = x->request.imatrix;
    char *whole = realpath(given, NULL);
    int rc = whole ? manifest_input(&x->manifest, whole, x->e)
                   : err_set_errno(x->e, ERR_NOT_FOUND, "compress", "cannot read %s", given);
    free(whole);
    return rc;
}

static int describe(struct compression *x) {
    struct manifest *m = &x->manifest;
    const struct compress_request *q = &x->request;
    json_t *types = json_array();
    int rc = manifest_init(m, x->project.dir, "compress", MANIFEST_COMPRESS, x->e);
    if (rc == 0)
        rc = manifest_input(m, "train/merged-f16.gguf", x->e);
    if (rc == ERR_NOT_FOUND)
        err_hint(x->e, "train the student first: %s", project_command(&x->project, "train"));
    if (rc == 0)
        rc = manifest_input(m, "task.yaml", x->e);
    if (rc == 0 && q->imatrix)
        rc = note_imatrix(x);
    for (int i = 0; i < q->n_types; i++)
        json_array_append_new(types, json_string(q->types[i]));
    if (rc < 0) {
        json_decref(types);
        return rc;
    }
    manifest_setting(m, "types", types);
    manifest_setting(m, "lean", json_boolean(q->lean));
    manifest_setting(m, "calibration", json_integer(q->no_imatrix ? 0 : q->calibration.n_rows));
    manifest_setting(m, "tolerance", json_real(q->tolerance));
    manifest_setting(m, "size", json_integer(q->budget.bytes));
    manifest_setting(m, "bits", json_real(q->budget.bits));
    manifest_setting(m, "latency", json_real(q->budget.seconds));
    manifest_setting(m, "prefer", json_string(q->prefer_speed ? "speed" : "size"));
    if (q->prefer_speed ||
        q->budget.seconds > 0) /* what was chosen by the device is void when it turns out another */
        manifest_setting(m, "rates", json_string(x->rates_sha256));
    manifest_setting(m, "recover", json_integer(q->recovery));
    manifest_setting(m, "reserve", json_integer(q->vocabulary.reserve));
    manifest_setting(m, "vocabulary", json_string(q->whole_vocabulary ? "full" : "task"));
    if (q->layers > 0) /* older manifests know nothing of it */
        manifest_setting(m, "depth", json_integer(q->layers));
    manifest_setting(m, "search", json_boolean(!q->no_search));
    manifest_setting(m, "imatrix", q->imatrix ? json_string(q->imatrix) : json_null());
    manifest_version(m, "llama.cpp", lm_version());
    return 0;
}

/* What the student was merged from, for the ledger: as training left it. A base that is not there any more is left out. */
static int find_origins(struct compression *x) {
    struct str path = {0};
    json_t *manifest = NULL;
    const char *adapter = project_path(&x->project, "train/adapter.gguf"),
               *trained = project_path(&x->project, "train/manifest.json"),
               *trimmed = project_path(&x->project, "train/base-trimmed.gguf");
    if (!adapter || !trained || !trimmed)
        return err_set(x->e, ERR_NO_MEMORY, "compress", "out of memory");
    json_file_read(trained, &manifest, NULL);
    const json_t *settings = json_object_get(manifest, "settings");
    const char *vocabulary = json_string_value(json_object_get(settings, "vocabulary")),
               *method = json_string_value(json_object_get(settings, "method"));
    bool cut = vocabulary && strcmp(vocabulary, "task") == 0 && file_exists(trimmed),
         adapted = method && strcmp(method, "full") != 0 && file_exists(adapter);
    json_decref(manifest);
    if (cut || plan_base_file(&x->plan, &path, NULL) == 0)
        x->request.base = arena_strdup(&x->project.arena, cut ? trimmed : str_text(&path));
    if (x->request.base && !file_exists(x->request.base))
        x->request.base = NULL;
    x->request.adapter = adapted ? adapter : NULL;
    str_release(&path);
    return 0;
}

static int open_all(struct compression *x) {
    struct compress_request *q = &x->request;
    int rc = read_options(x);
    if (rc == 0)
        rc = project_open(&x->project, x->c->project_dir, x->e);
    if (rc == 0)
        rc = project_hold(&x->project, x->e);
    if (rc == 0)
        rc = project_task(&x->project, true, &x->task, x->e);
    if (rc == 0)
        rc = project_plan(&x->project, &x->plan, x->e);
    if (rc == 0 && q->n_types == 0) {
        q->types = &x->plan.quantisation;
        q->lean = true;
        q->n_types = 1;
    }
    if (rc == 0)
        rc = read_speeds(x);
    if (rc == 0)
        rc = describe(x);
    if (rc == 0)
        rc = open_records(x);
    if (rc == 0)
        rc = find_origins(x);
    if (rc < 0)
        return rc;
    q->source = project_path(&x->project, "train/merged-f16.gguf");
    q->folder = project_path(&x->project, "model");
    q->task = &x->task;
    q->training = &x->training;
    q->validation = &x->validation;
    q->kv_type = plan_kv_type_text(x->plan.kv_type);
    return q->source && q->folder ? 0 : err_set(x->e, ERR_NO_MEMORY, "compress", "out of memory");
}

static void close_all(struct compression *x) {
    compress_release(&x->result);
    manifest_release(&x->manifest);
    rows_release(&x->training);
    rows_release(&x->validation);
    plan_feedback_release(&x->feedback);
    plan_release(&x->plan);
    catalog_release(&x->catalog);
    task_release(&x->task);
    project_release(&x->project);
}

/* ---- what came out ---- */

static int write_results(struct compression *x) {
    json_t *document = compress_to_json(&x->result, x->validation.n);
    const char *path = project_path(&x->project, "model/compress.json");
    int rc = document && path ? json_file_write(path, document, x->e)
                              : err_set(x->e, ERR_NO_MEMORY, "compress", "out of memory");
    if (document)
        json_object_update(x->c->result, document);
    json_decref(document);
    if (rc == 0)
        rc = manifest_output(&x->manifest, "model/student.gguf", x->e);
    if (rc == 0 && x->result.calibration_rows > 0)
        rc = manifest_output(&x->manifest, "model/imatrix.gguf", x->e);
    if (rc == 0)
        rc = manifest_output(&x->manifest, "model/compress.json", x->e);
    if (rc == 0 && x->result.n_steps > 0 && x->task.kind == TASK_CLASSIFY)
        rc = manifest_output(&x->manifest, "model/ledger.csv", x->e);
    return rc < 0 ? rc : manifest_write(&x->manifest, x->e);
}

static int compress(struct compression *x) {
    int rc = open_all(x);
    if (rc < 0)
        return rc;
    bool current = manifest_is_current(&x->manifest, NULL);
    json_object_set_new(x->c->result, "up_to_date", json_boolean(current));
    if (current && !cmd_flag(x->c, "force")) {
        cmd_print(x->c, "compress: up to date\n");
        return 0;
    }
    if (x->feedback.found)
        cmd_print(x->c, "the device's rates follow what it measured (%s)\n", x->feedback.run.source);
    rc = compress_run(&x->result, &x->request, x->e);
    if (rc == 0)
        rc = write_results(x);
    if (rc == 0)
        compress_print(x->c, &x->result, x->validation.n);
    return rc;
}

static int run_compress(struct cmd_ctx *c) {
    struct compression x = {.c = c, .e = &c->err};
    int rc = compress(&x);
    close_all(&x);
    return rc;
}

const struct verb verb_compress = {"compress", "quantise the student and measure what that costs",
                                   "[options]", options, run_compress};
