/* `edgestill plan` on a project with a tiny base: the list, the gate, accepting, what voids an acceptance, wrong wishes. */
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/project.h"
#include "config.h"
#include "plan/plan.h"
#include "support/run_verb.h"
#include "support/scratch.h"
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
    struct err e = {0};
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
}

static void write_project(const char *device) {
    struct str text = {0};
    str_addf(&text,
             "format: edgestill.project/1\ntask: flag quick claims\ndevice: %s\nrecords: 400\nseed: 1\n",
             device);
    write_text("p/edgestill.yaml", str_text(&text));
    str_release(&text);
}

static void accept_task(void) {
    struct project p;
    struct err e = {0};
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(project_lock_write(&p, "task.yaml", NULL, &e), 0);
    project_release(&p);
}

/* A project with an accepted task, and a data folder with the shipped catalogue and a tiny embedded base. */
static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    scratch_enter();
    setenv("HOME", "/nonexistent", 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("XDG_DATA_HOME");
    setenv("EDGESTILL_MODELS", "models", 1);
    setenv("EDGESTILL_DATA_DIR", "data", 1);
    struct task t;
    struct str yaml = {0};
    if (file_make_folders("p", &e) < 0 || file_make_folders("data/seed", &e) < 0 ||
        file_make_folders("models", &e) < 0 ||
        symlink(EDGESTILL_SOURCE_DIR "/catalog", "data/catalog") != 0 ||
        tiny_gguf_write("data/seed/base.gguf", &(struct tiny_gguf){.n_layer = 2, .tied = true, .seed = 3},
                        &e) < 0 ||
        tiny_task(&t, &e) < 0 || task_to_yaml(&t, &yaml, &e) < 0) {
        print_error("%s: %s\n", e.origin, e.message);
        return -1;
    }
    write_text("p/task.yaml", str_text(&yaml));
    str_release(&yaml);
    task_release(&t);
    return 0;
}

/* `edgestill plan -C p --json WORDS…`: the code; *result (may be NULL) the document. */
static int plan(json_t **result, struct err *e, const char *const words[]) {
    return run_verb("plan", "p", false, result, e, words);
}

static const char *option_text(const json_t *result, size_t i, const char *key) {
    return json_string_value(json_object_get(json_array_get(json_object_get(result, "options"), i), key));
}

static int open_plan(struct plan *out, struct err *e) {
    struct project p;
    *e = (struct err){0};
    assert_int_equal(project_open(&p, "p", e), 0);
    int code = project_plan(&p, out, e);
    project_release(&p);
    return code;
}

static void test_waits_for_the_task(void **state) {
    (void)state;
    struct err e;
    write_project("rpi5-8gb");
    assert_int_equal(plan(NULL, &e, NO_WORDS), ERR_GATE);
    accept_task();
}

static void test_list(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    assert_int_equal(plan(&result, &e, WORDS("--base", "embedded")), 0);
    assert_string_equal(option_text(result, 0, "base"), "embedded");
    assert_true(json_array_size(json_object_get(result, "options")) > 8);
    assert_true(json_array_size(json_object_get(result, "dropped")) > 8);
    static const char *const sources[] = {"memory", "reserved", "reads", "writes", "tokens"};
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++)
        assert_true(
            strlen(json_string_value(json_object_get(json_object_get(result, "sources"), sources[k]))) > 4);
    const json_t *first = json_array_get(json_object_get(result, "options"), 0),
                 *predicted = json_object_get(first, "predicted");
    const json_t *decision = json_object_get(predicted, "decision_s"),
                 *train = json_object_get(predicted, "train_s");
    assert_true(json_real_value(json_object_get(decision, "low")) <
                json_real_value(json_object_get(decision, "high")));
    assert_true(json_real_value(json_object_get(train, "value")) > 0);
    assert_true(json_is_true(json_object_get(first, "here")));
    bool elsewhere = false;
    size_t i;
    json_t *option;
    json_array_foreach(json_object_get(result, "options"), i, option) {
        if (strcmp(json_string_value(json_object_get(option, "base")), "tinyllama-1.1b-chat") == 0)
            elsewhere = json_is_false(json_object_get(option, "here"));
    }
    assert_true(elsewhere);
    const json_t *schedule = json_object_get(result, "schedule");
    assert_string_equal(json_string_value(json_object_get(schedule, "shape")), "cosine");
    assert_true(json_number_value(json_object_get(schedule, "warmup")) == 0.05);
    assert_true(strlen(json_string_value(json_object_get(schedule, "reason"))) > 10);
    json_decref(result);
}

