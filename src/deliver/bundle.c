/* Making bundles: everything goes into a folder beside the target, which takes the target's place when it is whole. */
#include "deliver/bundle.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "catalog/data.h"
#include "deliver/archive.h"
#include "deliver/bundle_service.h"
#include "deliver/bundle_text.h"
#include "deliver/golden.h"
#include "deliver/runtime.h"
#include "llama/lm.h"
#include "task/classify.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct build {
    const struct bundle_request *q;
    struct bundle_result *r;
    struct arena arena;
    const char *folder; /* the one being filled */
    const char *top;    /* "claims-arm64": the folder in the archive */
    struct runtime runtime;
    struct bundle_facts facts;
    struct bundle_file *files;
    int64_t n_files, capacity;
    struct lm *lm;
    struct prompt prompt;
    struct classifier *classifier;
    char model_sha256[SHA256_HEX];
};

/* Two labels whose probabilities on the host are nearer than this may change places on another processor. */
static const double tolerance = 0.05;

void bundle_name(const struct task *t, const char *arch, struct str *out) {
    str_addf(out, "%s-%s", t->name, arch);
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "bundle_make", "out of memory");
}

static const char *path_of(struct build *b, const char *name) {
    return arena_printf(&b->arena, "%s/%s", b->folder, name);
}

/* ---- files ---- */

/* A file that is in the folder now: its mode is set, its hash taken. */
static int note_file(struct build *b, const char *name, bool executable, struct err *e) {
    struct bundle_file f = {.name = arena_strdup(&b->arena, name), .executable = executable};
    const char *path = path_of(b, name);
    if (!f.name || !path || mem_grow((void **)&b->files, &b->capacity, b->n_files + 1, sizeof f) < 0)
        return no_memory(e);
    if (chmod(path, executable ? 0755 : 0644) != 0)
        return err_set_errno(e, ERR_IO, "bundle_make", "cannot set the mode of %s", path);
    int rc = sha256_file(path, f.sha256, e);
    f.size_bytes = file_size(path);
    if (rc == 0)
        b->files[b->n_files++] = f;
    return rc;
}

static int make_parent(struct build *b, const char *name, struct err *e) {
    const char *slash = strrchr(name, '/');
    const char *folder =
        slash ? arena_printf(&b->arena, "%s/%.*s", b->folder, (int)(slash - name), name) : b->folder;
    return folder ? file_make_folders(folder, e) : no_memory(e);
}

static int add_copy(struct build *b, const char *from, const char *name, bool executable, struct err *e) {
    const char *path = path_of(b, name);
    int rc = path ? make_parent(b, name, e) : no_memory(e);
    if (rc == 0)
        rc = file_copy(from, path, e);
    return rc < 0 ? rc : note_file(b, name, executable, e);
}

/* Takes the text's bytes; releases it. */
static int add_text(struct build *b, const char *name, struct str *text, bool executable, struct err *e) {
    const char *path = path_of(b, name);
    int rc = path ? str_check(text, e) : no_memory(e);
    if (rc == 0)
        rc = make_parent(b, name, e);
    if (rc == 0)
        rc = file_write(path, text->data, text->len, e);
    if (rc == 0)
        rc = note_file(b, name, executable, e);
    str_release(text);
    return rc;
}

/* ---- the model and what the host says ---- */

/* Opened with the device's settings: the golden answers are what the device computes, but for the processor. */
static int open_model(struct build *b, struct err *e) {
    const struct plan *p = b->q->plan;
    struct lm *vocabulary = NULL;
    struct str license = {0};
    int rc = lm_open(&vocabulary, b->q->model, &(struct lm_options){.vocab_only = true}, e);
    if (rc < 0)
        return rc;
    if (lm_metadata(vocabulary, "general.license", &license, NULL) < 0)
        str_clear(&license);
    b->facts.model_license = arena_strdup(&b->arena, str_text(&license));
    str_release(&license);
    lm_free(vocabulary);
    b->facts.n_ctx = p->context;
    b->facts.n_batch = p->ubatch < p->context ? p->ubatch : p->context;
    struct lm_options o = {.n_ctx = (int)p->context,
                           .n_batch = (int)b->facts.n_batch,
                           .n_threads = b->q->n_threads,
                           .kv_type = plan_kv_type_text(p->kv_type),
                           .flash_attention = true};
    rc = b->facts.model_license ? lm_open(&b->lm, b->q->model, &o, e) : no_memory(e);
    if (rc == 0)
        rc = prompt_from_model(&b->prompt, b->q->task, b->lm, e);
    if (rc == 0)
        rc = classifier_new(&b->classifier, b->lm, b->q->task, &b->prompt, e);
    if (rc < 0)
        return rc;
    b->facts.prompt_sha256 = b->prompt.hash;
    b->facts.n_outputs = classifier_n_outputs(b->classifier);
    b->facts.prefix_tokens = classifier_prefix_tokens(b->classifier);
    return 0;
}

