/* receipts/ and dist/ into struct feedback. */
#include "cmd/plan_feedback.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "format/json.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

void plan_feedback_release(struct plan_feedback *f) {
    str_release(&f->unused);
    *f = (struct plan_feedback){0};
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key)); /* 0 where it is null */
}

static const char *text(const json_t *object, const char *key) {
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

/* ---- the bundle that a receipt is of ---- */

static bool same_family(const struct catalog *c, const char *name, const struct catalog_device *d) {
    for (int64_t i = 0; i < c->n_devices; i++)
        if (str_equal(c->devices[i].name, name))
            return str_equal(c->devices[i].family, d->family);
    return str_equal(name, d->name);
}

struct delivered {
    const char *device; /* that it was planned for */
    double threads;     /* planned; 0: it does not say */
};

static int read_bundle(struct project *p, const json_t *bundle, const char *folder, struct feedback *f,
                       struct delivered *out, struct err *e) {
    const json_t *runtime = json_object_get(bundle, "runtime");
    const char *model = arena_printf(&p->arena, "%s/model/student.gguf", folder);
    if (model == NULL)
        return err_set(e, ERR_NO_MEMORY, "plan_feedback_read", "out of memory");
    if (!mix_from_name(text(bundle, "quantisation"), &f->mix))
        return err_set(e, ERR_UNSUPPORTED, "plan_feedback_read",
                       "the quantisation '%s' is not one that is planned with", text(bundle, "quantisation"));
    f->tokens = (int64_t)number(runtime, "prefix_tokens");
    f->context = (int64_t)number(runtime, "context");
    f->ubatch = (int64_t)number(runtime, "batch");
    f->label_tokens = (int64_t)number(runtime, "outputs");
    f->kv_type = str_equal(text(runtime, "kv_type"), "q8_0") ? PLAN_KV_Q8_0 : PLAN_KV_F16;
    *out = (struct delivered){arena_strdup(&p->arena, text(bundle, "device")), number(runtime, "threads")};
    if (out->device == NULL)
        return err_set(e, ERR_NO_MEMORY, "plan_feedback_read", "out of memory");
    if (f->context < 1 || f->ubatch < 1)
        return err_set(e, ERR_FORMAT, "plan_feedback_read", "%s/bundle.json has no context or batch", folder);
    return feedback_read_file(f, model, e);
}

/* The folder in dist/ whose bundle.json has that hash, read. ERR_NOT_FOUND: there is none. */
static int find_bundle(struct project *p, const char *sha256, struct feedback *f, struct delivered *out,
                       struct err *e) {
    const char *dist = project_path(p, "dist");
    DIR *d = dist != NULL ? opendir(dist) : NULL;
    int code = ERR_NOT_FOUND;
    for (struct dirent *one = d != NULL ? readdir(d) : NULL; one != NULL && code == ERR_NOT_FOUND;
         one = readdir(d)) {
        const char *folder = arena_printf(&p->arena, "%s/%s", dist, one->d_name),
                   *path = folder != NULL ? arena_printf(&p->arena, "%s/bundle.json", folder) : NULL;
        char hash[SHA256_HEX];
        json_t *bundle = NULL;
        if (path == NULL || one->d_name[0] == '.' || !file_exists(path) ||
            sha256_file(path, hash, NULL) < 0 || strcmp(hash, sha256) != 0)
            continue;
        code = json_file_read(path, &bundle, e);
        if (code == 0)
            code = read_bundle(p, bundle, folder, f, out, e);
        json_decref(bundle);
    }
    if (d != NULL)
        closedir(d);
    return code == ERR_NOT_FOUND ? err_set(e, code, "plan_feedback_read", "its bundle is no longer in dist/")
                                 : code;
}

/* ---- receipts ---- */

static void read_figures(const json_t *receipt, struct feedback *f) {
    const json_t *measured = json_object_get(receipt, "measured"),
                 *reads = json_object_get(measured, "reads_gmacs");
    *f = (struct feedback){.prefill_tps = number(measured, "prefill_tps"),
                           .decode_tps = number(measured, "decode_tps"),
                           .memory_bytes = number(measured, "memory_bytes"),
                           .board_bytes = number(json_object_get(receipt, "machine"), "memory_bytes")};
    for (int i = 0; i < N_TYPE_RATES; i++)
        f->reads_gmacs[i] = number(reads, type_rate_name((enum type_rate)i));
}

/* Without its bundle a receipt still says how fast the board reads each type, and how much memory it has. */
static void keep_boards_figures(struct feedback *f) {
    struct feedback kept = {.board_bytes = f->board_bytes};
    memcpy(kept.reads_gmacs, f->reads_gmacs, sizeof kept.reads_gmacs);
    *f = kept;
}

/* A test by hand with fewer threads than planned says how fast it would be with those. */
static bool held_back(const json_t *machine, double planned) {
    double used = number(machine, "threads"), cores = number(machine, "cores");
    return used > 0 && used < (cores > 0 && cores < planned ? cores : planned);
}

/* *whole: its bundle is there, too. */
static int read_receipt(struct project *p, const struct catalog *c, const struct catalog_device *d,
                        const char *name, const json_t *receipt, struct feedback *f, bool *whole,
                        struct err *e) {
    const json_t *machine = json_object_get(receipt, "machine"),
                 *reads = json_object_get(json_object_get(receipt, "measured"), "reads_gmacs");
    struct delivered bundle = {text(receipt, "device"), 0};
    read_figures(receipt, f);
    int code = find_bundle(p, text(receipt, "bundle_sha256"), f, &bundle, e);
    *whole = code == 0;
    if (code == ERR_NOT_FOUND && json_object_size(reads) > 0 && *bundle.device != '\0') {
        keep_boards_figures(f);
        code = 0;
    }
    if (code < 0)
        return code;
    if (!same_family(c, bundle.device, d))
        return err_set(e, ERR_MISMATCH, "plan_feedback_read", "it is of %s, planned is %s",
                       *bundle.device != '\0' ? bundle.device : "another device", d->name);
    if (held_back(machine, bundle.threads))
        return err_set(e, ERR_MISMATCH, "plan_feedback_read", "it ran with %.0f of the %.0f planned threads",
                       number(machine, "threads"), bundle.threads);
    f->source = arena_printf(&p->arena, "%s: %s, %.10s", name,
                             *text(machine, "model") != '\0' ? text(machine, "model") : "a device",
                             text(receipt, "measured_at"));
    return f->source != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "plan_feedback_read", "out of memory");
}

