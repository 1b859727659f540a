/* What a receipt says replaces what was expected: all rates by one factor, memory by a difference; a file's own tensors count. */
#include "plan/feedback.h"

#include "base/str.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct catalog catalog;

static int load(void **state) {
    (void)state;
    struct err e = {0};
    scratch_enter();
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", "/nonexistent", 1);
    return catalog_load(&catalog, NULL, &e) < 0 ? -1 : 0;
}

static int release(void **state) {
    (void)state;
    catalog_release(&catalog);
    return 0;
}

static const struct catalog_device *device(const char *name) {
    const struct catalog_device *d = NULL;
    struct err e = {0};
    assert_int_equal(catalog_device_find(&catalog, name, &d, &e), 0);
    return d;
}

/* A model of the catalogue as if a run of it had been measured. */
static struct feedback run_of(const char *name, enum mix mix) {
    const struct catalog_model *m = NULL;
    struct err e = {0};
    struct feedback f = {.source = "receipts/a-board.json",
                         .mix = mix,
                         .tokens = 200,
                         .context = 512,
                         .ubatch = 128,
                         .label_tokens = 8};
    assert_int_equal(catalog_model_find(&catalog, name, &m, &e), 0);
    shape_from_catalog(&f.shape, m);
    mix_count(mix, &f.shape, &f.work);
    return f;
}

static struct plan_prediction predicted(const struct feedback *f, const struct device_rates *r,
                                        int64_t tokens) {
    const struct predict_task task = {.prefix_tokens = tokens, .answer_tokens = 1, .label_tokens = 8};
    const struct predict_input in = {.shape = &f->shape,
                                     .mix = f->mix,
                                     .rates = r,
                                     .task = &task,
                                     .context = f->context,
                                     .ubatch = f->ubatch,
                                     .label_scoring = true};
    struct plan_prediction p = {0};
    predict_on_device(&in, &f->work, NULL, &p);
    return p;
}

static void test_rates_follow_the_receipt(void **state) {
    (void)state;
    struct arena a;
    struct device_rates r;
    struct err e = {0};
    struct feedback f = run_of("qwen3-0.6b", MIX_Q4_K_M);
    arena_init(&a);
    assert_int_equal(rates_for_device(&catalog, device("rock5b-8gb"), &a, &r, &e), 0);
    struct plan_prediction before = predicted(&f, &r, f.tokens);
    double spread = r.read_spread, byte = r.s_per_byte[TENSOR_Q8_0];
    f.prefill_tps = 0.5 * before.prefill_tps.value;
    assert_int_equal(feedback_rates(&f, &r, &a, &e), 0);
    struct plan_prediction after = predicted(&f, &r, f.tokens);
    assert_true(fabs(after.prefill_tps.value / f.prefill_tps - 1) < 0.02); /* but for what each pass costs */
    assert_true(r.read_spread < spread);
    assert_non_null(strstr(r.read_basis, "receipts/a-board.json"));
    assert_non_null(strstr(r.read_basis, "expected")); /* what it replaced stays traceable */
    assert_true(r.s_per_byte[TENSOR_Q8_0] == byte);    /* writing was not measured */
    assert_null(strstr(r.write_basis, "receipts/"));
    f.decode_tps = 2 * before.decode_tps.value;
    f.prefill_tps = 0;
    assert_int_equal(feedback_rates(&f, &r, &a, &e), 0);
    after = predicted(&f, &r, f.tokens);
    assert_true(fabs(after.decode_tps.value / f.decode_tps - 1) < 0.03);
    assert_true(after.decode_tps.low <= f.decode_tps && f.decode_tps <= after.decode_tps.high);
    arena_release(&a);
}

