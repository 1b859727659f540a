/* Settings of one base on one device: enumerate, predict without words, keep what fits best, then say it with words. */
#include "plan/choices.h"

#include "base/str.h"
#include "train/loop.h"
#include <math.h>
#include <string.h>
#include <strings.h>

static const enum mix offered[] = {MIX_Q8_0,   MIX_Q6_K, MIX_Q5_K_M, MIX_Q4_K_M,
                                   MIX_IQ4_NL, MIX_Q4_0, MIX_Q3_K_M, MIX_Q2_K};
enum { N_OFFERED = sizeof offered / sizeof *offered };

/* Share of the records that train; and of the epochs allowed, what early stopping usually leaves: 0.65 to 1, in the middle 0.8, in ten
 * trainings of the demonstration's task on 100 to 800 records. */
static const double TRAINING_SHARE = 0.8, EPOCHS_USED = 0.8;

/* Decisions closer than this differ by nothing that matters; a quantised cache, which rounds, must save more than it. */
static const double SAME_TIME = 1.02, ROUNDED_CACHE = 1.1;
/* A written answer may be none of the labels and comes without probabilities: it must be faster by half to be worth that. */
static const double WRITTEN_ANSWER = 1.5;

/* compress keeps the tokens of a task and a reserve; a guess until it has run. Below twice that, cutting is not worth it. */
enum { TRIMMED_VOCABULARY = 6000 };

static int64_t round_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

/* How much training sees, by the trainer's own defaults. */
static void training_rows(const struct recommend_input *in, const struct base *b, struct predict_task *t) {
    struct train_settings s = {0};
    char reasons[TRAIN_N_REASONS][160];
    t->n_records = (int64_t)(TRAINING_SHARE * (double)in->n_records);
    train_settings_default(
        &s, &(struct train_shape){.n_params = shape_params(&b->shape), .n_rows = t->n_records, .lora = true},
        reasons);
    t->batch_rows = s.batch_rows;
    t->epochs = in->epochs > 0 ? in->epochs : (int64_t)ceil(EPOCHS_USED * (double)s.epochs);
}

/* ---- limits ---- */

struct limit {
    double need, have;
    enum { LIMIT_MEMORY, LIMIT_FILE, LIMIT_LATENCY, LIMIT_TRAINING, LIMIT_HOST, LIMIT_MONEY } kind;
};

static void worse(struct limit *worst, double need, double have, int kind) {
    if (have > 0 && need / have > worst->need / worst->have)
        *worst = (struct limit){need, have, kind};
}

/* The limit that a candidate comes nearest to or passes most. */
static struct limit worst_limit(const struct recommend_input *in, const struct recommendation *r,
                                const struct plan_prediction *p) {
    const struct recommend_limits *l = &in->limits;
    struct limit worst = {0, 1, LIMIT_MEMORY};
    double room = l->max_memory_bytes > 0 ? l->max_memory_bytes : r->free_bytes;
    if (l->max_memory_bytes > 0 && r->free_bytes > 0)
        room = fmin(room, r->free_bytes);
    worse(&worst, p->memory_bytes.value, room, LIMIT_MEMORY);
    worse(&worst, p->file_bytes.value, l->max_file_bytes, LIMIT_FILE);
    worse(&worst, p->decision_s.value, l->max_decision_s, LIMIT_LATENCY);
    worse(&worst, p->train_s.value, l->max_train_s, LIMIT_TRAINING);
    worse(&worst, r->teacher.money.value, l->max_money, LIMIT_MONEY);
    if (in->host != NULL)
        worse(&worst, p->train_memory_bytes.low, in->host->memory_bytes, LIMIT_HOST);
    return worst;
}

static const char *limit_text(struct arena *a, const struct limit *l) {
    char need[32], have[32];
    str_bytes(need, sizeof need, (int64_t)l->need);
    str_bytes(have, sizeof have, (int64_t)l->have);
    switch (l->kind) {
    case LIMIT_MEMORY:
        return arena_printf(a, "memory: %s of %s", need, have);
    case LIMIT_FILE:
        return arena_printf(a, "file: %s of %s", need, have);
    case LIMIT_LATENCY:
        return arena_printf(a, "latency: %.2g s a decision of %.2g s", l->need, l->have);
    case LIMIT_TRAINING:
        return arena_printf(a, "training: %s of %s", str_duration(need, sizeof need, l->need),
                            str_duration(have, sizeof have, l->have));
    case LIMIT_MONEY:
        return arena_printf(a, "teacher: %.2f of %.2f US dollars", l->need, l->have);
    default:
        return arena_printf(a, "memory of this machine: training needs %s, %s are available", need, have);
    }
}

/* ---- settings ---- */

