/* The recommender: every base of the catalogue, and files of the user's, under every mix, against what the device and the
 * user allow; a ranked short list with a reason each, and for what was dropped the limit that dropped it.
 *
 *     struct recommendation r;
 *     recommend(&(struct recommend_input){.catalog = &c, .device = d, .task = &t, ...}, &r, &e);
 *     for (int64_t i = 0; i < r.n; i++) ... r.list[i] ...      // fitting ones first, best first
 *     recommend_release(&r);
 *
 * Order: bases that are here before those that must be pulled; decisions within 2 s and training within a day here before slower ones; then the larger base, because it needs less data for the same
 * accuracy; the embedded base last, unless it was asked for. Of a base's mixes the one with the fastest decision among those
 * that cost little (Q4_K_M or better), the smaller file when two are within a tenth or a hundredth of a second. */
#ifndef PLAN_RECOMMEND_H
#define PLAN_RECOMMEND_H

#include "plan/predict.h"
#include "task/task.h"

struct recommend_limits { /* 0 or NULL: none */
    double max_decision_s, max_memory_bytes, max_file_bytes, max_train_s;
    const char *license; /* the beginning of its name, ignoring case: "apache" */
};

struct recommend_input {
    const struct catalog *catalog;
    const struct catalog_device *device;
    const struct task *task;
    const struct predict_host *host;
    struct recommend_limits limits;
    const char *base; /* "embedded", a catalogue name or a GGUF's path: its mixes come first; NULL: no wish */
    const char *mix;  /* only this quantisation; NULL: any */
    int rank;         /* of LoRA; 0: 16 */
    int64_t n_records, epochs; /* epochs 0: by the trainer's defaults */
};

struct candidate {
    const char *base, *title, *license;
    const char *path; /* as plan.base_path; NULL: the file is not here yet */
    struct shape shape;
    struct predict_task tokens;
    enum mix mix;
    int64_t context, ubatch;
    int threads;
    bool embedded, wished, tight; /* tight: fits, but not with the upper bounds */
    int group;                    /* of a base's mixes: 0 the best ones, 1 slower, 2 at a cost */
    struct plan_prediction predicted;
    const char *reason;  /* one paragraph: why it is on the list */
    const char *dropped; /* the limit that dropped it; NULL: it fits */
};

struct recommendation {
    struct arena arena;
    struct candidate *list; /* n_fit fitting ones, best first, then the dropped ones */
    int64_t n, n_fit;
    struct estimate reserved; /* what the device's system keeps */
    double free_bytes;        /* for the model; 0: the device's memory is not known */
    struct device_rates rates;
};

int recommend(const struct recommend_input *in, struct recommendation *out, struct err *e);
void recommend_release(struct recommendation *r);

/* A plan from a candidate. ERR_NOT_FOUND when its file is not here. */
int recommend_plan(const struct recommend_input *in, const struct candidate *c, struct plan *out,
                   struct err *e);

#endif
