/* Operations over rows: normalisation, rotary positions, cross-entropy. Threads share out the rows. */
#include "tensor/fast/cpu.h"
#include <math.h>
#include <string.h>

/* ---- RMSNorm ---- */

struct norm_rows {
    const struct cpu *c;
    float *out, *rstd_out, *dx, *dw;
    const float *x, *w, *dout, *rstd;
    int64_t width;
    float epsilon;
};

static void norm_range(void *context, int64_t r, int64_t end, int thread) {
    struct norm_rows *n = context;
    (void)thread;
    for (; r < end; r++)
        n->rstd_out[r] = n->c->kernels->rmsnorm_row(n->out + r * n->width, n->x + r * n->width, n->w,
                                                    n->width, n->epsilon);
}

void cpu_rmsnorm(const struct ops *o, float *out, float *rstd, const float *x, const float *w, int64_t rows,
                 int64_t width, float epsilon) {
    struct norm_rows n = {
        .c = cpu_of(o), .out = out, .rstd_out = rstd, .x = x, .w = w, .width = width, .epsilon = epsilon};
    cpu_for(n.c, rows, rows * width, norm_range, &n);
}

static void norm_backward_range(void *context, int64_t r, int64_t end, int thread) {
    struct norm_rows *n = context;
    float *dw = n->dw ? cpu_scratch(n->c, thread) : NULL;
    for (; r < end; r++)
        n->c->kernels->rmsnorm_backward_row(n->dx + r * n->width, dw, n->dout + r * n->width,
                                            n->x + r * n->width, n->w, n->rstd[r], n->width);
}

/* dw: each thread adds up its rows in its own scratch; the parts are then added in the order of the threads. */
void cpu_rmsnorm_backward(const struct ops *o, float *dx, float *dw, const float *dout, const float *x,
                          const float *w, const float *rstd, int64_t rows, int64_t width) {
    struct norm_rows n = {
        .c = cpu_of(o), .dx = dx, .dw = dw, .dout = dout, .x = x, .w = w, .rstd = rstd, .width = width};
    for (int i = 0; dw && i < o->n_threads; i++)
        memset(cpu_scratch(n.c, i), 0, (size_t)width * sizeof(float));
    cpu_for(n.c, rows, rows * width, norm_backward_range, &n);
    for (int i = 0; dw && i < o->n_threads; i++)
        n.c->kernels->add(dw, cpu_scratch(n.c, i), 1, width);
}

/* ---- rotary positions ---- */

static void rope_row(float *cosine, float *sine, const float *freq, int half, int64_t position) {
    for (int i = 0; i < half; i++) {
        double angle = (double)position * (double)freq[i];
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
}

/* Rows of the table up to the largest position of the batch, or as many as fit. */
static void rope_fill(struct cpu_rope_table *t, const struct rope_shape *s) {
    int half = s->head_dim / 2;
    if (t->half != half || memcmp(t->freq, s->freq, (size_t)half * sizeof *s->freq) != 0) {
        memcpy(t->freq, s->freq, (size_t)half * sizeof *s->freq);
        t->half = half;
        t->n_positions = 0;
    }
    int64_t needed = 0, room = CPU_ROPE_FLOATS / (2 * half);
    for (int64_t i = 0; i < s->n_tokens; i++)
        needed = s->position[i] >= needed ? s->position[i] + 1 : needed;
    for (; t->n_positions < needed && t->n_positions < room; t->n_positions++) {
        float *row = t->values + t->n_positions * 2 * half;
        rope_row(row, row + half, t->freq, half, t->n_positions);
    }
}

struct rope_rows {
    const struct cpu *c;
    float *x;
    const struct rope_shape *s;
    float sign;
};

static void rope_range(void *context, int64_t t, int64_t end, int thread) {
    struct rope_rows *r = context;
    const struct rope_shape *s = r->s;
    const struct cpu_rope_table *table = &r->c->rope;
    int half = s->head_dim / 2;
    float own[2 * 256];
    (void)thread;
    for (; t < end; t++) {
        const float *row = own;
        if (s->position[t] < table->n_positions)
            row = table->values + (int64_t)s->position[t] * 2 * half;
        else
            rope_row(own, own + half, s->freq, half, s->position[t]);
        for (int h = 0; h < s->n_heads; h++)
            (s->halves ? r->c->kernels->rope_halves : r->c->kernels->rope_pairs)(
                r->x + (t * s->n_heads + h) * s->head_dim, row, row + half, half, r->sign);
    }
}

void cpu_rope(const struct ops *o, float *x, const struct rope_shape *s, bool inverse) {
    struct cpu *c = cpu_of(o);
    struct rope_rows r = {.c = c, .x = x, .s = s, .sign = inverse ? -1.0f : 1.0f};
    rope_fill(&c->rope, s);
    cpu_for(c, s->n_tokens, s->n_tokens * s->n_heads * s->head_dim, rope_range, &r);
}

/* ---- cross-entropy ---- */

struct loss_rows {
    const struct cpu_kernels *k;
    float *logits, *row_loss;
    const int32_t *target;
    const float *weight;
    int64_t n_vocab;
    float gradient_scale;
};

static void loss_row(const struct loss_rows *l, int64_t r) {
    float *x = l->logits + r * l->n_vocab;
    int32_t target = l->target[r];
    if (target < 0) {
        l->row_loss[r] = 0;
        memset(x, 0, (size_t)l->n_vocab * sizeof *x);
        return;
    }
    float max = l->k->max(x, l->n_vocab), at_target = x[target];
    double sum = l->k->exp_sum(x, 1, max, l->n_vocab);
    l->row_loss[r] = (float)(l->weight[r] * ((double)max - (double)at_target + log(sum)));
    float factor = l->gradient_scale * l->weight[r];
    l->k->scale(x, (float)(factor / sum), l->n_vocab);
    x[target] -= factor;
}

static void loss_range(void *context, int64_t r, int64_t end, int thread) {
    (void)thread;
    for (; r < end; r++)
        loss_row(context, r);
}

void cpu_cross_entropy(const struct ops *o, float *logits, float *row_loss, const int32_t *target,
                       const float *weight, int64_t rows, int64_t n_vocab, float gradient_scale) {
    struct loss_rows l = {cpu_of(o)->kernels, logits, row_loss, target, weight, n_vocab, gradient_scale};
    cpu_for(cpu_of(o), rows, rows * n_vocab, loss_range, &l);
}
