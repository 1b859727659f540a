/* The recommendation as a list for people and as the --json document. */
#include "cmd/plan_show.h"
#include "cmd/plan_text.h"
#include "plan/host.h"
#include <string.h>

enum { SHOWN = 6, SHOWN_WISHED = 4, SHOWN_DROPPED = 6 };

/* ---- text ---- */

static void show_option(struct cmd_ctx *c, int64_t number, const struct candidate *o) {
    struct str size = {0}, memory = {0}, decision = {0};
    const struct plan_prediction *p = &o->predicted;
    plan_text_value(&size, p->file_bytes.value, "bytes");
    plan_text_value(&memory, p->memory_bytes.value, "bytes");
    plan_text_value(&decision, p->decision_s.value, "s");
    str_add(&decision, " (");
    plan_text_value(&decision, p->decision_s.low, "s");
    str_add(&decision, " to ");
    plan_text_value(&decision, p->decision_s.high, "s");
    str_add(&decision, ")");
    char train[32];
    cmd_print(c, "%3lld%s %-22s %-7s %4.0f%% %8s %8s  %-26s %6.0f %6.0f %12s  %s%s%s\n", (long long)number,
              o->on_front ? "*" : " ", o->base, mix_name(o->mix), 100 * p->accuracy.value, str_text(&size),
              str_text(&memory), str_text(&decision), p->prefill_tps.value, p->decode_tps.value,
              str_duration(train, sizeof train, p->train_s.value), o->path != NULL ? "ready" : "needs pull",
              o->tight ? ", tight" : "", o->method == PLAN_FULL ? ", full" : "");
    str_release(&size);
    str_release(&memory);
    str_release(&decision);
}

static void show_why(struct cmd_ctx *c, const struct candidate *o) {
#define X(name, text, unit)                                                                                  \
    if (o->predicted.name.value > 0) {                                                                       \
        struct str line = {0};                                                                               \
        plan_text_estimate(&line, &o->predicted.name, unit);                                                 \
        cmd_print(c, "       %s: %s\n         %s\n", text, str_text(&line), o->predicted.name.basis);        \
        str_release(&line);                                                                                  \
    }
    PLAN_PREDICTIONS(X)
#undef X
    cmd_print(c,
              "       settings: context %lld, ubatch %lld, %d threads, cache %s, labels %s, prefix %s, "
              "vocabulary %s\n",
              (long long)o->context, (long long)o->ubatch, o->threads, plan_kv_type_text(o->kv_type),
              o->label_scoring ? "scored" : "written", o->prefix_state ? "kept" : "read each time",
              o->trim ? "cut to the task's" : "whole");
}

/* What the teacher and the disk will be asked for. */
static void show_costs(struct cmd_ctx *c, const struct planning *p) {
    const struct predict_teacher *t = &p->result.teacher;
    if (t->calls.value <= 0)
        return;
    struct str time = {0};
    plan_text_estimate(&time, &t->seconds, "s");
    cmd_print(c, "The teacher: %.0f calls (%.0f to %.0f), %.2g million tokens, ", t->calls.value,
              t->calls.low, t->calls.high, t->tokens.value / 1e6);
    if (t->money.value > 0)
        cmd_print(c, "%.2f US dollars (%.2f to %.2f), ", t->money.value, t->money.low, t->money.high);
    else
        cmd_print(c, "%s, ", t->money.basis);
    cmd_print(c, "%s\n", str_text(&time));
    if (cmd_flag(c, "why"))
        cmd_print(c, "  %s; %s; %s\n", t->calls.basis, t->money.basis, t->seconds.basis);
    str_release(&time);
}

/* Where the figures above the list come from. */
static void show_head_why(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    const struct predict_task *t = r->n_fit > 0 ? &r->list[0].tokens : NULL;
    if (r->memory_mb.known)
        cmd_print(c, "  memory: %.0f MB (%s) less what the system keeps: %s\n", r->memory_mb.value,
                  r->memory_mb.source, r->reserved.basis);
    if (t != NULL)
        cmd_print(c, "  tokens: of the task's prompt and a typical record, %s\n",
                  t->counted ? "counted with the vocabulary of the first option's base"
                             : "estimated from the text's length");
    if (p->host.macs_per_s > 0)
        cmd_print(c,
                  "  this machine: a product of two matrices of side %.0f, measured just now; %.0f MB of "
                  "memory available\n",
                  p->host.measured_size, p->host.memory_bytes / 1e6);
    cmd_print(c, "  reading: %s\n  writing: %s\n", r->rates.read_basis, r->rates.write_basis);
}

