/* Where catalog/, seed/ and examples/ are. */
#include "catalog/data.h"

#include "base/file.h"
#include "config.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "<folder of the running program>/../share/edgestill", appended; empty when it cannot be told. */
static void installed_folder(struct str *out) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    str_addf(out, "%s/../share/edgestill", path);
}

static bool try_folder(const char *folder, const char *name, struct str *tried, struct str *found) {
    if (folder == NULL || *folder == '\0')
        return false;
    struct str path = {0};
    str_addf(&path, "%s/%s", folder, name);
    bool there = file_exists(str_text(&path));
    if (there)
        str_add(found, str_text(&path));
    else
        str_addf(tried, "%s%s", tried->len > 0 ? ", " : "", str_text(&path));
    str_release(&path);
    return there;
}

int data_path(const char *name, struct str *out, struct err *e) {
    struct str tried = {0}, installed = {0};
    installed_folder(&installed);
    const char *named = getenv("EDGESTILL_DATA_DIR");
    bool found = named != NULL && *named != '\0' ? try_folder(named, name, &tried, out)
                                                 : try_folder(EDGESTILL_SOURCE_DIR, name, &tried, out) ||
                                                       try_folder(str_text(&installed), name, &tried, out);
    int code = found ? str_check(out, e) : ERR_NOT_FOUND;
    if (!found) {
        err_set(e, ERR_NOT_FOUND, "data_path", "edgestill's own file %s is not there (looked at %s)", name,
                str_text(&tried));
        err_hint(e, "point EDGESTILL_DATA_DIR to the folder that holds catalog/ and seed/");
    }
    str_release(&tried);
    str_release(&installed);
    return code;
}

void data_user_folder(struct str *out) {
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config != NULL && *config == '/')
        str_addf(out, "%s/edgestill", config);
    else if (home != NULL && *home == '/')
        str_addf(out, "%s/.config/edgestill", home);
}

void data_model_file(const char *model, struct str *out) {
    const char *named = getenv("EDGESTILL_MODELS"), *share = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (named != NULL && *named != '\0')
        str_addf(out, "%s/%s.gguf", named, model);
    else if (share != NULL && *share == '/')
        str_addf(out, "%s/edgestill/models/%s.gguf", share, model);
    else if (home != NULL && *home == '/')
        str_addf(out, "%s/.local/share/edgestill/models/%s.gguf", home, model);
}
