/* Measuring what each type costs each matrix, and choosing. */
#include "compress/bits.h"
#include "base/interrupt.h"
#include "base/thread.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE_ROWS = 256, BISECTIONS = 60 };

/* In rising order of size. The IQ types below 4 bits are left out: llama.cpp computes them several times slower on CPUs without
 * wide shuffles (Raspberry Pi 4: compute-bound), and makes them slowly. The 32-wide ones serve widths that are no multiple of 256
 * and devices that run them faster. */
static const char *const offered[] = {"q2_K", "q3_K", "iq4_xs", "q4_0", "q4_K",
                                      "q5_0", "q5_K", "q6_K",   "q8_0"};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "bits_measure", "out of memory");
}

/* ---- measuring ---- */

struct measuring {
    struct bits_table *t;
    struct student *s;
    const struct activity *a;
    struct thread_pool *pool;
    float *importance; /* of the matrix at hand */
    float *before;     /* [n, cols] sample */
    struct bits_matrix *m;
    const struct activity_matrix *activity;
    int64_t n, stride;
    atomic_int failed; /* by any thread */
};

static bool offer(struct bits_table *t, const char *name, const struct bits_device *d) {
    bool known = d->n_speeds == 0;
    for (int i = 0; i < d->n_speeds; i++)
        known = known || strcmp(d->speeds[i].type, name) == 0;
    return known && block_type_find(name, &t->types[t->n_types]) ? (t->n_types++, true) : false;
}

static double seconds_of(const struct bits_table *t, const struct bits_device *d, const struct bits_matrix *m,
                         int type) {
    bool head = strcmp(m->name, "output.weight") == 0 || strcmp(m->name, "token_embd.weight") == 0;
    double macs = (double)(m->rows * m->cols) * (double)(head ? d->head_rows : d->tokens_read);
    for (int i = 0; i < d->n_speeds; i++)
        if (strcmp(d->speeds[i].type, t->types[type].name) == 0)
            return m->looked_up ? 0
                                : fmax(macs * d->speeds[i].s_per_mac,
                                       (double)m->bytes[type] * d->speeds[i].s_per_byte);
    return 0;
}

/* Types are independent of one another: one each thread. */
static void measure_types(void *context, int64_t begin, int64_t end, int thread) {
    struct measuring *x = context;
    struct bits_matrix *m = x->m;
    bool table = strcmp(m->name, "token_embd.weight") == 0;
    size_t n = (size_t)(x->n * m->cols);
    float *after = malloc(n * sizeof *after);
    (void)thread;
    if (!after)
        x->failed = ERR_NO_MEMORY;
    for (int64_t i = begin; after && i < end; i++) {
        if (!m->fits[i])
            continue;
        const float *importance = x->activity ? x->importance : NULL;
        if (block_round(&x->t->types[i], x->before, after, x->n, m->cols, importance, NULL) < 0) {
            x->failed = ERR_NO_MEMORY;
            continue;
        }
        if (x->activity)
            m->loss[i] = activity_loss(x->a, x->activity, x->before, after, x->n, x->stride);
        if (table)
            m->loss[i] += activity_lookup_loss(x->a, x->before, after);
    }
    free(after);
}

static int measure_matrix(struct measuring *x, struct bits_matrix *m, struct err *e) {
    const struct nn_tensor *t = nn_set_find(&x->s->model.base, m->name);
    if (!t)
        return err_set(e, ERR_UNSUPPORTED, "bits_measure", "%s is no matrix that is trained", m->name);
    x->m = m;
    x->activity = activity_find(x->a, m->name);
    bool table = strcmp(m->name, "token_embd.weight") == 0; /* its rows are worth very different amounts */
    x->stride = table ? 1 : (m->rows + SAMPLE_ROWS - 1) / SAMPLE_ROWS;
    x->n = (m->rows + x->stride - 1) / x->stride;
    x->before = malloc((size_t)(x->n * m->cols) * sizeof *x->before);
    x->importance = malloc((size_t)m->cols * sizeof *x->importance);
    if (x->before && x->importance) {
        for (int64_t r = 0; r < x->n; r++)
            memcpy(x->before + r * m->cols, x->s->model.base.value + t->offset + r * x->stride * m->cols,
                   (size_t)m->cols * sizeof *x->before);
        for (int64_t k = 0; x->activity && k < m->cols; k++)
            x->importance[k] = (float)(x->activity->square[k] / fmax(x->activity->count, 1e-30));
        thread_pool_for(x->pool, x->t->n_types, measure_types, x);
    } else {
        x->failed = ERR_NO_MEMORY;
    }
    free(x->before);
    free(x->importance);
    return x->failed < 0 ? no_memory(e) : interrupt_check(e);
}

static int list_matrices(struct bits_table *t, const struct model_file *f, struct err *e) {
    int64_t n = model_file_n_tensors(f);
    t->matrices = arena_calloc(&t->arena, (size_t)n, sizeof *t->matrices);
    if (!t->matrices)
        return no_memory(e);
    for (int64_t i = 0; i < n; i++) {
        struct model_tensor x = model_file_tensor(f, i);
        if (x.rows == 1) {
            t->other_bytes += x.cols * (int64_t)sizeof(float);
            continue;
        }
        struct bits_matrix *m = &t->matrices[t->n_matrices++];
        *m = (struct bits_matrix){.name = arena_strdup(&t->arena, x.name), .rows = x.rows, .cols = x.cols};
        if (!m->name)
            return no_memory(e);
    }
    return 0;
}

