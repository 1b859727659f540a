/* The export, rehearsed: before anything is spent on teacher answers, a made-up adapter goes the whole way on the accepted base:
 * trainer, merge, 16-bit file, trimmed vocabulary, quantisation, llama.cpp, an answer, the bundle. Each hand-over is checked, and what
 * cannot work is found out here, by the name of its step.
 *
 * Done once for a base, a quantisation, a device and a version of llama.cpp (rehearsal.json says so). */
#ifndef CMD_REHEARSE_H
#define CMD_REHEARSE_H

#include "cmd/project.h"
#include "plan/plan.h"

struct rehearsal {
    bool repeated; /* false: it had been done before */
    double merged,
        adapter; /* difference of logits between trainer and llama.cpp, relative to their root mean square */
    bool trimmed, bundled; /* bundled: false where there is no runtime for the device's architecture here */
    double seconds;
};

/* ERR_MISMATCH when logits differ; otherwise the error of the step that failed, with a hint to choose another base. */
int rehearse_export(struct project *p, const struct task *task, const struct plan *plan, int n_threads,
                    struct rehearsal *out, struct err *e);

#endif
