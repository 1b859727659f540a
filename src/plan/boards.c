/* Boards: rows into rates. What other boards say of one that nobody measured is in boards_level.c. */
#include "plan/boards.h"

#include "base/mem.h"
#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_ROWS = 6, ASSUMED_CORES = 4, USUAL_PROMPT = 512 };

/* Fewer fast cores than this get help from the next cluster: llama.cpp deals rows out in small portions, so slow cores help
 * where they are many against few, and hold back where they are few against many (eight threads of an RK3588 are slower than its
 * four fast ones: llama.cpp issue 7176). */
enum { ENOUGH_CORES = 4 };
static const double FAST_ENOUGH = 0.5;

/* Graph nodes of a layer in llama.cpp, and what a barrier costs for each thread that meets at it. Twelve threads of a CIX CD8180
 * take 0.39 ms a layer (ollama, 3.2B and 8B: geerlingguy/ai-benchmarks issue 13), which is 1.1 microseconds. */
enum { NODES_A_LAYER = 30, NODES_BESIDE = 10 };
static const double S_PER_NODE_AND_THREAD = 1e-6;
/* A row says of weights at least this share of its time, whatever the barriers may have cost. */
static const double LEAST_OF_ROW = 0.5;

/* How strongly types that the rows say little about are drawn to the common rate. */
static const double PULL = 0.05, ASSUMED_GHZ = 1.5;

/* Cores and memory overlap, but not fully: of two limits that are equal each alone would be 1.26 times as fast. */
static const double SHARPNESS = 3;
/* How much of a measured rate's inverse the cores must have had at least: a board at its memory's limit says of its cores only that
 * they are not slower than that. */
static const double LEAST_SHARE = 0.6;

/* llama.cpp without flash attention multiplies the whole square where half of it is needed, by matrices of a head's width, which
 * reach about half of the rate: Qwen3-0.6B and Gemma-3-270m, whose attention is wide, read on a Raspberry Pi 4 a fifth more slowly
 * than Llama-3.2-1B by their matrices alone. */
static const double PLAIN_ATTENTION = 4;

/* A copy moves each byte twice, so reading goes up to twice as fast, and it goes no slower than filling; of the bandwidth by
 * clock and width, boards whose reading was measured reach eight tenths (Raspberry Pi 5: 13.98 of 17.1 GB/s). */
static const double COPY_TO_READ = 2, REACHED = 0.8;
/* What an x86-64 machine has of which nothing is known: two channels of 64 bits at 3200 MT/s. */
static const double TWO_CHANNELS = 2 * 8 * 3200e6;

static const char *const isa_texts[N_ISAS] = {
#define X(name, text) text,
    BOARD_ISAS(X)
#undef X
};

const char *board_isa_text(enum board_isa isa) {
    return isa_texts[isa];
}

enum board_isa board_isa(const struct catalog *c, const struct catalog_device *d) {
    const struct catalog_core *core = catalog_core_find(c, d->core);
    if (core != NULL && core->scalar)
        return ISA_SCALAR;
    if (str_equal(d->arch, "x86_64"))
        return ISA_X86;
    if (str_equal(d->i8mm, "yes"))
        return ISA_I8MM;
    return str_equal(d->dotprod, "yes") ? ISA_DOTPROD : ISA_PLAIN;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, int64_t n, double q) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return values[(int64_t)(q * (double)(n - 1) + 0.5)];
}

/* The clock that a cluster runs at when all its cores work. A board's is the highest it has. Cores of x86-64, more than two, share what
 * the package may draw: they run between base and boost, in the middle; a boost of which the base is not known counts as much less
 * as the middle is below the boost elsewhere (five of the catalogue: 0.77 to 0.87). */
static const double ALL_CORES_OF_BOOST = 0.82;
enum { BOOST_FOR_ALL = 2 };

static double working_ghz(const struct catalog_figure *clock, bool shares_power) {
    if (!shares_power)
        return clock->high / 1000;
    return (clock->low < clock->high ? clock->value : ALL_CORES_OF_BOOST * clock->high) / 1000;
}

static bool shares_power(const struct catalog_device *d) {
    return str_equal(d->arch, "x86_64") && (!d->cores.known || d->cores.value > BOOST_FOR_ALL);
}

/* The clock of a cluster; where it is not known, the median of the catalogue's boards with such cores. */
static double cluster_ghz(const struct catalog *c, const struct catalog_device *d, bool second) {
    enum { MOST = 64 };
    const struct catalog_figure *clock = second ? &d->second_mhz : &d->clock_mhz;
    const char *core = second ? d->second_core : d->core;
    double clocks[MOST];
    int64_t n = 0;
    for (int64_t i = 0; !clock->known && i < c->n_devices && n < MOST; i++)
        if (c->devices[i].clock_mhz.known && str_equal(c->devices[i].core, core))
            clocks[n++] = working_ghz(&c->devices[i].clock_mhz, shares_power(&c->devices[i]));
    return clock->known ? working_ghz(clock, shares_power(d))
           : n > 0      ? quantile(clocks, n, 0.5)
                        : ASSUMED_GHZ;
}

