/* Acceptances: task.lock and plan.lock, see project.h. A lock never changes what it accepts; it names its hash. */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "format/json.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK_FORMAT "edgestill.lock/1"

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "project_lock", "out of memory");
}

/* "task" of "task.yaml": also the verb that makes and accepts it. */
static const char *stem(struct project *p, const char *name) {
    return arena_strndup(&p->arena, name, strcspn(name, "."));
}

static const char *lock_path(struct project *p, const char *name) {
    const char *of = stem(p, name);
    const char *file = of ? arena_printf(&p->arena, "%s.lock", of) : NULL;
    return file ? project_path(p, file) : NULL;
}

static int add_also(struct project *p, json_t *document, const char *const also[], struct err *e) {
    json_t *map = json_object();
    if (json_object_set_new(document, "also", map) != 0)
        return no_memory(e);
    for (int i = 0; also && also[i]; i++) {
        char hex[SHA256_HEX];
        int code = manifest_hash(p->dir, also[i], hex, e);
        if (code < 0)
            return code;
        if (json_object_set_new(map, also[i], json_string(hex)) != 0)
            return no_memory(e);
    }
    return 0;
}

const char *project_user(void) {
    const char *user = getenv("USER");
    if (!user || !*user) {
        const struct passwd *known = getpwuid(geteuid());
        user = known ? known->pw_name : "";
    }
    return str_is_utf8(user, strlen(user), NULL) ? user : "";
}

int project_lock_write(struct project *p, const char *name, const char *const also[], struct err *e) {
    const char *path = lock_path(p, name);
    char hex[SHA256_HEX], now[32];
    if (!path)
        return no_memory(e);
    int code = manifest_hash(p->dir, name, hex, e);
    if (code < 0)
        return code;
    json_t *document = json_pack("{s:s, s:s, s:s, s:s, s:s}", "format", LOCK_FORMAT, "of", name, "sha256",
                                 hex, "accepted_at", clock_iso(now, clock_unix_ms()), "by", project_user());
    code = document ? add_also(p, document, also, e) : no_memory(e);
    if (code == 0)
        code = json_file_write(path, document, e);
    json_decref(document);
    return code;
}

static int gate(struct project *p, const char *name, const char *changed, const char *accepted_at,
                struct err *e) {
    const char *verb = stem(p, name), *path = project_path(p, name);
    if (!verb || !path)
        return no_memory(e);
    int code;
    if (!changed)
        code = err_set(e, ERR_GATE, "project_lock_check", "%s is not accepted yet", path);
    else
        code = err_set(e, ERR_GATE, "project_lock_check", "%s was accepted %s, but %s changed since then",
                       path, accepted_at, changed);
    err_hint(e, "look at it, then: %s", project_accept_command(p, verb));
    return code;
}

/* Is `name` what the lock says? Sets ERR_GATE otherwise. */
static int check_hash(struct project *p, const char *gated, const char *name, const char *recorded,
                      const json_t *lock, struct err *e) {
    char hex[SHA256_HEX];
    if (manifest_hash(p->dir, name, hex, NULL) == 0 && str_equal(hex, recorded))
        return 0;
    const char *when = json_string_value(json_object_get(lock, "accepted_at"));
    return gate(p, gated, name, when ? when : "earlier", e);
}

int project_lock_check(struct project *p, const char *name, struct err *e) {
    const char *path = lock_path(p, name), *file = project_path(p, name), *verb = stem(p, name);
    if (!path || !file || !verb)
        return no_memory(e);
    if (!file_exists(file)) {
        int code = err_set(e, ERR_GATE, "project_lock_check", "%s: there is none yet", file);
        err_hint(e, "make it with: %s", project_command(p, verb));
        return code;
    }
    if (!file_exists(path))
        return gate(p, name, NULL, NULL, e);
    json_t *lock = NULL;
    int code = json_file_read(path, &lock, e);
    if (code < 0)
        return code;
    if (!str_equal(json_string_value(json_object_get(lock, "format")), LOCK_FORMAT))
        code = err_set(e, ERR_FORMAT, "project_lock_check", "%s: its format is not " LOCK_FORMAT, path);
    else
        code = check_hash(p, name, name, json_string_value(json_object_get(lock, "sha256")), lock, e);
    const char *also;
    json_t *hash;
    json_object_foreach(json_object_get(lock, "also"), also, hash) {
        if (code == 0)
            code = check_hash(p, name, also, json_string_value(hash), lock, e);
    }
    json_decref(lock);
    return code;
}
