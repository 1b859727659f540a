/* Predictions as people and as scripts read them; shared by plan and report. */
#ifndef CMD_PLAN_TEXT_H
#define CMD_PLAN_TEXT_H

#include "base/str.h"
#include "plan/plan.h"
#include <jansson.h>

/* "1.9 GB", "0.41 s", "69 tokens/s" by the unit of PLAN_PREDICTIONS. Appended. */
void plan_text_value(struct str *out, double value, const char *unit);
/* "1.9 GB (1.7 GB to 2.4 GB)"; nothing where there is no prediction. */
void plan_text_estimate(struct str *out, const struct estimate *x, const char *unit);

/* {"value":..,"low":..,"high":..,"unit":"bytes","basis":".."} or null. */
json_t *plan_json_estimate(const struct estimate *x, const char *unit);
/* {"file_bytes":{...},...}: all predictions. */
json_t *plan_json_prediction(const struct plan_prediction *p);

/* The learning rate's schedule that training will have: shape, warmup and the reason of each. `wished`: the project's; NULL: none. */
json_t *plan_json_schedule(const char *wished);

#endif
