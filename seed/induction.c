/* Two heads that begin with a purpose: see induction.h.
 *
 * Residual stream x after the embedding: channel 0 is the same constant for every token, the others are random.
 *   block 0, head 0: query and key are that constant, turned so that the rotary score peaks one position back; value and
 *                    output write the token before, through the random maps P [E, D] and Q [D, E]: x += Q P x_before
 *   block 1, head 0: query P x asks for the present token among what Q wrote (key Q^T x); value and output copy the token at
 *                    that place through R: x += copy R^T R x_there. Only the slowly turning half of the channels is used,
 *                    since a match must not depend on distance. */
#include "induction.h"
#include <math.h>
#include <stdlib.h>

enum { BACK_PAIRS = 8 }; /* of rotary pairs, the fastest: a peak one position wide */

static const float TABLE_GAIN = 10, OUTPUT_GAIN = 0.2F, CONSTANT = 0.8F, BACK_GAIN = 1.4F, WRITE = 0.025F,
                   KEY_GAIN = 1.75F, QUERY_GAIN = 2.5F, COPY = 3.5F;

struct maps { /* each [E, D] but for q, [D, E]; on the heap */
    float *p, *q, *r;
    int64_t d, e;
};

/* One tensor edited in host memory. */
struct edit {
    struct nn_model *m;
    const struct nn_tensor *t;
    float *values;
};

static bool edit_begin(struct edit *w, const char *name) {
    w->t = nn_set_find(&w->m->base, name);
    if (w->t == NULL)
        return false;
    nn_set_read(w->m, &w->m->base, w->t, w->values);
    return true;
}

static void edit_end(struct edit *w) {
    nn_set_write(w->m, &w->m->base, w->t, w->values);
}

/* The table's rows are made large against AdamW's steps: each step moves every row, as each is an output too, and a name
 * that is rare must stay tell-apart-able until it is seen. The last norm keeps the logits small all the same. */
static bool set_table(struct edit *w) {
    if (!edit_begin(w, "token_embd.weight"))
        return false;
    for (int64_t i = 0; i < w->t->rows * w->t->cols; i++)
        w->values[i] = i % w->t->cols == 0 ? CONSTANT : TABLE_GAIN * w->values[i];
    edit_end(w);
    if (!edit_begin(w, "output_norm.weight"))
        return false;
    for (int64_t i = 0; i < w->t->cols; i++)
        w->values[i] = OUTPUT_GAIN;
    edit_end(w);
    return true;
}

static bool set_look_back(struct edit *w, const struct model_config *c, bool key) {
    if (!edit_begin(w, key ? "blk.0.attn_k.weight" : "blk.0.attn_q.weight"))
        return false;
    for (int i = 0; i < BACK_PAIRS; i++) {
        float turn = key ? powf(c->rope_theta, -2.0F * (float)i / (float)c->head_dim) : 0;
        w->values[(2 * i) * w->t->cols] = BACK_GAIN * cosf(turn);
        w->values[(2 * i + 1) * w->t->cols] = BACK_GAIN * sinf(turn);
    }
    edit_end(w);
    return true;
}

/* The first E rows of a projection [.., D]: gain * map, from row `first` on; zero before. `across`: map is [D, E]. */
static bool set_rows(struct edit *w, const char *name, const struct maps *maps, const float *map, bool across,
                     float gain, int64_t first) {
    if (!edit_begin(w, name))
        return false;
    for (int64_t i = 0; i < maps->e; i++)
        for (int64_t k = 0; k < maps->d; k++)
            w->values[i * maps->d + k] =
                i < first ? 0 : gain * (across ? map[k * maps->e + i] : map[i * maps->d + k]);
    edit_end(w);
    return true;
}

/* The first E columns of an output projection [D, ..]. */
static bool set_columns(struct edit *w, const char *name, const struct maps *maps, const float *map,
                        bool across, float gain) {
    if (!edit_begin(w, name))
        return false;
    for (int64_t k = 0; k < maps->d; k++)
        for (int64_t i = 0; i < maps->e; i++)
            w->values[k * w->t->cols + i] = gain * (across ? map[k * maps->e + i] : map[i * maps->d + k]);
    edit_end(w);
    return true;
}

static void draw_maps(struct maps *m, struct rng *rng) {
    float deviation = 1 / sqrtf((float)m->d);
    for (int64_t i = 0; i < m->e; i++)
        for (int64_t k = 0; k < m->d; k++) { /* channel 0 is the constant's */
            m->p[i * m->d + k] = k == 0 ? 0 : deviation * (float)rng_normal(rng);
            m->r[i * m->d + k] = k == 0 ? 0 : deviation * (float)rng_normal(rng);
            m->q[k * m->e + i] = WRITE * (float)rng_normal(rng);
        }
}

int induction_prepare(struct nn_model *m, struct rng *rng, struct err *e) {
    const struct model_config *c = &m->config;
    size_t n_map = (size_t)c->head_dim * (size_t)c->d_model,
           n_table = (size_t)c->n_vocab * (size_t)c->d_model;
    float *memory = malloc((3 * n_map + n_table) * sizeof *memory);
    if (memory == NULL)
        return err_set(e, ERR_NO_MEMORY, "induction_prepare", "no memory");
    struct maps maps = {memory, memory + n_map, memory + 2 * n_map, c->d_model, c->head_dim};
    struct edit w = {.m = m, .values = memory + 3 * n_map};
    draw_maps(&maps, rng);
    bool ok = set_table(&w) && set_look_back(&w, c, false) && set_look_back(&w, c, true) &&
              set_rows(&w, "blk.0.attn_v.weight", &maps, maps.p, false, 1, 0) &&
              set_columns(&w, "blk.0.attn_output.weight", &maps, maps.q, true, 1) &&
              set_rows(&w, "blk.1.attn_q.weight", &maps, maps.p, false, QUERY_GAIN, maps.e / 2) &&
              set_rows(&w, "blk.1.attn_k.weight", &maps, maps.q, true, KEY_GAIN, maps.e / 2) &&
              set_rows(&w, "blk.1.attn_v.weight", &maps, maps.r, false, 1, 0) &&
              set_columns(&w, "blk.1.attn_output.weight", &maps, maps.r, false, COPY);
    free(memory);
    return ok ? 0
              : err_set(e, ERR_UNSUPPORTED, "induction_prepare",
                        "the model has no second block of attention");
}
