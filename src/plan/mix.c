/* The mixes of llama.cpp's quantiser as data and rules. */
#include "plan/mix.h"

#include "base/str.h"
#include <stddef.h>
#include <strings.h>

struct type_facts {
    const char *name;
    int weights, bytes;
};
static const struct type_facts type_facts[N_TENSOR_TYPES] = {
#define X(name, weights, bytes) {#name, weights, bytes},
    TENSOR_TYPES(X)
#undef X
};

struct mix_facts {
    const char *name;
    enum tensor_type base;
    double perplexity_cost;
};
static const struct mix_facts mix_facts[N_MIXES] = {
#define X(name, base, loss) {#name, TENSOR_##base, loss},
    MIXES(X)
#undef X
};

bool mix_from_name(const char *name, enum mix *out) {
    for (int i = 0; name != NULL && i < N_MIXES; i++)
        if (strcasecmp(mix_facts[i].name, name) == 0) {
            *out = (enum mix)i;
            return true;
        }
    return false;
}

const char *mix_name(enum mix m) {
    return mix_facts[m].name;
}

double mix_perplexity_cost(enum mix m) {
    return mix_facts[m].perplexity_cost;
}

const char *tensor_type_name(enum tensor_type t) {
    return type_facts[t].name;
}

int64_t mix_tensor_bytes(enum tensor_type type, const struct shape_tensor *t) {
    const struct type_facts *f = &type_facts[type];
    return t->rows * ((t->cols + f->weights - 1) / f->weights) * f->bytes;
}

/* Layers to which the _M mixes give more bits: the first and last eighth and every third between. */
static bool more_bits(int layer, int n_layer) {
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

static enum tensor_type value_type(enum mix m, enum tensor_type base, const struct shape *s, int layer) {
    bool grouped = s->n_head_kv > 0 && s->n_head / s->n_head_kv >= 4;
    switch (m) {
    case MIX_Q2_K:
        return grouped ? TENSOR_Q4_K : TENSOR_Q3_K;
    case MIX_Q3_K_M:
        return layer < 2 ? TENSOR_Q5_K : TENSOR_Q4_K;
    case MIX_Q3_K_L:
        return TENSOR_Q5_K;
    case MIX_Q4_K_S:
        return layer < 4 ? TENSOR_Q5_K : base;
    case MIX_Q4_K_M:
    case MIX_Q5_K_M:
        return more_bits(layer, s->n_layer) ? TENSOR_Q6_K : base;
    case MIX_IQ4_NL:
    case MIX_IQ4_XS:
        return grouped ? TENSOR_Q5_K : base;
    case MIX_IQ3_M:
        return TENSOR_Q4_K;
    default:
        return base;
    }
}

static enum tensor_type output_type(enum mix m, enum tensor_type base) {
    switch (m) {
    case MIX_Q2_K:
        return TENSOR_Q3_K;
    case MIX_Q3_K_M:
    case MIX_IQ3_M:
        return TENSOR_Q4_K;
    case MIX_Q3_K_L:
        return TENSOR_Q5_K;
    default:
        return base;
    }
}

static enum tensor_type down_type(enum mix m, enum tensor_type base, const struct shape *s, int layer) {
    int n = s->n_layer;
    switch (m) {
    case MIX_Q2_K:
        return TENSOR_Q3_K;
    case MIX_Q3_K_M:
        return layer < n / 16 ? TENSOR_Q5_K : TENSOR_Q4_K;
    case MIX_Q3_K_L:
        return TENSOR_Q5_K;
    case MIX_Q4_K_S:
    case MIX_IQ4_NL:
    case MIX_IQ4_XS:
        return layer < n / 8 ? TENSOR_Q5_K : base;
    case MIX_Q4_K_M:
    case MIX_Q5_K_M:
        return more_bits(layer, n) ? TENSOR_Q6_K : base;
    case MIX_IQ3_M:
        return layer < n / 8 ? TENSOR_Q4_K : base;
    default:
        return base;
    }
}

/* What the quantiser takes when a row does not divide into the type's blocks. */
static enum tensor_type fall_back(enum tensor_type type, int64_t cols) {
    if (cols % type_facts[type].weights == 0)
        return type;
    static const enum tensor_type small_block[N_TENSOR_TYPES] = {
        [TENSOR_Q2_K] = TENSOR_Q4_0,    [TENSOR_Q3_K] = TENSOR_Q4_0, [TENSOR_Q4_K] = TENSOR_Q5_0,
        [TENSOR_Q5_K] = TENSOR_Q5_1,    [TENSOR_Q6_K] = TENSOR_Q8_0, [TENSOR_IQ4_XS] = TENSOR_IQ4_NL,
        [TENSOR_IQ3_S] = TENSOR_IQ4_NL,
    };
    enum tensor_type other = small_block[type] != TENSOR_F32 ? small_block[type] : TENSOR_F16;
    return cols % type_facts[other].weights == 0 ? other : TENSOR_F16;
}

enum tensor_type mix_tensor_type(enum mix m, const struct shape *s, const struct shape_tensor *t) {
    enum tensor_type base = mix_facts[m].base;
    bool is_head = t->kind == SHAPE_HEAD || (t->kind == SHAPE_EMBED && s->tied);
    if (t->kind == SHAPE_VECTOR)
        return TENSOR_F32;
    if (base == TENSOR_F16)
        return TENSOR_F16;
    if (is_head && base != TENSOR_Q8_0)
        return t->cols % type_facts[base].weights != 0 || t->cols % 256 != 0 ? fall_back(TENSOR_Q8_0, t->cols)
                                                                             : TENSOR_Q6_K;
    switch (t->kind) {
    case SHAPE_ATTN_V:
        return fall_back(value_type(m, base, s, t->layer), t->cols);
    case SHAPE_ATTN_OUT:
        return fall_back(output_type(m, base), t->cols);
    case SHAPE_FFN_DOWN:
        return fall_back(down_type(m, base, s, t->layer), t->cols);
    default:
        return fall_back(base, t->cols);
    }
}

void mix_count(enum mix m, const struct shape *s, struct mix_work *out) {
    *out = (struct mix_work){0};
    struct shape_tensor t;
    for (int64_t i = 0; shape_tensor(s, i, &t); i++) {
        enum tensor_type type = mix_tensor_type(m, s, &t);
        double bytes = (double)mix_tensor_bytes(type, &t), macs = (double)t.rows * (double)t.cols;
        bool is_head = t.kind == SHAPE_HEAD || (t.kind == SHAPE_EMBED && s->tied);
        out->file_bytes += bytes;
        if (is_head) {
            out->head_macs = macs;
            out->head_type = type;
        } else if (t.kind != SHAPE_VECTOR && t.kind != SHAPE_EMBED) {
            out->block_macs[type] += macs;
        }
        if (is_head || t.kind != SHAPE_EMBED) /* an untied embedding is looked up, not read */
            out->read_bytes[type] += bytes;
    }
}
