/* `edgestill init`: checks the sentence, the device, the base and the data, and writes a project's edgestill.yaml. The file
 * is the user's from then on: nothing rewrites it. */
#include "base/file.h"
#include "base/mem.h"
#include "catalog/catalog.h"
#include "cmd/cmd.h"
#include "cmd/project.h"
#include "format/csv.h"
#include "format/jsonl.h"
#include "format/yaml.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option_def options[] = {
    {"task", OPTION_STRING, "TEXT", "what the model must do, in a sentence or a few; the rule in words helps",
     NULL},
    {"device", OPTION_STRING, "NAME", "the device it must run on (see: edgestill devices)", NULL},
    {"base", OPTION_STRING, "NAME",
     "the base model: embedded, a name from `edgestill models`, or a GGUF file; without it the plan chooses",
     NULL},
    {"data", OPTION_STRING, "FILE", "your own labelled rows, CSV or JSON Lines (.jsonl)", NULL},
    {"label", OPTION_STRING, "COLUMN",
     "the column of --data that holds the label or the answer; several with commas", NULL},
    {"group", OPTION_STRING, "COLUMN",
     "rows with the same value there go to the same split (a patient, a customer)", NULL},
    {"time", OPTION_STRING, "COLUMN", "the latest rows by this column become the test rows", NULL},
    {"eval-data", OPTION_STRING, "FILE",
     "held-out rows for eval, with the same columns; never used for training", NULL},
    {"teacher", OPTION_STRING, "WHO",
     "embedded, the URL of an OpenAI-compatible server (…/v1), a GGUF file to run here, or none", "embedded"},
    {"teacher-model", OPTION_STRING, "NAME", "the model to ask there", NULL},
    {"teacher-key-env", OPTION_STRING, "VAR",
     "environment variable that holds the key; the key itself is not stored", NULL},
    {"records", OPTION_INT, "N", "training records to make", "1000"},
    {"seed", OPTION_INT64, "N", "seed of everything random", "1"},
    {0},
};

struct init {
    struct cmd_ctx *c;
    struct arena arena;
    const char *dir, *path; /* the project's folder and its edgestill.yaml */
    const char *sentence, *device;
    const char *base, *data, *label, *eval_data, *teacher_file; /* as they will be written; NULL: none */
};

static int usage(struct init *in, const char *option, const char *problem) {
    int code = err_set(&in->c->err, ERR_USAGE, "init", "--%s %s", option, problem);
    err_hint(&in->c->err, "see: edgestill init --help");
    return code;
}

/* ---- checks ---- */

static int check_arguments(struct init *in) {
    struct cmd_ctx *c = in->c;
    if (c->n_args != 1) {
        err_set(&c->err, ERR_USAGE, "init", "init needs one folder, but %d are named", c->n_args);
        return err_hint(&c->err, "for example: edgestill init claims --task \"…\" --device rpi5-8gb");
    }
    in->dir = c->args[0];
    in->sentence = cmd_string(c, "task");
    in->device = cmd_string(c, "device");
    if (!in->sentence || in->sentence[strspn(in->sentence, " \t\r\n")] == '\0')
        return usage(in, "task", "is needed: say what the model must do");
    if (!str_is_utf8(in->sentence, strlen(in->sentence), NULL))
        return usage(in, "task", "is not UTF-8 text");
    if (!in->device)
        return usage(in, "device", "is needed: say where the model must run");
    if (cmd_int(c, "records", 0) < 1 || cmd_int(c, "records", 0) > 10000000)
        return usage(in, "records", "must be from 1 to 10000000");
    return cmd_int(c, "seed", 0) < 0 ? usage(in, "seed", "must not be negative") : 0;
}

static int check_folder(struct init *in) {
    struct err *e = &in->c->err;
    char *path = file_join(in->dir, "edgestill.yaml");
    in->path = arena_strdup(&in->arena, path);
    free(path);
    if (!in->path)
        return err_set(e, ERR_NO_MEMORY, "init", "out of memory");
    if (file_exists(in->dir) && !file_is_folder(in->dir))
        return err_set(e, ERR_INPUT, "init", "%s is a file, not a folder", in->dir);
    if (!file_exists(in->path))
        return 0;
    err_set(e, ERR_INPUT, "init", "there is a project already: %s", in->path);
    return err_hint(e, "edit that file, or name another folder; a project is never overwritten");
}