/* Without a wish, what is here comes first, so that `run --yes` can go on. */
static void test_what_is_here_comes_first(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    assert_int_equal(plan(&result, &e, NO_WORDS), 0);
    assert_string_equal(option_text(result, 0, "base"), "embedded");
    assert_true(
        json_is_false(json_object_get(json_array_get(json_object_get(result, "options"), 1), "here")));
    json_decref(result);
}

static void test_accepting(void **state) {
    (void)state;
    struct err e;
    struct plan p;
    json_t *result = NULL;
    assert_int_equal(open_plan(&p, &e), ERR_GATE);
    assert_int_equal(plan(&result, &e, WORDS("--base", "embedded", "--accept", "1")), 0);
    assert_true(json_is_true(json_object_get(result, "changed")));
    assert_int_equal(open_plan(&p, &e), 0);
    assert_string_equal(p.base, "embedded");
    assert_string_equal(p.base_path, "data:seed/base.gguf");
    assert_string_equal(p.quantisation, option_text(result, 0, "quantisation"));
    assert_string_equal(p.device, "rpi5-8gb");
    assert_int_equal(p.method, PLAN_LORA);
    assert_int_equal(p.rank, 16);
    assert_string_equal(p.schedule, "cosine");
    assert_true(p.warmup == 0.05);
    assert_int_equal(p.threads, 4);
    assert_true(p.label_scoring && p.prefix_state);
    assert_true(p.prefix_tokens > 0 && p.record_tokens > 0 && p.context >= p.prefix_tokens + p.record_tokens);
    assert_true(p.predicted.memory_bytes.value > 0 && p.predicted.memory_bytes.basis[0] != '\0');
    struct str path = {0};
    assert_int_equal(plan_base_file(&p, &path, &e), 0);
    assert_string_equal(str_text(&path), "data/seed/base.gguf");
    str_release(&path);
    plan_release(&p);
    json_decref(result);
}

static void test_accepting_again_changes_nothing(void **state) {
    (void)state;
    struct err e = {0};
    struct str before = {0}, after = {0};
    json_t *result = NULL;
    assert_int_equal(file_read("p/plan.yaml", 0, &before, &e), 0);
    assert_int_equal(plan(&result, &e, WORDS("--base", "embedded", "--accept", "1")), 0);
    assert_true(json_is_false(json_object_get(result, "changed")));
    assert_int_equal(file_read("p/plan.yaml", 0, &after, &e), 0);
    assert_string_equal(str_text(&before), str_text(&after));
    str_release(&before);
    str_release(&after);
    json_decref(result);
}

static void test_device_and_task_void_it(void **state) {
    (void)state;
    struct err e;
    struct plan p;
    write_project("rpi4-2gb");
    assert_int_equal(open_plan(&p, &e), ERR_GATE);
    assert_non_null(strstr(e.message, "edgestill.yaml#device"));
    json_t *result = NULL;
    assert_int_equal(plan(&result, &e, NO_WORDS), 0);
    assert_non_null(json_string_value(json_object_get(result, "void")));
    json_decref(result);
    write_project("rpi5-8gb");
    assert_int_equal(open_plan(&p, &e), 0);
    plan_release(&p);
    struct str task = {0};
    assert_int_equal(file_read("p/task.yaml", 0, &task, &e), 0);
    str_add(&task, "# changed\n");
    write_text("p/task.yaml", str_text(&task));
    accept_task();
    assert_int_equal(open_plan(&p, &e), ERR_GATE);
    assert_int_equal(plan(NULL, &e, WORDS("--base", "embedded", "--accept", "1")), 0);
    assert_int_equal(open_plan(&p, &e), 0);
    plan_release(&p);
    str_release(&task);
}