/* What a GHz of the next cluster is worth in GHz of the fast one. */
static double second_weight(const struct catalog *c, const struct catalog_device *d) {
    const struct catalog_core *fast = catalog_core_find(c, d->core),
                              *second = catalog_core_find(c, d->second_core);
    bool known = fast != NULL && second != NULL && fast->seven_zip.known && second->seven_zip.known;
    return known ? second->seven_zip.value / fast->seven_zip.value : 1;
}

/* Cores of the next cluster that work beside the fast ones; 0: it is left alone. */
static int second_helps(const struct catalog *c, const struct catalog_device *d) {
    if (!d->second_cores.known || !d->cores.known)
        return 0;
    double speed = second_weight(c, d) * cluster_ghz(c, d, true) / cluster_ghz(c, d, false);
    return d->cores.value < ENOUGH_CORES || speed >= FAST_ENOUGH ? (int)d->second_cores.value : 0;
}

int board_threads(const struct catalog *c, const struct catalog_device *d) {
    return (d->cores.known ? (int)d->cores.value : ASSUMED_CORES) + second_helps(c, d);
}

double board_core_ghz(const struct catalog *c, const struct catalog_device *d) {
    double ghz = cluster_ghz(c, d, false);
    int helping = second_helps(c, d);
    if (helping == 0)
        return board_threads(c, d) * ghz;
    double second = cluster_ghz(c, d, true);
    return d->cores.value * ghz + helping * second * second_weight(c, d);
}

/* ---- what cores and memory do together ---- */

static double known_memory_limit(const struct catalog_device *d, const struct catalog_figure **which) {
    const struct catalog_figure *f = d->read_peak_gbps.known     ? &d->read_peak_gbps
                                     : d->memcpy_mbps.known      ? &d->memcpy_mbps
                                     : d->theoretical_gbps.known ? &d->theoretical_gbps
                                                                 : NULL;
    double copied = d->memcpy_mbps.known ? COPY_TO_READ * d->memcpy_mbps.value * 1e6 : 0;
    double filled = d->memset_mbps.known ? d->memset_mbps.value * 1e6 : 0;
    *which = f;
    if (f == NULL)
        return INFINITY;
    return f == &d->memcpy_mbps      ? fmax(copied, filled)
           : f == &d->read_peak_gbps ? f->value * 1e9
                                     : REACHED * f->value * 1e9;
}

double board_memory_limit(const struct catalog *c, const struct catalog_device *d,
                          const struct catalog_figure **which) {
    enum { MOST = 64 };
    double limit = known_memory_limit(d, which), limits[MOST];
    const char *last = "";
    int64_t n = 0;
    for (int64_t i = 0; *which == NULL && i < c->n_devices && n < MOST; i++) {
        const struct catalog_figure *of = NULL;
        double other = known_memory_limit(&c->devices[i], &of);
        if (of != NULL && str_equal(c->devices[i].core, d->core) && !str_equal(c->devices[i].family, last))
            limits[n++] = other;
        last = c->devices[i].family;
    }
    if (*which != NULL)
        return limit;
    if (str_equal(d->arch, "x86_64"))
        return REACHED * TWO_CHANNELS;
    return n > 0 ? quantile(limits, n, 0.5) : INFINITY;
}

double board_together(double cores, double memory) {
    return pow(pow(cores, -SHARPNESS) + pow(memory, -SHARPNESS), -1 / SHARPNESS);
}

double board_cores_alone(double together, double memory) {
    double inverse = pow(together, -SHARPNESS);
    return pow(fmax(inverse - pow(memory, -SHARPNESS), LEAST_SHARE * inverse), -1 / SHARPNESS);
}

double board_cores_say(double together, double memory) {
    return 1 - pow(together / memory, SHARPNESS);
}

double board_pass_overhead(int n_layer, int threads) {
    return (n_layer * NODES_A_LAYER + NODES_BESIDE) * S_PER_NODE_AND_THREAD * threads;
}

/* ---- rows ---- */

