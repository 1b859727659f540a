/* The catalogue as a whole: which files are read in which order, figures, finding by name. */
#include "catalog/catalog.h"

#include "base/file.h"
#include "base/str.h"
#include "catalog/data.h"
#include "catalog/load.h"
#include "format/yaml.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_CATALOG_BYTES = 4 << 20, N_SUGGESTIONS = 3 };

/* ---- figures ---- */

/* "2400" or "4805-6025" (the second number unsigned, so that the dash is no sign). */
static bool parse_range(const char *text, double *low, double *high) {
    const char *dash = strchr(text, '-');
    char first[32];
    if (dash == NULL || dash == text) {
        bool one = str_to_double(text, low);
        *high = *low;
        return one;
    }
    if ((size_t)(dash - text) >= sizeof first)
        return false;
    memcpy(first, text, (size_t)(dash - text));
    first[dash - text] = '\0';
    return str_to_double(first, low) && str_to_double(dash + 1, high) && *low <= *high;
}

int catalog_figure(const struct catalog_loader *l, const struct node *map, const char *key, bool required,
                   struct catalog_figure *out, struct err *e) {
    const struct node *n = node_get(map, key);
    if (n == NULL) {
        if (!required)
            return 0;
        node_error(map, e, "catalog_figure", "%s is missing; write `%s: unknown` when nobody knows it", key,
                   key);
        return ERR_INPUT;
    }
    if (n->type == NODE_STRING && str_equal(n->text, "unknown")) {
        *out = (struct catalog_figure){0};
        return 0;
    }
    const struct node *value = node_at(n, 0), *source = node_at(n, 1);
    struct catalog_figure f = {.known = true};
    if (n->type != NODE_LIST || n->n_children != 2 || value->text == NULL || source->text == NULL ||
        !parse_range(value->text, &f.low, &f.high)) {
        node_error(n, e, "catalog_figure", "%s must be [value, source], [low-high, source] or unknown", key);
        return ERR_INPUT;
    }
    const struct node *citation = node_get(l->sources, source->text);
    if (citation == NULL || citation->text == NULL) {
        node_error(source, e, "catalog_figure", "source '%s' of %s is not in the file's list of sources",
                   source->text, key);
        return ERR_INPUT;
    }
    f.source = citation->text;
    f.value = (f.low + f.high) / 2;
    *out = f;
    return 0;
}

int catalog_text(const struct node *map, const char *key, const char **out, struct err *e) {
    const char *text = NULL;
    int code = node_string(map, key, false, &text, e);
    if (code == 0)
        *out = text != NULL && !str_equal(text, "unknown") ? text : NULL;
    return code;
}

/* ---- files ---- */

static int load_file(struct catalog_loader *l, const char *path, const char *format,
                     int (*load)(struct catalog_loader *, const struct node *, struct err *), struct err *e) {
    struct node *root = NULL;
    int code = yaml_node_read(&l->catalog->arena, path, &root, e);
    const char *stated = NULL;
    struct node *sources = NULL;
    if (code == 0)
        code = node_string(root, "format", true, &stated, e);
    if (code == 0 && !str_equal(stated, format)) {
        node_error(node_get(root, "format"), e, "catalog_load", "format is '%s', expected '%s'", stated,
                   format);
        code = ERR_INPUT;
    }
    if (code == 0)
        code = node_map(root, "sources", false, &sources, e);
    if (code < 0)
        return code;
    l->sources = sources;
    l->file = arena_strdup(&l->catalog->arena, path);
    return load(l, root, e);
}

static int load_folder(struct catalog_loader *l, const char *folder, bool required, struct err *e) {
    struct {
        const char *name, *format;
        int (*load)(struct catalog_loader *, const struct node *, struct err *);
    } const files[] = {{"devices.yaml", "edgestill.devices/1", catalog_load_devices},
                       {"models.yaml", "edgestill.models/1", catalog_load_models}};
    int code = 0;
    for (size_t i = 0; code == 0 && i < sizeof files / sizeof *files; i++) {
        char *path = file_join(folder, files[i].name);
        if (path == NULL)
            return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory");
        if (required || file_exists(path))
            code = load_file(l, path, files[i].format, files[i].load, e);
        free(path);
    }
    return code;
}

