/* models.yaml: base models and which architectures the trainer takes. */
#include "base/str.h"
#include "catalog/load.h"
#include <string.h>
#include <strings.h>

static const char *const model_keys[] = {"name",
                                         "title",
                                         "measured_as",
                                         "arch",
                                         "license",
                                         "hf_repo",
                                         "gguf_repo",
                                         "params",
                                         "shape",
                                         "context",
                                         "tied",
                                         "qk_norm",
                                         "qkv_bias",
                                         "post_norms",
                                         "source",
                                         "note",
                                         "chat",
                                         "file16",
                                         "sha256",
                                         "strip",
                                         "unsupported",
#define X(name) #name,
                                         MODEL_SCORES(X)
#undef X
                                             NULL};

static bool is_unknown(const struct node *map, const char *key) {
    const struct node *n = node_get(map, key);
    return n == NULL || (n->type == NODE_STRING && str_equal(n->text, "unknown"));
}

static int read_int(const struct node *map, const char *key, int *out, struct err *e) {
    int64_t value = 0;
    int code = node_i64(map, key, true, &value, e);
    if (code == 0 && (value < 1 || value > INT32_MAX)) {
        node_error(node_get(map, key), e, "catalog_load", "%s must be a positive number", key);
        code = ERR_INPUT;
    }
    if (code == 0)
        *out = (int)value;
    return code;
}

static int read_shape(const struct node *at, struct catalog_model *m, struct err *e) {
    static const char *const keys[] = {"layers",   "width",    "ffn",   "heads",
                                       "kv_heads", "head_dim", "vocab", NULL};
    struct node *shape = NULL;
    if (node_map(at, "shape", true, &shape, e) < 0 || node_check_keys(shape, keys, e) < 0 ||
        read_int(shape, "layers", &m->n_layer, e) < 0 || read_int(shape, "width", &m->n_embd, e) < 0 ||
        read_int(shape, "ffn", &m->n_ff, e) < 0 || read_int(shape, "heads", &m->n_head, e) < 0 ||
        read_int(shape, "kv_heads", &m->n_head_kv, e) < 0 ||
        read_int(shape, "head_dim", &m->head_dim, e) < 0 || read_int(shape, "vocab", &m->n_vocab, e) < 0 ||
        read_int(at, "context", &m->n_ctx_train, e) < 0 || node_bool(at, "tied", true, &m->tied, e) < 0 ||
        node_bool(at, "qk_norm", false, &m->qk_norm, e) < 0 ||
        node_bool(at, "qkv_bias", false, &m->qkv_bias, e) < 0 ||
        node_bool(at, "post_norms", false, &m->post_norms, e) < 0)
        return ERR_INPUT;
    m->shape_known = true;
    return 0;
}

/* Why the trainer cannot take the architecture: NULL when it can. Own files without the table use the shipped one. */
static int read_support(const struct node *architectures, struct catalog_model *m, const struct node *at,
                        struct err *e) {
    const struct node *entry = node_get(architectures, m->arch);
    if (entry == NULL) {
        node_error(node_get(at, "arch"), e, "catalog_load",
                   "architecture '%s' is not in the file's list of architectures", m->arch);
        return ERR_INPUT;
    }
    bool trains = false;
    const char *reason = "not supported by the trainer";
    if (node_bool(entry, "trains", true, &trains, e) < 0 ||
        node_string(entry, "reason", false, &reason, e) < 0)
        return ERR_INPUT;
    m->unsupported = trains ? NULL : reason;
    return 0;
}

static int read_measured_as(struct catalog *c, const struct node *at, struct catalog_model *m,
                            struct err *e) {
    struct node *list = NULL;
    if (node_list(at, "measured_as", false, &list, e) < 0)
        return ERR_INPUT;
    int64_t n = list != NULL ? list->n_children : 0, i = 0;
    const char **names = arena_calloc(&c->arena, (size_t)n + 1, sizeof *names);
    if (names == NULL)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the catalogue's models");
    for (const struct node *item = list != NULL ? list->first : NULL; item != NULL; item = item->next)
        names[i++] = item->text;
    m->measured_as = names;
    return 0;
}

static int add_model(struct catalog_loader *l, const struct catalog_model *m, struct err *e) {
    struct catalog *c = l->catalog;
    for (int64_t i = 0; i < c->n_models; i++)
        if (strcasecmp(c->models[i].name, m->name) == 0) {
            c->models[i] = *m;
            return 0;
        }
    if (mem_grow((void **)&c->models, &l->model_capacity, c->n_models + 1, sizeof *c->models) < 0)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the catalogue's models");
    c->models[c->n_models++] = *m;
    return 0;
}

static int read_model(struct catalog_loader *l, const struct node *architectures, const struct node *at,
                      struct err *e) {
    struct catalog_model m = {.origin = l->file, .license = "unknown"};
    if (node_check_keys(at, model_keys, e) < 0 || node_string(at, "name", true, &m.name, e) < 0 ||
        node_string(at, "title", true, &m.title, e) < 0 || node_string(at, "arch", true, &m.arch, e) < 0 ||
        node_string(at, "license", false, &m.license, e) < 0 ||
        catalog_text(at, "hf_repo", &m.hf_repo, e) < 0 ||
        catalog_text(at, "gguf_repo", &m.gguf_repo, e) < 0 || catalog_text(at, "file16", &m.file16, e) < 0 ||
        catalog_text(at, "sha256", &m.sha256, e) < 0 || node_string(at, "strip", false, &m.strip, e) < 0 ||
        catalog_text(at, "source", &m.source, e) < 0 || node_string(at, "note", false, &m.note, e) < 0 ||
        node_string(at, "chat", false, &m.template_note, e) < 0)
        return ERR_INPUT;
    if (!is_unknown(at, "params") && node_number(at, "params", true, &m.params, e) < 0)
        return ERR_INPUT;
    if (!is_unknown(at, "shape") && read_shape(at, &m, e) < 0)
        return ERR_INPUT;
    int code = read_support(architectures, &m, at, e);
    if (code == 0)
        code = node_string(at, "unsupported", false, &m.unsupported, e);
    if (code == 0)
        code = read_measured_as(l->catalog, at, &m, e);
    if (code == 0 && !m.shape_known && m.unsupported == NULL)
        m.unsupported = "shape not known";
#define X(name)                                                                                              \
    if (code == 0)                                                                                           \
        code = catalog_figure(l, at, #name, false, &m.name, e);
    MODEL_SCORES(X)
#undef X
    return code == 0 ? add_model(l, &m, e) : code;
}

int catalog_load_models(struct catalog_loader *l, const struct node *root, struct err *e) {
    static const char *const keys[] = {"format", "sources", "architectures", "models", NULL};
    struct node *models = NULL, *architectures = NULL;
    if (node_check_keys(root, keys, e) < 0 || node_list(root, "models", true, &models, e) < 0 ||
        node_map(root, "architectures", false, &architectures, e) < 0)
        return ERR_INPUT;
    if (architectures != NULL)
        l->architectures = architectures; /* the shipped file comes first and lends its table to the user's */
    int code = 0;
    for (const struct node *n = models->first; code == 0 && n != NULL; n = n->next)
        code = read_model(l, l->architectures, n, e);
    return code;
}
