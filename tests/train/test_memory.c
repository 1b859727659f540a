/* The plan of a run's memory: what it says against what the process then takes, and what it does when there is little. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"
#include "tensor/count.h"
#include "train/host/weights.h"
#include "train/loop.h"

#define BASE "base.gguf"

static const int32_t head[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, no[] = {14, 16}, yes[] = {15, 16};
static const struct token_span answers[] = {{no, 2}, {yes, 2}};
static const struct dataset_form form = {.head = {head, 12}, .answers = answers, .n_labels = 2};

static struct model_config config_of(void) {
    return (struct model_config){.n_layer = 6,
                                 .d_model = 256,
                                 .n_heads = 4,
                                 .n_kv_heads = 2,
                                 .head_dim = 64,
                                 .d_ff = 1024,
                                 .n_vocab = 8192,
                                 .n_ctx = 256,
                                 .rope_theta = 10000,
                                 .norm_eps = 1e-5f};
}

static void make_rows(struct dataset *d, int64_t n) {
    struct err e = {0};
    *d = (struct dataset){.form = &form};
    for (int64_t i = 0; i < n; i++) {
        int32_t ids[100];
        struct dataset_row row = {.id = i, .n = 100, .label = (int32_t)(i % 2), .weight = 1};
        for (int j = 0; j < row.n; j++)
            ids[j] = (int32_t)((i * 31 + j * 7) % 8000 + 20);
        assert_int_equal(dataset_add(d, &row, ids, 256, &e), 0);
    }
}

struct outcome {
    double planned, taken;
};

/* A base in floats from nowhere, or rounded to bfloat16 from a file of floats. */
static int make_base(struct nn_model *m, const struct ops *ops, struct rng *rng, bool bf16, struct err *e) {
    struct model_config c = config_of();
    struct model_file *f = NULL;
    if (!bf16)
        return nn_model_init(m, &c, ops, e) < 0 || nn_model_randomise(m, rng, e) < 0 ? -1 : 0;
    int rc = model_file_open(&f, BASE, e);
    if (rc == 0)
        rc = model_file_config(f, &c, e);
    if (rc == 0)
        rc = nn_model_init_packed(m, &c, ops, e);
    if (rc == 0)
        rc = weights_load_bf16(m, f, e);
    model_file_close(f);
    return rc;
}

/* In a child: everything between the first weight and the last step. */
static int child_main(int to, bool bf16) {
    struct ops ops;
    struct ops_rate rate;
    struct nn_model m;
    struct rng rng;
    struct err e = {0};
    struct dataset train, validation;
    struct train_result r;
    struct train_settings s = {
        .epochs = 1, .batch_rows = 32, .learning_rate = 1e-3f, .schedule = SCHEDULE_COSINE, .seed = 1};
    struct train_files files = {"m.ckpt", "m.best", "m.log"};
    rng_seed(&rng, 1);
    make_rows(&train, 40);
    make_rows(&validation, 4);
    if (ops_open_cpu(&ops, 2, &e) < 0 ||
        ops_measure_product(&ops, 512, 512, 512, 1, &rate, &e) < 0) /* the BLAS's own buffers */
        return 1;
    double before = (double)mem_peak_bytes();
    if (make_base(&m, &ops, &rng, bf16, &e) < 0 ||
        nn_model_add_lora(&m, &(struct nn_lora){.rank = 16, .alpha = 32}, &rng, &e) < 0 ||
        train_run(&m, &train, &validation, &s, &files, NULL, &r, &e) < 0)
        return 1;
    struct outcome o = {(double)r.memory_bytes, (double)mem_peak_bytes() - before};
    return write(to, &o, sizeof o) == sizeof o ? 0 : 1;
}

/* Within 5%, as promised. Measured: 0.8% above the plan. */
static void compare_plan(bool bf16) {
#ifdef EDGESTILL_DEBUG
    print_message("skipped: a sanitizer's own memory stands in the measurement\n");
    skip();
#endif
    int ends[2], status;
    struct outcome o = {0};
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_main(ends[1], bf16));
    close(ends[1]);
    assert_int_equal(read(ends[0], &o, sizeof o), sizeof o);
    close(ends[0]);
    waitpid(pid, &status, 0);
    print_message("planned %.1f MB, taken %.1f MB\n", o.planned / 1e6, o.taken / 1e6);
    assert_true(fabs(o.taken / o.planned - 1) < 0.05);
}

static void test_the_plan_is_what_is_taken(void **state) {
    (void)state;
    compare_plan(false);
}

static void test_the_plan_with_a_base_in_bf16(void **state) {
    (void)state;
    struct err e = {0};
    struct model_config c = config_of();
    assert_int_equal(
        tiny_gguf_write(
            BASE,
            &(struct tiny_gguf){.n_layer = c.n_layer, .n_ff = c.d_ff, .n_vocab = c.n_vocab, .n_ctx = c.n_ctx},
            &e),
        0);
    compare_plan(true);
}

static struct train_need need_of(void) {
    return (struct train_need){
        .longest = 254, .shared = 150, .step_tokens = 64 * 104, .targets_per_token = 0.04};
}

