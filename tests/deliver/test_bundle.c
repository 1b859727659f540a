/* A bundle of a random model: complete, reproducible, and refused where it cannot be made. That it runs: tests/device. */
#include "../support/scratch.h"
#include "../support/tiny_bundle.h"
#include "base/file.h"
#include "deliver/bundle_text.h"
#include "format/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct tiny_bundle t;
static bool possible;

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    struct bundle_result r;
    tiny_bundle_begin(&t);
    possible = tiny_bundle_possible("arm64");
    struct bundle_request q = tiny_bundle_request(&t, "arm64", "one", "one.tar.zst");
    if (possible && bundle_make(&r, &q, &e) < 0)
        fail_msg("%s", e.message);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_bundle_end(&t);
    return 0;
}

static void expect_files(const json_t *files) {
    static const char *const expected[] = {"run",
                                           "selftest",
                                           "README.md",
                                           "install",
                                           "uninstall",
                                           "edgestill.service",
                                           "Modelfile",
                                           "grammar.gbnf",
                                           "with-llama-server",
                                           "task.json",
                                           "prompt.json",
                                           "golden.jsonl",
                                           "prefix.state",
                                           "model/student.gguf",
                                           "bin/edgestill-run",
                                           "lib/ld-linux-aarch64.so.1",
                                           "lib/libllama.so.0",
                                           "lib/libc.so.6",
                                           "lib/backends/libggml-cpu-armv8.0_1.so",
                                           "licenses/libc6/copyright",
                                           "licenses/packages.txt"};
    /* linked into the program where their archives are, and what they would ask for is not there */
    static const char *const absent[] = {"lib/libmicrohttpd.so.12", "lib/libgnutls.so.30",
                                         "lib/libcrypto.so.3", "lib/libz.so.1"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        if (!json_object_get(files, expected[i]))
            fail_msg("no %s", expected[i]);
    }
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        if (json_object_get(files, absent[i]))
            fail_msg("%s is in the bundle", absent[i]);
    }
}

/* The words of the licence of libmicrohttpd, whose code is in the program. */
static void expect_licence(const json_t *files) {
    const char *name;
    json_t *hash;
    json_object_foreach((json_t *)(uintptr_t)files, name, hash) {
        if (strncmp(name, "licenses/libmicrohttpd", 22) == 0)
            return;
    }
    fail_msg("no licence of libmicrohttpd");
}

static void test_manifest_names_everything(void **state) {
    (void)state;
    struct err e = {0};
    json_t *manifest = NULL, *hash;
    const char *name;
    if (!possible)
        skip();
    assert_int_equal(json_file_read("one/bundle.json", &manifest, &e), 0);
    assert_string_equal(json_string_value(json_object_get(manifest, "name")), "tiny-claims");
    json_t *runtime = json_object_get(manifest, "runtime"), *files = json_object_get(manifest, "files");
    json_t *memory = json_object_get(json_object_get(manifest, "predicted"), "memory_bytes");
    assert_int_equal(json_integer_value(json_object_get(runtime, "context")), 512);
    assert_true(json_number_value(json_object_get(memory, "high")) == 2e8);
    expect_files(files);
    expect_licence(files);
    json_object_foreach(files, name, hash) {
        char path[512], hex[SHA256_HEX];
        snprintf(path, sizeof path, "one/%s", name);
        assert_int_equal(sha256_file(path, hex, &e), 0);
        assert_string_equal(hex, json_string_value(hash));
    }
    char command[128];
    snprintf(command, sizeof command, "test \"$(find one -type f | wc -l)\" = %d",
             (int)json_object_size(files) + 1);
    assert_int_equal(tiny_shell(command), 0); /* and nothing else is there */
    json_decref(manifest);
    assert_int_equal(access("one/run", X_OK), 0);
    assert_int_equal(access("one/lib/ld-linux-aarch64.so.1", X_OK), 0);
    assert_false(file_exists("one.part"));
}

