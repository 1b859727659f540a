/* Many HTTP requests at once in one thread. The only folder that knows libcurl.
 *
 *     struct net *n;
 *     net_open(&n, &(struct net_options){.parallel = 8}, &e);
 *     net_submit(n, &(struct net_request){.url = url, .body = json, .bearer = key, .context = me, .done = take}, &e);
 *     while (net_pending(n) > 0)
 *         if (net_step(n, 100, &e) < 0) break;      // calls take() for each answer
 *     net_close(n);
 *
 * A request is tried again, after a jittered exponential pause or as long as Retry-After asks, when the connection could not be
 * made, broke or timed out, and on 408, 425, 429, 500, 502, 503, 504; anything else is its answer at once. On 429 and 503 fewer
 * requests are kept under way (halved, then regained one by one), so a low limit is found without configuration.
 *
 * Redirects are not followed (a key must not travel to another host), certificates are checked, connections are kept. Credentials
 * never appear in a message. Functions return 0 or a negative err_code; texts of an answer are borrowed until `done` returns. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net;

struct net_options {           /* zero: the default in brackets */
    int parallel;              /* most requests under way [8] */
    int max_attempts;          /* of one request [6] */
    int64_t connect_ms;        /* to make a connection [10 s] */
    int64_t answer_ms;         /* one attempt, whole [300 s] */
    int64_t deadline_ms;       /* all attempts and pauses [1,800 s] */
    int64_t backoff_ms;        /* first pause [500 ms], doubled each time */
    int64_t backoff_max_ms;    /* [60 s]; Retry-After may ask for more, up to the deadline */
    int64_t max_answer_bytes;  /* [16 MiB] */
    int requests_per_minute;   /* begun evenly; 0: no limit but what 429 teaches */
    int64_t tokens_per_minute; /* of net_request.tokens; 0: no limit */
    uint64_t seed;             /* of the jitter */
    bool direct;               /* never through a proxy: for loopback */
};

struct net_answer {
    int code; /* 0: status 200 to 299; ERR_NET, ERR_AUTH (401, 403), ERR_INPUT (other 4xx), ERR_INTERRUPTED */
    int status; /* HTTP; 0: no answer came */
    /* no answer, yet the server may have had the request: it may have been worked on and billed */
    bool maybe_received;
    const char *body; /* never NULL, NUL-terminated */
    size_t body_len;
    int attempts;
    double seconds;      /* the last attempt */
    const char *problem; /* one line, "" when there is none */
};

struct net_request {
    const char *url;    /* this and the next two are copied */
    const char *body;   /* JSON to POST; NULL: GET */
    const char *bearer; /* key; NULL: none */
    int64_t tokens;     /* what it may take of tokens_per_minute */
    void *context;
    /* Before each attempt after the first, with what came of the one before; NULL: always. A negative return ends the request
     * with that code. */
    int (*again)(void *context, const struct net_answer *last);
    /* Exactly once. May submit further requests. */
    void (*done)(void *context, const struct net_answer *a);
};

int net_open(struct net **out, const struct net_options *o, struct err *e);
void net_close(struct net *n); /* NULL is fine; requests under way are dropped without `done` */

int net_submit(struct net *n, const struct net_request *r, struct err *e);
int net_pending(const struct net *n); /* submitted and not done */

/* Sends what is due, receives what is there, waits at most wait_ms for something to happen. */
int net_step(struct net *n, int64_t wait_ms, struct err *e);

/* No new attempts until all is done: requests that are not under way are done with ERR_INTERRUPTED, the others run to their end. */
void net_drain(struct net *n);
/* Ends everything now, with ERR_INTERRUPTED. */
void net_abort(struct net *n);

#endif
