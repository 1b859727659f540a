/* Importance matrices and quantisation: against llama.cpp's own tool, byte for byte, and against what must be refused. */
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "base/file.h"
#include "config.h"
#include "llama/imatrix.h"
#include "llama/lm.h"
#include "llama/quantize.h"
#include <gguf.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct tiny_gguf small = {.n_vocab = 300, .n_ff = 256, .tied = true, .seed = 9};

static void must(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

/* 24 tokens, decoded `times` times with the given weight. */
static struct imatrix *collect(const char *path, double weight, int times) {
    struct err e = {0};
    struct imatrix *im = NULL;
    struct lm *m = NULL;
    int32_t ids[24];
    for (int i = 0; i < 24; i++)
        ids[i] = (i * 37) % 256;
    must(imatrix_new(&im, &e), &e);
    must(lm_open(&m, path,
                 &(struct lm_options){
                     .n_ctx = 64, .n_threads = 1, .observe = imatrix_observe, .observe_context = im},
                 &e),
         &e);
    imatrix_set_weight(im, weight);
    for (int i = 0; i < times; i++) {
        const float *logits;
        lm_clear(m, -1);
        must(lm_decode(m, 0, ids, 24, &logits, &e), &e);
    }
    lm_free(m);
    return im;
}

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    must(tiny_gguf_write("m.gguf", &small, &e), &e);
    struct imatrix *im = collect("m.gguf", 1, 1);
    must(imatrix_save(im, "imatrix.gguf", "test rows", 1, &e), &e);
    imatrix_free(im);
    return 0;
}

/* ---- importance matrix ---- */

static struct imatrix_entry entry(const struct imatrix *im, const char *weight) {
    for (int i = 0; i < imatrix_count(im); i++) {
        if (strcmp(imatrix_at(im, i).weight, weight) == 0)
            return imatrix_at(im, i);
    }
    fail_msg("no entry for %s", weight);
    return (struct imatrix_entry){0};
}

static void test_every_weight_is_observed(void **state) {
    (void)state;
    struct imatrix *im = collect("m.gguf", 1, 1);
    assert_int_equal(imatrix_count(im), 2 * 7 + 1); /* seven matrices a layer, and the tied head */
    struct imatrix_entry q = entry(im, "blk.0.attn_q.weight"), k = entry(im, "blk.0.attn_k.weight");
    assert_int_equal(q.width, 256);
    assert_true(q.count == 24);
    assert_memory_equal(q.sum2, k.sum2, 256 * sizeof(double)); /* the same input */
    double sum = 0; /* normalised rows times a norm's weights around 1: a mean square of about 1 */
    for (int i = 0; i < 256; i++)
        sum += q.sum2[i] / q.count;
    assert_true(fabs(sum / 256 - 1) < 0.2);
    assert_true(entry(im, "token_embd.weight").count == 1);     /* only where logits were wanted */
    assert_true(entry(im, "blk.1.ffn_down.weight").count == 1); /* and the last block's end with it */
    assert_int_equal(entry(im, "blk.0.ffn_down.weight").width, 256);
    imatrix_free(im);
}

static void test_weights_count_as_often_as_they_say(void **state) {
    (void)state;
    struct imatrix *twice = collect("m.gguf", 1, 2), *heavy = collect("m.gguf", 2, 1);
    for (int i = 0; i < imatrix_count(twice); i++) {
        struct imatrix_entry a = imatrix_at(twice, i), b = imatrix_at(heavy, i);
        assert_true(a.count == b.count);
        for (int64_t k = 0; k < a.width; k++)
            assert_true(fabs(a.sum2[k] - b.sum2[k]) <= 1e-12 * a.sum2[k]);
    }
    imatrix_free(twice);
    imatrix_free(heavy);
}

static void test_file_round_trip(void **state) {
    (void)state;
    struct err e = {0};
    struct imatrix *im = collect("m.gguf", 3, 1), *back = NULL;
    must(imatrix_save(im, "a.gguf", "rows", 3, &e), &e);
    must(imatrix_load(&back, "a.gguf", &e), &e);
    assert_int_equal(imatrix_count(back), imatrix_count(im));
    for (int i = 0; i < imatrix_count(im); i++) {
        struct imatrix_entry a = imatrix_at(im, i), b = imatrix_at(back, i);
        assert_string_equal(a.weight, b.weight);
        assert_int_equal(a.width, b.width);
        for (int64_t k = 0; k < a.width; k++)
            assert_true((float)a.sum2[k] == (float)b.sum2[k]);
    }
    imatrix_free(im);
    imatrix_free(back);
    assert_int_equal(imatrix_load(&back, "m.gguf", NULL), ERR_FORMAT);
    assert_int_equal(imatrix_load(&back, "absent.gguf", NULL), ERR_NOT_FOUND);
    file_write("junk.gguf", "GGUFjunk", 8, NULL);
    assert_int_equal(imatrix_load(&back, "junk.gguf", NULL), ERR_FORMAT);
}

