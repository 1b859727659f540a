/* The arithmetic of the predictions. */
#include "plan/predict.h"

#include "base/mem.h"
#include "base/str.h"
#include "plan/boards.h"
#include "plan/memory.h"
#include "train/memory.h"
#include <math.h>

static const double MB = 1e6, MIB = 1024 * 1024;

/* Without an arena nobody reads the text. */
#define SAY(a, ...) ((a) != NULL ? arena_printf((a), __VA_ARGS__) : "")

/* What barriers cost (boards.h) is an estimate and gets a factor of three either way. */
static const double OVERHEAD_SPREAD = 3;

/* Attention over a quantised cache: a Raspberry Pi 5 read 4,096 tokens 1.7 times as slowly (edge-llm-memory-wall, L8), where
 * attention is a fifth of the arithmetic. */
static const double ROUNDED_CACHE = 4.5;

/* Shorter records than the typical one have more targets a token. */
static const double MORE_TARGETS = 1.1;

/* The program, its libraries and buffers of its products beside what the trainer plans: peaks of figure 4.3 lie 16 to 19 MB above its
 * plan. */
static const double PROGRAM_BYTES = 17.5e6;

/* Share of a block that the last one saves, computed where there is a target alone, and the share of two or three passes that the
 * first saves, whose input is not trained. */
static const double LAST_SAVES = 0.8, FIRST_SAVES_LORA = 0.3, FIRST_SAVES_FULL = 0.2;

/* How far off a measured step is on other shapes of the machine (figure 4.3); a machine that others use may be idle later. */
static const double STEP_SPREAD = 1.3;

/* Share of the product's rate that a training step reaches end to end. With adapters it grows with the model's width. Fitted to what
 * bench-planner (figure 4.3) measured on one machine for widths of 256, 448 and 640, and bench-train for 2048; other machines
 * may be off by TRAIN_SPREAD. */
static const double EFFICIENCY_LORA = 0.86, EFFICIENCY_WIDTH = 270, EFFICIENCY_FULL = 0.66,
                    TRAIN_SPREAD = 1.8;

static double train_efficiency(const struct predict_input *in) {
    double lora = EFFICIENCY_LORA * (1 - exp(-(double)in->shape->n_embd / EFFICIENCY_WIDTH));
    return in->method == PLAN_FULL ? EFFICIENCY_FULL : lora;
}

static struct estimate around(double value, double spread, const char *basis) {
    return (struct estimate){value, value / spread, value * spread, basis};
}

static double sum(const double *values) {
    double total = 0;
    for (int t = 0; t < N_TENSOR_TYPES; t++)
        total += values[t];
    return total;
}

static double weighted(const double *amount, const double *cost) {
    double total = 0;
    for (int t = 0; t < N_TENSOR_TYPES; t++)
        total += amount[t] * cost[t];
    return total;
}

/* ---- size and memory ---- */

static struct estimate file_size_of(const struct predict_input *in, const struct mix_work *work,
                                    struct arena *a) {
    double known = (double)in->shape->extra_bytes;
    double extra = known > 0 ? known : 30.0 * (double)in->shape->n_vocab + 0.2 * MB;
    double value = work->file_bytes + extra;
    struct estimate out = {value, work->file_bytes + (known > 0 ? 0.98 : 0.5) * extra,
                           work->file_bytes + (known > 0 ? 1.02 : 3) * extra, NULL};
    out.basis = SAY(a, "%.1f MB by tensor shapes and types, %.1f MB of tokenizer and metadata (%s)",
                    work->file_bytes / MB, extra / MB, known > 0 ? "as in the base's file" : "estimated");
    return out;
}

int predict_reserved(const struct catalog_device *d, struct arena *a, struct estimate *out, struct err *e) {
    if (d->os_reserved_mb.known) {
        *out = (struct estimate){d->os_reserved_mb.value * MIB, d->os_reserved_mb.low * MIB,
                                 d->os_reserved_mb.high * MIB, d->os_reserved_mb.source};
        return 0;
    }
    double memory = d->memory_mb.known ? d->memory_mb.value * MIB : 4096 * MIB;
    double value = fmin(300 * MIB, 0.25 * memory);
    *out = (struct estimate){value, value / 2, fmin(1.5 * value, 0.4 * memory),
                             SAY(a, "nobody measured what its system keeps: %.0f MB assumed", value / MB)};
    return out->basis != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "predict_reserved", "out of memory");
}

/* ---- speed ---- */

/* Seconds with the part that the device's rates decide and the part that every pass costs, so that each keeps its width. */
struct duration {
    double rate_s, overhead_s, spread;
};