static int check_names(struct init *in) {
    struct err *e = &in->c->err;
    const char *base = cmd_string(in->c, "base");
    struct catalog catalog;
    int code = catalog_load(&catalog, NULL, e);
    if (code < 0)
        return code;
    const struct catalog_device *device;
    const struct catalog_model *model;
    code = catalog_device_find(&catalog, in->device, &device, e);
    if (code == 0)
        in->device = arena_strdup(&in->arena, device->name);
    if (code == 0 && base && !project_base_is_file(base) && strcmp(base, "embedded") != 0)
        code = catalog_model_find(&catalog, base, &model, e);
    catalog_release(&catalog);
    return code;
}

/* `path` as edgestill.yaml will have it: below the project folder where it lies there, else absolute. */
static int store_path(struct init *in, const char *path, const char **out) {
    char file[PATH_MAX], folder[PATH_MAX];
    if (!realpath(path, file))
        return err_set_errno(&in->c->err, ERR_NOT_FOUND, "init", "%s: cannot open", path);
    bool below = realpath(in->dir, folder) && str_starts(file, folder) && file[strlen(folder)] == '/';
    *out = arena_strdup(&in->arena, below ? file + strlen(folder) + 1 : file);
    return *out ? 0 : err_set(&in->c->err, ERR_NO_MEMORY, "init", "out of memory");
}

static int label_missing(const char *path, const char *label, const char *found, struct err *e) {
    int code = err_set(e, ERR_INPUT, "init", "%s: there is no column \"%s\"", path, label);
    err_hint(e, "columns there: %s", found);
    return code;
}

/* "room,action": every name between commas must be a column, unless the whole is one. */
static bool has_label(const char *label, bool (*has)(const void *rows, const char *name), const void *rows) {
    char name[256];
    if (has(rows, label))
        return true;
    for (const char *at = label;; at++) {
        size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < 255 ? n : 255), at);
        if (!has(rows, str_trim(name)))
            return false;
        at += n;
        if (!*at)
            return true;
    }
}

static bool csv_has(const void *rows, const char *name) {
    return csv_reader_column(rows, name) >= 0;
}

static bool node_has(const void *rows, const char *name) {
    return node_get(rows, name) != NULL;
}

static int check_csv(const char *path, const char *label, struct err *e) {
    struct csv_reader *r;
    int code = csv_reader_open(&r, path, NULL, e);
    if (code < 0)
        return code;
    struct str found = {0};
    for (int i = 0; i < csv_reader_n_columns(r); i++)
        str_addf(&found, "%s%s", i ? ", " : "", csv_reader_name(r, i));
    if (!has_label(label, csv_has, r))
        code = label_missing(path, label, str_text(&found), e);
    else if ((code = csv_reader_next(r, e)) == 0)
        code = err_set(e, ERR_INPUT, "init", "%s: there is a header but no row", path);
    str_release(&found);
    csv_reader_close(r);
    return code < 0 ? code : 0;
}

static int not_rows(const char *path, struct err *e) {
    err_set(e, ERR_INPUT, "init", "%s is no file of rows that can be read", path);
    return err_hint(e, "save it as CSV with a header line, or as JSON Lines (.jsonl): one object a line, as "
                       "`jq -c '.[]'` makes of a JSON array");
}

static int check_jsonl(const char *path, const char *label, struct err *e) {
    struct jsonl_reader *r;
    int code = jsonl_reader_open(&r, path, e);
    if (code < 0)
        return code;
    struct arena a = {0};
    struct node *row = NULL;
    struct str found = {0};
    code = jsonl_reader_next(r, &a, &row, e);
    if (code == 0)
        code = err_set(e, ERR_INPUT, "init", "%s: there is no row", path);
    if (code > 0 && row->type != NODE_MAP)
        code = not_rows(path, e);
    for (struct node *n = code > 0 ? row->first : NULL; n && n->key; n = n->next)
        str_addf(&found, "%s%s", n == row->first ? "" : ", ", n->key);
    if (code > 0 && !has_label(label, node_has, row))
        code = label_missing(path, label, str_text(&found), e);
    str_release(&found);
    arena_release(&a);
    jsonl_reader_close(r);
    return code < 0 ? code : 0;
}

