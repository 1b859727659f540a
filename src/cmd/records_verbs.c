/* See records_verbs.h. */
#include "cmd/records_verbs.h"
#include "base/file.h"
#include "cmd/manifest.h"
#include "format/json.h"
#include "synth/split.h"
#include <stdio.h>

int records_open(struct cmd_ctx *c, enum store_mode mode, struct records_verb *out) {
    *out = (struct records_verb){0};
    int code = project_open(&out->project, c->project_dir, &c->err);
    if (code < 0)
        return code;
    if (mode == STORE_WRITE)
        code = project_hold(&out->project, &c->err);
    if (code == 0)
        code = project_task(&out->project, true, &out->task, &c->err);
    const char *path = project_path(&out->project, "records.sqlite");
    if (code == 0)
        code = path ? store_open(&out->store, path, mode, &c->err)
                    : err_set(&c->err, ERR_NO_MEMORY, c->verb->name, "out of memory");
    if (code < 0)
        records_close(out);
    return code;
}

void records_close(struct records_verb *r) {
    store_close(r->store);
    task_release(&r->task);
    project_release(&r->project);
    *r = (struct records_verb){0};
}

static int renew_manifest(struct cmd_ctx *c, struct records_verb *r) {
    static const enum store_split splits[] = {STORE_TRAIN, STORE_VALIDATION, STORE_TEST};
    const char *path = project_path(&r->project, MANIFEST_GENERATE);
    json_t *document = NULL;
    if (!path || !file_exists(path)) /* generation has not ended: it will write one */
        return 0;
    int code = json_file_read(path, &document, &c->err);
    for (size_t i = 0; i < sizeof splits / sizeof *splits && code == 0; i++) {
        char name[32], hex[SHA256_HEX];
        snprintf(name, sizeof name, "records:%s", store_split_text(splits[i]));
        code = store_records_hash(r->store, splits[i], hex, &c->err);
        if (code == 0)
            json_object_set_new(json_object_get(document, "outputs"), name, json_string(hex));
    }
    if (code == 0)
        code = json_file_write(path, document, &c->err);
    json_decref(document);
    return code;
}

int records_changed(struct cmd_ctx *c, struct records_verb *r) {
    int code = split_assign(r->store, &r->task, (struct split_shares){0.1, 0.1}, r->project.seed, &c->err);
    return code == 0 ? renew_manifest(c, r) : code;
}
