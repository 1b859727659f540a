/* `edgestill bundle`: packs the student with everything it needs to run on the device into dist/NAME-ARCH/ and an archive; with
 * --selftest also runs its self-test here, emulated where the architecture is foreign, and keeps the receipt. */
#include "base/file.h"
#include "base/hash.h"
#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "config.h"
#include "deliver/bundle.h"
#include "deliver/runtime.h"
#include "deliver/trial.h"
#include "format/json.h"
#include "llama/lm.h"
#include "plan/plan.h"
#include "store/store.h"
#include <string.h>

static const struct option_def options[] = {
    {"arch", OPTION_STRING, "NAME", "arm64 or amd64 (default: the device's)", NULL},
    {"golden", OPTION_INT, "N", "rows of the self-test", "64"},
    {"abstain-cost", OPTION_NUMBER, "C",
     "what leaving a record undecided costs beside a wrong answer, above 0 to 1 (1: the device decides "
     "everything)",
     "0.2"},
    {"no-archive", OPTION_FLAG, NULL, "make the folder alone", NULL},
    {"selftest", OPTION_FLAG, NULL,
     "run the bundle's self-test here, emulated where the architecture is foreign, and keep the receipt",
     NULL},
    {"core", OPTION_STRING, "NAME", "processor to emulate, e.g. cortex-a35 (default: the device's)", NULL},
    {"rows", OPTION_INT, "N", "--selftest: the first N golden rows (default: all)", NULL},
    {"threads", OPTION_INT, "N", "threads to compute with (default: one a core)", NULL},
    {"force", OPTION_FLAG, NULL, "bundle again what is up to date", NULL},
    {0},
};

struct bundling {
    struct cmd_ctx *c;
    struct err *e;
    struct project project;
    struct task task;
    struct plan plan;
    struct rows golden;
    struct manifest manifest;
    const char *arch, *core; /* core NULL: unknown */
    const char *name;        /* "claims-arm64" */
    struct bundle_request request;
    struct bundle_result result;
};

static int no_memory(struct bundling *x) {
    return err_set(x->e, ERR_NO_MEMORY, "bundle", "out of memory");
}

/* ---- what is to be done ---- */

static int choose_arch(struct bundling *x) {
    struct catalog catalog;
    const struct catalog_device *d = NULL;
    const char *named = cmd_string(x->c, "arch");
    int rc = catalog_load(&catalog, x->project.dir, x->e);
    if (rc < 0)
        return rc;
    rc = catalog_device_find(&catalog, x->project.device, &d, x->e);
    if (rc == 0) {
        bool arm = strcmp(d->arch, "aarch64") == 0, intel = strcmp(d->arch, "x86_64") == 0;
        x->arch = named ? named : arm ? "arm64" : intel ? "amd64" : NULL;
        x->core = arm ? arena_strdup(&x->project.arena, d->core) : NULL;
        if (!x->arch) {
            rc = err_set(x->e, ERR_UNSUPPORTED, "bundle",
                         "%s is a %s device; there are bundles for aarch64 and x86_64", d->name, d->arch);
            err_hint(x->e, "llama.cpp itself may run there: model/student.gguf is an ordinary GGUF file");
        }
    }
    if (cmd_string(x->c, "core"))
        x->core = cmd_string(x->c, "core");
    catalog_release(&catalog);
    return rc;
}

/* Rows that training did not see, where there are any. */
static int read_golden(struct bundling *x) {
    static const enum store_split splits[] = {STORE_VALIDATION, STORE_TEST, STORE_TRAIN};
    struct store *s = NULL;
    const char *path = project_path(&x->project, PROJECT_RECORDS);
    int rc = path ? store_open(&s, path, STORE_READ, x->e) : no_memory(x);
    if (rc == ERR_NOT_FOUND)
        err_hint(x->e, "make the records first: %s", project_command(&x->project, "generate"));
    for (size_t i = 0; i < 3 && rc == 0 && x->golden.n == 0; i++) {
        int64_t n = 0;
        rc = store_accepted_count(s, splits[i], &n, x->e);
        if (rc == 0 && n > 0)
            rc = rows_from_store(&x->golden, &x->task, s, PROJECT_RECORDS, splits[i],
                                 &(struct rows_options){0}, x->e);
        x->request.golden_are_training = splits[i] == STORE_TRAIN;
    }
    store_close(s);
    return rc;
}

