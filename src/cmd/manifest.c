/* Manifests: see manifest.h. */
#include "cmd/manifest.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "config.h"
#include "format/json.h"
#include "format/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file changed this shortly before it was hashed may change again without a trace in its time: no stat entry then. */
enum { RACY_MS = 100 };

static char *resolve(const char *dir, const char *name) {
    return name[0] == '/' ? strdup(name) : file_join(dir, name);
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "manifest", "out of memory");
}

/* ---- hashes of inputs and outputs ---- */

static bool stat_entry(const char *path, int64_t *size, int64_t *mtime_ms) {
    struct stat s;
    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode))
        return false;
    *size = (int64_t)s.st_size;
    *mtime_ms = (int64_t)s.st_mtim.tv_sec * 1000 + s.st_mtim.tv_nsec / 1000000;
    return true;
}

/* The hash that `before` recorded for `name`, when the file's size and time say that it still holds; else NULL. */
static const char *remembered(const json_t *before, const char *name, const char *path) {
    const json_t *entry = json_object_get(json_object_get(before, "stat"), name);
    int64_t size, mtime_ms;
    if (json_array_size(entry) != 2 || !stat_entry(path, &size, &mtime_ms))
        return NULL;
    if (json_integer_value(json_array_get(entry, 0)) != size ||
        json_integer_value(json_array_get(entry, 1)) != mtime_ms)
        return NULL;
    const char *hash = json_string_value(json_object_get(json_object_get(before, "inputs"), name));
    return hash ? hash : json_string_value(json_object_get(json_object_get(before, "outputs"), name));
}

/* One value of a YAML file, by a dotted path; an absent one has a hash too. */
static int hash_value(const char *path, const char *dotted, char hex[SHA256_HEX], struct err *e) {
    struct arena a = {0};
    struct node *n = NULL;
    struct str text = {0};
    int code = yaml_node_read(&a, path, &n, e);
    while (code == 0 && n && *dotted) {
        size_t length = strcspn(dotted, ".");
        char *key = strndup(dotted, length);
        if (!key)
            code = no_memory(e);
        n = key ? node_get(n, key) : NULL;
        free(key);
        dotted += length + (dotted[length] == '.');
    }
    if (code == 0 && n)
        json_text_node(&text, n);
    if (code == 0)
        code = str_check(&text, e);
    if (code == 0) {
        sha256_bytes(str_text(&text), text.len, hex);
        code = hex[0] ? 0 : no_memory(e);
    }
    str_release(&text);
    arena_release(&a);
    return code;
}

/* The hash of a file or value. `reuse`: a manifest whose stat entries may spare the reading; NULL: always read. */
static int hash_of(const char *dir, const char *name, const json_t *reuse, char hex[SHA256_HEX],
                   struct err *e) {
    const char *mark = strstr(name, ".yaml#");
    char *file_name = mark ? strndup(name, (size_t)(mark - name) + 5) : strdup(name);
    char *path = file_name ? resolve(dir, file_name) : NULL;
    int code;
    const char *known;
    if (!path)
        code = no_memory(e);
    else if (mark)
        code = hash_value(path, mark + 6, hex, e);
    else if ((known = remembered(reuse, name, path)) && strlen(known) == SHA256_HEX - 1)
        code = (memcpy(hex, known, SHA256_HEX), 0);
    else
        code = sha256_file(path, hex, e);
    free(path);
    free(file_name);
    return code;
}

int manifest_hash(const char *project_dir, const char *name, char hex[SHA256_HEX], struct err *e) {
    return hash_of(project_dir, name, NULL, hex, e);
}

/* ---- building ---- */

static bool good_document(const json_t *document) {
    const char *format = json_string_value(json_object_get(document, "format"));
    return str_equal(format, MANIFEST_FORMAT) && json_is_object(json_object_get(document, "inputs")) &&
           json_is_object(json_object_get(document, "outputs"));
}

/* The manifest on disk; NULL when there is none or none that can be used: then the stage runs. */
static json_t *load(const char *path) {
    json_t *document = NULL;
    if (json_file_read(path, &document, NULL) < 0)
        return NULL;
    if (good_document(document))
        return document;
    json_decref(document);
    return NULL;
}

int manifest_init(struct manifest *m, const char *project_dir, const char *stage, const char *name,
                  struct err *e) {
    *m = (struct manifest){.start_s = clock_seconds()};
    m->dir = strdup(project_dir);
    m->path = resolve(project_dir, name);
    m->document = json_pack("{s:s, s:s, s:{}, s:{}, s:n, s:{s:s}, s:{}, s:{}}", "format", MANIFEST_FORMAT,
                            "stage", stage, "inputs", "settings", "seed", "versions", "edgestill",
                            EDGESTILL_VERSION, "outputs", "stat");
    if (!m->dir || !m->path || !m->document) {
        manifest_release(m);
        return no_memory(e);
    }
    m->before = load(m->path);
    return 0;
}

void manifest_release(struct manifest *m) {
    free(m->dir);
    free(m->path);
    json_decref(m->document);
    json_decref(m->before);
    *m = (struct manifest){0};
}

static void put(struct manifest *m, const char *section, const char *name, json_t *value) {
    if (json_object_set_new(json_object_get(m->document, section), name, value) != 0)
        m->failed = true;
}

