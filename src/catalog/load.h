/* Inside catalog/: reading figures and lists, shared by devices.c and models.c. */
#ifndef CATALOG_LOAD_H
#define CATALOG_LOAD_H

#include "catalog/catalog.h"
#include "format/node.h"

/* What is being read: entries are added to `catalog`, text stays in the catalogue's arena. */
struct catalog_loader {
    struct catalog *catalog;
    const struct node *sources;       /* the file's citations */
    const struct node *architectures; /* what trains, from the file read first that says so */
    const char *file;
    int64_t device_capacity, core_capacity, model_capacity;
};

/* `key: [value, source]`, `key: [low-high, source]`, `key: unknown`. Absent: ERR_INPUT when required, else as it was. */
int catalog_figure(const struct catalog_loader *l, const struct node *map, const char *key, bool required,
                   struct catalog_figure *out, struct err *e);

/* Text that may be `unknown` (then NULL). */
int catalog_text(const struct node *map, const char *key, const char **out, struct err *e);

/* One file, devices.yaml or models.yaml; entries replace those of the same name. */
int catalog_load_devices(struct catalog_loader *l, const struct node *root, struct err *e);
int catalog_load_models(struct catalog_loader *l, const struct node *root, struct err *e);
/* `lenient`: a file that is not ours. What is no number is not measured, columns beyond device, model, quant and one speed may be
 * missing. */
int catalog_load_measurements(struct catalog *c, const char *path, bool lenient, struct err *e);

#endif
