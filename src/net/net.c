/* Requests over one curl_multi handle.
 *
 *             submit            slot free, due              answer, or attempts used up
 *     (user) ───────▶ waiting ───────────────▶ under way ─────────────────────────────▶ done (user)
 *                        ▲                          │
 *                        └──────── pause ───────────┘  worth another attempt
 *
 * Invariants: a request is in exactly one list; `done` is called once, and after it the request is gone. The limit of requests
 * under way moves between 1 and options.parallel: halved by a 429 or 503 (once a round trip, not once for each of many
 * refusals that left together), raised by 1/limit with each answer. Callbacks run outside of libcurl, so they may submit. */
#include "net/net.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/str.h"
#include "net/sockets.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct transfer {
    struct transfer *next;
    struct net *net;
    struct net_request request; /* url, body, bearer are our copies */
    struct curl_slist *headers;
    CURL *easy; /* while under way */
    struct str answer;
    char curl_says[CURL_ERROR_SIZE];
    bool too_large;
    int attempts;
    double first_s, begin_s, not_before_s;
};

struct net {
    struct net_options options;
    CURLM *multi;
    struct sockets sockets; /* of multi */
    struct transfer *waiting, *active;
    int n_waiting, n_active;
    double limit, reduced_s, pause_until_s;
    double next_begin_s; /* by the limits of a minute */
    struct rng rng;
    bool draining;
    CURL *idle[8]; /* easy handles for reuse */
    int n_idle;
};

static int64_t or_default(int64_t value, int64_t fallback) {
    return value > 0 ? value : fallback;
}

int net_open(struct net **out, const struct net_options *o, struct err *e) {
    static bool ready;
    if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return err_set(e, ERR_NET, "net_open", "libcurl cannot be initialised");
    ready = true;
    struct net *n = calloc(1, sizeof *n);
    if (n)
        n->multi = curl_multi_init();
    int rc = n && n->multi ? sockets_open(&n->sockets, n->multi, e)
                           : err_set(e, ERR_NO_MEMORY, "net_open", "out of memory");
    if (rc < 0) {
        if (n)
            curl_multi_cleanup(n->multi);
        free(n);
        return rc;
    }
    n->options = (struct net_options){
        .parallel = (int)or_default(o->parallel, 8),
        .max_attempts = (int)or_default(o->max_attempts, 6),
        .connect_ms = or_default(o->connect_ms, 10 * 1000),
        .answer_ms = or_default(o->answer_ms, 300 * 1000),
        .deadline_ms = or_default(o->deadline_ms, 1800 * 1000),
        .backoff_ms = or_default(o->backoff_ms, 500),
        .backoff_max_ms = or_default(o->backoff_max_ms, 60 * 1000),
        .max_answer_bytes = or_default(o->max_answer_bytes, 16 << 20),
        .requests_per_minute = o->requests_per_minute,
        .tokens_per_minute = o->tokens_per_minute,
        .seed = o->seed,
        .direct = o->direct,
    };
    n->limit = n->options.parallel;
    rng_seed(&n->rng, o->seed);
    curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, (long)n->options.parallel);
    *out = n;
    return 0;
}

int net_pending(const struct net *n) {
    return n->n_waiting + n->n_active;
}

/* ---- one request's memory ---- */

static void transfer_free(struct transfer *t) {
    if (!t)
        return;
    curl_slist_free_all(t->headers);
    str_release(&t->answer);
    free((char *)t->request.url);
    free((char *)t->request.body);
    free((char *)t->request.bearer);
    free(t);
}

