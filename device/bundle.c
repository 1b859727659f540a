/* Reading a bundle. */
#include "bundle.h"
#include "base/file.h"
#include "format/json.h"
#include <stdio.h>
#include <string.h>

enum { GRAMMAR_BYTES_MAX = 16 << 20 };

const char *bundle_path(struct bundle *b, const char *name) {
    return arena_printf(&b->arena, "%s/%s", b->dir, name);
}

static int read_part(struct bundle *b, const char *name, struct node **out, struct err *e) {
    const char *path = bundle_path(b, name);
    if (!path)
        return err_set(e, ERR_NO_MEMORY, "bundle_open", "no memory for the bundle");
    return json_node_read(&b->arena, path, out, e);
}

static int read_runtime(struct bundle *b, struct err *e) {
    struct node *runtime = NULL;
    int rc = node_map(b->manifest, "runtime", true, &runtime, e);
    b->kv_type = "f16";
    b->n_outputs = 64;
    b->tolerance = 0.05;
    if (rc < 0 || (rc = node_i64(runtime, "context", true, &b->n_ctx, e)) < 0 ||
        (rc = node_i64(runtime, "batch", true, &b->n_batch, e)) < 0 ||
        (rc = node_i64(runtime, "threads", true, &b->n_threads, e)) < 0 ||
        (rc = node_i64(runtime, "outputs", false, &b->n_outputs, e)) < 0 ||
        (rc = node_string(runtime, "kv_type", false, &b->kv_type, e)) < 0 ||
        (rc = node_bool(runtime, "flash_attention", false, &b->flash_attention, e)) < 0 ||
        (rc = node_bool(runtime, "prefix_state", false, &b->prefix_state, e)) < 0)
        return rc;
    if (b->n_ctx < 1 || b->n_ctx > 1 << 20 || b->n_batch < 1 || b->n_batch > b->n_ctx || b->n_threads < 0 ||
        b->n_threads > 1024 || b->n_outputs < 1 || b->n_outputs > 4096)
        return node_error(runtime, e, "bundle_open", "settings of the runtime are out of range");
    return node_number(b->manifest, "tolerance", false, &b->tolerance, e);
}

static const struct node *stated_fingerprint(const struct bundle *b) {
    const struct node *stated = node_get(node_get(b->manifest, "model"), "fingerprint");
    return stated && stated->type == NODE_STRING ? stated : NULL;
}

/* Parts that a bundle may lack. */
static int read_limits(struct bundle *b, struct err *e) {
    b->has_fingerprint = stated_fingerprint(b) != NULL;
    struct node *memory = NULL, *abstain = NULL;
    int rc = node_map(b->manifest, "memory", false, &memory, e);
    if (rc == 0 && memory)
        rc = node_i64(memory, "need_bytes", true, &b->memory_need_bytes, e);
    if (rc == 0 && memory)
        rc = node_i64(memory, "limit_bytes", true, &b->memory_limit_bytes, e);
    if (rc == 0)
        rc = node_map(b->manifest, "abstain", false, &abstain, e);
    if (rc == 0 && abstain)
        rc = node_number(abstain, "threshold", true, &b->abstain_threshold, e);
    return rc;
}

static int read_manifest(struct bundle *b, struct err *e) {
    const char *format = NULL;
    struct node *files = NULL;
    int rc = read_part(b, "bundle.json", &b->manifest, e);
    if (rc == ERR_NOT_FOUND)
        err_hint(
            e, "start the program through the bundle's own `run`, or name the bundle's folder with --bundle");
    if (rc < 0 || (rc = node_string(b->manifest, "format", true, &format, e)) < 0)
        return rc;
    if (!str_equal(format, BUNDLE_FORMAT))
        return node_error(b->manifest, e, "bundle_open",
                          "the bundle's format is \"%s\", this program reads \"%s\"", format, BUNDLE_FORMAT);
    if ((rc = node_string(b->manifest, "name", true, &b->name, e)) < 0 ||
        (rc = node_string(b->manifest, "arch", true, &b->arch, e)) < 0 ||
        (rc = node_string(b->manifest, "device", false, &b->device, e)) < 0 ||
        (rc = node_map(b->manifest, "files", true, &files, e)) < 0 ||
        (rc = node_string(files, BUNDLE_MODEL, true, &b->model_sha256, e)) < 0)
        return rc;
    rc = read_runtime(b, e);
    return rc < 0 ? rc : read_limits(b, e);
}

