/* Each operation of the table with its arrays and its call, and the cases: odd sizes that find the ends of loops, and the
 * sizes of a step of training. */
#include "ops_parity.h"
#include <stdlib.h>

static void array_add(struct problem *p, int64_t n, enum fill fill, double amount, bool result) {
    p->array[p->n_arrays++] =
        (struct array){.n = (size_t)n, .fill = fill, .amount = amount, .result = result};
}

static void in(struct problem *p, int64_t n, double deviation) {
    array_add(p, n, FILL_NORMAL, deviation, false);
}

static void in_out(struct problem *p, int64_t n, double deviation) {
    array_add(p, n, FILL_NORMAL, deviation, true);
}

static void out(struct problem *p, int64_t n) {
    array_add(p, n, FILL_POISON, 0, true);
}

static void indices(struct problem *p, int64_t n, enum fill fill, int64_t bound) {
    array_add(p, n, fill, (double)bound, false);
}

/* ---- products ---- */

static void gemm_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in(p, z->m * z->k, 1);
    in(p, z->k * z->n, 0.1);
    if (z->beta == 0)
        out(p, z->m * z->n);
    else
        in_out(p, z->m * z->n, 1);
    p->flops = 2.0 * (double)z->m * (double)z->n * (double)z->k;
}

static void gemm_call(const struct ops *o, void **p, const struct problem *problem) {
    const struct case_size *z = problem->size;
    o->gemm(o, z->trans_a, z->trans_b, z->m, z->n, z->k, 0.7f, p[0], z->trans_a ? z->m : z->k, p[1],
            z->trans_b ? z->k : z->n, z->beta, p[2], z->n);
}

/* A corner of larger matrices: leading dimensions that are not the widths. */
static void gemm_corner_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in(p, z->m * (z->k + 3), 1);
    in(p, z->k * (z->n + 5), 0.1);
    in_out(p, z->m * (z->n + 7), 1);
}

static void gemm_corner_call(const struct ops *o, void **p, const struct problem *problem) {
    const struct case_size *z = problem->size;
    o->gemm(o, false, false, z->m, z->n, z->k, 1, p[0], z->k + 3, p[1], z->n + 5, 0.5f, p[2], z->n + 7);
}

/* ---- values by themselves ---- */

static void pair_arrays(struct problem *p) {
    in_out(p, p->size->n, 1);
    in(p, p->size->n, 1);
}

static void add_call(const struct ops *o, void **p, const struct problem *problem) {
    o->add(o, p[0], p[1], -0.37f, problem->size->n);
}

static void copy_call(const struct ops *o, void **p, const struct problem *problem) {
    o->copy(o, p[0], p[1], problem->size->n);
}

static void scale_arrays(struct problem *p) {
    in_out(p, p->size->n, 1);
}

static void scale_call(const struct ops *o, void **p, const struct problem *problem) {
    o->scale(o, p[0], 0.9f, problem->size->n);
}

static void sum_squares_arrays(struct problem *p) {
    array_add(p, 1, FILL_POISON, 0, true);
    in(p, p->size->n, 1);
}

static void sum_squares_call(const struct ops *o, void **p, const struct problem *problem) {
    float sum = (float)o->sum_squares(o, p[1], problem->size->n);
    o->upload(o, p[0], &sum, sizeof sum);
}

static void swiglu_arrays(struct problem *p) {
    out(p, p->size->n);
    in(p, p->size->n, 3);
    in(p, p->size->n, 1);
}

static void swiglu_call(const struct ops *o, void **p, const struct problem *problem) {
    o->swiglu(o, p[0], p[1], p[2], problem->size->n);
}

static void swiglu_backward_arrays(struct problem *p) {
    for (int i = 0; i < 2; i++)
        out(p, p->size->n);
    in(p, p->size->n, 1);
    in(p, p->size->n, 3);
    in(p, p->size->n, 1);
}

static void swiglu_backward_call(const struct ops *o, void **p, const struct problem *problem) {
    o->swiglu_backward(o, p[0], p[1], p[2], p[3], p[4], problem->size->n);
}

