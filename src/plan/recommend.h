/* The recommender: every base of the catalogue, and files of the user's, times method, quantisation and runtime settings, against
 * what the device and the user allow; a ranked short list with a reason each, and for what was dropped the limit that dropped it.
 *
 *     struct recommendation r;
 *     recommend(&(struct recommend_input){.catalog = &c, .device = d, .task = &t, ...}, &r, &e);
 *     for (int64_t i = 0; i < r.n; i++) ... r.list[i] ...      // fitting ones first, best first
 *     recommend_release(&r);
 *
 * For each base, method and quantisation the settings are chosen: of micro-batch, type of cache, label scoring, prefix state
 * and trimmed vocabulary those that fit and decide fastest, with less memory where that is no difference. What is left is
 * marked when nothing else is at least as good in accuracy, latency, memory and training time (the Pareto front).
 *
 * Order: bases that are here before those that must be pulled; decisions within 2 s and training within a day here before slower
 * ones; then the higher expected accuracy; the embedded base last, unless it was asked for. Of a base's quantisations the one with
 * the fastest decision among those that cost little (Q4_K_M or better), the smaller file when two are within a tenth or a
 * hundredth of a second. */
#ifndef PLAN_RECOMMEND_H
#define PLAN_RECOMMEND_H

#include "plan/accuracy.h"
#include "plan/feedback.h"
#include "plan/predict.h"
#include "task/task.h"

struct recommend_limits { /* 0 or NULL: none */
    double max_decision_s, max_memory_bytes, max_file_bytes, max_train_s, max_money;
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
    const char *schedule;      /* of the learning rate (train/optimizer.h); NULL: the trainer's default */
    int64_t n_records, epochs; /* epochs 0: by the trainer's defaults */
    const struct predict_teacher *teacher;    /* its texts borrowed while the result lives; NULL: none */
    const struct accuracy_measured *measured; /* an evaluation of this project; NULL: none yet */
    const struct feedback *feedback; /* what the device measured of a delivered file; NULL: nothing yet */
};

struct candidate {
    const char *base, *title, *license;
    const char *path; /* as plan.base_path; NULL: the file is not here yet */
    struct shape shape;
    struct catalog_figure score;
    struct predict_task tokens;
    enum mix mix;
    enum plan_method method;
    int64_t context, ubatch;
    int threads;
    enum plan_kv_type kv_type;
    bool label_scoring, prefix_state, trim;
    bool embedded, wished, tight; /* tight: fits, but not with the upper bounds */
    bool on_front;                /* nothing that fits is as good in everything and better in something */
    int group;                    /* of a base's mixes: 0 the best ones, 1 slower, 2 at a cost */
    double excess; /* need over allowance, of the limit that it passes most; at most 1: it fits */
    struct plan_prediction predicted;
    const char *reason;                /* one paragraph: why it is on the list */
    const char *dropped;               /* the limit that dropped it; NULL: it fits */
    const struct estimate *dropped_by; /* the figure that passed it; NULL: none, or it fits */
};

struct recommendation {
    struct arena arena;
    struct candidate *list; /* n_fit fitting ones, best first, then the dropped ones */
    int64_t n, n_fit;
    int64_t n_considered;            /* settings that were tried */
    const struct candidate *nearest; /* of the dropped ones: what passes its limits by least; NULL: none */
    struct estimate reserved;        /* what the device's system keeps */
    struct catalog_figure memory_mb; /* of the device: the catalogue's, or what a receipt says */
    double free_bytes;               /* for the model; 0: the device's memory is not known */
    struct device_rates rates;
    struct accuracy_line line;
    struct predict_teacher teacher; /* calls.value 0: nobody is asked */
};

int recommend(const struct recommend_input *in, struct recommendation *out, struct err *e);
void recommend_release(struct recommendation *r);

/* A plan from a candidate. ERR_NOT_FOUND when its file is not here. */
int recommend_plan(const struct recommend_input *in, const struct candidate *c, struct plan *out,
                   struct err *e);

#endif
