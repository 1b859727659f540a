/* `edgestill eval` on a project with tiny models: what it writes, that nothing is scored twice, what is skipped and why, and
 * what is refused. The teacher is tested where there is one (tests/synth); here the project has none. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "config.h"
#include "format/json.h"
#include "support/run_verb.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"
#include "support/tiny_task.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 24 };

static void write_text(const char *path, const char *text) {
    struct err e = {0};
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
}

static void write_rows(const struct task *t, const char *path, uint64_t seed, int n) {
    struct arena a;
    struct rng r;
    struct str csv = {0};
    arena_init(&a);
    rng_seed(&r, seed);
    str_add(&csv, "delay,approved share,visit type,label\n");
    for (int i = 0; i < n; i++) {
        struct record x = tiny_record(t, &a, &r);
        str_addf(&csv, "%s,%s,%s,%s\n", x.values[0].text, x.values[1].text, x.values[2].text,
                 t->labels[x.label].name);
    }
    write_text(path, str_text(&csv));
    str_release(&csv);
    arena_release(&a);
}

/* `edgestill VERB -C p --quiet WORDS…`: the code; *result (may be NULL) the document. */
static int run(const char *verb, json_t **result, struct err *e, const char *const words[]) {
    return run_verb(verb, "p", strcmp(verb, "eval") == 0, result, e, words);
}

static void write_model(const char *path, uint64_t seed) {
    struct err e = {0};
    struct tiny_gguf m = {.n_embd = 64, .n_head = 2, .n_kv = 1, .n_ff = 128, .n_vocab = 640, .seed = seed};
    assert_int_equal(tiny_gguf_write(path, &m, &e), 0);
}

static int set_up(void **state) {
    (void)state;
    struct task t;
    struct project p;
    struct str yaml = {0};
    struct err e = {0};
    scratch_enter();
    setenv("HOME", "/nonexistent", 1);
    setenv("EDGESTILL_DATA_DIR", "data", 1);
    unsetenv("XDG_CONFIG_HOME");
    file_make_folders("p/train", &e);
    file_make_folders("p/model", &e);
    file_make_folders("data/seed", &e);
    if (symlink(EDGESTILL_SOURCE_DIR "/catalog", "data/catalog") != 0 || tiny_task(&t, &e) < 0)
        return -1;
    write_model("data/seed/base.gguf", 3);
    task_to_yaml(&t, &yaml, &e);
    write_text("p/task.yaml", str_text(&yaml));
    str_release(&yaml);
    write_rows(&t, "rows.csv", 5, ROWS);
    write_rows(&t, "other.csv", 6, ROWS);
    task_release(&t);
    write_text("p/edgestill.yaml", "format: edgestill.project/1\ntask: flag quick claims\ndevice: rpi5-8gb\n"
                                   "base: embedded\nteacher:\n  kind: none\nrecords: 400\nseed: 1\n");
    int rc = project_open(&p, "p", &e);
    if (rc == 0)
        rc = project_lock_write(&p, "task.yaml", NULL, &e);
    project_release(&p);
    if (rc == 0)
        rc = run("plan", NULL, &e, WORDS("--accept", "1"));
    if (rc < 0)
        print_error("%s\n", e.message);
    return rc;
}

static double number(const json_t *j, const char *who, const char *key) {
    const json_t *x = json_object_get(json_object_get(j, who), key);
    return json_is_number(x) ? json_number_value(x) : -1;
}

