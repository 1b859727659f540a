/* Scoring predictions. */
#include "plan/score.h"

#include "base/str.h"
#include "plan/boards.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { READ_TOKENS = 512, SEEN_TOKENS = 64, UBATCH = 512 };

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

/* ---- which device? ---- */

static void simplify(const char *text, char out[96]) {
    size_t n = 0;
    for (; text != NULL && *text != '\0' && n < 95; text++)
        if (isalnum((unsigned char)*text))
            out[n++] = (char)tolower((unsigned char)*text);
    out[n] = '\0';
}

static bool names_it(const char *text, const char *name) {
    char a[96], b[96];
    simplify(text, a);
    simplify(name, b);
    return strlen(b) >= 4 && (strstr(a, b) != NULL || (strlen(a) >= 4 && strstr(b, a) != NULL));
}

static struct catalog_figure row_says(double value) {
    return (struct catalog_figure){value > 0, value, value, value, "the row"};
}

static double core_score(const struct catalog *c, const char *name) {
    const struct catalog_core *core = catalog_core_find(c, name);
    return core != NULL && core->seven_zip.known ? core->seven_zip.value : 0;
}

/* A run of cores in a text: "4x Cortex-A76", "2x X1", "2x A78 2.2 GHz". */
struct cluster {
    const char *core; /* class of the catalogue */
    double cores, mhz;
};

/* The class that a text begins with, with or without "Cortex-": the longest name, since a76 is not a7. */
static const char *class_at(const struct catalog *c, const char *text) {
    const char *found = NULL;
    text += strncasecmp(text, "cortex-", 7) == 0 ? 7 : 0;
    for (int64_t i = 0; i < c->n_cores; i++) {
        const char *name = c->cores[i].name;
        bool arm = strncmp(name, "cortex-", 7) == 0;
        const char *tail = arm ? name + 7 : name;
        if (strncasecmp(text, tail, strlen(tail)) == 0 && (found == NULL || strlen(name) > strlen(found)))
            found = name;
    }
    return found;
}

/* The clock that is named after `text` before the next cluster begins, in MHz; 0: none. */
static double clock_after(const char *text) {
    size_t n = strcspn(text, "+,;");
    for (const char *at = text; at < text + n; at++) {
        char *end = NULL;
        double value = isdigit((unsigned char)*at) ? strtod(at, &end) : 0;
        if (value <= 0)
            continue;
        while (*end == ' ')
            end++;
        if (strncasecmp(end, "ghz", 3) == 0)
            return 1000 * value;
        if (strncasecmp(end, "mhz", 3) == 0)
            return value;
        at = end - 1;
    }
    return 0;
}

/* Clusters of a text, the fastest class first; "1x+3x Cortex-A78" counts together. */
static int clusters_of(const struct catalog *c, const char *text, struct cluster out[2]) {
    struct cluster found[4] = {{0}};
    double pending = 0;
    int n = 0;
    for (const char *at = text; *at != '\0' && n < 4; at++) {
        const char *class = at == text || !isalnum((unsigned char)at[-1]) ? class_at(c, at) : NULL;
        if (isdigit((unsigned char)at[0]) && (at[1] == 'x' || at[1] == 'X') &&
            (at == text || !isalnum((unsigned char)at[-1])))
            pending += at[0] - '0';
        else if (class != NULL) {
            found[n++] = (struct cluster){class, pending, clock_after(at)};
            pending = 0;
            at += strcspn(at, " ,+;") - 1;
        }
    }
    int first = 0, second = -1;
    for (int i = 1; i < n; i++)
        if (core_score(c, found[i].core) > core_score(c, found[first].core))
            first = i;
    for (int i = 0; i < n; i++)
        if (i != first && (second < 0 || core_score(c, found[i].core) > core_score(c, found[second].core)))
            second = i;
    out[0] = found[first];
    out[1] = second >= 0 ? found[second] : (struct cluster){0};
    return n < 2 ? n : 2;
}

