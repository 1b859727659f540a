/* The decoder: gradients against finite differences, the CPU table against the reference, a packed batch against its
 * sequences one by one, the merged weights against the adapter. One table of variants drives all of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_model.h"

struct toy {
    struct ops ops;
    struct nn_model m;
    struct nn_run r;
};

static void open_toy(struct toy *t, const struct toy_variant *v, bool fast) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_variant_config(v);
    rng_seed(&rng, 1);
    assert_int_equal(fast ? ops_open_cpu(&t->ops, 2, &e) : ops_open_ref(&t->ops, &e), 0);
    assert_int_equal(nn_model_init(&t->m, &c, &t->ops, &e), 0);
    if (v->lora)
        assert_int_equal(nn_model_add_lora(&t->m, &(struct nn_lora){.rank = 3, .alpha = 4}, &rng, &e), 0);
    else
        assert_int_equal(nn_model_train_all(&t->m, &e), 0);
    toy_fill(&t->m, 7, 0.3f);
    /* fewer logits at once than targets, so that the head works in several blocks */
    assert_int_equal(
        nn_run_init(&t->r, &t->m, &(struct nn_limits){.n_tokens = TOY_TOKENS, .head_rows = 7}, &e), 0);
}

static void close_toy(struct toy *t) {
    nn_run_release(&t->r);
    nn_model_release(&t->m);
    t->ops.close(&t->ops);
}

static double loss_of(struct toy *t, const struct nn_batch *b) {
    float rows[TOY_TOKENS];
    struct err e = {0};
    double sum = 0;
    assert_int_equal(nn_forward_loss(&t->m, &t->r, b, rows, &e), 0);
    for (int64_t i = 0, n = 0; i < b->n_tokens; i++)
        if (b->target[i] >= 0)
            sum += (double)rows[n++];
    return sum;
}

static double *gradient_of(struct toy *t, const struct nn_batch *b, double divisor, double *loss) {
    const struct nn_set *s = t->m.trained;
    float *g = malloc((size_t)s->n_values * sizeof *g);
    double *wide = malloc((size_t)s->n_values * sizeof *wide);
    struct err e = {0};
    nn_zero_gradients(&t->m);
    assert_int_equal(nn_forward_backward(&t->m, &t->r, b, divisor, loss, &e), 0);
    t->ops.download(&t->ops, g, s->gradient, (size_t)s->n_values * sizeof *g);
    for (int64_t i = 0; i < s->n_values; i++)
        wide[i] = (double)g[i];
    free(g);
    return wide;
}

/* Along a random direction within each tensor, by the five-point rule with h = 0.01. Measured over all tensors of all
 * variants: worst 4.8e-4 of the tensor's slopes, from float's rounding of the loss (1e-6 / h). */
static double slope_error(struct toy *t, const struct toy_batch *b, const struct nn_tensor *tensor,
                          const double *g, struct rng *rng) {
    int64_t n = tensor->rows * tensor->cols;
    float *w = t->m.trained->value + tensor->offset, *kept = malloc((size_t)n * sizeof *kept);
    double *direction = malloc((size_t)n * sizeof *direction), exact = 0, norm = 0, f[5];
    memcpy(kept, w, (size_t)n * sizeof *kept);
    for (int64_t i = 0; i < n; i++) {
        direction[i] = rng_normal(rng) / sqrt((double)n);
        exact += direction[i] * g[tensor->offset + i] * b->weight_sum;
        norm += pow(g[tensor->offset + i] * b->weight_sum, 2);
    }
    for (int step = -2; step <= 2; step++) {
        for (int64_t i = 0; i < n; i++)
            w[i] = (float)((double)kept[i] + 0.01 * step * direction[i]);
        f[step + 2] = loss_of(t, &b->batch);
    }
    memcpy(w, kept, (size_t)n * sizeof *kept);
    free(kept);
    free(direction);
    double numeric = (8 * (f[3] - f[1]) - (f[4] - f[0])) / 0.12;
    return fabs(numeric - exact) / (sqrt(norm / (double)n) + fabs(exact) + 1e-2);
}

