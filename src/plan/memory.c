/* The parts of a running model's memory. */
#include "plan/memory.h"

#include <math.h>

static const double MB = 1e6;

/* llama.cpp's padding of the context, and the rows that its repacked layouts come in. */
enum { CONTEXT_STEP = 256, REPACK_ROWS = 8 };

/* Of a file whose tensors are copied, what is in memory twice: the runner gives its pages back at each 32nd part of the way
 * (llama/lm_load.c). Measured beside the same files without repacking: 5 to 12 MB more, of files of 227 to 668 MB. */
static const double TWICE = 1.0 / 32;

/* Types that ggml 0.27 repacks, by instruction set: read from its log when it loaded the same model as each type under
 * emulated Cortex-A35 (none), Cortex-A76 and a processor with i8mm, and on an x86-64 with AVX-512 (where Q2_K is repacked
 * as well; with AVX2 alone it is not). */
static const bool repacked[N_ISAS][N_TENSOR_TYPES] = {
    [ISA_DOTPROD] = {[TENSOR_Q8_0] = true,
                     [TENSOR_Q6_K] = true,
                     [TENSOR_Q5_K] = true,
                     [TENSOR_Q4_K] = true,
                     [TENSOR_Q4_0] = true,
                     [TENSOR_IQ4_NL] = true},
    [ISA_I8MM] = {[TENSOR_Q8_0] = true,
                  [TENSOR_Q6_K] = true,
                  [TENSOR_Q5_K] = true,
                  [TENSOR_Q4_K] = true,
                  [TENSOR_Q4_0] = true,
                  [TENSOR_IQ4_NL] = true},
    [ISA_X86] = {[TENSOR_Q4_K] = true, [TENSOR_Q4_0] = true, [TENSOR_IQ4_NL] = true},
};

/* Measured with models of four shapes on x86-64, contexts of 512 and 2048, micro-batches of 64 and 128: code and libraries
 * 9.6 MB, heap 7.7 MB, and 220 bytes a token of the vocabulary (its text three times, two hash tables). When there are logits,
 * a third of a block's buffers lives beside them. */
static const double LIBRARIES = 9.6e6, HEAP = 7.7e6, PER_VOCABULARY = 220, BESIDE_LOGITS = 0.35;

/* What flash attention works in, and allocators around it: SmolLM2-135M as Q8_0, Q4_K_M and Q3_K_M took 5.5 to 6.5 MB more than
 * everything else adds up to. */
static const double FLASH = 5.9e6;

/* What is left: pages that are mapped but not touched, allocators, another build of the libraries. */
static const double SHARE_OFF = 0.03, BYTES_OFF = 6e6;

double memory_cache_per_token(const struct shape *s, enum plan_kv_type type) {
    double value_bytes = type == PLAN_KV_Q8_0 ? 34.0 / 32 : 2;
    return 2.0 * s->n_layer * s->n_head_kv * s->head_dim * value_bytes;
}

double memory_repacked(const struct predict_input *in) {
    double total = 0;
    struct shape_tensor t;
    for (int64_t i = 0; shape_tensor(in->shape, i, &t); i++) {
        enum tensor_type type = mix_tensor_type(in->mix, in->shape, &t);
        bool multiplied = t.kind != SHAPE_VECTOR && (t.kind != SHAPE_EMBED || in->shape->tied);
        if (multiplied && repacked[in->rates->isa][type] && t.rows % REPACK_ROWS == 0)
            total += (double)mix_tensor_bytes(type, &t);
    }
    return total;
}

/* Rows of logits: all tokens of all labels but the first of each branch at once, or the last token's. */
static double logit_rows(const struct predict_input *in) {
    return in->label_scoring ? fmax((double)in->task->label_tokens, 2) : 2;
}

static double compute_bytes(const struct predict_input *in, double context) {
    const struct shape *s = in->shape;
    /* flash attention keeps no scores, only the mask, in 32 and 16 bits */
    double block = 4.0 * (double)in->ubatch *
                   (2 * context + 3.0 * s->n_embd + 2.0 * s->n_ff + (double)s->n_head * s->head_dim);
    double logits = 4 * logit_rows(in) * (double)s->n_vocab;
    return fmax(block, logits + BESIDE_LOGITS * block) + logits; /* llama.cpp keeps a copy of the logits */
}

struct memory_parts memory_count(const struct predict_input *in, const struct mix_work *work) {
    double context = CONTEXT_STEP * ceil((double)in->context / CONTEXT_STEP);
    return (struct memory_parts){
        .weights = work->file_bytes,
        .twice = fmin(memory_repacked(in), TWICE * work->file_bytes),
        .cache = context * memory_cache_per_token(in->shape, in->kv_type),
        .compute = compute_bytes(in, context),
        .runtime = LIBRARIES + HEAP + FLASH + PER_VOCABULARY * (double)in->shape->n_vocab,
    };
}

double memory_sum(const struct memory_parts *p) {
    return p->weights + p->twice + p->cache + p->compute + p->runtime;
}

struct estimate memory_estimate(const struct predict_input *in, const struct mix_work *work,
                                struct arena *a) {
    struct memory_parts p = memory_count(in, work);
    double sum = memory_sum(&p);
    return (struct estimate){
        sum, (1 - SHARE_OFF) * sum - fmin(BYTES_OFF, 0.1 * sum), (1 + SHARE_OFF) * sum + BYTES_OFF,
        a == NULL
            ? ""
            : arena_printf(
                  a,
                  "weights %.0f MB by the tensors' types and shapes, twice while they are repacked %.0f MB, "
                  "cache %.0f "
                  "MB at context %lld, compute %.0f MB at ubatch %lld, runtime %.0f MB",
                  p.weights / MB, p.twice / MB, p.cache / MB, (long long)in->context, p.compute / MB,
                  (long long)in->ubatch, p.runtime / MB)};
}
