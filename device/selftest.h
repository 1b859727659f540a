/* The self-test: does this machine give the host's answers, how fast, in how much memory? Its receipt goes home.
 *
 *     struct selftest s;
 *     selftest_run(&s, dir, &(struct selftest_options){.emulated = false}, &e);   // ERR_MISMATCH: the answers differ
 *     receipt_write(&s, "receipt.json", &e);                                       // receipt.h
 *     selftest_release(&s);
 *
 * A golden row agrees when its label is the host's, or when the host's probabilities of the two labels are within the bundle's
 * tolerance of each other: kernels of different processors round differently. A written answer (extract, respond) agrees when it
 * is the host's to the letter. */
#ifndef DEVICE_SELFTEST_H
#define DEVICE_SELFTEST_H

#include "llama/type_rate.h"
#include "machine.h"
#include "runner.h"

struct selftest_options {
    bool emulated;  /* said by the user; detected as well */
    bool no_verify; /* skip the checksums of all files */
    int64_t n_rows; /* the first so many golden rows, and no rates by type; 0: all of both */
    struct runner_options runner;
};

/* X-macro of the measured figures: field, what people read, unit. Names as the plan's predictions where there is one. */
#define SELFTEST_FIGURES(X)                                                                                  \
    X(memory_bytes, "peak memory", "bytes")                                                                  \
    X(load_s, "opening the model", "s")                                                                      \
    X(prefix_s, "restoring the prefix", "s")                                                                 \
    X(cold_s, "one decision, cold", "s")                                                                     \
    X(decision_s, "one decision (median)", "s")                                                              \
    X(decision_p95_s, "one decision (95th percentile)", "s")                                                 \
    X(prefill_tps, "reading", "tokens/s")                                                                    \
    X(decode_tps, "writing", "tokens/s")                                                                     \
    X(tokens_per_decision, "tokens per decision", "tokens")

struct selftest_figures {
#define X(name, text, unit) double name;
    SELFTEST_FIGURES(X)
#undef X
};

enum { SELFTEST_DISAGREEMENTS = 10 };

struct selftest_disagreement {
    int64_t row;             /* of golden.jsonl, from 1 */
    char host[80], here[80]; /* labels, or the answers' beginnings: the last character may be cut */
    double host_p, here_p;   /* of the host's label; extract and respond: 1 and 0 */
};

struct selftest {
    struct runner runner;
    struct machine machine;
    bool emulated, passed;
    bool memory_known, memory_kept; /* is the plan's limit known here; peak below it and nothing swapped */
    int throttled;                  /* as in guard.h */
    int64_t n_rows, n_agreeing;
    double largest_difference; /* of any label's probability */
    struct selftest_disagreement disagreements[SELFTEST_DISAGREEMENTS];
    struct selftest_figures measured;
    double reads_gmacs[N_TYPE_RATES]; /* as in llama/type_rate.h, of the runner's threads; 0: not measured */
    int64_t swapped_bytes, major_faults;
    double temperature_c;
    char bundle_sha256[SHA256_HEX];
};

int selftest_run(struct selftest *s, const char *dir, const struct selftest_options *o, struct err *e);
void selftest_release(struct selftest *s);

#endif
