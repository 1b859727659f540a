/* What measured boards say about others: the rows of each board of the catalogue, boiled down to rates, and those rates per
 * core and clock, so that they can be carried to a board with such cores.
 *
 *     struct board_table t;
 *     board_table_init(&t, catalog, &e);
 *     const struct board *b = board_find(&t, device->family);            // NULL: nobody measured it
 *     struct board_level l = board_level(&t, device, BOARD_READS);       // per core and GHz, of boards like it
 *     board_table_release(&t);
 *
 * Reading a prompt is arithmetic: its rate goes with cores, clock, kind of core and whether it has dot-product instructions.
 * Writing reads every weight once a token; that is limited by the cores as well (unpacking), so published figures of
 * boards with dot products lie around 1.1 GB/s per core and GHz, while they spread threefold around memory benchmarks. Memory sets
 * a limit of its own, and where the two are near each other both are felt. */
#ifndef PLAN_BOARDS_H
#define PLAN_BOARDS_H

#include "plan/rates.h"

enum board_work { BOARD_READS, BOARD_WRITES, N_BOARD_WORKS };

struct board {
    const struct catalog_device *device;
    int64_t n[N_BOARD_WORKS];                      /* rows */
    bool fitted[N_BOARD_WORKS];                    /* enough rows for a rate by type */
    double seconds[N_BOARD_WORKS][N_TENSOR_TYPES]; /* per multiply-accumulate, per byte; where fitted */
    double error[N_BOARD_WORKS];                   /* where fitted: 95% of rows are within this factor */
    double scale[N_BOARD_WORKS];                   /* rate of profile's 1.0, per second; 0: not measured */
};

struct board_table {
    const struct catalog *catalog;
    struct board *boards; /* one of each family */
    int64_t n;
    double profile[N_ISAS][N_BOARD_WORKS][N_TENSOR_TYPES]; /* time by type, relative to Q4_K's */
    double unpacking[N_ISAS]
                    [N_TENSOR_TYPES]; /* of writing: the cores' share of it, were memory never waited for */
};

/* How well boards stand in for one another: each step costs width. */
enum board_kinship { KIN_CORE, KIN_ORDER, KIN_CLASS, KIN_ISA, KIN_OTHER, KIN_NONE };
struct board_level {
    /* bytes or multiply-accumulates a second, of profile's 1.0; writing: of the cores alone */
    double per_core_ghz;
    enum board_kinship kinship;
    int64_t n; /* boards it rests on */
};

int board_table_init(struct board_table *t, const struct catalog *c, struct err *e);
void board_table_release(struct board_table *t);

const struct board *board_find(const struct board_table *t, const char *family); /* NULL: none */
/* Of boards other than the device's own family. */
struct board_level board_level(const struct board_table *t, const struct catalog_device *d,
                               enum board_work work);
enum board_isa board_isa(const struct catalog *c, const struct catalog_device *d);
const char *board_isa_text(enum board_isa isa);
/* Cores times GHz at the clock that they run at when all work, in GHz of the fast cluster; an unknown number is
 * taken as 4, an unknown clock as the median of boards with such cores, else 1.5. The next cluster is counted with it where the
 * fast one has fewer than four cores, or where its cores are at least half as fast. */
double board_core_ghz(const struct catalog *c, const struct catalog_device *d);
int board_threads(const struct catalog *c, const struct catalog_device *d);

/* What fewer threads than board_threads reach, as a share of it. Reading goes with the threads. Writing: as the board's own rows of
 * the same files say (a Raspberry Pi 5 writes faster with two than with four); where none do, the square root, halfway between
 * memory that one core exhausts and memory that never holds up. */
struct board_share {
    double value, spread; /* truth is expected within value / spread and value * spread */
};
struct board_share board_threads_share(const struct catalog *c, const struct catalog_device *d,
                                       enum board_work work, int threads);

/* What a pass through a model costs besides arithmetic: every graph node ends at a barrier of all threads, which takes each of them
 * a turn at one cache line, so it grows with their number. Seconds. */
double board_pass_overhead(int n_layer, int threads);

/* The most bytes a second that memory lets through, and the figure that says so; NULL: nothing is known of it, and it is the median of
 * boards with such cores, for x86-64 else two channels of DDR4-3200, INFINITY where that says nothing either. */
double board_memory_limit(const struct catalog *c, const struct catalog_device *d,
                          const struct catalog_figure **which);
/* Bytes a second of cores that unpack at one rate and memory that gives at another: (cores^-3 + memory^-3)^(-1/3); and what the cores
 * alone must have done. */
double board_together(double cores, double memory);
double board_cores_alone(double together, double memory);
/* How much a rate of both says of the cores: 1 where the memory never lets them wait, 0 at its limit. */
double board_cores_say(double together, double memory);

/* The catalogue's shape that a measured file has: the tied or the untied variant, whichever its parameters say. */
bool board_row_shape(const struct catalog *c, const struct catalog_measurement *row, struct shape *out);
/* What attention without flash attention costs, per multiply-accumulate of the half square that is needed, in products of 16 bits: it
 * computes the whole square in small pieces. llama-bench's default, so what public rows contain. */
double board_plain_attention(void);
/* Prompt reading of enough tokens: shorter prompts measure the start, not the rate. */
bool board_row_reads(const struct catalog_measurement *row);
double
board_row_prompt(const struct catalog_measurement *row); /* tokens of "pp128"; 512 where it does not say */

#endif
