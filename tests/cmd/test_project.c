/* Projects: what edgestill.yaml may say, acceptances and what voids them, one process at a time, states of the stages. */
#include "../support/oom.h"
#include "../support/scratch.h"
#include "base/file.h"
#include "cmd/project.h"
#include "cmd/stages.h"
#include "format/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD "format: edgestill.project/1\ntask: flag late claims\ndevice: rpi5-8gb\n"

static void put(const char *path, const char *text) {
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
}

static void defaults(void **state) {
    (void)state;
    struct project p;
    struct err e = {0};
    put("p/edgestill.yaml", HEAD);
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_string_equal(p.sentence, "flag late claims");
    assert_string_equal(p.device, "rpi5-8gb");
    assert_null(p.base);
    assert_string_equal(p.teacher.kind, "embedded");
    assert_string_equal(p.teacher.style, "plain");
    assert_int_equal(p.n_records, 1000);
    assert_int_equal(p.seed, 1);
    assert_null(p.data.path);
    assert_string_equal(project_path(&p, "task.yaml"), "p/task.yaml");
    assert_string_equal(project_command(&p, "task"), "edgestill task -C p");
    project_release(&p);
    project_release(&p);
}

static void everything_said(void **state) {
    (void)state;
    struct project p;
    struct err e = {0};
    put("p/edgestill.yaml",
        HEAD "base: models/x.gguf\nrecords: 50\nseed: 0\n"
             "teacher: {kind: openai, url: 'http://h/v1', model: m, key_env: K, key_file: k, parallel: 3}\n"
             "data: {path: rows.csv, label: class, eval: /abs/e.csv, share_rows: true}\n");
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_string_equal(p.base, "p/models/x.gguf");
    assert_string_equal(p.teacher.style, "full");
    assert_string_equal(p.teacher.key_file, "p/k");
    assert_int_equal(p.teacher.parallel, 3);
    assert_string_equal(p.data.path, "p/rows.csv");
    assert_string_equal(p.data.eval_path, "/abs/e.csv");
    assert_true(p.data.share_rows);
    assert_int_equal(p.n_records, 50);
    project_release(&p);
}

static void mistakes(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "p/edgestill.yaml:1:1: there must be a map"},
        {"format: edgestill.project/2\n",
         "p/edgestill.yaml:1:9: this program reads edgestill.project/1, not"},
        {"format: edgestill.project/1\ndevice: x\n", "p/edgestill.yaml:1:1: \"task\" is missing"},
        {"format: edgestill.project/1\ntask: '  '\ndevice: x\n", "p/edgestill.yaml:2:7: \"task\" is empty"},
        {HEAD "devices: x\n", "p/edgestill.yaml:4:1: unknown key \"devices\""},
        {HEAD "seed: -1\n", "p/edgestill.yaml:4:7: \"seed\" must be from 0"},
        {HEAD "records: many\n", "p/edgestill.yaml:4:10: \"records\" must be a whole number, not \"many\""},
        {HEAD "schedule: steps\n",
         "p/edgestill.yaml:4:11: \"schedule\" is cosine, linear or constant, not \"steps\""},
        {HEAD "records: 0\n", "p/edgestill.yaml:4:10: \"records\" must be from 1"},
        {HEAD "teacher: embedded\n", "p/edgestill.yaml:4:10: \"teacher\" must be a map, not \"embedded\""},
        {HEAD "teacher:\n  kind: big\n",
         "p/edgestill.yaml:5:9: \"kind\" must be one of embedded, gguf, openai, none, not \"big\""},
        {HEAD "teacher:\n  kind: openai\n  model: m\n", "p/edgestill.yaml:5:3: \"url\" is missing"},
        {HEAD "teacher:\n  kind: none\n  style: odd\n", "p/edgestill.yaml:6:10: \"style\" must be one of"},
        {HEAD "data:\n  path: x.csv\n", "p/edgestill.yaml:5:3: \"label\" is missing"},
        {HEAD "data:\n  share_rows: maybe\n",
         "p/edgestill.yaml:5:15: \"share_rows\" must be true or false, not \"maybe\""},
        {HEAD "seed: 1\nseed: 2\n", "p/edgestill.yaml:5:1: the key \"seed\" stands here already, on line 4"},
        {"\x7f"
         "ELF\x02\x01",
         "p/edgestill.yaml"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct project p;
        struct err e = {0};
        put("p/edgestill.yaml", cases[i].text);
        int code = project_open(&p, "p", &e);
        assert_int_equal(err_exit_code(code), 2);
        if (strncmp(e.message, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s\ndoes not begin with\n%s", e.message, cases[i].message);
    }
    struct project p;
    struct err e = {0};
    assert_int_equal(project_open(&p, "nowhere", &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "edgestill init"));
}

static void acceptances(void **state) {
    (void)state;
    struct project p;
    struct err e = {0};
    put("p/edgestill.yaml", HEAD);
    unlink("p/task.yaml");
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), ERR_GATE);
    assert_non_null(strstr(e.hint, "edgestill task -C p"));
    err_clear(&e);
    put("p/task.yaml", "name: x\n");
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), ERR_GATE);
    assert_non_null(strstr(e.message, "p/task.yaml is not accepted yet"));
    assert_non_null(strstr(e.hint, "edgestill task --accept -C p"));
    err_clear(&e);
    static const char *const also[] = {"edgestill.yaml#device", NULL};
    assert_int_equal(project_lock_write(&p, "task.yaml", also, &e), 0);
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), 0);
    put("p/task.yaml", "name: y\n");
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), ERR_GATE);
    assert_non_null(strstr(e.message, "task.yaml changed since then"));
    err_clear(&e);
    put("p/task.yaml", "name: x\n");
    put("p/edgestill.yaml", HEAD "seed: 5\n");
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), 0); /* another key does not matter */
    put("p/edgestill.yaml", "format: edgestill.project/1\ntask: t\ndevice: other\n");
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), ERR_GATE);
    assert_non_null(strstr(e.message, "edgestill.yaml#device changed"));
    err_clear(&e);
    put("p/task.lock", "{\"format\":\"something\"}");
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), ERR_FORMAT);
    err_clear(&e);
    put("p/task.lock", "not json");
    assert_int_equal(project_lock_check(&p, "task.yaml", &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "p/task.lock:1:"));
    project_release(&p);
    unlink("p/task.lock");
    unlink("p/task.yaml");
}