static void show_head(struct cmd_ctx *c, const struct planning *p) {
    char free_text[32], reserved[32];
    const struct recommendation *r = &p->result;
    if (r->free_bytes > 0)
        cmd_print(c, "%s: %s free for the model (the system keeps about %s)\n", p->device->title,
                  str_bytes(free_text, sizeof free_text, (int64_t)r->free_bytes),
                  str_bytes(reserved, sizeof reserved, (int64_t)r->reserved.value));
    else
        cmd_print(c, "%s: how much memory it has is not known; state it in a catalogue entry of your own\n",
                  p->device->title);
    if (p->feedback.found)
        cmd_print(c, "Speeds and memory follow what the device measured (%s).\n", p->feedback.run.source);
    if (p->feedback.unused.len > 0)
        cmd_print(c, "%s", str_text(&p->feedback.unused));
    if (r->n_fit > 0) {
        const struct predict_task *t = &r->list[0].tokens;
        cmd_print(c, "One decision reads %lld tokens, %lld of them the same each time and kept.\n",
                  (long long)(t->prefix_tokens + t->record_tokens), (long long)t->prefix_tokens);
    }
    if (p->host.macs_per_s > 0)
        cmd_print(c, "This machine multiplies %.3g GMAC/s on %d threads.\n", p->host.macs_per_s / 1e9,
                  p->host.threads);
    if (p->host.others > HOST_BUSY)
        cmd_print(
            c,
            "Other programs had %.0f%% of its processors while that was measured: times of training are "
            "for a machine as busy as that.\n",
            100 * p->host.others);
    if (cmd_flag(c, "why"))
        show_head_why(c, p);
    show_costs(c, p);
}

/* What was dropped, and with --why what the figure that dropped it rests on. */
static void show_dropped(struct cmd_ctx *c, const struct candidate *o) {
    cmd_print(c, "     %-24s %-7s %s\n", o->base, o->mix < N_MIXES ? mix_name(o->mix) : "", o->dropped);
    const struct estimate *x = o->dropped_by != NULL ? o->dropped_by : NULL;
    if (cmd_flag(c, "why") && x != NULL && x->basis != NULL)
        cmd_print(c, "       %s\n", x->basis);
}

static void show_schedule(struct cmd_ctx *c, const struct planning *p) {
    json_t *j = plan_json_schedule(p->input.schedule);
    cmd_print(c, "     learning rate: %s after a warm-up of %g of the steps; %s\n",
              json_string_value(json_object_get(j, "shape")), json_number_value(json_object_get(j, "warmup")),
              json_string_value(json_object_get(j, "reason")));
    json_decref(j);
}

void plan_show(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    bool all = cmd_flag(c, "all"), why = cmd_flag(c, "why");
    show_head(c, p);
    if (r->n_fit > 0)
        cmd_print(c, "\n%3s  %-22s %-7s %5s %8s %8s  %-26s %6s %6s %12s  state\n", "", "base", "mix", "right",
                  "file", "memory", "one decision", "reads", "writes", "training");
    int64_t hidden = 0, shown_wished = 0, shown_others = 0;
    for (int64_t i = 0; i < r->n_fit; i++) {
        int64_t *shown = r->list[i].wished ? &shown_wished : &shown_others;
        if (!all && *shown >= (r->list[i].wished ? SHOWN_WISHED : SHOWN)) {
            hidden++;
            continue;
        }
        ++*shown;
        show_option(c, i + 1, &r->list[i]);
        if (why)
            show_why(c, &r->list[i]);
    }
    if (hidden > 0)
        cmd_print(c, "     %lld more with --all\n", (long long)hidden);
    if (r->n_fit > 0) {
        cmd_print(
            c,
            "     method: LoRA of rank %lld on all linear layers, or full; reads and writes in tokens/s\n"
            "     * nothing else is as good in accuracy, latency, memory and training; right: expected "
            "accuracy, "
            "a guess until eval\n",
            (long long)cmd_int(c, "rank", 16));
        show_schedule(c, p);
        cmd_print(c, "\n1: %s\n", r->list[0].reason);
        if (why)
            cmd_print(c,
                      "   perplexity: published for Llama-3-8B in llama.cpp, tools/quantize/quantize.cpp\n");
    }
    if (r->n > r->n_fit)
        cmd_print(c, "\ndropped:\n");
    for (int64_t i = r->n_fit; i < r->n && (all || i < r->n_fit + SHOWN_DROPPED); i++)
        show_dropped(c, &r->list[i]);
    if (r->n - r->n_fit > SHOWN_DROPPED && !all)
        cmd_print(c, "     %lld more with --all\n", (long long)(r->n - r->n_fit - SHOWN_DROPPED));
}

