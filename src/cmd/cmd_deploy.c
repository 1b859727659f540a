/* `edgestill deploy`: the bundle to a device over ssh; its self-test there; the receipt home. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/project.h"
#include "deliver/bundle.h"
#include "deliver/deploy.h"
#include "format/json.h"
#include <string.h>

static const struct option_def options[] = {
    {"service", OPTION_FLAG, NULL, "install it as a service there (root, or sudo without a password)", NULL},
    {"folder", OPTION_STRING, "DIR", "where to on the device, relative to the home", "edgestill"},
    {"rows", OPTION_INT, "N", "self-test: the first N golden rows, without rates by type (default: all)",
     NULL},
    {"list", OPTION_FLAG, NULL, "only list the versions that are there", NULL},
    {"rollback", OPTION_FLAG, NULL, "only go back to the version before", NULL},
    {"ssh", OPTION_STRING, "COMMAND", "ssh with options of yours, e.g. \"ssh -p 2222\" (default: ssh)", NULL},
    {0},
};

struct deploying {
    struct cmd_ctx *c;
    struct err *e;
    struct project project;
    struct task task;
    struct ssh ssh;
    struct deploy_device device;
    struct deploy request;
    struct deploy_result result;
};

static int no_memory(struct deploying *x) {
    return err_set(x->e, ERR_NO_MEMORY, "deploy", "out of memory");
}

/* ---- what is to be done ---- */

static int open_all(struct deploying *x) {
    struct cmd_ctx *c = x->c;
    if (c->n_args != 1) {
        err_set(x->e, ERR_USAGE, "deploy", "deploy takes one host");
        err_hint(x->e, "edgestill deploy [USER@]HOST");
        return ERR_USAGE;
    }
    if (cmd_int(c, "rows", 1) < 1 || (cmd_flag(c, "list") && cmd_flag(c, "rollback")))
        return err_set(x->e, ERR_USAGE, "deploy",
                       "--rows takes a number from 1 on; --list and --rollback are two things");
    int rc = project_open(&x->project, c->project_dir, x->e);
    if (rc == 0)
        rc = project_task(&x->project, true, &x->task, x->e);
    if (rc == 0)
        rc = ssh_open(&x->ssh, c->args[0], cmd_string(c, "ssh"), x->e);
    x->request = (struct deploy){.ssh = &x->ssh,
                                 .n_rows = cmd_int(c, "rows", 0),
                                 .service = cmd_flag(c, "service"),
                                 .quiet = c->json || c->quiet};
    if (rc == 0)
        rc = deploy_check_folder(cmd_string(c, "folder"), x->e);
    if (rc == 0)
        x->request.folder = arena_printf(&x->project.arena, "%s/%s", cmd_string(c, "folder"), x->task.name);
    return rc < 0 || x->request.folder ? rc : no_memory(x);
}

/* "pi@raspberrypi" as a file's name: "raspberrypi". */
static const char *host_name(struct deploying *x) {
    const char *at = strchr(x->ssh.host, '@');
    char *name = arena_strdup(&x->project.arena, at ? at + 1 : x->ssh.host);
    for (char *p = name; p && *p; p++)
        *p = strchr("/:[]", *p) ? '_' : *p;
    return name;
}

/* The bundle for the device's architecture, and where its receipt goes. */
static int choose_bundle(struct deploying *x) {
    struct arena *a = &x->project.arena;
    struct str name = {0};
    bundle_name(&x->task, x->device.arch, &name);
    const char *bundle = arena_printf(a, "dist/%s", str_text(&name)), *host = host_name(x);
    const char *receipt = host ? arena_printf(a, "receipts/%s-%s.json", str_text(&name), host) : NULL;
    str_release(&name);
    x->request.bundle = bundle ? project_path(&x->project, bundle) : NULL;
    x->request.receipt = receipt ? project_path(&x->project, receipt) : NULL;
    const char *folder = project_path(&x->project, "receipts");
    if (!x->request.bundle || !x->request.receipt || !folder)
        return no_memory(x);
    const char *manifest = arena_printf(a, "%s/bundle.json", x->request.bundle);
    if (manifest && !file_exists(manifest)) {
        err_set(x->e, ERR_NOT_FOUND, "deploy", "%s is %s, and there is no bundle for that: %s", x->ssh.host,
                x->device.arch, bundle);
        err_hint(x->e, "%s --arch %s", project_command(&x->project, "bundle"), x->device.arch);
        return ERR_NOT_FOUND;
    }
    return file_make_folders(folder, x->e);
}

/* ---- doing it ---- */

