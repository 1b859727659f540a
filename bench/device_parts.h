/* The parts of bench/device.c that do not race two servers. Each adds its figures; an error means that it could not be measured here. */
#ifndef BENCH_DEVICE_PARTS_H
#define BENCH_DEVICE_PARTS_H

#include "bench/chain.h"
#include "bench/figures.h"
#include "bench/shapes.h"

int bench_threads(void); /* of every server measured */

int bench_shapes(struct err *e); /* makes the models' files */
int bench_memory_limit(struct figures *f, struct err *e);
int bench_emulated(struct figures *f, struct err *e);
int bench_load(struct figures *f, struct err *e);
int bench_deployment(struct figures *f, struct err *e);

#endif
