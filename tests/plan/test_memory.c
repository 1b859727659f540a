/* The parts of a running model's memory: what llama.cpp repacks for which processor, how it rounds the context, what the cache and
 * the logits take. The sums were set against measured peaks by make bench-planner. */
#include "plan/memory.h"

#include "catalog/catalog.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct shape qwen = {.arch = "qwen3",
                                  .n_layer = 28,
                                  .n_embd = 1024,
                                  .n_ff = 3072,
                                  .n_head = 16,
                                  .n_head_kv = 8,
                                  .head_dim = 128,
                                  .n_vocab = 151936,
                                  .tied = true,
                                  .qk_norm = true};

struct run {
    enum board_isa isa;
    enum mix mix;
    int64_t context, ubatch;
    enum plan_kv_type kv;
    int64_t label_tokens;
};

/* What of it is repacked goes to *repacked, which may be NULL. */
static struct memory_parts count(const struct run *r, double *repacked) {
    struct device_rates rates = {.isa = r->isa};
    struct predict_task task = {.label_tokens = r->label_tokens};
    const struct predict_input in = {.shape = &qwen,
                                     .mix = r->mix,
                                     .rates = &rates,
                                     .task = &task,
                                     .context = r->context,
                                     .ubatch = r->ubatch,
                                     .kv_type = r->kv,
                                     .label_scoring = true};
    struct mix_work work;
    mix_count(r->mix, &qwen, &work);
    if (repacked)
        *repacked = memory_repacked(&in);
    return memory_count(&in, &work);
}

static struct memory_parts parts(enum board_isa isa, enum mix mix, int64_t context, int64_t ubatch,
                                 enum plan_kv_type kv, int64_t label_tokens) {
    return count(&(struct run){isa, mix, context, ubatch, kv, label_tokens}, NULL);
}

/* On a Cortex-A53 nothing is repacked, with dot products nearly everything that is multiplied, on x86-64 what is Q4_K. The last was
 * read off llama.cpp's log: 91.69 MiB of this shape at Q3_K_M. A 32nd of the file at most is there twice. */
static void test_repacking(void **state) {
    (void)state;
    double repacked;
    struct memory_parts p = count(&(struct run){ISA_PLAIN, MIX_Q4_K_M, 512, 64, PLAN_KV_F16, 2}, &repacked);
    assert_true(repacked == 0 && p.twice == 0);
    p = count(&(struct run){ISA_DOTPROD, MIX_Q4_K_M, 512, 64, PLAN_KV_F16, 2}, &repacked);
    assert_true(repacked > 0.98 * p.weights && repacked <= p.weights && p.twice == p.weights / 32);
    count(&(struct run){ISA_X86, MIX_Q3_K_M, 512, 64, PLAN_KV_F16, 2}, &repacked);
    assert_true(fabs(repacked / (91.69 * 1048576) - 1) < 0.01);
    p = count(&(struct run){ISA_X86, MIX_Q8_0, 512, 64, PLAN_KV_F16, 2}, &repacked);
    assert_true(repacked == 0 && p.twice == 0);
}

/* llama.cpp's log of the same: 56 MiB at a context of 512, twice as much at 1,024, as much at 320 as at 512. */
static void test_cache(void **state) {
    (void)state;
    assert_true(parts(ISA_X86, MIX_Q8_0, 512, 64, PLAN_KV_F16, 2).cache == 56.0 * 1048576);
    assert_true(parts(ISA_X86, MIX_Q8_0, 1024, 64, PLAN_KV_F16, 2).cache == 112.0 * 1048576);
    assert_true(parts(ISA_X86, MIX_Q8_0, 320, 64, PLAN_KV_F16, 2).cache == 56.0 * 1048576);
    double rounded = parts(ISA_X86, MIX_Q8_0, 512, 64, PLAN_KV_Q8_0, 2).cache;
    assert_true(fabs(rounded / (56.0 * 1048576) - 17.0 / 32) < 1e-9);
}

/* Flash attention keeps no scores: what a block takes does not depend on the cache's type. 64 rows of logits take 37 MiB, twice, for
 * llama.cpp keeps a copy. */
static void test_compute(void **state) {
    (void)state;
    assert_true(parts(ISA_X86, MIX_Q8_0, 512, 128, PLAN_KV_F16, 8).compute ==
                parts(ISA_X86, MIX_Q8_0, 512, 128, PLAN_KV_Q8_0, 8).compute);
    assert_true(parts(ISA_X86, MIX_Q8_0, 1024, 64, PLAN_KV_F16, 64).compute > 2 * 37 * 1048576);
    assert_true(parts(ISA_X86, MIX_Q8_0, 512, 32, PLAN_KV_F16, 2).compute <
                parts(ISA_X86, MIX_Q8_0, 512, 128, PLAN_KV_F16, 2).compute);
}

/* Peaks of real runs here as the runner opens a file, random weights: context 512, micro-batch 64, eight rows. */
static void test_measured_peaks(void **state) {
    (void)state;
    static const struct {
        enum mix mix;
        double peak;
    } runs[] = {{MIX_Q4_K_M, 524.7e6}, {MIX_Q8_0, 753.4e6}, {MIX_Q3_K_M, 478.5e6}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct memory_parts p = parts(ISA_X86, runs[i].mix, 512, 64, PLAN_KV_F16, 8);
        if (fabs(memory_sum(&p) / runs[i].peak - 1) > 0.03)
            fail_msg("%s: %.1f MB planned, %.1f measured", mix_name(runs[i].mix), memory_sum(&p) / 1e6,
                     runs[i].peak / 1e6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repacking),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_compute),
        cmocka_unit_test(test_measured_peaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