static double middle(struct duration d) {
    return d.rate_s + d.overhead_s;
}

static struct estimate seconds(struct duration d, const char *basis) {
    return (struct estimate){middle(d), d.rate_s / d.spread + d.overhead_s / OVERHEAD_SPREAD,
                             d.rate_s * d.spread + d.overhead_s * OVERHEAD_SPREAD, basis};
}

static struct estimate per_second(double n, struct duration d, const char *basis) {
    struct estimate s = seconds(d, basis);
    return (struct estimate){n / s.value, n / s.high, n / s.low, basis};
}

static double pass_overhead(const struct predict_input *in) {
    return board_pass_overhead(in->shape->n_layer, in->rates->threads);
}

static struct duration read_time(const struct predict_input *in, const struct mix_work *work,
                                 int64_t n_tokens) {
    const struct shape *s = in->shape;
    const struct device_rates *r = in->rates;
    double n = (double)n_tokens, passes = ceil(n / (double)in->ubatch);
    double attention = (in->plain_attention ? board_plain_attention() : 1) *
                       (in->kv_type == PLAN_KV_Q8_0 ? ROUNDED_CACHE : 1) * n * n * s->n_layer * s->n_head *
                       s->head_dim; /* two products over half of the square */
    double macs_s = n * weighted(work->block_macs, r->s_per_mac) +
                    work->head_macs * r->s_per_mac[work->head_type] + attention * r->s_per_mac[TENSOR_F16];
    double bytes_s =
        passes * weighted(work->read_bytes, r->s_per_byte); /* weights are read once a pass at least */
    return (struct duration){fmax(macs_s, bytes_s), passes * pass_overhead(in), r->read_spread};
}

static struct duration write_time(const struct predict_input *in, const struct mix_work *work,
                                  int64_t n_tokens) {
    const struct device_rates *r = in->rates;
    double seen = (double)(in->task->prefix_tokens + in->task->record_tokens);
    double token_s = weighted(work->read_bytes, r->s_per_byte) +
                     seen * memory_cache_per_token(in->shape, in->kv_type) * r->s_per_byte[TENSOR_F16];
    return (struct duration){(double)n_tokens * token_s, (double)n_tokens * pass_overhead(in),
                             r->write_spread};
}

/* One decision: the prompt that is not kept, then the answer, scored in one more pass or written token by token. */
static struct estimate decision(const struct predict_input *in, const struct mix_work *work,
                                int64_t prompt_tokens, struct arena *a) {
    struct duration prompt = read_time(in, work, prompt_tokens);
    struct duration answer = in->label_scoring ? read_time(in, work, in->task->label_tokens)
                                               : write_time(in, work, in->task->answer_tokens);
    struct estimate first = seconds(prompt, ""), second = seconds(answer, "");
    return (struct estimate){
        first.value + second.value, first.low + second.low, first.high + second.high,
        SAY(a, "%lld tokens read, then %lld %s; tokens %s", (long long)prompt_tokens,
            (long long)(in->label_scoring ? in->task->label_tokens : in->task->answer_tokens),
            in->label_scoring ? "label tokens scored" : "written",
            in->task->counted ? "counted" : "estimated from the text's length")};
}

/* ---- training here ---- */

enum {
    BATCH_ROWS = 32, /* of a step, as the trainer's defaults have it for most sets */
    LEAST_SHARED = 8 /* a shorter prefix is computed with every sample, as the trainer does */
};

static double batch_rows(const struct predict_task *t) {
    return t->batch_rows > 0 ? (double)t->batch_rows : BATCH_ROWS;
}

/* Tokens of a sample behind the prefix; with reasons the record again, and what is learned behind it. */
static double own_tokens(const struct predict_task *t) {
    int64_t again = t->reason_tokens > 0 ? t->record_tokens + t->reason_tokens : 0;
    return (double)(t->record_tokens + t->answer_tokens + again);
}

/* Tokens that go through the blocks for one sample: its own, and its part of the prefix that its step computes once. */
static double sample_tokens(const struct predict_task *t) {
    double own = own_tokens(t), prefix = (double)t->prefix_tokens;
    return own + (t->prefix_tokens < LEAST_SHARED ? prefix : prefix / batch_rows(t));
}

/* Tokens of the longest row behind what all share; the last token of an answer is a target and not fed. The trainer makes room for a
 * step of such rows. */
static double longest_own(const struct predict_task *t) {
    double own = (double)(t->longest_tokens - (t->prefix_tokens < LEAST_SHARED ? 0 : t->prefix_tokens)) - 1;
    return own > 1 ? own : 1;
}

