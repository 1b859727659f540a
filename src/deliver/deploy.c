/* Deploying. The scripts that run on the device: deploy_script.h. */
#include "deliver/deploy.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "deliver/deploy_script.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_DISK_FULL = 3, STATUS_DAMAGED = 4, STATUS_NO_PREVIOUS = 5, STATUS_NO_SERVICE = 6 };
static const int64_t spare_bytes = INT64_C(8) << 20; /* left free on the device's disk */

struct file {
    const char *name, *path; /* in the bundle; here */
    char sha256[SHA256_HEX];
    int64_t size_bytes, offset; /* offset: bytes that are there; -1: all of it is */
    bool executable;
};

struct work {
    const struct deploy *d;
    const struct deploy_device *device;
    struct deploy_result *r;
    struct arena arena;
    struct node *manifest;
    struct file *files;
    int64_t n_files, capacity;
    struct str list; /* as the scripts read it */
    struct str out;  /* of the last call */
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "deploy", "out of memory");
}

/* ---- looking ---- */

/* No blanks, nothing that a shell reads as more than a name, and below the home or an absolute path. */
static bool is_plain(const char *text) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+/-";
    return text[0] && text[0] != '-' && text[strspn(text, allowed)] == 0 && !strstr(text, "..");
}

int deploy_check_folder(const char *folder, struct err *e) {
    if (is_plain(folder))
        return 0;
    err_set(e, ERR_USAGE, "deploy", "\"%s\" is no folder to deploy to", folder);
    err_hint(e, "letters, digits and . _ + / -; relative to the home there, or absolute");
    return ERR_USAGE;
}

/* The value of "key=" in the text's lines into out; false when there is none. */
static bool take(const char *text, const char *key, char *out, size_t n) {
    size_t length = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            snprintf(out, n, "%.*s", (int)strcspn(line + length + 1, "\n"), line + length + 1);
            return true;
        }
    }
    out[0] = 0;
    return false;
}

static int64_t take_kb(const char *text, const char *key) {
    char digits[32];
    int64_t kb = 0;
    return take(text, key, digits, sizeof digits) && str_to_i64(digits, &kb) ? kb * 1024 : 0;
}

static void read_device(const char *text, struct deploy_device *out) {
    char arch[32], service[8];
    *out = (struct deploy_device){0};
    take(text, "arch", arch, sizeof arch);
    snprintf(out->arch, sizeof out->arch, "%.15s",
             strcmp(arch, "aarch64") == 0  ? "arm64"
             : strcmp(arch, "x86_64") == 0 ? "amd64"
                                           : arch);
    take(text, "kernel", out->kernel, sizeof out->kernel);
    take(text, "model", out->model, sizeof out->model);
    take(text, "current", out->current, sizeof out->current);
    take(text, "previous", out->previous, sizeof out->previous);
    out->memory_bytes = take_kb(text, "memory_kb");
    out->available_bytes = take_kb(text, "available_kb");
    out->free_bytes = take_kb(text, "free_kb");
    out->has_service = take(text, "service", service, sizeof service);
}

int deploy_probe(struct ssh *s, const char *folder, struct deploy_device *out, struct err *e) {
    struct str text = {0};
    char missing[32];
    int status = 0;
    int rc =
        ssh_run(s, &(struct ssh_call){.script = DEPLOY_PROBE, .args = {folder}, .out = &text}, &status, e);
    if (rc == 0 && status != 0) {
        rc = err_set(e, ERR_NO_SPACE, "deploy_probe", "%s cannot make the folder %s", s->host, folder);
        err_hint(e, "is its disk full or read-only? --folder takes another place there");
    }
    if (rc == 0 && take(str_text(&text), "missing", missing, sizeof missing))
        rc = err_set(e, ERR_UNSUPPORTED, "deploy_probe", "%s has no %s, which copying needs", s->host,
                     missing);
    if (rc == 0)
        read_device(str_text(&text), out);
    str_release(&text);
    return rc;
}

/* ---- the bundle here ---- */

static int add_file(struct work *w, const char *name, const char *sha256, struct err *e) {
    struct file f = {.name = name, .path = arena_printf(&w->arena, "%s/%s", w->d->bundle, name)};
    if (!f.path || mem_grow((void **)&w->files, &w->capacity, w->n_files + 1, sizeof f) < 0)
        return no_memory(e);
    f.size_bytes = file_size(f.path);
    f.executable = access(f.path, X_OK) == 0;
    f.offset = -1;
    if (f.size_bytes < 0 || !is_plain(name) || strlen(sha256) != SHA256_HEX - 1)
        return err_set(e, ERR_MISMATCH, "deploy", "%s is not as bundle.json says; bundle again with --force",
                       f.path);
    memcpy(f.sha256, sha256, sizeof f.sha256);
    str_addf(&w->list, "%s %lld %s %s\n", f.sha256, (long long)f.size_bytes, f.executable ? "x" : "-", name);
    w->files[w->n_files++] = f;
    return 0;
}

