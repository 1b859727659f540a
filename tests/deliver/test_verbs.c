/* `edgestill compress` and `edgestill bundle` on a project with a made-up student: what they write, that they are done once, that
 * the bundle proves itself emulated, and what is refused with which words. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "config.h"
#include "store/store.h"
#include "support/run_verb.h"
#include "support/scratch.h"
#include "support/tiny_bundle.h"
#include "support/tiny_gguf.h"
#include "support/tiny_task.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void write_text(const char *path, const char *text) {
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
}

/* `edgestill VERB -C p --quiet WORDS...`: the code; *result (may be NULL) the document. */
static int run(const char *verb, json_t **result, struct err *e, const char *const words[]) {
    return run_verb(verb, "p", strcmp(verb, "plan") != 0, result, e, words);
}

static void add_records(int n, uint64_t seed, enum store_split split) {
    struct store *s;
    struct task t;
    struct arena a;
    struct rng r;
    rng_seed(&r, seed);
    arena_init(&a);
    assert_int_equal(tiny_task(&t, NULL), 0);
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_WRITE, NULL), 0);
    assert_int_equal(store_begin(s, NULL), 0);
    for (int i = 0; i < n; i++) {
        struct record x = tiny_record(&t, &a, &r);
        struct str json = {0};
        int64_t id;
        record_to_json(&t, &x, &json);
        struct store_record row = {.source = "teacher",
                                   .data = str_text(&json),
                                   .label = t.labels[x.label].name,
                                   .weight = 1,
                                   .status = STORE_ACCEPTED,
                                   .split = split};
        assert_int_equal(store_record_add(s, &row, &id, NULL), 0);
        str_release(&json);
    }
    assert_int_equal(store_commit(s, NULL), 0);
    store_close(s);
    arena_release(&a);
    task_release(&t);
}

static int make_project(struct err *e) {
    struct task t;
    struct project p;
    struct str yaml = {0};
    int rc = tiny_task(&t, e);
    if (rc < 0)
        return rc;
    task_to_yaml(&t, &yaml, e);
    write_text("p/task.yaml", str_text(&yaml));
    write_text("p/edgestill.yaml", "format: edgestill.project/1\ntask: flag quick claims\ndevice: rpi5-8gb\n"
                                   "base: embedded\nteacher:\n  kind: none\nrecords: 400\nseed: 1\n");
    str_release(&yaml);
    task_release(&t);
    rc = project_open(&p, "p", e);
    if (rc == 0)
        rc = project_lock_write(&p, "task.yaml", NULL, e);
    project_release(&p);
    return rc;
}

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    struct tiny_gguf base = {.n_ff = 256, .n_vocab = 300, .tied = true, .seed = 3, .type = GGML_TYPE_F16};
    scratch_enter();
    setenv("HOME", "/nonexistent", 1);
    unsetenv("XDG_CONFIG_HOME");
    setenv("EDGESTILL_DATA_DIR", "data", 1);
    file_make_folders("p/train", &e);
    file_make_folders("data/seed", &e);
    int failed = symlink(EDGESTILL_SOURCE_DIR "/catalog", "data/catalog") +
                 symlink(EDGESTILL_SOURCE_DIR "/build", "data/build");
    if (failed || make_project(&e) < 0 || tiny_gguf_write("data/seed/base.gguf", &base, &e) < 0)
        fail_msg("%s", e.message);
    if (run("plan", NULL, &e, WORDS("--accept", "1")) < 0)
        fail_msg("%s", e.message);
    return 0;
}

static void test_order(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(run("compress", NULL, &e, WORDS(NULL)), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "train"));
    struct tiny_gguf student = {.n_ff = 256, .n_vocab = 300, .tied = true, .seed = 4, .type = GGML_TYPE_F16};
    assert_int_equal(tiny_gguf_write("p/train/merged-f16.gguf", &student, &e), 0);
    assert_int_equal(run("compress", NULL, &e, WORDS(NULL)), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "generate"));
    add_records(20, 1, STORE_TRAIN);
    add_records(10, 2, STORE_VALIDATION);
    assert_int_equal(run("bundle", NULL, &e, WORDS(NULL)), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "compress"));
}

