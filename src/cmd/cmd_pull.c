/* `edgestill pull MODEL|URL`: downloads a base's 16-bit file to where the planner looks for it. Resumable, checked, with its
 * licence shown first. */
#include "base/file.h"
#include "catalog/catalog.h"
#include "catalog/data.h"
#include "cmd/cmd.h"
#include "model/file.h"
#include "net/download.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HUB "https://huggingface.co"

static const struct option_def options[] = {
    {"to", OPTION_STRING, "FILE", "where to put it (default: the folder of models)", NULL},
    {"sha256", OPTION_STRING, "HEX", "refuse a file with another checksum", NULL},
    {"file", OPTION_STRING, "NAME", "another file of the model's repository on the hub: REPO/FILE", NULL},
    {0},
};

struct pull {
    const char *name; /* as plan --base takes it; NULL: by path */
    const char *license, *sha256, *token;
    struct str url, path;
};

static bool is_url(const char *text) {
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

/* ---- what and where ---- */

/* "owner/repository/folder/file.gguf" on the hub, or on its mirror that EDGESTILL_HUB names. */
static int hub_url(struct pull *p, const char *file, struct err *e) {
    const char *hub = getenv("EDGESTILL_HUB"), *first = strchr(file, '/'),
               *second = first != NULL ? strchr(first + 1, '/') : NULL;
    if (second == NULL || second[1] == '\0') {
        err_set(e, ERR_USAGE, "pull", "'%s' is no file of a hub", file);
        return err_hint(e, "OWNER/REPOSITORY/FILE.gguf");
    }
    str_addf(&p->url, "%s/%.*s/resolve/main%s", hub != NULL && *hub != '\0' ? hub : HUB, (int)(second - file),
             file, second);
    p->token = getenv("HF_TOKEN");
    return str_check(&p->url, e);
}

static int pull_model(struct cmd_ctx *c, const struct catalog *catalog, struct pull *p) {
    const struct catalog_model *m = NULL;
    const char *file = cmd_string(c, "file");
    int code = catalog_model_find(catalog, c->args[0], &m, &c->err);
    if (code < 0)
        return code;
    if (m->unsupported != NULL)
        cmd_print(c, "Note: %s cannot be fine-tuned yet: %s\n", m->name, m->unsupported);
    if (file == NULL && m->file16 == NULL) {
        err_set(&c->err, ERR_NOT_FOUND, "pull", "the catalogue does not know a 16-bit GGUF of %s", m->name);
        return err_hint(&c->err,
                        "look in %s and name it: edgestill pull %s --file OWNER/REPOSITORY/FILE.gguf",
                        m->gguf_repo != NULL ? m->gguf_repo : "the hub", m->name);
    }
    p->name = m->name;
    p->license = m->license;
    p->sha256 = file == NULL ? m->sha256 : NULL;
    data_model_file(m->name, &p->path);
    return hub_url(p, file != NULL ? file : m->file16, &c->err);
}

/* The last part of an address without what follows a question mark. */
static int pull_url(struct cmd_ctx *c, struct pull *p) {
    const char *url = c->args[0], *end = url + strcspn(url, "?#"), *name = end;
    while (name > url && name[-1] != '/')
        name--;
    char text[160];
    snprintf(text, sizeof text, "%.*s", (int)(end - name), name);
    char *dot = strrchr(text, '.');
    if (dot == NULL || strcasecmp(dot, ".gguf") != 0 || dot == text || text[0] == '.') {
        err_set(&c->err, ERR_USAGE, "pull", "%s does not end in the name of a GGUF", url);
        return err_hint(&c->err, "say where to put it: --to FILE.gguf");
    }
    *dot = '\0';
    data_model_file(text, &p->path);
    return 0;
}

static int resolve(struct cmd_ctx *c, const struct catalog *catalog, struct pull *p) {
    const char *to = cmd_string(c, "to"), *sha256 = cmd_string(c, "sha256");
    int code = 0;
    if (!is_url(c->args[0])) {
        code = pull_model(c, catalog, p);
    } else {
        str_add(&p->url, c->args[0]);
        p->license = "not known: read it where the file comes from";
        code = to == NULL ? pull_url(c, p) : 0;
    }
    if (code < 0)
        return code;
    if (to != NULL) {
        str_clear(&p->path);
        str_add(&p->path, to);
    }
    if (sha256 != NULL)
        p->sha256 = sha256;
    if (p->sha256 != NULL && (strlen(p->sha256) != 64 || strspn(p->sha256, "0123456789abcdefABCDEF") != 64))
        return err_set(&c->err, ERR_USAGE, "pull", "'%s' is no SHA-256: 64 hexadecimal digits", p->sha256);
    if (p->path.len == 0)
        return err_set(&c->err, ERR_USAGE, "pull",
                       "there is no folder for models: set EDGESTILL_MODELS or --to");
    return str_check(&p->path, &c->err);
}

/* ---- fetching ---- */

static int make_folder(const char *path, struct err *e) {
    char *folder = strdup(path), *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    int code = folder != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "pull", "out of memory");
    if (slash != NULL && slash != folder) {
        *slash = '\0';
        code = file_make_folders(folder, e);
    }
    free(folder);
    return code;
}