static void test_same_inputs_same_bytes(void **state) {
    (void)state;
    struct err e = {0};
    struct bundle_result r;
    if (!possible)
        skip();
    struct bundle_request q = tiny_bundle_request(&t, "arm64", "two", "two.tar.zst");
    assert_int_equal(bundle_make(&r, &q, &e), 0);
    char x[SHA256_HEX], y[SHA256_HEX];
    assert_int_equal(sha256_file("one.tar.zst", x, &e), 0);
    assert_int_equal(sha256_file("two.tar.zst", y, &e), 0);
    assert_string_equal(x, y);
    assert_int_equal(r.archive_bytes, file_size("one.tar.zst"));
}

static void test_archive_holds_the_folder(void **state) {
    (void)state;
    if (!possible || tiny_shell("command -v zstd && command -v tar") != 0)
        skip();
    assert_int_equal(tiny_shell("zstd -qt one.tar.zst && mkdir out && tar --zstd -xf one.tar.zst -C out"), 0);
    assert_int_equal(tiny_shell("diff -r one out/tiny-claims-arm64 && test -x out/tiny-claims-arm64/run"), 0);
}

/* The first place of `words` in a file of the bundle, or a failure. */
static void expect_words(const char *file, const char *words) {
    struct str text = {0};
    assert_int_equal(file_read(file, 0, &text, NULL), 0);
    if (!strstr(str_text(&text), words))
        fail_msg("%s does not say \"%s\"", file, words);
    str_release(&text);
}

static void test_texts_speak_of_this_task(void **state) {
    (void)state;
    if (!possible)
        skip();
    expect_words("one/edgestill.service",
                 "ExecStart=/opt/edgestill/tiny-claims/run --serve --lock --listen 127.0.0.1:8077\n");
    expect_words("one/edgestill.service", "MemoryMax=223M\n"); /* 2e8 bytes are 191 MB begun, and 32 */
    expect_words("one/edgestill.service", "MemorySwapMax=0\n");
    expect_words("one/edgestill.service", "Type=notify\n");
    expect_words("one/edgestill.service", "DynamicUser=yes\n");
    expect_words("one/Modelfile", "FROM ./model/student.gguf\n");
    expect_words("one/Modelfile", "Label the claim as suspicious or normal.\n{{ .Prompt }}\n<|im_end|>");
    expect_words("one/Modelfile", "PARAMETER stop \"<|im_end|>\"\n");
    expect_words("one/with-llama-server", "--ctx-size 512 --threads 2 ");
    expect_words("one/with-llama-server", "--grammar-file \"$here/grammar.gbnf\"");
    expect_words("one/grammar.gbnf", "root ::= \"suspicious\" | \"normal\"\n");
    expect_words("one/bundle.json", "\"licenses\": [\n    \"licenses/");
    expect_words("one/bundle.json", "\"flash_attention\": true");
    expect_words("one/README.md", "root ::= \\\"suspicious\\\" | \\\"normal\\\"");
    expect_words("one/README.md", "sudo ./install");
    for (size_t i = 0; i < 5; i++) {
        static const char *const scripts[] = {"run", "selftest", "install", "uninstall", "with-llama-server"};
        char command[64];
        snprintf(command, sizeof command, "sh -n one/%s && test -x one/%s", scripts[i], scripts[i]);
        assert_int_equal(tiny_shell(command), 0);
    }
    static const char *const addresses[] = {
        "foo bar",      "8078",           "127.0.0.1",
        "127.0.0.1:",   "example.com:80", "127.0.0.1:80\nExecStartPre=/bin/x",
        "127.0.0.1:80x"};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        char command[160]; /* nothing is installed with an address that the service cannot have */
        snprintf(
            command, sizeof command,
            "EDGESTILL_ROOT=$PWD/root one/install --listen '%s' 2>/dev/null; test $? = 2 && ! test -e root",
            addresses[i]);
        assert_int_equal(tiny_shell(command), 0);
    }
}