/* Intel's N-series, whose cores are those of the N100: "N95", "N200", "i3-N305". */
static bool names_n_series(const char *text) {
    for (const char *at = strpbrk(text, "nN"); at != NULL; at = strpbrk(at + 1, "nN")) {
        size_t digits = strspn(at + 1, "0123456789");
        bool alone = at == text || at[-1] == ' ' || at[-1] == '-';
        if (alone && (digits == 2 || digits == 3) && !isalnum((unsigned char)at[1 + digits]))
            return true;
    }
    return false;
}

/* "4x Cortex-A76 2.4GHz" as a device with such cores, "Intel i5, 6x 4.4 GHz" as an x86-64 machine; false: neither is named. */
static bool from_facts(const struct catalog *c, const char *text, struct catalog_device *out) {
    static const char *const with_dotprod[] = {"cortex-a55", "cortex-a76", "cortex-a78", "cortex-a720",
                                               "cortex-x1"};
    struct cluster cores[2] = {{0}};
    int n = text != NULL ? clusters_of(c, text, cores) : 0;
    bool x86 = n == 0 && text != NULL && (strcasestr(text, "intel") || strcasestr(text, "amd "));
    if (n == 0 && !x86)
        return false;
    if (x86) {
        const char *count = strstr(text, "x ");
        bool counted = count != NULL && count > text && isdigit((unsigned char)count[-1]);
        cores[0] = (struct cluster){names_n_series(text) ? "gracemont" : "x86-avx2",
                                    counted ? count[-1] - '0' : 0, clock_after(counted ? count : text)};
    }
    x86 = x86 || str_equal(cores[0].core, "gracemont");
    *out = (struct catalog_device){.name = "by its facts",
                                   .title = text,
                                   .family = "by its facts",
                                   .arch = x86 ? "x86_64" : "aarch64",
                                   .core = cores[0].core,
                                   .second_core = cores[1].core,
                                   .dotprod = "no",
                                   .i8mm = str_equal(cores[0].core, "cortex-a720") ? "yes" : "no",
                                   .cores = row_says(cores[0].cores),
                                   .clock_mhz = row_says(cores[0].mhz),
                                   .second_cores = row_says(cores[1].cores),
                                   .second_mhz = row_says(cores[1].mhz)};
    for (size_t i = 0; i < sizeof with_dotprod / sizeof *with_dotprod; i++)
        if (str_equal(with_dotprod[i], cores[0].core))
            out->dotprod = "yes";
    return true;
}

const struct catalog_device *score_match(const struct catalog *c, const struct catalog_measurement *row,
                                         struct catalog_device *storage) {
    for (int64_t i = 0; i < c->n_devices; i++)
        if (str_equal(c->devices[i].measured_as, row->device))
            return &c->devices[i];
    for (int pass = 0; pass < 3; pass++)
        for (int64_t i = 0; i < c->n_devices; i++) {
            const struct catalog_device *d = &c->devices[i];
            if (pass == 0   ? strcasecmp(d->name, row->device) == 0
                : pass == 1 ? names_it(row->device, d->title) || names_it(row->device, d->family)
                            : d->soc != NULL && (names_it(row->cpu, d->soc) || names_it(row->device, d->soc)))
                return d;
        }
    return from_facts(c, row->cpu, storage) || from_facts(c, row->device, storage) ? storage : NULL;
}

/* ---- one row ---- */

static bool counts(const struct catalog_measurement *row) {
    return !row->gpu && row->tier != 'X' && !row->repeat;
}

static bool is_known(const struct catalog *c, const struct catalog_measurement *row) {
    for (int64_t i = 0; i < c->n_measurements; i++) {
        const struct catalog_measurement *m = &c->measurements[i];
        if (m != row && str_equal(m->model, row->model) && str_equal(m->quantisation, row->quantisation) &&
            m->threads == row->threads && m->decode_tps == row->decode_tps &&
            m->prefill_tps == row->prefill_tps)
            return true;
    }
    return false;
}

static int add(struct score_list *l, const struct catalog_measurement *row, bool writes, bool known,
               const struct estimate *x, struct board_share share, double measured, struct err *e) {
    if (mem_grow((void **)&l->items, &l->capacity, l->n + 1, sizeof *l->items) < 0)
        return err_set(e, ERR_NO_MEMORY, "score_rows", "out of memory");
    l->items[l->n++] = (struct score_item){.device = row->device,
                                           .model = row->model,
                                           .quantisation = row->quantisation,
                                           .writes = writes,
                                           .known = known,
                                           .predicted = share.value * x->value,
                                           .low = share.value / share.spread * x->low,
                                           .high = share.value * share.spread * x->high,
                                           .measured = measured};
    return 0;
}