/* dgate and dup over gate and up themselves */
static void swiglu_alias_arrays(struct problem *p) {
    in(p, p->size->n, 1);
    in_out(p, p->size->n, 3);
    in_out(p, p->size->n, 1);
}

static void swiglu_alias_call(const struct ops *o, void **p, const struct problem *problem) {
    o->swiglu_backward(o, p[1], p[2], p[0], p[1], p[2], problem->size->n);
}

static void adamw_arrays(struct problem *p) {
    in_out(p, p->size->n, 1);
    in(p, p->size->n, 0.1);
    in_out(p, p->size->n, 0.01);
    array_add(p, p->size->n, FILL_POSITIVE, 0.001, true);
}

static void adamw_call(const struct ops *o, void **p, const struct problem *problem) {
    const struct adamw_settings s = {.learning_rate = 1e-2f,
                                     .beta1 = 0.9f,
                                     .beta2 = 0.95f,
                                     .epsilon = 1e-8f,
                                     .weight_decay = 0.1f,
                                     .gradient_scale = 0.5f,
                                     .step = 7};
    o->adamw(o, p[0], p[1], p[2], p[3], problem->size->n, &s);
}

/* ---- rows ---- */

static void embed_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    out(p, z->m * z->k);
    in(p, z->n * z->k, 1);
    indices(p, z->m, FILL_TOKENS, z->n);
}

static void embed_call(const struct ops *o, void **p, const struct problem *problem) {
    o->embed(o, p[0], p[1], p[2], problem->size->m, problem->size->k);
}

static void gather_call(const struct ops *o, void **p, const struct problem *problem) {
    o->gather(o, p[0], p[1], p[2], problem->size->m, problem->size->k);
}

static void embed_backward_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in_out(p, z->n * z->k, 1);
    in(p, z->m * z->k, 1);
    indices(p, z->m, FILL_TOKENS, z->n);
}

static void embed_backward_call(const struct ops *o, void **p, const struct problem *problem) {
    o->embed_backward(o, p[0], p[1], p[2], problem->size->m, problem->size->k, problem->size->n);
}

static void scatter_add_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in_out(p, z->n * z->k, 1);
    in(p, z->m * z->k, 1);
    indices(p, z->m, FILL_DISTINCT, z->n);
}

static void scatter_add_call(const struct ops *o, void **p, const struct problem *problem) {
    o->scatter_add(o, p[0], p[1], p[2], problem->size->m, problem->size->k);
}

static void rmsnorm_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    out(p, z->m * z->n);
    out(p, z->m);
    in(p, z->m * z->n, 2);
    in(p, z->n, 1);
}

static void rmsnorm_call(const struct ops *o, void **p, const struct problem *problem) {
    o->rmsnorm(o, p[0], p[1], p[2], p[3], problem->size->m, problem->size->n, 1e-5f);
}

static void rmsnorm_backward_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in_out(p, z->m * z->n, 1);
    in_out(p, z->n, 1);
    in(p, z->m * z->n, 1);
    in(p, z->m * z->n, 1);
    in(p, z->n, 1);
    array_add(p, z->m, FILL_POSITIVE, 1, false);
}

static void rmsnorm_backward_call(const struct ops *o, void **p, const struct problem *problem) {
    const struct case_size *z = problem->size;
    o->rmsnorm_backward(o, p[0], z->flag ? NULL : p[1], p[2], p[3], p[4], p[5], z->m, z->n);
}

static void cross_entropy_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in_out(p, z->m * z->n, 2);
    out(p, z->m);
    indices(p, z->m, FILL_TARGETS, z->n);
    array_add(p, z->m, FILL_POSITIVE, 1, false);
}

static void cross_entropy_call(const struct ops *o, void **p, const struct problem *problem) {
    o->cross_entropy(o, p[0], p[1], p[2], p[3], problem->size->m, problem->size->n, 0.3f);
}

/* ---- heads ---- */

