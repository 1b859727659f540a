/* `edgestill report`: a page from a bare project, from a full one, and a refusal where a part cannot be read. */
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/report.h"
#include "format/json.h"
#include "store/store.h"
#include "support/run_verb.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void write_text(const char *path, const char *text) {
    struct err e = {0};
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
}

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    scratch_enter();
    if (file_make_folders("p/eval", &e) < 0 || file_make_folders("p/train", &e) < 0 ||
        file_make_folders("p/receipts", &e) < 0 || file_make_folders("p/dist/x", &e) < 0 ||
        file_make_folders("p/model", &e) < 0)
        return -1;
    write_text("p/edgestill.yaml",
               "format: edgestill.project/1\ntask: \"flag <quick> & cheap claims\"\ndevice: rpi5-8gb\n");
    return 0;
}

static int report(json_t **result, struct err *e, const char *option, const char *value) {
    return run_verb("report", "p", false, result, e, option ? WORDS(option, value) : NO_WORDS);
}

static int64_t count(const char *text, const char *part) {
    int64_t n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p += strlen(part))
        n++;
    return n;
}

/* Nothing from elsewhere, tags in pairs. */
static void check_page(const char *page) {
    static const char *const tags[] = {"table", "tr", "td", "th", "p", "h2", "svg", "span", "blockquote"};
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "http://"));
    assert_null(strstr(page, "https://"));
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        char open[16], open_more[16], close[16];
        snprintf(open, sizeof open, "<%s>", tags[i]);
        snprintf(open_more, sizeof open_more, "<%s ", tags[i]);
        snprintf(close, sizeof close, "</%s>", tags[i]);
        assert_int_equal(count(page, open) + count(page, open_more), count(page, close));
    }
}

static char *read_page(void) {
    struct str page = {0};
    struct err e = {0};
    assert_int_equal(file_read("p/report.html", 0, &page, &e), 0);
    return str_take(&page);
}

static void test_a_bare_project(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    assert_int_equal(report(&result, &e, NULL, NULL), 0);
    assert_true(json_is_null(json_object_get(result, "records")));
    assert_true(json_is_null(json_object_get(result, "plan")));
    assert_int_equal(json_array_size(json_object_get(result, "comparison")), 0);
    json_decref(result);
    char *page = read_page();
    check_page(page);
    assert_non_null(strstr(page, "flag &lt;quick&gt; &amp; cheap claims"));
    assert_non_null(strstr(page, "generate: not run"));
    free(page);
}

static void add_records(void) {
    struct store *s = NULL;
    struct err e = {0};
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_WRITE, &e), 0);
    for (int i = 0; i < 10; i++) {
        const struct store_record r = {.source = "teacher",
                                       .data = "{}",
                                       .label = i % 2 == 0 ? "suspicious" : "normal",
                                       .weight = 1,
                                       .status = i < 8 ? STORE_ACCEPTED : STORE_REJECTED,
                                       .split = i < 6   ? STORE_TRAIN
                                                : i < 8 ? STORE_VALIDATION
                                                        : STORE_NO_SPLIT,
                                       .reason = i < 8 ? NULL : "duplicate"};
        int64_t id = 0;
        assert_int_equal(store_record_add(s, &r, &id, &e), 0);
    }
    store_close(s);
}

static const char eval_summary[] =
    "{\"format\":\"edgestill.eval-summary/1\",\"rows\":{\"source\":\"held-out.csv\",\"n\":1000},"
    "\"base\":{\"accuracy\":0.52,\"balanced_accuracy\":0.52,\"macro_f1\":0.4,\"invalid_rate\":0.1,\"n\":1000,"
    "\"low\":0.49,\"high\":0.55},"
    "\"student_quant\":{\"accuracy\":0.96,\"balanced_accuracy\":0.96,\"macro_f1\":0.95,\"invalid_rate\":0,"
    "\"n\":1000,\"low\":0.94,"
    "\"high\":0.97},\"comparisons\":[],\"skipped\":[{\"who\":\"teacher\",\"reason\":\"<asleep>\"}]}";

