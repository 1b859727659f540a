/* The result of compression in words and as JSON. */
#include "cmd/compress_text.h"
#include <math.h>
#include <string.h>

enum { PLOT_WIDTH = 56, PLOT_HEIGHT = 9 };

/* ---- text ---- */

static void print_vocabulary(struct cmd_ctx *c, const struct vocabulary_trim *v) {
    char before[32], after[32];
    if (!v->reason)
        return;
    if (!v->trimmed) {
        cmd_print(c, "vocabulary: left as it is (%s)\n", v->reason);
        return;
    }
    cmd_print(c, "vocabulary: %d of %d tokens kept (%d needed), %s instead of %s in 16 bits", v->n_after,
              v->n_before, v->n_needed, str_bytes(after, sizeof after, v->bytes_after),
              str_bytes(before, sizeof before, v->bytes_before));
    if (isfinite(v->rise))
        cmd_print(c, "; held-out records take %.1f%% more tokens", 100 * v->rise);
    cmd_print(c, "\n");
}

static void print_depth(struct cmd_ctx *c, const struct depth_result *d) {
    if (d->before == 0)
        return;
    cmd_print(c, "layers: %d of %d kept; gone are", d->after, d->before);
    for (int i = 0; i < d->before - d->after; i++)
        cmd_print(c, "%s %d", i > 0 ? "," : "", d->dropped[i]);
    cmd_print(c, " (by %lld rows); divergence %.2g without them, %.2g after training the others on\n",
              (long long)d->judged_rows, d->cut, d->healed);
}

static void print_candidates(struct cmd_ctx *c, const struct compress_result *r, bool measured) {
    char size[32];
    bool timed = r->least_seconds > 0;
    cmd_print(c, "\n%-30s %9s %5s%s %9s %10s %11s\n", "candidate", "size", "bits", timed ? "    device" : "",
              "accuracy", "agreement", measured ? "divergence" : "");
    for (int i = 0; i < r->n_candidates; i++) {
        const struct compress_candidate *k = &r->candidates[i];
        cmd_print(c, "%-30s %9s %5.2f", k->name, str_bytes(size, sizeof size, k->file_bytes),
                  k->bits_per_weight);
        if (timed && k->device_s > 0)
            cmd_print(c, " %6.3g ms", 1e3 * k->device_s);
        else if (timed)
            cmd_print(c, " %9s", "");
        if (measured)
            cmd_print(c, " %8.1f%% %9.1f%%", 100 * k->accuracy, 100 * k->agreement);
        if (isfinite(k->divergence))
            cmd_print(c, " %11.2g", k->divergence);
        cmd_print(c, "%s\n", k->chosen ? "  chosen" : "");
    }
}

static double size_of(const struct compress_candidate *k) {
    return (double)k->file_bytes;
}

static double time_of(const struct compress_candidate *k) {
    return k->device_s;
}

typedef double axis_fn(const struct compress_candidate *k);

/* Every candidate as a letter: what it costs to the right, accuracy upwards; the chosen one in brackets. */
static void plot_front(struct cmd_ctx *c, const struct compress_result *r, axis_fn *cost, const char *title) {
    char plot[PLOT_HEIGHT][PLOT_WIDTH + 4];
    double low = r->source_accuracy, high = r->source_accuracy, least = INFINITY, most = 0;
    for (int i = 0; i < r->n_candidates; i++) {
        const struct compress_candidate *k = &r->candidates[i];
        low = fmin(low, k->accuracy);
        high = fmax(high, k->accuracy);
        least = fmin(least, cost(k));
        most = fmax(most, cost(k));
    }
    low = fmin(low, high - 0.01); /* an axis of a point at least, though all be alike */
    memset(plot, ' ', sizeof plot);
    for (int i = 0; i < r->n_candidates; i++) {
        const struct compress_candidate *k = &r->candidates[i];
        double x = most > least ? (cost(k) - least) / (most - least) : 0,
               y = (k->accuracy - low) / (high - low);
        char *at = &plot[PLOT_HEIGHT - 1 - (int)lround(y * (PLOT_HEIGHT - 1))]
                        [1 + (int)lround(x * (PLOT_WIDTH - 1))];
        *at = (char)('A' + i % 26);
        if (k->chosen) {
            at[-1] = '(';
            at[1] = ')';
        }
    }
    cmd_print(c, "\naccuracy over %s\n", title);
    for (int y = 0; y < PLOT_HEIGHT; y++)
        cmd_print(c, "%6.1f%% |%.*s\n", 100 * (high - (high - low) * y / (PLOT_HEIGHT - 1)), PLOT_WIDTH + 3,
                  plot[y]);
    cmd_print(c, "        +%.*s\n", PLOT_WIDTH, "--------------------------------------------------------");
}