/* Of a row with the teacher's reasons: the same prompt, and the reasons where the answer stood. */
static int64_t longest_row(const struct predict_task *t) {
    int64_t more = t->reason_tokens - t->answer_tokens;
    return t->longest_tokens - 1 + (more > 0 ? more : 0);
}

/* Tokens behind what all share, of a step of the longest rows. */
static int64_t step_tokens(const struct predict_task *t) {
    double own = longest_own(t), with_reasons = own + (double)(longest_row(t) - t->longest_tokens + 1);
    return (int64_t)(batch_rows(t) * (own + (t->reason_tokens > 0 ? with_reasons : 0)));
}

/* Targets a sample: of its answer, and of its reasons. */
static double targets(const struct predict_task *t) {
    return (double)(t->answer_tokens + t->reason_tokens);
}

/* The trainer's own plan, for a model that does not exist yet: it asks for the shape alone. A large frozen base is kept as its
 * file has it: 16 bits. */
static struct train_memory trainers_plan(const struct predict_input *in, double params) {
    const struct shape *s = in->shape;
    const struct predict_task *t = in->task;
    bool lora = in->method == PLAN_LORA;
    struct nn_model model = {
        .config = {.n_layer = s->n_layer,
                   .d_model = s->n_embd,
                   .n_heads = s->n_head,
                   .n_kv_heads = s->n_head_kv,
                   .head_dim = s->head_dim,
                   .d_ff = s->n_ff,
                   .n_vocab = (int)s->n_vocab,
                   .tied_head = s->tied,
                   .qk_norm = s->qk_norm,
                   .post_norms = s->post_norms},
        .lora = {.rank = lora ? in->rank : 0, .alpha = 1},
    };
    double own = own_tokens(t);
    struct train_need need = {.longest = longest_row(t),
                              .shared = t->prefix_tokens,
                              .step_tokens = step_tokens(t),
                              .targets_per_token = MORE_TARGETS * targets(t) / (own > 0 ? own : 1)};
    int64_t f32 = (int64_t)(4 * params), half = f32 / 2, total = mem_total_bytes();
    const struct train_base_bytes bytes = {
        {[TRAIN_BASE_F32] = f32, [TRAIN_BASE_BF16] = half, [TRAIN_BASE_STORED] = half}};
    enum train_base kept = train_base_choose(&model, &bytes, &need, total);
    struct train_memory memory;
    model.packed = kept != TRAIN_BASE_F32;
    train_memory_plan(&model, bytes.of[kept], &need, total, &memory);
    return memory;
}

/* Values in the adapters of the seven matrices of every layer. */
static double adapter_values(const struct shape *s, int rank) {
    double q = (double)s->n_head * s->head_dim, kv = (double)s->n_head_kv * s->head_dim, d = s->n_embd,
           f = s->n_ff;
    return (double)rank * s->n_layer * ((d + q) * 2 + (d + kv) * 2 + (d + f) * 3);
}

static struct estimate training_memory(const struct predict_input *in, double params, struct arena *a) {
    struct train_memory m = trainers_plan(in, params);
    double value = (double)m.total_bytes + PROGRAM_BYTES;
    return (struct estimate){value, 0.95 * value, 1.05 * value + 100 * MIB,
                             SAY(a,
                                 "weights %.0f MB, what is trained with gradients and moments %.0f MB, "
                                 "activations of %lld tokens at once %.0f MB, the program %.0f MB",
                                 (double)m.base_bytes / MB, (double)m.trained_bytes / MB,
                                 (long long)m.limits.n_tokens, (double)m.run_bytes / MB, PROGRAM_BYTES / MB)};
}

double predict_passes(enum plan_method method) {
    return method == PLAN_FULL ? 3 : 2;
}

/* Multiply-accumulates of a sample's head: rows with a target alone. */
static double head_macs(const struct predict_input *in, const struct mix_work *work) {
    return (targets(in->task) + 1) * predict_passes(in->method) * work->head_macs;
}