static void test_an_edited_plan(void **state) {
    (void)state;
    struct err e = {0};
    struct plan p;
    struct str text = {0};
    assert_int_equal(file_read("p/plan.yaml", 0, &text, &e), 0);
    char *rank = strstr(text.data, "rank: 16");
    assert_non_null(rank);
    memcpy(rank, "rank: 32", 8);
    char *schedule = strstr(text.data, "schedule: cosine");
    assert_non_null(schedule);
    memcpy(schedule, "schedule: linear", 16);
    write_text("p/plan.yaml", str_text(&text));
    assert_int_equal(open_plan(&p, &e), ERR_GATE);
    assert_int_equal(plan(NULL, &e, WORDS("--accept", "0")), 0);
    assert_int_equal(open_plan(&p, &e), 0);
    assert_int_equal(p.rank, 32);
    assert_string_equal(p.schedule, "linear");
    plan_release(&p);
    memcpy(schedule, "schedule: linexx", 16);
    write_text("p/plan.yaml", str_text(&text));
    assert_int_equal(plan(NULL, &e, WORDS("--accept", "0")), ERR_INPUT);
    assert_non_null(strstr(e.message, "schedule is cosine, linear or constant"));
    memcpy(schedule, "schedule: linear", 16);
    memcpy(rank, "rank: xx", 8);
    write_text("p/plan.yaml", str_text(&text));
    assert_int_equal(plan(NULL, &e, WORDS("--accept", "0")), ERR_INPUT);
    assert_non_null(strstr(e.message, "plan.yaml:"));
    str_release(&text);
}

static void test_limits(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    assert_int_equal(plan(&result, &e, WORDS("--max-memory", "1KB")), ERR_UNSUPPORTED);
    assert_int_equal(json_array_size(json_object_get(result, "options")), 0);
    json_decref(result);
    assert_int_equal(
        plan(&result, &e, WORDS("--license", "apache", "--quantisation", "Q4_K_M", "--max-latency", "1s")),
        0);
    size_t i;
    json_t *option;
    json_array_foreach(json_object_get(result, "options"), i, option) {
        assert_string_equal(json_string_value(json_object_get(option, "quantisation")), "Q4_K_M");
        assert_int_equal(strncmp(json_string_value(json_object_get(option, "license")), "Apache", 6), 0);
    }
    json_decref(result);
}

static void test_wrong_wishes(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    assert_int_equal(plan(NULL, &e, WORDS("--accept", "99")), ERR_USAGE);
    assert_int_equal(plan(NULL, &e, WORDS("--max-latency", "soon")), ERR_USAGE);
    assert_int_equal(plan(NULL, &e, WORDS("--quantisation", "Q9_Z")), ERR_INPUT);
    assert_int_equal(plan(NULL, &e, WORDS("--base", "nobody-knows-it")), ERR_NOT_FOUND);
    assert_int_equal(plan(&result, &e, WORDS("--base", "smollm2-135m-instruct")), 0);
    assert_string_equal(option_text(result, 0, "base"), "smollm2-135m-instruct");
    json_decref(result);
    assert_int_equal(plan(NULL, &e, WORDS("--base", "smollm2-135m-instruct", "--accept", "1")),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "models/smollm2-135m-instruct.gguf"));
    write_project("toaster");
    assert_int_equal(plan(NULL, &e, NO_WORDS), ERR_NOT_FOUND);
    write_project("visionfive2-4gb");
    assert_int_equal(plan(NULL, &e, NO_WORDS), ERR_UNSUPPORTED);
    write_project("rpi5-8gb");
}