static void print_front(struct cmd_ctx *c, const struct compress_result *r) {
    if (r->n_candidates < 3)
        return;
    plot_front(c, r, size_of, "size");
    if (r->least_seconds > 0)
        plot_front(c, r, time_of, "time of a decision on the device");
    for (int i = 0; i < r->n_candidates; i++)
        cmd_print(c, "  %c %s", 'A' + i % 26, r->candidates[i].name);
    cmd_print(c, "\n");
}

/* What another preference would give. */
static void print_speed(struct cmd_ctx *c, const struct compress_result *r) {
    const struct compress_candidate *k = &r->candidates[r->chosen];
    if (r->least_seconds > 0 && k->device_s > 1.2 * r->least_seconds)
        cmd_print(c,
                  "this device could decide %.1f times as fast with other types, in a larger file: --prefer "
                  "speed\n",
                  k->device_s / r->least_seconds);
}

static void print_difference(struct cmd_ctx *c, const struct paired *p) {
    cmd_print(c, "  %+5.1f (%+.1f to %+.1f)", 100 * p->difference, 100 * p->interval.low,
              100 * p->interval.high);
}

static void print_ledger(struct cmd_ctx *c, const struct compress_result *r) {
    char size[32];
    cmd_print(c, "\n%-30s %9s %9s %10s  %s\n", "loss ledger", "size", "accuracy", "agreement",
              "points gained by the step (95%)");
    for (int i = 0; i < r->n_steps; i++) {
        const struct compress_step *s = &r->steps[i];
        cmd_print(c, "%-30s %9s %8.1f%% %9.1f%%", s->name,
                  s->file_bytes > 0 ? str_bytes(size, sizeof size, s->file_bytes) : "", 100 * s->accuracy,
                  100 * s->agreement);
        if (i > 0)
            print_difference(c, &s->change);
        cmd_print(c, "%s\n", i == r->lost_at ? "  <- most is lost here" : "");
    }
    cmd_print(c, "on the same %lld validation rows; agreement with the 16-bit file\n",
              (long long)r->first_rows);
    if (r->not_in_ledger)
        cmd_print(c, "without the steps before the 16-bit file: %s\n", r->not_in_ledger);
}

static void print_confirmed(struct cmd_ctx *c, const struct compress_result *r) {
    const struct compress_candidate *k = &r->candidates[r->chosen];
    if (!k->confirmed)
        return;
    cmd_print(c, "confirmed on %lld rows: %.1f%%, the 16-bit file %.1f%%;", (long long)k->n_rows,
              100 * k->accuracy, 100 * r->confirming_accuracy);
    print_difference(c, &k->paired);
    cmd_print(c, "\n");
}

static void print_caches(struct cmd_ctx *c, const struct compress_result *r) {
    for (int i = 0; i < r->n_caches; i++) {
        const struct compress_cache *k = &r->caches[i];
        cmd_print(c, "cache at %-5s", k->type);
        if (k->token_bytes > 0)
            cmd_print(c, " %6lld bytes a token,", (long long)k->token_bytes);
        cmd_print(c, " %.1f%% right, %.1f%% agreement%s\n", 100 * k->accuracy, 100 * k->agreement,
                  i == r->cache ? "  chosen" : "");
    }
}

void compress_print(struct cmd_ctx *c, const struct compress_result *r, int64_t n_validation) {
    bool measured = n_validation > 0;
    const struct compress_candidate *k = &r->candidates[r->chosen];
    print_vocabulary(c, &r->vocabulary);
    print_depth(c, &r->depth);
    if (r->calibration_rows > 0)
        cmd_print(c, "importance%s from %lld training rows%s\n", r->searched ? " and sensitivity" : "",
                  (long long)r->calibration_rows, r->imatrix_reused ? ", kept from an earlier run" : "");
    if (r->not_searched)
        cmd_print(c, "types as llama.cpp mixes them: %s\n", r->not_searched);
    if (r->recovery.steps > 0)
        cmd_print(c, "recovery: divergence %.2g before, %.2g after %lld steps\n", r->recovery.before,
                  r->recovery.after, (long long)r->recovery.best_step);
    print_candidates(c, r, measured);
    if (measured) {
        print_front(c, r);
        print_confirmed(c, r);
        print_ledger(c, r);
        print_caches(c, r);
    } else {
        cmd_print(c, "no validation rows: nothing was measured\n");
    }
    cmd_print(c, "wrote model/student.gguf: %s, %s\n", k->name, r->reason);
    print_speed(c, r);
}

/* ---- JSON ---- */

