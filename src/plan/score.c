/* Scoring predictions. */
#include "plan/score.h"

#include "base/str.h"
#include "plan/boards.h"
#include "plan/match.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN_TOKENS = 64, UBATCH = 512 };

void score_list_release(struct score_list *l) {
    free(l->items);
    *l = (struct score_list){0};
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int64_t n) {
    if (n == 0)
        return NAN;
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* ---- one row ---- */

static bool same_run(const struct catalog_measurement *a, const struct catalog_measurement *b) {
    return a->threads == b->threads && a->decode_tps == b->decode_tps && a->prefill_tps == b->prefill_tps &&
           str_equal(a->model, b->model) && str_equal(a->quantisation, b->quantisation);
}

/* The row stands there before: its device too. */
static bool is_duplicate(const struct catalog_measurement *rows, int64_t i) {
    for (int64_t j = 0; j < i; j++)
        if (same_run(&rows[j], &rows[i]) && rows[j].tier == rows[i].tier &&
            str_equal(rows[j].device, rows[i].device) && str_equal(rows[j].test, rows[i].test))
            return true;
    return false;
}

/* Where a row is left out, the counter that says why; NULL: it counts. */
static int64_t *left_out(struct score_skipped *s, const struct catalog_measurement *rows, int64_t i) {
    const struct catalog_measurement *row = &rows[i];
    if (row->gpu)
        return &s->gpu;
    if (row->tier == 'X' || row->repeat)
        return &s->set_aside;
    if (row->decode_tps <= 0 && row->prefill_tps <= 0)
        return &s->without_speed;
    return is_duplicate(rows, i) ? &s->duplicate : NULL;
}

static bool is_known(const struct catalog *c, const struct catalog_measurement *row) {
    for (int64_t i = 0; i < c->n_measurements; i++)
        if (&c->measurements[i] != row && same_run(&c->measurements[i], row))
            return true;
    return false;
}

/* A row as one prediction sees it. */
struct subject {
    const struct catalog_measurement *row;
    bool known, like;
    struct board_share share;
};
/* What stands in for a model or a quantisation that is not known may be so far off. */
static const double LIKE_SPREAD = 1.25;

static int add(struct score_list *l, const struct subject *of, bool writes, const struct estimate *x,
               double measured, struct err *e) {
    if (mem_grow((void **)&l->items, &l->capacity, l->n + 1, sizeof *l->items) < 0)
        return err_set(e, ERR_NO_MEMORY, "score_rows", "out of memory");
    double spread = of->share.spread * (of->like ? LIKE_SPREAD : 1);
    l->items[l->n++] = (struct score_item){.device = of->row->device,
                                           .model = of->row->model,
                                           .quantisation = of->row->quantisation,
                                           .source = of->row->source,
                                           .writes = writes,
                                           .known = of->known,
                                           .like = of->like,
                                           .predicted = of->share.value * x->value,
                                           .low = of->share.value / spread * x->low,
                                           .high = of->share.value * spread * x->high,
                                           .measured = measured};
    return 0;
}

static int score_row(const struct catalog *c, const struct catalog_measurement *row,
                     const struct catalog_device *d, const struct device_rates *rates, struct score_list *l,
                     struct err *e) {
    enum mix mix = MIX_F16;
    struct shape shape;
    struct mix_work work;
    enum match model = match_model(c, row, &shape);
    enum match type = model != MATCH_NOT ? match_mix(row, &shape, &mix) : MATCH_NOT;
    if (model == MATCH_NOT || type == MATCH_NOT) {
        ++*(model == MATCH_NOT ? &l->skipped.model : &l->skipped.quantisation);
        return 0;
    }
    struct predict_task task = {.prefix_tokens = (int64_t)board_row_prompt(row), .label_tokens = 1};
    struct predict_input in = {.shape = &shape,
                               .mix = mix,
                               .rates = rates,
                               .task = &task,
                               .context = 1024,
                               .ubatch = UBATCH,
                               .plain_attention = true};
    struct plan_prediction p = {0};
    struct subject of = {row, is_known(c, row), model == MATCH_LIKE || type == MATCH_LIKE, {1, 1}};
    int code = 0;
    mix_count(mix, &shape, &work);
    if (board_row_reads(row)) {
        predict_on_device(&in, &work, NULL, &p);
        of.share = board_threads_share(c, d, BOARD_READS, row->threads);
        code = add(l, &of, false, &p.prefill_tps, row->prefill_tps, e);
    }
    if (code == 0 && row->decode_tps > 0) {
        task.prefix_tokens = SEEN_TOKENS;
        predict_on_device(&in, &work, NULL, &p);
        of.share = board_threads_share(c, d, BOARD_WRITES, row->threads);
        code = add(l, &of, true, &p.decode_tps, row->decode_tps, e);
    }
    return code;
}

int score_rows(const struct catalog *c, const struct catalog_measurement *rows, int64_t n_rows,
               const char *only, struct score_list *l, struct err *e) {
    struct arena a;
    arena_init(&a);
    int code = 0;
    struct device_rates rates;
    const struct catalog_measurement *rates_of = NULL;
    for (int64_t i = 0; code == 0 && i < n_rows; i++) {
        struct catalog_device made_up;
        if (only != NULL && !str_equal(rows[i].device, only))
            continue;
        int64_t *skipped = left_out(&l->skipped, rows, i);
        const struct catalog_device *d = skipped == NULL ? match_device(c, &rows[i], &made_up) : NULL;
        if (skipped == NULL && d == NULL)
            skipped = &l->skipped.device;
        if (skipped != NULL) {
            ++*skipped;
            continue;
        }
        if (rates_of == NULL || !str_equal(rates_of->device, rows[i].device) ||
            !str_equal(rates_of->cpu, rows[i].cpu))
            code = rates_for_device(c, d, &a, &rates, e);
        rates_of = &rows[i];
        if (code == 0)
            code = score_row(c, &rows[i], d, &rates, l, e);
    }
    arena_release(&a);
    return code;
}

/* ---- leaving out ---- */

/* Which rows are hidden; NULL: all. */
struct hidden {
    const char *board, *model, *source;
};

/* Who published: of "github:geerlingguy/ai-benchmarks issue 54" the name up to the blank. */
static size_t publisher(const char **source) {
    *source = *source == NULL ? "" : *source + (str_starts(*source, "github:") ? 7 : 0);
    return strcspn(*source, " :,");
}

static bool same_publisher(const char *a, const char *b) {
    size_t n = publisher(&a), m = publisher(&b);
    return n > 0 && n == m && strncmp(a, b, n) == 0;
}

static void hide(struct catalog *c, const struct hidden *of, bool hidden) {
    for (int64_t i = 0; i < c->n_measurements; i++) {
        struct catalog_measurement *m = &c->measurements[i];
        bool meant = (of->board == NULL || str_equal(m->device, of->board)) &&
                     (of->model == NULL || str_equal(m->model, of->model)) &&
                     (of->source == NULL || same_publisher(m->source, of->source));
        if (meant && (m->tier == 'A' || m->tier == 'H') && !m->repeat)
            m->tier = hidden ? 'H' : 'A';
    }
}

/* A published bandwidth of a board without rows, as if it were one. */
static int score_published(struct catalog *c, const struct catalog_device *d, struct score_list *l,
                           struct err *e) {
    struct arena a;
    struct device_rates rates;
    arena_init(&a);
    int code = rates_for_device(c, d, &a, &rates, e);
    if (code == 0) {
        double s = rates.s_per_byte[TENSOR_Q4_K], per_gb = 1e-9 / s;
        const struct catalog_measurement row = {.device = d->family,
                                                .model = "published bandwidth",
                                                .quantisation = "",
                                                .source = d->decode_gbps.source};
        struct estimate x = {per_gb, per_gb / rates.write_spread, per_gb * rates.write_spread, ""};
        const struct subject of = {&row, false, false, {1, 1}};
        code = add(l, &of, true, &x, d->decode_gbps.value, e);
    }
    arena_release(&a);
    return code;
}

int score_unseen_devices(struct catalog *c, struct score_list *l, struct err *e) {
    int code = 0;
    const char *last = "";
    for (int64_t i = 0; code == 0 && i < c->n_devices; i++) {
        struct catalog_device *d = &c->devices[i];
        if (str_equal(d->family, last) || (d->measured_as == NULL && !d->decode_gbps.known))
            continue;
        last = d->family;
        struct catalog_figure published = d->decode_gbps;
        for (int64_t j = i; j < c->n_devices && str_equal(c->devices[j].family, last); j++)
            c->devices[j].decode_gbps.known = false;
        if (d->measured_as != NULL) {
            const struct hidden of = {.board = d->measured_as};
            hide(c, &of, true);
            code = score_rows(c, c->measurements, c->n_measurements, d->measured_as, l, e);
            hide(c, &of, false);
        } else {
            code = score_published(c, d, l, e);
        }
        for (int64_t j = i; j < c->n_devices && str_equal(c->devices[j].family, last); j++)
            c->devices[j].decode_gbps.known = published.known;
    }
    return code;
}

static bool first_of_source(const struct catalog *c, int64_t i) {
    for (int64_t j = 0; j < i; j++)
        if (same_publisher(c->measurements[j].source, c->measurements[i].source))
            return false;
    return true;
}

/* Published bandwidths of a source, in place or taken away: `known` remembers them, one of each device. */
static void hide_published(struct catalog *c, const char *source, bool *known, bool hidden) {
    for (int64_t i = 0; i < c->n_devices; i++) {
        struct catalog_figure *f = &c->devices[i].decode_gbps;
        if (hidden)
            known[i] = f->known;
        f->known = known[i] && !(hidden && same_publisher(f->source, source));
    }
}

int score_unseen_sources(struct catalog *c, struct score_list *l, struct err *e) {
    bool *known = calloc((size_t)c->n_devices + 1, sizeof *known);
    int code = known != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "score_unseen_sources", "out of memory");
    for (int64_t i = 0; code == 0 && i < c->n_measurements; i++) {
        const char *source = c->measurements[i].source;
        if (c->measurements[i].tier == 'X' || !first_of_source(c, i))
            continue;
        const struct hidden of = {.source = source};
        int64_t before = l->n, kept = before;
        hide(c, &of, true);
        hide_published(c, source, known, true);
        code = score_rows(c, c->measurements, c->n_measurements, NULL, l, e);
        hide_published(c, source, known, false);
        hide(c, &of, false);
        for (int64_t k = before; k < l->n; k++)
            if (same_publisher(l->items[k].source, source))
                l->items[kept++] = l->items[k];
        l->n = kept;
    }
    free(known);
    return code;
}

