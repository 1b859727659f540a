/* Rates of a device: fitted where rows of its own are known, transferred from its kind where not. */
#include "plan/rates.h"

#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_ROWS = 6, FIT_SWEEPS = 200, MAX_BOARDS = 128 };

/* How far apart public measurements of one board and model lie (shared figure: 1.19 at the median, up to 1.38), and what a
 * transfer has shown to be worth on boards whose truth is known (tests/plan/test_rates.c prints both). */
static const double PULL = 0.05, NOISE = 1.4, SPREAD_PUBLISHED = 1.5, SPREAD_CLASS = 2.0,
                    SPREAD_IN_ORDER = 3.0, SPREAD_UNKNOWN = 4.0;

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, int64_t n, double q) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return values[(int64_t)(q * (double)(n - 1) + 0.5)];
}

/* ---- the fit ---- */

static double common_rate(const double *a, const double *time, int64_t n_rows, int n_cols, double *scratch) {
    for (int64_t i = 0; i < n_rows; i++) {
        double work = 0;
        for (int j = 0; j < n_cols; j++)
            work += a[i * n_cols + j];
        scratch[i] = work > 0 ? time[i] / work : 0;
    }
    return quantile(scratch, n_rows, 0.5);
}

void rates_fit(const double *a, const double *time, int64_t n_rows, int n_cols, double pull, double *x) {
    double *residual = malloc((size_t)n_rows * sizeof *residual);
    if (residual == NULL)
        return;
    double x0 = common_rate(a, time, n_rows, n_cols, residual);
    for (int j = 0; j < n_cols; j++)
        x[j] = x0;
    for (int64_t i = 0; i < n_rows; i++) {
        residual[i] = -1;
        for (int j = 0; j < n_cols; j++)
            residual[i] += a[i * n_cols + j] * x[j] / time[i];
    }
    for (int sweep = 0; sweep < FIT_SWEEPS; sweep++)
        for (int j = 0; j < n_cols; j++) {
            double gradient = pull * (x[j] / x0 - 1) / x0, curvature = pull / (x0 * x0);
            for (int64_t i = 0; i < n_rows; i++) {
                double slope = a[i * n_cols + j] / time[i];
                gradient += residual[i] * slope;
                curvature += slope * slope;
            }
            double next = fmax(x[j] - gradient / curvature, 0.05 * x0), moved = next - x[j];
            x[j] = next;
            for (int64_t i = 0; i < n_rows; i++)
                residual[i] += a[i * n_cols + j] / time[i] * moved;
        }
    free(residual);
}

/* ---- rows of one board ---- */

/* The catalogue's shape that a measured file has: the tied or the untied variant, whichever its parameters say. */
static bool measured_shape(const struct catalog *c, const struct catalog_measurement *row,
                           struct shape *out) {
    for (int64_t i = 0; i < c->n_models; i++) {
        const struct catalog_model *m = &c->models[i];
        for (const char *const *name = m->measured_as; m->shape_known && name != NULL && *name != NULL;
             name++)
            if (str_equal(*name, row->model)) {
                shape_from_catalog(out, m);
                struct shape other = *out;
                other.tied = !other.tied;
                if (fabs((double)shape_params(&other) - row->params) <
                    fabs((double)shape_params(out) - row->params))
                    *out = other;
                return true;
            }
    }
    return false;
}

static bool row_counts(const struct catalog_measurement *row, const char *board, int threads) {
    return str_equal(row->device, board) && row->tier == 'A' && !row->gpu && !row->repeat &&
           (row->threads == 0 || row->threads == threads);
}

struct board_fit {
    int64_t n_write, n_read;
    double s_per_byte[N_TENSOR_TYPES], s_per_mac[N_TENSOR_TYPES];
    double write_error, read_error; /* 95 % of rows lie within value / error and value * error */
};

struct fit_rows {
    double *work, *time; /* [n, N_TENSOR_TYPES], [n] */
    int64_t n;
};

/* Prompt reading of at least this many tokens: shorter prompts measure the start, not the rate. */
static bool reads_a_prompt(const struct catalog_measurement *row) {
    return row->prefill_tps > 0 && row->test != NULL && str_starts(row->test, "pp");
}

static void collect(const struct catalog *c, const char *board, int threads, bool write,
                    struct fit_rows *rows) {
    rows->n = 0;
    for (int64_t i = 0; i < c->n_measurements; i++) {
        const struct catalog_measurement *m = &c->measurements[i];
        enum mix mix = MIX_F16;
        struct shape shape;
        if (!row_counts(m, board, threads) || !(write ? m->decode_tps > 0 : reads_a_prompt(m)) ||
            !mix_from_name(m->quantisation, &mix) || !measured_shape(c, m, &shape))
            continue;
        struct mix_work work;
        mix_count(mix, &shape, &work);
        memcpy(rows->work + rows->n * N_TENSOR_TYPES, write ? work.read_bytes : work.block_macs,
               sizeof work.read_bytes);
        rows->time[rows->n++] = 1 / (write ? m->decode_tps : m->prefill_tps);
    }
}