static int read_bundle(struct work *w, struct err *e) {
    char own[SHA256_HEX];
    const char *path = arena_printf(&w->arena, "%s/bundle.json", w->d->bundle);
    struct node *files = NULL;
    int rc = path ? json_node_read(&w->arena, path, &w->manifest, e) : no_memory(e);
    if (rc == 0)
        rc = node_map(w->manifest, "files", true, &files, e);
    if (rc == 0)
        rc = sha256_file(path, own, e);
    for (const struct node *f = rc == 0 ? files->first : NULL; f && rc == 0; f = f->next)
        rc = f->type == NODE_STRING ? add_file(w, f->key, f->text, e)
                                    : node_error(f, e, "deploy", "a file's hash is missing");
    if (rc == 0)
        rc = add_file(w, "bundle.json", own, e);
    if (rc == 0)
        snprintf(w->r->id, sizeof w->r->id, "%.16s", own);
    w->r->n_files = w->n_files;
    return rc < 0 ? rc : str_check(&w->list, e);
}

/* The bundle's own C library refuses to run on anything older: glibc is built for Linux 3.2 and later, on aarch64 for 3.7 and later (its
 * own INSTALL, "--enable-kernel"; the loader's ABI note says the same). A kernel that says nothing is given the benefit of the doubt. */
static int check_kernel(const struct work *w, struct err *e) {
    int major = 0, minor = 0, least = strcmp(w->device->arch, "arm64") == 0 ? 7 : 2;
    const char *kernel = w->device->kernel;
    bool known = sscanf(kernel, "Linux %d.%d", &major, &minor) == 2;
    if (!*kernel || (known && (major > 3 || (major == 3 && minor >= least))))
        return 0;
    err_set(e, ERR_UNSUPPORTED, "deploy", "%s runs %s, and the bundle's programs need Linux 3.%d or newer",
            w->d->ssh->host, kernel, least);
    err_hint(e, "update the device's system");
    return ERR_UNSUPPORTED;
}

static int check_device(struct work *w, struct err *e) {
    const char *arch = NULL, *host = w->d->ssh->host;
    char need[32], have[32];
    int64_t need_bytes = 0;
    int rc = node_string(w->manifest, "arch", true, &arch, e);
    const struct node *memory = node_get(w->manifest, "memory");
    if (rc == 0 && memory)
        rc = node_i64(memory, "need_bytes", true, &need_bytes, e);
    if (rc < 0)
        return rc;
    if (strcmp(arch, w->device->arch) != 0) {
        err_set(e, ERR_MISMATCH, "deploy", "%s is %s, and the bundle is for %s", host, w->device->arch, arch);
        err_hint(e, "edgestill bundle --arch %s", w->device->arch);
        return ERR_MISMATCH;
    }
    if (w->device->memory_bytes > 0 && need_bytes > w->device->memory_bytes) {
        err_set(e, ERR_NO_MEMORY, "deploy", "the plan needs %s of memory and %s has %s in all",
                str_bytes(need, sizeof need, need_bytes), host,
                str_bytes(have, sizeof have, w->device->memory_bytes));
        err_hint(e, "a smaller plan: edgestill plan --max-memory");
        return ERR_NO_MEMORY;
    }
    return check_kernel(w, e);
}

/* ---- copying ---- */

/* One script over the connection; its output in w->out. */
static int call(struct work *w, const struct ssh_call *q, int *status, struct err *e) {
    struct ssh_call one = *q;
    str_clear(&w->out);
    one.out = &w->out;
    return ssh_run(w->d->ssh, &one, status, e);
}

static int failed_there(struct work *w, int status, const char *what, struct err *e) {
    const char *host = w->d->ssh->host;
    if (status == STATUS_DISK_FULL) {
        err_set(e, ERR_NO_SPACE, "deploy", "the disk of %s is full: %s could not be written", host, what);
        err_hint(e,
                 "make room there and repeat the command: what was copied is kept, and the version in use is "
                 "untouched");
        return ERR_NO_SPACE;
    }
    if (status == STATUS_DAMAGED)
        return err_set(e, ERR_MISMATCH, "deploy", "%s did not arrive on %s as it was sent; try again", what,
                       host);
    return err_set(e, ERR_FAILED, "deploy", "%s failed on %s (status %d): %.200s", what, host, status,
                   str_text(&w->out));
}

