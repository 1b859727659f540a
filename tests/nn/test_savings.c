/* Every saving against the plain path that it replaces: the same loss, and gradients that agree tensor by tensor. One list of
 * settings, each run on every variant of a layer.
 *
 * Tolerance: relative L2 error of a tensor's gradient, 1e-5. Both sides compute in F32 and differ in the order of sums alone.
 * Measured: 1.3e-6 at worst. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_model.h"

#define TOLERANCE 1e-5
enum {
    N_PREFIX = 9,
    RANK = 3,
    ALL = NN_PLAIN_LAST | NN_PLAIN_LOGITS | NN_PLAIN_INPUT | NN_PLAIN_VOCABULARY | NN_PLAIN_LORA
};

/* How a gradient is computed. */
struct setting {
    const char *name;
    unsigned plain;
    int n_recompute;
    int64_t head_cols;
    bool prefix, packed;
    bool alone; /* each sequence through the model by itself */
};

static const struct setting settings[] = {
    {.name = "every saving but the prefix"},
    {.name = "each sequence by itself", .alone = true},
    {.name = "last block everywhere", .plain = NN_PLAIN_LAST},
    {.name = "logits everywhere", .plain = NN_PLAIN_LOGITS},
    {.name = "gradient of the first block's input", .plain = NN_PLAIN_INPUT},
    {.name = "whole rows of logits", .plain = NN_PLAIN_VOCABULARY},
    {.name = "vocabulary in blocks", .head_cols = 7},
    {.name = "a product for each adapter", .plain = NN_PLAIN_LORA},
    {.name = "lower block computed again", .n_recompute = 1},
    {.name = "all blocks computed again", .n_recompute = 2},
    {.name = "all blocks computed again, everywhere", .n_recompute = 2, .plain = ALL},
    {.name = "shared prefix", .prefix = true, .head_cols = 7},
    {.name = "shared prefix, blocks computed again", .prefix = true, .n_recompute = 2},
    {.name = "shared prefix, nothing else saved", .prefix = true, .plain = ALL},
    {.name = "packed base", .packed = true, .head_cols = 7},
    {.name = "packed base, shared prefix, recomputing", .packed = true, .prefix = true, .n_recompute = 1},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

/* Sequences that all begin with the same N_PREFIX tokens, and have a target at the end of each. */
struct shared_batch {
    int32_t head[N_PREFIX], token[TOY_TOKENS + TOY_SEQUENCES * N_PREFIX],
        position[TOY_TOKENS + TOY_SEQUENCES * N_PREFIX], target[TOY_TOKENS + TOY_SEQUENCES * N_PREFIX],
        start[TOY_SEQUENCES + 1];
    float weight[TOY_TOKENS + TOY_SEQUENCES * N_PREFIX];
    struct nn_batch batch;
};

/* The toy batch with the prefix written out in each sequence, or behind a shared one. */
static void shared_batch(struct shared_batch *s, const struct nn_model *m, bool prefix) {
    struct toy_batch b;
    int64_t at = 0;
    toy_batch(&b, m, 17);
    *s = (struct shared_batch){.batch = {.n_seq = TOY_SEQUENCES, .n_prefix = prefix ? N_PREFIX : 0}};
    for (int i = 0; i < N_PREFIX; i++)
        s->head[i] = (i * 5 + 2) % m->config.n_vocab;
    for (int q = 0; q < TOY_SEQUENCES; q++) {
        s->start[q] = (int32_t)at;
        for (int i = 0; !prefix && i < N_PREFIX; i++, at++) {
            s->token[at] = s->head[i];
            s->position[at] = i;
            s->target[at] = -1;
        }
        for (int t = b.start[q]; t < b.start[q + 1]; t++, at++) {
            s->token[at] = b.token[t];
            s->position[at] = N_PREFIX + t - b.start[q];
            s->target[at] = t % 5 == 3 || t + 1 == b.start[q + 1] ? (t * 7) % m->config.n_vocab : -1;
            s->weight[at] = b.weight[t];
        }
    }
    s->start[TOY_SEQUENCES] = (int32_t)at;
    s->batch.n_tokens = at;
    s->batch.token = s->token;
    s->batch.position = s->position;
    s->batch.target = s->target;
    s->batch.weight = s->weight;
    s->batch.start = s->start;
}

struct toy {
    struct ops ops;
    struct nn_model m;
    struct nn_run r;
    float *kept; /* what a packed base reads */
};

static void widen_float(const void *packed, float *to, int64_t n) {
    memcpy(to, packed, (size_t)n * sizeof *to);
}

/* The matrices of `t` as those of a model whose base is packed, in the simplest packing there is. */
static void pack_base(struct toy *t, const struct model_config *c, struct err *e) {
    struct nn_model plain = t->m;
    assert_int_equal(nn_model_init_packed(&t->m, c, &t->ops, e), 0);
    t->kept = calloc((size_t)plain.base.n_values, sizeof *t->kept);
    memcpy(t->kept, plain.base.value, (size_t)plain.base.n_values * sizeof *t->kept);
    for (int i = 0; i < t->m.base.n_tensors; i++) {
        struct nn_tensor *to = &t->m.base.tensors[i];
        const struct nn_tensor *from = nn_set_find(&plain.base, to->name);
        const float *values = t->kept + from->offset;
        if (to->rows == 1)
            nn_set_write(&t->m, &t->m.base, to, values);
        else
            nn_tensor_pack(to, &(struct packed_matrix){values, to->cols * 4, to->cols, widen_float});
    }
    nn_model_release(&plain);
}

static void open_toy(struct toy *t, const struct toy_variant *v, const struct nn_lora *lora,
                     const struct setting *s) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_variant_config(v);
    rng_seed(&rng, 1);
    *t = (struct toy){0};
    assert_int_equal(ops_open_cpu(&t->ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&t->m, &c, &t->ops, &e), 0);
    toy_fill(&t->m, 7, 0.3f);
    if (s->packed)
        pack_base(t, &c, &e);
    if (v->lora) {
        assert_int_equal(nn_model_add_lora(&t->m, lora, &rng, &e), 0);
        for (int64_t i = 0; i < t->m.adapter.n_values; i++)
            t->m.adapter.value[i] = 0;
        struct nn_set none = t->m.base;
        t->m.base.n_tensors = 0; /* values for the adapters alone */
        toy_fill(&t->m, 9, 0.3f);
        t->m.base = none;
    } else {
        assert_int_equal(nn_model_train_all(&t->m, &e), 0);
    }
    struct nn_limits limits = {.n_tokens = TOY_TOKENS + TOY_SEQUENCES * N_PREFIX,
                               .n_prefix = N_PREFIX,
                               .plain = s->plain,
                               .n_recompute = s->n_recompute,
                               .head_rows = 5,
                               .head_cols = s->head_cols};
    assert_int_equal(nn_run_init(&t->r, &t->m, &limits, &e), 0);
}

