/* A teacher's further tokens beside the target: loss and gradients are those of the targets one by one, each with its weight. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_model.h"

enum { K = 3, ALL = NN_PLAIN_LAST | NN_PLAIN_LOGITS | NN_PLAIN_INPUT | NN_PLAIN_VOCABULARY | NN_PLAIN_LORA };

/* Relative L2 error of a tensor's gradient; the sums come in other orders. Measured: 1.1e-6 at worst. */
#define TOLERANCE 1e-5

struct setting {
    const char *name;
    unsigned plain;
    int64_t head_cols;
};
static const struct setting settings[] = {
    {"every saving", 0, 0}, {"vocabulary in blocks", 0, 7}, {"nothing saved", ALL, 0}};

struct rig {
    struct ops ops;
    struct nn_model m;
    struct nn_run r;
    struct toy_batch b;
    int32_t target[TOY_TOKENS], other[TOY_TOKENS * K];
    float other_weight[TOY_TOKENS * K];
};

static void open_rig(struct rig *g, const struct toy_variant *v, const struct setting *s, int n_others) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_variant_config(v);
    rng_seed(&rng, 1);
    *g = (struct rig){0};
    assert_int_equal(ops_open_cpu(&g->ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&g->m, &c, &g->ops, &e), 0);
    toy_fill(&g->m, 7, 0.3f);
    if (v->lora)
        assert_int_equal(nn_model_add_lora(&g->m, &(struct nn_lora){.rank = 3, .alpha = 4}, &rng, &e), 0);
    else
        assert_int_equal(nn_model_train_all(&g->m, &e), 0);
    struct nn_limits limits = {.n_tokens = TOY_TOKENS,
                               .plain = s->plain,
                               .head_rows = 5,
                               .head_cols = s->head_cols,
                               .n_others = n_others};
    assert_int_equal(nn_run_init(&g->r, &g->m, &limits, &e), 0);
    toy_batch(&g->b, &g->m, 17);
    for (int t = 0; t < TOY_TOKENS; t++) {
        g->target[t] = t % 5 == 3 ? (t * 7) % c.n_vocab : -1;
        for (int j = 0; j < K; j++) {
            g->other[t * K + j] = (t * 3 + j * 11 + 1) % c.n_vocab;
            g->other_weight[t * K + j] = j == 1 && t % 2 ? 0 : 0.1f * (float)(j + 1) + 0.01f * (float)t;
        }
    }
}

static void close_rig(struct rig *g) {
    nn_run_release(&g->r);
    nn_model_release(&g->m);
    g->ops.close(&g->ops);
}

static struct nn_batch batch_of(struct rig *g) {
    return (struct nn_batch){.n_tokens = TOY_TOKENS,
                             .token = g->b.token,
                             .position = g->b.position,
                             .target = g->target,
                             .weight = g->b.weight,
                             .n_seq = TOY_SEQUENCES,
                             .start = g->b.start};
}

static double pass(struct rig *g, const struct nn_batch *b) {
    struct err e = {0};
    double loss = 0;
    assert_int_equal(nn_batch_check(&g->m, b, &e), 0);
    assert_int_equal(nn_forward_backward(&g->m, &g->r, b, 3, &loss, &e), 0);
    return loss;
}

/* The target's pass, then one for each place among the others, whose weights are the tokens' weights. */
static double one_by_one(struct rig *g) {
    struct nn_batch b = batch_of(g);
    int32_t target[TOY_TOKENS];
    float weight[TOY_TOKENS];
    nn_zero_gradients(&g->m);
    double loss = pass(g, &b);
    for (int j = 0; j < K; j++) {
        for (int t = 0; t < TOY_TOKENS; t++) {
            target[t] = g->target[t] < 0 ? -1 : g->other[t * K + j];
            weight[t] = g->other_weight[t * K + j];
        }
        b.target = target;
        b.weight = weight;
        loss += pass(g, &b);
    }
    return loss;
}

static double worst_tensor(const struct nn_set *s, const float *x, const float *y) {
    double worst = 0;
    for (int i = 0; i < s->n_tensors; i++) {
        double off = 0, size = 0;
        for (int64_t j = s->tensors[i].offset;
             j < s->tensors[i].offset + s->tensors[i].rows * s->tensors[i].cols; j++) {
            off += pow((double)x[j] - (double)y[j], 2);
            size += pow((double)y[j], 2);
        }
        worst = fmax(worst, sqrt(off) / (sqrt(size) + 1e-6));
    }
    return worst;
}

static void test_gradients_are_those_of_the_targets_one_by_one(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        double worst = 0;
        for (int v = 0; v < toy_n_variants; v++) {
            struct rig g, h;
            open_rig(&g, &toy_variants[v], &settings[i], K);
            open_rig(&h, &toy_variants[v], &settings[i], 0);
            struct nn_batch b = batch_of(&g);
            b.n_others = K;
            b.other = g.other;
            b.other_weight = g.other_weight;
            nn_zero_gradients(&g.m);
            double loss = pass(&g, &b), expected = one_by_one(&h);
            double error = worst_tensor(g.m.trained, g.m.trained->gradient, h.m.trained->gradient);
            if (!(fabs(loss / expected - 1) < 1e-6) || !(error < TOLERANCE))
                fail_msg("%s, %s: loss %.9g for %.9g, gradient off by %g", settings[i].name,
                         toy_variants[v].name, loss, expected, error);
            worst = fmax(worst, error);
            close_rig(&g);
            close_rig(&h);
        }
        print_message("%s: worst %.2g\n", settings[i].name, worst);
    }
}

static void test_what_does_not_fit_is_refused(void **state) {
    (void)state;
    struct rig g;
    struct err e = {0};
    open_rig(&g, &toy_variants[0], &settings[0], K - 1);
    struct nn_batch b = batch_of(&g);
    b.n_others = K;
    b.other = g.other;
    b.other_weight = g.other_weight;
    assert_int_equal(nn_forward_backward(&g.m, &g.r, &b, 1, NULL, &e), ERR_INPUT);
    err_clear(&e);
    b.n_others = K - 1;
    g.other[3 * b.n_others] = g.m.config.n_vocab; /* token 3 has a target */
    assert_int_equal(nn_batch_check(&g.m, &b, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "token 3"));
    close_rig(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_the_targets_one_by_one),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
