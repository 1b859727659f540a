/* Quantisation mixes against what public llama-bench runs report: bits per weight = model_size / n_params of five
 * models under eleven mixes (shared with catalog/throughput.csv: sensura-san/llm-bench, llama.cpp b7095). */
#include "llama/lm.h"
#include "llama/quantize.h"
#include "plan/mix.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct shape gemma_270m = {.arch = "gemma3",
                                        .n_layer = 18,
                                        .n_embd = 640,
                                        .n_ff = 2048,
                                        .n_head = 4,
                                        .n_head_kv = 1,
                                        .head_dim = 256,
                                        .n_vocab = 262144,
                                        .tied = true,
                                        .qk_norm = true,
                                        .post_norms = true};
static const struct shape qwen25_05b = {.arch = "qwen2",
                                        .n_layer = 24,
                                        .n_embd = 896,
                                        .n_ff = 4864,
                                        .n_head = 14,
                                        .n_head_kv = 2,
                                        .head_dim = 64,
                                        .n_vocab = 151936,
                                        .qkv_bias = true};
static const struct shape qwen3_06b = {.arch = "qwen3",
                                       .n_layer = 28,
                                       .n_embd = 1024,
                                       .n_ff = 3072,
                                       .n_head = 16,
                                       .n_head_kv = 8,
                                       .head_dim = 128,
                                       .n_vocab = 151936,
                                       .qk_norm = true};
static const struct shape gemma_1b = {.arch = "gemma3",
                                      .n_layer = 26,
                                      .n_embd = 1152,
                                      .n_ff = 6912,
                                      .n_head = 4,
                                      .n_head_kv = 1,
                                      .head_dim = 256,
                                      .n_vocab = 262144,
                                      .tied = true,
                                      .qk_norm = true,
                                      .post_norms = true};
static const struct shape llama_1b = {.arch = "llama",
                                      .n_layer = 16,
                                      .n_embd = 2048,
                                      .n_ff = 8192,
                                      .n_head = 32,
                                      .n_head_kv = 8,
                                      .head_dim = 64,
                                      .n_vocab = 128256,
                                      .tied = true};

struct published {
    const char *mix;
    double bits[5]; /* in the order of `shapes` */
};

/* Qwen2.5-0.5B Q4_K_M is left out (0): the published file has the bytes of Q4_K_S. */
static const struct published table[] = {
    {"Q3_K_S", {6.868, 5.19, 4.087, 5.459, 4.103}},    {"Q3_K_M", {7.024, 5.41, 4.343, 5.728, 4.422}},
    {"Q3_K_L", {7.156, 5.586, 4.57, 5.961, 4.691}},    {"Q4_0", {7.009, 5.367, 4.93, 5.712, 4.94}},
    {"Q4_1", {7.197, 5.759, 5.326, 6.061, 5.333}},     {"Q4_K_S", {7.262, 6.006, 4.947, 6.197, 4.97}},
    {"Q4_K_M", {7.359, 0, 5.09, 6.397, 5.178}},        {"Q5_0", {7.384, 6.151, 5.722, 6.41, 5.727}},
    {"Q5_K_S", {7.503, 6.46, 5.722, 6.64, 5.727}},     {"Q5_K_M", {7.566, 6.553, 5.806, 6.759, 5.85}},
    {"Q6_K", {8.248, 8.181, 6.565, 8.042, 6.564}},     {"Q8_0", {8.504, 8.502, 8.502, 8.503, 8.501}},
    {"F16", {16.004, 16.002, 16.002, 16.002, 16.001}}, {"IQ4_NL", {7.034, 5.394, 4.942, 5.747, 4.98}},
};
static const struct shape *const shapes[] = {&gemma_270m, &qwen25_05b, &qwen3_06b, &gemma_1b, &llama_1b};

static void test_bits_as_published(void **state) {
    (void)state;
    double worst = 0;
    for (size_t r = 0; r < sizeof table / sizeof *table; r++)
        for (size_t c = 0; c < 5; c++) {
            if (table[r].bits[c] <= 0)
                continue;
            enum mix mix = MIX_F16;
            assert_true(mix_from_name(table[r].mix, &mix));
            struct mix_work work;
            mix_count(mix, shapes[c], &work);
            double bits = work.file_bytes * 8 / (double)shape_params(shapes[c]);
            double off = fabs(bits / table[r].bits[c] - 1);
            worst = off > worst ? off : worst;
            if (off > 0.001)
                print_message("%s column %zu: %.3f, published %.3f\n", table[r].mix, c, bits,
                              table[r].bits[c]);
        }
    print_message("largest difference: %.2f%%\n", worst * 100);
    /* Measured: 0.02 %, which is the rounding of the published figures. */
    assert_true(worst < 0.001);
}

