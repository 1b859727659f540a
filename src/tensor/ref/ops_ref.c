/* The reference table: every operation as its definition reads, one loop after the other, sums in double. Slow, and meant
 * to be read beside tensor/ops.h; the fast tables are tested against it. */
#include "tensor/host_memory.h"
#include "tensor/ops.h"
#include "tensor/ref/ref.h"
#include <math.h>

static void ref_gemm(const struct ops *o, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                     float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                     float *c, int64_t ldc) {
    (void)o;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += (double)(trans_a ? a[l * lda + i] : a[i * lda + l]) *
                       (trans_b ? b[j * ldb + l] : b[l * ldb + j]);
            float *out = &c[i * ldc + j];
            *out = (float)(alpha * sum + (beta == 0 ? 0 : (double)beta * *out));
        }
}

static void ref_add(const struct ops *o, float *y, const float *x, float alpha, int64_t n) {
    (void)o;
    for (int64_t i = 0; i < n; i++)
        y[i] += alpha * x[i];
}

static void ref_scale(const struct ops *o, float *y, float alpha, int64_t n) {
    (void)o;
    for (int64_t i = 0; i < n; i++)
        y[i] *= alpha;
}

static double ref_sum_squares(const struct ops *o, const float *x, int64_t n) {
    (void)o;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static void ref_embed(const struct ops *o, float *out, const float *table, const int32_t *token,
                      int64_t n_tokens, int64_t width) {
    (void)o;
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t i = 0; i < width; i++)
            out[t * width + i] = table[token[t] * width + i];
}

static void ref_embed_backward(const struct ops *o, float *dtable, const float *dout, const int32_t *token,
                               int64_t n_tokens, int64_t width, int64_t n_vocab) {
    (void)o;
    (void)n_vocab;
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t i = 0; i < width; i++)
            dtable[token[t] * width + i] += dout[t * width + i];
}

static void ref_scatter_add(const struct ops *o, float *dx, const float *dout, const int32_t *row,
                            int64_t n_rows, int64_t width) {
    ref_embed_backward(o, dx, dout, row, n_rows, width, 0);
}

static void ref_widen(const struct ops *o, float *out, const struct packed_matrix *p, const int32_t *row,
                      int64_t first, int64_t n_rows) {
    (void)o;
    for (int64_t i = 0; i < n_rows; i++)
        p->widen((const char *)p->data + (row ? row[i] : first + i) * p->row_bytes, out + i * p->width,
                 p->width);
}

static void ref_add_row(const struct ops *o, float *y, const float *b, int64_t rows, int64_t width) {
    (void)o;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            y[r * width + i] += b[i];
}

static void ref_sum_rows(const struct ops *o, float *db, const float *dy, int64_t rows, int64_t width) {
    (void)o;
    for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)dy[r * width + i];
        db[i] += (float)sum;
    }
}

static void ref_scale_rows(const struct ops *o, float *x, const float *factor, int64_t rows, int64_t width) {
    (void)o;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            x[r * width + i] *= factor[r];
}

static void ref_rmsnorm(const struct ops *o, float *out, float *rstd, const float *x, const float *w,
                        int64_t rows, int64_t width, float epsilon) {
    for (int64_t r = 0; r < rows; r++) {
        const float *xr = x + r * width;
        rstd[r] = (float)(1 / sqrt(ref_sum_squares(o, xr, width) / (double)width + (double)epsilon));
        for (int64_t i = 0; i < width; i++)
            out[r * width + i] = xr[i] * rstd[r] * w[i];
    }
}