bool board_row_shape(const struct catalog *c, const struct catalog_measurement *row, struct shape *out) {
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

bool board_row_reads(const struct catalog_measurement *row) {
    return row->prefill_tps > 0 && row->test != NULL && str_starts(row->test, "pp");
}

double board_plain_attention(void) {
    return PLAIN_ATTENTION;
}

double board_row_prompt(const struct catalog_measurement *row) {
    double n = board_row_reads(row) ? (double)strtol(row->test + 2, NULL, 10) : 0;
    return n > 0 ? n : USUAL_PROMPT;
}

/* Some boards were measured with their small cores helping; fewer threads than fast cores say nothing about the whole. */
static bool row_of_board(const struct catalog_measurement *row, const struct catalog_device *d) {
    return str_equal(row->device, d->measured_as) && row->tier == 'A' && !row->gpu && !row->repeat;
}

static bool row_counts(const struct catalog *c, const struct catalog_measurement *row,
                       const struct catalog_device *d) {
    return row_of_board(row, d) && (row->threads == 0 || row->threads >= board_threads(c, d));
}

struct board_rows {
    double *work, *time, *scratch; /* [n, N_TENSOR_TYPES], [n], [n] */
    int64_t n;
};

static void collect(const struct catalog *c, const struct catalog_device *d, enum board_work work,
                    struct board_rows *rows) {
    rows->n = 0;
    for (int64_t i = 0; i < c->n_measurements; i++) {
        const struct catalog_measurement *m = &c->measurements[i];
        enum mix mix = MIX_F16;
        struct shape shape;
        if (!row_counts(c, m, d) || !(work == BOARD_WRITES ? m->decode_tps > 0 : board_row_reads(m)) ||
            !mix_from_name(m->quantisation, &mix) || !board_row_shape(c, m, &shape))
            continue;
        struct mix_work sum;
        mix_count(mix, &shape, &sum);
        double *of_row = rows->work + rows->n * N_TENSOR_TYPES;
        memcpy(of_row, work == BOARD_WRITES ? sum.read_bytes : sum.block_macs, sizeof sum.read_bytes);
        if (work == BOARD_READS) { /* attention, and the last token's logits */
            double n = board_row_prompt(m);
            of_row[TENSOR_F16] += board_plain_attention() * n * shape.n_layer * shape.n_head * shape.head_dim;
            of_row[sum.head_type] += sum.head_macs / n;
        }
        double time = 1 / (work == BOARD_WRITES ? m->decode_tps : m->prefill_tps);
        double besides = work == BOARD_WRITES ? board_pass_overhead(shape.n_layer, board_threads(c, d)) : 0;
        rows->time[rows->n++] = fmax(time - besides, LEAST_OF_ROW * time);
    }
}

static double row_seconds(const struct board_rows *rows, int64_t i, const double *by_type) {
    double s = 0;
    for (int j = 0; j < N_TENSOR_TYPES; j++)
        s += rows->work[i * N_TENSOR_TYPES + j] * by_type[j];
    return s;
}

/* The factor around the fit that holds 95% of the rows. */
static double fit_error(struct board_rows *rows, const double *by_type) {
    for (int64_t i = 0; i < rows->n; i++)
        rows->scratch[i] = fabs(log(row_seconds(rows, i, by_type) / rows->time[i]));
    return exp(quantile(rows->scratch, rows->n, 0.95));
}

/* ---- fewer threads ---- */

static double share_between(const struct catalog *c, const struct catalog_device *d, int threads, int all) {
    enum { MOST = 64 };
    double ratios[MOST];
    int64_t n = 0;
    for (int64_t i = 0; i < c->n_measurements; i++) {
        const struct catalog_measurement *few = &c->measurements[i];
        bool right = row_of_board(few, d) && few->threads == threads && few->decode_tps > 0;
        for (int64_t j = 0; right && n < MOST && j < c->n_measurements; j++) {
            const struct catalog_measurement *many = &c->measurements[j];
            if (row_of_board(many, d) && many->threads == all && many->decode_tps > 0 &&
                str_equal(few->model, many->model) && str_equal(few->quantisation, many->quantisation) &&
                few->params == many->params)
                ratios[n++] = few->decode_tps / many->decode_tps;
        }
    }
    return n > 0 ? quantile(ratios, n, 0.5) : NAN;
}

struct board_share board_threads_share(const struct catalog *c, const struct catalog_device *d,
                                       enum board_work work, int threads) {
    int all = board_threads(c, d);
    if (threads <= 0 || threads >= all)
        return (struct board_share){1, 1};
    double linear = (double)threads / all;
    double measured =
        work == BOARD_WRITES && d->measured_as != NULL ? share_between(c, d, threads, all) : NAN;
    if (work == BOARD_READS)
        return (struct board_share){linear, 1};
    return isfinite(measured) ? (struct board_share){measured, 1}
                              : (struct board_share){sqrt(linear), sqrt(1 / linear)};
}

/* ---- the table ---- */

static void fit_board(const struct board_table *t, struct board *b, struct board_rows *rows) {
    for (int w = 0; w < N_BOARD_WORKS; w++) {
        if (b->device->measured_as == NULL)
            continue;
        collect(t->catalog, b->device, (enum board_work)w, rows);
        b->n[w] = rows->n;
        if (rows->n < MIN_ROWS)
            continue;
        b->fitted[w] = true;
        rates_fit(rows->work, rows->time, rows->n, N_TENSOR_TYPES, PULL, b->seconds[w]);
        b->error[w] = fit_error(rows, b->seconds[w]);
    }
}

/* Seconds per byte that a fitted board's cores would take if its memory never let them wait. */
static double cores_seconds(const struct board_table *t, const struct board *b, int type) {
    const struct catalog_figure *which;
    return 1 / board_cores_alone(1 / b->seconds[BOARD_WRITES][type],
                                 board_memory_limit(t->catalog, b->device, &which));
}

/* Of each instruction set the fitted board with most rows; one without such a board takes another's, the one with neither
 * takes all types as alike. */
static void make_profiles(struct board_table *t) {
    for (int w = 0; w < N_BOARD_WORKS; w++) {
        const struct board *best[N_ISAS] = {0}, *any = NULL;
        for (int64_t i = 0; i < t->n; i++) {
            const struct board *b = &t->boards[i];
            enum board_isa isa = board_isa(t->catalog, b->device);
            if (b->fitted[w] && (best[isa] == NULL || b->n[w] > best[isa]->n[w]))
                best[isa] = b;
            if (b->fitted[w] && (any == NULL || isa == ISA_DOTPROD)) /* the nearest to those that have none */
                any = b;
        }
        for (int isa = 0; isa < N_ISAS; isa++)
            for (int j = 0; j < N_TENSOR_TYPES; j++) {
                const struct board *b = best[isa] != NULL ? best[isa] : any;
                t->profile[isa][w][j] = b != NULL ? b->seconds[w][j] / b->seconds[w][TENSOR_Q4_K] : 1;
                if (w == BOARD_WRITES)
                    t->unpacking[isa][j] =
                        b != NULL ? cores_seconds(t, b, j) / cores_seconds(t, b, TENSOR_Q4_K) : 1;
            }
    }
}

/* What the profile's 1.0 runs at on a board: the median of its rows. A published bandwidth stands for rows of writing. */
static void scale_board(const struct board_table *t, struct board *b, struct board_rows *rows) {
    const struct catalog_device *d = b->device;
    for (int w = 0; w < N_BOARD_WORKS; w++) {
        const double *profile = t->profile[board_isa(t->catalog, d)][w];
        if (b->n[w] > 0)
            collect(t->catalog, d, (enum board_work)w, rows);
        for (int64_t i = 0; b->n[w] > 0 && i < rows->n; i++)
            rows->scratch[i] = row_seconds(rows, i, profile) / rows->time[i];
        if (b->n[w] > 0)
            b->scale[w] = quantile(rows->scratch, rows->n, 0.5);
        else if (w == BOARD_WRITES && d->decode_gbps.known)
            b->scale[w] = d->decode_gbps.value * 1e9;
    }
}

static int add_boards(struct board_table *t, struct err *e) {
    t->boards = calloc((size_t)t->catalog->n_devices + 1, sizeof *t->boards);
    if (t->boards == NULL)
        return err_set(e, ERR_NO_MEMORY, "board_table_init", "out of memory for the boards");
    for (int64_t i = 0; i < t->catalog->n_devices; i++) {
        const struct catalog_device *d = &t->catalog->devices[i];
        if (board_find(t, d->family) == NULL)
            t->boards[t->n++].device = d;
    }
    return 0;
}

int board_table_init(struct board_table *t, const struct catalog *c, struct err *e) {
    *t = (struct board_table){.catalog = c};
    size_t n = (size_t)c->n_measurements + 1;
    struct board_rows rows = {.work = malloc(n * N_TENSOR_TYPES * sizeof(double)),
                              .time = malloc(n * sizeof(double)),
                              .scratch = malloc(n * sizeof(double))};
    int code = rows.work != NULL && rows.time != NULL && rows.scratch != NULL
                   ? add_boards(t, e)
                   : err_set(e, ERR_NO_MEMORY, "board_table_init", "out of memory for %zu measurements", n);
    for (int64_t i = 0; code == 0 && i < t->n; i++)
        fit_board(t, &t->boards[i], &rows);
    if (code == 0)
        make_profiles(t);
    for (int64_t i = 0; code == 0 && i < t->n; i++)
        scale_board(t, &t->boards[i], &rows);
    free(rows.work);
    free(rows.time);
    free(rows.scratch);
    if (code < 0)
        board_table_release(t);
    return code;
}

void board_table_release(struct board_table *t) {
    free(t->boards);
    *t = (struct board_table){0};
}

const struct board *board_find(const struct board_table *t, const char *family) {
    for (int64_t i = 0; i < t->n; i++)
        if (str_equal(t->boards[i].device->family, family))
            return &t->boards[i];
    return NULL;
}
