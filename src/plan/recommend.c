/* Enumerate, predict, drop, rank, say why. */
#include "plan/recommend.h"

#include "base/file.h"
#include "catalog/data.h"
#include "model/file.h"
#include "plan/tokens.h"
#include "train/loop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const enum mix offered[] = {MIX_Q8_0,   MIX_Q6_K, MIX_Q5_K_M, MIX_Q4_K_M,
                                   MIX_IQ4_NL, MIX_Q4_0, MIX_Q3_K_M, MIX_Q2_K};
enum { N_OFFERED = sizeof offered / sizeof *offered, DEFAULT_RANK = 16 };

/* A mix that costs no more than Q4_K_M is taken as costing little; a tenth of a decision's time, or a hundredth of a second,
 * is no difference. */
static const double LITTLE_LOSS = 0.18, SAME_SPEED = 1.1, SAME_SPEED_S = 0.01, DEFAULT_DECISION_S = 2,
                    DEFAULT_TRAIN_S = 24 * 3600;

/* Share of the records that train; and of the epochs allowed, what early stopping usually leaves. */
static const double TRAINING_SHARE = 0.8, EPOCHS_USED = 0.6;

/* ---- one base ---- */

struct base {
    const char *name, *title, *license, *path, *unsupported;
    struct shape shape;
    bool shape_known, embedded, wished;
    struct predict_task tokens;
};

static bool licence_allowed(const struct recommend_limits *l, const char *license) {
    return l->license == NULL ||
           (license != NULL && strncasecmp(license, l->license, strlen(l->license)) == 0);
}

static bool costs_little(enum mix m) {
    double loss = mix_perplexity_cost(m);
    return loss >= 0 && loss <= LITTLE_LOSS;
}

static int64_t round_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

static void settings(const struct recommendation *r, const struct base *b, struct candidate *c) {
    int64_t longest = b->tokens.longest_tokens + b->tokens.longest_tokens / 8 + b->tokens.label_tokens + 8;
    c->context = round_up(longest > 192 ? longest : 192, 64);
    c->ubatch = b->shape.n_vocab > 60000 ? 64 : 128; /* the logits of a whole ubatch are reserved */
    c->threads = r->rates.threads;
}

/* How much training sees, by the trainer's own defaults. */
static void training_rows(const struct recommend_input *in, const struct base *b, struct predict_task *t) {
    struct train_settings s = {0};
    char reasons[TRAIN_N_REASONS][160];
    t->n_records = (int64_t)(TRAINING_SHARE * (double)in->n_records);
    train_settings_default(
        &s, &(struct train_shape){.n_params = shape_params(&b->shape), .n_rows = t->n_records, .lora = true},
        reasons);
    t->epochs = in->epochs > 0 ? in->epochs : (int64_t)ceil(EPOCHS_USED * (double)s.epochs);
}

static int predict_candidate(const struct recommend_input *in, struct recommendation *r, const struct base *b,
                             enum mix mix, struct candidate *c, struct err *e) {
    *c = (struct candidate){.base = b->name,
                            .title = b->title,
                            .license = b->license,
                            .path = b->path,
                            .shape = b->shape,
                            .tokens = b->tokens,
                            .mix = mix,
                            .embedded = b->embedded,
                            .wished = b->wished};
    settings(r, b, c);
    training_rows(in, b, &c->tokens);
    const struct predict_input p = {.shape = &b->shape,
                                    .mix = mix,
                                    .rates = &r->rates,
                                    .task = &c->tokens,
                                    .host = in->host,
                                    .method = PLAN_LORA,
                                    .rank = in->rank > 0 ? in->rank : DEFAULT_RANK,
                                    .context = c->context,
                                    .ubatch = c->ubatch,
                                    .kv_type = PLAN_KV_F16,
                                    .label_scoring = in->task->kind == TASK_CLASSIFY,
                                    .prefix_state = true};
    return predict(&p, &r->arena, &c->predicted, e);
}

