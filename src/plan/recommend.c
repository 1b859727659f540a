/* Drop, rank, say why. */
#include "plan/recommend.h"

#include "base/str.h"
#include "catalog/data.h"
#include "model/arch.h"
#include "plan/choices.h"
#include "plan/tokens.h"
#include "train/loop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A mix that costs no more than Q4_K_M is taken as costing little; a tenth of a decision's time, or a hundredth of a second,
 * is no difference. */
static const double LITTLE_LOSS = 0.18, SAME_SPEED = 1.1, SAME_SPEED_S = 0.01, DEFAULT_DECISION_S = 2,
                    DEFAULT_TRAIN_S = 24 * 3600;
static const double MIB = 1024 * 1024;

static bool licence_allowed(const struct recommend_limits *l, const char *license) {
    return l->license == NULL ||
           (license != NULL && strncasecmp(license, l->license, strlen(l->license)) == 0);
}

static bool costs_little(enum mix m) {
    double loss = mix_perplexity_cost(m);
    return loss >= 0 && loss <= LITTLE_LOSS;
}

/* Groups the fitting mixes of a base: those that cost little, fit with room and decide as fast as the fastest of these, the other
 * ones that cost little, and those that cost. */
static void group_mixes(struct candidate *mixes, int n) {
    double best = INFINITY;
    for (int i = 0; i < n; i++)
        if (costs_little(mixes[i].mix) && !mixes[i].tight)
            best = fmin(best, mixes[i].predicted.decision_s.value);
    for (int i = 0; i < n; i++) {
        double time = mixes[i].predicted.decision_s.value;
        bool fast = time <= best * SAME_SPEED || time - best <= SAME_SPEED_S;
        mixes[i].group = !costs_little(mixes[i].mix) ? 2 : fast && !mixes[i].tight ? 0 : 1;
    }
}

/* Within the groups: the smaller file, the faster decision, what costs less (the earlier in the list of mixes). */
static int compare_mixes(const void *pa, const void *pb) {
    const struct candidate *a = pa, *b = pb;
    if (a->method != b->method) /* what trains everything costs more and is no better with few records */
        return a->method < b->method ? -1 : 1;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    double x = a->mix, y = b->mix;
    if (a->group < 2) {
        x = a->group == 0 ? a->predicted.file_bytes.value : a->predicted.decision_s.value;
        y = a->group == 0 ? b->predicted.file_bytes.value : b->predicted.decision_s.value;
    }
    return x < y ? -1 : x > y ? 1 : 0;
}

static void say_why(const struct recommend_input *in, struct recommendation *r, struct candidate *c,
                    const struct candidate *mixes, int n_mixes) {
    const struct plan_prediction *p = &c->predicted;
    double wish = in->limits.max_decision_s > 0 ? in->limits.max_decision_s : DEFAULT_DECISION_S;
    struct str text = {0};
    char need[32], have[32];
    str_addf(&text, "%s, %s: ", c->title, mix_name(c->mix));
    if (c->embedded)
        str_add(&text, "comes with edgestill and is small enough to train in minutes; for simple rules over "
                       "short records. ");
    else if (p->decision_s.value <= wish)
        str_addf(&text, "a larger base needs less data, and this one decides within %.2g s. ", wish);
    else
        str_addf(&text, "decides more slowly than the %.2g s wished for. ", wish);
    if (p->train_s.value > DEFAULT_TRAIN_S)
        str_addf(&text, "Training it here takes about %s. ",
                 str_duration(need, sizeof need, p->train_s.value));
    str_bytes(need, sizeof need, (int64_t)p->memory_bytes.value);
    if (r->free_bytes > 0)
        str_addf(&text, "Needs %s of %s free%s. ", need, str_bytes(have, sizeof have, (int64_t)r->free_bytes),
                 c->tight ? ", which is tight" : "");
    else
        str_addf(&text, "Needs %s; how much the board has is not known. ", need);
    str_addf(&text, "Expected accuracy %.0f%% (%.0f to %.0f%%). ", 100 * p->accuracy.value,
             100 * p->accuracy.low, 100 * p->accuracy.high);
    for (int i = 0; i < n_mixes; i++)
        if (mixes[i].mix == MIX_Q4_K_M && mixes[i].method == c->method && c->mix != MIX_Q4_K_M)
            str_addf(&text, "%s rather than Q4_K_M: %.2g s a decision against %.2g s. ", mix_name(c->mix),
                     p->decision_s.value, mixes[i].predicted.decision_s.value);
    if (mix_perplexity_cost(c->mix) >= 0)
        str_addf(&text, "%s costs %.2g perplexity on an 8B model; a small one loses more.", mix_name(c->mix),
                 mix_perplexity_cost(c->mix));
    c->reason = arena_strdup(&r->arena, str_text(&text));
    str_release(&text);
}