/* The cache that compress found to be as good, which is the planned one but where its rounding lost answers. */
static int take_cache(struct bundling *x) {
    const char *path = project_path(&x->project, "model/compress.json");
    json_t *j = NULL, *one;
    size_t i;
    if (!path)
        return no_memory(x);
    json_file_read(path, &j, NULL);
    json_array_foreach(json_object_get(j, "caches"), i, one) {
        const char *type = json_string_value(json_object_get(one, "type"));
        for (int k = 0; type && json_is_true(json_object_get(one, "chosen")) && k <= PLAN_KV_Q8_0; k++)
            if (strcmp(type, plan_kv_type_text((enum plan_kv_type)k)) == 0)
                x->plan.kv_type = (enum plan_kv_type)k;
    }
    json_decref(j);
    return 0;
}

/* Programs that were built anew make another bundle, also where their version is the same: the one that it has, and this one, which
 * writes its texts. */
static int describe_programs(struct bundling *x) {
    struct str path = {0};
    char runner[SHA256_HEX], own[SHA256_HEX];
    int rc = runtime_program(x->arch, &path, x->e);
    if (rc == 0)
        rc = sha256_file(str_text(&path), runner, x->e);
    if (rc == 0)
        rc = sha256_file("/proc/self/exe", own, x->e);
    if (rc == 0) {
        manifest_input_hash(&x->manifest, "program:edgestill-run", runner);
        manifest_input_hash(&x->manifest, "program:edgestill", own);
    }
    str_release(&path);
    return rc;
}

static int describe(struct bundling *x) {
    struct manifest *m = &x->manifest;
    int rc = manifest_init(m, x->project.dir, "bundle", MANIFEST_BUNDLE, x->e);
    if (rc == 0)
        rc = manifest_input(m, "model/student.gguf", x->e);
    if (rc == ERR_NOT_FOUND)
        err_hint(x->e, "compress the student first: %s", project_command(&x->project, "compress"));
    if (rc == 0)
        rc = manifest_input(m, "task.yaml", x->e);
    if (rc == 0)
        rc = manifest_input(m, "plan.yaml", x->e);
    if (rc == 0)
        rc = describe_programs(x);
    if (rc < 0)
        return rc;
    manifest_input_hash(m, "rows:golden", x->golden.sha256);
    manifest_setting(m, "arch", json_string(x->arch));
    manifest_setting(m, "golden", json_integer(x->request.n_golden));
    manifest_setting(m, "abstain_cost", json_real(x->request.abstain_cost));
    manifest_setting(m, "archive", json_boolean(x->request.archive != NULL));
    manifest_setting(m, "cache", json_string(plan_kv_type_text(x->plan.kv_type)));
    manifest_setting(m, "runtime", json_string(lm_version()));
    manifest_setting(m, "edgestill", json_string(EDGESTILL_VERSION));
    return 0;
}

