/* Decisions over HTTP, on loopback unless told otherwise.
 *
 *     POST /v1/decide             a record as a JSON object -> {"label":...,"probabilities":{...},...}
 *     POST /v1/chat/completions   OpenAI's protocol: the last user message is the record, as JSON or as "name: value" lines
 *     GET  /v1/models, /health, /metrics (Prometheus)
 *
 * Errors are {"error":{"message","type","code"}}. libmicrohttpd speaks HTTP in a thread of its own and never waits for the model; this
 * thread decides one record after the other from a bounded queue. Limits: the body (413), the queue (503 with Retry-After), the
 * time a request may wait in it (503), connections, and an idle connection's time. SIGTERM or SIGINT: the record at hand is finished
 * and answered, what still waits gets 503, and serve returns 0. */
#ifndef DEVICE_SERVE_H
#define DEVICE_SERVE_H

#include "runner.h"

enum { SERVE_CONNECTIONS = 256, SERVE_IDLE_S = 30 };

struct serve_options {
    const char *listen;     /* numeric "HOST:PORT" or "[HOST]:PORT"; port 0: any; NULL: 127.0.0.1:8077 */
    int64_t max_body_bytes; /* 0: 65536 */
    int max_queue;          /* 0: 64 */
    int64_t max_wait_ms;    /* 0: 30000 */
};

/* Says "listening on http://..." on standard error when it does. ERR_IO when the address is taken, ERR_USAGE when it is none. */
int serve(struct runner *r, const struct serve_options *o, struct err *e);

#endif
