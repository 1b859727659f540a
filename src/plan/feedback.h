/* What the device itself measured replaces what was expected of it: the self-test's receipt of one delivered file.
 *
 *     struct feedback f = {.source = "receipts/claims-pi.json: Raspberry Pi 5, 2026-01-31", .prefill_tps = 61, ...};
 *     feedback_read_file(&f, "dist/claims-arm64/model/student.gguf", &e);     // its shape and what its tensors cost
 *     feedback_rates(&f, &rates, arena, &e);                                  // all rates of a kind by one factor
 *     feedback_memory(&f, &in, mix, arena, &estimate, &e);                    // of the same base and mix: the difference
 *
 * One file measures one mixture of tensor types, so all types' rates are scaled alike, after each got what the self-test measured for it;
 * the width shrinks to what a receipt has shown to be worth, never below it. What the receipt does not say is left as it was. */
#ifndef PLAN_FEEDBACK_H
#define PLAN_FEEDBACK_H

#include "plan/predict.h"

struct feedback {
    const char *source; /* file, board and day: shown with every figure that rests on it */
    struct shape shape;
    enum mix mix;
    struct mix_work work;            /* of the tensors as they are in the file */
    int64_t tokens, context, ubatch; /* tokens: of the prompt that was read */
    int64_t label_tokens;            /* 0: answers were written */
    enum plan_kv_type kv_type;
    double prefill_tps, decode_tps, memory_bytes, board_bytes; /* 0: not measured */
    double reads_gmacs[N_TYPE_RATES];                          /* by type of the weights; 0: not measured */
};

/* Shape and work from a GGUF's metadata. ERR_UNSUPPORTED: a tensor type that the planner does not count. */
int feedback_read_file(struct feedback *f, const char *path, struct err *e);

/* What holds whichever file was measured: the rates by type (rates_take_reads). */
int feedback_reads(const struct feedback *f, struct device_rates *r, struct arena *a, struct err *e);
/* That, and all rates by what the file reached. Texts go into `a`. */
int feedback_rates(const struct feedback *f, struct device_rates *r, struct arena *a, struct err *e);

/* Is it the file that `in` predicts: the same dimensions and mix, whatever its vocabulary was cut to? */
bool feedback_is_of(const struct feedback *f, const struct predict_input *in);
/* Moves the estimate by what the measured run took more than was counted for it. Only where feedback_is_of. */
int feedback_memory(const struct feedback *f, const struct device_rates *r, struct estimate *x,
                    struct arena *a, struct err *e);

#endif
