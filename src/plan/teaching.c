/* What the teacher and the disk will be asked for. */
#include "plan/predict.h"

#include <math.h>

/* generate asks for four records at a time, then for the label of each one by itself; about a quarter of what comes is rejected
 * or a duplicate, up to as much again. Texts around a record, and the reasoning of a teacher that thinks, in tokens: what the
 * prompts of docs and protocol come to, with room for a teacher that says more. */
static const double RECORDS_A_CALL = 4, REJECTED = 1.25, REJECTED_MOST = 2, PROMPT_TOKENS = 250,
                    REASONING_TOKENS = 120, REASONING_MOST = 900, SECONDS_A_CALL = 6, SPREAD = 3;

int predict_teaching(const struct predict_task *t, int64_t n_records, const struct predict_price *price,
                     struct arena *a, struct predict_teacher *out, struct err *e) {
    double n = (double)n_records, record = (double)t->record_tokens;
    double calls = REJECTED * (n / RECORDS_A_CALL + n), most = REJECTED_MOST * (n / RECORDS_A_CALL + n);
    double in = calls * PROMPT_TOKENS + REJECTED * n * record,
           in_most = most * 2 * PROMPT_TOKENS + REJECTED_MOST * n * record;
    double said = REJECTED * n * (record + REASONING_TOKENS),
           said_most = REJECTED_MOST * n * (record + REASONING_MOST);
    double money = price->known ? (in * price->in + said * price->out) / 1e6 : 0;
    double money_most = price->known ? (in_most * price->in + said_most * price->out) / 1e6 : 0;
    double seconds = calls * SECONDS_A_CALL / fmax(price->parallel, 1);
    const char *basis = arena_printf(
        a, "%.0f records, %.0f a call, each labelled by itself; %.0f%% more for what is rejected", n,
        RECORDS_A_CALL, (REJECTED - 1) * 100);
    const char *cost = !price->known
                           ? "the teacher's price is not known: state it with --price-in and --price-out"
                       : price->in + price->out <= 0
                           ? "this teacher costs nothing"
                           : arena_printf(a, "%.2f and %.2f US dollars per million tokens read and written",
                                          price->in, price->out);
    if (basis == NULL || cost == NULL)
        return err_set(e, ERR_NO_MEMORY, "predict_teaching", "out of memory");
    *out = (struct predict_teacher){
        .calls = {calls, calls / REJECTED, most, basis},
        .tokens = {in + said, (in + said) / 2, in_most + said_most, basis},
        .money = {money, money / 2, money_most, cost},
        .seconds = {seconds, seconds / SPREAD, seconds * SPREAD,
                    "six seconds a call assumed, requests in parallel"},
    };
    return 0;
}

struct estimate predict_disk(const struct predict_input *in, struct arena *a) {
    double params = (double)shape_params(in->shape), f16 = 2 * params;
    double trained =
        in->method == PLAN_FULL ? 3 * 4 * params : 0.02 * 4 * 3 * params; /* weights and two moments */
    double value = f16 + 2 * trained + 2 * f16; /* merged, two checkpoints, quantised candidates */
    return (struct estimate){
        value, 0.6 * value, 1.5 * value,
        a == NULL ? ""
                  : arena_printf(a, "merged copy %.0f MB, two checkpoints %.0f MB, candidates up to %.0f MB",
                                 f16 / 1e6, 2 * trained / 1e6, 2 * f16 / 1e6)};
}