/* Size and time are taken before the hash: a file that changes meanwhile will look changed, not the same. */
static int add_file(struct manifest *m, const char *section, const char *name, const json_t *reuse,
                    struct err *e) {
    char hex[SHA256_HEX];
    int64_t size, mtime_ms;
    char *path = resolve(m->dir, name);
    bool have = path && stat_entry(path, &size, &mtime_ms) && mtime_ms + RACY_MS <= clock_unix_ms();
    free(path);
    int code = hash_of(m->dir, name, reuse, hex, e);
    if (code < 0)
        return code;
    put(m, section, name, json_string(hex));
    if (have)
        put(m, "stat", name, json_pack("[I, I]", (json_int_t)size, (json_int_t)mtime_ms));
    return 0;
}

int manifest_input(struct manifest *m, const char *name, struct err *e) {
    return add_file(m, "inputs", name, m->before, e);
}

void manifest_input_hash(struct manifest *m, const char *name, const char *sha256) {
    put(m, "inputs", name, json_string(sha256));
}

void manifest_setting(struct manifest *m, const char *name, json_t *value) {
    put(m, "settings", name, value);
}

void manifest_seed(struct manifest *m, uint64_t seed) {
    if (json_object_set_new(m->document, "seed", json_integer((json_int_t)seed)) != 0)
        m->failed = true;
}

void manifest_version(struct manifest *m, const char *name, const char *version) {
    put(m, "versions", name, json_string(version));
}

int manifest_output(struct manifest *m, const char *name, struct err *e) {
    return add_file(m, "outputs", name, NULL, e);
}

void manifest_output_hash(struct manifest *m, const char *name, const char *sha256) {
    put(m, "outputs", name, json_string(sha256));
}

/* ---- comparing ---- */

/* "records:train" is not a file; a file's name with a colon in it has a dot or a slash as well. */
static bool is_file_name(const char *name) {
    return !strchr(name, ':') || strpbrk(name, "./");
}

static bool outputs_there(const char *dir, const json_t *document, struct str *why) {
    const char *name;
    json_t *recorded;
    json_object_foreach(json_object_get(document, "outputs"), name, recorded) {
        char hex[SHA256_HEX];
        if (!is_file_name(name))
            continue;
        int code = hash_of(dir, name, document, hex, NULL);
        if (code == 0 && str_equal(hex, json_string_value(recorded)))
            continue;
        if (why)
            str_addf(why, "%s %s", name, code < 0 ? "is missing" : "was changed afterwards");
        return false;
    }
    return true;
}

/* The first entry of one section that differs between two manifests. */
static bool same_section(const json_t *now, const json_t *before, const char *section, struct str *why) {
    const json_t *a = json_object_get(now, section), *b = json_object_get(before, section);
    if (json_equal(a, b))
        return true;
    const char *name;
    json_t *value;
    const char *what = strcmp(section, "settings") == 0 ? "the setting " : "";
    json_object_foreach((json_t *)a, name, value) {
        const json_t *old = json_object_get(b, name);
        if (json_equal(value, old))
            continue;
        if (why)
            str_addf(why, old ? "%s%s changed" : "%s%s is new", what, name);
        return false;
    }
    json_object_foreach((json_t *)b, name, value) {
        if (json_object_get(a, name))
            continue;
        if (why)
            str_addf(why, "%s%s is no longer used", what, name);
        return false;
    }
    return false;
}

bool manifest_is_current(const struct manifest *m, struct str *why) {
    if (!m->before) {
        if (why)
            str_add(why, "it was not made yet");
        return false;
    }
    if (!same_section(m->document, m->before, "inputs", why) ||
        !same_section(m->document, m->before, "settings", why))
        return false;
    if (!json_equal(json_object_get(m->document, "seed"), json_object_get(m->before, "seed"))) {
        if (why)
            str_add(why, "the seed changed");
        return false;
    }
    return outputs_there(m->dir, m->before, why);
}

/* An input that is not a file: the stage before says what it is now. */
static bool unchanged_upstream(const json_t *upstream, const char *name, const char *recorded) {
    const char *now = json_string_value(json_object_get(upstream, name));
    return !now || str_equal(now, recorded);
}

enum manifest_state manifest_state(const char *project_dir, const char *name, const json_t *upstream,
                                   struct str *why) {
    char *path = resolve(project_dir, name);
    json_t *document = path ? load(path) : NULL;
    free(path);
    if (!document)
        return MANIFEST_ABSENT;
    bool same = true;
    const char *input;
    json_t *recorded;
    json_object_foreach(json_object_get(document, "inputs"), input, recorded) {
        char hex[SHA256_HEX];
        const char *hash = json_string_value(recorded);
        int code = 0;
        if (!is_file_name(input))
            same = unchanged_upstream(upstream, input, hash);
        else
            same = (code = hash_of(project_dir, input, document, hex, NULL)) == 0 && str_equal(hex, hash);
        if (same)
            continue;
        if (why)
            str_addf(why, "%s %s", input, code < 0 ? "is gone" : "changed");
        break;
    }
    same = same && outputs_there(project_dir, document, why);
    json_decref(document);
    return same ? MANIFEST_CURRENT : MANIFEST_STALE;
}

/* ---- writing ---- */

int manifest_write(struct manifest *m, struct err *e) {
    char now[32];
    clock_iso(now, clock_unix_ms());
    if (json_object_set_new(m->document, "created_at", json_string(now)) != 0 ||
        json_object_set_new(m->document, "seconds", json_real(clock_seconds() - m->start_s)) != 0 ||
        m->failed)
        return no_memory(e);
    return json_file_write(m->path, m->document, e);
}