static void test_gradients_are_the_slopes_of_the_loss(void **state) {
    (void)state;
    for (int i = 0; i < toy_n_variants; i++) {
        struct toy t;
        struct toy_batch b;
        struct rng rng;
        double worst = 0;
        rng_seed(&rng, 3);
        open_toy(&t, &toy_variants[i], false);
        toy_batch(&b, &t.m, 11);
        double *g = gradient_of(&t, &b.batch, b.weight_sum, NULL);
        for (int k = 0; k < t.m.trained->n_tensors; k++) {
            double d = slope_error(&t, &b, &t.m.trained->tensors[k], g, &rng);
            if (!(d < 1e-3))
                fail_msg("%s: %s is off by %g", toy_variants[i].name, t.m.trained->tensors[k].name, d);
            worst = fmax(worst, d);
        }
        print_message("%s: worst %.2g\n", toy_variants[i].name, worst);
        free(g);
        close_toy(&t);
    }
}

/* Relative to the root mean square of the tensor set. Measured at worst, sums in float against sums in double: 2e-6 with
 * OpenBLAS's AVX-512 kernels, 1.2e-5 with those it has for AVX2. */
static const double FLOAT_SUMS = 3e-5;

static void assert_close(const char *what, const double *x, const double *y, int64_t n, double tolerance) {
    double squares = 0, worst = 0;
    for (int64_t i = 0; i < n; i++)
        squares += y[i] * y[i];
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(x[i] - y[i]) / (sqrt(squares / (double)n) + fabs(y[i])));
    if (!(worst <= tolerance))
        fail_msg("%s: off by %g", what, worst);
}

static void test_fast_agrees_with_reference(void **state) {
    (void)state;
    for (int i = 0; i < toy_n_variants; i++) {
        struct toy plain, fast;
        struct toy_batch b;
        double loss[2];
        open_toy(&plain, &toy_variants[i], false);
        open_toy(&fast, &toy_variants[i], true);
        toy_batch(&b, &plain.m, 5);
        double *g = gradient_of(&plain, &b.batch, b.weight_sum, &loss[0]);
        double *h = gradient_of(&fast, &b.batch, b.weight_sum, &loss[1]);
        assert_true(fabs(loss[0] / loss[1] - 1) < 1e-6);
        assert_close(toy_variants[i].name, h, g, plain.m.trained->n_values, FLOAT_SUMS);
        free(g);
        free(h);
        close_toy(&plain);
        close_toy(&fast);
    }
}

/* Sequence s of a batch as a batch of its own. */
static struct nn_batch alone(const struct toy_batch *b, int s, int32_t start[2]) {
    int32_t at = b->start[s];
    start[0] = 0;
    start[1] = b->start[s + 1] - at;
    return (struct nn_batch){.n_tokens = start[1],
                             .token = b->token + at,
                             .position = b->position + at,
                             .target = b->target + at,
                             .weight = b->weight + at,
                             .n_seq = 1,
                             .start = start};
}