static void close_toy(struct toy *t) {
    nn_run_release(&t->r);
    nn_model_release(&t->m);
    t->ops.close(&t->ops);
    free(t->kept);
}

/* One step in micro-batches of two sequences, or of one. */
static float *gradient_of(struct toy *t, const struct setting *how, double *loss) {
    struct shared_batch *s = malloc(sizeof *s);
    struct err e = {0};
    int at_once = how->alone ? 1 : 2;
    double part;
    shared_batch(s, &t->m, how->prefix);
    nn_zero_gradients(&t->m);
    if (how->prefix)
        assert_int_equal(nn_prefix_forward(&t->m, &t->r, s->head, N_PREFIX, &e), 0);
    *loss = 0;
    for (int first = 0; first < TOY_SEQUENCES; first += at_once) {
        struct nn_batch b = s->batch;
        int32_t at = s->start[first], start[3];
        for (int i = 0; i <= at_once; i++)
            start[i] = s->start[first + i] - at;
        b.token += at, b.position += at, b.target += at, b.weight += at;
        b.start = start;
        b.n_seq = at_once;
        b.n_tokens = start[at_once];
        assert_int_equal(nn_batch_check(&t->m, &b, &e), 0);
        assert_int_equal(nn_forward_backward(&t->m, &t->r, &b, 3, &part, &e), 0);
        *loss += part;
    }
    if (how->prefix)
        assert_int_equal(nn_prefix_backward(&t->m, &t->r, &e), 0);
    free(s);
    float *g = malloc((size_t)t->m.trained->n_values * sizeof *g);
    memcpy(g, t->m.trained->gradient, (size_t)t->m.trained->n_values * sizeof *g);
    return g;
}

static double worst_tensor(const struct nn_set *set, const float *x, const float *y, const char **name) {
    double worst = 0;
    for (int i = 0; i < set->n_tensors; i++) {
        const struct nn_tensor *t = &set->tensors[i];
        double off = 0, size = 0;
        for (int64_t j = t->offset; j < t->offset + t->rows * t->cols; j++) {
            off += pow((double)x[j] - (double)y[j], 2);
            size += pow((double)y[j], 2);
        }
        /* keys' biases do not change a softmax: their gradient is rounding, far below the others' */
        double error = sqrt(off) / (sqrt(size) + 1e-6);
        if (!(error <= worst)) {
            worst = error;
            *name = t->name;
        }
    }
    return worst;
}