/* With n = x * rstd: dx = rstd * (g - n * mean(g * n)) where g = dout * w; dw = sum over rows of dout * n. */
static void ref_rmsnorm_backward(const struct ops *o, float *dx, float *dw, const float *dout, const float *x,
                                 const float *w, const float *rstd, int64_t rows, int64_t width) {
    (void)o;
    for (int64_t r = 0; r < rows; r++) {
        const float *xr = x + r * width, *dr = dout + r * width;
        double dot = 0, s = (double)rstd[r];
        for (int64_t i = 0; i < width; i++)
            dot += (double)dr[i] * w[i] * xr[i] * s;
        for (int64_t i = 0; i < width; i++)
            dx[r * width + i] += (float)(s * ((double)dr[i] * w[i] - xr[i] * s * dot / (double)width));
    }
    for (int64_t i = 0; dw && i < width; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)dout[r * width + i] * x[r * width + i] * rstd[r];
        dw[i] += (float)sum;
    }
}

static void ref_rope(const struct ops *o, float *x, const struct rope_shape *s, bool inverse) {
    (void)o;
    int half = s->head_dim / 2, step = s->halves ? 1 : 2, apart = s->halves ? half : 1;
    for (int64_t t = 0; t < s->n_tokens; t++)
        for (int h = 0; h < s->n_heads; h++)
            for (int i = 0; i < half; i++) {
                float *p = x + (t * s->n_heads + h) * s->head_dim + i * step;
                double angle = (double)s->position[t] * (double)s->freq[i];
                double c = cos(angle), d = inverse ? -sin(angle) : sin(angle);
                double a = p[0], b = p[apart];
                p[0] = (float)(a * c - b * d);
                p[apart] = (float)(a * d + b * c);
            }
}

