/* The linear layers: frozen or trained matrices, with or without low-rank adapters. The one place where a weight meets
 * activations, so the one place that knows of packed weights: those are widened a tile of rows at a time.
 *
 * Adapters of matrices with a common input are fused: their As stand behind each other in memory (lora.c), so one product gives
 * all their u, one takes all their du to the input, and one gives the gradient of all As. */
#include "nn/internal.h"

static float *adapter_value(const struct nn_model *m, const struct nn_tensor *t, int which) {
    return m->adapter.value + m->adapter.tensors[t->adapter + which].offset;
}

static float *adapter_gradient(const struct nn_model *m, const struct nn_tensor *t, int which) {
    return m->adapter.gradient + m->adapter.tensors[t->adapter + which].offset;
}

/* ---- rows of a matrix ---- */

int64_t nn_matrix_step(const struct nn_memory *y, const struct nn_tensor *t) {
    return t->packed.data ? y->tile_floats / t->cols : t->rows;
}

const float *nn_matrix_rows(const struct nn_model *m, const struct nn_memory *y, const struct nn_tensor *t,
                            int64_t first, int64_t n) {
    if (!t->packed.data)
        return m->base.value + t->offset + first * t->cols;
    m->ops->widen(m->ops, y->tile, &t->packed, NULL, first, n);
    return y->tile;
}

void nn_matrix_gather(const struct nn_model *m, const struct nn_tensor *t, float *out, const int32_t *row,
                      int64_t n) {
    if (t->packed.data)
        m->ops->widen(m->ops, out, &t->packed, row, 0, n);
    else
        m->ops->embed(m->ops, out, m->base.value + t->offset, row, n, t->cols);
}

/* y (+)= x W^T */
static void product(const struct nn_pass *p, const struct nn_tensor *t, int64_t rows, float *y,
                    const float *x, bool add) {
    const struct ops *o = p->m->ops;
    int64_t step = nn_matrix_step(p->y, t);
    for (int64_t first = 0; first < t->rows; first += step) {
        int64_t n = t->rows - first < step ? t->rows - first : step;
        o->gemm(o, false, true, rows, n, t->cols, 1, x, t->cols, nn_matrix_rows(p->m, p->y, t, first, n),
                t->cols, add ? 1 : 0, y + first, t->rows);
    }
}

/* dx (+)= dy W */
static void product_back(const struct nn_pass *p, const struct nn_tensor *t, int64_t rows, float *dx,
                         const float *dy, bool add) {
    const struct ops *o = p->m->ops;
    int64_t step = nn_matrix_step(p->y, t);
    for (int64_t first = 0; first < t->rows; first += step) {
        int64_t n = t->rows - first < step ? t->rows - first : step;
        o->gemm(o, false, false, rows, t->cols, n, 1, dy + first, t->rows,
                nn_matrix_rows(p->m, p->y, t, first, n), t->cols, add || first > 0 ? 1 : 0, dx, t->cols);
    }
}

/* ---- groups ---- */

static const struct nn_tensor *tensor_of(const struct nn_pass *p, const struct nn_group *g, int i) {
    return nn_base_tensor(p->m, g->layer, g->kind[i]);
}

/* Do the group's As stand behind each other? How many products then serve them all, and how many As each takes. */
static int as_at_once(const struct nn_pass *p, const struct nn_group *g) {
    const struct nn_tensor *t = tensor_of(p, g, 0);
    bool apart = p->m->lora.rank * t->cols % 16 != 0; /* padding between them */
    return apart || p->limits->plain & NN_PLAIN_LORA ? 1 : g->n;
}

static const struct nn_tensor *bias_of(const struct nn_pass *p, const struct nn_group *g, int i) {
    enum nn_kind bias = g->kind[i] == NN_Q   ? NN_Q_BIAS
                        : g->kind[i] == NN_K ? NN_K_BIAS
                        : g->kind[i] == NN_V ? NN_V_BIAS
                                             : NN_KINDS;
    return bias == NN_KINDS ? NULL : nn_base_tensor(p->m, g->layer, bias);
}