static void test_a_file_of_ones_own(void **state) {
    (void)state;
    struct err e = {0};
    json_t *result = NULL;
    struct plan p;
    assert_int_equal(tiny_gguf_write("mine.gguf", &(struct tiny_gguf){.n_layer = 3, .seed = 5}, &e), 0);
    assert_int_equal(plan(&result, &e, WORDS("--base", "mine.gguf", "--accept", "1")), 0);
    assert_string_equal(option_text(result, 0, "base"), "mine.gguf");
    json_decref(result);
    assert_int_equal(open_plan(&p, &e), 0);
    assert_int_equal(p.base_path[0], '/');
    plan_release(&p);
    assert_int_equal(tiny_gguf_write("granite.gguf", &(struct tiny_gguf){.arch = "granite"}, &e), 0);
    assert_int_equal(plan(NULL, &e, WORDS("--base", "granite.gguf", "--accept", "1")), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "granite"));
    assert_non_null(strstr(e.message, "architectures that work: llama, qwen2, qwen3, gemma3"));
    assert_int_equal(plan(NULL, &e, WORDS("--base", "embedded", "--max-memory", "1KB")), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "memory"));
    write_text("broken.gguf", "GGUF and then nothing");
    assert_true(plan(NULL, &e, WORDS("--base", "broken.gguf")) < 0);
    assert_non_null(strstr(e.message, "broken.gguf"));
}

/* ---- receipts ---- */

/* A bundle as deploy left it, and the receipt that came back. */
static const char *of_board = ""; /* more of its figures */
static int threads = 4;           /* of the self-test; 4 were planned */

static void deliver(const char *device, double prefill_tps, bool emulated) {
    struct err e = {0};
    struct str bundle = {0}, receipt = {0};
    char hash[SHA256_HEX];
    assert_int_equal(file_make_folders("p/dist/claims-arm64/model", &e), 0);
    assert_int_equal(file_make_folders("p/receipts", &e), 0);
    assert_int_equal(tiny_gguf_write("p/dist/claims-arm64/model/student.gguf",
                                     &(struct tiny_gguf){.n_layer = 2, .tied = true, .seed = 3}, &e),
                     0);
    str_addf(&bundle,
             "{\"format\":\"edgestill.bundle/"
             "1\",\"device\":\"%s\",\"quantisation\":\"F16\",\"runtime\":{\"context\":256,"
             "\"batch\":64,\"threads\":4,\"kv_type\":\"f16\",\"outputs\":6,\"prefix_tokens\":40}}",
             device);
    write_text("p/dist/claims-arm64/bundle.json", str_text(&bundle));
    assert_int_equal(sha256_file("p/dist/claims-arm64/bundle.json", hash, &e), 0);
    str_addf(&receipt,
             "{\"format\":\"edgestill.receipt/"
             "1\",\"bundle_sha256\":\"%s\",\"measured_at\":\"2026-03-04T05:06:07Z\","
             "\"emulated\":%s,\"device\":\"%s\",\"machine\":{\"model\":\"Raspberry Pi 5 Model "
             "B\",\"memory_bytes\":4000000000,\"cores\":4,\"threads\":%d},"
             "\"measured\":{\"prefill_tps\":%g,\"decode_tps\":null,\"memory_bytes\":50000000%s}}",
             hash, emulated ? "true" : "false", device, threads, prefill_tps, of_board);
    write_text("p/receipts/claims-pi.json", str_text(&receipt));
    str_release(&bundle);
    str_release(&receipt);
}

