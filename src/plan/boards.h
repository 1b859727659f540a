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
 * boards with dot products lie around 1.1 GB/s per core and GHz, while they spread threefold around memory benchmarks. Memory sets an upper limit: a copy moves each byte twice, so reading goes up to twice as fast. */
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
};

/* How well boards stand in for one another: each step costs width. */
enum board_kinship { KIN_CORE, KIN_CLASS, KIN_ISA, KIN_OTHER, KIN_NONE };
struct board_level {
    double per_core_ghz; /* bytes or multiply-accumulates a second, of profile's 1.0 */
    enum board_kinship kinship;
    int64_t n; /* boards it rests on */
};

int board_table_init(struct board_table *t, const struct catalog *c, struct err *e);
void board_table_release(struct board_table *t);

const struct board *board_find(const struct board_table *t, const char *family); /* NULL: none */
/* Of boards other than the device's own family. */
struct board_level board_level(const struct board_table *t, const struct catalog_device *d,
                               enum board_work work);
enum board_isa board_isa(const struct catalog_device *d);
const char *board_isa_text(enum board_isa isa);
/* Cores times GHz at their highest clock, which is what benchmarks see; what is not known is taken as 4 and 1.5. */
double board_core_ghz(const struct catalog_device *d);
int board_threads(const struct catalog_device *d);

/* The catalogue's shape that a measured file has: the tied or the untied variant, whichever its parameters say. */
bool board_row_shape(const struct catalog *c, const struct catalog_measurement *row, struct shape *out);
/* Prompt reading of enough tokens: shorter prompts measure the start, not the rate. */
bool board_row_reads(const struct catalog_measurement *row);

#endif