static bool copy_text(const char **to, const char *from) {
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static bool add_header(struct transfer *t, const char *text) {
    struct curl_slist *list = curl_slist_append(t->headers, text);
    if (list)
        t->headers = list;
    return list != NULL;
}

static bool make_headers(struct transfer *t) {
    if (t->request.body && (!add_header(t, "Content-Type: application/json") || !add_header(t, "Expect:")))
        return false;
    if (!t->request.bearer)
        return true;
    struct str line = {0};
    str_addf(&line, "Authorization: Bearer %s", t->request.bearer);
    bool ok = !line.failed && add_header(t, line.data);
    str_release(&line);
    return ok;
}

static void push(struct transfer **list, struct transfer *t) { /* at the end: first come, first served */
    while (*list)
        list = &(*list)->next;
    t->next = NULL;
    *list = t;
}

static void unlink_transfer(struct transfer **list, struct transfer *t) {
    while (*list != t)
        list = &(*list)->next;
    *list = t->next;
    t->next = NULL;
}

int net_submit(struct net *n, const struct net_request *r, struct err *e) {
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NO_MEMORY, "net_submit", "out of memory");
    t->net = n;
    t->request =
        (struct net_request){.tokens = r->tokens, .context = r->context, .again = r->again, .done = r->done};
    if (!copy_text(&t->request.url, r->url) || !copy_text(&t->request.body, r->body) ||
        !copy_text(&t->request.bearer, r->bearer) || !make_headers(t)) {
        transfer_free(t);
        return err_set(e, ERR_NO_MEMORY, "net_submit", "out of memory");
    }
    if (net_pending(n) == 0)
        n->draining = false;
    t->first_s = clock_seconds();
    push(&n->waiting, t);
    n->n_waiting++;
    return 0;
}

/* ---- one attempt ---- */

static size_t receive(char *bytes, size_t size, size_t n_items, void *context) {
    struct transfer *t = context;
    size_t n = size * n_items;
    if (t->answer.len + n > (size_t)t->net->options.max_answer_bytes) {
        t->too_large = true;
        return 0;
    }
    str_add_bytes(&t->answer, bytes, n);
    return t->answer.failed ? 0 : n;
}

static void configure(struct net *n, struct transfer *t) {
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_URL, t->request.url);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#endif
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "edgestill");
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)n->options.connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)n->options.answer_ms);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_says);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    if (n->options.direct)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (t->request.body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(t->request.body));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->request.body);
    }
}

static int begin_attempt(struct net *n, struct transfer *t, struct err *e) {
    t->easy = n->n_idle > 0 ? n->idle[--n->n_idle] : curl_easy_init();
    if (!t->easy)
        return err_set(e, ERR_NO_MEMORY, "net_step", "out of memory");
    configure(n, t);
    str_clear(&t->answer);
    t->curl_says[0] = 0;
    t->too_large = false;
    t->attempts++;
    t->begin_s = clock_seconds();
    CURLMcode rc = curl_multi_add_handle(n->multi, t->easy);
    if (rc != CURLM_OK) {
        curl_easy_cleanup(t->easy);
        t->easy = NULL;
        return err_set(e, ERR_NET, "net_step", "libcurl cannot begin a transfer: %s",
                       curl_multi_strerror(rc));
    }
    unlink_transfer(&n->waiting, t);
    push(&n->active, t);
    n->n_waiting--;
    n->n_active++;
    return 0;
}

static void end_attempt(struct net *n, struct transfer *t) {
    curl_multi_remove_handle(n->multi, t->easy);
    if (n->n_idle < (int)(sizeof n->idle / sizeof *n->idle)) {
        curl_easy_reset(t->easy);
        n->idle[n->n_idle++] = t->easy;
    } else {
        curl_easy_cleanup(t->easy);
    }
    t->easy = NULL;
    unlink_transfer(&n->active, t);
    n->n_active--;
}

/* ---- what came of it ---- */

struct outcome {
    struct net_answer answer;
    bool retry;
    double retry_after_s;
    char problem[CURL_ERROR_SIZE + 128];
};

static int status_code(int status) {
    if (status >= 200 && status < 300)
        return 0;
    if (status == 401 || status == 403)
        return ERR_AUTH;
    if (status >= 400 && status < 500 && status != 408 && status != 425 && status != 429)
        return ERR_INPUT;
    return ERR_NET;
}