struct search {
    const struct recommend_input *in;
    struct recommendation *r;
    const struct base *base;
    struct shape trimmed; /* the base with the vocabulary that compress may leave */
    bool trims;
    struct predict_task tokens;
    int64_t context;
    struct mix_work work[2];            /* of the mix at hand: whole, trimmed */
    struct plan_prediction training[2]; /* by method; of the whole vocabulary */
};

static struct predict_input input_of(const struct search *s, const struct candidate *c) {
    return (struct predict_input){.shape = c->trim ? &s->trimmed : &s->base->shape,
                                  .mix = c->mix,
                                  .rates = &s->r->rates,
                                  .task = &s->tokens,
                                  .host = s->in->host,
                                  .method = c->method,
                                  .rank = s->in->rank > 0 ? s->in->rank : DEFAULT_RANK,
                                  .context = c->context,
                                  .ubatch = c->ubatch,
                                  .kv_type = c->kv_type,
                                  .label_scoring = c->label_scoring,
                                  .prefix_state = c->prefix_state,
                                  .trimmed_from = c->trim ? s->base->shape.n_vocab : 0};
}

/* What a run of this very file took on the device, where there was one. */
static int take_measured_memory(const struct search *s, const struct predict_input *p, struct candidate *c,
                                struct arena *a, struct err *e) {
    const struct feedback *f = s->in->feedback;
    if (f == NULL || !feedback_is_of(f, p))
        return 0;
    return feedback_memory(f, &s->r->rates, &c->predicted.memory_bytes, a, e);
}

/* Numbers alone; the training half is the same for all settings of a method. */
static void measure(struct search *s, struct candidate *c) {
    struct predict_input p = input_of(s, c);
    c->predicted = s->training[c->method];
    predict_on_device(&p, &s->work[c->trim], NULL, &c->predicted);
    take_measured_memory(s, &p, c, NULL, NULL); /* without words nothing can fail */
    c->excess = 0;
    struct limit worst = worst_limit(s->in, s->r, &c->predicted);
    c->excess = worst.need / worst.have;
    s->r->n_considered++;
}

static double weighed_memory(const struct candidate *c) {
    return c->predicted.memory_bytes.value * (c->kv_type == PLAN_KV_F16 ? 1 : ROUNDED_CACHE);
}

/* Is a the better choice of settings? What fits comes first, then the faster decision, then less memory. */
static bool better(const struct candidate *a, const struct candidate *b) {
    bool fits_a = a->excess <= 1, fits_b = b->excess <= 1;
    if (fits_a != fits_b)
        return fits_a;
    if (!fits_a)
        return a->excess < b->excess;
    double x = a->predicted.decision_s.value * (a->label_scoring ? 1 : WRITTEN_ANSWER),
           y = b->predicted.decision_s.value * (b->label_scoring ? 1 : WRITTEN_ANSWER);
    if (fmax(x, y) > SAME_TIME * fmin(x, y))
        return x < y;
    return weighed_memory(a) < weighed_memory(b);
}

static void best_settings(struct search *s, struct candidate *c) {
    static const int64_t ubatches[] = {128, 64, 32};
    bool classifies = s->in->task->kind == TASK_CLASSIFY;
    struct candidate best = {.excess = INFINITY}, next = *c;
    for (unsigned i = 0; i < 3u << 4; i++) {
        next.ubatch = ubatches[i >> 4];
        next.kv_type = i & 1 ? PLAN_KV_Q8_0 : PLAN_KV_F16;
        next.label_scoring = classifies && !(i & 2);
        next.prefix_state = !(i & 4);
        next.trim = (i & 8) != 0;
        if ((next.trim && !s->trims) || (!classifies && (i & 2)))
            continue;
        measure(s, &next);
        if (best.base == NULL || better(&next, &best))
            best = next;
    }
    *c = best;
}

/* The figure that passed the limit, for whoever asks why; kept apart since the candidate itself moves. */
static int keep_cause(const struct search *s, struct candidate *c, const struct limit *worst, struct err *e) {
    const struct plan_prediction *p = &c->predicted;
    const struct estimate *const causes[] = {
        [LIMIT_MEMORY] = &p->memory_bytes,     [LIMIT_FILE] = &p->file_bytes,
        [LIMIT_LATENCY] = &p->decision_s,      [LIMIT_TRAINING] = &p->train_s,
        [LIMIT_HOST] = &p->train_memory_bytes, [LIMIT_MONEY] = &s->r->teacher.money};
    struct estimate *copy = c->excess > 1 ? arena_alloc(&s->r->arena, sizeof *copy) : NULL;
    if (c->excess > 1 && copy == NULL)
        return err_set(e, ERR_NO_MEMORY, "recommend", "out of memory");
    if (copy != NULL)
        *copy = *causes[worst->kind];
    c->dropped_by = copy;
    return 0;
}

