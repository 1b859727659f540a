/* Counters of a server, for /metrics and /health. Safe from several threads. */
#ifndef DEVICE_METRICS_H
#define DEVICE_METRICS_H

#include "api.h"
#include <pthread.h>

enum { METRICS_BUCKETS = 8, METRICS_STATUS_MAX = 600 };

struct metrics {
    pthread_mutex_t lock;
    const struct bundle *bundle;
    int64_t by_status[METRICS_STATUS_MAX];
    int64_t *by_label;
    int64_t n_decided, n_abstained, n_missing, n_outside, bucket[METRICS_BUCKETS];
    double seconds;
    int64_t start_ms;
};

int metrics_init(struct metrics *m, const struct bundle *b, struct err *e);
void metrics_release(struct metrics *m);

void metrics_decided(struct metrics *m, const struct reply *r); /* counts it when it was decided */
void metrics_answered(struct metrics *m, int status);

/* Prometheus' text format 0.0.4. */
void metrics_text(struct metrics *m, int queue_length, struct reply *out);
/* {"status":"ok",...}; 503 when the server is about to end. */
void metrics_health(struct metrics *m, int queue_length, bool stopping, struct reply *out);

#endif