static int add_model(struct build *b, struct err *e) {
    int rc = add_copy(b, b->q->model, "model/student.gguf", false, e);
    const char *path = path_of(b, "model/student.gguf");
    if (rc == 0)
        rc = path ? hash_file_sampled(path, &b->facts.model_fingerprint, e) : no_memory(e);
    if (rc < 0)
        return rc;
    memcpy(b->model_sha256, b->files[b->n_files - 1].sha256, sizeof b->model_sha256);
    b->facts.model_bytes = b->r->model_bytes = b->files[b->n_files - 1].size_bytes;
    return 0;
}

static int add_prefix(struct build *b, struct err *e) {
    const char *path = path_of(b, "prefix.state");
    b->facts.prefix_state = b->q->plan->prefix_state;
    if (!b->facts.prefix_state)
        return 0;
    int rc = path ? classifier_save_prefix(b->classifier, path, b->model_sha256, e) : no_memory(e);
    return rc < 0 ? rc : note_file(b, "prefix.state", false, e);
}

static int add_golden(struct build *b, struct err *e) {
    const struct rows *rows = b->q->golden;
    int64_t n = b->q->n_golden > 0 ? b->q->n_golden : BUNDLE_GOLDEN_ROWS;
    struct str text = {0};
    n = n < rows->n ? n : rows->n;
    if (n == 0)
        return err_set(e, ERR_INPUT, "bundle_make", "there are no rows for the self-test");
    int rc = golden_write(b->classifier, b->q->task, rows, n, &text, e);
    if (rc < 0) {
        str_release(&text);
        return rc;
    }
    b->facts.n_golden = b->r->n_golden = n;
    return add_text(b, "golden.jsonl", &text, false, e);
}

/* Rows that training saw would make the student look surer than it is. */
static int calibrate(struct build *b, struct err *e) {
    const struct bundle_request *q = b->q;
    if (q->task->kind != TASK_CLASSIFY || q->golden_are_training || q->golden->n < GOLDEN_CALIBRATION_MIN ||
        q->abstain_cost <= 0)
        return 0;
    int rc = golden_calibrate(b->classifier, q->task, q->golden, q->abstain_cost, &b->r->abstain, e);
    b->r->has_abstain = rc == 0;
    b->facts.abstain = rc == 0 ? &b->r->abstain : NULL;
    return rc;
}

static int add_task(struct build *b, struct err *e) {
    struct str task = {0}, prompt = {0};
    int rc = task_to_json(b->q->task, &task, e);
    if (rc == 0)
        rc = add_text(b, "task.json", &task, false, e);
    if (rc == 0)
        rc = prompt_to_json(&b->prompt, &prompt, e);
    if (rc == 0)
        rc = add_text(b, "prompt.json", &prompt, false, e);
    str_release(&task);
    str_release(&prompt);
    return rc;
}

/* ---- runtime and texts ---- */

static int add_runtime(struct build *b, struct err *e) {
    int64_t before = b->n_files;
    for (int64_t i = 0; i < b->runtime.n_files; i++) {
        const struct runtime_file *f = &b->runtime.files[i];
        int rc = add_copy(b, f->from, f->name, f->executable, e);
        if (rc < 0)
            return rc;
    }
    for (int64_t i = before; i < b->n_files; i++)
        b->r->runtime_bytes += b->files[i].size_bytes;
    struct str own = {0};
    int rc = data_path("LICENSE", &own, NULL) == 0
                 ? add_copy(b, str_text(&own), "licenses/edgestill/LICENSE", false, e)
                 : 0;
    str_release(&own);
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct bundle_file *)a)->name, ((const struct bundle_file *)b)->name);
}

/* What is written rather than copied. */
static const struct {
    const char *name;
    void (*write)(const struct bundle_facts *f, struct str *out);
    bool executable;
} texts[] = {{"run", bundle_text_run, true},
             {"selftest", bundle_text_selftest, true},
             {"README.md", bundle_text_readme, false},
             {"install", bundle_text_install, true},
             {"uninstall", bundle_text_uninstall, true},
             {"edgestill.service", bundle_text_unit, false},
             {"Modelfile", bundle_text_modelfile, false},
             {"grammar.gbnf", bundle_text_grammar, false},
             {"with-llama-server", bundle_text_llama_server, true}};