static int score_row(const struct catalog *c, const struct catalog_measurement *row,
                     const struct catalog_device *d, const struct device_rates *rates, struct score_list *l,
                     struct err *e) {
    enum mix mix = MIX_F16;
    struct shape shape;
    struct mix_work work;
    if (!mix_from_name(row->quantisation, &mix) || !board_row_shape(c, row, &shape)) {
        l->n_unmatched++;
        return 0;
    }
    struct predict_task task = {.prefix_tokens = READ_TOKENS, .label_tokens = 1};
    struct predict_input in = {
        .shape = &shape, .mix = mix, .rates = rates, .task = &task, .context = 1024, .ubatch = UBATCH};
    struct plan_prediction p = {0};
    bool known = is_known(c, row);
    int code = 0;
    mix_count(mix, &shape, &work);
    if (board_row_reads(row)) {
        task.prefix_tokens =
            strtol(row->test + 2, NULL, 10) > 0 ? strtol(row->test + 2, NULL, 10) : READ_TOKENS;
        predict_on_device(&in, &work, NULL, &p);
        struct board_share share = board_threads_share(c, d, BOARD_READS, row->threads);
        code = add(l, row, false, known, &p.prefill_tps, share, row->prefill_tps, e);
    }
    if (code == 0 && row->decode_tps > 0) {
        task.prefix_tokens = SEEN_TOKENS;
        predict_on_device(&in, &work, NULL, &p);
        struct board_share share = board_threads_share(c, d, BOARD_WRITES, row->threads);
        code = add(l, row, true, known, &p.decode_tps, share, row->decode_tps, e);
    }
    return code;
}

int score_rows(const struct catalog *c, const struct catalog_measurement *rows, int64_t n_rows,
               const char *only, struct score_list *l, struct err *e) {
    struct arena a;
    arena_init(&a);
    int code = 0;
    struct device_rates rates;
    char rates_of[96] = "";
    for (int64_t i = 0; code == 0 && i < n_rows; i++) {
        struct catalog_device made_up;
        if (only != NULL && !str_equal(rows[i].device, only))
            continue;
        const struct catalog_device *d = score_match(c, &rows[i], &made_up);
        if (d == NULL) {
            l->n_unmatched += !rows[i].gpu;
            continue;
        }
        if (!counts(&rows[i]))
            continue;
        if (strcmp(rates_of, rows[i].device) != 0)
            code = rates_for_device(c, d, &a, &rates, e);
        snprintf(rates_of, sizeof rates_of, "%s", rows[i].device);
        if (code == 0)
            code = score_row(c, &rows[i], d, &rates, l, e);
    }
    arena_release(&a);
    return code;
}

/* ---- leaving out ---- */

static void hide(struct catalog *c, const char *board, const char *model, bool hidden) {
    for (int64_t i = 0; i < c->n_measurements; i++) {
        struct catalog_measurement *m = &c->measurements[i];
        bool meant =
            (board == NULL || str_equal(m->device, board)) && (model == NULL || str_equal(m->model, model));
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
        const struct catalog_measurement row = {
            .device = d->family, .model = "published bandwidth", .quantisation = ""};
        struct estimate x = {per_gb, per_gb / rates.write_spread, per_gb * rates.write_spread, ""};
        code = add(l, &row, true, false, &x, (struct board_share){1, 1}, d->decode_gbps.value, e);
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
            hide(c, d->measured_as, NULL, true);
            code = score_rows(c, c->measurements, c->n_measurements, d->measured_as, l, e);
            hide(c, d->measured_as, NULL, false);
        } else {
            code = score_published(c, d, l, e);
        }
        for (int64_t j = i; j < c->n_devices && str_equal(c->devices[j].family, last); j++)
            c->devices[j].decode_gbps.known = published.known;
    }
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
        hide(c, board, model, true);
        code = score_rows(c, c->measurements, c->n_measurements, board, l, e);
        hide(c, board, model, false);
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