static bool worth_again(int status) {
    static const int statuses[] = {408, 425, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (status == statuses[i])
            return true;
    return false;
}

static void judge_http(struct transfer *t, int status, struct outcome *o) {
    o->answer.code = status_code(status);
    o->answer.status = status;
    o->answer.body = str_text(&t->answer);
    o->answer.body_len = t->answer.len;
    o->retry = worth_again(status);
    curl_off_t after = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after);
    o->retry_after_s = (double)after;
    char *location = NULL;
    if (status >= 300 && status < 400)
        curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &location);
    if (location)
        snprintf(o->problem, sizeof o->problem, "HTTP %d: the endpoint has moved to %.200s", status,
                 location);
    else if (o->answer.code < 0)
        snprintf(o->problem, sizeof o->problem, "HTTP %d", status);
}

/* No usable HTTP answer. Whether the server can have worked on the request decides if it counts as in doubt. */
static void judge_failure(struct net *n, struct transfer *t, CURLcode rc, struct outcome *o) {
    const char *text = t->curl_says[0] ? t->curl_says : curl_easy_strerror(rc);
    o->answer.code = ERR_NET;
    long sent_bytes = 0; /* newer libcurls set the connect times of a refused connection too */
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
    o->answer.maybe_received = sent_bytes > 0;
    if (t->too_large) {
        snprintf(o->problem, sizeof o->problem, "the answer is larger than %lld bytes",
                 (long long)n->options.max_answer_bytes);
        return;
    }
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
        o->retry = true;
        break;
    default: /* a bad address, a bad certificate, something that is no HTTP: another attempt would end the same */
        break;
    }
    snprintf(o->problem, sizeof o->problem, "%s", text);
}

static void judge(struct net *n, struct transfer *t, CURLcode rc, struct outcome *o) {
    *o = (struct outcome){
        .answer = {.body = "", .attempts = t->attempts, .seconds = clock_seconds() - t->begin_s}};
    o->answer.problem = o->problem;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_OK && status > 0)
        judge_http(t, (int)status, o);
    else
        judge_failure(n, t, rc, o);
}

static void finish(struct transfer *t, const struct net_answer *a) {
    t->request.done(t->request.context, a);
    transfer_free(t);
}

static void adapt(struct net *n, const struct transfer *t, const struct outcome *o, double now) {
    if (o->answer.status == 429 || o->answer.status == 503) {
        if (t->begin_s >= n->reduced_s) {
            n->limit = n->limit / 2 < 1 ? 1 : n->limit / 2;
            n->reduced_s = now;
        }
        if (o->retry_after_s > 0 && now + o->retry_after_s > n->pause_until_s)
            n->pause_until_s = now + o->retry_after_s;
    } else if (o->answer.code == 0 && n->limit < n->options.parallel) {
        n->limit += 1 / n->limit;
    }
}

/* The pause before the next attempt: doubled each time, anywhere between half and all of it, at least what the server asks. */
static double pause_before(struct net *n, const struct transfer *t, const struct outcome *o) {
    double pause = (double)n->options.backoff_ms / 1000, most = (double)n->options.backoff_max_ms / 1000;
    for (int i = 1; i < t->attempts && pause < most; i++)
        pause *= 2;
    if (pause > most)
        pause = most;
    pause *= 0.5 + 0.5 * rng_double(&n->rng);
    return o->retry_after_s > pause ? o->retry_after_s : pause;
}

static void take_result(struct net *n, struct transfer *t, CURLcode rc) {
    struct outcome o;
    judge(n, t, rc, &o);
    double now = clock_seconds();
    adapt(n, t, &o, now);
    end_attempt(n, t);
    double next_s = now + pause_before(n, t, &o), end_s = t->first_s + (double)n->options.deadline_ms / 1000;
    bool again = o.retry && !n->draining && t->attempts < n->options.max_attempts && next_s < end_s;
    if (again && t->request.again) {
        int code = t->request.again(t->request.context, &o.answer);
        if (code < 0) {
            o.answer.code = code;
            again = false;
        }
    }
    if (!again) {
        finish(t, &o.answer);
        return;
    }
    t->not_before_s = next_s;
    push(&n->waiting, t);
    n->n_waiting++;
}