/* The limit that drops a candidate, as text in the arena; NULL: none. */
static const char *limit_passed(const struct recommend_input *in, struct recommendation *r,
                                const struct candidate *c) {
    const struct recommend_limits *l = &in->limits;
    const struct plan_prediction *p = &c->predicted;
    char need[32], have[32];
    double room = l->max_memory_bytes > 0 ? l->max_memory_bytes : r->free_bytes;
    if (l->max_memory_bytes > 0 && r->free_bytes > 0)
        room = fmin(room, r->free_bytes);
    str_bytes(need, sizeof need, (int64_t)p->memory_bytes.value);
    if (room > 0 && p->memory_bytes.value > room)
        return arena_printf(&r->arena, "memory: %s of %s", need, str_bytes(have, sizeof have, (int64_t)room));
    if (l->max_file_bytes > 0 && p->file_bytes.value > l->max_file_bytes)
        return arena_printf(&r->arena, "file: %s of %s",
                            str_bytes(need, sizeof need, (int64_t)p->file_bytes.value),
                            str_bytes(have, sizeof have, (int64_t)l->max_file_bytes));
    if (l->max_decision_s > 0 && p->decision_s.value > l->max_decision_s)
        return arena_printf(&r->arena, "latency: %.2g s a decision of %.2g s", p->decision_s.value,
                            l->max_decision_s);
    if (l->max_train_s > 0 && p->train_s.value > l->max_train_s)
        return arena_printf(&r->arena, "training: %s of %s",
                            str_duration(need, sizeof need, p->train_s.value),
                            str_duration(have, sizeof have, l->max_train_s));
    if (in->host != NULL && in->host->memory_bytes > 0 && p->train_memory_bytes.low > in->host->memory_bytes)
        return arena_printf(&r->arena, "memory of this machine: training needs %s, %s are available",
                            str_bytes(need, sizeof need, (int64_t)p->train_memory_bytes.value),
                            str_bytes(have, sizeof have, (int64_t)in->host->memory_bytes));
    return NULL;
}

/* Groups the fitting mixes of a base: those that cost little and decide as fast as the fastest of these, the slower ones that
 * cost little, and those that cost. */
static void group_mixes(struct candidate *mixes, int n) {
    double best = INFINITY;
    for (int i = 0; i < n; i++)
        if (costs_little(mixes[i].mix))
            best = fmin(best, mixes[i].predicted.decision_s.value);
    for (int i = 0; i < n; i++) {
        double time = mixes[i].predicted.decision_s.value;
        bool fast = time <= best * SAME_SPEED || time - best <= SAME_SPEED_S;
        mixes[i].group = !costs_little(mixes[i].mix) ? 2 : fast ? 0 : 1;
    }
}

/* Within the groups: the smaller file, the faster decision, what costs less (the earlier in the list of mixes). */
static int compare_mixes(const void *pa, const void *pb) {
    const struct candidate *a = pa, *b = pb;
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
    for (int i = 0; i < n_mixes; i++)
        if (mixes[i].mix == MIX_Q4_K_M && c->mix != MIX_Q4_K_M)
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
    struct candidate *fit, *dropped;
    int64_t n_fit, n_dropped, fit_capacity, dropped_capacity;
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
    return append(&l->dropped, &l->n_dropped, &l->dropped_capacity, &gone, e);
}