static int make_request(struct bundling *x) {
    struct str name = {0};
    bundle_name(&x->task, x->arch, &name);
    x->name = arena_strdup(&x->project.arena, str_text(&name));
    str_release(&name);
    const char *folder = x->name ? arena_printf(&x->project.arena, "dist/%s", x->name) : NULL;
    const char *archive = folder ? arena_printf(&x->project.arena, "%s.tar.zst", folder) : NULL;
    x->request = (struct bundle_request){.arch = x->arch,
                                         .device = x->project.device,
                                         .model = project_path(&x->project, "model/student.gguf"),
                                         .task = &x->task,
                                         .plan = &x->plan,
                                         .golden = &x->golden,
                                         .n_golden = cmd_int(x->c, "golden", 0),
                                         .abstain_cost = cmd_number(x->c, "abstain-cost", 0),
                                         .folder = folder ? project_path(&x->project, folder) : NULL,
                                         .archive = archive ? project_path(&x->project, archive) : NULL,
                                         .n_threads = (int)cmd_int(x->c, "threads", 0)};
    if (!x->request.model || !x->request.folder || !x->request.archive)
        return no_memory(x);
    if (cmd_flag(x->c, "no-archive"))
        x->request.archive = NULL;
    if (!(x->request.abstain_cost > 0 && x->request.abstain_cost <= 1))
        return err_set(x->e, ERR_USAGE, "bundle", "--abstain-cost takes a number above 0, at most 1");
    if (x->request.n_golden < 1 || x->request.n_threads < 0 || cmd_int(x->c, "rows", 1) < 1)
        return err_set(x->e, ERR_USAGE, "bundle",
                       "--golden and --rows take a number from 1 on, --threads from 0");
    return 0;
}

static int open_all(struct bundling *x) {
    int rc = project_open(&x->project, x->c->project_dir, x->e);
    if (rc == 0)
        rc = project_hold(&x->project, x->e);
    if (rc == 0)
        rc = project_task(&x->project, true, &x->task, x->e);
    if (rc == 0)
        rc = project_plan(&x->project, &x->plan, x->e);
    if (rc == 0)
        rc = take_cache(x);
    if (rc == 0)
        rc = choose_arch(x);
    if (rc == 0)
        rc = make_request(x);
    if (rc == 0)
        rc = read_golden(x);
    return rc == 0 ? describe(x) : rc;
}

static void close_all(struct bundling *x) {
    manifest_release(&x->manifest);
    rows_release(&x->golden);
    plan_release(&x->plan);
    task_release(&x->task);
    project_release(&x->project);
}

/* ---- making it ---- */

static void report_abstention(struct bundling *x) {
    const struct abstain *a = &x->result.abstain;
    if (!x->result.has_abstain)
        return;
    json_object_set_new(x->c->result, "abstain",
                        json_pack("{s:f, s:f, s:f, s:f, s:I}", "threshold", a->threshold, "coverage",
                                  a->coverage, "risk", a->risk, "risk_all", a->risk_all, "rows",
                                  (json_int_t)a->n_rows));
    if (a->threshold <= 0) {
        cmd_print(x->c, "it decides every record: %.1f%% of %lld validation rows are answered wrong\n",
                  100 * a->risk_all, (long long)a->n_rows);
        return;
    }
    cmd_print(
        x->c,
        "it leaves a record undecided below %.3f: on %lld validation rows it decides %.1f%%, %.1f%% of them "
        "wrong (all of them: %.1f%% wrong)\n",
        a->threshold, (long long)a->n_rows, 100 * a->coverage, 100 * a->risk, 100 * a->risk_all);
}