static int check_rows(struct init *in, const char *path, const char **stored) {
    int code = store_path(in, path, stored);
    if (code < 0)
        return code;
    static const char *const others[] = {".json", ".xlsx", ".xls", ".ods", ".parquet"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_ends(path, others[i]))
            return not_rows(path, &in->c->err);
    bool lines = str_ends(path, ".jsonl") || str_ends(path, ".ndjson");
    return lines ? check_jsonl(path, in->label, &in->c->err) : check_csv(path, in->label, &in->c->err);
}

static int check_data(struct init *in) {
    const char *data = cmd_string(in->c, "data"), *eval_data = cmd_string(in->c, "eval-data");
    const char *base = cmd_string(in->c, "base");
    in->label = cmd_string(in->c, "label");
    in->base = base;
    int code = 0;
    if ((data || eval_data) && !in->label)
        return usage(in, "label", "is needed with --data and --eval-data: the column that holds the label");
    if (data)
        code = check_rows(in, data, &in->data);
    if (code == 0 && eval_data)
        code = check_rows(in, eval_data, &in->eval_data);
    if (code == 0 && project_base_is_file(base))
        code = store_path(in, base, &in->base);
    return code;
}

/* A model file to be run here, which no endpoint's options are about. */
static int teacher_file(struct init *in, const char *who) {
    if (cmd_string(in->c, "teacher-model") || cmd_string(in->c, "teacher-key-env"))
        return usage(in, "teacher", "is a file: --teacher-model and --teacher-key-env are for a URL");
    if (!str_ends(who, ".gguf"))
        return usage(in, "teacher", "names a file that does not end in .gguf");
    return store_path(in, who, &in->teacher_file);
}

static int check_teacher(struct init *in) {
    struct cmd_ctx *c = in->c;
    const char *who = cmd_string(c, "teacher");
    bool url = str_starts(who, "http://") || str_starts(who, "https://");
    if (!url && project_base_is_file(who))
        return teacher_file(in, who);
    if (!url && strcmp(who, "embedded") != 0 && strcmp(who, "none") != 0) {
        err_set(&c->err, ERR_USAGE, "init",
                "--teacher must be embedded, none, a URL or a GGUF file, not \"%s\"", who);
        return err_hint(&c->err,
                        "for example: --teacher https://api.moonshot.ai/v1 --teacher-model kimi-k2.6");
    }
    if (url && !cmd_string(c, "teacher-model"))
        return usage(in, "teacher-model", "is needed with a URL: the model to ask there");
    if (!url && (cmd_string(c, "teacher-model") || cmd_string(c, "teacher-key-env")))
        return usage(in, "teacher",
                     "must be a URL for --teacher-model and --teacher-key-env to mean something");
    if (strcmp(who, "none") == 0 && !cmd_string(c, "data"))
        return usage(in, "teacher", "none needs --data: without a teacher the training rows must be yours");
    return 0;
}

/* ---- writing ---- */

static void add_key(struct str *out, const char *key, const char *value) {
    str_addf(out, "%s: ", key);
    yaml_text_string(out, value);
    str_add_char(out, '\n');
}

static void add_teacher(const struct init *in, struct str *out) {
    const char *who = cmd_string(in->c, "teacher"), *key = cmd_string(in->c, "teacher-key-env");
    bool url = !in->teacher_file && strchr(who, ':') != NULL;
    str_add(out, "\n# Who writes and labels the training records. embedded: the small teacher that comes "
                 "with edgestill.\n"
                 "# openai: any server that speaks that protocol (url, model, key_env; the key stays in the "
                 "environment).\n"
                 "# gguf: a model file that runs on this machine (gguf: FILE).\n"
                 "# none: only your own rows. Nothing is sent anywhere before you have said yes to it.\n"
                 "teacher:\n");
    add_key(out, "  kind", in->teacher_file ? "gguf" : url ? "openai" : who);
    if (in->teacher_file)
        add_key(out, "  gguf", in->teacher_file);
    if (!url)
        return;
    add_key(out, "  url", who);
    add_key(out, "  model", cmd_string(in->c, "teacher-model"));
    if (key)
        add_key(out, "  key_env", key);
    else
        str_add(out,
                "  # key_env: OPENAI_API_KEY    # the variable that holds the key, where one is needed\n");
    str_add(out, "  # parallel: 4    # requests at once\n");
}