void nn_linear(const struct nn_pass *p, const struct nn_group *g, float *const y[], const float *x, float *u,
               bool add) {
    const struct nn_model *m = p->m;
    const struct ops *o = m->ops;
    for (int i = 0; y && i < g->n; i++) {
        const struct nn_tensor *t = tensor_of(p, g, i), *bias = bias_of(p, g, i);
        nn_watch_input(m, t, x, g->rows);
        product(p, t, g->rows, y[i], x, add);
        if (bias)
            o->add_row(o, y[i], m->base.value + bias->offset, g->rows, t->rows);
    }
    if (tensor_of(p, g, 0)->adapter < 0)
        return;
    int64_t rank = m->lora.rank, pitch = g->n * rank, at_once = as_at_once(p, g);
    for (int64_t i = 0; i < g->n; i += at_once) {
        const struct nn_tensor *t = tensor_of(p, g, (int)i);
        o->gemm(o, false, true, g->rows, at_once * rank, t->cols, 1, x, t->cols, adapter_value(m, t, 0),
                t->cols, 0, u + i * rank, pitch);
    }
    for (int i = 0; y && i < g->n; i++) {
        const struct nn_tensor *t = tensor_of(p, g, i);
        o->gemm(o, false, true, g->rows, t->rows, rank, nn_lora_scale(&m->lora), u + i * rank, pitch,
                adapter_value(m, t, 1), rank, 1, y[i], t->rows);
    }
}

static void adapters_backward(const struct nn_pass *p, const struct nn_group *g,
                              const struct nn_linear_grad *d) {
    const struct nn_model *m = p->m;
    const struct ops *o = m->ops;
    int64_t rank = m->lora.rank, pitch = g->n * rank, at_once = as_at_once(p, g);
    float scale = nn_lora_scale(&m->lora), *du = p->y->du;
    for (int i = 0; i < g->n; i++) {
        const struct nn_tensor *t = tensor_of(p, g, i);
        o->gemm(o, false, false, g->rows, rank, t->rows, scale, d->dy[i], t->rows, adapter_value(m, t, 1),
                rank, 0, du + i * rank, pitch);
        o->gemm(o, true, false, t->rows, rank, g->rows, scale, d->dy[i], t->rows, d->u + i * rank, pitch, 1,
                adapter_gradient(m, t, 1), rank);
    }
    for (int64_t i = 0; i < g->n; i += at_once) {
        const struct nn_tensor *t = tensor_of(p, g, (int)i);
        o->gemm(o, true, false, at_once * rank, t->cols, g->rows, 1, du + i * rank, pitch, d->x, t->cols, 1,
                adapter_gradient(m, t, 0), t->cols);
        if (d->dx)
            o->gemm(o, false, false, g->rows, t->cols, at_once * rank, 1, du + i * rank, pitch,
                    adapter_value(m, t, 0), t->cols, 1, d->dx, t->cols);
    }
}

void nn_linear_backward(const struct nn_pass *p, const struct nn_group *g, const struct nn_linear_grad *d) {
    const struct ops *o = p->m->ops;
    for (int i = 0; i < g->n; i++) {
        const struct nn_tensor *t = tensor_of(p, g, i), *bias = bias_of(p, g, i);
        float *dw = nn_gradient(p->m, g->layer, g->kind[i]);
        nn_watch_gradient(p->m, t, d->dy[i], g->rows);
        if (dw)
            o->gemm(o, true, false, t->rows, t->cols, g->rows, 1, d->dy[i], t->rows, d->x, t->cols, 1, dw,
                    t->cols);
        if (dw && bias)
            o->sum_rows(o, nn_gradient(p->m, g->layer, bias->kind), d->dy[i], g->rows, t->rows);
        if (d->dx)
            product_back(p, t, g->rows, d->dx, d->dy[i], d->add || i > 0);
    }
    if (tensor_of(p, g, 0)->adapter >= 0)
        adapters_backward(p, g, d);
}
