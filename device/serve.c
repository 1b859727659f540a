/* The server: libmicrohttpd's thread takes requests in and answers out, this thread decides.
 *
 * A request's states, all changed under the queue's lock or by one thread alone:
 *
 *     reading (http thread) --whole--> waiting (suspended, in the queue) --taken--> deciding (this thread)
 *        |                                                                             |
 *        +--refused: too long, unknown place, queue full--> answered <----resumed------+
 *
 * Invariants: a request in the queue has its connection suspended; only the http thread adds to the queue, only this thread
 * takes from it; n_open counts requests between their first byte and their end, so that nothing is lost when the server stops. */
#include "serve.h"
#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "metrics.h"
#include "notify.h"
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A refused request's body is read and thrown away so that the client reads the answer, but not for ever. */
enum { THROWN_AWAY_MAX = 8 << 20, CONNECTION_BYTES = 32768, LAST_ANSWERS_MS = 5000 };

struct request {
    struct server *server;
    struct MHD_Connection *connection;
    enum api_kind kind;
    struct str body;
    int64_t thrown_away;
    struct reply reply;
    double arrived_s;
    struct request *next;
};

struct server {
    struct runner *runner;
    struct serve_options o;
    struct metrics metrics;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct request *first, *last; /* the queue */
    int n_waiting, n_open;
    bool stopping;
};

/* ---- the queue ---- */

static bool queue_add(struct server *s, struct request *q) {
    pthread_mutex_lock(&s->lock);
    bool room = s->n_waiting < s->o.max_queue && !s->stopping;
    if (room) {
        MHD_suspend_connection(q->connection);
        q->arrived_s = clock_seconds();
        *(s->last ? &s->last->next : &s->first) = q;
        s->last = q;
        s->n_waiting++;
        pthread_cond_signal(&s->arrived);
    }
    pthread_mutex_unlock(&s->lock);
    return room;
}

/* The next request, waiting at most wait_ms for one; NULL: none came. */
static struct request *queue_take(struct server *s, int wait_ms) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)wait_ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    if (!s->first && wait_ms > 0)
        pthread_cond_timedwait(&s->arrived, &s->lock, &until);
    struct request *q = s->first;
    if (q) {
        s->first = q->next;
        s->last = s->first ? s->last : NULL;
        s->n_waiting--;
    }
    pthread_mutex_unlock(&s->lock);
    return q;
}