static struct file *find_file(struct work *w, const char *name) {
    for (int64_t i = 0; i < w->n_files; i++) {
        if (strcmp(w->files[i].name, name) == 0)
            return &w->files[i];
    }
    return NULL;
}

/* "need OFFSET NAME" lines, or "there". */
static int read_needs(struct work *w, struct err *e) {
    char *rest = NULL;
    for (char *line = w->out.len ? strtok_r(w->out.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char name[512];
        long long offset = 0;
        if (strcmp(line, "there") == 0) {
            w->r->was_there = true;
            return 0;
        }
        struct file *f = sscanf(line, "need %lld %511s", &offset, name) == 2 ? find_file(w, name) : NULL;
        if (!f || offset < 0 || offset >= f->size_bytes + (f->size_bytes == 0))
            return err_set(e, ERR_FAILED, "deploy", "%s said something unexpected: %.100s", w->d->ssh->host,
                           line);
        f->offset = offset;
        w->r->need_bytes += f->size_bytes - offset;
    }
    return 0;
}

static int ask_needs(struct work *w, struct err *e) {
    char need[32], have[32];
    int status = 0;
    struct ssh_call q = {
        .script = DEPLOY_HAVE, .args = {w->d->folder, w->r->id}, .input = str_text(&w->list)};
    int rc = call(w, &q, &status, e);
    if (rc == 0 && status != 0)
        rc = failed_there(w, status, "looking for what is there", e);
    if (rc == 0)
        rc = read_needs(w, e);
    if (rc == 0 && w->device->free_bytes > 0 && w->r->need_bytes + spare_bytes > w->device->free_bytes) {
        err_set(e, ERR_NO_SPACE, "deploy", "%s are to be copied and %s has %s free",
                str_bytes(need, sizeof need, w->r->need_bytes), w->d->ssh->host,
                str_bytes(have, sizeof have, w->device->free_bytes));
        err_hint(e, "make room there, or name another folder with --folder");
        rc = ERR_NO_SPACE;
    }
    return rc;
}

static int send_file(struct work *w, const struct file *f, struct progress *p, struct err *e) {
    char size[32];
    int status = 0;
    snprintf(size, sizeof size, "%lld", (long long)f->size_bytes);
    struct ssh_call q = {.script = DEPLOY_TAKE,
                         .args = {w->d->folder, w->r->id, f->name, f->sha256, size},
                         .input_path = f->path,
                         .input_offset = f->offset,
                         .progress = p,
                         .progress_base = w->r->copied_bytes};
    int rc = call(w, &q, &status, e);
    if (rc == 0 && status != 0)
        rc = failed_there(w, status, f->name, e);
    if (rc < 0)
        return rc;
    w->r->n_copied++;
    w->r->copied_bytes += f->size_bytes - f->offset;
    return 0;
}

static int copy(struct work *w, struct err *e) {
    struct progress p;
    int status = 0, rc = ask_needs(w, e);
    if (rc < 0 || w->r->was_there)
        return rc;
    progress_begin(&p, "copy", "byte", w->r->need_bytes);
    for (int64_t i = 0; i < w->n_files && rc == 0; i++) {
        if (w->files[i].offset >= 0)
            rc = send_file(w, &w->files[i], &p, e);
    }
    progress_end(&p);
    if (rc < 0)
        return rc;
    struct ssh_call q = {
        .script = DEPLOY_FINISH, .args = {w->d->folder, w->r->id}, .input = str_text(&w->list)};
    rc = call(w, &q, &status, e);
    return rc == 0 && status != 0 ? failed_there(w, status, "taking the version over", e) : rc;
}

/* ---- proving, switching ---- */

static int fetch_receipt(struct work *w, struct err *e) {
    int status = 0;
    struct ssh_call q = {.script = "cat \"$1/receipts/$2.json\" 2>/dev/null",
                         .args = {w->d->folder, w->r->id}};
    int rc = call(w, &q, &status, e);
    if (rc == 0 && status == 0)
        rc = file_write(w->d->receipt, str_text(&w->out), w->out.len, e);
    w->r->has_receipt = rc == 0 && status == 0;
    return rc;
}

/* The self-test failed, and what failed is not in use unless it was before. */
static int say_failed(struct work *w, const char *said, struct err *e) {
    const struct deploy_device *d = w->device;
    bool in_use = str_starts(d->current, "versions/") && str_equal(d->current + 9, w->r->id);
    w->r->rolled_back = d->current[0] != 0 && !in_use;
    err_set(e, ERR_MISMATCH, "deploy", "%s", said);
    err_hint(e, "%s%s%s",
             in_use && d->previous[0]
                 ? "it is the version in use there; --rollback goes back to the one before"
             : in_use        ? "it is the version in use there, and none was kept from before"
             : d->current[0] ? "the version before is in use as it was"
                             : "nothing is in use there",
             w->r->has_receipt ? "; see " : "", w->r->has_receipt ? w->d->receipt : "");
    return ERR_MISMATCH;
}

static int selftest(struct work *w, struct err *e) {
    char rows[32] = "";
    int status = 0, dropped = 0;
    if (w->d->n_rows > 0)
        snprintf(rows, sizeof rows, "%lld", (long long)w->d->n_rows);
    struct ssh_call q = {
        .script = DEPLOY_SELFTEST, .args = {w->d->folder, w->r->id, rows}, .echo = !w->d->quiet};
    int rc = call(w, &q, &status, e);
    struct err said = {0};
    if (rc == 0 && status != 0)
        err_set(&said, ERR_MISMATCH, "deploy", "the self-test failed on %s: %.300s", w->d->ssh->host,
                str_text(&w->out) + (w->out.len > 300 ? w->out.len - 300 : 0));
    if (rc == 0)
        rc = fetch_receipt(w, e);
    if (rc < 0 || !said.code)
        return rc;
    rc = call(w, &(struct ssh_call){.script = DEPLOY_DROP, .args = {w->d->folder, w->r->id}}, &dropped, e);
    return rc < 0 ? rc : say_failed(w, said.message, e);
}

static int switch_over(struct work *w, struct err *e) {
    int status = 0;
    int rc =
        call(w, &(struct ssh_call){.script = DEPLOY_SWITCH, .args = {w->d->folder, w->r->id}}, &status, e);
    if (rc == 0 && status != 0)
        rc = failed_there(w, status, "switching to the new version", e);
    if (rc < 0 || !w->d->service)
        return rc;
    rc = call(w, &(struct ssh_call){.script = DEPLOY_SERVICE, .args = {w->d->folder}, .echo = !w->d->quiet},
              &status, e);
    if (rc < 0 || status == 0)
        return rc;
    char text[320];
    snprintf(text, sizeof text, "%.300s", str_text(&w->out));
    w->r->rolled_back = deploy_rollback(w->d->ssh, w->d->folder, NULL) == 0;
    err_set(e, ERR_FAILED, "deploy", "the service does not come up on %s: %s", w->d->ssh->host, text);
    err_hint(e, w->r->rolled_back ? "the version before runs again"
                                  : "sudo there must not ask for a password, or log in as root");
    return ERR_FAILED;
}

int deploy_run(const struct deploy *d, const struct deploy_device *device, struct deploy_result *out,
               struct err *e) {
    struct work w = {.d = d, .device = device, .r = out};
    *out = (struct deploy_result){0};
    arena_init(&w.arena);
    int rc = deploy_check_folder(d->folder, e);
    if (rc == 0)
        rc = read_bundle(&w, e);
    if (rc == 0)
        rc = check_device(&w, e);
    if (rc == 0)
        rc = copy(&w, e);
    if (rc == 0)
        rc = selftest(&w, e);
    if (rc == 0)
        rc = switch_over(&w, e);
    free(w.files);
    str_release(&w.list);
    str_release(&w.out);
    arena_release(&w.arena);
    return rc;
}

/* ---- what is there ---- */

int deploy_list(struct ssh *s, const char *folder, struct str *out, struct err *e) {
    int status = 0, rc = deploy_check_folder(folder, e);
    if (rc == 0)
        rc = ssh_run(s, &(struct ssh_call){.script = DEPLOY_LIST, .args = {folder}, .out = out}, &status, e);
    return rc == 0 && status != 0
               ? err_set(e, ERR_FAILED, "deploy_list", "cannot list %s on %s", folder, s->host)
               : rc;
}

int deploy_rollback(struct ssh *s, const char *folder, struct err *e) {
    struct str text = {0};
    int status = 0, rc = deploy_check_folder(folder, e);
    if (rc == 0)
        rc =
            ssh_run(s, &(struct ssh_call){.script = DEPLOY_BACK, .args = {folder}, .out = &text}, &status, e);
    if (rc == 0 && status == STATUS_NO_PREVIOUS)
        rc = err_set(e, ERR_NOT_FOUND, "deploy_rollback", "%s keeps no version before the current one",
                     s->host);
    if (rc == 0 && status != 0)
        rc = err_set(e, ERR_FAILED, "deploy_rollback", "going back failed on %s (status %d): %.200s", s->host,
                     status, str_text(&text));
    str_release(&text);
    return rc;
}
