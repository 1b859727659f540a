/* Rates of a device: fitted where rows of its own are known, transferred from its kind where not. */
#include "plan/rates.h"

#include "base/str.h"
#include "plan/boards.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

/* How far apart public measurements of one board and model lie (shared figure: 1.19 at the median, up to 1.38), and what a
 * transfer has shown to be worth on boards whose truth is known (make bench-planner prints both). */
static const double NOISE = 1.4, FEW_ROWS = 1.5;
static const double transfer_spread[N_BOARD_WORKS][KIN_NONE + 1] = {{2.0, 2.2, 2.2, 2.5, 4.0, 5.0},
                                                                    {1.6, 1.8, 1.8, 1.8, 2.5, 4.0}};
/* Cores that wait for memory lose more than the benchmarks that their class is rated by. */
static const double SPREAD_IN_ORDER = 3.0;
/* A memory of which nothing is known may be twice as fast as assumed. */
static const double UNKNOWN_MEMORY = 1.25;

/* Where nothing is known at all: a Raspberry Pi 4's. */
static const double LAST_RESORT[N_BOARD_WORKS] = {1.5e9, 0.5e9};

static const char *const kinship_texts[] = {
    [KIN_CORE] = "with the same cores",
    [KIN_ORDER] = "whose cores wait for memory as these do",
    [KIN_CLASS] = "with cores that this kind was compared with",
    [KIN_ISA] = "with the same instructions",
    [KIN_OTHER] = "with other instructions, times what one instruction does",
    [KIN_NONE] = "none was measured: a guess",
};

static const char *limit_text(const struct board_table *t, const struct catalog_device *d, struct arena *a) {
    const struct catalog_figure *which = NULL;
    double limit = board_memory_limit(t->catalog, d, &which);
    if (which == NULL && !isfinite(limit))
        return "; its memory's speed is not known";
    if (which == NULL)
        return arena_printf(a, "; its memory's speed is not known: %.1f GB/s assumed (%s)", limit / 1e9,
                            str_equal(d->arch, "x86_64") ? "two channels of DDR4-3200"
                                                         : "the median of boards with such cores");
    return arena_printf(a, "; its memory gives %.1f GB/s (%s)", limit / 1e9, which->source);
}

/* What cores of this kind do, all of them together: of the profile's 1.0, a second. */
static double transferred(const struct board_table *t, const struct catalog_device *d, enum board_work work,
                          double *spread, const char **basis, struct arena *a) {
    struct board_level l = board_level(t, d, work);
    const struct catalog_core *core = catalog_core_find(t->catalog, d->core);
    double level = l.kinship != KIN_NONE ? l.per_core_ghz : LAST_RESORT[work];
    *spread = transfer_spread[work][l.kinship];
    if (core != NULL && core->in_order)
        *spread = fmax(*spread, SPREAD_IN_ORDER);
    if (board_isa(t->catalog, d) ==
        ISA_SCALAR) /* what a compiler makes of plain C differs from one set to another */
        *spread = fmax(*spread, transfer_spread[work][KIN_OTHER]);
    if (!d->clock_mhz.known || !d->cores.known)
        *spread = fmax(*spread, transfer_spread[work][KIN_NONE]);
    *basis = arena_printf(
        a, "%.2f %s per core and GHz, the median of %lld boards %s, for %d cores %s at %s%.2f GHz",
        level / 1e9, work == BOARD_READS ? "GMAC/s" : "GB/s", (long long)l.n, kinship_texts[l.kinship],
        board_threads(t->catalog, d), d->core, d->clock_mhz.known && d->cores.known ? "" : "assumed ",
        board_core_ghz(t->catalog, d) / board_threads(t->catalog, d));
    return level * board_core_ghz(t->catalog, d);
}

static void set_rates(const struct board_table *t, const struct catalog_device *d, enum board_work work,
                      double rate, double *seconds) {
    for (int j = 0; j < N_TENSOR_TYPES; j++)
        seconds[j] = t->profile[board_isa(t->catalog, d)][work][j] / rate;
}

/* Each type's cores at its own cost of unpacking, against the same memory. */
static void set_writing(const struct board_table *t, const struct catalog_device *d, double rate,
                        double *seconds) {
    const struct catalog_figure *which;
    double limit = board_memory_limit(t->catalog, d, &which);
    for (int j = 0; j < N_TENSOR_TYPES; j++)
        seconds[j] = 1 / board_together(rate / t->unpacking[board_isa(t->catalog, d)][j], limit);
}

static const char *fitted_text(const struct board *b, enum board_work work, struct arena *a) {
    return arena_printf(a, "fitted to %lld rows of throughput.csv for %s (19 of 20 within %.2f times)",
                        (long long)b->n[work], b->device->measured_as, b->error[work]);
}

static const char *scaled_text(const struct board *b, enum board_work work, struct arena *a) {
    if (b->n[work] > 0)
        return arena_printf(a, "scaled to %lld rows of throughput.csv for %s: too few for a rate by type",
                            (long long)b->n[work], b->device->measured_as);
    return arena_printf(a, "%.1f GB/s measured while models wrote (%s)", b->device->decode_gbps.value,
                        b->device->decode_gbps.source);
}