static int waiting(struct server *s) {
    pthread_mutex_lock(&s->lock);
    int n = s->n_waiting;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static bool is_stopping(struct server *s) {
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

/* ---- the http thread ---- */

static enum MHD_Result send_reply(struct request *q) {
    struct reply *r = &q->reply;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        r->body.len, (void *)(uintptr_t)str_text(&r->body), MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->type);
    if (r->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, r->allow);
    if (r->status == 503)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    enum MHD_Result sent = MHD_queue_response(q->connection, (unsigned)r->status, response);
    MHD_destroy_response(response);
    if (sent == MHD_YES)
        metrics_answered(&q->server->metrics, r->status);
    return sent;
}

/* Only application/json: a page in a browser cannot send that to this address without being asked for leave first. */
static bool is_json(struct MHD_Connection *c) {
    static const char want[] = "application/json";
    const char *type = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    return type && strncasecmp(type, want, sizeof want - 1) == 0 && strchr("; \t", type[sizeof want - 1]);
}

static int64_t declared_length(struct MHD_Connection *c) {
    const char *text = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t n = 0;
    return text && str_to_i64(text, &n) ? n : 0;
}

static void refuse_long(struct request *q) {
    api_error(&q->reply, 413, "a request may have %lld bytes", (long long)q->server->o.max_body_bytes);
}

/* What can be said before the body is read. */
static void look_at_head(struct request *q, const char *path, const char *method) {
    const char *allowed = NULL;
    q->kind = api_route(path, &allowed);
    bool head = strcmp(method, "HEAD") == 0 && allowed && strcmp(allowed, "GET") == 0;
    if (q->kind == API_NONE) {
        api_error(&q->reply, 404,
                  "there is no %.100s here; there is /v1/decide, /v1/chat/completions, /v1/models, "
                  "/health, /metrics",
                  path);
    } else if (strcmp(method, allowed) != 0 && !head) {
        api_error(&q->reply, 405, "%s takes %s", path, allowed);
        q->reply.allow = allowed;
    } else if (strcmp(allowed, "POST") == 0 && !is_json(q->connection)) {
        api_error(&q->reply, 415, "send Content-Type: application/json");
    } else if (declared_length(q->connection) > q->server->o.max_body_bytes) {
        refuse_long(q);
    }
}

static struct request *begin(struct server *s, struct MHD_Connection *c, const char *path,
                             const char *method) {
    struct request *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->server = s;
    q->connection = c;
    pthread_mutex_lock(&s->lock);
    s->n_open++;
    pthread_mutex_unlock(&s->lock);
    look_at_head(q, path, method);
    return q;
}

static enum MHD_Result take_bytes(struct request *q, const char *bytes, size_t *n) {
    if (q->reply.status == 0 && (int64_t)(q->body.len + *n) > q->server->o.max_body_bytes)
        refuse_long(q);
    if (q->reply.status == 0)
        str_add_bytes(&q->body, bytes, *n);
    else
        q->thrown_away += (int64_t)*n;
    *n = 0;
    return q->thrown_away <= THROWN_AWAY_MAX ? MHD_YES : MHD_NO;
}

/* The request is whole: answer it here, or let it wait for the model. */
static enum MHD_Result answer(struct request *q) {
    struct server *s = q->server;
    if (q->reply.status == 0 && q->kind == API_MODELS)
        api_models(&s->runner->bundle, &q->reply);
    else if (q->reply.status == 0 && q->kind == API_HEALTH)
        metrics_health(&s->metrics, waiting(s), is_stopping(s), &q->reply);
    else if (q->reply.status == 0 && q->kind == API_METRICS)
        metrics_text(&s->metrics, waiting(s), &q->reply);
    if (q->reply.status != 0)
        return send_reply(q);
    if (queue_add(s, q))
        return MHD_YES;
    api_error(&q->reply, 503, is_stopping(s) ? "the server is about to end" : "%d requests wait already",
              s->o.max_queue);
    return send_reply(q);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *bytes, size_t *n,
                                  void **mine) {
    (void)version;
    struct request *q = *mine;
    if (!q) {
        *mine = begin(context, c, path, method);
        q = *mine;
        bool hopeless = q && q->reply.status != 0 && declared_length(c) > THROWN_AWAY_MAX;
        return !q ? MHD_NO : hopeless ? send_reply(q) : MHD_YES;
    }
    return *n > 0 ? take_bytes(q, bytes, n) : answer(q);
}

static void on_end(void *context, struct MHD_Connection *c, void **mine,
                   enum MHD_RequestTerminationCode why) {
    (void)c;
    (void)why;
    struct server *s = context;
    struct request *q = *mine;
    if (!q)
        return;
    str_release(&q->body);
    reply_release(&q->reply);
    free(q);
    *mine = NULL;
    pthread_mutex_lock(&s->lock);
    s->n_open--;
    pthread_mutex_unlock(&s->lock);
}

static void on_log(void *context, const char *format, va_list args) {
    char text[300];
    (void)context;
    vsnprintf(text, sizeof text, format, args);
    log_debug("http: %.*s", (int)strcspn(text, "\n"), text);
}

/* ---- address ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int parse_address(const char *text, union address *out, struct err *e) {
    char host[64] = "";
    const char *colon = strrchr(text, ':');
    int64_t port = -1;
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool bracketed = n > 2 && text[0] == '[' && text[n - 1] == ']';
    if (colon && n < sizeof host)
        snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), text + bracketed);
    if (strcmp(host, "localhost") == 0)
        strcpy(host, "127.0.0.1");
    *out = (union address){0};
    bool is_v4 = inet_pton(AF_INET, host, &out->v4.sin_addr) == 1;
    bool is_v6 = !is_v4 && inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1;
    if (!colon || !str_to_i64(colon + 1, &port) || port < 0 || port > 65535 || (!is_v4 && !is_v6)) {
        err_set(e, ERR_USAGE, "serve", "\"%s\" is no address to listen on", text);
        err_hint(e,
                 "a numeric one and a port: 127.0.0.1:8077, [::1]:8077, 0.0.0.0:8077 (open to the network)");
        return ERR_USAGE;
    }
    out->any.sa_family = is_v4 ? AF_INET : AF_INET6;
    *(is_v4 ? &out->v4.sin_port : &out->v6.sin6_port) = htons((uint16_t)port);
    return 0;
}

/* ---- this thread ---- */

static int start(struct server *s, struct err *e) {
    union address address;
    const char *text = s->o.listen ? s->o.listen : "127.0.0.1:8077";
    int rc = parse_address(text, &address, e);
    if (rc < 0)
        return rc;
    unsigned flags =
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (address.any.sa_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_SOCK_ADDR,
        &address.any, MHD_OPTION_CONNECTION_LIMIT, (unsigned)SERVE_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SERVE_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, s, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!s->daemon) {
        err_set_errno(e, ERR_IO, "serve", "cannot listen on %s", text);
        err_hint(e, "another program may use that port: --listen takes another address");
        return ERR_IO;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    log_info("listening on http://%.*s:%u", (int)(strrchr(text, ':') - text), text, info ? info->port : 0U);
    notify("READY=1");
    return 0;
}

static void decide_one(struct server *s, struct request *q) {
    double waited_s = clock_seconds() - q->arrived_s;
    if (is_stopping(s))
        api_error(&q->reply, 503, "the server is about to end");
    else if (waited_s * 1e3 > (double)s->o.max_wait_ms)
        api_error(&q->reply, 503, "the request waited %.0f s, and %.0f are the limit", waited_s,
                  (double)s->o.max_wait_ms / 1e3);
    else if (q->body.failed)
        api_error(&q->reply, 500, "no memory for the request");
    else
        api_decide(s->runner, q->kind, str_text(&q->body), q->body.len, &q->reply);
    metrics_decided(&s->metrics, &q->reply);
    MHD_resume_connection(q->connection);
}

static int open_requests(struct server *s) {
    pthread_mutex_lock(&s->lock);
    int n = s->n_open;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Nobody new, an answer for everybody who waits, and time for the answers to leave. */
static void stop(struct server *s) {
    notify("STOPPING=1");
    MHD_socket listener = MHD_quiesce_daemon(s->daemon);
    if (listener != MHD_INVALID_SOCKET)
        close(listener);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    for (struct request *q; (q = queue_take(s, 0));)
        decide_one(s, q);
    for (int waited_ms = 0; open_requests(s) > 0 && waited_ms < LAST_ANSWERS_MS; waited_ms += 10)
        clock_sleep_ms(10);
    MHD_stop_daemon(s->daemon);
}

static void set_defaults(struct serve_options *o) {
    o->max_body_bytes = o->max_body_bytes > 0 ? o->max_body_bytes : 65536;
    o->max_queue = o->max_queue > 0 ? o->max_queue : 64;
    o->max_wait_ms = o->max_wait_ms > 0 ? o->max_wait_ms : 30000;
}

int serve(struct runner *r, const struct serve_options *o, struct err *e) {
    struct server s = {.runner = r, .o = *o};
    set_defaults(&s.o);
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.arrived, NULL);
    int rc = metrics_init(&s.metrics, &r->bundle, e);
    if (rc == 0)
        rc = start(&s, e);
    if (rc == 0) {
        while (!interrupt_requested()) {
            struct request *q = queue_take(&s, 200);
            if (q)
                decide_one(&s, q);
            else
                guard_watch(&r->watch);
        }
        stop(&s);
        log_info("stopped; %lld records were decided", (long long)s.metrics.n_decided);
    }
    metrics_release(&s.metrics);
    return rc;
}