static void one_at_a_time(void **state) {
    (void)state;
    struct project p, other;
    struct err e = {0};
    put("p/edgestill.yaml", HEAD);
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(project_open(&other, "p", &e), 0);
    assert_int_equal(project_hold(&p, &e), 0);
    assert_int_equal(project_hold(&p, &e), 0);
    assert_int_equal(project_hold(&other, &e), ERR_FAILED);
    assert_non_null(strstr(e.message, "another edgestill is at work"));
    project_release(&p);
    err_clear(&e);
    assert_int_equal(project_hold(&other, &e), 0);
    project_release(&other);
}

static enum stage_state state_of(const char *verb) {
    struct project p;
    struct stage_report reports[N_STAGES];
    struct err e = {0};
    enum stage_state s = STAGE_ABSENT;
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(stages_inspect(&p, reports, &e), 0);
    for (int i = 0; i < N_STAGES; i++)
        if (strcmp(stages[i].verb, verb) == 0)
            s = reports[i].state;
    project_release(&p);
    return s;
}

static void accept_file(const char *name) {
    struct project p;
    struct err e = {0};
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(project_lock_write(&p, name, NULL, &e), 0);
    project_release(&p);
}

static void stages_in_order(void **state) {
    (void)state;
    struct err e = {0};
    put("p/edgestill.yaml", HEAD);
    assert_int_equal(state_of("task"), STAGE_ABSENT);
    put("p/task.yaml", "x: 1\n");
    assert_int_equal(state_of("task"), STAGE_WAITING);
    accept_file("task.yaml");
    assert_int_equal(state_of("task"), STAGE_CURRENT);
    put("p/plan.yaml", "x: 1\n");
    accept_file("plan.yaml");
    put("p/records.sqlite", "begun");
    assert_int_equal(state_of("generate"), STAGE_UNFINISHED);
    struct manifest m;
    manifest_init(&m, "p", "generate", MANIFEST_GENERATE, &e);
    manifest_input(&m, "task.yaml", &e);
    manifest_output_hash(&m, "records:train", "r1");
    assert_int_equal(manifest_write(&m, &e), 0);
    manifest_release(&m);
    assert_int_equal(state_of("generate"), STAGE_CURRENT);
    file_make_folders("p/train", &e);
    manifest_init(&m, "p", "train", MANIFEST_TRAIN, &e);
    manifest_input_hash(&m, "records:train", "r1");
    assert_int_equal(manifest_write(&m, &e), 0);
    manifest_release(&m);
    assert_int_equal(state_of("train"), STAGE_CURRENT);
    manifest_init(&m, "p", "generate", MANIFEST_GENERATE, &e);
    manifest_input(&m, "task.yaml", &e);
    manifest_output_hash(&m, "records:train", "r2"); /* generated anew: other rows */
    assert_int_equal(manifest_write(&m, &e), 0);
    manifest_release(&m);
    assert_int_equal(state_of("generate"), STAGE_CURRENT);
    assert_int_equal(state_of("train"), STAGE_STALE);
    put("p/task.yaml", "x: 2\n");
    assert_int_equal(state_of("task"), STAGE_WAITING);
    assert_int_equal(state_of("plan"), STAGE_STALE); /* what is before it is not up to date */
    assert_int_equal(state_of("generate"), STAGE_STALE);
    assert_string_equal(stage_state_text(STAGE_WAITING), "waiting for acceptance");
}

static int open_and_accept(struct err *e) {
    static const char *const also[] = {"edgestill.yaml#device", NULL};
    struct project p;
    int code = project_open(&p, "p", e);
    if (code < 0)
        return code;
    if ((code = project_lock_write(&p, "task.yaml", also, e)) == 0)
        code = project_lock_check(&p, "task.yaml", e);
    project_release(&p);
    return code;
}

static void each_allocation_fails(void **state) {
    (void)state;
    struct err e = {0};
    if (!oom_available())
        skip();
    put("p/edgestill.yaml",
        HEAD "teacher: {kind: openai, url: u, model: m}\ndata: {path: a.csv, label: l}\n");
    put("p/task.yaml", "x: 1\n");
    unlink("p/task.lock");
    assert_int_equal(open_and_accept(&e), 0); /* libraries allocate for good the first time */
    int failed = 0;
    for (int64_t n = 1;; n++) {
        err_clear(&e);
        oom_arm(n);
        int code = open_and_accept(&e);
        if (!oom_disarm())
            break;
        failed += code < 0;
        /* some failures are survived (a smaller buffer, a hash taken again); the others must say something */
        assert_true(code == 0 || (e.code < 0 && e.message[0]));
    }
    assert_true(failed > 20);
    assert_int_equal(open_and_accept(&e), 0); /* nothing was left half done */
}

int main(void) {
    scratch_enter();
    file_make_folders("p", NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything_said),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(acceptances),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(stages_in_order),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests_name("project", tests, NULL, NULL);
}