static int load_all(struct catalog_loader *l, const char *project_dir, struct err *e) {
    struct str shipped = {0}, throughput = {0}, user = {0};
    int code = data_path("catalog", &shipped, e);
    if (code == 0)
        code = load_folder(l, str_text(&shipped), true, e);
    if (code == 0) {
        str_addf(&throughput, "%s/throughput.csv", str_text(&shipped));
        code = catalog_load_measurements(l->catalog, str_text(&throughput), false, e);
    }
    data_user_folder(&user);
    if (code == 0 && user.len > 0)
        code = load_folder(l, str_text(&user), false, e);
    if (code == 0 && project_dir != NULL)
        code = load_folder(l, project_dir, false, e);
    str_release(&shipped);
    str_release(&throughput);
    str_release(&user);
    return code;
}

int catalog_load(struct catalog *c, const char *project_dir, struct err *e) {
    *c = (struct catalog){0};
    arena_init(&c->arena);
    struct catalog_loader loader = {.catalog = c};
    int code = load_all(&loader, project_dir, e);
    if (code < 0) {
        catalog_release(c);
        return err_context(e, "reading the catalogue");
    }
    return 0;
}

void catalog_release(struct catalog *c) {
    if (c == NULL)
        return;
    free(c->devices);
    free(c->cores);
    free(c->models);
    free(c->measurements);
    arena_release(&c->arena);
    *c = (struct catalog){0};
}

/* ---- finding ---- */

const struct catalog_core *catalog_core_find(const struct catalog *c, const char *name) {
    for (int64_t i = 0; i < c->n_cores; i++)
        if (str_equal(c->cores[i].name, name))
            return &c->cores[i];
    return NULL;
}

static bool contains(const char *text, const char *part) {
    return text != NULL && strcasestr(text, part) != NULL;
}

/* Names with the wanted text in name or title, else the one that is spelled most alike. */
static void suggest(const char *what, const char *wanted, const char *const names[],
                    const char *const titles[], struct err *e) {
    struct str list = {0};
    int n = 0;
    for (int64_t i = 0; names[i] != NULL && n < N_SUGGESTIONS && *wanted != '\0'; i++)
        if (contains(names[i], wanted) || contains(titles[i], wanted))
            str_addf(&list, "%s%s", n++ > 0 ? ", " : "", names[i]);
    const char *near = n == 0 ? str_nearest(wanted, names) : NULL;
    if (near != NULL)
        str_add(&list, near);
    if (list.len > 0)
        err_hint(e, "did you mean %s? (edgestill %s lists them all)", str_text(&list), what);
    else
        err_hint(e, "edgestill %s lists them all", what);
    str_release(&list);
}

int catalog_device_find(const struct catalog *c, const char *name, const struct catalog_device **out,
                        struct err *e) {
    for (int64_t i = 0; i < c->n_devices; i++)
        if (strcasecmp(c->devices[i].name, name) == 0) {
            *out = &c->devices[i];
            return 0;
        }
    err_set(e, ERR_NOT_FOUND, "catalog_device_find", "there is no device '%s' in the catalogue", name);
    const char **names = calloc(2 * (size_t)(c->n_devices + 1), sizeof *names);
    if (names == NULL)
        return ERR_NOT_FOUND;
    const char **titles = names + c->n_devices + 1;
    for (int64_t i = 0; i < c->n_devices; i++) {
        names[i] = c->devices[i].name;
        titles[i] = c->devices[i].title;
    }
    suggest("devices", name, names, titles, e);
    free(names);
    return ERR_NOT_FOUND;
}

int catalog_model_find(const struct catalog *c, const char *name, const struct catalog_model **out,
                       struct err *e) {
    for (int64_t i = 0; i < c->n_models; i++)
        if (strcasecmp(c->models[i].name, name) == 0) {
            *out = &c->models[i];
            return 0;
        }
    err_set(e, ERR_NOT_FOUND, "catalog_model_find", "there is no model '%s' in the catalogue", name);
    const char **names = calloc(2 * (size_t)(c->n_models + 1), sizeof *names);
    if (names == NULL)
        return ERR_NOT_FOUND;
    const char **titles = names + c->n_models + 1;
    for (int64_t i = 0; i < c->n_models; i++) {
        names[i] = c->models[i].name;
        titles[i] = c->models[i].title;
    }
    suggest("models", name, names, titles, e);
    free(names);
    return ERR_NOT_FOUND;
}
