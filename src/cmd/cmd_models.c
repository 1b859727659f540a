/* `edgestill models [NAME]`: the base models of the catalogue, or one of them with shape, scores and where to get it. */
#include "base/file.h"
#include "catalog/catalog.h"
#include "catalog/data.h"
#include "cmd/cmd.h"
#include "plan/shape.h"

#include <string.h>

static const struct option_def options[] = {
    {"trainable", OPTION_FLAG, NULL, "only those that this version can fine-tune", NULL},
    {0},
};

/* The base's file in the models folder, whether or not it is there. */
static bool is_here(const struct catalog_model *m, struct str *path) {
    data_model_file(m->name, path);
    return path->len > 0 && file_exists(str_text(path));
}

static json_t *model_json(const struct catalog_model *m) {
    struct str path = {0};
    bool here = is_here(m, &path);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "name", m->name, "title", m->title, "arch",
                          m->arch, "license", m->license, "trainable", m->unsupported == NULL, "here", here);
    json_object_set_new(j, "path", json_string(str_text(&path)));
    json_object_set_new(j, "params", m->params > 0 ? json_real(m->params) : json_string("unknown"));
    json_object_set_new(j, "file16", json_string(m->file16 != NULL ? m->file16 : "unknown"));
    json_object_set_new(j, "gguf_repo", json_string(m->gguf_repo != NULL ? m->gguf_repo : "unknown"));
    if (m->unsupported != NULL)
        json_object_set_new(j, "unsupported", json_string(m->unsupported));
#define X(key)                                                                                               \
    json_object_set_new(j, #key,                                                                             \
                        m->key.known                                                                         \
                            ? json_pack("{s:f, s:s}", "value", m->key.value, "source", m->key.source)        \
                            : json_string("unknown"));
    MODEL_SCORES(X)
#undef X
    str_release(&path);
    return j;
}

static void explain(struct cmd_ctx *c, const struct catalog_model *m) {
    struct str path = {0};
    bool here = is_here(m, &path);
    cmd_print(c, "%s: %s\n  architecture %s, licence %s\n", m->name, m->title, m->arch, m->license);
    cmd_print(c, "  %s%s\n", m->unsupported == NULL ? "can be fine-tuned" : "cannot be fine-tuned yet: ",
              m->unsupported != NULL ? m->unsupported : "");
    if (m->shape_known) {
        struct shape s;
        shape_from_catalog(&s, m);
        cmd_print(c,
                  "  %lld parameters: %d layers of width %d, feed-forward %d, %d heads over %d key-value "
                  "heads of %d, "
                  "vocabulary %d%s, context %d\n",
                  (long long)shape_params(&s), m->n_layer, m->n_embd, m->n_ff, m->n_head, m->n_head_kv,
                  m->head_dim, m->n_vocab, m->tied ? " (tied)" : "", m->n_ctx_train);
    }
#define X(key)                                                                                               \
    if (m->key.known)                                                                                        \
        cmd_print(c, "  %s %g   [%s]\n", #key, m->key.value, m->key.source);
    MODEL_SCORES(X)
#undef X
    cmd_print(c, "  source of the shape: %s\n", m->source != NULL ? m->source : "unknown");
    cmd_print(c, "  files: %s\n", m->gguf_repo != NULL ? m->gguf_repo : "unknown");
    cmd_print(c, "  16-bit file: %s\n", m->file16 != NULL ? m->file16 : "unknown");
    if (m->template_note != NULL)
        cmd_print(c, "  chat template: %s\n", m->template_note);
    if (m->strip != NULL)
        cmd_print(c, "  stripped: %s\n", m->strip);
    if (here)
        cmd_print(c, "  here: %s\n", str_text(&path));
    else
        cmd_print(c,
                  "  not here: edgestill pull %s, or put its 16-bit GGUF to %s, or name any file with "
                  "edgestill plan "
                  "--base FILE\n",
                  m->name, str_text(&path));
    if (m->note != NULL)
        cmd_print(c, "  note: %s\n", m->note);
    str_release(&path);
}

static void list(struct cmd_ctx *c, const struct catalog *catalog, json_t *out) {
    cmd_print(c, "%-26s %7s  %-16s %-26s %s\n", "name", "params", "architecture", "licence", "state");
    cmd_print(c, "%-26s %7s  %-16s %-26s %s\n", "embedded", "3M", "llama", "MIT", "comes with edgestill");
    for (int64_t i = 0; i < catalog->n_models; i++) {
        const struct catalog_model *m = &catalog->models[i];
        struct str path = {0};
        char params[16] = "unknown";
        bool here = is_here(m, &path);
        str_release(&path);
        if (cmd_flag(c, "trainable") && m->unsupported != NULL)
            continue;
        if (m->params > 0)
            snprintf(params, sizeof params, m->params < 1e9 ? "%.0fM" : "%.1fB",
                     m->params / (m->params < 1e9 ? 1e6 : 1e9));
        cmd_print(c, "%-26s %7s  %-16s %-26.26s %s\n", m->name, params, m->arch, m->license,
                  m->unsupported != NULL ? m->unsupported
                  : here                 ? "ready"
                                         : "needs pull");
        json_array_append_new(out, model_json(m));
    }
    cmd_print(c, "\nedgestill models NAME explains one. A GGUF of your own: edgestill plan --base FILE.\n");
}

static int run_models(struct cmd_ctx *c) {
    struct catalog catalog;
    const struct catalog_model *m = NULL;
    if (c->n_args > 1)
        return err_set(&c->err, ERR_USAGE, "models", "one model at a time");
    int code = catalog_load(&catalog, c->project_dir, &c->err);
    if (code < 0)
        return code;
    json_t *out = json_array();
    json_object_set_new(c->result, "models", out);
    if (c->n_args == 0) {
        list(c, &catalog, out);
    } else if ((code = catalog_model_find(&catalog, c->args[0], &m, &c->err)) == 0) {
        explain(c, m);
        json_array_append_new(out, model_json(m));
    }
    catalog_release(&catalog);
    return code;
}

const struct verb verb_models = {"models", "list the base models of the catalogue, or explain one", "[NAME]",
                                 options, run_models};
