/* AdamW over the trained set's slab: one call for what decays, one for what does not. */
#include "train/optimizer.h"
#include <math.h>
#include <string.h>

static struct optimizer_options with_defaults(const struct optimizer_options *given) {
    struct optimizer_options o = *given;
    o.beta1 = o.beta1 > 0 ? o.beta1 : 0.9f;
    o.beta2 = o.beta2 > 0 ? o.beta2 : 0.95f;
    o.epsilon = o.epsilon > 0 ? o.epsilon : 1e-8f;
    if (o.clip_norm == 0)
        o.clip_norm = 1;
    return o;
}

int optimizer_init(struct optimizer *o, struct nn_model *model, const struct optimizer_options *options,
                   struct err *e) {
    *o = (struct optimizer){.options = with_defaults(options), .model = model};
    if (!model->trained || !(options->learning_rate > 0))
        return err_set(e, ERR_INPUT, "optimizer_init", "%s",
                       model->trained ? "the learning rate must be positive"
                                      : "nothing in the model is trained");
    if (options->schedule != SCHEDULE_CONSTANT && options->total_steps <= 0)
        return err_set(e, ERR_INPUT, "optimizer_init", "a decaying learning rate needs the number of steps");
    size_t bytes = (size_t)model->trained->n_values * sizeof(float);
    o->m = model->ops->alloc(model->ops, bytes);
    o->v = model->ops->alloc(model->ops, bytes);
    if (!o->m || !o->v) {
        optimizer_release(o);
        return err_set(e, ERR_NO_MEMORY, "optimizer_init", "no room for %.1f MB of moments",
                       2e-6 * (double)bytes);
    }
    return 0;
}

void optimizer_release(struct optimizer *o) {
    if (!o || !o->model)
        return;
    o->model->ops->free(o->model->ops, o->m);
    o->model->ops->free(o->model->ops, o->v);
    *o = (struct optimizer){0};
}

static const char *const schedules[] = {
#define X(name, text) text,
    SCHEDULES(X)
#undef X
};

const char *schedule_name(enum schedule_shape s) {
    return schedules[s];
}

int schedule_find(const char *name) {
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++)
        if (strcmp(name, schedules[i]) == 0)
            return (int)i;
    return -1;
}

float schedule_rate(const struct optimizer_options *o, int64_t step) {
    if (step <= o->warmup_steps)
        return o->learning_rate * (float)step / (float)o->warmup_steps;
    if (o->schedule == SCHEDULE_CONSTANT)
        return o->learning_rate;
    int64_t span = o->total_steps - o->warmup_steps;
    double done = span > 0 ? fmin(1, (double)(step - o->warmup_steps) / (double)span) : 1;
    double left = o->schedule == SCHEDULE_LINEAR ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
    double final = (double)o->final_fraction;
    return (float)((double)o->learning_rate * (final + (1 - final) * left));
}

int optimizer_step(struct optimizer *o, struct optimizer_report *report, struct err *e) {
    const struct ops *ops = o->model->ops;
    const struct nn_set *s = o->model->trained;
    double norm = sqrt(ops->sum_squares(ops, s->gradient, s->n_values));
    if (!isfinite(norm)) {
        err_set(e, ERR_DIVERGED, "optimizer_step", "the gradient of step %lld is not a finite number",
                (long long)(o->step + 1));
        return err_hint(e, "lower the learning rate (now %g), or look for a broken row",
                        (double)o->options.learning_rate);
    }
    o->step++;
    float clip = o->options.clip_norm;
    bool clipped = clip > 0 && norm > (double)clip;
    struct adamw_settings a = {.learning_rate = schedule_rate(&o->options, o->step),
                               .beta1 = o->options.beta1,
                               .beta2 = o->options.beta2,
                               .epsilon = o->options.epsilon,
                               .weight_decay = o->options.weight_decay,
                               .gradient_scale = clipped ? (float)((double)clip / norm) : 1,
                               .step = o->step};
    ops->adamw(ops, s->value, s->gradient, o->m, o->v, s->n_decayed, &a);
    int64_t rest = s->n_values - s->n_decayed, at = s->n_decayed;
    a.weight_decay = 0;
    if (rest > 0)
        ops->adamw(ops, s->value + at, s->gradient + at, o->m + at, o->v + at, rest, &a);
    if (report)
        *report = (struct optimizer_report){norm, a.learning_rate, clipped};
    return 0;
}