/* By the step that was timed here. Blocks: their products and attention by multiply-accumulates, everything else by values. */
static struct estimate trained_by_step(const struct predict_input *in, const struct mix_work *work, double n,
                                       struct arena *a) {
    const struct shape *s = in->shape;
    const struct predict_host *h = in->host;
    const struct predict_step *step = &h->step[in->method];
    bool full = in->method == PLAN_FULL;
    double layers = fmax(s->n_layer - LAST_SAVES - (full ? FIRST_SAVES_FULL : FIRST_SAVES_LORA), 0.2);
    double tokens = sample_tokens(in->task),
           context = (double)(in->task->prefix_tokens + in->task->record_tokens);
    double attention = context * s->n_head * s->head_dim; /* two products over half of the square */
    double macs =
        tokens * layers * (sum(work->block_macs) / s->n_layer + attention) * predict_passes(in->method) +
        head_macs(in, work);
    double trained = full ? (double)shape_params(s) : adapter_values(s, in->rank);
    double steps = ceil((double)in->task->n_records / batch_rows(in->task)) * (double)in->task->epochs;
    double value = n * (macs * step->s_per_mac + tokens * layers * s->n_embd * step->s_per_value) +
                   steps * trained * step->s_per_trained;
    struct estimate x = around(value, STEP_SPREAD, "");
    x.low *= 1 - fmin(h->others, 0.9);
    x.basis = SAY(a,
                  "%.0f samples of %.2f GMAC at %.3g GMAC/s, %.0f million values besides at %.3g million/s, "
                  "%.0f updates of "
                  "%.1f million values at %.3g million/s: timed here on steps of the trainer, %d threads%s",
                  n, macs / 1e9, 1e-9 / step->s_per_mac, n * tokens * layers * s->n_embd / 1e6,
                  1e-6 / fmax(step->s_per_value, 1e-15), steps, trained / 1e6,
                  1e-6 / fmax(step->s_per_trained, 1e-15), h->threads,
                  h->others > HOST_BUSY ? "; other programs were running, sooner without them" : "");
    return x;
}

/* Where no step was timed: a share of what the product reaches. */
static struct estimate trained_by_product(const struct predict_input *in, const struct mix_work *work,
                                          double n, struct arena *a) {
    const struct predict_host *h = in->host;
    double lora = in->method == PLAN_LORA ? 3 * adapter_values(in->shape, in->rank) : 0;
    double sample = sample_tokens(in->task) * (predict_passes(in->method) * sum(work->block_macs) + lora) +
                    head_macs(in, work);
    double efficiency = train_efficiency(in);
    return around(n * sample / (h->macs_per_s * efficiency), TRAIN_SPREAD,
                  SAY(a,
                      "%.0f samples of %.2f GMAC at %.0f%% of the %.0f GMAC/s that a product of side %.0f "
                      "reaches here on %d threads",
                      n, sample / 1e9, efficiency * 100, h->macs_per_s / 1e9, h->measured_size, h->threads));
}

void predict_training(const struct predict_input *in, const struct mix_work *work, struct arena *a,
                      struct plan_prediction *out) {
    const struct predict_host *h = in->host;
    if (h == NULL || h->macs_per_s <= 0)
        return;
    double n = (double)(in->task->n_records * in->task->epochs);
    out->train_s = h->step[in->method].s_per_mac > 0 ? trained_by_step(in, work, n, a)
                                                     : trained_by_product(in, work, n, a);
    out->train_memory_bytes = training_memory(in, (double)shape_params(in->shape), a);
}

/* A guessed vocabulary may turn out four times as large. */
static void widen_trimmed(const struct predict_input *in, struct estimate *x) {
    double row = (double)in->shape->n_embd * (in->shape->tied ? 1.0 : 2.0);
    if (in->trimmed_from > 0)
        x->high +=
            row * fmin(3.0 * (double)in->shape->n_vocab, (double)(in->trimmed_from - in->shape->n_vocab));
}

void predict_on_device(const struct predict_input *in, const struct mix_work *work, struct arena *a,
                       struct plan_prediction *out) {
    int64_t whole = in->task->prefix_tokens + in->task->record_tokens;
    out->file_bytes = file_size_of(in, work, a);
    out->memory_bytes = memory_estimate(in, work, a);
    widen_trimmed(in, &out->file_bytes);
    widen_trimmed(in, &out->memory_bytes);
    out->prefill_tps = per_second((double)whole, read_time(in, work, whole), in->rates->read_basis);
    out->decode_tps = per_second(1, write_time(in, work, 1), in->rates->write_basis);
    out->cold_s = decision(in, work, whole, a);
    out->decision_s = in->prefix_state ? decision(in, work, in->task->record_tokens, a) : out->cold_s;
}

int predict(const struct predict_input *in, struct arena *a, struct plan_prediction *out, struct err *e) {
    struct mix_work work;
    mix_count(in->mix, in->shape, &work);
    *out = (struct plan_prediction){0};
    predict_on_device(in, &work, a, out);
    predict_training(in, &work, a, out);
    bool failed = out->file_bytes.basis == NULL || out->memory_bytes.basis == NULL ||
                  out->cold_s.basis == NULL || out->decision_s.basis == NULL;
    return failed ? err_set(e, ERR_NO_MEMORY, "predict", "out of memory") : 0;
}
