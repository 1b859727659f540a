/* Low-rank adapters: where they are, their first values, merging them into the base. */
#include "nn/internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float nn_lora_scale(const struct nn_lora *l) {
    return l->rank_stabilised ? l->alpha / sqrtf((float)l->rank) : l->alpha / (float)l->rank;
}

static int end_layer(const struct nn_model *m) {
    return m->lora.end_layer > 0 ? m->lora.end_layer : m->config.n_layer;
}

static bool is_adapted(const struct nn_model *m, const struct nn_tensor *t) {
    return t->layer >= m->lora.first_layer && t->layer < end_layer(m) && t->rows > 1;
}

/* "blk.0.attn_q.weight.lora_a", as llama.cpp looks for it; A and B are neighbours in the list. */
static void add_pair(struct nn_set *s, struct nn_tensor *base, int rank) {
    struct nn_tensor a = *base, b = *base;
    base->adapter = s->n_tensors;
    a.packed = b.packed = (struct packed_matrix){0};
    a.rows = b.cols = rank;
    snprintf(a.name, sizeof a.name, "%.40s.lora_a", base->name);
    snprintf(b.name, sizeof b.name, "%.40s.lora_b", base->name);
    nn_set_add(s, &a, true);
    nn_set_add(s, &b, true);
}

/* In the slab, the As of matrices that share an input stand behind each other, so that one product serves them: A of q, k, v, then
 * their Bs; o; gate and up; down. */
static void place_groups(struct nn_model *m) {
    static const enum nn_kind groups[][4] = {
        {NN_Q, NN_K, NN_V, NN_KINDS}, {NN_O, NN_KINDS}, {NN_GATE, NN_UP, NN_KINDS}, {NN_DOWN, NN_KINDS}};
    int64_t at = 0;
    for (int layer = m->lora.first_layer; layer < end_layer(m); layer++)
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
            for (int which = 0; which < 2; which++)
                for (int k = 0; groups[g][k] != NN_KINDS; k++) {
                    const struct nn_tensor *t = nn_base_tensor(m, layer, groups[g][k]);
                    struct nn_tensor *part = &m->adapter.tensors[t->adapter + which];
                    part->offset = at;
                    at += nn_padded(part->rows * part->cols);
                }
}

static int draw_first_values(struct nn_model *m, uint64_t seed, struct err *e) {
    for (int i = 0; i < m->adapter.n_tensors; i += 2) {
        const struct nn_tensor *a = &m->adapter.tensors[i];
        float *values = malloc((size_t)(a->rows * a->cols) * sizeof *values);
        if (!values)
            return err_set(e, ERR_NO_MEMORY, "nn_model_add_lora", "no room for %s", a->name);
        struct rng own = nn_rng_of(seed, a->name);
        double bound = 1 / sqrt((double)a->cols);
        for (int64_t j = 0; j < a->rows * a->cols; j++)
            values[j] = (float)(bound * (2 * rng_double(&own) - 1));
        nn_set_write(m, &m->adapter, a, values);
        free(values);
    }
    return 0;
}

int nn_model_add_lora(struct nn_model *m, const struct nn_lora *lora, struct rng *rng, struct err *e) {
    if (lora->rank <= 0 || lora->rank > 1024 || !(lora->alpha > 0))
        return err_set(e, ERR_INPUT, "nn_model_add_lora",
                       "LoRA rank %d and alpha %g must be positive, rank at most 1024", lora->rank,
                       (double)lora->alpha);
    if (lora->first_layer < 0 || lora->end_layer > m->config.n_layer ||
        (lora->end_layer > 0 ? lora->end_layer : m->config.n_layer) <= lora->first_layer)
        return err_set(e, ERR_INPUT, "nn_model_add_lora", "adapters on blocks %d to %d of %d",
                       lora->first_layer, lora->end_layer, m->config.n_layer);
    uint64_t seed = rng_u64(rng);
    m->lora = *lora;
    m->adapter.tensors = calloc((size_t)m->base.n_tensors * 2, sizeof *m->adapter.tensors);
    if (!m->adapter.tensors)
        return err_set(e, ERR_NO_MEMORY, "nn_model_add_lora", "no room for the table of adapters");
    for (int i = 0; i < m->base.n_tensors; i++)
        if (is_adapted(m, &m->base.tensors[i]))
            add_pair(&m->adapter, &m->base.tensors[i], lora->rank);
    m->adapter.n_decayed = m->adapter.n_values;
    place_groups(m);
    int rc = nn_set_alloc(&m->adapter, m->ops, false, e);
    if (rc == 0)
        rc = nn_set_alloc(&m->adapter, m->ops, true, e);
    if (rc == 0)
        rc = draw_first_values(m, seed, e);
    if (rc == 0)
        m->trained = &m->adapter;
    return rc;
}

int nn_model_merged(const struct nn_model *m, const struct nn_tensor *t, float *values, struct err *e) {
    nn_set_read(m, &m->base, t, values);
    if (t->adapter < 0)
        return 0;
    const struct nn_tensor *a = &m->adapter.tensors[t->adapter], *b = a + 1;
    float *av = malloc((size_t)(a->rows * a->cols) * sizeof *av),
          *bv = malloc((size_t)(b->rows * b->cols) * sizeof *bv);
    if (!av || !bv) {
        free(av);
        free(bv);
        return err_set(e, ERR_NO_MEMORY, "nn_model_merged", "no room to merge %s", t->name);
    }
    nn_set_read(m, &m->adapter, a, av);
    nn_set_read(m, &m->adapter, b, bv);
    float scale = nn_lora_scale(&m->lora);
    for (int64_t o = 0; o < t->rows; o++)
        for (int64_t r = 0; r < b->cols; r++) {
            float factor = scale * bv[o * b->cols + r];
            for (int64_t i = 0; i < t->cols; i++)
                values[o * t->cols + i] += factor * av[r * t->cols + i];
        }
    free(av);
    free(bv);
    return 0;
}
