/* The optimiser: schedule, clipping, decay, refusals; that it learns; that a step makes no heap call. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_model.h"
#include "train/optimizer.h"

/* Heap calls of the whole process, BLAS and threads included. The sanitizers bring a malloc of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define HEAP_COUNTED 0
static int64_t heap_calls;
#else
#define HEAP_COUNTED 1
static _Atomic int64_t heap_calls;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n) {
    heap_calls++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    heap_calls++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    heap_calls++;
    return __libc_realloc(p, n);
}
#endif

struct setup {
    struct ops ops;
    struct nn_model m;
    struct nn_run r;
    struct optimizer o;
    struct toy_batch b;
};

static void begin(struct setup *s, bool lora, const struct optimizer_options *options) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_config();
    rng_seed(&rng, 1);
    assert_int_equal(ops_open_cpu(&s->ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&s->m, &c, &s->ops, &e), 0);
    assert_int_equal(nn_model_randomise(&s->m, &rng, &e), 0);
    if (lora)
        assert_int_equal(nn_model_add_lora(&s->m, &(struct nn_lora){.rank = 4, .alpha = 8}, &rng, &e), 0);
    else
        assert_int_equal(nn_model_train_all(&s->m, &e), 0);
    assert_int_equal(nn_run_init(&s->r, &s->m, &(struct nn_limits){.n_tokens = TOY_TOKENS}, &e), 0);
    assert_int_equal(optimizer_init(&s->o, &s->m, options, &e), 0);
    toy_batch(&s->b, &s->m, 9);
}

static void end(struct setup *s) {
    optimizer_release(&s->o);
    nn_run_release(&s->r);
    nn_model_release(&s->m);
    s->ops.close(&s->ops);
}

static double step(struct setup *s, struct optimizer_report *report) {
    struct err e = {0};
    double loss;
    nn_zero_gradients(&s->m);
    assert_int_equal(nn_forward_backward(&s->m, &s->r, &s->b.batch, s->b.weight_sum, &loss, &e), 0);
    assert_int_equal(optimizer_step(&s->o, report, &e), 0);
    return loss / s->b.weight_sum;
}

static void test_schedule(void **state) {
    (void)state;
    struct optimizer_options o = {
        .learning_rate = 2, .warmup_steps = 4, .total_steps = 14, .final_fraction = 0.1f};
    assert_true(schedule_rate(&o, 1) == 0.5f);
    assert_true(schedule_rate(&o, 4) == 2);
    assert_true(schedule_rate(&o, 1000) == 2);
    o.schedule = SCHEDULE_LINEAR;
    assert_true(fabsf(schedule_rate(&o, 9) - 1.1f) < 1e-6f);
    o.schedule = SCHEDULE_COSINE;
    assert_true(fabsf(schedule_rate(&o, 9) - 1.1f) < 1e-6f);
    assert_true(schedule_rate(&o, 6) > 1.8f);
    assert_true(fabsf(schedule_rate(&o, 14) - 0.2f) < 1e-6f);
    assert_true(fabsf(schedule_rate(&o, 99) - 0.2f) < 1e-6f);
}

static void learn(bool lora, float rate, int n_steps) {
    struct setup s;
    begin(&s, lora, &(struct optimizer_options){.learning_rate = rate});
    if (lora) /* a frozen head of small random weights could not tell tokens apart */
        toy_fill(&s.m, 3, 0.5f);
    double first = step(&s, NULL), last = first;
    for (int i = 1; i < n_steps; i++)
        last = step(&s, NULL);
    if (!lora)
        assert_true(fabs(first - log(23)) < 0.1); /* random weights know nothing of 23 tokens */
    assert_true(last < first * 0.5);
    end(&s);
}

static void test_it_learns_by_heart(void **state) {
    (void)state;
    learn(false, 1e-2f, 60);
    learn(true, 5e-2f, 120);
}

static void test_clipping_limits_the_norm(void **state) {
    (void)state;
    struct setup s;
    struct optimizer_report report;
    begin(&s, false, &(struct optimizer_options){.learning_rate = 1e-9f, .clip_norm = 1e-3f});
    step(&s, &report);
    assert_true(report.clipped && report.gradient_norm > 1e-3);
    double moment = sqrt(s.ops.sum_squares(&s.ops, s.o.m, s.m.base.n_values));
    assert_true(fabs(moment / (0.1 * 1e-3) - 1) < 1e-3); /* (1 - beta1) times the clipped gradient */
    end(&s);
}

static void test_norms_do_not_decay(void **state) {
    (void)state;
    struct setup s;
    struct err e = {0};
    begin(&s, false, &(struct optimizer_options){.learning_rate = 0.1f, .weight_decay = 0.5f});
    const struct nn_tensor *norm = nn_set_find(&s.m.base, "output_norm.weight");
    const struct nn_tensor *matrix = nn_set_find(&s.m.base, "blk.1.ffn_up.weight");
    float w = s.m.base.value[matrix->offset + 5];
    nn_zero_gradients(&s.m);
    assert_int_equal(optimizer_step(&s.o, NULL, &e), 0);
    assert_true(s.m.base.value[norm->offset] == 1);
    assert_true(fabsf(s.m.base.value[matrix->offset + 5] - 0.95f * w) < 1e-7f);
    end(&s);
}

static void test_nan_stops_before_the_weights_are_touched(void **state) {
    (void)state;
    struct setup s;
    struct err e = {0};
    begin(&s, false, &(struct optimizer_options){.learning_rate = 0.1f});
    float w = s.m.base.value[3];
    nn_zero_gradients(&s.m);
    s.m.base.gradient[7] = NAN;
    assert_int_equal(optimizer_step(&s.o, NULL, &e), ERR_DIVERGED);
    assert_non_null(strstr(e.message, "step 1"));
    assert_true(s.m.base.value[3] == w && s.o.step == 0);
    end(&s);
}

static void test_a_step_makes_no_heap_call(void **state) {
    (void)state;
    if (!HEAP_COUNTED) {
        print_message("skipped: this build has a malloc of its own\n");
        skip();
    }
    struct setup s;
    begin(&s, true, &(struct optimizer_options){.learning_rate = 1e-3f});
    step(&s, NULL); /* the first may: BLAS takes its buffers */
    int64_t before = heap_calls;
    for (int i = 0; i < 3; i++)
        step(&s, NULL);
    assert_int_equal(heap_calls, before);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_it_learns_by_heart),
        cmocka_unit_test(test_clipping_limits_the_norm),
        cmocka_unit_test(test_norms_do_not_decay),
        cmocka_unit_test(test_nan_stops_before_the_weights_are_touched),
        cmocka_unit_test(test_a_step_makes_no_heap_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