static int not_bundled(const char *name, bool there, struct err *e) {
    err_set(e, ERR_MISMATCH, "bundle_open",
            there ? "%s is not the file that was bundled" : "%s was bundled and is not here", name);
    err_hint(e, "copy the bundle again; a damaged card or an interrupted copy are the usual reasons");
    return ERR_MISMATCH;
}

/* Small, and all that stands between the model and what it writes: compared whole at each start. */
static int read_grammar(struct bundle *b, struct err *e) {
    const struct node *stated = node_get(node_get(b->manifest, "files"), BUNDLE_GRAMMAR);
    struct str text = {0};
    char hex[SHA256_HEX];
    if (b->task.kind != TASK_EXTRACT || !stated)
        return 0;
    const char *path = bundle_path(b, BUNDLE_GRAMMAR);
    int rc = path ? file_read(path, GRAMMAR_BYTES_MAX, &text, e)
                  : err_set(e, ERR_NO_MEMORY, "bundle_open", "no memory for the bundle");
    if (rc == 0) {
        sha256_bytes(str_text(&text), text.len, hex);
        if (stated->type != NODE_STRING || strcmp(hex, stated->text) != 0)
            rc = not_bundled(BUNDLE_GRAMMAR, true, e);
    }
    if (rc == 0 && !(b->grammar = arena_strdup(&b->arena, str_text(&text))))
        rc = err_set(e, ERR_NO_MEMORY, "bundle_open", "no memory for the grammar");
    str_release(&text);
    return rc;
}

static int read_task(struct bundle *b, struct err *e) {
    struct node *task = NULL, *prompt = NULL;
    int rc = read_part(b, "task.json", &task, e);
    if (rc == 0)
        rc = task_from_node(&b->task, task, e);
    if (rc < 0)
        return rc;
    rc = read_part(b, "prompt.json", &prompt, e);
    return rc < 0 ? rc : prompt_from_node(&b->prompt, prompt, &b->task, e);
}

int bundle_open(struct bundle *b, const char *dir, struct err *e) {
    *b = (struct bundle){0};
    arena_init(&b->arena);
    b->dir = arena_strdup(&b->arena, dir);
    b->model_path = b->dir ? bundle_path(b, BUNDLE_MODEL) : NULL;
    int rc = b->model_path ? read_manifest(b, e)
                           : err_set(e, ERR_NO_MEMORY, "bundle_open", "no memory for the bundle");
    if (rc == 0)
        rc = read_task(b, e);
    if (rc == 0)
        rc = read_grammar(b, e);
    if (rc < 0)
        bundle_close(b);
    return rc;
}

void bundle_close(struct bundle *b) {
    prompt_release(&b->prompt);
    task_release(&b->task);
    arena_release(&b->arena);
    *b = (struct bundle){0};
}

int bundle_verify(struct bundle *b, struct err *e) {
    for (const struct node *f = node_get(b->manifest, "files")->first; f; f = f->next) {
        char hex[SHA256_HEX];
        const char *path = bundle_path(b, f->key);
        int rc = path ? sha256_file(path, hex, e) : err_set(e, ERR_NO_MEMORY, "bundle_verify", "no memory");
        if (rc == ERR_NOT_FOUND)
            *e = (struct err){0};
        if (rc == ERR_NOT_FOUND || (rc == 0 && (f->type != NODE_STRING || strcmp(hex, f->text) != 0)))
            return not_bundled(f->key, rc == 0, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int bundle_check_model(struct bundle *b, struct err *e) {
    const struct node *stated = stated_fingerprint(b);
    uint64_t found = 0;
    char text[17];
    if (!stated)
        return 0;
    int rc = hash_file_sampled(b->model_path, &found, e);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)found);
    if (rc == 0 && strcmp(text, stated->text) != 0)
        rc = err_set(e, ERR_MISMATCH, "bundle_check_model", "%s is not the model that was bundled",
                     b->model_path);
    return rc;
}

int bundle_hash(struct bundle *b, char hex[SHA256_HEX], struct err *e) {
    const char *path = bundle_path(b, "bundle.json");
    return path ? sha256_file(path, hex, e) : err_set(e, ERR_NO_MEMORY, "bundle_hash", "no memory");
}