/* The same once more with words, and the accuracy. */
static int explain(struct search *s, struct candidate *c, struct err *e) {
    struct arena *a = &s->r->arena;
    struct predict_input p = input_of(s, c);
    predict_on_device(&p, &s->work[c->trim], a, &c->predicted);
    int code = take_measured_memory(s, &p, c, a, e);
    if (code < 0)
        return code;
    struct limit worst = worst_limit(s->in, s->r, &c->predicted);
    c->dropped = c->excess > 1 ? limit_text(a, &worst) : NULL;
    if ((code = keep_cause(s, c, &worst, e)) < 0)
        return code;
    if (c->trim && c->predicted.memory_bytes.basis != NULL)
        c->predicted.memory_bytes.basis = arena_printf(
            a, "%s; vocabulary cut from %lld to about %lld tokens", c->predicted.memory_bytes.basis,
            (long long)s->base->shape.n_vocab, (long long)s->trimmed.n_vocab);
    c->predicted.accuracy = accuracy_prior(&(struct accuracy_query){.line = &s->r->line,
                                                                    .base = c->base,
                                                                    .params = (double)shape_params(&c->shape),
                                                                    .score = &c->score,
                                                                    .mix = c->mix,
                                                                    .measured = s->in->measured},
                                           a);
    bool failed = c->predicted.memory_bytes.basis == NULL || c->predicted.accuracy.basis == NULL;
    return failed ? err_set(e, ERR_NO_MEMORY, "recommend", "out of memory") : 0;
}

static void begin(struct search *s) {
    const struct shape *shape = &s->base->shape;
    int64_t longest = s->tokens.longest_tokens + s->tokens.longest_tokens / 8 + s->tokens.label_tokens + 8;
    s->context = round_up(longest > 192 ? longest : 192, 64);
    s->trims = shape->n_vocab > 2 * TRIMMED_VOCABULARY;
    s->trimmed = *shape;
    if (s->trims) {
        s->trimmed.n_vocab = TRIMMED_VOCABULARY;
        s->trimmed.extra_bytes = s->trimmed.extra_bytes * TRIMMED_VOCABULARY / shape->n_vocab;
    }
    struct mix_work work;
    mix_count(MIX_F16, shape, &work);
    for (int m = PLAN_LORA; m <= PLAN_FULL; m++) {
        struct candidate c = {
            .mix = MIX_F16, .method = (enum plan_method)m, .context = s->context, .ubatch = 64};
        struct predict_input p = input_of(s, &c);
        predict_training(&p, &work, &s->r->arena, &s->training[m]);
    }
}

int choices_of(const struct recommend_input *in, struct recommendation *r, const struct base *b,
               struct candidate fit[MOST_CHOICES], int *n_fit, struct candidate *nearest, struct err *e) {
    struct search s = {.in = in, .r = r, .base = b, .tokens = b->tokens};
    int code = 0, n = 0;
    training_rows(in, b, &s.tokens);
    begin(&s);
    *nearest = (struct candidate){.mix = N_MIXES, .excess = INFINITY};
    for (int i = 0; code == 0 && i < 2 * N_OFFERED; i++) {
        struct candidate c = {.base = b->name,
                              .title = b->title,
                              .license = b->license,
                              .path = b->path,
                              .shape = b->shape,
                              .score = b->score,
                              .tokens = s.tokens,
                              .mix = offered[i % N_OFFERED],
                              .method = i < N_OFFERED ? PLAN_LORA : PLAN_FULL,
                              .context = s.context,
                              .threads = r->rates.threads,
                              .embedded = b->embedded,
                              .wished = b->wished};
        if (in->mix != NULL && strcasecmp(in->mix, mix_name(c.mix)) != 0)
            continue;
        mix_count(c.mix, &b->shape, &s.work[0]);
        mix_count(c.mix, &s.trimmed, &s.work[1]);
        best_settings(&s, &c);
        code = explain(&s, &c, e);
        if (c.excess <= 1)
            fit[n++] = c;
        else if (c.excess < nearest->excess)
            *nearest = c;
    }
    *n_fit = n;
    return code;
}

/* ---- the front ---- */

/* Is a at least as good as b in everything, and better in something? */
static bool dominates(const struct candidate *a, const struct candidate *b) {
    const struct plan_prediction *p = &a->predicted, *q = &b->predicted;
    const double x[] = {-p->accuracy.value, p->decision_s.value, p->memory_bytes.value, p->train_s.value},
                 y[] = {-q->accuracy.value, q->decision_s.value, q->memory_bytes.value, q->train_s.value};
    bool something = false;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        if (x[i] > y[i])
            return false;
        something = something || x[i] < y[i];
    }
    return something;
}

void choices_mark_front(struct candidate *list, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        list[i].on_front = true;
        for (int64_t j = 0; list[i].on_front && j < n; j++)
            list[i].on_front = !dominates(&list[j], &list[i]);
    }
}