static void report(struct bundling *x) {
    const struct bundle_result *r = &x->result;
    struct cmd_ctx *c = x->c;
    char folder[32], archive[32], model[32];
    json_object_set_new(c->result, "folder", json_sprintf("dist/%s", x->name));
    json_object_set_new(c->result, "files", json_integer(r->n_files));
    json_object_set_new(c->result, "folder_bytes", json_integer(r->folder_bytes));
    json_object_set_new(c->result, "model_bytes", json_integer(r->model_bytes));
    json_object_set_new(c->result, "runtime_bytes", json_integer(r->runtime_bytes));
    json_object_set_new(c->result, "golden_rows", json_integer(r->n_golden));
    json_object_set_new(c->result, "prefix_tokens", json_integer(r->prefix_tokens));
    json_object_set_new(c->result, "sha256", json_string(r->sha256));
    cmd_print(c, "dist/%s: %lld files, %s (model %s); %lld golden rows; prefix of %lld tokens kept\n",
              x->name, (long long)r->n_files, str_bytes(folder, sizeof folder, r->folder_bytes),
              str_bytes(model, sizeof model, r->model_bytes), (long long)r->n_golden,
              (long long)r->prefix_tokens);
    report_abstention(x);
    if (!x->request.archive)
        return;
    json_object_set_new(c->result, "archive", json_sprintf("dist/%s.tar.zst", x->name));
    json_object_set_new(c->result, "archive_bytes", json_integer(r->archive_bytes));
    cmd_print(c,
              "dist/%s.tar.zst: %s; on the device: tar --zstd -xf (or copy the folder), then ./selftest and "
              "./run\n",
              x->name, str_bytes(archive, sizeof archive, r->archive_bytes));
}

static int make(struct bundling *x) {
    const char *folder = project_path(&x->project, "dist");
    const char *manifest = arena_printf(&x->project.arena, "dist/%s/bundle.json", x->name);
    const char *archive = arena_printf(&x->project.arena, "dist/%s.tar.zst", x->name);
    int rc = folder && manifest && archive ? file_make_folders(folder, x->e) : no_memory(x);
    if (rc == 0)
        rc = bundle_make(&x->result, &x->request, x->e);
    if (rc == 0)
        rc = manifest_output(&x->manifest, manifest, x->e);
    if (rc == 0 && x->request.archive)
        rc = manifest_output(&x->manifest, archive, x->e);
    if (rc == 0)
        rc = manifest_write(&x->manifest, x->e);
    if (rc == 0)
        report(x);
    return rc;
}

/* ---- trying it ---- */

static int try_here(struct bundling *x) {
    struct cmd_ctx *c = x->c;
    bool emulated = trial_is_emulated(x->arch);
    const char *where = !emulated ? "here" : x->core ? x->core : "default";
    const char *name =
        arena_printf(&x->project.arena, "receipts/%s-%s%s.json", x->name, emulated ? "emulated-" : "", where);
    const char *receipts = project_path(&x->project, "receipts"),
               *path = name ? project_path(&x->project, name) : NULL;
    json_t *receipt = NULL;
    int rc = receipts && path ? file_make_folders(receipts, x->e) : no_memory(x);
    if (rc < 0)
        return rc;
    struct trial q = {.folder = x->request.folder,
                      .arch = x->arch,
                      .core = x->core,
                      .receipt = path,
                      .n_rows = cmd_int(c, "rows", 0),
                      .n_threads = (int)cmd_int(c, "threads", 0),
                      .quiet = c->json || c->quiet};
    cmd_print(c, "\n");
    rc = trial_run(&q, x->e);
    if (json_file_read(path, &receipt, NULL) == 0)
        json_object_set_new(c->result, "receipt", receipt);
    if (rc == 0)
        cmd_print(c, "receipt: %s\n", name);
    return rc;
}

static int bundle(struct bundling *x) {
    int rc = open_all(x);
    if (rc < 0)
        return rc;
    bool current = manifest_is_current(&x->manifest, NULL) && !cmd_flag(x->c, "force");
    json_object_set_new(x->c->result, "up_to_date", json_boolean(current));
    if (current)
        cmd_print(x->c, "bundle: up to date\n");
    else
        rc = make(x);
    return rc == 0 && cmd_flag(x->c, "selftest") ? try_here(x) : rc;
}

static int run_bundle(struct cmd_ctx *c) {
    struct bundling x = {.c = c, .e = &c->err};
    int rc = bundle(&x);
    close_all(&x);
    return rc;
}

const struct verb verb_bundle = {"bundle", "pack everything that the device needs, and prove that it runs",
                                 "[options]", options, run_bundle};
