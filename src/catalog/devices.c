/* devices.yaml: core classes and families of boards. */
#include "base/str.h"
#include "catalog/load.h"
#include <string.h>
#include <strings.h>

static const char *const family_keys[] = {"family",
                                          "title",
                                          "measured_as",
                                          "soc",
                                          "arch",
                                          "core",
                                          "second_core",
                                          "dotprod",
                                          "i8mm",
                                          "sve",
                                          "note",
                                          "devices",
                                          "reads",
#define X(name, text) #name,
                                          DEVICE_FIGURES(X)
#undef X
                                              NULL};
static const char *const device_keys[] = {"name", "title", "note",
#define X(name, text) #name,
                                          DEVICE_FIGURES(X)
#undef X
                                              NULL};

static const char *const read_types[CATALOG_N_READS + 1] = {
#define X(name) #name,
    CATALOG_READS(X)
#undef X
};

const char *catalog_read_type(enum catalog_read r) {
    return read_types[r];
}

/* At a family all must be stated, if only as unknown, but what its boards differ in and what most have not. */
static bool must_be_stated(const char *figure) {
    return strcmp(figure, "memory_mb") != 0 && !str_starts(figure, "second_");
}

/* Figures of a map over those of `out`. */
static int read_figures(const struct catalog_loader *l, const struct node *map, bool family,
                        struct catalog_device *out, struct err *e) {
    int code = 0;
#define X(name, text)                                                                                        \
    if (code == 0)                                                                                           \
        code = catalog_figure(l, map, #name, family && must_be_stated(#name), &out->name, e);
    DEVICE_FIGURES(X)
#undef X
    return code;
}

/* What a probe measured, type by type; other devices have none. */
static int read_reads(const struct catalog_loader *l, const struct node *family, struct catalog_device *out,
                      struct err *e) {
    struct node *map = NULL;
    int code = node_map(family, "reads", false, &map, e);
    if (code == 0 && map != NULL)
        code = node_check_keys(map, read_types, e);
    for (int i = 0; i < CATALOG_N_READS && code == 0 && map != NULL; i++)
        code = catalog_figure(l, map, read_types[i], false, &out->reads[i], e);
    return code;
}

static const char *size_title(struct catalog *c, const char *title, const struct catalog_figure *memory) {
    if (!memory->known)
        return title;
    if (memory->value < 1024)
        return arena_printf(&c->arena, "%s, %.0f MB", title, memory->value);
    return arena_printf(&c->arena, "%s, %.0f GB", title, memory->value / 1024);
}

static int add_device(struct catalog_loader *l, const struct catalog_device *d, struct err *e) {
    struct catalog *c = l->catalog;
    for (int64_t i = 0; i < c->n_devices; i++)
        if (strcasecmp(c->devices[i].name, d->name) == 0) {
            c->devices[i] = *d;
            return 0;
        }
    if (mem_grow((void **)&c->devices, &l->device_capacity, c->n_devices + 1, sizeof *c->devices) < 0)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the catalogue's devices");
    c->devices[c->n_devices++] = *d;
    return 0;
}

static int read_device(struct catalog_loader *l, const struct node *at, const struct catalog_device *family,
                       struct err *e) {
    struct catalog_device d = *family;
    const char *own_title = NULL;
    if (node_check_keys(at, device_keys, e) < 0 || node_string(at, "name", true, &d.name, e) < 0 ||
        node_string(at, "title", false, &own_title, e) < 0 || node_string(at, "note", false, &d.note, e) < 0)
        return ERR_INPUT;
    int code = read_figures(l, at, false, &d, e);
    if (code < 0)
        return code;
    d.title = own_title != NULL ? own_title : size_title(l->catalog, family->title, &d.memory_mb);
    if (d.title == NULL)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the catalogue's devices");
    return add_device(l, &d, e);
}

static int read_family(struct catalog_loader *l, const struct node *at, struct err *e) {
    struct catalog_device d = {.origin = l->file, .dotprod = "unknown", .i8mm = "unknown", .sve = "unknown"};
    struct node *devices = NULL;
    if (node_check_keys(at, family_keys, e) < 0 || node_string(at, "family", true, &d.family, e) < 0 ||
        node_string(at, "title", true, &d.title, e) < 0 || node_string(at, "arch", true, &d.arch, e) < 0 ||
        node_string(at, "core", true, &d.core, e) < 0 || node_list(at, "devices", true, &devices, e) < 0 ||
        node_string(at, "measured_as", false, &d.measured_as, e) < 0 ||
        node_string(at, "second_core", false, &d.second_core, e) < 0 ||
        catalog_text(at, "soc", &d.soc, e) < 0 || node_string(at, "dotprod", false, &d.dotprod, e) < 0 ||
        node_string(at, "i8mm", false, &d.i8mm, e) < 0 || node_string(at, "sve", false, &d.sve, e) < 0 ||
        node_string(at, "note", false, &d.note, e) < 0)
        return ERR_INPUT;
    int code = read_figures(l, at, true, &d, e);
    if (code == 0)
        code = read_reads(l, at, &d, e);
    if (code == 0 && catalog_core_find(l->catalog, d.core) == NULL) {
        node_error(node_get(at, "core"), e, "catalog_load", "core class '%s' is not in the list of cores",
                   d.core);
        code = ERR_INPUT;
    }
    if (code == 0 && d.second_core != NULL && catalog_core_find(l->catalog, d.second_core) == NULL) {
        node_error(node_get(at, "second_core"), e, "catalog_load",
                   "core class '%s' is not in the list of cores", d.second_core);
        code = ERR_INPUT;
    }
    for (const struct node *n = devices->first; code == 0 && n != NULL; n = n->next)
        code = read_device(l, n, &d, e);
    return code;
}

static int read_core(struct catalog_loader *l, const struct node *at, struct err *e) {
    static const char *const keys[] = {"name", "like", "relative", "seven_zip", "in_order", "scalar", NULL};
    struct catalog *c = l->catalog;
    struct catalog_core core = {0};
    if (node_check_keys(at, keys, e) < 0 || node_string(at, "name", true, &core.name, e) < 0 ||
        node_string(at, "like", true, &core.like, e) < 0 ||
        node_bool(at, "in_order", false, &core.in_order, e) < 0 ||
        node_bool(at, "scalar", false, &core.scalar, e) < 0 ||
        catalog_figure(l, at, "relative", true, &core.relative, e) < 0 ||
        catalog_figure(l, at, "seven_zip", false, &core.seven_zip, e) < 0)
        return ERR_INPUT;
    for (int64_t i = 0; i < c->n_cores; i++)
        if (str_equal(c->cores[i].name, core.name)) {
            c->cores[i] = core;
            return 0;
        }
    if (mem_grow((void **)&c->cores, &l->core_capacity, c->n_cores + 1, sizeof *c->cores) < 0)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the catalogue's cores");
    c->cores[c->n_cores++] = core;
    return 0;
}

int catalog_load_devices(struct catalog_loader *l, const struct node *root, struct err *e) {
    static const char *const keys[] = {"format", "sources", "cores", "families", NULL};
    struct node *cores = NULL, *families = NULL;
    if (node_check_keys(root, keys, e) < 0 || node_list(root, "cores", false, &cores, e) < 0 ||
        node_list(root, "families", true, &families, e) < 0)
        return ERR_INPUT;
    int code = 0;
    for (const struct node *n = cores != NULL ? cores->first : NULL; code == 0 && n != NULL; n = n->next)
        code = read_core(l, n, e);
    for (const struct node *n = families->first; code == 0 && n != NULL; n = n->next)
        code = read_family(l, n, e);
    return code;
}