/* Less memory: fewer tokens at once first, then blocks computed again, then fewer tokens still. */
static void test_what_gives_way(void **state) {
    (void)state;
    struct model_config c = config_of();
    c.n_layer = 22;
    c.d_model = 2048;
    c.n_heads = 32;
    c.d_ff = 5632;
    const struct nn_model m = {.config = c, .lora = {.rank = 16, .alpha = 32}, .packed = true};
    const int64_t gib = 1 << 30;
    struct train_need need = need_of();
    struct train_memory rich, middling, poor;
    train_memory_plan(&m, 2 * gib, &need, 512 * gib, &rich);
    train_memory_plan(&m, 2 * gib, &need, 16 * gib, &middling);
    train_memory_plan(&m, 2 * gib, &need, 4 * gib, &poor);
    assert_int_equal(rich.limits.n_tokens, 4096);
    assert_int_equal(rich.limits.n_recompute, 0);
    assert_true(middling.limits.n_tokens < 4096 && middling.limits.n_tokens >= 512);
    assert_int_equal(middling.limits.n_recompute, 0);
    assert_true(poor.limits.n_recompute > 0);
    assert_true(rich.run_bytes > middling.run_bytes && middling.run_bytes > poor.run_bytes);
    assert_true(poor.total_bytes < 4 * gib / 5 * 4);
    assert_true(rich.total_bytes == rich.base_bytes + rich.trained_bytes + rich.run_bytes);
    need.micro_tokens = 700; /* as wished, whatever it takes */
    train_memory_plan(&m, 2 * gib, &need, 4 * gib, &poor);
    assert_int_equal(poor.limits.n_tokens, 700);
}

/* Bytes of `params` weights whose file has `bits` for each. */
static struct train_base_bytes bytes_of(int64_t params, int64_t bits) {
    return (struct train_base_bytes){{[TRAIN_BASE_F32] = 4 * params,
                                      [TRAIN_BASE_BF16] = 2 * params,
                                      [TRAIN_BASE_STORED] = params * bits / 8}};
}

static void test_how_a_base_is_kept(void **state) {
    (void)state;
    struct nn_model m = {.config = config_of(), .lora = {.rank = 16, .alpha = 32}};
    const int64_t gib = 1 << 30, large = 1100000000, small = 3000000;
    const struct train_need need = need_of();
    const struct {
        int64_t params, bits, memory;
        int rank;
        enum train_base kept;
    } cases[] = {
        {small, 32, 64 * gib, 16, TRAIN_BASE_F32},    {large, 16, 64 * gib, 16, TRAIN_BASE_STORED},
        {large, 32, 64 * gib, 16, TRAIN_BASE_STORED}, {large, 32, 5 * gib, 16, TRAIN_BASE_BF16},
        {large, 5, 2 * gib, 16, TRAIN_BASE_STORED},   {large, 32, 0, 16, TRAIN_BASE_STORED},
        {large, 32, 64 * gib, 0, TRAIN_BASE_F32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_base_bytes bytes = bytes_of(cases[i].params, cases[i].bits);
        m.lora.rank = cases[i].rank;
        assert_int_equal(train_base_choose(&m, &bytes, &need, cases[i].memory), cases[i].kept);
    }
    for (int b = 0; b < TRAIN_N_BASES; b++)
        assert_int_equal(train_base_find(train_base_name((enum train_base)b)), b);
    assert_int_equal(train_base_find("f64"), -1);
}

/* TinyLlama's shape, from much memory to none: the least change that fits is named, with what it takes. */
static void test_what_would_fit_is_named(void **state) {
    (void)state;
    struct nn_model m = {.config = config_of(), .lora = {.rank = 16, .alpha = 32}};
    m.config.n_layer = 22;
    m.config.d_model = 2048;
    m.config.n_heads = 32;
    m.config.d_ff = 5632;
    const struct train_base_bytes bytes = bytes_of(1100000000, 5);
    const struct train_need need = need_of();
    const int64_t mb = 1000000, total = 8000 * mb;
    struct train_way way;
    char text[128], alone[128];
    const struct {
        int64_t available;
        int rank;
        const char *words;
    } cases[] = {
        {100000 * mb, 16, "--base-memory f32 takes "},
        {4300 * mb, 16, "--base-memory bf16 takes "},
        {100000 * mb, 0, "a plan with the method lora and --base-memory f32 takes "},
        {2800 * mb, 16, "--base-memory stored takes "},
        {1500 * mb, 16, "--base-memory stored --layers "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        m.lora.rank = cases[i].rank;
        bool fits = train_memory_fit(&m, &bytes, &need, total, cases[i].available, &way);
        print_message("%s\n", train_way_text(text, sizeof text, &m, &way));
        assert_true(fits && way.memory.total_bytes < cases[i].available);
        assert_memory_equal(text, cases[i].words, strlen(cases[i].words));
    }
    m.lora.rank = 16;
    assert_false(train_memory_fit(&m, &bytes, &need, total, 100 * mb, &way));
    print_message("the least: %s\n", train_way_text(alone, sizeof alone, &m, &way));
    assert_non_null(strstr(alone, "--base-memory stored"));
    m.lora.first_layer = 22 - way.n_layers; /* what is named is what is planned then */
    m.packed = true;
    struct train_memory planned;
    train_memory_plan(&m, bytes.of[way.kept], &need, total, &planned);
    assert_int_equal(planned.total_bytes, way.memory.total_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_plan_is_what_is_taken),
        cmocka_unit_test(test_the_plan_with_a_base_in_bf16),
        cmocka_unit_test(test_what_gives_way),
        cmocka_unit_test(test_how_a_base_is_kept),
        cmocka_unit_test(test_what_would_fit_is_named),
    };
    scratch_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