static void test_packing_changes_nothing(void **state) {
    (void)state;
    struct toy t;
    struct toy_batch b;
    struct err e = {0};
    double loss, sum = 0, part;
    open_toy(&t, &toy_variants[1], true);
    toy_batch(&b, &t.m, 21);
    double *g = gradient_of(&t, &b.batch, b.weight_sum, &loss);
    nn_zero_gradients(&t.m);
    for (int s = 0; s < TOY_SEQUENCES; s++) {
        int32_t start[2];
        struct nn_batch one = alone(&b, s, start);
        int n = 0;
        for (int64_t i = 0; i < one.n_tokens; i++)
            n += one.target[i] >= 0;
        if (n == 0)
            continue;
        assert_int_equal(nn_forward_backward(&t.m, &t.r, &one, b.weight_sum, &part, &e), 0);
        sum += part;
    }
    int64_t n = t.m.base.n_values;
    double *h = malloc((size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        h[i] = (double)t.m.base.gradient[i];
    assert_true(fabs(sum / loss - 1) < 1e-6);
    assert_close("packed against one by one", h, g, n, 1e-5);
    free(g);
    free(h);
    close_toy(&t);
}

static void test_merged_weights_give_the_adapters_loss(void **state) {
    (void)state;
    struct toy adapted, merged;
    struct toy_batch b;
    struct err e = {0};
    open_toy(&adapted, &toy_variants[4], false);
    open_toy(&merged, &toy_variants[1], false);
    toy_batch(&b, &adapted.m, 31);
    for (int i = 0; i < adapted.m.base.n_tensors; i++) {
        const struct nn_tensor *t = &adapted.m.base.tensors[i];
        float *w = malloc((size_t)(t->rows * t->cols) * sizeof *w);
        assert_int_equal(nn_model_merged(&adapted.m, t, w, &e), 0);
        nn_set_write(&merged.m, &merged.m.base, nn_set_find(&merged.m.base, t->name), w);
        free(w);
    }
    double x = loss_of(&adapted, &b.batch), y = loss_of(&merged, &b.batch);
    assert_true(fabs(x / y - 1) < 1e-6); /* measured 2e-8 */
    close_toy(&adapted);
    close_toy(&merged);
}

static void test_fresh_adapters_change_nothing(void **state) {
    (void)state;
    struct toy t, base;
    struct toy_batch b;
    struct rng rng;
    struct err e = {0};
    open_toy(&base, &toy_variants[0], true);
    open_toy(&t, &toy_variants[0], true);
    toy_batch(&b, &t.m, 2);
    rng_seed(&rng, 5);
    assert_int_equal(nn_model_add_lora(&t.m, &(struct nn_lora){.rank = 2, .alpha = 2}, &rng, &e), 0);
    nn_run_release(&t.r);
    struct nn_limits forward = {.n_tokens = TOY_TOKENS, .forward_only = true};
    assert_int_equal(nn_run_init(&t.r, &t.m, &forward, &e), 0);
    double with = loss_of(&t, &b.batch), without = loss_of(&base, &b.batch);
    /* a product may round otherwise where its matrix lies otherwise: 1e-8 with OpenBLAS's kernels for AVX2, else nothing */
    if (fabs(with / without - 1) > 1e-7)
        fail_msg("%.17g with fresh adapters, %.17g without", with, without);
    close_toy(&t);
    close_toy(&base);
}

static void test_refusals(void **state) {
    (void)state;
    struct toy t;
    struct toy_batch b;
    struct err e = {0};
    struct ops ops;
    struct nn_model m;
    struct model_config bad = toy_config();
    open_toy(&t, &toy_variants[0], true);
    toy_batch(&b, &t.m, 2);
    assert_int_equal(nn_batch_check(&t.m, &b.batch, &e), 0);
    b.token[3] = 23;
    assert_int_equal(nn_batch_check(&t.m, &b.batch, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "token 3"));
    err_clear(&e);
    b.token[3] = 0;
    b.position[5] = 32;
    assert_int_equal(nn_batch_check(&t.m, &b.batch, &e), ERR_INPUT);
    err_clear(&e);
    for (int i = 0; i < TOY_TOKENS; i++)
        b.target[i] = -1;
    assert_int_equal(nn_forward_backward(&t.m, &t.r, &b.batch, 1, NULL, &e), ERR_INPUT);
    err_clear(&e);
    struct nn_run none;
    assert_int_equal(nn_run_init(&none, &t.m, &(struct nn_limits){.n_tokens = 0}, &e), ERR_INPUT);
    err_clear(&e);
    t.m.trained = NULL; /* a frozen head is cut into blocks by the number of rows */
    assert_int_equal(nn_run_init(&none, &t.m, &(struct nn_limits){.n_tokens = 0}, &e), ERR_INPUT);
    err_clear(&e);
    bad.n_heads = 5;
    assert_int_equal(ops_open_ref(&ops, &e), 0);
    assert_int_equal(nn_model_init(&m, &bad, &ops, &e), ERR_UNSUPPORTED);
    err_clear(&e);
    bad.n_heads = bad.n_kv_heads = 1 << 24; /* each number is possible, their product is not */
    bad.head_dim = 512;
    assert_int_equal(nn_model_init(&m, &bad, &ops, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "heads of 512"));
    close_toy(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_the_slopes_of_the_loss),
        cmocka_unit_test(test_fast_agrees_with_reference),
        cmocka_unit_test(test_packing_changes_nothing),
        cmocka_unit_test(test_merged_weights_give_the_adapters_loss),
        cmocka_unit_test(test_fresh_adapters_change_nothing),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
