/* The plan: which base is trained how, quantised to what and run with which settings on the chosen device, and what is
 * predicted of it. `plan --accept N` writes it as plan.yaml; every later stage reads it through project_plan().
 *
 *     struct plan p;
 *     plan_from_node(&p, root, &e);        // root: plan.yaml parsed by format/yaml.h
 *     ... p.base_path, p.quantisation, p.context ...
 *     plan_release(&p);
 *
 * Everything lives in the plan's arena. Each prediction carries an interval and says what it rests on; after the stages ran,
 * report shows the measured value beside it. */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/node.h"
#include <stdbool.h>
#include <stdint.h>

#define PLAN_FORMAT "edgestill.plan/1"

#define PLAN_METHODS(X) X(LORA, "lora") X(FULL, "full")
enum plan_method {
#define X(name, text) PLAN_##name,
    PLAN_METHODS(X)
#undef X
};

#define PLAN_KV_TYPES(X) X(F16, "f16") X(Q8_0, "q8_0")
enum plan_kv_type {
#define X(name, text) PLAN_KV_##name,
    PLAN_KV_TYPES(X)
#undef X
};

/* A predicted quantity: the middle, an interval meant to hold 19 times of 20, and where it comes from. value 0 with an empty
 * basis: not predicted. */
struct estimate {
    double value, low, high;
    const char *basis;
};

/* name, what people read, unit */
#define PLAN_PREDICTIONS(X)                                                                                  \
    X(accuracy, "accuracy after training", "share")                                                          \
    X(file_bytes, "file size", "bytes")                                                                      \
    X(memory_bytes, "memory on the device", "bytes")                                                         \
    X(prefill_tps, "reading", "tokens/s")                                                                    \
    X(decode_tps, "writing", "tokens/s")                                                                     \
    X(cold_s, "one decision, cold", "s")                                                                     \
    X(decision_s, "one decision", "s")                                                                       \
    X(train_s, "training here", "s")                                                                         \
    X(train_memory_bytes, "training memory here", "bytes")

struct plan_prediction {
#define X(name, text, unit) struct estimate name;
    PLAN_PREDICTIONS(X)
#undef X
};

struct plan {
    struct arena arena;
    /* catalogue name; project_plan() compares it with the project's: another device voids the plan */
    const char *device;
    const char *base; /* "embedded", a catalogue name, or the file's name */
    /* its GGUF: absolute, or "data:seed/base.gguf" for a file of the program's own data folder */
    const char *base_path;
    enum plan_method method;
    int rank;                 /* LoRA */
    double alpha;             /* LoRA: the update is scaled by alpha / rank */
    const char *schedule;     /* of training: a name of SCHEDULES (train/optimizer.h); NULL: not said */
    double warmup;            /* share of its steps in which the learning rate climbs; negative: not said */
    const char *quantisation; /* llama.cpp's name: "Q4_K_M" */
    int64_t context, ubatch;  /* tokens */
    int threads;              /* on the device */
    enum plan_kv_type kv_type;
    bool label_scoring;   /* score the labels instead of generating one */
    bool prefix_state;    /* keep the shared prefix's state on disk */
    bool trim_vocabulary; /* the predictions count on compress cutting the vocabulary to the task's */
    int64_t prefix_tokens, record_tokens, answer_tokens; /* that the predictions were made for */
    const char *reason;                                  /* one paragraph */
    struct plan_prediction predicted;
};

/* Checks and copies a parsed plan.yaml. ERR_INPUT pointing at file, line and column. On failure nothing is left behind. */
int plan_from_node(struct plan *p, const struct node *root, struct err *e);
void plan_release(struct plan *p);

/* plan.yaml, with comments. Appended. */
int plan_to_yaml(const struct plan *p, struct str *out, struct err *e);

/* base_path as a path that can be opened ("data:" resolved), appended. ERR_NOT_FOUND when the file is gone. */
int plan_base_file(const struct plan *p, struct str *out, struct err *e);

const char *plan_method_text(enum plan_method m);
const char *plan_kv_type_text(enum plan_kv_type t);

#endif