/* ---- the list ---- */

struct list {
    struct candidate *fit, *dropped, *all; /* all: whatever fits, for the front */
    int64_t n_fit, n_dropped, n_all, fit_capacity, dropped_capacity, all_capacity;
};

static int append(struct candidate **items, int64_t *n, int64_t *capacity, const struct candidate *c,
                  struct err *e) {
    if (mem_grow((void **)items, capacity, *n + 1, sizeof **items) < 0)
        return err_set(e, ERR_NO_MEMORY, "recommend", "out of memory for the list");
    (*items)[(*n)++] = *c;
    return 0;
}

static int drop(struct list *l, const struct base *b, const struct candidate *c, const char *why,
                struct err *e) {
    struct candidate gone = {
        .base = b->name, .title = b->title, .license = b->license, .path = b->path, .mix = N_MIXES};
    if (c != NULL)
        gone = *c;
    gone.embedded = b->embedded;
    gone.wished = b->wished;
    gone.dropped = why;
    if (c == NULL)
        gone.excess = INFINITY;
    return append(&l->dropped, &l->n_dropped, &l->dropped_capacity, &gone, e);
}

/* All mixes of one base: the best one joins the list, of a wished base all that fit. */
static int consider(const struct recommend_input *in, struct recommendation *r, const struct base *b,
                    struct list *l, struct err *e) {
    if (b->unsupported != NULL)
        return drop(l, b, NULL,
                    arena_printf(&r->arena, "not supported: %s%s%s", b->unsupported,
                                 b->wished ? "; architectures that work: " : "",
                                 b->wished ? model_arch_names() : ""),
                    e);
    if (!licence_allowed(&in->limits, b->license))
        return drop(l, b, NULL, arena_printf(&r->arena, "licence: %s", b->license), e);
    struct candidate mixes[MOST_CHOICES], nearest;
    int n = 0, code = choices_of(in, r, b, mixes, &n, &nearest, e);
    if (code < 0)
        return code;
    if (n == 0)
        return drop(l, b, nearest.mix != N_MIXES ? &nearest : NULL,
                    nearest.mix != N_MIXES ? nearest.dropped : "the wished quantisation is not offered", e);
    for (int i = 0; i < n; i++)
        mixes[i].tight = r->free_bytes > 0 && mixes[i].predicted.memory_bytes.high >
                                                  r->free_bytes + r->reserved.value - r->reserved.high;
    group_mixes(mixes, n);
    qsort(mixes, (size_t)n, sizeof *mixes, compare_mixes);
    for (int i = 0; code == 0 && i < (b->wished ? n : 1); i++) {
        say_why(in, r, &mixes[i], mixes, n);
        code = append(&l->fit, &l->n_fit, &l->fit_capacity, &mixes[i], e);
    }
    for (int i = 0; code == 0 && i < n; i++)
        code = append(&l->all, &l->n_all, &l->all_capacity, &mixes[i], e);
    return code;
}

/* Slower than most would like; a limit of the user's has dropped what is slower than that. */
static bool is_slow(const struct candidate *c) {
    return c->predicted.decision_s.value > DEFAULT_DECISION_S || c->predicted.train_s.value > DEFAULT_TRAIN_S;
}

