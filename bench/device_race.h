/* Figures 6.1 and 6.2: who answers the same question sooner. */
#ifndef BENCH_DEVICE_RACE_H
#define BENCH_DEVICE_RACE_H

#include "bench/figures.h"
#include "bench/shapes.h"

/* 6.1 for one shape: edgestill-run beside llama.cpp's server, cold and with its prompt cache, and beside its program for the command
 * line. */
int bench_race(struct figures *f, const struct shape_model *m, struct err *e);

/* 6.2: the paper's set-up (whole vocabulary, instruction and labelled fields, read cold) beside a trimmed file that answers in the
 * compact form, on one core. */
int bench_paper_shapes(struct err *e); /* makes its files alone */
int bench_paper(struct figures *f, struct err *e);

#endif