/* ---- quantising ---- */

static int run_tool(const char *type, const char *out) {
    const char *tool[] = {EDGESTILL_LLAMA_QUANTIZE, "--imatrix", "imatrix.gguf", "m.gguf", out, type, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(126);
        execvp(tool[0], (char *const *)(uintptr_t)tool);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_same_tensors(const char *path_a, const char *path_b) {
    struct ggml_context *ca = NULL, *cb = NULL;
    struct gguf_context *a = gguf_init_from_file(path_a, (struct gguf_init_params){.ctx = &ca});
    struct gguf_context *b = gguf_init_from_file(path_b, (struct gguf_init_params){.ctx = &cb});
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(gguf_get_n_tensors(a), gguf_get_n_tensors(b));
    for (struct ggml_tensor *t = ggml_get_first_tensor(ca); t; t = ggml_get_next_tensor(ca, t)) {
        struct ggml_tensor *other = ggml_get_tensor(cb, t->name);
        if (str_ends(t->name, "data of the file")) /* the context's own name for the whole */
            continue;
        assert_non_null(other);
        assert_int_equal(t->type, other->type);
        assert_int_equal(ggml_nbytes(t), ggml_nbytes(other));
        if (memcmp(t->data, other->data, ggml_nbytes(t)) != 0)
            fail_msg("%s differs", t->name);
    }
    gguf_free(a), gguf_free(b), ggml_free(ca), ggml_free(cb);
}

static void test_same_bytes_as_llama_quantize(void **state) {
    (void)state;
    static const char *const types[] = {"Q4_K_M", "Q2_K", "IQ4_XS"};
    struct err e = {0};
    struct imatrix *im = NULL;
    if (run_tool("Q8_0", "tool.gguf") != 0) {
        print_message("skipped: llama-quantize does not run here\n");
        skip();
    }
    must(imatrix_load(&im, "imatrix.gguf", &e), &e);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(run_tool(types[i], "tool.gguf"), 0);
        must(quantize_file("m.gguf", "ours.gguf",
                           &(struct quantize_options){.n_threads = 1, .type = types[i], .imatrix = im}, &e),
             &e);
        expect_same_tensors("tool.gguf", "ours.gguf");
    }
    imatrix_free(im);
}

static const struct quantize_tensor *tensor(const struct quantize_preview *p, const char *name) {
    for (int i = 0; i < p->n_tensors; i++) {
        if (strcmp(p->tensors[i].name, name) == 0)
            return &p->tensors[i];
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static void test_preview_is_exact(void **state) {
    (void)state;
    static const char *const types[] = {"F16", "Q8_0", "Q4_K_M", "Q3_K_M", "IQ4_XS"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct err e = {0};
        struct quantize_preview p;
        struct quantize_options o = {.n_threads = 1, .type = types[i]};
        must(quantize_preview(&p, "m.gguf", &o, &e), &e);
        must(quantize_file("m.gguf", "q.gguf", &o, &e), &e);
        assert_int_equal(p.file_bytes, file_size("q.gguf"));
        assert_int_equal(p.n_tensors, 2 * 9 + 2);
        struct lm *m = NULL;
        must(lm_open(&m, "q.gguf", &(struct lm_options){.n_ctx = 64, .n_threads = 1}, &e), &e);
        lm_free(m);
        quantize_preview_release(&p);
    }
}

static void test_overrides_and_layers(void **state) {
    (void)state;
    struct err e = {0};
    struct quantize_preview p;
    struct quantize_override overrides[] = {{"blk\\.1\\.ffn_down", "q8_0"}, {"attn_v", "q6_K"}};
    struct quantize_options o = {
        .type = "Q4_K_M", .overrides = overrides, .n_overrides = 2, .head_type = "q5_K"};
    must(quantize_preview(&p, "m.gguf", &o, &e), &e);
    assert_string_equal(tensor(&p, "blk.1.ffn_down.weight")->type, "q8_0");
    assert_string_equal(tensor(&p, "blk.0.ffn_down.weight")->type, "q4_K");
    assert_string_equal(tensor(&p, "blk.0.attn_v.weight")->type, "q6_K");
    assert_string_equal(tensor(&p, "token_embd.weight")->type, "q5_K");
    must(quantize_file("m.gguf", "q.gguf", &o, &e), &e);
    assert_int_equal(p.file_bytes, file_size("q.gguf"));
    quantize_preview_release(&p);

    o = (struct quantize_options){
        .n_threads = 1, .type = "Q4_K_M", .drop_layers = &(int32_t){1}, .n_drop_layers = 1};
    must(quantize_preview(&p, "m.gguf", &o, &e), &e);
    assert_int_equal(p.n_tensors, 9 + 2);
    quantize_preview_release(&p);
    must(quantize_file("m.gguf", "q.gguf", &o, &e), &e);
    struct lm *m = NULL;
    must(lm_open(&m, "q.gguf", &(struct lm_options){.n_ctx = 64, .n_threads = 1}, &e), &e);
    lm_free(m);
}

static void expect_refused(const char *in, const struct quantize_options *o, int code, const char *words) {
    struct err e = {0};
    struct quantize_preview p;
    unlink("refused.gguf");
    assert_int_equal(quantize_file(in, "refused.gguf", o, &e), code);
    if (!strstr(e.message, words))
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
    assert_false(file_exists("refused.gguf"));
    assert_int_equal(quantize_preview(&p, in, o, NULL), code);
}

static void test_wrong_input_is_refused(void **state) {
    (void)state;
    struct err e = {0};
    struct imatrix *im = NULL;
    must(imatrix_load(&im, "imatrix.gguf", &e), &e);
    must(quantize_file("m.gguf", "q8.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q8_0"}, &e),
         &e);
    must(tiny_gguf_write("wide.gguf", &(struct tiny_gguf){.n_vocab = 300, .n_ff = 768, .tied = true}, &e),
         &e);
    must(tiny_gguf_write("deep.gguf",
                         &(struct tiny_gguf){.n_vocab = 300, .n_layer = 1, .n_ff = 256, .tied = true}, &e),
         &e);
    expect_refused("m.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q9"}, ERR_USAGE, "Q9");
    expect_refused("m.gguf", &(struct quantize_options){0}, ERR_USAGE, "not a quantisation");
    expect_refused("q8.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q4_K_M"}, ERR_INPUT,
                   "quantised already");
    expect_refused("m.gguf", &(struct quantize_options){.n_threads = 1, .type = "IQ2_XS"}, ERR_USAGE,
                   "needs an importance matrix");
    expect_refused("wide.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q4_K_M", .imatrix = im},
                   ERR_MISMATCH, "another model");
    expect_refused("deep.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q4_K_M", .imatrix = im},
                   ERR_MISMATCH, "blk.1");
    expect_refused("m.gguf",
                   &(struct quantize_options){
                       .n_threads = 1, .type = "Q4_K_M", .drop_layers = &(int32_t){2}, .n_drop_layers = 1},
                   ERR_USAGE, "no layer 2");
    expect_refused("m.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q4_K_M", .head_type = "q17"},
                   ERR_USAGE, "q17");
    struct quantize_override bad = {"attn_v", "four bits"};
    expect_refused(
        "m.gguf",
        &(struct quantize_options){.n_threads = 1, .type = "Q4_K_M", .overrides = &bad, .n_overrides = 1},
        ERR_USAGE, "four bits");
    expect_refused("absent.gguf", &(struct quantize_options){.n_threads = 1, .type = "Q4_K_M"}, ERR_NOT_FOUND,
                   "absent.gguf");
    assert_true(quantize_mix_known("Q4_K_M"));
    assert_true(quantize_mix_needs_imatrix("IQ2_XXS"));
    assert_false(quantize_mix_known("q4_k_m"));
    imatrix_free(im);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_weight_is_observed),
        cmocka_unit_test(test_weights_count_as_often_as_they_say),
        cmocka_unit_test(test_file_round_trip),
        cmocka_unit_test(test_same_bytes_as_llama_quantize),
        cmocka_unit_test(test_preview_is_exact),
        cmocka_unit_test(test_overrides_and_layers),
        cmocka_unit_test(test_wrong_input_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
