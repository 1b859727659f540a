/* The linear layer: a frozen or trained matrix, with or without a low-rank adapter. The one place where a weight meets
 * activations, so the one place that learns of quantised weights. */
#include "nn/internal.h"

static float *adapter_value(const struct nn_model *m, const struct nn_tensor *t, int which) {
    return m->adapter.value + m->adapter.tensors[t->adapter + which].offset;
}

static float *adapter_gradient(const struct nn_model *m, const struct nn_tensor *t, int which) {
    return m->adapter.gradient + m->adapter.tensors[t->adapter + which].offset;
}

void nn_linear(const struct nn_model *m, int layer, enum nn_kind kind, int64_t rows, float *y, const float *x,
               float *u, bool add) {
    const struct ops *o = m->ops;
    const struct nn_tensor *t = nn_base_tensor(m, layer, kind);
    o->gemm(o, false, true, rows, t->rows, t->cols, 1, x, t->cols, m->base.value + t->offset, t->cols,
            add ? 1 : 0, y, t->rows);
    if (t->adapter < 0)
        return;
    int64_t rank = m->lora.rank;
    o->gemm(o, false, true, rows, rank, t->cols, 1, x, t->cols, adapter_value(m, t, 0), t->cols, 0, u, rank);
    o->gemm(o, false, true, rows, t->rows, rank, m->lora.alpha / (float)rank, u, rank, adapter_value(m, t, 1),
            rank, 1, y, t->rows);
}

void nn_linear_backward(struct nn_model *m, int layer, enum nn_kind kind, int64_t rows,
                        const struct nn_linear_grad *g) {
    const struct ops *o = m->ops;
    const struct nn_tensor *t = nn_base_tensor(m, layer, kind);
    int64_t out = t->rows, in = t->cols, rank = m->lora.rank;
    float *dw = nn_gradient(m, layer, kind);
    if (dw)
        o->gemm(o, true, false, out, in, rows, 1, g->dy, out, g->x, in, 1, dw, in);
    if (g->dx)
        o->gemm(o, false, false, rows, in, out, 1, g->dy, out, m->base.value + t->offset, in, g->add ? 1 : 0,
                g->dx, in);
    if (t->adapter < 0)
        return;
    float scale = m->lora.alpha / (float)rank;
    o->gemm(o, false, false, rows, rank, out, scale, g->dy, out, adapter_value(m, t, 1), rank, 0, g->du,
            rank);
    o->gemm(o, true, false, out, rank, rows, scale, g->dy, out, g->u, rank, 1, adapter_gradient(m, t, 1),
            rank);
    o->gemm(o, true, false, rank, in, rows, 1, g->du, rank, g->x, in, 1, adapter_gradient(m, t, 0), in);
    if (g->dx)
        o->gemm(o, false, false, rows, in, rank, 1, g->du, rank, adapter_value(m, t, 0), in, 1, g->dx, in);
}