static void write_stages(void) {
    write_text("p/dist/manifest.json",
               "{\"format\":\"edgestill.manifest/1\",\"stage\":\"bundle\",\"inputs\":{},"
               "\"settings\":{},\"outputs\":{\"dist/x/bundle.json\":\"00\"}}");
    write_text("p/dist/x/bundle.json",
               "{\"abstain\":{\"threshold\":0.8125,\"cost\":0.2,\"rows\":100,\"coverage\":0.9,\"risk\":0.01,"
               "\"risk_all\":0.04,\"aurc\":0.002,\"curve\":[[0.5,0,0.99],[0.9,0.01,0.8125],[1,0.04,0]]}}");
    add_records();
    write_text("p/eval/summary.json", eval_summary);
    write_text("p/eval/student-quant.json",
               "{\"confusion\":{\"labels\":[\"suspicious\",\"normal\"],\"matrix\":[[481,19,0],[21,478,1]]}}");
    write_text(
        "p/train/log.jsonl",
        "{\"step\":1,\"loss\":0.9}\n{\"note\":\"no step\"}\n{\"step\":2,\"loss\":0.5,\"validation_loss\":0.6,"
        "\"validation_accuracy\":0.8}\n{\"step\":3,\"lo");
    write_text("p/model/student.gguf", "twelve bytes");
    write_text("p/receipts/a.json", "{\"emulated\":true,\"selftest\":{\"rows\":20,\"agreeing_rows\":19,"
                                    "\"passed\":true},\"measured\":{\"decision_s\":0.5}}");
    write_text("p/receipts/broken.json", "{\"emulated\": tr"); /* is left out */
    /* this machine's figures never stand as the device's */
    write_text("p/receipts/b-amd64-here.json",
               "{\"emulated\":false,\"selftest\":{\"rows\":8,\"agreeing_rows\":8}}");
    write_text("p/seconds", "task 1.5\nself-test 12.25\nbroken\n");
}

/* Two candidates, a ledger of four rows, and a receipt of an emulated runner that answers one of them otherwise. */
static void write_compression(void) {
    struct err e = {0};
    char hash[SHA256_HEX], receipt[600];
    assert_int_equal(file_make_folders("p/dist/t-arm64/model", &e), 0);
    write_text("p/dist/t-arm64/model/student.gguf", "twelve bytes");
    write_text("p/dist/t-arm64/bundle.json", "{\"golden_rows\":4}");
    assert_int_equal(sha256_file("p/dist/t-arm64/bundle.json", hash, &e), 0);
    write_text(
        "p/model/compress.json",
        "{\"chosen\":\"small <one>\",\"reason\":\"it will do\",\"validation_rows\":4,\"first_rows\":4,"
        "\"source_accuracy\":1.0,\"lost_at\":\"small "
        "<one>\",\"candidates\":[{\"name\":\"big\",\"bytes\":2000000,"
        "\"accuracy\":1.0,\"chosen\":false},{\"name\":\"small <one>\",\"bytes\":1000000,\"accuracy\":0.75,"
        "\"chosen\":true}],\"steps\":[{\"step\":\"16-bit\",\"accuracy\":1.0,\"agreement\":1.0},"
        "{\"step\":\"small <one>\",\"accuracy\":0.75,\"agreement\":0.75,\"change\":{\"difference\":-0.25,"
        "\"low\":-0.6,\"high\":0.3,\"p_value\":1.0}}]}");
    write_text("p/model/ledger.csv",
               "row,truth,16-bit,small <one>\n1,normal,normal,normal\n2,normal,normal,normal\n"
               "3,suspicious,suspicious,normal\n4,suspicious,suspicious,suspicious\n");
    snprintf(
        receipt, sizeof receipt,
        "{\"name\":\"t\",\"arch\":\"arm64\",\"bundle_sha256\":\"%s\",\"emulated\":true,\"selftest\":{"
        "\"rows\":4,"
        "\"agreeing_rows\":3,\"disagreements\":[{\"row\":2,\"host\":\"normal\",\"here\":\"suspicious\"}]}}",
        hash);
    write_text("p/receipts/t-arm64-emulated-cortex-a76.json", receipt);
}