/* What the self-test measured by type sets the types against each other; what its file reached moves them all. */
static void test_types_follow_the_receipt(void **state) {
    (void)state;
    struct arena a;
    struct device_rates kind, r;
    struct err e = {0};
    struct feedback f = run_of("qwen3-0.6b", MIX_Q4_K_M);
    arena_init(&a);
    assert_int_equal(rates_for_device(&catalog, device("rock5b-8gb"), &a, &kind, &e), 0);
    r = kind;
    for (int i = 0; i < N_TYPE_RATES; i++)
        f.reads_gmacs[i] = 10 + i;
    struct feedback alone = {.source = f.source};
    memcpy(alone.reads_gmacs, f.reads_gmacs, sizeof f.reads_gmacs);
    assert_int_equal(feedback_rates(&alone, &r, &a, &e), 0); /* its bundle is gone */
    for (int i = 0; i < N_TYPE_RATES; i++) {
        int j = 0;
        while (j < N_TENSOR_TYPES &&
               strcmp(tensor_type_name((enum tensor_type)j), type_rate_name((enum type_rate)i)))
            j++;
        assert_true(j < N_TENSOR_TYPES); /* every type that a device is asked about is planned with */
        assert_true(fabs(r.s_per_mac[j] * 1e9 * (10 + i) - 1) < 1e-9);
    }
    assert_true(r.s_per_byte[TENSOR_Q4_K] == kind.s_per_byte[TENSOR_Q4_K]);
    assert_non_null(strstr(r.read_basis, "receipts/a-board.json"));
    f.prefill_tps = 0.5 * predicted(&f, &r, f.tokens).prefill_tps.value;
    double ratio = r.s_per_mac[TENSOR_Q8_0] / r.s_per_mac[TENSOR_Q4_K];
    assert_int_equal(feedback_rates(&f, &r, &a, &e), 0);
    assert_true(fabs(r.s_per_mac[TENSOR_Q8_0] / r.s_per_mac[TENSOR_Q4_K] / ratio - 1) < 1e-9);
    assert_true(fabs(predicted(&f, &r, f.tokens).prefill_tps.value / f.prefill_tps - 1) < 0.02);
    arena_release(&a);
}

static void test_memory_moves_by_the_difference(void **state) {
    (void)state;
    struct arena a;
    struct device_rates r;
    struct err e = {0};
    struct feedback f = run_of("smollm2-135m-instruct", MIX_Q8_0);
    arena_init(&a);
    assert_int_equal(rates_for_device(&catalog, device("rpi5-8gb"), &a, &r, &e), 0);
    struct estimate own = predicted(&f, &r, f.tokens).memory_bytes, larger;
    f.memory_bytes = own.value + 30e6;
    assert_int_equal(feedback_memory(&f, &r, &own, &a, &e), 0);
    assert_true(fabs(own.value / f.memory_bytes - 1) < 1e-9); /* the same run: what was measured */
    assert_true(own.low < own.value && own.value < own.high);
    assert_non_null(strstr(own.basis, "+30.0 MB"));
    f.ubatch = 512;
    larger = predicted(&f, &r, f.tokens).memory_bytes;
    double counted = larger.value;
    f.ubatch = 128;
    assert_int_equal(feedback_memory(&f, &r, &larger, NULL, &e), 0);
    assert_true(fabs(larger.value - counted - 30e6) < 1e5); /* other settings: by as much */
    arena_release(&a);
}

static void test_which_run_it_is_of(void **state) {
    (void)state;
    struct feedback f = run_of("qwen3-0.6b", MIX_Q4_K_M);
    struct shape other = f.shape;
    struct predict_input in = {.shape = &other, .mix = MIX_Q4_K_M};
    assert_false(feedback_is_of(&f, &in)); /* its memory was not measured */
    f.memory_bytes = 1e9;
    assert_true(feedback_is_of(&f, &in));
    other.n_vocab /= 4; /* cut to the task's */
    assert_true(feedback_is_of(&f, &in));
    in.mix = MIX_Q8_0;
    assert_false(feedback_is_of(&f, &in));
    in.mix = MIX_Q4_K_M;
    other.n_layer++;
    assert_false(feedback_is_of(&f, &in));
}

/* A file counts as its tensors are: the same sums as the rules give for its mix. */
static void test_a_file_counts_itself(void **state) {
    (void)state;
    struct err e = {0};
    struct feedback f = {.mix = MIX_F16};
    struct mix_work rules;
    const struct tiny_gguf t = {.n_layer = 3, .tied = true, .seed = 4, .type = GGML_TYPE_F16};
    assert_int_equal(tiny_gguf_write("f16.gguf", &t, &e), 0);
    if (feedback_read_file(&f, "f16.gguf", &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(f.shape.n_layer, 3);
    assert_true(f.shape.tied);
    mix_count(MIX_F16, &f.shape, &rules);
    assert_true(f.work.head_macs == rules.head_macs && f.work.head_type == rules.head_type);
    assert_true(f.work.block_macs[TENSOR_F16] == rules.block_macs[TENSOR_F16]);
    assert_true(fabs(f.work.file_bytes / rules.file_bytes - 1) < 0.01);
    assert_true(fabs(f.work.read_bytes[TENSOR_F16] / rules.read_bytes[TENSOR_F16] - 1) < 1e-9);
    assert_true(feedback_read_file(&f, "nowhere.gguf", &e) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_follow_the_receipt),
        cmocka_unit_test(test_types_follow_the_receipt),
        cmocka_unit_test(test_memory_moves_by_the_difference),
        cmocka_unit_test(test_which_run_it_is_of),
        cmocka_unit_test(test_a_file_counts_itself),
    };
    return cmocka_run_group_tests(tests, load, release);
}
