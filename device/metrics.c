/* Counting. */
#include "metrics.h"
#include "base/clock.h"
#include "config.h"
#include "format/json.h"
#include "machine.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double upper_s[METRICS_BUCKETS] = {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30};

int metrics_init(struct metrics *m, const struct bundle *b, struct err *e) {
    *m = (struct metrics){.bundle = b, .start_ms = clock_unix_ms()};
    pthread_mutex_init(&m->lock, NULL);
    m->by_label = calloc((size_t)b->task.n_labels + 1, sizeof *m->by_label);
    return m->by_label ? 0 : err_set(e, ERR_NO_MEMORY, "metrics_init", "no memory for counters");
}

void metrics_release(struct metrics *m) {
    free(m->by_label);
    m->by_label = NULL;
}

void metrics_decided(struct metrics *m, const struct reply *r) {
    if (!r->decided)
        return;
    pthread_mutex_lock(&m->lock);
    m->n_decided++;
    m->n_abstained += r->abstained;
    m->n_missing += r->missing;
    m->n_outside += r->outside;
    if (r->label >= 0) /* extract and respond have none */
        m->by_label[r->label]++;
    m->seconds += r->seconds;
    for (int i = 0; i < METRICS_BUCKETS; i++)
        m->bucket[i] += r->seconds <= upper_s[i];
    pthread_mutex_unlock(&m->lock);
}

void metrics_answered(struct metrics *m, int status) {
    pthread_mutex_lock(&m->lock);
    if (status >= 0 && status < METRICS_STATUS_MAX)
        m->by_status[status]++;
    pthread_mutex_unlock(&m->lock);
}

/* ---- Prometheus ---- */

static void head(struct str *out, const char *name, const char *type, const char *help) {
    str_addf(out, "# HELP edgestill_%s %s\n# TYPE edgestill_%s %s\n", name, help, name, type);
}

static void gauge(struct str *out, const char *name, const char *help, double value) {
    head(out, name, "gauge", help);
    str_addf(out, "edgestill_%s %.17g\n", name, value);
}

/* One that is never below zero where it is known. */
static void gauge_known(struct str *out, const char *name, const char *help, double value) {
    if (value >= 0)
        gauge(out, name, help, value);
}

static void add_label_text(struct str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\n')
            str_add(out, "\\n");
        else if (*text == '"' || *text == '\\')
            str_addf(out, "\\%c", *text);
        else
            str_add_char(out, *text);
    }
}

static void add_counters(struct metrics *m, struct str *out) {
    const struct task *t = &m->bundle->task;
    head(out, "responses_total", "counter", "Answers by HTTP status.");
    for (int i = 0; i < METRICS_STATUS_MAX; i++) {
        if (m->by_status[i])
            str_addf(out, "edgestill_responses_total{code=\"%d\"} %lld\n", i, (long long)m->by_status[i]);
    }
    head(out, "decisions_total", "counter", "Records decided, by label.");
    for (int i = 0; i < t->n_labels; i++) {
        str_add(out, "edgestill_decisions_total{label=\"");
        add_label_text(out, t->labels[i].name);
        str_addf(out, "\"} %lld\n", (long long)m->by_label[i]);
    }
    head(out, "abstained_total", "counter", "Records left undecided.");
    str_addf(out, "edgestill_abstained_total %lld\n", (long long)m->n_abstained);
    head(out, "doubtful_total", "counter",
         "Records decided without a field that the task needs, or with a value that it does not declare.");
    str_addf(out,
             "edgestill_doubtful_total{reason=\"missing\"} "
             "%lld\nedgestill_doubtful_total{reason=\"outside\"} %lld\n",
             (long long)m->n_missing, (long long)m->n_outside);
    head(out, "decision_seconds", "histogram", "Time of a decision, without the wait for it.");
    for (int i = 0; i < METRICS_BUCKETS; i++)
        str_addf(out, "edgestill_decision_seconds_bucket{le=\"%g\"} %lld\n", upper_s[i],
                 (long long)m->bucket[i]);
    str_addf(out,
             "edgestill_decision_seconds_bucket{le=\"+Inf\"} %lld\nedgestill_decision_seconds_sum %.6f\n"
             "edgestill_decision_seconds_count %lld\n",
             (long long)m->n_decided, m->seconds, (long long)m->n_decided);
}

void metrics_text(struct metrics *m, int queue_length, struct reply *out) {
    out->status = 200;
    out->type = "text/plain; version=0.0.4";
    pthread_mutex_lock(&m->lock);
    add_counters(m, &out->body);
    pthread_mutex_unlock(&m->lock);
    struct guard_state now = guard_look();
    gauge(&out->body, "queue_length", "Requests that wait.", queue_length);
    gauge_known(&out->body, "resident_bytes", "Memory of this process.", (double)machine_resident_bytes());
    gauge_known(&out->body, "planned_memory_bytes", "The plan's limit.",
                (double)m->bundle->memory_limit_bytes);
    gauge_known(&out->body, "swapped_bytes", "Of this process, swapped out.", (double)now.swapped_bytes);
    if (!isnan(now.temperature_c))
        gauge(&out->body, "temperature_celsius", "The hottest sensor.", now.temperature_c);
    gauge_known(&out->body, "throttled", "1 while the processor is held back.", now.throttled);
    gauge(&out->body, "start_time_seconds", "When this process began to serve.", (double)m->start_ms / 1e3);
}

/* ---- health ---- */

void metrics_health(struct metrics *m, int queue_length, bool stopping, struct reply *out) {
    out->status = stopping ? 503 : 200;
    out->type = "application/json";
    str_addf(&out->body, "{\"status\":\"%s\",\"name\":", stopping ? "stopping" : "ok");
    json_text_string(&out->body, m->bundle->name);
    pthread_mutex_lock(&m->lock);
    str_addf(&out->body,
             ",\"version\":\"" EDGESTILL_VERSION "\",\"decided\":%lld,\"waiting\":%d,\"seconds\":%.0f}\n",
             (long long)m->n_decided, queue_length, (double)(clock_unix_ms() - m->start_ms) / 1e3);
    pthread_mutex_unlock(&m->lock);
}
