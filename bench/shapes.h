/* Models of real shapes with random weights, and bundles of them: for measurements of speed and memory, which do not depend on what
 * the weights say. Kept under build/bench/shapes/ from one measurement to the next. */
#ifndef BENCH_SHAPES_H
#define BENCH_SHAPES_H

#include "eval/rows.h"
#include "plan/plan.h"
#include "support/tiny_gguf.h"
#include "task/prompt.h"
#include "task/task.h"

struct shape_model {
    const char *name; /* "qwen3-0.6b-q3_k_m": of the file */
    struct tiny_gguf shape;
    const char *type; /* "Q3_K_M" */
};
/* Trimmed: 16,000 tokens of vocabulary, as the stock mix. 16: as compress reads it. */
extern const struct shape_model shape_qwen3, shape_qwen3_trimmed, shape_qwen3_16, shape_tinyllama,
    shape_small, shape_small_16;

/* The model, or the small one when DEVICE_SMALL is set: to try a measurement, not to measure. */
const struct shape_model *shape_pick(const struct shape_model *m);

/* The quantised file's path, made when it is not there (minutes, and the 16-bit file's size on disk meanwhile). `prompt_tag`: that of
 * the prompt it answers in, as a trained model carries it; NULL: a base's. */
int shape_file(const struct shape_model *m, const char *prompt_tag, char path[256], struct err *e);

/* A task whose prompts have n_prefix and n_record tokens in the model's vocabulary, or just over, when they are written out: the
 * instruction, and "labelled fields" as the paper has them. Two labels of four tokens. A form says how they are written instead. */
struct shape_request {
    int64_t n_prefix, n_record;
    bool short_values; /* twelve fields of a word or a number, as in a table; else four of running text */
    struct prompt_form form;
};
struct shape_task {
    struct task task;
    struct prompt prompt;
    struct rows rows;                     /* 24, labels by chance */
    int64_t prefix_tokens, record_tokens; /* in its form */
    int label_tokens;                     /* of the longest label */
};
int shape_task_make(struct shape_task *t, const char *model, const struct shape_request *q, struct err *e);
void shape_task_release(struct shape_task *t);

/* A bundle for this machine (amd64) or "arm64". memory_bytes: the plan's, 0 none. */
struct shape_bundle {
    const char *arch, *folder;
    int n_threads;
    double memory_bytes;
    int n_ctx, n_batch; /* 0: 512, 128 */
};
int shape_bundle_make(const struct shape_task *t, const char *model, const struct shape_bundle *b,
                      struct err *e);

/* Row i as a JSON record, and as a whole prompt for another runtime; appended. */
int shape_record(const struct shape_task *t, int64_t i, struct str *json);
int shape_prompt(const struct shape_task *t, int64_t i, struct str *text);

#endif