/* The plainest path of all: every switch off, the prefix written out, each sequence by itself. */
static void compare(const struct toy_variant *v, const struct nn_lora *lora, const struct setting *s,
                    double *worst) {
    static const struct setting plainest = {.name = "plain", .plain = ALL, .alone = true};
    struct toy a, b;
    double loss[2];
    const char *name = "";
    open_toy(&a, v, lora, s);
    open_toy(&b, v, lora, &plainest);
    float *g = gradient_of(&a, s, &loss[0]), *h = gradient_of(&b, &plainest, &loss[1]);
    double error = worst_tensor(b.m.trained, g, h, &name);
    if (!(fabs(loss[0] / loss[1] - 1) < 1e-6))
        fail_msg("%s, %s: loss %.9g, plain %.9g", v->name, s->name, loss[0], loss[1]);
    if (!(error <= TOLERANCE))
        fail_msg("%s, %s: the gradient of %s is off by %g", v->name, s->name, name, error);
    *worst = fmax(*worst, error);
    free(g);
    free(h);
    close_toy(&a);
    close_toy(&b);
}

static void test_savings_are_exact(void **state) {
    (void)state;
    for (int i = 0; i < N_SETTINGS; i++) {
        double worst = 0;
        for (int v = 0; v < toy_n_variants; v++)
            if (toy_variants[v].lora || !settings[i].packed)
                compare(&toy_variants[v], &(struct nn_lora){.rank = RANK, .alpha = 4}, &settings[i], &worst);
        print_message("%s: worst %.2g\n", settings[i].name, worst);
    }
}

/* Adapters on the upper block alone: the lower one is not walked through, and keeps nothing. */
static void test_chosen_blocks_are_exact(void **state) {
    (void)state;
    static const struct nn_lora upper = {.rank = RANK, .alpha = 4, .first_layer = 1, .rank_stabilised = true},
                                lower = {.rank = RANK, .alpha = 4, .end_layer = 1};
    double worst = 0;
    for (int i = 0; i < N_SETTINGS; i++)
        for (int v = 0; v < toy_n_variants; v++)
            if (toy_variants[v].lora) {
                compare(&toy_variants[v], &upper, &settings[i], &worst);
                compare(&toy_variants[v], &lower, &settings[i], &worst);
            }
    print_message("chosen blocks: worst %.2g\n", worst);
    struct model_config c = toy_config();
    c.n_layer = 4;
    struct nn_model all = {.config = c, .lora = {.rank = RANK}}, some = all;
    some.lora.first_layer = 2;
    struct nn_limits limits = {.n_tokens = TOY_TOKENS};
    assert_true(nn_run_bytes(&some, &limits) < nn_run_bytes(&all, &limits));
}

/* rsLoRA: alpha / sqrt(rank) where LoRA has alpha / rank. */
static void test_rank_stabilised_scale(void **state) {
    (void)state;
    assert_true(nn_lora_scale(&(struct nn_lora){.rank = 16, .alpha = 32}) == 2);
    assert_true(nn_lora_scale(&(struct nn_lora){.rank = 16, .alpha = 32, .rank_stabilised = true}) == 8);
}

/* Scoring behind a prefix, forward only, gives the losses of the sequences written out. */
static void test_scores_behind_a_prefix(void **state) {
    (void)state;
    for (int v = 0; v < toy_n_variants; v++) {
        struct toy t;
        struct err e = {0};
        struct shared_batch *shared = malloc(sizeof *shared), *whole = malloc(sizeof *whole);
        float x[TOY_TOKENS], y[TOY_TOKENS];
        int n = 0;
        open_toy(&t, &toy_variants[v], &(struct nn_lora){.rank = RANK, .alpha = 4}, &settings[0]);
        nn_run_release(&t.r);
        struct nn_limits limits = {
            .n_tokens = TOY_TOKENS + TOY_SEQUENCES * N_PREFIX, .n_prefix = N_PREFIX, .forward_only = true};
        assert_int_equal(nn_run_init(&t.r, &t.m, &limits, &e), 0);
        shared_batch(shared, &t.m, true);
        shared_batch(whole, &t.m, false);
        assert_int_equal(nn_forward_loss(&t.m, &t.r, &shared->batch, x, &e), ERR_INPUT); /* no prefix yet */
        err_clear(&e);
        assert_int_equal(nn_prefix_forward(&t.m, &t.r, shared->head, N_PREFIX, &e), 0);
        assert_int_equal(nn_forward_loss(&t.m, &t.r, &shared->batch, x, &e), 0);
        assert_int_equal(nn_forward_loss(&t.m, &t.r, &whole->batch, y, &e), 0);
        for (int i = 0; i < shared->batch.n_tokens; i++)
            n += shared->target[i] >= 0;
        for (int i = 0; i < n; i++)
            assert_true(fabs((double)x[i] - (double)y[i]) < 1e-5);
        assert_int_equal(nn_prefix_backward(&t.m, &t.r, &e), ERR_INPUT);
        close_toy(&t);
        free(shared);
        free(whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_savings_are_exact),
        cmocka_unit_test(test_chosen_blocks_are_exact),
        cmocka_unit_test(test_rank_stabilised_scale),
        cmocka_unit_test(test_scores_behind_a_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