static int compare_candidates(const void *pa, const void *pb) {
    const struct candidate *a = pa, *b = pb;
    if (a->wished != b->wished)
        return a->wished ? -1 : 1;
    if (a->wished)
        return compare_mixes(a, b);
    if ((a->path != NULL) != (b->path != NULL))
        return a->path != NULL ? -1 : 1;
    if (a->embedded != b->embedded)
        return a->embedded ? 1 : -1;
    bool slow_a = is_slow(a), slow_b = is_slow(b);
    if (slow_a != slow_b)
        return slow_a ? 1 : -1;
    double time_a = a->predicted.decision_s.value, time_b = b->predicted.decision_s.value;
    if (slow_a && time_a != time_b)
        return time_a < time_b ? -1 : 1;
    double right_a = a->predicted.accuracy.value, right_b = b->predicted.accuracy.value;
    return right_a != right_b ? (right_a > right_b ? -1 : 1) : strcmp(a->base, b->base);
}

static int consider_all(const struct recommend_input *in, struct recommendation *r, struct list *l,
                        struct err *e) {
    struct base b;
    bool found = in->base == NULL || str_equal(in->base, "embedded");
    struct err missing = {0};
    int code = base_embedded(in, r, &b, &missing);
    if (code == 0)
        code = consider(in, r, &b, l, e);
    else if (b.wished || missing.code != ERR_NOT_FOUND) {
        if (e != NULL && e->code == 0)
            *e = missing;
    } else {
        code = drop(l, &b, NULL, "its file seed/base.gguf is not there", e);
    }
    for (int64_t i = 0; code == 0 && i < in->catalog->n_models; i++) {
        code = base_of_catalogue(in, r, &in->catalog->models[i], &b, e);
        found = found || b.wished;
        if (code == 0)
            code = consider(in, r, &b, l, e);
    }
    if (code == 0 && !found) {
        code = base_of_user(in, r, &b, e);
        if (code == 0)
            code = consider(in, r, &b, l, e);
    }
    return code;
}

/* ---- outside ---- */

/* The front is that of all that fits, listed or not. */
static void mark_front(struct list *l) {
    choices_mark_front(l->all, l->n_all);
    for (int64_t i = 0; i < l->n_fit; i++)
        for (int64_t j = 0; j < l->n_all; j++) {
            const struct candidate *a = &l->fit[i], *b = &l->all[j];
            if (a->base == b->base && a->mix == b->mix && a->method == b->method)
                l->fit[i].on_front = b->on_front;
        }
}

/* Fitting ones first; takes the two lists' contents into the arena. */
static int gather(struct recommendation *r, struct list *l, struct err *e) {
    r->n_fit = l->n_fit;
    r->n = l->n_fit + l->n_dropped;
    r->list = arena_calloc(&r->arena, (size_t)r->n + 1, sizeof *r->list);
    if (r->list == NULL)
        return err_set(e, ERR_NO_MEMORY, "recommend", "out of memory for the list");
    if (l->n_fit > 0) {
        qsort(l->fit, (size_t)l->n_fit, sizeof *l->fit, compare_candidates);
        memcpy(r->list, l->fit, (size_t)l->n_fit * sizeof *l->fit);
    }
    int64_t at =
        l->n_fit; /* dropped by a limit before not supported at all: the former may tell what to change */
    for (int limit = 1; limit >= 0; limit--)
        for (int64_t i = 0; i < l->n_dropped; i++)
            if ((l->dropped[i].mix != N_MIXES) == limit)
                r->list[at++] = l->dropped[i];
    for (int64_t i = r->n_fit; i < r->n; i++)
        if (isfinite(r->list[i].excess) && (r->nearest == NULL || r->list[i].excess < r->nearest->excess))
            r->nearest = &r->list[i];
    return 0;
}

static int check_input(const struct recommend_input *in, struct err *e) {
    enum mix mix = MIX_F16;
    if (in->mix != NULL && !mix_from_name(in->mix, &mix)) {
        err_set(e, ERR_INPUT, "recommend", "there is no quantisation '%s'", in->mix);
        return err_hint(e, "offered: Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_NL, Q4_0, Q3_K_M, Q2_K");
    }
    if (!str_equal(in->device->arch, "aarch64") && !str_equal(in->device->arch, "x86_64")) {
        err_set(e, ERR_UNSUPPORTED, "recommend", "%s has a %s processor, and there is no runtime for that",
                in->device->title, in->device->arch);
        return err_hint(e, "bundles are made for aarch64 and x86-64");
    }
    return 0;
}