static void show_device(struct deploying *x) {
    const struct deploy_device *d = &x->device;
    char memory[32], disk[32];
    json_object_set_new(x->c->result, "device",
                        json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "arch", d->arch, "kernel", d->kernel,
                                  "model", d->model, "memory_bytes", (json_int_t)d->memory_bytes,
                                  "free_bytes", (json_int_t)d->free_bytes, "current", d->current, "previous",
                                  d->previous));
    cmd_print(x->c, "%s: %s%s%s, %s, memory %s, disk %s free%s%s\n", x->ssh.host, d->model,
              d->model[0] ? ", " : "", d->arch, d->kernel, str_bytes(memory, sizeof memory, d->memory_bytes),
              str_bytes(disk, sizeof disk, d->free_bytes), d->current[0] ? ", in use: " : "", d->current);
}

static void show_result(struct deploying *x, int rc) {
    const struct deploy_result *r = &x->result;
    json_t *j = x->c->result, *receipt = NULL;
    char bytes[32];
    json_object_set_new(j, "id", json_string(r->id));
    json_object_set_new(j, "files", json_integer(r->n_files));
    json_object_set_new(j, "copied_files", json_integer(r->n_copied));
    json_object_set_new(j, "copied_bytes", json_integer(r->copied_bytes));
    json_object_set_new(j, "rolled_back", json_boolean(r->rolled_back));
    json_object_set_new(j, "service",
                        json_string(x->request.service      ? "updated"
                                    : x->device.has_service ? "as it was"
                                                            : "none"));
    if (r->has_receipt && json_file_read(x->request.receipt, &receipt, NULL) == 0)
        json_object_set_new(j, "receipt", receipt);
    if (rc < 0)
        return;
    if (r->n_copied)
        cmd_print(x->c, "copied %lld of %lld files, %s\n", (long long)r->n_copied, (long long)r->n_files,
                  str_bytes(bytes, sizeof bytes, r->copied_bytes));
    else
        cmd_print(x->c, "nothing to copy: all %lld files were there\n", (long long)r->n_files);
    cmd_print(x->c, "in use on %s: %s/versions/%s%s; receipt: %s\n", x->ssh.host, x->request.folder, r->id,
              x->request.service ? ", as a service" : "", r->has_receipt ? x->request.receipt : "none came");
    if (x->device.has_service && !x->request.service)
        cmd_print(x->c, "the service there goes on with the version that it was installed with; this one "
                        "becomes it with --service\n");
}

static int list(struct deploying *x) {
    struct str text = {0};
    int rc = deploy_list(&x->ssh, x->request.folder, &text, x->e);
    json_t *versions = json_array();
    char *rest = NULL;
    if (rc == 0)
        cmd_print(x->c, "%s", text.len ? str_text(&text) : "nothing is there\n");
    for (char *line = rc == 0 && text.len ? strtok_r(text.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strlen(line) < 3) /* of a login shell that has something to say */
            continue;
        size_t n = strcspn(line + 2, " ");
        json_array_append_new(versions, json_pack("{s:s#, s:b, s:b, s:s}", "id", line + 2, (int)n, "current",
                                                  line[0] == '*', "previous", line[0] == '-', "state",
                                                  line + 2 + n + (line[2 + n] == ' ')));
    }
    json_object_set_new(x->c->result, "versions", versions);
    str_release(&text);
    return rc;
}

static int deploy(struct deploying *x) {
    int rc = open_all(x);
    if (rc < 0)
        return rc;
    if (cmd_flag(x->c, "list"))
        return list(x);
    if (cmd_flag(x->c, "rollback")) {
        rc = deploy_rollback(&x->ssh, x->request.folder, x->e);
        if (rc == 0)
            cmd_print(x->c, "%s: the version before is in use again\n", x->ssh.host);
        return rc;
    }
    rc = project_hold(&x->project, x->e);
    if (rc == 0)
        rc = deploy_probe(&x->ssh, x->request.folder, &x->device, x->e);
    if (rc < 0)
        return rc;
    show_device(x);
    rc = choose_bundle(x);
    if (rc < 0)
        return rc;
    rc = deploy_run(&x->request, &x->device, &x->result, x->e);
    show_result(x, rc);
    return rc;
}

static int run_deploy(struct cmd_ctx *c) {
    struct deploying x = {.c = c, .e = &c->err};
    int rc = deploy(&x);
    ssh_close(&x.ssh);
    task_release(&x.task);
    project_release(&x.project);
    return rc;
}

const struct verb verb_deploy = {"deploy",
                                 "bring the bundle to a device over ssh and have it prove itself there",
                                 "[USER@]HOST [options]", options, run_deploy};