/* All mixes of one base: the best one joins the list, of a wished base all that fit. */
static int consider(const struct recommend_input *in, struct recommendation *r, const struct base *b,
                    struct list *l, struct err *e) {
    if (b->unsupported != NULL)
        return drop(l, b, NULL, arena_printf(&r->arena, "not supported: %s", b->unsupported), e);
    if (!licence_allowed(&in->limits, b->license))
        return drop(l, b, NULL, arena_printf(&r->arena, "licence: %s", b->license), e);
    struct candidate mixes[N_OFFERED], gone = {0};
    int n = 0;
    for (int i = 0; i < N_OFFERED; i++) {
        struct candidate c;
        if (in->mix != NULL && strcasecmp(in->mix, mix_name(offered[i])) != 0)
            continue;
        int code = predict_candidate(in, r, b, offered[i], &c, e);
        if (code < 0)
            return code;
        c.dropped = limit_passed(in, r, &c);
        if (c.dropped == NULL)
            mixes[n++] = c;
        else if (gone.dropped == NULL || c.predicted.memory_bytes.value < gone.predicted.memory_bytes.value)
            gone = c;
    }
    if (n == 0)
        return drop(l, b, gone.dropped != NULL ? &gone : NULL,
                    gone.dropped != NULL ? gone.dropped : "the wished quantisation is not offered", e);
    group_mixes(mixes, n);
    qsort(mixes, (size_t)n, sizeof *mixes, compare_mixes);
    int code = 0;
    for (int i = 0; code == 0 && i < (b->wished ? n : 1); i++) {
        mixes[i].tight = r->free_bytes > 0 && mixes[i].predicted.memory_bytes.high >
                                                  r->free_bytes + r->reserved.value - r->reserved.high;
        say_why(in, r, &mixes[i], mixes, n);
        code = append(&l->fit, &l->n_fit, &l->fit_capacity, &mixes[i], e);
    }
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
    if (slow_a)
        return a->predicted.decision_s.value < b->predicted.decision_s.value ? -1 : 1;
    int64_t size_a = shape_params(&a->shape), size_b = shape_params(&b->shape);
    return size_a != size_b ? (size_a > size_b ? -1 : 1) : strcmp(a->base, b->base);
}

/* ---- bases ---- */

/* Can the trainer take the file? Only the file tells for sure; what stands in the way becomes the reason. */
static int check_trainable(struct recommendation *r, const char *path, struct base *b, struct err *e) {
    struct model_file *f = NULL;
    struct model_config config;
    struct err refused = {0};
    int code = model_file_open(&f, path, e);
    if (code == 0 && (code = model_file_config(f, &config, &refused)) < 0) {
        const char *after = strstr(refused.message, ": ");
        b->unsupported = arena_strdup(&r->arena, after != NULL ? after + 2 : refused.message);
        if (code == ERR_UNSUPPORTED)
            code = b->unsupported != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "recommend", "out of memory");
        else if (e != NULL && e->code == 0)
            *e = refused;
    }
    model_file_close(f);
    return code;
}

static int base_from_file(const struct recommend_input *in, struct recommendation *r, const char *path,
                          struct base *b, struct err *e) {
    int code = check_trainable(r, path, b, e);
    if (code < 0 || b->unsupported != NULL)
        return code;
    code = shape_from_file(&b->shape, path, e);
    if (code == 0)
        code = plan_count_tokens(in->task, path, &b->tokens, e);
    b->shape_known = code == 0;
    return code;
}

static int embedded_base(const struct recommend_input *in, struct recommendation *r, struct base *b,
                         struct err *e) {
    struct str path = {0};
    *b = (struct base){.name = "embedded",
                       .title = "embedded base",
                       .license = "MIT",
                       .path = "data:seed/base.gguf",
                       .embedded = true,
                       .wished = str_equal(in->base, "embedded")};
    int code = data_path("seed/base.gguf", &path, e);
    if (code == 0)
        code = base_from_file(in, r, str_text(&path), b, e);
    str_release(&path);
    return code;
}

static int user_base(const struct recommend_input *in, struct recommendation *r, struct base *b,
                     struct err *e) {
    char *real = realpath(in->base, NULL);
    if (real == NULL) {
        err_set(e, ERR_NOT_FOUND, "recommend",
                "there is no base '%s': neither a model of the catalogue nor a file", in->base);
        return err_hint(e, "edgestill models lists what there is; or give the path of a GGUF");
    }
    const char *path = arena_strdup(&r->arena, real), *slash = strrchr(path != NULL ? path : "", '/');
    free(real);
    *b = (struct base){
        .name = slash != NULL ? slash + 1 : path, .path = path, .wished = true, .license = "the file's own"};
    b->title = b->name;
    return path != NULL ? base_from_file(in, r, path, b, e)
                        : err_set(e, ERR_NO_MEMORY, "recommend", "out of memory");
}