static void add_data(const struct init *in, struct str *out) {
    str_add(out, "\n# Your own rows: CSV with a header, or JSON Lines. They stay on this machine; "
                 "share_rows: true would let\n"
                 "# the teacher read them, and share_columns: [NAME, …] those columns alone.\n");
    if (!in->data && !in->eval_data) {
        str_add(
            out,
            "# data:\n#   path: rows.csv      # labelled rows to learn from\n#   label: class        # the "
            "column with the label\n#   eval: held-out.csv  # rows that only eval sees\n"
            "#   group: patient      # rows with the same value stay in one split; or time: COLUMN\n");
        return;
    }
    str_add(out, "data:\n");
    if (in->data)
        add_key(out, "  path", in->data);
    add_key(out, "  label", in->label);
    if (cmd_string(in->c, "group"))
        add_key(out, "  group", cmd_string(in->c, "group"));
    if (cmd_string(in->c, "time"))
        add_key(out, "  time", cmd_string(in->c, "time"));
    if (in->eval_data)
        add_key(out, "  eval", in->eval_data);
    str_add(out, "  share_rows: false\n");
}

static void compose(const struct init *in, struct str *out) {
    str_add(
        out,
        "# An edgestill project. Edit it as you like; `edgestill status` says what a change makes stale.\n"
        "# All keys: docs/formats.md. Paths are relative to this folder.\n"
        "format: " PROJECT_FORMAT "\n\n"
        "# What the model must do, in your own words. `edgestill task` makes the specification from it.\n");
    add_key(out, "task", in->sentence);
    str_add(out, "\n# Where it must run (edgestill devices lists what is known).\n");
    add_key(out, "device", in->device);
    str_add(out, "\n# What it is made from: embedded, a name from `edgestill models`, or a GGUF file. "
                 "Without it the plan "
                 "chooses.\n");
    if (in->base)
        add_key(out, "base", in->base);
    else
        str_add(out, "# base: embedded\n");
    add_teacher(in, out);
    add_data(in, out);
    str_addf(out,
             "\n# Training records to make, and the seed of everything random.\nrecords: %" PRId64
             "\nseed: %" PRId64 "\n",
             cmd_int(in->c, "records", 0), cmd_int(in->c, "seed", 0));
}

/* The file must read back as what was meant; that also checks the whole of it once more. */
static int write_file(struct init *in) {
    struct err *e = &in->c->err;
    struct str text = {0};
    compose(in, &text);
    int code = str_check(&text, e);
    if (code == 0)
        code = file_make_folders(in->dir, e);
    if (code == 0)
        code = file_write(in->path, text.data, text.len, e);
    str_release(&text);
    struct project p;
    if (code == 0 && (code = project_open(&p, in->dir, e)) == 0)
        project_release(&p);
    return code;
}

static int run_checked(struct init *in) {
    int code;
    if ((code = check_arguments(in)) < 0 || (code = check_folder(in)) < 0 || (code = check_names(in)) < 0 ||
        (code = check_teacher(in)) < 0 || (code = check_data(in)) < 0)
        return code;
    return write_file(in);
}

static int run_init(struct cmd_ctx *c) {
    struct init in = {.c = c};
    int code = run_checked(&in);
    if (code == 0) {
        json_object_set_new(c->result, "project", json_string(in.dir));
        json_object_set_new(c->result, "file", json_string(in.path));
        json_object_set_new(c->result, "device", json_string(in.device));
        cmd_print(c, "%s is written: look at it, edit it.\nNext: cd %s && edgestill task\n", in.path, in.dir);
    }
    arena_release(&in.arena);
    return code;
}

const struct verb verb_init = {"init",
                               "write a new project: the sentence, the device, your data, the teacher",
                               "DIR --task TEXT --device NAME [options]", options, run_init};