static bool first_of_model(const struct catalog *c, int64_t i) {
    for (int64_t j = 0; j < i; j++)
        if (str_equal(c->measurements[j].device, c->measurements[i].device) &&
            str_equal(c->measurements[j].model, c->measurements[i].model))
            return false;
    return true;
}

static bool has_other_models(const struct catalog *c, const struct catalog_measurement *row) {
    int64_t n = 0;
    for (int64_t j = 0; j < c->n_measurements; j++)
        n += str_equal(c->measurements[j].device, row->device) && c->measurements[j].tier == 'A' &&
             !str_equal(c->measurements[j].model, row->model);
    return n >= 6;
}

int score_unseen_models(struct catalog *c, struct score_list *l, struct err *e) {
    int code = 0;
    for (int64_t i = 0; code == 0 && i < c->n_measurements; i++) {
        const struct catalog_measurement *m = &c->measurements[i];
        if (m->tier != 'A' || m->gpu || !first_of_model(c, i) || !has_other_models(c, m))
            continue;
        const char *board = m->device, *model = m->model;
        int64_t before = l->n, kept = before;
        const struct hidden of = {.board = board, .model = model};
        hide(c, &of, true);
        code = score_rows(c, c->measurements, c->n_measurements, board, l, e);
        hide(c, &of, false);
        for (int64_t k = before; k < l->n; k++)
            if (str_equal(l->items[k].model, model))
                l->items[kept++] = l->items[k];
        l->n = kept;
    }
    return code;
}

