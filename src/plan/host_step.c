/* The trainer's own step, timed on two narrow models: what a multiply-accumulate of it costs here, and what a value of the width costs
 * besides (norms, activations, thin products of adapters, moving). */
#include "plan/host.h"

#include "base/clock.h"
#include "base/rng.h"
#include "nn/transformer.h"
#include "train/optimizer.h"
#include <math.h>

enum { N_WIDTHS = 2, RANK = 16, SEQUENCES = 8, OWN = 60, PREFIX = 60, TOKENS = SEQUENCES * OWN, TIMES = 3 };
static const int widths[N_WIDTHS] = {256, 512};

/* Every layer is computed whole: what the trainer saves in the first and the last is counted by who predicts. */
static const struct nn_limits limits = {
    .n_tokens = TOKENS, .n_targets = SEQUENCES, .n_prefix = PREFIX, .plain = NN_PLAIN_LAST | NN_PLAIN_INPUT};

static struct model_config config_of(int width) {
    return (struct model_config){.n_layer = 1,
                                 .d_model = width,
                                 .n_heads = width / 64,
                                 .n_kv_heads = width / 128,
                                 .head_dim = 64,
                                 .d_ff = width * 11 / 4,
                                 .n_vocab = 256,
                                 .n_ctx = 256,
                                 .rope_theta = 10000,
                                 .norm_eps = 1e-5f,
                                 .tied_head = true};
}

struct rig {
    struct nn_model m;
    struct nn_run run;
    struct optimizer optimizer;
    int32_t token[TOKENS], position[TOKENS], target[TOKENS], start[SEQUENCES + 1];
};

static int open_rig(struct rig *r, const struct ops *o, int width, enum plan_method method, struct err *e) {
    struct model_config c = config_of(width);
    struct rng rng;
    rng_seed(&rng, 1);
    int code = nn_model_init(&r->m, &c, o, e);
    if (code == 0)
        code = nn_model_randomise(&r->m, &rng, e);
    if (code == 0)
        code = method == PLAN_FULL
                   ? nn_model_train_all(&r->m, e)
                   : nn_model_add_lora(&r->m, &(struct nn_lora){.rank = RANK, .alpha = 2 * RANK}, &rng, e);
    if (code == 0)
        code = nn_run_init(&r->run, &r->m, &limits, e);
    if (code == 0)
        code = optimizer_init(&r->optimizer, &r->m, &(struct optimizer_options){.learning_rate = 1e-5f}, e);
    for (int i = 0; i < TOKENS; i++) {
        r->token[i] = i % c.n_vocab;
        r->position[i] = PREFIX + i % OWN;
        r->target[i] = i % OWN == OWN - 1 ? 1 : -1;
    }
    for (int i = 0; i <= SEQUENCES; i++)
        r->start[i] = i * OWN;
    return code;
}

static void close_rig(struct rig *r) {
    optimizer_release(&r->optimizer);
    nn_run_release(&r->run);
    nn_model_release(&r->m);
}

/* One step's seconds without and within the optimiser. */
static int time_step(struct rig *r, double *step_s, double *update_s, struct err *e) {
    const struct nn_batch b = {.n_tokens = TOKENS,
                               .token = r->token,
                               .position = r->position,
                               .target = r->target,
                               .n_seq = SEQUENCES,
                               .start = r->start,
                               .n_prefix = PREFIX};
    double begun = clock_seconds();
    nn_zero_gradients(&r->m);
    int code = nn_prefix_forward(&r->m, &r->run, r->token, PREFIX, e);
    if (code == 0)
        code = nn_forward_backward(&r->m, &r->run, &b, SEQUENCES, NULL, e);
    if (code == 0)
        code = nn_prefix_backward(&r->m, &r->run, e);
    double computed = clock_seconds();
    if (code == 0)
        code = optimizer_step(&r->optimizer, NULL, e);
    *step_s = computed - begun;
    *update_s = clock_seconds() - computed;
    return code;
}

/* On a machine that is slow or busy one or two runs must do. */
static const double ENOUGH_S = 0.3;

static double middle(const double x[TIMES], int n) {
    if (n < TIMES)
        return n == 1 ? x[0] : fmin(x[0], x[1]);
    return fmax(fmin(x[0], x[1]), fmin(fmax(x[0], x[1]), x[2]));
}

struct sample {
    double macs, values, step_s, update_s, trained;
};

static int sample_width(const struct ops *o, int width, enum plan_method method, struct sample *s,
                        struct err *e) {
    struct rig r = {0};
    struct model_config c = config_of(width);
    double q = (double)c.n_heads * c.head_dim, kv = (double)c.n_kv_heads * c.head_dim, d = width;
    double block = 2 * d * q + 2 * d * kv + 3 * d * c.d_ff, tokens = TOKENS + PREFIX;
    *s = (struct sample){.macs = tokens * block * predict_passes(method), .values = tokens * d};
    double step_s[TIMES] = {0}, update_s[TIMES] = {0};
    int code = open_rig(&r, o, width, method, e);
    double begun = clock_seconds();
    int n = 0;
    for (; code == 0 && n < TIMES && (n == 0 || clock_seconds() - begun < ENOUGH_S); n++)
        code = time_step(&r, &step_s[n], &update_s[n], e);
    n = n > 0 ? n : 1;
    s->step_s = middle(step_s, n);
    s->update_s = middle(update_s, n);
    s->trained = code == 0 ? (double)r.m.trained->n_values : 1;
    close_rig(&r);
    return code;
}

int host_measure_steps(const struct ops *o, struct predict_host *h, struct err *e) {
    for (int method = PLAN_LORA; method <= PLAN_FULL; method++) {
        struct sample s[N_WIDTHS];
        for (int i = 0; i < N_WIDTHS; i++) {
            int code = sample_width(o, widths[i], (enum plan_method)method, &s[i], e);
            if (code < 0)
                return err_context(e, "timing a training step");
        }
        double slope = s[1].macs * s[0].values - s[0].macs * s[1].values; /* macs grow faster */
        double per_mac = (s[1].step_s * s[0].values - s[0].step_s * s[1].values) / slope;
        double least = 1 / (2 * h->macs_per_s), most = s[1].step_s / s[1].macs;
        per_mac = fmin(fmax(per_mac, least), most);
        h->step[method] = (struct predict_step){
            .s_per_mac = per_mac,
            .s_per_value = fmax(s[1].step_s - per_mac * s[1].macs, 0) / s[1].values,
            .s_per_trained = s[1].update_s / s[1].trained,
        };
    }
    return 0;
}
