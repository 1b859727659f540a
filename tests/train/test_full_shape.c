/* The trainer against llama.cpp on the full shapes of TinyLlama-1.1B and Qwen3-0.6B, random weights, F32 and quantised. Files of
 * gigabytes and 5 minutes of processor time: make soak alone. FULL_SHAPE_LAYERS=2 for a look at cut ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "llama/lm.h"
#include "train/host/weights.h"

enum { N_TOKENS = 48 };

static void check(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

/* Logits [N_TOKENS, n_vocab] by the trainer, its base kept as the file has it. */
static float *trainers_logits(const char *path, const int32_t *token, int n_vocab) {
    struct err e = {0};
    struct ops ops;
    struct model_file *f;
    struct model_config c;
    struct nn_model m;
    struct nn_run run;
    int32_t position[N_TOKENS], start[2] = {0, N_TOKENS};
    float *logits = malloc(sizeof *logits * N_TOKENS * (size_t)n_vocab);
    assert_non_null(logits);
    for (int i = 0; i < N_TOKENS; i++)
        position[i] = i;
    check(ops_open_cpu(&ops, 0, &e), &e);
    check(model_file_open(&f, path, &e), &e);
    check(model_file_config(f, &c, &e), &e);
    check(nn_model_init_packed(&m, &c, &ops, &e), &e);
    check(weights_load(&m, f, &e), &e);
    nn_model_freeze(&m);
    check(nn_run_init(&run, &m, &(struct nn_limits){.n_tokens = N_TOKENS, .forward_only = true}, &e), &e);
    struct nn_batch b = {.n_tokens = N_TOKENS,
                         .token = token,
                         .position = position,
                         .target = token,
                         .n_seq = 1,
                         .start = start};
    check(nn_forward_logits(&m, &run, &b, logits, &e), &e);
    nn_run_release(&run);
    nn_model_release(&m);
    model_file_close(f);
    ops.close(&ops);
    return logits;
}

static float *llamas_logits(const char *path, const int32_t *token, int n_vocab) {
    struct err e = {0};
    struct lm *m = NULL;
    float *logits = malloc(sizeof *logits * N_TOKENS * (size_t)n_vocab);
    assert_non_null(logits);
    check(lm_open(&m, path, &(struct lm_options){.n_ctx = 64, .logits_all_rows = true, .kv_type = "f32"}, &e),
          &e);
    check(lm_logits(m, token, N_TOKENS, logits, &e), &e);
    lm_free(m);
    return logits;
}

/* Largest and root mean square difference, as shares of the root mean square of y. */
static void compare(const float *x, const float *y, int64_t n, double *worst, double *mean) {
    double squares = 0, apart = 0;
    *worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        squares += (double)y[i] * (double)y[i];
        apart += d * d;
        *worst = d > *worst || isnan(d) ? d : *worst;
    }
    *mean = sqrt(apart / squares);
    *worst /= sqrt(squares / (double)n);
}

/* F32: rounding of sums over 22 and 28 blocks. Q8_0: llama.cpp rounds activations to 8 bits there, the trainer does not; random
 * weights magnify that more than trained ones. */
static const struct {
    const char *name;
    struct tiny_gguf model;
    double tolerance;
} cases[] = {
    {"TinyLlama-1.1B F32",
     {.n_layer = 22, .n_embd = 2048, .n_head = 32, .n_kv = 4, .n_ff = 5632, .n_vocab = 32000, .seed = 1},
     1e-3},
    {"TinyLlama-1.1B Q8_0",
     {.n_layer = 22,
      .n_embd = 2048,
      .n_head = 32,
      .n_kv = 4,
      .n_ff = 5632,
      .n_vocab = 32000,
      .seed = 1,
      .type = GGML_TYPE_Q8_0},
     0.5},
    {"Qwen3-0.6B F32",
     {.arch = "qwen3",
      .n_layer = 28,
      .n_embd = 1024,
      .n_head = 16,
      .n_kv = 8,
      .head_dim = 128,
      .n_ff = 3072,
      .n_vocab = 151936,
      .rope_base = 1e6f,
      .rms_epsilon = 1e-6f,
      .tied = true,
      .seed = 2},
     1e-3},
    {"Qwen3-0.6B Q8_0",
     {.arch = "qwen3",
      .n_layer = 28,
      .n_embd = 1024,
      .n_head = 16,
      .n_kv = 8,
      .head_dim = 128,
      .n_ff = 3072,
      .n_vocab = 151936,
      .rope_base = 1e6f,
      .rms_epsilon = 1e-6f,
      .tied = true,
      .seed = 2,
      .type = GGML_TYPE_Q8_0},
     0.5},
};

static void test_logits_agree_at_full_size(void **state) {
    (void)state;
    const char *soak = getenv("EDGESTILL_SOAK"), *cut = getenv("FULL_SHAPE_LAYERS");
    if (!cut && !(soak && strcmp(soak, "1") == 0)) {
        print_message("skipped: gigabytes and minutes; make soak\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct tiny_gguf model = cases[i].model;
        int32_t token[N_TOKENS];
        double worst, mean;
        model.n_layer = cut ? atoi(cut) : model.n_layer;
        for (int t = 0; t < N_TOKENS; t++)
            token[t] = (t * 7919 + 13) % 1000;
        check(tiny_gguf_write("full.gguf", &model, &e), &e);
        float *ours = trainers_logits("full.gguf", token, model.n_vocab);
        float *theirs = llamas_logits("full.gguf", token, model.n_vocab);
        compare(ours, theirs, (int64_t)N_TOKENS * model.n_vocab, &worst, &mean);
        print_message("%-24s largest %.2g, root mean square %.2g of the logits'\n", cases[i].name, worst,
                      mean);
        assert_true(worst < cases[i].tolerance);
        free(ours);
        free(theirs);
        unlink("full.gguf");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits_agree_at_full_size)};
    struct err e = {0};
    scratch_enter();
    if (lm_backend_init(NULL, &e) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
