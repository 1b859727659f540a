/* Running the chain from a measurement: the programs under test as a user would call them, and what they leave behind.
 *
 *     struct chain c = {.dir = "build/bench/demo/cold-chain-1", .log = "build/bench/demo/cold-chain-1.log"};
 *     chain_run(&c, (const char *const[]){chain_program("edgestill"), "run", "--yes", "-C", c.dir, NULL});
 *     json_t *summary = chain_json(c.dir, "eval/summary.json");
 *
 * Everything a program says goes to the log. A failure ends the measurement with the log's last lines: figures of half a
 * chain would be worse than none. */
#ifndef BENCH_CHAIN_H
#define BENCH_CHAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct chain {
    const char *dir; /* project folder */
    const char *log;
};

/* "build/edgestill" of the build under test; borrowed until the next call. */
const char *chain_program(const char *name);

/* Runs a command (NULL-terminated), waits, and ends this program unless it exits with 0. Returns the seconds taken. */
double chain_run(const struct chain *c, const char *const argv[]);

/* A JSON file below a folder; NULL when there is none that can be read. */
json_t *chain_json(const char *folder, const char *name);

/* A number below keys: chain_number(j, "student_quant", "accuracy", NULL); NAN where there is none. */
double chain_number(const json_t *j, ...);

/* The whole file, to free(); ends this program when it cannot be read. The last line feed is cut off. */
char *chain_text(const char *path);

/* A setting from the environment, a whole number from 1 on. */
int64_t chain_setting(const char *name, int64_t absent);

/* Mean of n values, and the half-width of its 95% interval by Student's t over them (n >= 2; else NAN). */
void chain_mean(const double *values, int n, double *mean, double *half_width);

#endif