/* Values as people write them: the README's commands are copied into a shell as they stand. */
static void test_examples_are_shell(void **state) {
    (void)state;
    static const char *values[] = {"don't $know `", "yes"};
    if (!possible)
        skip();
    struct task_field field = {
        .name = "owner's view", .column = "view", .type = FIELD_CATEGORY, .values = values, .n_values = 2};
    struct task task = t.task;
    task.fields = &field;
    task.n_fields = task.n_declared = 1;
    struct bundle_request q = tiny_bundle_request(&t, "arm64", "one", NULL);
    q.task = &task;
    const struct prompt prompt = {.head = "", .tail = "", .end_of_turn = ""};
    struct bundle_facts f = {.q = &q, .name = "views", .prompt = &prompt, .model_license = ""};
    struct str readme = {0};
    bundle_text_readme(&f, &readme);
    assert_int_equal(file_write("readme", str_text(&readme), readme.len, NULL), 0);
    str_release(&readme);
    assert_int_equal(
        tiny_shell("sed -n 's/^\\.\\/run .*view=/set -- &/p' readme >given && . ./given && shift && "
                   "test \"$1\" = \"owner's view=don't \\$know \\`\""),
        0);
    assert_int_equal(tiny_shell("sed -n 's/^curl .*decide/set -- &/p' readme >given && . ./given && "
                                "for last; do :; done && "
                                "test \"$last\" = '{\"owner'\\''s view\": \"don'\\''t $know `\"}'"),
                     0);
}

/* The cut lies between two rows of which both are nearly sure, and stays there. */
static void test_threshold_is_exact(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct bundle_request q = tiny_bundle_request(&t, "arm64", "one", NULL);
    struct abstain cut = {.threshold = 0.99999985, .cost = 0.2, .n_rows = 100};
    struct bundle_facts f = {
        .q = &q, .name = "sure", .model_license = "", .prompt_sha256 = "", .abstain = &cut};
    struct str manifest = {0};
    bundle_text_manifest(&f, &manifest);
    assert_int_equal(file_write("sure.json", str_text(&manifest), manifest.len, NULL), 0);
    str_release(&manifest);
    json_t *bundle = NULL;
    assert_int_equal(json_file_read("sure.json", &bundle, NULL), 0);
    double read = json_number_value(json_object_get(json_object_get(bundle, "abstain"), "threshold"));
    json_decref(bundle);
    assert_true(read == cut.threshold);
}

static void expect_refused(const struct bundle_request *q, int code, const char *words) {
    struct err e = {0};
    struct bundle_result r;
    assert_int_equal(bundle_make(&r, q, &e), code);
    if (!strstr(e.message, words))
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
    assert_false(file_exists("refused"));
    assert_false(file_exists("refused.part"));
}

static void test_what_cannot_be_bundled_is_refused(void **state) {
    (void)state;
    struct rows none = {0};
    struct bundle_request q = tiny_bundle_request(&t, "riscv64", "refused", NULL);
    expect_refused(&q, ERR_USAGE, "riscv64");
    if (!possible)
        skip();
    q = tiny_bundle_request(&t, "arm64", "refused", NULL);
    q.model = "absent.gguf";
    expect_refused(&q, ERR_NOT_FOUND, "absent.gguf");
    q = tiny_bundle_request(&t, "arm64", "refused", NULL);
    q.golden = &none;
    expect_refused(&q, ERR_INPUT, "no rows");
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest_names_everything),
        cmocka_unit_test(test_same_inputs_same_bytes),
        cmocka_unit_test(test_archive_holds_the_folder),
        cmocka_unit_test(test_texts_speak_of_this_task),
        cmocka_unit_test(test_examples_are_shell),
        cmocka_unit_test(test_threshold_is_exact),
        cmocka_unit_test(test_what_cannot_be_bundled_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