static json_t *figure(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static void add_paired(json_t *j, const struct paired *p) {
    json_object_set_new(j, "difference", figure(p->difference));
    json_object_set_new(j, "low", figure(p->interval.low));
    json_object_set_new(j, "high", figure(p->interval.high));
    json_object_set_new(j, "p_value", figure(p->p_value));
}

static json_t *candidate_json(const struct compress_candidate *k, bool measured) {
    json_t *j = json_pack("{s:s, s:s, s:b, s:b, s:I, s:f, s:b}", "name", k->name, "type", k->type, "searched",
                          k->searched, "recovered", k->recovered, "bytes", (json_int_t)k->file_bytes,
                          "bits_per_weight", k->bits_per_weight, "chosen", k->chosen);
    json_object_set_new(j, "predicted_loss", figure(k->predicted_loss));
    json_object_set_new(j, "device_seconds", k->device_s > 0 ? json_real(k->device_s) : json_null());
    if (!measured)
        return j;
    json_object_set_new(j, "accuracy", figure(k->accuracy));
    json_object_set_new(j, "rows", json_integer(k->n_rows));
    json_object_set_new(j, "agreement", figure(k->agreement));
    json_object_set_new(j, "divergence", figure(k->divergence));
    json_object_set_new(j, "expected_loss", figure(k->expected_loss));
    add_paired(j, &k->paired);
    return j;
}

static json_t *cache_json(const struct compress_result *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->n_caches; i++) {
        const struct compress_cache *k = &r->caches[i];
        json_t *j =
            json_pack("{s:s, s:I, s:o, s:o, s:o, s:b}", "type", k->type, "token_bytes",
                      (json_int_t)k->token_bytes, "accuracy", figure(k->accuracy), "agreement",
                      figure(k->agreement), "divergence", figure(k->divergence), "chosen", i == r->cache);
        add_paired(j, &k->paired);
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *step_json(const struct compress_step *s) {
    json_t *j = json_pack("{s:s, s:I, s:o, s:o, s:o}", "step", s->name, "bytes", (json_int_t)s->file_bytes,
                          "accuracy", figure(s->accuracy), "agreement", figure(s->agreement), "divergence",
                          figure(s->divergence));
    add_paired(j, &s->paired);
    if (s->change.n > 0) {
        json_t *change = json_object();
        add_paired(change, &s->change);
        json_object_set_new(j, "change", change);
    }
    return j;
}

static json_t *vocabulary_json(const struct vocabulary_trim *v) {
    return json_pack("{s:b, s:s, s:i, s:i, s:i, s:o, s:I}", "trimmed", v->trimmed, "reason",
                     v->reason ? v->reason : "asked to keep it", "before", v->n_before, "needed", v->n_needed,
                     "after", v->n_after, "rise", figure(v->rise), "bytes_after", (json_int_t)v->bytes_after);
}

json_t *compress_to_json(const struct compress_result *r, int64_t n_validation) {
    json_t *list = json_array(), *steps = json_array();
    for (int i = 0; i < r->n_candidates; i++)
        json_array_append_new(list, candidate_json(&r->candidates[i], n_validation > 0));
    for (int i = 0; i < r->n_steps; i++)
        json_array_append_new(steps, step_json(&r->steps[i]));
    json_t *recovery =
        r->recovery.steps > 0
            ? json_pack("{s:I, s:I, s:f, s:f, s:f}", "steps", (json_int_t)r->recovery.steps, "best_step",
                        (json_int_t)r->recovery.best_step, "before", r->recovery.before, "after",
                        r->recovery.after, "seconds", r->recovery.seconds)
            : json_null();
    const struct compress_candidate *chosen = &r->candidates[r->chosen];
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "format",
                  COMPRESS_FORMAT, "chosen", chosen->name, "reason", r->reason, "calibration_rows",
                  (json_int_t)r->calibration_rows, "validation_rows", (json_int_t)n_validation, "first_rows",
                  (json_int_t)r->first_rows, "source_bytes", (json_int_t)r->source_bytes, "source_accuracy",
                  figure(r->source_accuracy), "vocabulary", vocabulary_json(&r->vocabulary), "depth",
                  r->depth.before > 0 ? depth_to_json(&r->depth) : json_null(), "recovery", recovery,
                  "candidates", list, "steps", steps, "caches", cache_json(r));
    if (chosen->confirmed)
        json_object_set_new(j, "confirmed",
                            json_pack("{s:I, s:f}", "rows", (json_int_t)chosen->n_rows, "source_accuracy",
                                      r->confirming_accuracy));
    if (r->lost_at >= 0)
        json_object_set_new(j, "lost_at", json_string(r->steps[r->lost_at].name));
    if (r->not_in_ledger)
        json_object_set_new(j, "not_in_ledger", json_string(r->not_in_ledger));
    return j;
}