static void rope_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    in_out(p, z->m * z->n_heads * z->head_dim, 1);
    array_add(p, z->head_dim / 2, FILL_POSITIVE, 0.5, false);
    indices(p, z->m, FILL_POSITIONS, 300);
}

static void rope_call(const struct ops *o, void **p, const struct problem *problem) {
    const struct case_size *z = problem->size;
    const struct rope_shape s = {.n_tokens = z->m,
                                 .n_heads = z->n_heads,
                                 .head_dim = z->head_dim,
                                 .halves = z->flag,
                                 .freq = p[1],
                                 .position = p[2]};
    o->rope(o, p[0], &s, z->flag);
}

/* Sequences of about the length asked for, one of a single token among them, until the tokens are used up. */
static void starts_make(struct problem *p) {
    const struct case_size *z = p->size;
    p->start = malloc(((size_t)z->m + 1) * sizeof *p->start);
    if (!p->start)
        abort();
    int64_t at = 0;
    for (p->n_seq = 0; at < z->m; p->n_seq++) {
        p->start[p->n_seq] = (int32_t)at;
        at += p->n_seq == 1 ? 1 : z->length + (p->n_seq * 37) % (z->length / 4 + 1) - z->length / 8;
    }
    p->start[p->n_seq] = (int32_t)z->m;
}

/* Pairs of a query and a key that it sees, times 2 * head_dim for a product of each */
static double attention_flops(const struct problem *p) {
    const struct case_size *z = p->size;
    double pairs = (double)z->m * z->n_prefix;
    for (int s = 0; s < p->n_seq; s++) {
        double n = p->start[s + 1] - p->start[s];
        pairs += n * (n + 1) / 2;
    }
    return pairs * z->n_heads * 2 * z->head_dim;
}

static struct attention_shape shape_of(const struct problem *problem, void **prefix) {
    const struct case_size *z = problem->size;
    struct attention_shape s = {.n_tokens = z->m,
                                .n_heads = z->n_heads,
                                .n_kv_heads = z->n_kv_heads,
                                .head_dim = z->head_dim,
                                .scale = 0.3f,
                                .window = z->window,
                                .n_seq = problem->n_seq,
                                .start = problem->start,
                                .n_prefix = z->n_prefix};
    if (z->n_prefix > 0) {
        s.prefix_k = prefix[0];
        s.prefix_v = prefix[1];
        s.prefix_dk = prefix[2];
        s.prefix_dv = prefix[3];
    }
    return s;
}

static void attention_inputs(struct problem *p) {
    const struct case_size *z = p->size;
    starts_make(p);
    in(p, z->m * z->n_heads * z->head_dim, 0.7);
    in(p, z->m * z->n_kv_heads * z->head_dim, 0.7);
    in(p, z->m * z->n_kv_heads * z->head_dim, 1);
    for (int i = 0; i < 2; i++)
        in(p, (int64_t)z->n_prefix * z->n_kv_heads * z->head_dim, 0.7);
}

static void attention_arrays(struct problem *p) {
    const struct case_size *z = p->size;
    out(p, z->m * z->n_heads * z->head_dim);
    out(p, z->m * z->n_heads);
    attention_inputs(p);
    p->flops = 2 * attention_flops(p);
}

static void attention_call(const struct ops *o, void **p, const struct problem *problem) {
    void *prefix[4] = {p[5], p[6], NULL, NULL};
    struct attention_shape s = shape_of(problem, prefix);
    o->attention(o, p[0], p[1], p[2], p[3], p[4], &s);
}

static void backward_arrays(struct problem *p, bool forward_known) {
    const struct case_size *z = p->size;
    out(p, z->m * z->n_heads * z->head_dim);
    out(p, z->m * z->n_kv_heads * z->head_dim);
    out(p, z->m * z->n_kv_heads * z->head_dim);
    attention_inputs(p);
    in(p, z->m * z->n_heads * z->head_dim, 1);
    array_add(p, z->m * z->n_heads * z->head_dim, forward_known ? FILL_NORMAL : FILL_POISON, 1,
              !forward_known);
    array_add(p, z->m * z->n_heads, forward_known ? FILL_POSITIVE : FILL_POISON, 6, !forward_known);
    if (z->n_prefix > 0)
        in_out(p, (int64_t)2 * z->n_prefix * z->n_kv_heads * z->head_dim, 1);
    p->flops = 5 * attention_flops(p);
}