static void describe(const struct bits_table *t, const struct activity *a, const struct bits_device *d,
                     struct bits_matrix *m) {
    m->looked_up = !activity_find(a, m->name);
    for (int i = 0; i < t->n_types; i++) {
        m->fits[i] = m->cols % t->types[i].n_values == 0;
        m->bytes[i] = m->fits[i] ? block_type_bytes(&t->types[i], m->rows, m->cols) : 0;
        m->seconds[i] = seconds_of(t, d, m, i);
    }
}

int bits_list(struct bits_table *out, const struct student *s, const struct activity *a,
              const struct bits_device *device, struct err *e) {
    struct bits_table t = {.has_speeds = device->n_speeds > 0};
    arena_init(&t.arena);
    for (size_t i = 0; i < sizeof offered / sizeof *offered; i++)
        offer(&t, offered[i], device);
    int rc = list_matrices(&t, s->file, e);
    for (int i = 0; i < t.n_matrices && rc == 0; i++)
        describe(&t, a, device, &t.matrices[i]);
    if (rc < 0)
        bits_release(&t);
    else
        *out = t;
    return rc;
}

int bits_measure(struct bits_table *out, struct student *s, const struct activity *a,
                 const struct bits_device *device, struct progress *p, struct err *e) {
    struct bits_table t;
    struct measuring x = {.t = &t, .s = s, .a = a};
    int rc = bits_list(&t, s, a, device, e);
    if (rc < 0)
        return rc;
    if (!(x.pool = thread_pool_new(s->ops.n_threads, e)))
        rc = ERR_NO_MEMORY;
    if (p)
        p->total = t.n_matrices;
    for (int i = 0; i < t.n_matrices && rc == 0; i++) {
        rc = measure_matrix(&x, &t.matrices[i], e);
        progress_update(p, i + 1);
    }
    thread_pool_free(x.pool);
    if (rc < 0)
        bits_release(&t);
    else
        *out = t;
    return rc;
}

void bits_release(struct bits_table *t) {
    arena_release(&t->arena);
    *t = (struct bits_table){0};
}

/* ---- choosing ---- */

/* What a matrix costs as a share of the budget; either weight may be 0. */
struct price {
    double per_byte, per_second;
};

static double cost_of(const struct bits_matrix *m, int type, struct price p) {
    return p.per_byte * (double)m->bytes[type] + p.per_second * m->seconds[type];
}

static struct bits_outcome add_up(const struct bits_table *t, const int *types) {
    struct bits_outcome o = {.bytes = t->other_bytes};
    for (int i = 0; i < t->n_matrices; i++) {
        const struct bits_matrix *m = &t->matrices[i];
        o.loss += m->loss[types[i]];
        o.bytes += m->bytes[types[i]];
        o.seconds += m->seconds[types[i]];
    }
    return o;
}

static bool within(const struct bits_outcome *o, const struct bits_budget *b) {
    return (b->bytes <= 0 || o->bytes <= b->bytes) &&
           (!(b->seconds > 0) || o->seconds <= b->seconds * (1 + 1e-9));
}

/* lambda 0: the least loss; the larger, the cheaper. Of equals the smaller type. */
static void pick(const struct bits_table *t, double lambda, struct price p, int *types) {
    for (int i = 0; i < t->n_matrices; i++) {
        const struct bits_matrix *m = &t->matrices[i];
        double best = INFINITY;
        for (int k = 0; k < t->n_types; k++) {
            double value = m->loss[k] + lambda * cost_of(m, k, p);
            if (m->fits[k] && value < best) {
                best = value;
                types[i] = k;
            }
        }
    }
}

/* Spends what is left of the budget: always the step that gains most loss for its cost. */
static void spend_rest(const struct bits_table *t, const struct bits_budget *b, struct price p, int *types) {
    for (;;) {
        int best = -1, best_type = 0;
        double best_rate = 0;
        struct bits_outcome now = add_up(t, types);
        for (int i = 0; i < t->n_matrices; i++) {
            const struct bits_matrix *m = &t->matrices[i];
            for (int k = 0; k < t->n_types; k++) {
                double gain = m->loss[types[i]] - m->loss[k];
                struct bits_outcome then = now;
                then.bytes += m->bytes[k] - m->bytes[types[i]];
                then.seconds += m->seconds[k] - m->seconds[types[i]];
                double more = fmax(cost_of(m, k, p) - cost_of(m, types[i], p), 1e-12);
                if (m->fits[k] && gain > 0 && within(&then, b) && gain / more > best_rate) {
                    best = i;
                    best_type = k;
                    best_rate = gain / more;
                }
            }
        }
        if (best < 0)
            return;
        types[best] = best_type;
    }
}