/* What the first option is expected to read, what that rests on, and what the document says of receipts. */
static double reads(const char **basis, char feedback[128], double *free_bytes) {
    static char text[1024];
    struct err e;
    json_t *result = NULL;
    assert_int_equal(plan(&result, &e, WORDS("--base", "embedded")), 0);
    const json_t *x = json_object_get(
        json_object_get(json_array_get(json_object_get(result, "options"), 0), "predicted"), "prefill_tps");
    const char *from = json_string_value(json_object_get(result, "feedback"));
    double value = json_real_value(json_object_get(x, "value"));
    snprintf(text, sizeof text, "%s", json_string_value(json_object_get(x, "basis")));
    snprintf(feedback, 128, "%s", from != NULL ? from : "");
    *free_bytes = json_real_value(json_object_get(result, "free_bytes"));
    *basis = text;
    json_decref(result);
    return value;
}

/* The device's own figures replace the catalogue's, and say so; an emulator's, another device's and another bundle's do not. */
static void test_receipts_come_back(void **state) {
    (void)state;
    const char *basis = NULL;
    char from[128];
    double room = 0, less = 0, before = reads(&basis, from, &room);
    assert_string_equal(from, "");
    deliver("rpi5-2gb", 0.25 * before, false); /* of the family, whatever its memory */
    double after = reads(&basis, from, &less);
    assert_string_equal(from, "receipts/claims-pi.json: Raspberry Pi 5 Model B, 2026-03-04");
    assert_true(after < 0.6 * before);
    assert_non_null(strstr(basis, "receipts/claims-pi.json"));
    assert_true(less < room && less < 4e9); /* it has 4 GB, whatever was bought */
    deliver("rpi5-2gb", 0.25 * before, true);
    assert_true(reads(&basis, from, &less) == before && from[0] == '\0');
    deliver("rpi4-2gb", 0.25 * before, false);
    assert_true(reads(&basis, from, &less) == before && from[0] == '\0');
    deliver("rpi5-2gb", 0.25 * before, false);
    write_text("p/dist/claims-arm64/bundle.json", "{}"); /* made anew since */
    assert_true(reads(&basis, from, &less) == before && from[0] == '\0');
    threads = 1; /* by hand, slower than it would run */
    deliver("rpi5-2gb", 0.25 * before, false);
    threads = 4;
    assert_true(reads(&basis, from, &less) == before && from[0] == '\0');
    struct err e = {0};
    assert_int_equal(file_remove_tree("p/receipts", &e), 0);
    assert_int_equal(file_remove_tree("p/dist", &e), 0);
}

/* Rates by type are the board's: they hold when the bundle that was tested is gone. */
static void test_rates_outlive_the_bundle(void **state) {
    (void)state;
    struct err e = {0};
    const char *basis = NULL;
    char from[128];
    double room = 0, before = reads(&basis, from, &room);
    of_board = ",\"reads_gmacs\":{\"F16\":1,\"Q8_0\":1,\"Q6_K\":1,\"Q4_K\":1}";
    deliver("rpi5-2gb", 0.25 * before, false);
    assert_int_equal(file_remove_tree("p/dist", &e), 0);
    assert_true(reads(&basis, from, &room) < 0.5 * before);
    assert_non_null(strstr(basis, "measured on it for 4 types of weights (receipts/claims-pi.json"));
    deliver("rpi4-2gb", 0.25 * before, false);
    assert_int_equal(file_remove_tree("p/dist", &e), 0);
    assert_true(reads(&basis, from, &room) == before); /* another board's */
    of_board = "";
    assert_int_equal(file_remove_tree("p/receipts", &e), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_the_task),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_what_is_here_comes_first),
        cmocka_unit_test(test_accepting),
        cmocka_unit_test(test_accepting_again_changes_nothing),
        cmocka_unit_test(test_device_and_task_void_it),
        cmocka_unit_test(test_an_edited_plan),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_wrong_wishes),
        cmocka_unit_test(test_a_file_of_ones_own),
        cmocka_unit_test(test_receipts_come_back),
        cmocka_unit_test(test_rates_outlive_the_bundle),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
