/* What the stages take of the disk here. */
#include "plan/predict.h"

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
