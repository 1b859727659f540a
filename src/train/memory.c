/* The plan of a run's memory. Everything follows from counts and the machine's total memory, not from what is free at the moment, so
 * that the same run is cut into the same micro-batches again. */
#include "train/memory.h"
#include "base/str.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TOKENS = 4096, ENOUGH_TOKENS = 512, PACKED_FROM_PARAMS = 64000000 };

static const char *const base_names[] = {
#define X(name, text) text,
    TRAIN_BASES(X)
#undef X
};

const char *train_base_name(enum train_base b) {
    return base_names[b];
}

int train_base_find(const char *name) {
    for (int i = 0; i < TRAIN_N_BASES; i++)
        if (strcmp(name, base_names[i]) == 0)
            return i;
    return -1;
}

/* As train_memory_plan's `budget`: a fifth is left alone. */
static bool is_tight(const struct train_memory *m, int64_t total_bytes) {
    return total_bytes > 0 && (m->limits.n_recompute > 0 || m->total_bytes > total_bytes / 5 * 4);
}

enum train_base train_base_choose(const struct nn_model *shape, const struct train_base_bytes *bytes,
                                  const struct train_need *need, int64_t total_bytes) {
    struct nn_model packed = *shape;
    struct train_memory stored;
    packed.packed = true;
    if (shape->lora.rank <= 0 || bytes->of[TRAIN_BASE_F32] / 4 < PACKED_FROM_PARAMS)
        return TRAIN_BASE_F32;
    if (bytes->of[TRAIN_BASE_STORED] <= bytes->of[TRAIN_BASE_BF16])
        return TRAIN_BASE_STORED;
    train_memory_plan(&packed, bytes->of[TRAIN_BASE_STORED], need, total_bytes, &stored);
    return is_tight(&stored, total_bytes) ? TRAIN_BASE_BF16 : TRAIN_BASE_STORED;
}

static int64_t lora_values(const struct nn_model *m) {
    const struct model_config *c = &m->config;
    int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim, d = c->d_model;
    int64_t per_block = 2 * (d + q) + 2 * (d + kv) + 3 * (d + c->d_ff);
    int end = m->lora.end_layer > 0 ? m->lora.end_layer : c->n_layer;
    return per_block * (end - m->lora.first_layer) * m->lora.rank;
}

static int64_t run_bytes(const struct nn_model *m, const struct train_need *n, struct nn_limits *l,
                         int64_t tokens, int n_recompute) {
    int64_t targets = (int64_t)ceil(n->targets_per_token * (double)tokens);
    *l = (struct nn_limits){.n_tokens = tokens,
                            .n_targets = targets < 1 ? 1 : targets,
                            .n_prefix = n->shared,
                            .n_recompute = n_recompute,
                            .n_others = n->n_others,
                            .plain = n->plain};
    return (int64_t)nn_run_bytes(m, l);
}

void train_memory_plan(const struct nn_model *m, int64_t base_bytes, const struct train_need *n,
                       int64_t total_bytes, struct train_memory *out) {
    bool lora = m->lora.rank > 0;
    int64_t trained =
        lora ? lora_values(m) * 16 : base_bytes * 3; /* value (the base's is there), gradient, two moments */
    int64_t budget = total_bytes > 0 ? total_bytes / 5 * 4 - base_bytes - trained : INT64_MAX;
    int64_t tokens = n->micro_tokens > 0 ? n->micro_tokens : MOST_TOKENS;
    int recompute = 0;
    if (n->micro_tokens <= 0 && n->step_tokens > 0 && n->step_tokens < tokens)
        tokens = n->step_tokens;
    tokens = tokens > n->longest ? tokens : n->longest;
    while (n->micro_tokens <= 0 && tokens / 2 >= n->longest && tokens / 2 >= ENOUGH_TOKENS &&
           run_bytes(m, n, &out->limits, tokens, 0) > budget / 8)
        tokens /= 2;
    while (recompute < m->config.n_layer && run_bytes(m, n, &out->limits, tokens, recompute) > budget)
        recompute++;
    while (n->micro_tokens <= 0 && tokens / 2 >= n->longest &&
           run_bytes(m, n, &out->limits, tokens, recompute) > budget)
        tokens /= 2;
    out->base_bytes = base_bytes;
    out->trained_bytes = trained;
    out->run_bytes = run_bytes(m, n, &out->limits, tokens, recompute);
    out->total_bytes = base_bytes + trained + out->run_bytes;
}

/* ---- what would fit ---- */

enum { USUAL_RANK = 16 };

/* One way's memory; the smallest so far goes to *least. True when it fits. */
static bool try_way(const struct nn_model *shape, const struct train_base_bytes *bytes,
                    const struct train_need *need, const int64_t total_available[2], struct train_way *w,
                    struct train_way *least) {
    struct nn_model m = *shape;
    m.lora.rank = !w->lora ? 0 : shape->lora.rank > 0 ? shape->lora.rank : USUAL_RANK;
    m.lora.first_layer = w->lora ? m.config.n_layer - w->n_layers : 0;
    m.packed = w->kept != TRAIN_BASE_F32;
    train_memory_plan(&m, bytes->of[w->kept], need, total_available[0], &w->memory);
    if (least->memory.total_bytes == 0 || w->memory.total_bytes < least->memory.total_bytes)
        *least = *w;
    return w->memory.total_bytes < total_available[1];
}

bool train_memory_fit(const struct nn_model *shape, const struct train_base_bytes *bytes,
                      const struct train_need *need, int64_t total_bytes, int64_t available_bytes,
                      struct train_way *out) {
    const int64_t memory[2] = {total_bytes, available_bytes};
    struct train_way least = {0};
    for (int n = shape->config.n_layer - shape->lora.first_layer; n > 0; n /= 2)
        for (int b = 0; b < TRAIN_N_BASES; b++) {
            struct train_way w = {.kept = (enum train_base)b, .lora = true, .n_layers = n};
            if (!try_way(shape, bytes, need, memory, &w, &least))
                continue;
            *out = w;
            return true;
        }
    *out = least;
    return false;
}

const char *train_way_text(char *text, size_t room, const struct nn_model *shape, const struct train_way *w) {
    char bytes[32], layers[32] = "";
    if (w->n_layers < shape->config.n_layer)
        snprintf(layers, sizeof layers, " --layers %d", w->n_layers);
    snprintf(text, room, "%s--base-memory %s%s takes %s",
             shape->lora.rank > 0 ? "" : "a plan with the method lora and ", train_base_name(w->kept), layers,
             str_bytes(bytes, sizeof bytes, w->memory.total_bytes));
    return text;
}