static double fit_error(const struct fit_rows *rows, const double *x, double *scratch) {
    for (int64_t i = 0; i < rows->n; i++) {
        double predicted = 0;
        for (int j = 0; j < N_TENSOR_TYPES; j++)
            predicted += rows->work[i * N_TENSOR_TYPES + j] * x[j];
        scratch[i] = fabs(log(predicted / rows->time[i]));
    }
    return exp(quantile(scratch, rows->n, 0.95));
}

static int fit_board(const struct catalog *c, const char *board, int threads, struct board_fit *out,
                     struct err *e) {
    *out = (struct board_fit){0};
    if (board == NULL || c->n_measurements == 0)
        return 0;
    size_t n = (size_t)c->n_measurements;
    struct fit_rows rows = {.work = malloc(n * N_TENSOR_TYPES * sizeof(double)),
                            .time = malloc(n * sizeof(double))};
    double *scratch = malloc(n * sizeof(double));
    int code = 0;
    if (rows.work == NULL || rows.time == NULL || scratch == NULL) {
        code = err_set(e, ERR_NO_MEMORY, "rates_for_device", "out of memory for %zu measurements", n);
    } else {
        collect(c, board, threads, true, &rows);
        if ((out->n_write = rows.n) >= MIN_ROWS) {
            rates_fit(rows.work, rows.time, rows.n, N_TENSOR_TYPES, PULL, out->s_per_byte);
            out->write_error = fit_error(&rows, out->s_per_byte, scratch);
        }
        collect(c, board, threads, false, &rows);
        if ((out->n_read = rows.n) >= MIN_ROWS) {
            rates_fit(rows.work, rows.time, rows.n, N_TENSOR_TYPES, PULL, out->s_per_mac);
            out->read_error = fit_error(&rows, out->s_per_mac, scratch);
        }
    }
    free(rows.work);
    free(rows.time);
    free(scratch);
    return code;
}

static int device_threads(const struct catalog_device *d) {
    return d->cores.known ? (int)d->cores.value : 4;
}

/* Bytes a second over all types, of a fit. */
static double fit_bandwidth(const struct board_fit *f) {
    double times[N_TENSOR_TYPES];
    memcpy(times, f->s_per_byte, sizeof times);
    return 1 / quantile(times, N_TENSOR_TYPES, 0.5);
}

/* ---- transfer between boards ---- */

/* Bandwidth while writing as a multiple of memcpy (or of the theoretical bandwidth), over one board of each family where both
 * are known. Returns the number of boards; *low and *high are the extremes. */
static int transfer_ratio(const struct catalog *c, bool from_memcpy, double *median, double *low,
                          double *high, struct err *e) {
    double ratios[MAX_BOARDS];
    int n = 0;
    const char *last_family = "";
    for (int64_t i = 0; i < c->n_devices && n < MAX_BOARDS; i++) {
        const struct catalog_device *d = &c->devices[i];
        const struct figure *memory = from_memcpy ? &d->memcpy_mbps : &d->theoretical_gbps;
        if (str_equal(d->family, last_family) || !memory->known)
            continue;
        last_family = d->family;
        double bytes_s = d->decode_gbps.known ? d->decode_gbps.value * 1e9 : 0;
        if (bytes_s <= 0 && d->measured_as != NULL) {
            struct board_fit f;
            if (fit_board(c, d->measured_as, device_threads(d), &f, e) < 0)
                return ERR_NO_MEMORY;
            bytes_s = f.n_write >= MIN_ROWS ? fit_bandwidth(&f) : 0;
        }
        if (bytes_s > 0)
            ratios[n++] = bytes_s / (memory->value * (from_memcpy ? 1e6 : 1e9));
    }
    if (n < 2)
        return 0;
    *median = quantile(ratios, n, 0.5);
    *low = ratios[0];
    *high = ratios[n - 1];
    return n;
}

static void set_bandwidth(struct device_rates *r, double bytes_per_s, double spread) {
    for (int t = 0; t < N_TENSOR_TYPES; t++)
        r->s_per_byte[t] = 1 / bytes_per_s;
    r->write_spread = spread;
}

/* Writing, for a board without rows of its own. */
static int transfer_write(const struct catalog *c, const struct catalog_device *d, struct arena *a,
                          struct device_rates *r, struct err *e) {
    double least = r->in_order ? SPREAD_IN_ORDER : SPREAD_PUBLISHED, ratio = 0, low = 0, high = 0;
    if (d->decode_gbps.known) {
        set_bandwidth(r, d->decode_gbps.value * 1e9, SPREAD_PUBLISHED);
        r->write_basis = arena_printf(a, "%.1f GB/s measured while models wrote (%s)", d->decode_gbps.value,
                                      d->decode_gbps.source);
        return 0;
    }
    bool from_memcpy = d->memcpy_mbps.known;
    if (from_memcpy || d->theoretical_gbps.known) {
        int n = transfer_ratio(c, from_memcpy, &ratio, &low, &high, e);
        if (n < 0)
            return n;
        const struct figure *f = from_memcpy ? &d->memcpy_mbps : &d->theoretical_gbps;
        if (n > 0) {
            set_bandwidth(r, ratio * f->value * (from_memcpy ? 1e6 : 1e9),
                          fmax(fmax(high / ratio, ratio / low), least));
            r->write_basis = arena_printf(
                a, "%s of %s %s times %.2f, the median of %d boards where both are known (%.2f to %.2f); %s",
                from_memcpy ? "memcpy" : "theoretical bandwidth", d->title, from_memcpy ? "(one thread)" : "",
                ratio, n, low, high, f->source);
            return 0;
        }
    }
    set_bandwidth(r, 5e9, SPREAD_UNKNOWN);
    r->write_basis =
        "no figure of this board's memory is known: 5 GB/s, between a Raspberry Pi 4 and 5, with wide bounds";
    return 0;
}

