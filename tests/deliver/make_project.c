/* A project with a finished bundle of a random model for this machine, for the shell test of `deploy`:
 *     make_project FOLDER      exit status 77, with the reason, where bundles for it cannot be made */
#include "base/file.h"
#include "cmd/project.h"
#include "support/tiny_bundle.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SKIPPED = 77 };

static int write_project(const struct tiny_bundle *t, struct err *e) {
    static const char project[] =
        "format: edgestill.project/1\ntask: Flag claims that are filed too soon.\ndevice: rpi5-8gb\n"
        "base: embedded\nteacher:\n  kind: none\n";
    struct str yaml = {0};
    struct project p;
    int rc = file_write("edgestill.yaml", project, sizeof project - 1, e);
    if (rc == 0)
        rc = task_to_yaml(&t->task, &yaml, e);
    if (rc == 0)
        rc = file_write("task.yaml", str_text(&yaml), yaml.len, e);
    str_release(&yaml);
    if (rc == 0)
        rc = project_open(&p, ".", e);
    if (rc < 0)
        return rc;
    rc = project_lock_write(&p, "task.yaml", NULL, e);
    project_release(&p);
    return rc;
}

int main(int argc, char *argv[]) {
    struct err e = {0};
    struct tiny_bundle t;
    struct bundle_result r;
    if (argc != 2 || file_make_folders(argv[1], &e) < 0 || chdir(argv[1]) != 0)
        return 2;
    if (!tiny_bundle_possible("amd64"))
        return SKIPPED;
    tiny_bundle_begin(&t);
    struct bundle_request q = tiny_bundle_request(&t, "amd64", "dist/tiny-claims-amd64", NULL);
    int rc = write_project(&t, &e);
    if (rc == 0)
        rc = file_make_folders("dist", &e);
    if (rc == 0)
        rc = bundle_make(&r, &q, &e);
    tiny_bundle_end(&t);
    if (rc < 0)
        fprintf(stderr, "%s\n", e.message);
    return rc < 0;
}