static void rates_of(const struct board_table *t, const struct catalog_device *d, enum board_work work,
                     double *seconds, double *spread, const char **basis, struct arena *a) {
    const struct board *b = board_find(t, d->family);
    if (b != NULL && b->fitted[work]) {
        memcpy(seconds, b->seconds[work], sizeof b->seconds[work]);
        *spread = fmax(b->error[work], NOISE);
        *basis = fitted_text(b, work, a);
    } else if (b != NULL && b->scale[work] > 0) {
        set_rates(t, d, work, b->scale[work], seconds);
        *spread = FEW_ROWS;
        *basis = scaled_text(b, work, a);
    } else {
        double rate = transferred(t, d, work, spread, basis, a);
        if (work == BOARD_READS) {
            set_rates(t, d, work, rate, seconds);
            return;
        }
        const struct catalog_figure *which = NULL;
        board_memory_limit(t->catalog, d, &which);
        *spread *= which == NULL ? UNKNOWN_MEMORY : 1;
        if (*basis != NULL)
            *basis = arena_printf(a, "%s%s", *basis, limit_text(t, d, a));
        set_writing(t, d, rate, seconds);
    }
}

/* N_TENSOR_TYPES: the planner does not count it. */
static int tensor_type_of(enum type_rate t) {
    int j = 0;
    while (j < N_TENSOR_TYPES && !str_equal(tensor_type_name((enum tensor_type)j), type_rate_name(t)))
        j++;
    return j;
}

int rates_take_reads(struct device_rates *r, const double gmacs[N_TYPE_RATES], const char *source,
                     struct arena *a, struct err *e) {
    double log_ratios = 0, seconds[N_TENSOR_TYPES + 1] = {0};
    int n = 0;
    for (int i = 0; i < N_TYPE_RATES; i++) {
        int j = tensor_type_of((enum type_rate)i);
        if (!(gmacs[i] > 0) || j == N_TENSOR_TYPES)
            continue;
        seconds[j] = 1e-9 / gmacs[i];
        log_ratios += log(seconds[j] / r->s_per_mac[j]);
        n++;
    }
    if (n == 0)
        return 0;
    for (int j = 0; j < N_TENSOR_TYPES; j++)
        r->s_per_mac[j] = seconds[j] > 0 ? seconds[j] : exp(log_ratios / n) * r->s_per_mac[j];
    r->read_spread = FEW_ROWS;
    r->read_basis = arena_printf(a, "measured on it for %d types of weights (%s)", n, source);
    return r->read_basis != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "rates_take_reads", "out of memory");
}

static int take_catalogued_reads(const struct catalog_device *d, struct device_rates *r, struct arena *a,
                                 struct err *e) {
    double gmacs[N_TYPE_RATES];
    const char *source = "";
    for (int i = 0; i < N_TYPE_RATES; i++) {
        gmacs[i] = d->reads[i].value;
        source = gmacs[i] > 0 ? d->reads[i].source : source;
    }
    return rates_take_reads(r, gmacs, source, a, e);
}

int rates_for_device(const struct catalog *c, const struct catalog_device *d, struct arena *a,
                     struct device_rates *out, struct err *e) {
    struct device_rates r = {.threads = board_threads(c, d), .isa = board_isa(c, d)};
    struct board_table t;
    int code = board_table_init(&t, c, e);
    if (code < 0)
        return code;
    rates_of(&t, d, BOARD_WRITES, r.s_per_byte, &r.write_spread, &r.write_basis, a);
    rates_of(&t, d, BOARD_READS, r.s_per_mac, &r.read_spread, &r.read_basis, a);
    board_table_release(&t);
    code = r.write_basis != NULL && r.read_basis != NULL
               ? take_catalogued_reads(d, &r, a, e)
               : err_set(e, ERR_NO_MEMORY, "rates_for_device", "out of memory");
    if (code == 0)
        *out = r;
    return code;
}

/* "Q4_K" of the planner is "q4_K" of ggml, "IQ4_XS" "iq4_xs". */
static const char *ggml_name(struct arena *a, const char *planned) {
    char *name = arena_strdup(a, planned);
    size_t n = name != NULL ? strlen(name) : 0;
    for (size_t i = 0; i < n; i++)
        if (!(name[i] == 'K' && i + 1 == n))
            name[i] = (char)tolower((unsigned char)name[i]);
    return name;
}

const struct bits_speed *rates_by_type(const struct device_rates *r, struct arena *a) {
    struct bits_speed *speeds = arena_calloc(a, N_TENSOR_TYPES, sizeof *speeds);
    for (int i = 0; i < N_TENSOR_TYPES && speeds != NULL; i++) {
        speeds[i] = (struct bits_speed){ggml_name(a, tensor_type_name((enum tensor_type)i)), r->s_per_mac[i],
                                        r->s_per_byte[i]};
        if (speeds[i].type == NULL)
            return NULL;
    }
    return speeds;
}
