/* Figure 5.4: the types that the search finds, against llama.cpp's own mixes of the same size, with and without importance matrix. */
#ifndef BENCH_COMPRESS_MIXES_H
#define BENCH_COMPRESS_MIXES_H

#include "bench/compressing.h"
#include "figures.h"

/* Each file's loss on the student's held-out rows, as it is and with its confidence set right (bench/temperature.h), and the
 * difference of the latter from the searched file of the same size, paired. */
void compress_mixes(struct figures *f, const struct student_files *s);

/* The mean of those differences over seeds, of what is there. */
void compress_mixes_means(struct figures *f, int64_t n_seeds);

#endif