/* A page of words, sent with status 200, is no model. */
static int check_file(struct cmd_ctx *c, const char *path, bool fetched) {
    struct model_file *f = NULL;
    struct model_config config;
    struct err refused = {0};
    int code = model_file_open(&f, path, &c->err);
    if (code < 0) {
        if (fetched)
            unlink(path);
        return fetched ? err_hint(&c->err, "what came is no GGUF and was removed") : code;
    }
    json_object_set_new(c->result, "arch", json_string(model_file_arch(f)));
    bool trains = model_file_config(f, &config, &refused) == 0;
    json_object_set_new(c->result, "trainable", json_boolean(trains));
    if (!trains)
        cmd_print(c, "Note: it cannot be fine-tuned: %s\n", refused.message);
    model_file_close(f);
    return 0;
}

static int fetch(struct cmd_ctx *c, struct pull *p, struct net_downloaded *got) {
    const char *path = str_text(&p->path);
    struct progress progress;
    int code = make_folder(path, &c->err);
    if (code < 0)
        return code;
    int64_t before = net_download_part_bytes(path);
    char size[32];
    if (before > 0)
        cmd_print(c, "%s of it are here already.\n", str_bytes(size, sizeof size, before));
    progress_begin(&progress, "pull", "byte", 0);
    code = net_download(&(struct net_download){.url = str_text(&p->url),
                                               .path = path,
                                               .sha256 = p->sha256,
                                               .bearer = p->token != NULL && *p->token ? p->token : NULL,
                                               .progress = &progress},
                        got, &c->err);
    progress_end(&progress);
    if (code == ERR_INTERRUPTED)
        err_hint(&c->err, "run the same command again: it goes on where it was");
    return code;
}

static void report(struct cmd_ctx *c, const struct pull *p, const struct net_downloaded *got) {
    char size[32];
    cmd_print(c, "%s, %s\n", str_text(&p->path), str_bytes(size, sizeof size, got->bytes));
    cmd_print(c, "SHA-256 %s: %s\n", got->sha256,
              got->checked ? "as expected" : "nobody stated one to compare with; keep it for --sha256");
    json_object_set_new(c->result, "sha256", json_string(got->sha256));
    json_object_set_new(c->result, "checked", json_boolean(got->checked));
    json_object_set_new(c->result, "received_bytes", json_integer((json_int_t)got->received_bytes));
}

static int pull(struct cmd_ctx *c, const struct catalog *catalog, struct pull *p) {
    struct net_downloaded got = {0};
    int code = resolve(c, catalog, p);
    if (code < 0)
        return code;
    const char *path = str_text(&p->path);
    bool here = file_exists(path);
    cmd_print(c, "%s\n  licence: %s\n  from %s\n", p->name != NULL ? p->name : path, p->license,
              str_text(&p->url));
    json_object_set_new(c->result, "path", json_string(path));
    json_object_set_new(c->result, "url", json_string(str_text(&p->url)));
    json_object_set_new(c->result, "license", json_string(p->license));
    json_object_set_new(c->result, "here_before", json_boolean(here));
    if (here)
        cmd_print(c, "It is here and is used as it is: %s\n", path);
    else if ((code = fetch(c, p, &got)) == 0)
        report(c, p, &got);
    if (code == 0)
        code = check_file(c, path, !here);
    if (code == 0)
        cmd_print(c, "Next: edgestill plan --base %s\n",
                  p->name != NULL && cmd_string(c, "to") == NULL ? p->name : path);
    return code;
}

static int run_pull(struct cmd_ctx *c) {
    struct catalog catalog;
    struct pull p = {0};
    if (c->n_args != 1) {
        err_set(&c->err, ERR_USAGE, "pull", "name one model or one address");
        return err_hint(&c->err, "edgestill models lists what there is");
    }
    int code = catalog_load(&catalog, c->project_dir, &c->err);
    if (code < 0)
        return code;
    code = pull(c, &catalog, &p);
    str_release(&p.url);
    str_release(&p.path);
    catalog_release(&catalog);
    return code;
}

const struct verb verb_pull = {"pull", "download a base model, resumable and checked", "MODEL|URL", options,
                               run_pull};