static void ref_swiglu(const struct ops *o, float *out, const float *gate, const float *up, int64_t n) {
    (void)o;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((double)gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

static void ref_swiglu_backward(const struct ops *o, float *dgate, float *dup, const float *dout,
                                const float *gate, const float *up, int64_t n) {
    (void)o;
    for (int64_t i = 0; i < n; i++) {
        double g = gate[i], u = up[i], d = dout[i], s = 1 / (1 + exp(-g));
        dgate[i] = (float)(d * u * s * (1 + g * (1 - s)));
        dup[i] = (float)(d * g * s);
    }
}

/* gelu(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3) */
static double gelu_inner(double x) {
    return sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
}

static void ref_geglu(const struct ops *o, float *out, const float *gate, const float *up, int64_t n) {
    (void)o;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(0.5 * gate[i] * (1 + tanh(gelu_inner((double)gate[i]))) * up[i]);
}

static void ref_geglu_backward(const struct ops *o, float *dgate, float *dup, const float *dout,
                               const float *gate, const float *up, int64_t n) {
    (void)o;
    for (int64_t i = 0; i < n; i++) {
        double g = gate[i], u = up[i], d = dout[i], t = tanh(gelu_inner(g));
        double slope = sqrt(2 / 3.14159265358979323846) * (1 + 3 * 0.044715 * g * g);
        dgate[i] = (float)(d * u * (0.5 * (1 + t) + 0.5 * g * (1 - t * t) * slope));
        dup[i] = (float)(d * 0.5 * g * (1 + t));
    }
}

static void ref_cross_entropy(const struct ops *o, float *logits, float *row_loss, const int32_t *target,
                              const float *weight, int64_t rows, int64_t n_vocab, float gradient_scale) {
    (void)o;
    for (int64_t r = 0; r < rows; r++) {
        float *l = logits + r * n_vocab;
        double max = l[0], sum = 0, w = target[r] < 0 ? 0 : (double)weight[r];
        for (int64_t i = 1; i < n_vocab; i++)
            max = fmax(max, l[i]);
        for (int64_t i = 0; i < n_vocab; i++)
            sum += exp(l[i] - max);
        row_loss[r] = target[r] < 0 ? 0 : (float)(w * (max + log(sum) - l[target[r]]));
        for (int64_t i = 0; i < n_vocab; i++)
            l[i] = (float)(gradient_scale * w * (exp(l[i] - max) / sum - (i == target[r])));
    }
}

static void ref_softmax_block(const struct ops *o, float *logits, const struct softmax_rows *s, int64_t first,
                              int64_t rows, int64_t n_cols) {
    (void)o;
    for (int64_t r = 0; r < rows; r++) {
        float *l = logits + r * n_cols, max = s->max[r];
        double sum = 0;
        if (s->target[r] >= first && s->target[r] < first + n_cols)
            s->at_target[r] = l[s->target[r] - first];
        for (int64_t i = 0; i < n_cols; i++)
            max = fmaxf(max, l[i]);
        for (int64_t i = 0; i < n_cols; i++)
            sum += l[i] = (float)exp((double)l[i] - (double)max);
        s->shrink[r] = (float)exp((double)s->max[r] - (double)max);
        s->sum[r] = (float)((double)s->sum[r] * (double)s->shrink[r] + sum);
        s->max[r] = max;
    }
}

static void ref_softmax_loss(const struct ops *o, float *row_loss, float *factor,
                             const struct softmax_rows *s, const float *weight, int64_t rows,
                             float gradient_scale) {
    (void)o;
    for (int64_t r = 0; r < rows; r++) {
        double w = s->target[r] < 0 ? 0 : (double)weight[r];
        row_loss[r] = (float)(w * ((double)s->max[r] - (double)s->at_target[r] + log((double)s->sum[r])));
        factor[r] = (float)(gradient_scale * w / (double)s->sum[r]);
    }
}

static void ref_adamw(const struct ops *o, float *w, const float *dw, float *m, float *v, int64_t n,
                      const struct adamw_settings *s) {
    (void)o;
    double c1 = 1 - pow((double)s->beta1, (double)s->step), c2 = 1 - pow((double)s->beta2, (double)s->step);
    for (int64_t i = 0; i < n; i++) {
        double g = (double)dw[i] * s->gradient_scale;
        m[i] = (float)(s->beta1 * (double)m[i] + (1 - (double)s->beta1) * g);
        v[i] = (float)(s->beta2 * (double)v[i] + (1 - (double)s->beta2) * g * g);
        double update = (m[i] / c1) / (sqrt(v[i] / c2) + (double)s->epsilon);
        w[i] = (float)(w[i] - s->learning_rate * (update + s->weight_decay * (double)w[i]));
    }
}

static int ref_reserve(const struct ops *o, size_t scratch_bytes, struct err *e) {
    (void)o, (void)scratch_bytes, (void)e;
    return 0; /* needs none */
}

static void ref_close(struct ops *o) {
    *o = (struct ops){0};
}

int ops_open_ref(struct ops *o, struct err *e) {
    (void)e;
    *o = (struct ops){
        .name = "ref",
        .n_threads = 1,
        .reserve = ref_reserve,
        .close = ref_close,
        .gemm = ref_gemm,
        .add = ref_add,
        .scale = ref_scale,
        .sum_squares = ref_sum_squares,
        .embed = ref_embed,
        .embed_backward = ref_embed_backward,
        .gather = ref_embed, /* a row of activations is found like a row of a table */
        .scatter_add = ref_scatter_add,
        .widen = ref_widen,
        .add_row = ref_add_row,
        .sum_rows = ref_sum_rows,
        .scale_rows = ref_scale_rows,
        .rmsnorm = ref_rmsnorm,
        .rmsnorm_backward = ref_rmsnorm_backward,
        .rope = ref_rope,
        .attention = ref_attention,
        .attention_backward = ref_attention_backward,
        .swiglu = ref_swiglu,
        .swiglu_backward = ref_swiglu_backward,
        .geglu = ref_geglu,
        .geglu_backward = ref_geglu_backward,
        .cross_entropy = ref_cross_entropy,
        .softmax_block = ref_softmax_block,
        .softmax_loss = ref_softmax_loss,
        .adamw = ref_adamw,
    };
    host_memory_fill(o);
    return 0;
}
