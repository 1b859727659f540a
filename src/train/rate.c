/* The product's rate on a model's own shapes. */
#include "train/rate.h"
#include <math.h>

enum { LEAST_TIMES = 3, TILE_VALUES = 1 << 21, LEAST_MACS = 1 << 24 };
static const double ENOUGH_MACS = 1e9; /* 20 ms of 50 GMAC/s */

struct side {
    int64_t out, in, times; /* of matrices with that shape */
};

/* Adds one shape's work and seconds. A large matrix is used in tiles, so a tile of it is what is measured. */
static int add(const struct nn_model *m, int64_t tokens, const struct side *s, double *macs,
               struct ops_rate *seconds, struct err *e) {
    struct ops_rate rate;
    int64_t tile = TILE_VALUES / s->in > 0 ? TILE_VALUES / s->in : 1, n = s->out < tile ? s->out : tile;
    double work = (double)(s->out * s->in * s->times), once = (double)tokens * (double)n * (double)s->in;
    int rc =
        ops_measure_product(m->ops, tokens, n, s->in, (int)fmax(LEAST_TIMES, ENOUGH_MACS / once), &rate, e);
    if (rc < 0)
        return rc;
    *macs += work;
    seconds->per_s += work / rate.per_s;
    seconds->mean_per_s += work / rate.mean_per_s;
    seconds->per_cpu_s += work / rate.per_cpu_s;
    return 0;
}

int train_product_rate(const struct nn_model *m, int64_t tokens, struct ops_rate *out, struct err *e) {
    const struct model_config *c = &m->config;
    int64_t d = c->d_model, q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct side sides[] = {{q, d, 1}, {kv, d, 2}, {d, q, 1}, {c->d_ff, d, 2}, {d, c->d_ff, 1}};
    struct ops_rate seconds = {0};
    double macs = 0;
    *out = (struct ops_rate){0};
    if ((double)tokens * (double)d * (double)d < LEAST_MACS)
        return 0;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        int rc = add(m, tokens, &sides[i], &macs, &seconds, e);
        if (rc < 0)
            return rc;
    }
    *out = (struct ops_rate){macs / seconds.per_s, macs / seconds.mean_per_s, macs / seconds.per_cpu_s};
    return 0;
}

int train_choose_products(const struct nn_model *m, int64_t tokens, struct train_products *out,
                          struct err *e) {
    struct train_products p = {0};
    struct err none = {0};
    int rc = train_product_rate(m, tokens, &p.f32, e);
    if (rc == 0 && ops_round_products(m->ops, true, &none) == 0) {
        rc = train_product_rate(m, tokens, &p.rounded, e);
        p.bf16 = rc == 0 && p.rounded.per_s > p.f32.per_s;
        ops_round_products(m->ops, p.bf16, NULL);
    }
    if (rc == 0)
        *out = p;
    return rc;
}
