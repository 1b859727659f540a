/* Operations over rows: packed weights, biases, normalisation, rotary positions, cross-entropy. Threads share out the rows. */
#include "tensor/fast/cpu.h"
#include <math.h>
#include <string.h>

/* ---- packed weights, biases, factors ---- */

struct plain_rows {
    const struct cpu_kernels *k;
    float *y;
    const float *x;
    const struct packed_matrix *packed;
    const int32_t *row;
    int64_t first, rows, width;
};

static void widen_range(void *context, int64_t i, int64_t end, int thread) {
    const struct plain_rows *r = context;
    const struct packed_matrix *p = r->packed;
    (void)thread;
    for (; i < end; i++)
        p->widen((const char *)p->data + (r->row ? r->row[i] : r->first + i) * p->row_bytes,
                 r->y + i * p->width, p->width);
}

void cpu_widen(const struct ops *o, float *out, const struct packed_matrix *p, const int32_t *row,
               int64_t first, int64_t n_rows) {
    struct plain_rows r = {.y = out, .packed = p, .row = row, .first = first};
    cpu_for(cpu_of(o), n_rows, n_rows * p->width, widen_range, &r);
}

static void add_row_range(void *context, int64_t i, int64_t end, int thread) {
    const struct plain_rows *r = context;
    (void)thread;
    for (; i < end; i++)
        r->k->add(r->y + i * r->width, r->x, 1, r->width);
}

void cpu_add_row(const struct ops *o, float *y, const float *b, int64_t rows, int64_t width) {
    struct plain_rows r = {.k = cpu_of(o)->kernels, .y = y, .x = b, .width = width};
    cpu_for(cpu_of(o), rows, rows * width, add_row_range, &r);
}

/* Threads share out the columns, in groups of one cache line, so that each sum has one writer. */
static void sum_rows_range(void *context, int64_t begin, int64_t end, int thread) {
    const struct plain_rows *r = context;
    int64_t first = begin * 16, n = (end * 16 < r->width ? end * 16 : r->width) - first;
    (void)thread;
    for (int64_t i = 0; i < r->rows; i++)
        r->k->add(r->y + first, r->x + i * r->width + first, 1, n);
}

void cpu_sum_rows(const struct ops *o, float *db, const float *dy, int64_t rows, int64_t width) {
    struct plain_rows r = {.k = cpu_of(o)->kernels, .y = db, .x = dy, .rows = rows, .width = width};
    cpu_for(cpu_of(o), (width + 15) / 16, rows * width, sum_rows_range, &r);
}

static void scale_rows_range(void *context, int64_t i, int64_t end, int thread) {
    const struct plain_rows *r = context;
    (void)thread;
    for (; i < end; i++)
        if (r->x[i] != 1)
            r->k->scale(r->y + i * r->width, r->x[i], r->width);
}

void cpu_scale_rows(const struct ops *o, float *x, const float *factor, int64_t rows, int64_t width) {
    struct plain_rows r = {.k = cpu_of(o)->kernels, .y = x, .x = factor, .width = width};
    cpu_for(cpu_of(o), rows, rows * width, scale_rows_range, &r);
}

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

/* ---- cross-entropy in blocks of the vocabulary ---- */

struct block_rows {
    const struct cpu_kernels *k;
    float *logits;
    const struct softmax_rows *s;
    int64_t first, n_cols;
};

static void block_row(const struct block_rows *b, int64_t r) {
    const struct softmax_rows *s = b->s;
    float *x = b->logits + r * b->n_cols;
    int64_t target = s->target[r] - b->first;
    if (s->target[r] >= 0 && target >= 0 && target < b->n_cols)
        s->at_target[r] = x[target];
    float top = b->k->max(x, b->n_cols), max = top <= s->max[r] ? s->max[r] : top; /* NaN must not be lost */
    s->shrink[r] = expf(s->max[r] - max);
    s->sum[r] = (float)((double)s->sum[r] * (double)s->shrink[r] + b->k->exp_sum(x, 1, max, b->n_cols));
    s->max[r] = max;
}

static void block_range(void *context, int64_t r, int64_t end, int thread) {
    (void)thread;
    for (; r < end; r++)
        block_row(context, r);
}

void cpu_softmax_block(const struct ops *o, float *logits, const struct softmax_rows *s, int64_t first,
                       int64_t rows, int64_t n_cols) {
    struct block_rows b = {cpu_of(o)->kernels, logits, s, first, n_cols};
    cpu_for(cpu_of(o), rows, rows * n_cols, block_range, &b);
}

void cpu_softmax_loss(const struct ops *o, float *row_loss, float *factor, const struct softmax_rows *s,
                      const float *weight, int64_t rows, float gradient_scale) {
    (void)o;
    for (int64_t r = 0; r < rows; r++) {
        double w = s->target[r] < 0 ? 0 : (double)weight[r];
        row_loss[r] = (float)(w * ((double)s->max[r] - (double)s->at_target[r] + log((double)s->sum[r])));
        factor[r] = (float)((double)gradient_scale * w / (double)s->sum[r]);
    }
}
