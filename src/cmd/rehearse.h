/* The export, rehearsed: before anything is spent on teacher answers, a made-up adapter goes the whole way on the accepted base:
 * trainer, merge, 16-bit file, quantisation, llama.cpp, an answer. What cannot work is found out here.
 *
 * Done once for a base, a quantisation and a version of llama.cpp (rehearsal.json says so). */
#ifndef CMD_REHEARSE_H
#define CMD_REHEARSE_H

#include "cmd/project.h"
#include "plan/plan.h"

struct rehearsal {
    bool repeated; /* false: it had been done before */
    double merged,
        adapter; /* difference of logits between trainer and llama.cpp, relative to their root mean square */
    double seconds;
};

/* ERR_MISMATCH when logits differ; otherwise the error of the step that failed, with a hint to choose another base. */
int rehearse_export(struct project *p, const struct plan *plan, int n_threads, struct rehearsal *out,
                    struct err *e);

#endif