/* To compare, out and lse come from the same table's forward pass: the gradients are of what it computed. */
static void attention_both_arrays(struct problem *p) {
    backward_arrays(p, false);
}

/* To measure, any will do. */
static void attention_backward_arrays(struct problem *p) {
    backward_arrays(p, true);
}

static void attention_backward_call(const struct ops *o, void **p, const struct problem *problem) {
    const struct case_size *z = problem->size;
    float *prefix_gradients = p[11];
    void *prefix[4] = {
        p[6], p[7], prefix_gradients,
        prefix_gradients ? prefix_gradients + (int64_t)z->n_prefix * z->n_kv_heads * z->head_dim : NULL};
    struct attention_shape s = shape_of(problem, prefix);
    o->attention_backward(o, p[0], p[1], p[2], p[8], p[9], p[10], p[3], p[4], p[5], &s);
}

static void attention_both_call(const struct ops *o, void **p, const struct problem *problem) {
    void *prefix[4] = {p[6], p[7], NULL, NULL};
    struct attention_shape s = shape_of(problem, prefix);
    o->attention(o, p[9], p[10], p[3], p[4], p[5], &s);
    attention_backward_call(o, p, problem);
}

/* ---- the cases ---- */

#define OP(id, text, products, arrays, call)                                                                 \
    static const struct parity_op op_##id = {text, products, arrays##_arrays, call##_call}
OP(gemm, "gemm", true, gemm, gemm);
OP(gemm_corner, "gemm", true, gemm_corner, gemm_corner);
OP(add, "add", false, pair, add);
OP(copy, "copy", false, pair, copy);
OP(scale, "scale", false, scale, scale);
OP(sum_squares, "sum_squares", false, sum_squares, sum_squares);
OP(swiglu, "swiglu", false, swiglu, swiglu);
OP(swiglu_backward, "swiglu_backward", false, swiglu_backward, swiglu_backward);
OP(swiglu_alias, "swiglu_backward", false, swiglu_alias, swiglu_alias);
OP(adamw, "adamw", false, adamw, adamw);
OP(embed, "embed", false, embed, embed);
OP(gather, "gather", false, embed, gather);
OP(embed_backward, "embed_backward", false, embed_backward, embed_backward);
OP(scatter_add, "scatter_add", false, scatter_add, scatter_add);
OP(rmsnorm, "rmsnorm", false, rmsnorm, rmsnorm);
OP(rmsnorm_backward, "rmsnorm_backward", false, rmsnorm_backward, rmsnorm_backward);
OP(cross_entropy, "cross_entropy", false, cross_entropy, cross_entropy);
OP(rope, "rope", false, rope, rope);
OP(attention, "attention", true, attention, attention);
OP(attention_both, "attention_backward", true, attention_both, attention_both);
OP(attention_backward, "attention_backward", true, attention_backward, attention_backward);

