/* Rates of a device: fitted where rows of its own are known, transferred from its kind where not. */
#include "plan/rates.h"

#include "base/str.h"
#include "plan/boards.h"
#include <math.h>
#include <string.h>

/* How far apart public measurements of one board and model lie (shared figure: 1.19 at the median, up to 1.38), and what a
 * transfer has shown to be worth on boards whose truth is known (make bench-planner prints both). */
static const double NOISE = 1.4, FEW_ROWS = 1.5;
static const double transfer_spread[N_BOARD_WORKS][KIN_NONE + 1] = {{2.0, 2.2, 2.5, 4.0, 5.0},
                                                                    {1.6, 1.8, 1.8, 2.5, 4.0}};
/* Cores that wait for memory lose more than the benchmarks that their class is rated by. */
static const double SPREAD_IN_ORDER = 3.0;

/* A copy moves each byte twice, so reading goes up to twice as fast; of the bandwidth by clock and width, boards whose reading
 * was measured reach eight tenths (Raspberry Pi 5: 13.98 of 17.1 GB/s). */
static const double COPY_TO_READ = 2, REACHED = 0.8;

/* Where nothing is known at all: a Raspberry Pi 4's. */
static const double LAST_RESORT[N_BOARD_WORKS] = {1.5e9, 0.5e9};

static const char *const kinship_texts[] = {
    [KIN_CORE] = "with the same cores",
    [KIN_CLASS] = "with cores that this kind was compared with",
    [KIN_ISA] = "with the same instructions",
    [KIN_OTHER] = "with other instructions, times what one instruction does",
    [KIN_NONE] = "none was measured: a guess",
};

/* The most that memory lets through; INFINITY: nothing is known. */
static double memory_limit(const struct catalog_device *d) {
    if (d->read_peak_gbps.known)
        return d->read_peak_gbps.value * 1e9;
    if (d->memcpy_mbps.known)
        return COPY_TO_READ * d->memcpy_mbps.value * 1e6;
    return d->theoretical_gbps.known ? REACHED * d->theoretical_gbps.value * 1e9 : INFINITY;
}

static const char *limit_text(const struct catalog_device *d, double limit, struct arena *a) {
    if (!isfinite(limit))
        return "; its memory's speed is not known";
    const struct catalog_figure *f = d->read_peak_gbps.known ? &d->read_peak_gbps
                                     : d->memcpy_mbps.known  ? &d->memcpy_mbps
                                                             : &d->theoretical_gbps;
    return arena_printf(a, "; its memory allows %.1f GB/s (%s)", limit / 1e9, f->source);
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
    if (!d->clock_mhz.known || !d->cores.known)
        *spread = fmax(*spread, transfer_spread[work][KIN_NONE]);
    *basis = arena_printf(
        a, "%.2f %s per core and GHz, the median of %lld boards %s, for %d cores %s at %s%.2f GHz",
        level / 1e9, work == BOARD_READS ? "GMAC/s" : "GB/s", (long long)l.n, kinship_texts[l.kinship],
        board_threads(d), d->core, d->clock_mhz.known && d->cores.known ? "" : "assumed ",
        board_core_ghz(d) / board_threads(d));
    return level * board_core_ghz(d);
}

static void set_rates(const struct board_table *t, const struct catalog_device *d, enum board_work work,
                      double rate, double *seconds) {
    for (int j = 0; j < N_TENSOR_TYPES; j++)
        seconds[j] = t->profile[board_isa(d)][work][j] / rate;
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
        double rate = transferred(t, d, work, spread, basis, a), limit = memory_limit(d);
        if (work == BOARD_WRITES && *basis != NULL)
            *basis = arena_printf(a, "%s%s", *basis, limit_text(d, limit, a));
        set_rates(t, d, work, work == BOARD_WRITES ? fmin(rate, limit) : rate, seconds);
    }
}

int rates_for_device(const struct catalog *c, const struct catalog_device *d, struct arena *a,
                     struct device_rates *out, struct err *e) {
    struct device_rates r = {.threads = board_threads(d), .isa = board_isa(d)};
    struct board_table t;
    int code = board_table_init(&t, c, e);
    if (code < 0)
        return code;
    rates_of(&t, d, BOARD_WRITES, r.s_per_byte, &r.write_spread, &r.write_basis, a);
    rates_of(&t, d, BOARD_READS, r.s_per_mac, &r.read_spread, &r.read_basis, a);
    board_table_release(&t);
    if (r.write_basis == NULL || r.read_basis == NULL)
        return err_set(e, ERR_NO_MEMORY, "rates_for_device", "out of memory");
    *out = r;
    return 0;
}