static int catalogue_base(const struct recommend_input *in, struct recommendation *r,
                          const struct catalog_model *m, struct base *b, struct err *e) {
    struct str path = {0};
    *b = (struct base){.name = m->name,
                       .title = m->title,
                       .license = m->license,
                       .unsupported = m->unsupported,
                       .shape_known = m->shape_known,
                       .wished = in->base != NULL && strcasecmp(in->base, m->name) == 0};
    data_model_file(m->name, &path);
    int code = 0;
    if (path.len > 0 && file_exists(str_text(&path))) {
        b->path = arena_strdup(&r->arena, str_text(&path));
        if (m->unsupported == NULL)
            code = base_from_file(in, r, b->path, b, e);
    } else if (m->shape_known) {
        shape_from_catalog(&b->shape, m);
        code = plan_count_tokens(in->task, NULL, &b->tokens, e);
    }
    str_release(&path);
    return code;
}

static int consider_all(const struct recommend_input *in, struct recommendation *r, struct list *l,
                        struct err *e) {
    struct base b;
    bool found = in->base == NULL || str_equal(in->base, "embedded");
    struct err missing = {0};
    int code = embedded_base(in, r, &b, &missing);
    if (code == 0)
        code = consider(in, r, &b, l, e);
    else if (b.wished || missing.code != ERR_NOT_FOUND) {
        if (e != NULL && e->code == 0)
            *e = missing;
    } else {
        code = drop(l, &b, NULL, "its file seed/base.gguf is not there", e);
    }
    for (int64_t i = 0; code == 0 && i < in->catalog->n_models; i++) {
        code = catalogue_base(in, r, &in->catalog->models[i], &b, e);
        found = found || b.wished;
        if (code == 0)
            code = consider(in, r, &b, l, e);
    }
    if (code == 0 && !found) {
        code = user_base(in, r, &b, e);
        if (code == 0)
            code = consider(in, r, &b, l, e);
    }
    return code;
}

/* ---- outside ---- */

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

int recommend(const struct recommend_input *in, struct recommendation *out, struct err *e) {
    struct recommendation r = {0};
    struct list l = {0};
    arena_init(&r.arena);
    int code = check_input(in, e);
    if (code == 0)
        code = rates_for_device(in->catalog, in->device, &r.arena, &r.rates, e);
    if (code == 0)
        code = predict_reserved(in->device, &r.arena, &r.reserved, e);
    if (code == 0 && in->device->memory_mb.known)
        r.free_bytes = fmax(in->device->memory_mb.value * 1024 * 1024 - r.reserved.value, 1);
    if (code == 0)
        code = consider_all(in, &r, &l, e);
    if (code == 0)
        code = gather(&r, &l, e);
    free(l.fit);
    free(l.dropped);
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
    arena_init(&p.arena);
    p.device = arena_strdup(&p.arena, in->device->name);
    p.base = arena_strdup(&p.arena, c->base);
    p.base_path = arena_strdup(&p.arena, c->path);
    p.quantisation = mix_name(c->mix);
    p.reason = arena_strdup(&p.arena, c->reason != NULL ? c->reason : "");
    p.method = PLAN_LORA;
    p.rank = in->rank > 0 ? in->rank : DEFAULT_RANK;
    p.alpha = 2.0 * p.rank;
    p.context = c->context;
    p.ubatch = c->ubatch;
    p.threads = c->threads;
    p.kv_type = PLAN_KV_F16;
    p.label_scoring = in->task->kind == TASK_CLASSIFY;
    p.prefix_state = true;
    p.prefix_tokens = c->tokens.prefix_tokens;
    p.record_tokens = c->tokens.record_tokens;
    p.answer_tokens = c->tokens.answer_tokens;
    p.predicted = c->predicted;
#define X(name, text, unit) copy_estimate(&p.arena, &p.predicted.name);
    PLAN_PREDICTIONS(X)
#undef X
    if (p.device == NULL || p.base == NULL || p.base_path == NULL || p.reason == NULL) {
        arena_release(&p.arena);
        return err_set(e, ERR_NO_MEMORY, "recommend_plan", "out of memory");
    }
    *out = p;
    return 0;
}
