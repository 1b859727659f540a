/* Fewer layers: the choice against every cut that there is, made by llama.cpp; healing; the step in a whole run. */
#include "../support/compress_case.h"
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "base/file.h"
#include "llama/quantize.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct compress_case t;

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    const struct tiny_gguf shape = {
        .n_vocab = 700, .n_ff = 256, .tied = true, .seed = 4, .type = GGML_TYPE_F16};
    compress_case_begin(&t, 16);
    must(tiny_gguf_write("f16.gguf", &shape, &e), &e);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    compress_case_end(&t);
    return 0;
}

/* Divergence from f16.gguf's answers to the training rows of the same file without that layer, cut out by llama.cpp. */
static double without_layer(int32_t layer) {
    struct err e = {0};
    struct student s;
    double p[2][64 * 2];
    const char *const files[] = {"f16.gguf", "cut.gguf"};
    must(quantize_file("f16.gguf", "cut.gguf",
                       &(struct quantize_options){.type = "F16", .drop_layers = &layer, .n_drop_layers = 1},
                       &e),
         &e);
    for (int i = 0; i < 2; i++) {
        struct dataset d = {0};
        must(student_open(&s, files[i], &t.task, 1, &e), &e);
        must(student_rows(&s, &d, &t.training, 0, &e), &e);
        assert_true(d.n_rows <= 64 && d.form->n_labels == 2);
        must(student_score(&s, &d, p[i], &e), &e);
        student_probabilities(p[i], d.n_rows, 2);
        dataset_release(&d);
        student_release(&s);
    }
    return compress_divergence(p[0], p[1], t.training.n, 2);
}

/* The layer that goes is the one without which the file differs least, and healing brings the rest nearer to the whole student. */
static void test_the_least_layer_goes(void **state) {
    (void)state;
    struct err e = {0};
    struct depth_result r;
    struct depth_request q = {.source = "f16.gguf",
                              .path = "short.gguf",
                              .task = &t.task,
                              .training = &t.training,
                              .layers = 1,
                              .n_threads = 1};
    q.heal.learning_rate = 3e-3F;
    double first = without_layer(0), second = without_layer(1), least = fmin(first, second);
    must(depth_cut(&r, &q, &e), &e);
    print_message("without one or the other: %g, %g; healed %g\n", first, second, r.healed);
    assert_int_equal(r.before, 2);
    assert_int_equal(r.after, 1);
    assert_int_equal(r.dropped[0], first <= second ? 0 : 1);
    assert_true(fabs(r.cut - least) <= 1e-3 * least + 1e-9);
    assert_true(r.healed < 0.7 * r.cut);
    assert_true(file_exists("short.gguf") && !file_exists("short.gguf.cut"));
    q.layers = 2;
    assert_int_equal(depth_cut(&r, &q, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "2 layers cannot be kept of 2"));
}

static void test_a_run_with_fewer_layers(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *type = "Q8_0";
    struct compress_request q = {.source = "f16.gguf",
                                 .folder = "model",
                                 .task = &t.task,
                                 .training = &t.training,
                                 .validation = &t.validation,
                                 .types = &type,
                                 .n_types = 1,
                                 .n_threads = 1,
                                 .whole_vocabulary = true,
                                 .recovery = COMPRESS_RECOVER_NEVER,
                                 .layers = 1};
    must(compress_run(&r, &q, &e), &e);
    assert_int_equal(r.depth.after, 1);
    assert_string_equal(r.steps[1].name, "1 layers");
    assert_true(r.steps[1].file_bytes < r.source_bytes);
    assert_false(file_exists("model/short-f16.gguf"));
    compress_release(&r);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_layer_goes),
        cmocka_unit_test(test_a_run_with_fewer_layers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