static int is_receipt(const struct dirent *d) {
    return d->d_name[0] != '.' && str_ends(d->d_name, ".json") && !str_ends(d->d_name, "-here.json");
}

/* Receipts whose bundle is there come before all others, then the newer before the older: texts that sort that way. */
enum { RANK = 40 };

/* One file; what cannot be used becomes a line, only running out of memory is an error. */
static int consider(struct project *p, const struct catalog *c, const struct catalog_device *d,
                    const char *name, char best[RANK], struct plan_feedback *out, struct err *e) {
    json_t *receipt = NULL;
    struct feedback f;
    struct err why = {0};
    bool whole = false;
    char rank[RANK] = "";
    int code = json_file_read(project_path(p, name), &receipt, &why);
    bool device = code == 0 && !json_is_true(json_object_get(receipt, "emulated"));
    if (device)
        code = read_receipt(p, c, d, name, receipt, &f, &whole, &why);
    if (device && code == 0)
        snprintf(rank, RANK, "%d%.30s", whole, text(receipt, "measured_at"));
    if (strcmp(rank, best) > 0) {
        memcpy(best, rank, RANK);
        out->found = true;
        out->run = f;
    } else if (code < 0 && code != ERR_NO_MEMORY) {
        str_addf(&out->unused, "%s is not used: %s\n", name, why.message);
        code = 0;
    }
    json_decref(receipt);
    return code < 0 ? err_set(e, code, "plan_feedback_read", "%s: %s", name, why.message) : 0;
}

int plan_feedback_read(struct project *p, const struct catalog *c, const struct catalog_device *d,
                       struct plan_feedback *out, struct err *e) {
    const char *folder = project_path(p, "receipts");
    struct dirent **names = NULL;
    char best[RANK] = "";
    *out = (struct plan_feedback){0};
    int code = folder != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "plan_feedback_read", "out of memory"),
        n = folder != NULL ? scandir(folder, &names, is_receipt, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        const char *name = arena_printf(&p->arena, "receipts/%s", names[i]->d_name);
        if (code == 0)
            code = name != NULL ? consider(p, c, d, name, best, out, e)
                                : err_set(e, ERR_NO_MEMORY, "plan_feedback_read", "out of memory");
        free(names[i]);
    }
    free(names);
    if (code < 0)
        plan_feedback_release(out);
    return code;
}
