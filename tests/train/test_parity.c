/* The trainer against llama.cpp on the same files: logits of the base in every tensor type, of base plus adapter, of the
 * merged model; and what a few steps of training do to all three. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "llama/lm.h"
#include "train/host/weights.h"
#include "train/optimizer.h"

enum { N_TOKENS = 70, N_VOCAB = 1024 };

struct trainer {
    struct ops ops;
    struct model_file *file;
    struct nn_model m;
    struct nn_run r;
    int32_t token[N_TOKENS], position[N_TOKENS], target[N_TOKENS], start[2];
    struct nn_batch batch;
};

static struct nn_lora chosen; /* how adapters are scaled, and where they are */

static void check(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

static void open_trainer_kept(struct trainer *t, const char *path, int rank, enum train_base kept) {
    bool packed = kept != TRAIN_BASE_F32;
    struct err e = {0};
    struct model_config c;
    struct rng rng;
    struct nn_lora lora = chosen;
    lora.rank = rank;
    lora.alpha = 2 * (float)rank;
    rng_seed(&rng, 77);
    check(ops_open_cpu(&t->ops, 2, &e), &e);
    check(model_file_open(&t->file, path, &e), &e);
    check(model_file_config(t->file, &c, &e), &e);
    check((packed ? nn_model_init_packed : nn_model_init)(&t->m, &c, &t->ops, &e), &e);
    check((kept == TRAIN_BASE_BF16 ? weights_load_bf16 : weights_load)(&t->m, t->file, &e), &e);
    if (rank > 0)
        check(nn_model_add_lora(&t->m, &lora, &rng, &e), &e);
    else
        check(nn_model_train_all(&t->m, &e), &e);
    check(nn_run_init(&t->r, &t->m, &(struct nn_limits){.n_tokens = N_TOKENS}, &e), &e);
    for (int i = 0; i < N_TOKENS; i++) {
        t->token[i] = (int32_t)rng_range(&rng, 0, N_VOCAB - 1);
        t->position[i] = i;
        t->target[i] = (int32_t)rng_range(&rng, 0, N_VOCAB - 1);
    }
    t->start[0] = 0;
    t->start[1] = N_TOKENS;
    t->batch = (struct nn_batch){.n_tokens = N_TOKENS,
                                 .token = t->token,
                                 .position = t->position,
                                 .target = t->target,
                                 .n_seq = 1,
                                 .start = t->start};
}

static void open_trainer(struct trainer *t, const char *path, int rank) {
    open_trainer_kept(t, path, rank, TRAIN_BASE_F32);
}

static void close_trainer(struct trainer *t) {
    nn_run_release(&t->r);
    nn_model_release(&t->m);
    model_file_close(t->file);
    t->ops.close(&t->ops);
}

static float *trainers_logits(struct trainer *t) {
    struct err e = {0};
    float *logits = malloc(sizeof(float) * N_TOKENS * N_VOCAB);
    check(nn_forward_logits(&t->m, &t->r, &t->batch, logits, &e), &e);
    return logits;
}

/* With llama.cpp's KV cache in `cache`: "f32" for exact comparisons, NULL for what devices run. */
static float *llamas_logits(const struct trainer *t, const char *path, const char *lora, const char *cache) {
    struct err e = {0};
    struct lm *m = NULL;
    float *logits = malloc(sizeof(float) * N_TOKENS * N_VOCAB);
    check(lm_open(&m, path,
                  &(struct lm_options){.n_ctx = 128, .lora = lora, .logits_all_rows = true, .kv_type = cache},
                  &e),
          &e);
    check(lm_logits(m, t->token, N_TOKENS, logits, &e), &e);
    lm_free(m);
    return logits;
}

/* Largest difference relative to the root mean square of y; frees both. */
static double difference(float *x, float *y) {
    double squares = 0, worst = 0;
    for (int i = 0; i < N_TOKENS * N_VOCAB; i++) {
        squares += (double)y[i] * (double)y[i];
        double d = fabs((double)x[i] - (double)y[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    free(x);
    free(y);
    return worst / sqrt(squares / (N_TOKENS * N_VOCAB));
}

static void assert_below(const char *what, double measured, double tolerance) {
    print_message("%-40s %.2g\n", what, measured);
    if (!(measured < tolerance))
        fail_msg("%s: logits differ by %g of their root mean square", what, measured);
}

static void train(struct trainer *t, int n_steps) {
    struct err e = {0};
    struct optimizer o;
    check(optimizer_init(&o, &t->m, &(struct optimizer_options){.learning_rate = 1e-2f}, &e), &e);
    for (int i = 0; i < n_steps; i++) {
        nn_zero_gradients(&t->m);
        check(nn_forward_backward(&t->m, &t->r, &t->batch, N_TOKENS, NULL, &e), &e);
        check(optimizer_step(&o, NULL, &e), &e);
    }
    optimizer_release(&o);
}

/* Measured, as a share of the root mean square of the logits: F32 6e-6 to 7e-6 with llama.cpp's cache in F32, 3e-3 with its
 * default cache in F16. In the other types llama.cpp rounds activations to the weights' precision (F16, BF16, 8 bits),
 * while the trainer widens the weights and computes in F32: 4e-3, 3e-2 and 0.11 to 0.18 on these random weights. */
#define EXACT      3e-5
#define F16_CACHE  1e-2
#define F16_WEIGHT 1e-2
/* gemma3's gate: llama.cpp looks gelu up in a table of 16-bit floats. */
#define GELU_TABLE 1e-2

static const struct {
    const char *name;
    struct tiny_gguf model;
    double tolerance;
} bases[] = {
    {"llama F32", {.seed = 1}, EXACT},
    {"llama F32, tied head", {.seed = 2, .tied = true}, EXACT},
    {"llama F32, 3 heads of 96",
     {.seed = 3, .n_head = 3, .n_kv = 1, .head_dim = 96, .rope_base = 500000},
     EXACT},
    {"qwen3 F32", {.seed = 4, .arch = "qwen3", .tied = true}, EXACT},
    {"llama F32, factors of the rotation", {.seed = 10, .rope_factors = true, .rope_base = 500000}, EXACT},
    {"mistral's shape, 8 heads over 2", {.seed = 11, .n_head = 8, .n_kv = 2, .rope_base = 1e6f}, EXACT},
    {"qwen2 F32", {.seed = 12, .arch = "qwen2", .tied = true, .rope_base = 1e6f}, EXACT},
    {"gemma3 F32, 7 blocks",
     {.seed = 13, .arch = "gemma3", .tied = true, .n_layer = 7, .rope_base = 1e6f},
     GELU_TABLE},
    {"gemma3 F32, a window longer than the prompt",
     {.seed = 16, .arch = "gemma3", .tied = true, .n_layer = 7, .window = 90},
     GELU_TABLE},
    {"gemma3 F32, a window longer than the context",
     {.seed = 17,
      .arch = "gemma3",
      .tied = true,
      .n_layer = 7,
      .window = 512,
      .n_ctx = 128,
      .rope_base = 1e6f},
     GELU_TABLE},
    {"qwen2 Q8_0", {.seed = 14, .arch = "qwen2", .type = GGML_TYPE_Q8_0}, 0.4},
    {"gemma3 BF16, 7 blocks",
     {.seed = 15, .arch = "gemma3", .tied = true, .n_layer = 7, .type = GGML_TYPE_BF16},
     0.1},
    {"llama F16", {.seed = 5, .type = GGML_TYPE_F16}, F16_WEIGHT},
    {"llama BF16", {.seed = 6, .type = GGML_TYPE_BF16}, 0.1},
    {"llama Q8_0", {.seed = 7, .type = GGML_TYPE_Q8_0}, 0.4},
    {"llama Q4_K", {.seed = 8, .type = GGML_TYPE_Q4_K}, 0.4},
    {"llama Q6_K", {.seed = 9, .type = GGML_TYPE_Q6_K}, 0.4},
};

static void test_logits_agree_with_llama(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        struct err e = {0};
        struct trainer t;
        check(tiny_gguf_write("base.gguf", &bases[i].model, &e), &e);
        open_trainer(&t, "base.gguf", 0);
        assert_below(bases[i].name,
                     difference(trainers_logits(&t), llamas_logits(&t, "base.gguf", NULL, "f32")),
                     bases[i].tolerance);
        if (i == 0)
            assert_below("  with the cache in F16",
                         difference(trainers_logits(&t), llamas_logits(&t, "base.gguf", NULL, NULL)),
                         F16_CACHE);
        close_trainer(&t);
    }
}

/* A base that stays as its file stores it, trained, gives the logits of the widened one: the same numbers, other orders of sums.
 * Two steps of AdamW magnify that. Measured: 2.5e-5. */
static void test_a_packed_base_computes_the_same(void **state) {
    (void)state;
    static const enum ggml_type types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0,
                                           GGML_TYPE_Q4_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct err e = {0};
        struct trainer wide, kept;
        struct tiny_gguf model = {.seed = 20, .type = types[i], .tied = i % 2};
        check(tiny_gguf_write("base.gguf", &model, &e), &e);
        open_trainer_kept(&wide, "base.gguf", 4, TRAIN_BASE_F32);
        open_trainer_kept(&kept, "base.gguf", 4, TRAIN_BASE_STORED);
        train(&wide, 2);
        train(&kept, 2);
        assert_below(ggml_type_name(types[i]), difference(trainers_logits(&kept), trainers_logits(&wide)),
                     2e-4);
        check(weights_write_merged(&kept.m, kept.file, "kept.gguf", MODEL_F32, NULL, &e), &e);
        assert_below("  merged",
                     difference(trainers_logits(&kept), llamas_logits(&kept, "kept.gguf", NULL, "f32")),
                     EXACT);
        close_trainer(&wide);
        close_trainer(&kept);
    }
}

static void train_and_export(const char *what, const struct tiny_gguf *model, double tolerance) {
    struct err e = {0};
    struct trainer t;
    check(tiny_gguf_write("base.gguf", model, &e), &e);
    open_trainer(&t, "base.gguf", 4);
    train(&t, 5);
    double moved = difference(trainers_logits(&t), llamas_logits(&t, "base.gguf", NULL, "f32"));
    print_message("%s, five steps away from the base: %.2g\n", what, moved);
    assert_true(moved > 1);
    check(weights_write_adapter(&t.m, t.file, "adapter.gguf", "1234", &e), &e);
    check(weights_write_merged(&t.m, t.file, "merged-f32.gguf", MODEL_F32, "1234", &e), &e);
    check(weights_write_merged(&t.m, t.file, "merged-f16.gguf", MODEL_F16, "1234", &e), &e);
    assert_below("  adapter",
                 difference(trainers_logits(&t), llamas_logits(&t, "base.gguf", "adapter.gguf", "f32")),
                 tolerance);
    assert_below("  merged F32",
                 difference(trainers_logits(&t), llamas_logits(&t, "merged-f32.gguf", NULL, "f32")),
                 tolerance);
    assert_below("  merged F16",
                 difference(trainers_logits(&t), llamas_logits(&t, "merged-f16.gguf", NULL, "f32")),
                 F16_WEIGHT + tolerance);
    close_trainer(&t);
}

static void test_what_is_exported_is_what_was_trained(void **state) {
    (void)state;
    train_and_export("llama", &(struct tiny_gguf){.seed = 1}, EXACT);
    train_and_export("qwen3", &(struct tiny_gguf){.seed = 2, .arch = "qwen3"}, EXACT);
    chosen = (struct nn_lora){.rank_stabilised = true, .first_layer = 1};
    train_and_export("rank-stabilised, on the last block", &(struct tiny_gguf){.seed = 5}, EXACT);
    chosen = (struct nn_lora){0};
    train_and_export("qwen2", &(struct tiny_gguf){.seed = 3, .arch = "qwen2"}, EXACT);
    train_and_export("gemma3", &(struct tiny_gguf){.seed = 4, .arch = "gemma3", .tied = true}, GELU_TABLE);
}

/* Largest relative L2 error over the adapters' gradients. */
static double gradients_apart(const struct trainer *x, const struct trainer *y) {
    double worst = 0;
    for (int i = 0; i < x->m.adapter.n_tensors; i++) {
        const struct nn_tensor *t = &x->m.adapter.tensors[i];
        double apart = 0, all = 0;
        for (int64_t j = t->offset; j < t->offset + t->rows * t->cols; j++) {
            double a = (double)x->m.adapter.gradient[j], b = (double)y->m.adapter.gradient[j];
            apart += (a - b) * (a - b);
            all += b * b;
        }
        double relative = all > 0 ? sqrt(apart / all) : sqrt(apart);
        worst = relative > worst || isnan(relative) ? relative : worst;
    }
    return worst;
}

static void pass_once(struct trainer *t) {
    struct err e = {0};
    nn_zero_gradients(&t->m);
    check(nn_forward_backward(&t->m, &t->r, &t->batch, N_TOKENS, NULL, &e), &e);
}

/* A base rounded to bfloat16 when it is read is the file that was rounded before: the same bits. Against the same values held as floats,
 * gradients differ by the order of sums alone. */
static void test_a_base_kept_in_bf16(void **state) {
    (void)state;
    struct err e = {0};
    struct trainer rounded, stored, wide;
    struct tiny_gguf model = {.seed = 21};
    check(tiny_gguf_write("wide.gguf", &model, &e), &e);
    model.type = GGML_TYPE_BF16;
    check(tiny_gguf_write("half.gguf", &model, &e), &e);
    open_trainer_kept(&rounded, "wide.gguf", 4, TRAIN_BASE_BF16);
    open_trainer_kept(&stored, "half.gguf", 4, TRAIN_BASE_STORED);
    open_trainer_kept(&wide, "half.gguf", 4, TRAIN_BASE_F32);
    pass_once(&rounded);
    pass_once(&stored);
    pass_once(&wide);
    assert_true(gradients_apart(&rounded, &stored) == 0);
    double apart = gradients_apart(&rounded, &wide);
    print_message("gradients of a base in bf16 against the same in floats: %.2g\n", apart);
    assert_true(apart < 1e-5);
    struct train_base_bytes bytes;
    check(weights_base_bytes(rounded.file, &bytes, &e), &e);
    assert_int_equal(rounded.m.storage_bytes, bytes.of[TRAIN_BASE_BF16]);
    assert_true(bytes.of[TRAIN_BASE_BF16] < bytes.of[TRAIN_BASE_STORED]);
    close_trainer(&rounded);
    close_trainer(&stored);
    close_trainer(&wide);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_agree_with_llama),
        cmocka_unit_test(test_a_packed_base_computes_the_same),
        cmocka_unit_test(test_a_base_kept_in_bf16),
        cmocka_unit_test(test_what_is_exported_is_what_was_trained),
    };
    struct err e = {0};
    scratch_enter();
    if (lm_backend_init(NULL, &e) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