/* The board whose prompt reading stands for a core class: the first measured one with such cores. */
static int class_fit(const struct catalog *c, const char *core, const struct catalog_device **board,
                     struct board_fit *fit, struct err *e) {
    *board = NULL;
    for (int64_t i = 0; i < c->n_devices; i++) {
        const struct catalog_device *d = &c->devices[i];
        if (!str_equal(d->core, core) || d->measured_as == NULL || !d->clock_mhz.known || !d->cores.known)
            continue;
        int code = fit_board(c, d->measured_as, device_threads(d), fit, e);
        if (code < 0)
            return code;
        if (fit->n_read >= MIN_ROWS) {
            *board = d;
            return 0;
        }
    }
    return 0;
}

static int transfer_read(const struct catalog *c, const struct catalog_device *d, struct arena *a,
                         struct device_rates *r, struct err *e) {
    const struct catalog_core *core = catalog_core_find(c, d->core);
    const struct catalog_device *board = NULL;
    struct board_fit fit;
    int code = class_fit(c, core != NULL ? core->like : d->core, &board, &fit, e);
    bool stand_in = code == 0 && board == NULL;
    if (stand_in) /* no measured board has such cores: the fastest class that has been measured, with wide bounds */
        code = class_fit(c, "cortex-a76", &board, &fit, e);
    if (code < 0)
        return code;
    if (board == NULL) {
        for (int t = 0; t < N_TENSOR_TYPES; t++)
            r->s_per_mac[t] = 1 / 20e9;
        r->read_spread = SPREAD_UNKNOWN;
        r->read_basis = "no measured board to compare with";
        return 0;
    }
    bool known = core != NULL && core->relative.known && d->clock_mhz.known && d->cores.known && !stand_in;
    double speed = (core != NULL && core->relative.known ? core->relative.value : 1) *
                   (d->clock_mhz.known ? d->clock_mhz.value : board->clock_mhz.value) * device_threads(d) /
                   (board->clock_mhz.value * board->cores.value);
    for (int t = 0; t < N_TENSOR_TYPES; t++)
        r->s_per_mac[t] = fit.s_per_mac[t] / speed;
    r->read_spread = !known ? SPREAD_UNKNOWN : r->in_order ? SPREAD_IN_ORDER : SPREAD_CLASS;
    r->read_basis = arena_printf(a, "%s (%lld rows) times %.2f for %d x %s at %.0f MHz%s", board->family,
                                 (long long)fit.n_read, speed, device_threads(d), d->core,
                                 d->clock_mhz.known ? d->clock_mhz.value : board->clock_mhz.value,
                                 known ? "" : "; some of this is not known, so the bounds are wide");
    return 0;
}

int rates_for_device(const struct catalog *c, const struct catalog_device *d, struct arena *a,
                     struct device_rates *out, struct err *e) {
    const struct catalog_core *core = catalog_core_find(c, d->core);
    struct device_rates r = {.threads = device_threads(d), .in_order = core != NULL && core->in_order};
    struct board_fit fit;
    int code = fit_board(c, d->measured_as, r.threads, &fit, e);
    if (code < 0)
        return code;
    if (fit.n_write >= MIN_ROWS) {
        memcpy(r.s_per_byte, fit.s_per_byte, sizeof r.s_per_byte);
        r.write_spread = fmax(fit.write_error, NOISE);
        r.in_order = false; /* the fit holds both */
        r.write_basis =
            arena_printf(a, "fitted to %lld rows of throughput.csv for %s (19 of 20 within %.2f times)",
                         (long long)fit.n_write, d->measured_as, fit.write_error);
    } else if ((code = transfer_write(c, d, a, &r, e)) < 0) {
        return code;
    }
    if (fit.n_read >= MIN_ROWS) {
        memcpy(r.s_per_mac, fit.s_per_mac, sizeof r.s_per_mac);
        r.read_spread = fmax(fit.read_error, NOISE);
        r.read_basis =
            arena_printf(a, "fitted to %lld rows of throughput.csv for %s (19 of 20 within %.2f times)",
                         (long long)fit.n_read, d->measured_as, fit.read_error);
    } else if ((code = transfer_read(c, d, a, &r, e)) < 0) {
        return code;
    }
    if (r.write_basis == NULL || r.read_basis == NULL)
        return err_set(e, ERR_NO_MEMORY, "rates_for_device", "out of memory");
    *out = r;
    return 0;
}
