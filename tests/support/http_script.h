/* A small HTTP server on loopback for tests: threads of the test program, one handler, faults on request. It counts what it
 * served, which is how tests know that nothing was asked twice.
 *
 *     static void serve(void *context, const struct http_asked *q, struct http_reply *r) {
 *         r->status = 200;
 *         str_addf(&r->body, "{\"n\":%lld}", (long long)q->number);
 *     }
 *     struct http_script *s = http_script_start(serve, NULL);
 *     ... "http://127.0.0.1:%d/", http_script_port(s) ...
 *     http_script_stop(s);
 */
#ifndef TESTS_HTTP_SCRIPT_H
#define TESTS_HTTP_SCRIPT_H

#include "base/str.h"
#include <stddef.h>
#include <stdint.h>

struct http_asked {
    int64_t number;     /* of this request since the start, from 1; connections that broke count too */
    const char *method; /* "POST" */
    const char *path;
    const char *authorization; /* value of the header; "" */
    const char *body;
    const char *head; /* request line and headers, as they came */
};

/* The value of a header of the request ("Range") into out[n]; "" where it has none. Returns out. */
const char *http_asked_header(const struct http_asked *q, const char *name, char *out, size_t n);

enum http_how {
    HTTP_WHOLE,
    HTTP_RESET /* no answer */,
    HTTP_HALF /* half of the body, then gone */,
    HTTP_STALL
};

struct http_reply {
    int status; /* 0: 200 */
    struct str body;
    const char *content_type; /* NULL: application/json */
    const char *header;       /* more of them, "Retry-After: 1\r\nETag: …"; NULL: none */
    int delay_ms;
    enum http_how how;
};

typedef void http_serve(void *context, const struct http_asked *q,
                        struct http_reply *r); /* called from many threads */

struct http_script;
struct http_script *http_script_start(http_serve *serve, void *context); /* NULL on failure */
void http_script_stop(struct http_script *s);
int http_script_port(const struct http_script *s);
int64_t http_script_served(const struct http_script *s);   /* whole answers sent */
int http_script_connections(const struct http_script *s);  /* accepted so far */
int http_script_most_at_once(const struct http_script *s); /* requests under way at the same time, at most */

#endif
