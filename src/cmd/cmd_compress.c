/* `edgestill compress`: quantises the student with the importance matrix of its training rows and measures on validation rows
 * what that cost. Writes model/student.gguf, model/imatrix.gguf, model/compress.json. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "compress/compress.h"
#include "format/json.h"
#include "llama/lm.h"
#include "plan/plan.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COMPRESS_FORMAT "edgestill.compress/1"

static const struct option_def options[] = {
    {"type", OPTION_LIST, "NAME",
     "quantisation, e.g. Q4_K_M; several: the smallest is chosen that answers as well as the 16-bit file "
     "(default: as planned)",
     NULL},
    {"calibration", OPTION_INT, "N", "training rows for the importance matrix", "256"},
    {"no-imatrix", OPTION_FLAG, NULL, "quantise without an importance matrix", NULL},
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
    struct rows training, validation;
    struct manifest manifest;
    struct compress_request request;
    struct compress_result result;
};

/* ---- what is to be done ---- */

static int read_options(struct compression *x) {
    struct cmd_ctx *c = x->c;
    struct compress_request *q = &x->request;
    int64_t n_rows = cmd_int(c, "calibration", 0), n_threads = cmd_int(c, "threads", 0);
    q->tolerance = cmd_number(c, "tolerance", 0);
    q->no_imatrix = cmd_flag(c, "no-imatrix");
    q->n_types = cmd_list(c, "type", &q->types);
    if (n_rows < 1 || n_threads < 0 || n_threads > 1024 || !(q->tolerance >= 0 && q->tolerance <= 1))
        return err_set(x->e, ERR_USAGE, "compress",
                       "--calibration takes a number from 1 on, --threads from 0, --tolerance from 0 to 1");
    q->calibration.n_rows = n_rows;
    q->n_threads = (int)n_threads;
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
    for (int i = 0; i < q->n_types; i++)
        json_array_append_new(types, json_string(q->types[i]));
    if (rc < 0) {
        json_decref(types);
        return rc;
    }
    manifest_setting(m, "types", types);
    manifest_setting(m, "calibration", json_integer(q->no_imatrix ? 0 : q->calibration.n_rows));
    manifest_setting(m, "tolerance", json_real(q->tolerance));
    manifest_version(m, "llama.cpp", lm_version());
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
        q->n_types = 1;
    }
    if (rc == 0)
        rc = describe(x);
    if (rc == 0)
        rc = open_records(x);
    if (rc < 0)
        return rc;
    q->source = project_path(&x->project, "train/merged-f16.gguf");
    q->folder = project_path(&x->project, "model");
    q->task = &x->task;
    q->training = &x->training;
    q->validation = &x->validation;
    return q->source && q->folder ? 0 : err_set(x->e, ERR_NO_MEMORY, "compress", "out of memory");
}

static void close_all(struct compression *x) {
    compress_release(&x->result);
    manifest_release(&x->manifest);
    rows_release(&x->training);
    rows_release(&x->validation);
    plan_release(&x->plan);
    task_release(&x->task);
    project_release(&x->project);
}

/* ---- what came out ---- */

static json_t *figure(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *candidate_json(const struct compress_candidate *k, bool measured) {
    json_t *j = json_pack("{s:s, s:I, s:f, s:b}", "type", k->type, "bytes", (json_int_t)k->file_bytes,
                          "bits_per_weight", k->bits_per_weight, "chosen", k->chosen);
    if (!measured)
        return j;
    json_object_set_new(j, "accuracy", figure(k->accuracy));
    json_object_set_new(j, "agreement", figure(k->agreement));
    json_object_set_new(j, "divergence", figure(k->divergence));
    json_object_set_new(j, "difference", figure(k->paired.difference));
    json_object_set_new(j, "low", figure(k->paired.interval.low));
    json_object_set_new(j, "high", figure(k->paired.interval.high));
    json_object_set_new(j, "p_value", figure(k->paired.p_value));
    return j;
}

static json_t *result_json(const struct compression *x) {
    const struct compress_result *r = &x->result;
    json_t *list = json_array();
    for (int i = 0; i < r->n_candidates; i++)
        json_array_append_new(list, candidate_json(&r->candidates[i], x->validation.n > 0));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "format", COMPRESS_FORMAT, "chosen",
                     r->candidates[r->chosen].type, "reason", r->reason, "calibration_rows",
                     (json_int_t)r->calibration_rows, "validation_rows", (json_int_t)x->validation.n,
                     "source_bytes", (json_int_t)r->source_bytes, "source_accuracy",
                     figure(r->source_accuracy), "candidates", list);
}

static void print_result(const struct compression *x) {
    const struct compress_result *r = &x->result;
    struct cmd_ctx *c = x->c;
    char size[32];
    bool measured = x->validation.n > 0;
    cmd_print(c, "%-10s %10s %7s %9s %10s %s\n", "", "size", "bits", "accuracy", "agreement",
              measured ? "change in points (95%)" : "");
    cmd_print(c, "%-10s %10s %7s", "16-bit", str_bytes(size, sizeof size, r->source_bytes), "16");
    if (measured)
        cmd_print(c, " %8.1f%%", 100 * r->source_accuracy);
    cmd_print(c, "\n");
    for (int i = 0; i < r->n_candidates; i++) {
        const struct compress_candidate *k = &r->candidates[i];
        cmd_print(c, "%-10s %10s %7.2f", k->type, str_bytes(size, sizeof size, k->file_bytes),
                  k->bits_per_weight);
        if (measured)
            cmd_print(c, " %8.1f%% %9.1f%% %+.1f (%+.1f to %+.1f)", 100 * k->accuracy, 100 * k->agreement,
                      100 * k->paired.difference, 100 * k->paired.interval.low,
                      100 * k->paired.interval.high);
        cmd_print(c, "%s\n", k->chosen ? "  chosen" : "");
    }
    if (measured)
        cmd_print(c, "measured on %lld validation rows; importance matrix from %lld training rows\n",
                  (long long)x->validation.n, (long long)r->calibration_rows);
    else
        cmd_print(c, "no validation rows: nothing was measured; importance matrix from %lld training rows\n",
                  (long long)r->calibration_rows);
    cmd_print(c, "wrote model/student.gguf: %s, %s\n", r->candidates[r->chosen].type, r->reason);
}

static int write_results(struct compression *x) {
    json_t *document = result_json(x);
    const char *path = project_path(&x->project, "model/compress.json");
    int rc = document && path ? json_file_write(path, document, x->e)
                              : err_set(x->e, ERR_NO_MEMORY, "compress", "out of memory");
    if (document)
        json_object_update(x->c->result, document);
    json_decref(document);
    if (rc == 0)
        rc = manifest_output(&x->manifest, "model/student.gguf", x->e);
    if (rc == 0 && !x->request.no_imatrix)
        rc = manifest_output(&x->manifest, "model/imatrix.gguf", x->e);
    if (rc == 0)
        rc = manifest_output(&x->manifest, "model/compress.json", x->e);
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
    rc = compress_run(&x->result, &x->request, x->e);
    if (rc == 0)
        rc = write_results(x);
    if (rc == 0)
        print_result(x);
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