static void test_base_alone(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    int rc = run("eval", &j, &e, WORDS("--rows", "rows.csv", "--free", "5"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_true(number(j, "base", "accuracy") >= 0);
    assert_true(number(j, "base", "low") < number(j, "base", "high"));
    assert_int_equal((int)number(j, "base", "n"), ROWS);
    assert_null(json_object_get(j, "student_quant"));
    assert_int_equal(json_array_size(json_object_get(j, "skipped")), 3);
    assert_true(file_exists("p/eval/base.json") && file_exists("p/eval/base.rows.csv"));
    assert_true(file_exists("p/eval/summary.json") && file_exists("p/" MANIFEST_EVAL));
    json_decref(j);
}

static void test_students_and_comparisons(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    write_model("p/train/merged-f16.gguf", 4);
    write_model("p/model/student.gguf", 4);
    int rc = run("eval", &j, &e, WORDS("--rows", "rows.csv", "--free", "5", "--validation", "other.csv"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_true(number(j, "student_f16", "accuracy") == number(j, "student_quant", "accuracy"));
    const json_t *same = json_array_get(json_object_get(j, "comparisons"), 1);
    assert_string_equal(json_string_value(json_object_get(same, "b")), "student_f16");
    assert_true(json_number_value(json_object_get(same, "p_value")) == 1);
    json_t *one = NULL;
    assert_int_equal(json_file_read("p/eval/student-quant.json", &one, NULL), 0);
    const json_t *f1 = json_object_get(json_object_get(one, "thresholds"), "f1");
    assert_true(json_is_number(json_object_get(f1, "threshold")));
    json_decref(one);
    json_decref(j);
}

static int64_t modified(const char *path) {
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    return (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
}

static void test_nothing_is_scored_twice(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    const char *const again[] = {"--rows", "rows.csv", "--free", "5", NULL};
    assert_int_equal(run("eval", NULL, &e, again), 0);
    int64_t base = modified("p/eval/base.json"), student = modified("p/eval/student-quant.json");
    write_model("p/model/student.gguf", 9);
    assert_int_equal(run("eval", NULL, &e, again), 0);
    assert_int_equal(modified("p/eval/base.json"), base); /* kept */
    assert_true(modified("p/eval/student-quant.json") > student);
    /* one asked for: the others are still in the summary */
    assert_int_equal(
        run("eval", &j, &e, WORDS("--rows", "rows.csv", "--free", "5", "--only", "student-quant")), 0);
    assert_true(number(j, "base", "accuracy") >= 0 && number(j, "student_f16", "accuracy") >= 0);
    json_decref(j);
    base = modified("p/eval/base.json");
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--free", "5", "--force")), 0);
    assert_true(modified("p/eval/base.json") > base);
    /* other rows: others' figures are no longer about the same thing */
    assert_int_equal(run("eval", &j, &e, WORDS("--rows", "other.csv", "--free", "5", "--only", "base")), 0);
    assert_null(json_object_get(j, "student_quant"));
    json_decref(j);
}

static void test_manifest_knows_the_models(void **state) {
    (void)state;
    struct err e;
    struct str why = {0};
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv", "--free", "5")), 0);
    assert_int_equal(manifest_state("p", MANIFEST_EVAL, NULL, &why), MANIFEST_CURRENT);
    write_model("p/model/student.gguf", 11);
    assert_int_equal(manifest_state("p", MANIFEST_EVAL, NULL, &why), MANIFEST_STALE);
    assert_non_null(strstr(str_text(&why), "student.gguf"));
    str_release(&why);
}

static void test_refusals(void **state) {
    (void)state;
    struct err e;
    static const struct {
        const char *words[6];
        int code;
        const char *says;
    } bad[] = {
        {{"--rows", "nowhere.csv"}, ERR_NOT_FOUND, "nowhere.csv"},
        {{"--rows", "rows.csv", "--label", "verdict"}, ERR_INPUT, "verdict"},
        {{"--rows", "rows.csv", "--only", "pupil"}, ERR_USAGE, "pupil"},
        {{"--rows", "rows.csv", "--only", "teacher"}, ERR_NOT_FOUND, "no teacher"},
        {{"--rows", "rows.csv", "--limit", "-1"}, ERR_USAGE, "negative"},
        {{"--rows", "rows.csv", "--validation", "records"}, ERR_NOT_FOUND, "records.sqlite"},
        {{"--force"}, ERR_NOT_FOUND, "records.sqlite"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = run("eval", NULL, &e, bad[i].words);
        if (rc != bad[i].code || !strstr(e.message, bad[i].says))
            fail_msg("case %zu: %d '%s', wanted %d '%s'", i, rc, e.message, bad[i].code, bad[i].says);
    }
    write_text("p/model/student.gguf", "GGUF and no more");
    assert_true(run("eval", NULL, &e, WORDS("--rows", "rows.csv")) < 0);
    assert_non_null(strstr(e.message, "student"));
    write_text("p/task.yaml", "kind: classify\n");
    assert_int_equal(run("eval", NULL, &e, WORDS("--rows", "rows.csv")), ERR_GATE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_alone),
        cmocka_unit_test(test_students_and_comparisons),
        cmocka_unit_test(test_nothing_is_scored_twice),
        cmocka_unit_test(test_manifest_knows_the_models),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