static void test_compress(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    if (run("compress", &j, &e, WORDS("--type", "Q8_0", "--type", "Q4_K_M", "--calibration", "4")) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(json_array_size(json_object_get(j, "candidates")), 4); /* mixed and searched */
    assert_int_equal(json_integer_value(json_object_get(j, "calibration_rows")), 4);
    assert_int_equal(json_integer_value(json_object_get(j, "validation_rows")), 10);
    json_decref(j);
    static const char *const files[] = {"p/model/student.gguf", "p/model/imatrix.gguf",
                                        "p/model/compress.json", ("p/" MANIFEST_COMPRESS)};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_true(file_exists(files[i]));
    if (run("compress", &j, &e, WORDS("--calibration", "4")) < 0) /* as planned, from here on */
        fail_msg("%s", e.message);
    assert_false(json_is_true(json_object_get(j, "up_to_date")));
    json_decref(j);
    assert_int_equal(run("compress", &j, &e, WORDS("--calibration", "4")), 0);
    assert_true(json_is_true(json_object_get(j, "up_to_date")));
    json_decref(j);
}

static void test_compress_refuses(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(run("compress", NULL, &e, WORDS("--type", "Q4_X")), ERR_USAGE);
    assert_non_null(strstr(e.message, "Q4_X"));
    assert_int_equal(run("compress", NULL, &e, WORDS("--calibration", "0")), ERR_USAGE);
    assert_int_equal(run("compress", NULL, &e, WORDS("--recover", "perhaps")), ERR_USAGE);
    assert_int_equal(run("compress", NULL, &e, WORDS("--size", "-1")), ERR_USAGE);
    assert_int_equal(run("compress", NULL, &e, WORDS("--size", "0.001")), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "the smallest weighs"));
    assert_int_equal(run("compress", NULL, &e, WORDS("--imatrix", "absent.gguf")), ERR_NOT_FOUND);
    assert_int_equal(run("compress", NULL, &e, WORDS("--type", "IQ2_XS", "--no-imatrix")), ERR_USAGE);
    assert_true(file_exists("p/model/student.gguf")); /* what was there stays */
}

static void test_bundle(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    if (!tiny_bundle_possible("arm64"))
        skip();
    if (run("bundle", &j, &e, WORDS("--golden", "4")) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(json_string_value(json_object_get(j, "folder")), "dist/tiny-claims-arm64");
    assert_int_equal(json_integer_value(json_object_get(j, "golden_rows")), 4);
    json_decref(j);
    assert_true(file_exists("p/dist/tiny-claims-arm64.tar.zst"));
    assert_true(file_exists("p/dist/tiny-claims-arm64/bundle.json"));
    assert_true(file_exists("p/" MANIFEST_BUNDLE));
    assert_int_equal(run("bundle", &j, &e, WORDS("--golden", "4")), 0);
    assert_true(json_is_true(json_object_get(j, "up_to_date")));
    json_decref(j);
    /* another build of the runner: the bundle is made again */
    struct str text = {0};
    assert_int_equal(file_read("p/" MANIFEST_BUNDLE, 0, &text, &e), 0);
    char *program = strstr(text.data, "\"program:edgestill-run\": \"");
    assert_non_null(program);
    program += strlen("\"program:edgestill-run\": \"");
    *program = *program == '0' ? '1' : '0';
    assert_int_equal(file_write("p/" MANIFEST_BUNDLE, text.data, text.len, &e), 0);
    str_release(&text);
    assert_int_equal(run("bundle", &j, &e, WORDS("--golden", "4")), 0);
    assert_false(json_is_true(json_object_get(j, "up_to_date")));
    json_decref(j);
}

static void test_trial(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    if (!tiny_bundle_possible("arm64") || access(EDGESTILL_QEMU_ARM64, X_OK) != 0)
        skip();
    if (run("bundle", &j, &e, WORDS("--golden", "4", "--selftest", "--rows", "2")) < 0)
        fail_msg("%s", e.message);
    const json_t *receipt = json_object_get(j, "receipt");
    assert_true(json_is_true(json_object_get(receipt, "emulated")));
    assert_true(json_is_true(json_object_get(json_object_get(receipt, "selftest"), "passed")));
    assert_true(json_is_object(json_object_get(json_object_get(receipt, "predicted"), "memory_bytes")));
    assert_true(file_exists("p/receipts/tiny-claims-arm64-emulated-cortex-a76.json"));
    json_decref(j);
}

static void test_bundle_refuses(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(run("bundle", NULL, &e, WORDS("--arch", "riscv64")), ERR_USAGE);
    assert_int_equal(run("bundle", NULL, &e, WORDS("--golden", "0")), ERR_USAGE);
    write_text("p/model/student.gguf", "GGUF and nothing else");
    assert_int_equal(run("bundle", NULL, &e, WORDS("--golden", "4")), ERR_FORMAT);
    if (tiny_bundle_possible("arm64"))
        assert_true(file_exists("p/dist/tiny-claims-arm64/bundle.json")); /* the bundle before stays */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_compress),
        cmocka_unit_test(test_compress_refuses),
        cmocka_unit_test(test_bundle),
        cmocka_unit_test(test_trial),
        cmocka_unit_test(test_bundle_refuses),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