#define SMALL(id, text, ...)                                                                                 \
    { &op_##id, text, {__VA_ARGS__}, 0 }
#define STEP(id, per_step, text, ...)                                                                        \
    { &op_##id, text, {__VA_ARGS__}, per_step }
#define HEADS(t, h, kv, e) .m = t, .n_heads = h, .n_kv_heads = kv, .head_dim = e
#define T                  STEP_TOKENS

const struct parity_case parity_cases[] = {
    SMALL(gemm, "A B^T", .m = 37, .n = 29, .k = 41, .trans_b = true),
    SMALL(gemm, "A B + C", .m = 64, .n = 48, .k = 80, .beta = 1),
    SMALL(gemm, "A^T B + C", .m = 24, .n = 56, .k = 130, .trans_a = true, .beta = 1),
    SMALL(gemm, "A^T B^T", .m = 19, .n = 8, .k = 12, .trans_a = true, .trans_b = true),
    SMALL(gemm_corner, "corners of larger matrices", .m = 20, .n = 12, .k = 16),
    SMALL(add, "by four", .n = 4096),
    SMALL(add, "odd", .n = 1001),
    SMALL(copy, "odd", .n = 777),
    SMALL(scale, "by four", .n = 2048),
    SMALL(scale, "odd", .n = 333),
    SMALL(sum_squares, "less than a block", .n = 100),
    SMALL(sum_squares, "more than all blocks", .n = 300007),
    SMALL(swiglu, "by four", .n = 2560),
    SMALL(swiglu, "odd", .n = 515),
    SMALL(swiglu_backward, "by four", .n = 2560),
    SMALL(swiglu_backward, "odd", .n = 515),
    SMALL(swiglu_alias, "over its inputs", .n = 1024),
    SMALL(adamw, "by four", .n = 4000),
    SMALL(adamw, "odd", .n = 4001),
    SMALL(embed, "by four", .m = 100, .n = 50, .k = 64),
    SMALL(embed, "odd", .m = 33, .n = 50, .k = 37),
    SMALL(gather, "by four", .m = 21, .n = 50, .k = 96),
    SMALL(embed_backward, "three chunks, by four", .m = 2500, .n = 90, .k = 64),
    SMALL(embed_backward, "vocabulary of several scans", .m = 1500, .n = 2500, .k = 8),
    SMALL(embed_backward, "odd, wider than a block", .m = 60, .n = 7, .k = 1027),
    SMALL(scatter_add, "by four", .m = 40, .n = 83, .k = 64),
    SMALL(scatter_add, "odd", .m = 40, .n = 83, .k = 5),
    SMALL(rmsnorm, "by four", .m = 50, .n = 256),
    SMALL(rmsnorm, "odd", .m = 9, .n = 77),
    SMALL(rmsnorm_backward, "more rows than blocks", .m = 4500, .n = 32),
    SMALL(rmsnorm_backward, "odd", .m = 100, .n = 77),
    SMALL(rmsnorm_backward, "too wide for all warps", .m = 20, .n = 5000),
    SMALL(rmsnorm_backward, "frozen", .m = 50, .n = 128, .flag = true),
    SMALL(cross_entropy, "by four", .m = 40, .n = 2048),
    SMALL(cross_entropy, "odd", .m = 40, .n = 101),
    SMALL(rope, "neighbours", .m = 40, .n_heads = 3, .head_dim = 64),
    SMALL(rope, "halves, backwards", .m = 40, .n_heads = 2, .head_dim = 18, .flag = true),
    SMALL(attention, "one query head to each", HEADS(150, 2, 2, 32), .length = 60),
    SMALL(attention, "groups", HEADS(200, 4, 2, 64), .length = 90),
    SMALL(attention, "groups, long", HEADS(330, 2, 1, 64), .length = 400),
    SMALL(attention, "window", HEADS(300, 2, 1, 64), .length = 130, .window = 50),
    SMALL(attention, "prefix", HEADS(140, 2, 1, 64), .length = 50, .n_prefix = 70),
    SMALL(attention, "prefix and window", HEADS(140, 2, 1, 32), .length = 50, .n_prefix = 70, .window = 40),
    SMALL(attention, "wide heads", HEADS(140, 2, 1, 128), .length = 70),
    SMALL(attention, "heads of 80", HEADS(140, 1, 1, 80), .length = 70),
    SMALL(attention, "odd heads", HEADS(70, 3, 1, 19), .length = 30, .n_prefix = 5),
    SMALL(attention_both, "one query head to each", HEADS(150, 2, 2, 32), .length = 60),
    SMALL(attention_both, "groups", HEADS(200, 4, 2, 64), .length = 90),
    SMALL(attention_both, "groups, long", HEADS(330, 2, 1, 64), .length = 400),
    SMALL(attention_both, "window", HEADS(300, 2, 1, 64), .length = 130, .window = 50),
    SMALL(attention_both, "prefix", HEADS(140, 2, 1, 64), .length = 50, .n_prefix = 70),
    SMALL(attention_both, "prefix in two chunks", HEADS(600, 2, 1, 16), .length = 30, .n_prefix = 10),
    SMALL(attention_both, "prefix and window", HEADS(140, 2, 1, 32), .length = 50, .n_prefix = 70,
          .window = 40),
    SMALL(attention_both, "wide heads", HEADS(140, 2, 1, 128), .length = 70),
    SMALL(attention_both, "heads of 80", HEADS(140, 1, 1, 80), .length = 70),
    SMALL(attention_both, "odd heads", HEADS(70, 3, 1, 19), .length = 30, .n_prefix = 5),

    /* D 256, H 4, K 2, E 64, F 768, V 4096, 8 layers: 8.4 million parameters. 32,768 tokens in sequences of about 512. */
    STEP(embed, 1, "tokens", .m = T, .n = 4096, .k = 256),
    STEP(rmsnorm, 17, "", .m = T, .n = 256),
    STEP(gemm, 16, "q and output forward", .m = T, .n = 256, .k = 256, .trans_b = true),
    STEP(gemm, 16, "k and v forward", .m = T, .n = 128, .k = 256, .trans_b = true),
    STEP(gemm, 16, "gate and up forward", .m = T, .n = 768, .k = 256, .trans_b = true),
    STEP(gemm, 8, "down forward", .m = T, .n = 256, .k = 768, .trans_b = true),
    STEP(gemm, 1, "logits forward", .m = T, .n = 4096, .k = 256, .trans_b = true),
    STEP(rope, 16, "queries", HEADS(T, 4, 0, 64)),
    STEP(rope, 16, "keys", HEADS(T, 2, 0, 64)),
    STEP(attention, 8, "forward", HEADS(T, 4, 2, 64), .length = 512),
    STEP(swiglu, 8, "", .n = (int64_t)T * 768),
    STEP(add, 16, "residual", .n = (int64_t)T * 256),
    STEP(cross_entropy, 1, "", .m = T, .n = 4096),
    STEP(gemm, 16, "q and output dx", .m = T, .n = 256, .k = 256, .beta = 1),
    STEP(gemm, 16, "k and v dx", .m = T, .n = 256, .k = 128, .beta = 1),
    STEP(gemm, 16, "gate and up dx", .m = T, .n = 256, .k = 768, .beta = 1),
    STEP(gemm, 8, "down dx", .m = T, .n = 768, .k = 256, .beta = 1),
    STEP(gemm, 1, "logits dx", .m = T, .n = 256, .k = 4096, .beta = 1),
    STEP(gemm, 16, "q and output dw", .m = 256, .n = 256, .k = T, .trans_a = true, .beta = 1),
    STEP(gemm, 16, "k and v dw", .m = 128, .n = 256, .k = T, .trans_a = true, .beta = 1),
    STEP(gemm, 16, "gate and up dw", .m = 768, .n = 256, .k = T, .trans_a = true, .beta = 1),
    STEP(gemm, 8, "down dw", .m = 256, .n = 768, .k = T, .trans_a = true, .beta = 1),
    STEP(gemm, 1, "logits dw", .m = 4096, .n = 256, .k = T, .trans_a = true, .beta = 1),
    STEP(attention_backward, 8, "backward", HEADS(T, 4, 2, 64), .length = 512),
    STEP(swiglu_backward, 8, "", .n = (int64_t)T * 768),
    STEP(rmsnorm_backward, 17, "", .m = T, .n = 256),
    STEP(embed_backward, 1, "tokens", .m = T, .n = 4096, .k = 256),
    STEP(sum_squares, 1, "gradient", .n = 8400000),
    STEP(adamw, 1, "all weights in one", .n = 8400000),
};
const int parity_case_count = sizeof parity_cases / sizeof *parity_cases;
