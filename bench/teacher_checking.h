/* Figure 3.2 of bench-teacher. */
#ifndef BENCH_TEACHER_CHECKING_H
#define BENCH_TEACHER_CHECKING_H

#include "bench/figures.h"

/* In a process of its own, forked: call it while this one's memory is small. */
void teacher_checking(struct figures *f);

#endif