static void test_compression(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    write_compression();
    assert_int_equal(report(&result, &e, NULL, NULL), 0);
    const json_t *runners = json_object_get(result, "runners"), *step = json_array_get(runners, 0);
    assert_int_equal(json_array_size(runners), 1);
    assert_string_equal(json_string_value(json_object_get(step, "step")), "runner on cortex-a76");
    assert_true(json_is_true(json_object_get(step, "emulated")));
    assert_true(json_number_value(json_object_get(step, "agreement")) > 0.7499);
    assert_true(json_number_value(json_object_get(step, "accuracy")) < 0.5001);    /* rows 1 and 4 */
    assert_true(json_number_value(json_object_get(step, "difference")) < -0.4999); /* since 16-bit */
    assert_true(json_number_value(json_object_get(json_object_get(step, "change"), "difference")) > -0.2501);
    json_decref(result);
    char *page = read_page();
    check_page(page);
    assert_int_equal(count(page, "<circle"), 2); /* no time on the device, so one drawing */
    assert_non_null(strstr(page, "small &lt;one&gt; <b>most is lost here</b>"));
    assert_non_null(strstr(page, "runner on cortex-a76 <span class=\"emulated\">emulated</span>"));
    free(page);
    write_text("p/dist/t-arm64/model/student.gguf",
               "another file"); /* of an earlier student: says nothing of this one */
    assert_int_equal(report(&result, &e, NULL, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(result, "runners")), 0);
    json_decref(result);
}

static void test_a_full_project(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL, *records = NULL;
    write_stages();
    assert_int_equal(report(&result, &e, NULL, NULL), 0);
    records = json_object_get(result, "records");
    const json_t *suspicious = json_object_get(json_object_get(records, "labels"), "suspicious");
    assert_int_equal(json_integer_value(json_object_get(suspicious, "accepted")), 4);
    assert_int_equal(json_integer_value(json_object_get(suspicious, "train")), 3);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(records, "rejected"), "duplicate")),
                     2);
    assert_int_equal(json_array_size(json_object_get(json_object_get(result, "training"), "curve")), 2);
    json_decref(result);
    char *page = read_page();
    check_page(page);
    assert_int_equal(count(page, "<svg"), 3);
    assert_non_null(strstr(page, "below 0.812"));
    assert_non_null(strstr(page, "decides 90.0%, and 1.0%"));
    assert_non_null(strstr(page, ">481<"));
    assert_non_null(strstr(page, "&lt;asleep&gt;"));
    assert_non_null(strstr(page, "Emulated."));
    free(page);
}

static void test_summary(void **state) {
    (void)state;
    struct err e = {0};
    struct project p;
    json_t *document = NULL, *summary = NULL;
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(report_gather(&p, &document, &e), 0);
    assert_int_equal(report_summary(document, "p/seconds", &summary, &e), 0);
    assert_int_equal(json_integer_value(json_object_get(summary, "model_bytes")), 12);
    assert_true(json_is_null(json_object_get(summary, "teacher")));
    assert_true(json_number_value(json_object_get(json_object_get(summary, "student_quant"), "low")) == 0.94);
    assert_true(json_number_value(json_object_get(json_object_get(summary, "seconds"), "self-test")) ==
                12.25);
    const json_t *test = json_object_get(summary, "device_selftest");
    assert_int_equal(json_integer_value(json_object_get(test, "agreeing_rows")), 19);
    assert_true(json_is_true(json_object_get(test, "emulated")));
    const json_t *accepted = json_object_get(json_object_get(summary, "records"), "accepted");
    assert_int_equal(json_integer_value(json_object_get(accepted, "normal")), 4);
    json_decref(summary);
    json_decref(document);
    project_release(&p);
    assert_int_equal(report(NULL, &e, "--summary", "p/summary.json"), 0);
    assert_true(file_exists("p/summary.json"));
}

static void test_what_cannot_be_read(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(report(NULL, &e, "--out", "no/such/folder/page.html"), ERR_IO);
    write_text("p/eval/summary.json", "{\"base\":");
    assert_int_equal(report(NULL, &e, NULL, NULL), ERR_FORMAT);
    assert_non_null(strstr(e.message, "summary.json"));
    write_text("p/eval/summary.json", eval_summary);
    write_text("p/records.sqlite", "this is no database, this is no database, this is no database");
    assert_true(report(NULL, &e, NULL, NULL) < 0);
    assert_non_null(strstr(e.message, "records.sqlite"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bare_project),
        cmocka_unit_test(test_a_full_project),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_compression),
        cmocka_unit_test(test_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