/* A receipt's figures replace the catalogue's. */
static int measured_on_device(const struct recommend_input *in, struct recommendation *r, struct err *e) {
    const struct feedback *f = in->feedback;
    r->memory_mb = in->device->memory_mb;
    if (f == NULL)
        return 0;
    if (f->board_bytes > 0) {
        double mb = f->board_bytes / MIB;
        r->memory_mb = (struct catalog_figure){true, mb, mb, mb, f->source};
    }
    return feedback_rates(f, &r->rates, &r->arena, e);
}

int recommend(const struct recommend_input *in, struct recommendation *out, struct err *e) {
    struct recommendation r = {0};
    struct list l = {0};
    arena_init(&r.arena);
    int code = check_input(in, e);
    if (code == 0)
        code = rates_for_device(in->catalog, in->device, &r.arena, &r.rates, e);
    if (code == 0)
        code = predict_reserved(in->device, &r.arena, &r.reserved, e);
    if (code == 0)
        code = measured_on_device(in, &r, e);
    if (code == 0 && r.memory_mb.known)
        r.free_bytes = fmax(r.memory_mb.value * MIB - r.reserved.value, 1);
    r.line = accuracy_fit(in->catalog);
    if (in->teacher != NULL)
        r.teacher = *in->teacher;
    if (code == 0)
        code = consider_all(in, &r, &l, e);
    if (code == 0) {
        mark_front(&l);
        code = gather(&r, &l, e);
    }
    free(l.fit);
    free(l.dropped);
    free(l.all);
    if (code < 0)
        arena_release(&r.arena);
    else
        *out = r;
    return code;
}

void recommend_release(struct recommendation *r) {
    if (r == NULL)
        return;
    arena_release(&r->arena);
    *r = (struct recommendation){0};
}

static void copy_estimate(struct arena *a, struct estimate *x) {
    x->basis = arena_strdup(a, x->basis != NULL ? x->basis : "");
}

int recommend_plan(const struct recommend_input *in, const struct candidate *c, struct plan *out,
                   struct err *e) {
    if (c->path == NULL) {
        err_set(e, ERR_NOT_FOUND, "recommend_plan", "the base %s is not on this machine yet", c->base);
        struct str where = {0};
        data_model_file(c->base, &where);
        err_hint(
            e, "edgestill pull %s, or put its 16-bit GGUF to %s, or name a file: edgestill plan --base FILE",
            c->base, str_text(&where));
        str_release(&where);
        return ERR_NOT_FOUND;
    }
    struct plan p = {0};
    struct train_settings training;
    char reasons[TRAIN_N_REASONS][160];
    arena_init(&p.arena);
    p.device = arena_strdup(&p.arena, in->device->name);
    p.base = arena_strdup(&p.arena, c->base);
    p.base_path = arena_strdup(&p.arena, c->path);
    p.quantisation = mix_name(c->mix);
    p.reason = arena_strdup(&p.arena, c->reason != NULL ? c->reason : "");
    p.method = c->method;
    p.rank = in->rank > 0 ? in->rank : DEFAULT_RANK;
    p.alpha = 2.0 * p.rank;
    train_settings_default(&training, &(struct train_shape){.lora = p.method == PLAN_LORA}, reasons);
    p.schedule = in->schedule ? arena_strdup(&p.arena, in->schedule) : schedule_name(training.schedule);
    p.warmup = round(1e6 * (double)training.warmup) / 1e6; /* as it is written */
    p.context = c->context;
    p.ubatch = c->ubatch;
    p.threads = c->threads;
    p.kv_type = c->kv_type;
    p.label_scoring = c->label_scoring;
    p.prefix_state = c->prefix_state;
    p.trim_vocabulary = c->trim;
    p.prefix_tokens = c->tokens.prefix_tokens;
    p.record_tokens = c->tokens.record_tokens;
    p.answer_tokens = c->tokens.answer_tokens;
    p.predicted = c->predicted;
#define X(name, text, unit) copy_estimate(&p.arena, &p.predicted.name);
    PLAN_PREDICTIONS(X)
#undef X
    if (p.device == NULL || p.base == NULL || p.base_path == NULL || p.reason == NULL || p.schedule == NULL) {
        arena_release(&p.arena);
        return err_set(e, ERR_NO_MEMORY, "recommend_plan", "out of memory");
    }
    *out = p;
    return 0;
}