/* ---- the loop ---- */

/* After a request has begun: when the next one may, so that a minute never has more than its requests and tokens. Time that
 * was not used is not saved up: servers count over a window of their own. */
static void pace(struct net *n, const struct transfer *t, double now) {
    double gap = 0;
    if (n->options.requests_per_minute > 0)
        gap = 60.0 / n->options.requests_per_minute;
    if (n->options.tokens_per_minute > 0)
        gap = fmax(gap, 60.0 * (double)t->request.tokens / (double)n->options.tokens_per_minute);
    n->next_begin_s =
        fmax(n->next_begin_s + gap, now + gap - 0.05); /* a late step is made up for, a long pause is not */
}

static int send_due(struct net *n, double *next_s, struct err *e) {
    double now = clock_seconds();
    int room = (int)n->limit - n->n_active;
    *next_s = now + 3600;
    if (now < n->pause_until_s) {
        *next_s = n->pause_until_s;
        return 0;
    }
    for (struct transfer *t = n->waiting, *following; t && room > 0; t = following) {
        following = t->next;
        if (t->not_before_s > now) {
            if (t->not_before_s < *next_s)
                *next_s = t->not_before_s;
            continue;
        }
        if (n->next_begin_s > now) {
            *next_s = fmin(*next_s, n->next_begin_s);
            return 0;
        }
        int rc = begin_attempt(n, t, e);
        if (rc < 0)
            return rc;
        pace(n, t, now);
        room--;
    }
    return 0;
}

static void receive_all(struct net *n) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(n->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode rc = message->data.result;
        struct transfer *t = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        take_result(n, t, rc);
    }
}

int net_step(struct net *n, int64_t wait_ms, struct err *e) {
    double next_s;
    int rc = send_due(n, &next_s, e);
    if (rc < 0)
        return rc;
    double until_next_ms = ceil((next_s - clock_seconds()) * 1000);
    if (until_next_ms < (double)wait_ms)
        wait_ms = until_next_ms < 1 ? 1 : (int64_t)until_next_ms;
    rc = sockets_step(&n->sockets, n->n_active > 0 || n->n_waiting > 0 ? wait_ms : 0, e);
    if (rc == 0)
        receive_all(n);
    return rc;
}

static void end_waiting(struct net *n) {
    static const char why[] = "stopped before it was sent";
    while (n->waiting) {
        struct transfer *t = n->waiting;
        unlink_transfer(&n->waiting, t);
        n->n_waiting--;
        struct net_answer a = {.code = ERR_INTERRUPTED, .body = "", .attempts = t->attempts, .problem = why};
        finish(t, &a);
    }
}

void net_drain(struct net *n) {
    n->draining = true;
    end_waiting(n);
}

void net_abort(struct net *n) {
    net_drain(n);
    while (n->active) {
        struct transfer *t = n->active;
        struct net_answer a = {.code = ERR_INTERRUPTED,
                               .maybe_received = true,
                               .body = "",
                               .attempts = t->attempts,
                               .seconds = clock_seconds() - t->begin_s,
                               .problem = "stopped while under way"};
        end_attempt(n, t);
        finish(t, &a);
    }
    n->draining = false;
}

void net_close(struct net *n) {
    if (!n)
        return;
    while (n->active) {
        struct transfer *t = n->active;
        end_attempt(n, t);
        transfer_free(t);
    }
    while (n->waiting) {
        struct transfer *t = n->waiting;
        unlink_transfer(&n->waiting, t);
        transfer_free(t);
    }
    for (int i = 0; i < n->n_idle; i++)
        curl_easy_cleanup(n->idle[i]);
    curl_multi_cleanup(n->multi);
    sockets_close(&n->sockets);
    free(n);
}
