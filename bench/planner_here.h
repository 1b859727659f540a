/* Figures 4.2 and 4.3: predictions against what this machine does. */
#ifndef BENCH_PLANNER_HERE_H
#define BENCH_PLANNER_HERE_H

#include "bench/figures.h"
#include "catalog/catalog.h"

void planner_here_files(struct figures *f, const struct catalog *c);
/* This machine as a device that nobody measured. */
void planner_here_device(struct catalog_device *d);
void planner_here_training(struct figures *f);
/* What a process of its own measures: "--run FILE CONTEXT UBATCH", "--train SHAPE METHOD". Prints numbers; the exit status. */
int planner_here_child(int argc, char **argv);

#endif