/* The best choice under one kind of price; false when not even the cheapest keeps the budget. */
static bool solve(const struct bits_table *t, const struct bits_budget *b, struct price p, int *types) {
    double low = 0, high = 1e-12;
    struct bits_outcome o;
    pick(t, 0, p, types);
    o = add_up(t, types);
    if (within(&o, b))
        return true;
    do {
        high *= 8;
        pick(t, high, p, types);
        o = add_up(t, types);
    } while (!within(&o, b) && high < 1e12);
    if (!within(&o, b))
        return false;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = low > 0 ? sqrt(low * high) : high / 64;
        pick(t, middle, p, types);
        o = add_up(t, types);
        if (within(&o, b))
            high = middle;
        else
            low = middle;
    }
    pick(t, high, p, types);
    spend_rest(t, b, p, types);
    return true;
}

bool bits_budget_given(const struct bits_budget *b) {
    return b->bytes > 0 || b->bits > 0 || b->seconds > 0;
}

/* Both limits of size as one of bytes. */
static struct bits_budget in_bytes(const struct bits_table *t, const struct bits_budget *b) {
    struct bits_budget out = *b;
    double values = (double)t->other_bytes / sizeof(float);
    for (int i = 0; i < t->n_matrices; i++)
        values += (double)(t->matrices[i].rows * t->matrices[i].cols);
    int64_t bytes = (int64_t)(b->bits * values / 8);
    if (b->bits > 0 && (out.bytes <= 0 || bytes < out.bytes))
        out.bytes = bytes;
    return out;
}

int bits_choose(const struct bits_table *t, const struct bits_budget *budget, int *types,
                struct bits_outcome *outcome, struct err *e) {
    struct bits_budget both = in_bytes(t, budget), *b = &both;
    double per_byte = b->bytes > 0 ? 1 / (double)b->bytes : 0,
           per_second = b->seconds > 0 ? 1 / b->seconds : 0;
    /* With two limits either may be the one that binds, or both: how much a byte is worth in seconds is tried. */
    static const double ratios[] = {1, 0, 1e-3, 1e-2, 0.03, 0.1, 0.3, 3, 10, 30, 100, 1e3, INFINITY};
    int *tried = calloc((size_t)t->n_matrices + 1, sizeof *tried);
    bool found = false;
    if (!tried)
        return no_memory(e);
    bool single = !(per_byte > 0) || !(per_second > 0);
    for (size_t i = 0; i < (single ? 1 : sizeof ratios / sizeof *ratios); i++) {
        bool time_alone = isinf(ratios[i]);
        struct price price = {time_alone ? 0 : per_byte, time_alone ? per_second : ratios[i] * per_second};
        if (!solve(t, b, price, tried))
            continue;
        struct bits_outcome o = add_up(t, tried);
        if (!found || o.loss < outcome->loss) {
            *outcome = o;
            memcpy(types, tried, (size_t)t->n_matrices * sizeof *types);
        }
        found = true;
    }
    if (!found) {
        pick(t, 1e12, (struct price){per_byte, per_second}, tried);
        struct bits_outcome least = add_up(t, tried);
        err_set(
            e, ERR_UNSUPPORTED, "bits_choose",
            "no choice of types keeps the budget: the smallest weighs %lld bytes and takes %.3g s a decision",
            (long long)least.bytes, least.seconds);
        err_hint(e, "allow more, or accept a plan with a smaller base");
    }
    free(tried);
    return found ? 0 : ERR_UNSUPPORTED;
}

double bits_least_seconds(const struct bits_table *t) {
    double sum = 0;
    for (int i = 0; i < t->n_matrices; i++) {
        double least = INFINITY;
        for (int k = 0; k < t->n_types; k++)
            least = t->matrices[i].fits[k] ? fmin(least, t->matrices[i].seconds[k]) : least;
        sum += isfinite(least) ? least : 0;
    }
    return sum;
}

void bits_of_preview(const struct bits_table *t, const struct quantize_preview *p,
                     struct bits_outcome *outcome) {
    *outcome = (struct bits_outcome){0};
    for (int i = 0; i < p->n_tensors; i++) {
        const struct bits_matrix *m = NULL;
        outcome->bytes += p->tensors[i].size_bytes;
        for (int k = 0; k < t->n_matrices && !m; k++)
            m = strcmp(t->matrices[k].name, p->tensors[i].name) == 0 ? &t->matrices[k] : NULL;
        int near = -1;
        for (int k = 0; m && k < t->n_types; k++)
            if (m->fits[k] && m->bytes[k] <= p->tensors[i].size_bytes)
                near = k;
        outcome->loss += near >= 0 ? m->loss[near] : 0;
        outcome->seconds += near >= 0 ? m->seconds[near] : 0;
    }
}

struct quantize_override *bits_overrides(const struct bits_table *t, const int *types, struct arena *a) {
    struct quantize_override *list = arena_calloc(a, (size_t)t->n_matrices, sizeof *list);
    for (int i = 0; i < t->n_matrices && list; i++) {
        list[i] =
            (struct quantize_override){quantize_pattern(t->matrices[i].name, a), t->types[types[i]].name};
        if (!list[i].pattern)
            return NULL;
    }
    return list;
}
