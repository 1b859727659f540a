/* `edgestill pull`: a model of the catalogue from a hub on loopback and a file from any address; what comes is checked, what
 * is here is used as it is, what cannot be is refused with a way out. */
#include "base/file.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "config.h"
#include "support/http_script.h"
#include "support/run_verb.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct str model;
static char last_path[256];
static bool broken_once, words_only;

static void serve(void *context, const struct http_asked *q, struct http_reply *r) {
    (void)context;
    static char header[128];
    char range[64];
    long long from = 0;
    snprintf(last_path, sizeof last_path, "%s", q->path);
    bool part = sscanf(http_asked_header(q, "Range", range, sizeof range), "bytes=%lld-", &from) == 1;
    snprintf(header, sizeof header, "ETag: \"m\"");
    if (part)
        snprintf(header, sizeof header, "ETag: \"m\"\r\nContent-Range: bytes %lld-%zu/%zu", from,
                 model.len - 1, model.len);
    r->status = part ? 206 : 200;
    r->header = header;
    if (words_only)
        str_add(&r->body, "<html>Log in first</html>");
    else
        str_add_bytes(&r->body, model.data + from, model.len - (size_t)from);
    r->how = broken_once ? HTTP_HALF : HTTP_WHOLE;
    broken_once = false;
}

static struct http_script *server;

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    char hub[64];
    scratch_enter();
    setenv("HOME", "/nonexistent", 1);
    setenv("no_proxy", "127.0.0.1", 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HF_TOKEN");
    setenv("EDGESTILL_MODELS", "models", 1);
    if (tiny_gguf_write("tiny.gguf", &(struct tiny_gguf){.n_layer = 1, .seed = 3}, &e) < 0 ||
        file_read("tiny.gguf", 1 << 26, &model, &e) < 0 || (server = http_script_start(serve, NULL)) == NULL)
        return -1;
    snprintf(hub, sizeof hub, "http://127.0.0.1:%d", http_script_port(server));
    setenv("EDGESTILL_HUB", hub, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    http_script_stop(server);
    str_release(&model);
    return 0;
}

static int pull(json_t **result, struct err *e, const char *const words[]) {
    return run_verb("pull", NULL, false, result, e, words);
}

static const char *text_of(const json_t *j, const char *key) {
    return json_string_value(json_object_get(j, key));
}

static void test_a_model_of_the_catalogue(void **state) {
    (void)state;
    struct err e;
    json_t *result = NULL;
    broken_once = true;
    assert_int_equal(pull(&result, &e, WORDS("qwen3-0.6b")), 0);
    assert_string_equal(last_path, "/unsloth/Qwen3-0.6B-GGUF/resolve/main/Qwen3-0.6B-BF16.gguf");
    assert_string_equal(text_of(result, "license"), "Apache-2.0");
    assert_string_equal(text_of(result, "path"), "models/qwen3-0.6b.gguf");
    assert_true(json_is_true(json_object_get(result, "trainable")));
    assert_int_equal(file_size("models/qwen3-0.6b.gguf"), (int64_t)model.len);
    json_decref(result);
    int64_t served = http_script_served(server);
    assert_int_equal(pull(&result, &e, WORDS("qwen3-0.6b")), 0); /* is here: used as it is */
    assert_true(json_is_true(json_object_get(result, "here_before")));
    assert_int_equal(http_script_served(server), served);
    json_decref(result);
}

static void test_any_address(void **state) {
    (void)state;
    struct err e;
    char url[96];
    snprintf(url, sizeof url, "%s/files/mine.gguf?download=true", getenv("EDGESTILL_HUB"));
    assert_int_equal(pull(NULL, &e, WORDS(url)), 0);
    assert_int_equal(file_size("models/mine.gguf"), (int64_t)model.len);
    assert_int_equal(pull(NULL, &e, WORDS(url, "--to", "here.gguf", "--sha256", "12")), ERR_USAGE);
    assert_int_equal(pull(NULL, &e,
                          WORDS(url, "--to", "here.gguf", "--sha256",
                                "0000000000000000000000000000000000000000000000000000000000000000")),
                     ERR_MISMATCH);
    assert_false(file_exists("here.gguf"));
}

static void test_refusals(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(pull(NULL, &e, WORDS("qwen3-0.6")), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "qwen3-0.6b"));
    assert_int_equal(pull(NULL, &e, WORDS("mistral-7b-instruct-v0.3")),
                     ERR_NOT_FOUND); /* no known 16-bit file */
    assert_non_null(strstr(e.hint, "--file"));
    assert_int_equal(pull(NULL, &e, WORDS("https://example.org/")), ERR_USAGE);
    words_only = true;
    assert_int_not_equal(pull(NULL, &e, WORDS("llama-3.2-1b-instruct")), 0);
    words_only = false;
    assert_false(file_exists("models/llama-3.2-1b-instruct.gguf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_model_of_the_catalogue),
        cmocka_unit_test(test_any_address),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