/* ---- figures ---- */

double score_median_error(const struct score_list *l, bool writes, int64_t *n_devices, int64_t *n,
                          int64_t *n_inside) {
    double *errors = calloc((size_t)l->n + 1, sizeof *errors),
           *medians = calloc((size_t)l->n + 1, sizeof *medians);
    int64_t boards = 0, rows = 0, inside = 0;
    for (int64_t i = 0; errors != NULL && medians != NULL && i < l->n; i++) {
        bool first = l->items[i].writes == writes;
        for (int64_t j = 0; first && j < i; j++)
            first = !(l->items[j].writes == writes && str_equal(l->items[j].device, l->items[i].device));
        int64_t k = 0;
        for (int64_t j = i; first && j < l->n; j++) {
            const struct score_item *x = &l->items[j];
            if (x->writes != writes || !str_equal(x->device, l->items[i].device))
                continue;
            errors[k++] = fabs(x->predicted / x->measured - 1);
            inside += x->low <= x->measured && x->measured <= x->high;
        }
        rows += k;
        if (k > 0)
            medians[boards++] = median(errors, k);
    }
    double value = errors != NULL && medians != NULL ? median(medians, boards) : NAN;
    free(errors);
    free(medians);
    if (n_devices != NULL)
        *n_devices = boards;
    if (n != NULL)
        *n = rows;
    if (n_inside != NULL)
        *n_inside = inside;
    return value;
}

double score_noise(const struct catalog *c, bool writes, int64_t *n) {
    double *ratios = calloc((size_t)c->n_measurements + 1, sizeof *ratios);
    int64_t k = 0;
    for (int64_t i = 0; ratios != NULL && i < c->n_measurements; i++) {
        const struct catalog_measurement *r = &c->measurements[i];
        double here = writes ? r->decode_tps : r->prefill_tps;
        for (int64_t j = 0; r->tier == 'R' && here > 0 && j < c->n_measurements; j++) {
            const struct catalog_measurement *m = &c->measurements[j];
            double there = writes ? m->decode_tps : m->prefill_tps;
            if (m->tier == 'A' && there > 0 && str_equal(m->device, r->device) &&
                str_equal(m->model, r->model) && str_equal(m->quantisation, r->quantisation) &&
                m->threads == r->threads) {
                ratios[k++] = fmax(here / there, there / here);
                break;
            }
        }
    }
    double value = ratios != NULL ? median(ratios, k) : NAN;
    free(ratios);
    *n = k;
    return value;
}