static void test_parameters(void **state) {
    (void)state;
    assert_int_equal(shape_params(&llama_1b), 1235814400); /* llama-bench's n_params */
    assert_int_equal(shape_params(&qwen3_06b), 751632384); /* with a head of its own */
    assert_int_equal(shape_params(&qwen25_05b), 630167424);
    assert_int_equal(shape_params(&gemma_270m), 268098176);
    assert_int_equal(shape_params(&gemma_1b), 999885952);
}

static void test_names(void **state) {
    (void)state;
    for (int m = 0; m < N_MIXES; m++) {
        enum mix found = N_MIXES;
        assert_true(mix_from_name(mix_name((enum mix)m), &found));
        assert_int_equal(found, m);
    }
    enum mix found = MIX_Q2_K;
    assert_true(mix_from_name("q4_k_m", &found));
    assert_int_equal(found, MIX_Q4_K_M);
    assert_false(mix_from_name("Q9_Z", &found));
    assert_false(mix_from_name(NULL, &found));
}

static void test_work_adds_up(void **state) {
    (void)state;
    struct mix_work work;
    mix_count(MIX_Q4_K_M, &llama_1b, &work);
    double macs = work.head_macs, read = 0;
    for (int t = 0; t < N_TENSOR_TYPES; t++) {
        macs += work.block_macs[t];
        read += work.read_bytes[t];
    }
    assert_true(fabs(read - work.file_bytes) < 1); /* tied: all of it is read */
    assert_true(fabs(macs / (double)shape_params(&llama_1b) - 1) < 0.001);
    mix_count(MIX_Q4_K_M, &qwen3_06b, &work); /* untied: the embedding is only looked up */
    read = 0;
    for (int t = 0; t < N_TENSOR_TYPES; t++)
        read += work.read_bytes[t];
    assert_true(fabs(work.file_bytes - read - 151936.0 * 1024 * 144 / 256) < 1);
}

/* The quantiser's own dry run over random-weight files: the sum of tensor bytes must be the same to the byte. */
static void compare_with_dry_run(const struct tiny_gguf *model) {
    struct err e = {0};
    struct shape s;
    assert_int_equal(tiny_gguf_write("m.gguf", model, &e), 0);
    assert_int_equal(shape_from_file(&s, "m.gguf", &e), 0);
    assert_int_equal(s.tied, model->tied);
    for (int m = 0; m < N_MIXES; m++) {
        struct quantize_preview p;
        struct mix_work work;
        const char *name = mix_name((enum mix)m);
        mix_count((enum mix)m, &s, &work);
        assert_int_equal(quantize_preview(&p, "m.gguf", &(struct quantize_options){.type = name}, &e), 0);
        int64_t tensors = 0;
        for (int i = 0; i < p.n_tensors; i++)
            tensors += p.tensors[i].size_bytes;
        if ((int64_t)work.file_bytes != tensors)
            fail_msg("%s: counted %.0f bytes, the quantiser %lld", name, work.file_bytes, (long long)tensors);
        quantize_preview_release(&p);
    }
}

static void test_against_the_quantiser(void **state) {
    (void)state;
    struct err e = {0};
    scratch_enter();
    assert_int_equal(lm_backend_init(NULL, &e), 0);
    compare_with_dry_run(&(struct tiny_gguf){.n_layer = 9, .tied = true});
    compare_with_dry_run(&(struct tiny_gguf){.n_layer = 4, .n_head = 8, .n_kv = 2});
    compare_with_dry_run(&(struct tiny_gguf){
        .arch = "qwen3", .n_layer = 17, .n_embd = 320, .n_head = 5, .n_kv = 1, .n_ff = 608});
    compare_with_dry_run(
        &(struct tiny_gguf){.arch = "qwen2", .n_layer = 2, .n_embd = 256, .n_ff = 768, .tied = true});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_as_published),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_work_adds_up),
        cmocka_unit_test(test_against_the_quantiser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
