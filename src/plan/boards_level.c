/* Levels per core and clock of a board that nobody measured: what the measured ones nearest to it say. */
#include "plan/boards.h"
#include <math.h>
#include <stdlib.h>

/* Speed of another instruction set where no board of one's own has been measured: one dot-product instruction does what four do
 * without it, and one matrix product of bytes what two of those do (Arm Architecture Reference Manual: SDOT against SMULL, SMLAL
 * and two SADALP; SMMLA's 32 products against SDOT's 16). Beside dot products, unpacking and scaling are half of the instructions
 * and gain nothing from matrix products: 4/3 in place of 2; when writing, half of the time goes into unpacking anyway, and single
 * rows gain nothing from matrix products. Without vectors a product and its unpacking are an instruction each where vectors of 16
 * bytes do eight products in as many as they need. */
static const double isa_speed[N_BOARD_WORKS][N_ISAS] = {{1.0 / 8, 1, 4, 16.0 / 3, 4}, {1.0 / 8, 1, 2, 2, 2}};

/* A bandwidth that was published without its number of threads says nothing about each of two fast cores among eight. */
enum { LEAST_CORES_PUBLISHED = 4 };

/* One board of another kind with the same instructions may be an odd one; then all boards are asked. */
enum { LEAST_OF_ISA = 2 };

/* Cores that cannot compute while they wait are slow in the same way, however they compare with others in benchmarks that fit into
 * caches. */
static bool waits_as(const struct catalog_core *a, const struct catalog_core *b, double *factor) {
    if (a == NULL || b == NULL || !a->in_order || !b->in_order || !a->seven_zip.known || !b->seven_zip.known)
        return false;
    *factor *= a->seven_zip.value / b->seven_zip.value;
    return true;
}

/* Both were compared with one class, or one with the other: the ratio of what they reach of it. Writing, cores that wait say nothing of
 * cores that do not. */
static bool compared(const struct catalog_core *a, const struct catalog_core *b, enum board_work work,
                     double *factor) {
    if (a == NULL || b == NULL || !a->relative.known || !b->relative.known || !str_equal(a->like, b->like) ||
        (work == BOARD_WRITES && b->in_order && !a->in_order))
        return false;
    *factor *= a->relative.value / b->relative.value;
    return true;
}

/* May board b speak for d at this distance? `factor` is what to multiply its level by. */
static bool speaks_for(const struct board_table *t, const struct board *b, const struct catalog_device *d,
                       enum board_kinship kinship, enum board_work work, double *factor) {
    const struct catalog_core *core = catalog_core_find(t->catalog, d->core);
    enum board_isa mine = board_isa(t->catalog, d), other = board_isa(t->catalog, b->device);
    *factor = 1;
    switch (kinship) {
    case KIN_CORE:
        return str_equal(b->device->core, d->core) && mine == other;
    case KIN_ORDER: /* waiting gains nothing from better instructions */
        return work == BOARD_WRITES && (mine == ISA_SCALAR) == (other == ISA_SCALAR) &&
               waits_as(core, catalog_core_find(t->catalog, b->device->core), factor);
    case KIN_CLASS:
        *factor = isa_speed[work][mine] / isa_speed[work][other];
        return compared(core, catalog_core_find(t->catalog, b->device->core), work, factor);
    case KIN_ISA:
        return mine == other;
    default:
        *factor = isa_speed[work][mine] / isa_speed[work][other];
        return true;
    }
}

/* What one board says of its cores: their rate with the memory taken out, and how much that says. At the memory's limit it says no more
 * than that they are not slower. */
struct testimony {
    double level, weight;
};
static const double LEAST_WEIGHT = 0.05;

static struct testimony testimony_of(const struct board_table *t, const struct board *b, enum board_work work,
                                     double factor) {
    double rate = b->scale[work], per = factor / board_core_ghz(t->catalog, b->device);
    if (work == BOARD_READS)
        return (struct testimony){rate * per, 1};
    const struct catalog_figure *which;
    double limit = board_memory_limit(t->catalog, b->device, &which);
    return (struct testimony){board_cores_alone(rate, limit) * per,
                              fmax(board_cores_say(rate, limit), LEAST_WEIGHT)};
}

static int compare_testimonies(const void *a, const void *b) {
    double x = ((const struct testimony *)a)->level, y = ((const struct testimony *)b)->level;
    return (x > y) - (x < y);
}

/* The weighted median; where half of the weight is reached exactly, the middle of the two. */
static double weighted_median(struct testimony *said, int64_t n) {
    double all = 0, sum = 0;
    qsort(said, (size_t)n, sizeof *said, compare_testimonies);
    for (int64_t i = 0; i < n; i++)
        all += said[i].weight;
    for (int64_t i = 0; i < n; i++) {
        sum += said[i].weight;
        if (i + 1 < n && fabs(sum - all / 2) < 1e-9 * all)
            return (said[i].level + said[i + 1].level) / 2;
        if (sum >= all / 2)
            return said[i].level;
    }
    return said[n - 1].level;
}

struct board_level board_level(const struct board_table *t, const struct catalog_device *d,
                               enum board_work work) {
    enum { MOST = 64 };
    struct testimony said[MOST];
    for (int k = KIN_CORE; k < KIN_NONE; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < t->n && n < MOST; i++) {
            const struct board *b = &t->boards[i];
            double factor = 1;
            bool tells = b->n[work] > 0 || board_threads(t->catalog, b->device) >= LEAST_CORES_PUBLISHED;
            if (b->scale[work] > 0 && tells && b->device->clock_mhz.known &&
                !str_equal(b->device->family, d->family) &&
                speaks_for(t, b, d, (enum board_kinship)k, work, &factor))
                said[n++] = testimony_of(t, b, work, factor);
        }
        if (n >= (k == KIN_ISA ? LEAST_OF_ISA : 1))
            return (struct board_level){weighted_median(said, n), (enum board_kinship)k, n};
    }
    return (struct board_level){.kinship = KIN_NONE};
}