/* ---- the --json document ---- */

static json_t *option_json(int64_t number, const struct candidate *o) {
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:b, s:b}", "base", o->base, "title", o->title, "license",
                  o->license != NULL ? o->license : "unknown", "here", o->path != NULL, "tight", o->tight);
    if (o->dropped != NULL) {
        json_object_set_new(j, "dropped", json_string(o->dropped));
        if (o->mix == N_MIXES)
            return j;
    } else {
        json_object_set_new(j, "option", json_integer(number));
        json_object_set_new(j, "reason", json_string(o->reason));
    }
    json_object_set_new(j, "quantisation", json_string(mix_name(o->mix)));
    json_object_set_new(j, "method", json_string(plan_method_text(o->method)));
    json_object_set_new(j, "front", json_boolean(o->on_front));
    json_object_set_new(j, "kv_type", json_string(plan_kv_type_text(o->kv_type)));
    json_object_set_new(j, "label_scoring", json_boolean(o->label_scoring));
    json_object_set_new(j, "prefix_state", json_boolean(o->prefix_state));
    json_object_set_new(j, "trim_vocabulary", json_boolean(o->trim));
    json_object_set_new(j, "context", json_integer(o->context));
    json_object_set_new(j, "ubatch", json_integer(o->ubatch));
    json_object_set_new(j, "threads", json_integer(o->threads));
    json_object_set_new(j, "predicted", plan_json_prediction(&o->predicted));
    return j;
}

void plan_show_result(struct cmd_ctx *c, const struct planning *p) {
    const struct recommendation *r = &p->result;
    json_t *list = json_array(), *dropped = json_array();
    for (int64_t i = 0; i < r->n; i++)
        json_array_append_new(i < r->n_fit ? list : dropped, option_json(i + 1, &r->list[i]));
    json_object_set_new(c->result, "device", json_string(p->device->name));
    json_object_set_new(c->result, "free_bytes", r->free_bytes > 0 ? json_real(r->free_bytes) : json_null());
    json_object_set_new(c->result, "sources",
                        json_pack("{s:s, s:s, s:s, s:s, s:s}", "memory",
                                  r->memory_mb.known ? r->memory_mb.source : "not known", "reserved",
                                  r->reserved.basis, "reads", r->rates.read_basis, "writes",
                                  r->rates.write_basis, "tokens",
                                  r->n_fit > 0 && r->list[0].tokens.counted ? "counted" : "estimated"));
    json_object_set_new(c->result, "feedback",
                        p->feedback.found ? json_string(p->feedback.run.source) : json_null());
    json_object_set_new(c->result, "host_macs_per_s", json_real(p->host.macs_per_s));
    json_object_set_new(c->result, "host_used_by_others", json_real(p->host.others));
    json_object_set_new(c->result, "considered", json_integer(r->n_considered));
    json_object_set_new(c->result, "records", json_integer(p->input.n_records));
    json_object_set_new(c->result, "schedule", plan_json_schedule(p->input.schedule));
    json_object_set_new(c->result, "teacher",
                        r->teacher.calls.value > 0
                            ? json_pack("{s:o, s:o, s:o, s:o}", "calls",
                                        plan_json_estimate(&r->teacher.calls, "calls"), "tokens",
                                        plan_json_estimate(&r->teacher.tokens, "tokens"), "money",
                                        plan_json_estimate(&r->teacher.money, "USD"), "seconds",
                                        plan_json_estimate(&r->teacher.seconds, "s"))
                            : json_null());
    json_object_set_new(c->result, "nearest", r->nearest != NULL ? option_json(0, r->nearest) : json_null());
    json_object_set_new(c->result, "options", list);
    json_object_set_new(c->result, "dropped", dropped);
    json_object_set_new(c->result, "accepted", json_null());
}
