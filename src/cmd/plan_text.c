/* Predictions in words and in JSON. */
#include "cmd/plan_text.h"
#include "train/loop.h"

#include <math.h>
#include <string.h>

void plan_text_value(struct str *out, double value, const char *unit) {
    char text[32];
    if (strcmp(unit, "bytes") == 0)
        str_add(out, str_bytes(text, sizeof text, (int64_t)value));
    else if (strcmp(unit, "share") == 0)
        str_addf(out, "%.1f%%", 100 * value);
    else if (strcmp(unit, "s") == 0 && value >= 90)
        str_add(out, str_duration(text, sizeof text, value));
    else if (strcmp(unit, "s") == 0 && value < 0.1)
        str_addf(out, "%.2g ms", value * 1e3);
    else
        str_addf(out, value >= 100 ? "%.0f %s" : "%.2g %s", value, unit);
}

void plan_text_estimate(struct str *out, const struct estimate *x, const char *unit) {
    if (x->value <= 0)
        return;
    plan_text_value(out, x->value, unit);
    str_add(out, " (");
    plan_text_value(out, x->low, unit);
    str_add(out, " to ");
    plan_text_value(out, x->high, unit);
    str_add(out, ")");
}

json_t *plan_json_estimate(const struct estimate *x, const char *unit) {
    if (x->value <= 0)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:s, s:s}", "value", x->value, "low", x->low, "high", x->high, "unit",
                     unit, "basis", x->basis != NULL ? x->basis : "");
}

json_t *plan_json_prediction(const struct plan_prediction *p) {
    json_t *out = json_object();
#define X(name, text, unit) json_object_set_new(out, #name, plan_json_estimate(&p->name, unit));
    PLAN_PREDICTIONS(X)
#undef X
    return out;
}

json_t *plan_json_schedule(const char *wished) {
    struct train_settings s;
    char reasons[TRAIN_N_REASONS][160];
    train_settings_default(&s, &(struct train_shape){.lora = true}, reasons);
    return json_pack("{s:s, s:f, s:s, s:s}", "shape", wished ? wished : schedule_name(s.schedule), "warmup",
                     round(1e6 * (double)s.warmup) / 1e6, "reason",
                     wished ? "as edgestill.yaml has it" : reasons[TRAIN_REASON_SCHEDULE], "warmup_reason",
                     reasons[TRAIN_REASON_WARMUP]);
}