/* bundle.json is last: it names all the others and not itself. */
static int add_texts(struct build *b, struct err *e) {
    struct str manifest = {0};
    int rc = 0;
    b->facts.prompt = &b->prompt;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && rc == 0; i++) {
        struct str text = {0};
        texts[i].write(&b->facts, &text);
        if (text.len > 0)
            rc = add_text(b, texts[i].name, &text, texts[i].executable, e);
    }
    if (rc < 0)
        return rc;
    qsort(b->files, (size_t)b->n_files, sizeof *b->files, by_name);
    b->facts.files = b->files;
    b->facts.n_files = b->n_files;
    bundle_text_manifest(&b->facts, &manifest);
    rc = add_text(b, "bundle.json", &manifest, false, e);
    if (rc == 0)
        memcpy(b->r->sha256, b->files[b->n_files - 1].sha256, sizeof b->r->sha256);
    return rc;
}

/* ---- the whole ---- */

static int fill(struct build *b, struct err *e) {
    int rc = add_model(b, e);
    if (rc == 0)
        rc = open_model(b, e);
    if (rc == 0)
        rc = add_task(b, e);
    if (rc == 0)
        rc = add_golden(b, e);
    if (rc == 0)
        rc = calibrate(b, e);
    if (rc == 0)
        rc = add_prefix(b, e);
    if (rc == 0)
        rc = add_runtime(b, e);
    return rc < 0 ? rc : add_texts(b, e);
}

static int pack(struct build *b, struct err *e) {
    struct progress p;
    if (!b->q->archive)
        return 0;
    qsort(b->files, (size_t)b->n_files, sizeof *b->files, by_name);
    struct archive_item *items = arena_calloc(&b->arena, (size_t)b->n_files, sizeof *items);
    for (int64_t i = 0; i < b->n_files && items; i++)
        items[i] = (struct archive_item){b->files[i].name, b->files[i].executable};
    struct archive_request q = {b->folder, b->top, b->q->archive, items, b->n_files, &p};
    progress_begin(&p, "archive", "byte", b->r->folder_bytes);
    int rc = items ? archive_make(&q, e) : no_memory(e);
    progress_end(&p);
    b->r->archive_bytes = file_size(b->q->archive);
    return rc;
}

static int take_place(struct build *b, struct err *e) {
    int rc = file_remove_tree(b->q->folder, e);
    if (rc == 0 && rename(b->folder, b->q->folder) != 0)
        rc = err_set_errno(e, ERR_IO, "bundle_make", "cannot rename %s to %s", b->folder, b->q->folder);
    return rc;
}

static int check_space(const struct bundle_request *q, const char *folder, struct err *e) {
    int64_t need = 3 * file_size(q->model) + (INT64_C(64) << 20), have = file_free_bytes(folder);
    char a[32], b[32];
    if (have < 0 || have >= need)
        return 0;
    err_set(e, ERR_NO_SPACE, "bundle_make", "a bundle needs about %s, and %s has %s",
            str_bytes(a, sizeof a, need), folder, str_bytes(b, sizeof b, have));
    return ERR_NO_SPACE;
}

static int make(struct build *b, struct err *e) {
    struct str name = {0};
    bundle_name(b->q->task, b->q->arch, &name);
    b->facts = (struct bundle_facts){.q = b->q, .name = b->q->task->name, .tolerance = tolerance};
    b->top = arena_strdup(&b->arena, str_text(&name));
    b->folder = arena_printf(&b->arena, "%s.part", b->q->folder);
    str_release(&name);
    if (!b->top || !b->folder)
        return no_memory(e);
    int rc = runtime_collect(&b->runtime, b->q->arch, e);
    if (rc == 0)
        rc = file_remove_tree(b->folder, e);
    if (rc == 0)
        rc = file_make_folders(b->folder, e);
    if (rc == 0)
        rc = check_space(b->q, b->folder, e);
    b->facts.loader = b->runtime.loader;
    if (rc == 0)
        rc = fill(b, e);
    for (int64_t i = 0; i < b->n_files; i++)
        b->r->folder_bytes += b->files[i].size_bytes;
    b->r->n_files = b->n_files;
    b->r->prefix_tokens = b->facts.prefix_tokens;
    if (rc == 0)
        rc = pack(b, e);
    if (rc == 0)
        rc = take_place(b, e);
    if (rc < 0)
        file_remove_tree(b->folder, NULL);
    return rc;
}

int bundle_make(struct bundle_result *out, const struct bundle_request *q, struct err *e) {
    struct bundle_result r = {0};
    struct build b = {.q = q, .r = &r};
    arena_init(&b.arena);
    int rc = make(&b, e);
    classifier_free(b.classifier);
    prompt_release(&b.prompt);
    lm_free(b.lm);
    runtime_release(&b.runtime);
    free(b.files);
    arena_release(&b.arena);
    if (rc == 0)
        *out = r;
    return rc;
}
