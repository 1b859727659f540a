/* Where bases come from: the embedded one, the catalogue, a file of the user's. */
#include "base/file.h"
#include "base/str.h"
#include "catalog/data.h"
#include "model/file.h"
#include "plan/choices.h"
#include "plan/tokens.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Can the trainer take the file? Only the file tells for sure; what stands in the way becomes the reason. */
static int check_trainable(struct recommendation *r, const char *path, struct base *b, struct err *e) {
    struct model_file *f = NULL;
    struct model_config config;
    struct err refused = {0};
    int code = model_file_open(&f, path, e);
    if (code == 0 && (code = model_file_config(f, &config, &refused)) < 0) {
        const char *after = strstr(refused.message, ": ");
        b->unsupported = arena_strdup(&r->arena, after != NULL ? after + 2 : refused.message);
        if (code == ERR_UNSUPPORTED)
            code = b->unsupported != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "recommend", "out of memory");
        else if (e != NULL && e->code == 0)
            *e = refused;
    }
    model_file_close(f);
    return code;
}

static int base_from_file(const struct recommend_input *in, struct recommendation *r, const char *path,
                          struct base *b, struct err *e) {
    int code = check_trainable(r, path, b, e);
    if (code < 0 || b->unsupported != NULL)
        return code;
    code = shape_from_file(&b->shape, path, e);
    if (code == 0)
        code = plan_count_tokens(in->task, path, &b->tokens, e);
    b->shape_known = code == 0;
    return code;
}

int base_embedded(const struct recommend_input *in, struct recommendation *r, struct base *b, struct err *e) {
    struct str path = {0};
    *b = (struct base){.name = "embedded",
                       .title = "embedded base",
                       .license = "MIT",
                       .path = "data:seed/base.gguf",
                       .embedded = true,
                       .wished = str_equal(in->base, "embedded")};
    int code = data_path("seed/base.gguf", &path, e);
    if (code == 0)
        code = base_from_file(in, r, str_text(&path), b, e);
    str_release(&path);
    return code;
}

int base_of_user(const struct recommend_input *in, struct recommendation *r, struct base *b, struct err *e) {
    char *real = realpath(in->base, NULL);
    if (real == NULL) {
        err_set(e, ERR_NOT_FOUND, "recommend",
                "there is no base '%s': neither a model of the catalogue nor a file", in->base);
        return err_hint(e, "edgestill models lists what there is; or give the path of a GGUF");
    }
    const char *path = arena_strdup(&r->arena, real), *slash = strrchr(path != NULL ? path : "", '/');
    free(real);
    *b = (struct base){
        .name = slash != NULL ? slash + 1 : path, .path = path, .wished = true, .license = "the file's own"};
    b->title = b->name;
    return path != NULL ? base_from_file(in, r, path, b, e)
                        : err_set(e, ERR_NO_MEMORY, "recommend", "out of memory");
}

int base_of_catalogue(const struct recommend_input *in, struct recommendation *r,
                      const struct catalog_model *m, struct base *b, struct err *e) {
    struct str path = {0};
    *b = (struct base){.name = m->name,
                       .title = m->title,
                       .license = m->license,
                       .unsupported = m->unsupported,
                       .shape_known = m->shape_known,
                       .score = m->mmlu,
                       .wished = in->base != NULL && strcasecmp(in->base, m->name) == 0};
    data_model_file(m->name, &path);
    int code = 0;
    if (path.len > 0 && file_exists(str_text(&path))) {
        b->path = arena_strdup(&r->arena, str_text(&path));
        if (m->unsupported == NULL)
            code = base_from_file(in, r, b->path, b, e);
    } else if (m->shape_known) {
        shape_from_catalog(&b->shape, m);
        code = plan_count_tokens(in->task, NULL, &b->tokens, e);
    }
    str_release(&path);
    return code;
}
