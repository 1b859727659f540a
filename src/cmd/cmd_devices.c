/* `edgestill devices [NAME]`: the devices of the catalogue, or one of them with the source of every figure. */
#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/project.h"

#include <string.h>

static const struct option_def options[] = {
    {"arch", OPTION_STRING, "NAME", "only those of an architecture: aarch64, x86_64, armv7, riscv64", NULL},
    {0},
};

static json_t *figure_json(const struct catalog_figure *f) {
    if (!f->known)
        return json_string("unknown");
    return json_pack("{s:f, s:f, s:f, s:s}", "value", f->value, "low", f->low, "high", f->high, "source",
                     f->source);
}

static json_t *device_json(const struct catalog_device *d) {
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", d->name, "title", d->title, "family",
                  d->family, "arch", d->arch, "core", d->core, "dotprod", d->dotprod, "i8mm", d->i8mm);
    json_object_set_new(j, "soc", d->soc != NULL ? json_string(d->soc) : json_string("unknown"));
    json_object_set_new(j, "measured", json_boolean(d->measured_as != NULL));
    if (d->note != NULL)
        json_object_set_new(j, "note", json_string(d->note));
    json_object_set_new(j, "from", json_string(d->origin));
#define X(key, text) json_object_set_new(j, #key, figure_json(&d->key));
    DEVICE_FIGURES(X)
#undef X
    return j;
}

static void print_figure(const struct cmd_ctx *c, const char *text, const struct catalog_figure *f) {
    if (!f->known)
        cmd_print(c, "  %-58s unknown\n", text);
    else if (f->low < f->high)
        cmd_print(c, "  %-58s %g to %g   [%s]\n", text, f->low, f->high, f->source);
    else
        cmd_print(c, "  %-58s %g   [%s]\n", text, f->value, f->source);
}

static void explain(const struct cmd_ctx *c, const struct catalog *catalog, const struct catalog_device *d) {
    const struct catalog_core *core = catalog_core_find(catalog, d->core);
    cmd_print(c, "%s: %s\n", d->name, d->title);
    cmd_print(c, "  %s, %s, %s cores; dotprod %s, i8mm %s, sve %s\n",
              d->soc != NULL ? d->soc : "chip unknown", d->arch, d->core, d->dotprod, d->i8mm, d->sve);
#define X(key, text) print_figure(c, text " (" #key ")", &d->key);
    DEVICE_FIGURES(X)
#undef X
    if (d->measured_as != NULL)
        cmd_print(c, "  speeds are fitted to the rows of %s in throughput.csv\n", d->measured_as);
    else if (core != NULL)
        cmd_print(c,
                  "  nobody published llama.cpp speeds of it that could be used: they are estimated from %s "
                  "cores\n",
                  core->like);
    if (d->note != NULL)
        cmd_print(c, "  note: %s\n", d->note);
    cmd_print(c, "  from %s\n", d->origin);
}

static void list(struct cmd_ctx *c, const struct catalog *catalog, const char *arch, json_t *out) {
    cmd_print(c, "%-22s %-38s %-8s %-12s %8s  speeds\n", "name", "device", "arch", "cores", "memory");
    for (int64_t i = 0; i < catalog->n_devices; i++) {
        const struct catalog_device *d = &catalog->devices[i];
        if (arch != NULL && strcmp(arch, d->arch) != 0)
            continue;
        char memory[16] = "unknown";
        if (d->memory_mb.known)
            snprintf(memory, sizeof memory, d->memory_mb.value < 1024 ? "%.0f MB" : "%.0f GB",
                     d->memory_mb.value / (d->memory_mb.value < 1024 ? 1 : 1024));
        cmd_print(c, "%-22s %-38s %-8s %-12s %8s  %s\n", d->name, d->title, d->arch, d->core, memory,
                  d->measured_as != NULL ? "measured rows"
                  : d->decode_gbps.known ? "one measured figure"
                                         : "estimated");
        json_array_append_new(out, device_json(d));
    }
    cmd_print(c, "\nedgestill devices NAME shows every figure with its source; add boards of your own in "
                 "devices.yaml (docs/formats.md).\n");
}

static int run_devices(struct cmd_ctx *c) {
    struct catalog catalog;
    const struct catalog_device *d = NULL;
    if (c->n_args > 1)
        return err_set(&c->err, ERR_USAGE, "devices", "one device at a time");
    int code = catalog_load(&catalog, c->project_dir, &c->err);
    if (code < 0)
        return code;
    json_t *out = json_array();
    json_object_set_new(c->result, "devices", out);
    if (c->n_args == 0) {
        list(c, &catalog, cmd_string(c, "arch"), out);
    } else if ((code = catalog_device_find(&catalog, c->args[0], &d, &c->err)) == 0) {
        explain(c, &catalog, d);
        json_array_append_new(out, device_json(d));
    }
    catalog_release(&catalog);
    return code;
}

const struct verb verb_devices = {"devices", "list the devices of the catalogue, or explain one", "[NAME]",
                                  options, run_devices};
