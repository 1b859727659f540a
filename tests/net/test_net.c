/* Requests against a scripted server: many at once, faults, retries, limits, secrets. */
#include "../support/http_script.h"
#include "base/clock.h"
#include "net/net.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    int n, last_code, last_status, last_attempts;
    int again, again_doubt, refuse_again;
    bool maybe_received;
    char body[256], problem[256];
};

static void take(void *context, const struct net_answer *a) {
    struct seen *s = context;
    s->n++;
    s->last_code = a->code;
    s->last_status = a->status;
    s->last_attempts = a->attempts;
    s->maybe_received = a->maybe_received;
    snprintf(s->body, sizeof s->body, "%s", a->body);
    snprintf(s->problem, sizeof s->problem, "%s", a->problem);
}

static int before_again(void *context, const struct net_answer *last) {
    struct seen *s = context;
    s->again++;
    s->again_doubt += last->maybe_received;
    return s->refuse_again ? ERR_BUDGET : 0;
}

static void run(struct net *n) {
    while (net_pending(n) > 0)
        assert_int_equal(net_step(n, 1000, NULL), 0);
}

static void url_of(const struct http_script *s, char out[64]) {
    snprintf(out, 64, "http://127.0.0.1:%d/x", http_script_port(s));
}

/* Asks once, with fast retries. */
static struct seen ask(http_serve *serve, void *context, struct net_options o) {
    struct seen seen = {0};
    char url[64];
    struct http_script *s = http_script_start(serve, context);
    struct net *n = NULL;
    o.direct = true;
    o.backoff_ms = o.backoff_ms ? o.backoff_ms : 1;
    assert_int_equal(net_open(&n, &o, NULL), 0);
    url_of(s, url);
    struct net_request r = {.url = url,
                            .body = "{\"q\":1}",
                            .bearer = "sesame",
                            .context = &seen,
                            .again = before_again,
                            .done = take};
    assert_int_equal(net_submit(n, &r, NULL), 0);
    run(n);
    net_close(n);
    http_script_stop(s);
    assert_int_equal(seen.n, 1);
    return seen;
}

static void echo(void *context, const struct http_asked *q, struct http_reply *r) {
    (void)context;
    str_addf(&r->body, "%s %s %s %s", q->method, q->path, q->authorization, q->body);
}

static void a_request_arrives_and_its_answer_comes_back(void **state) {
    (void)state;
    struct seen s = ask(echo, NULL, (struct net_options){0});
    assert_int_equal(s.last_code, 0);
    assert_int_equal(s.last_status, 200);
    assert_int_equal(s.last_attempts, 1);
    assert_string_equal(s.body, "POST /x Bearer sesame {\"q\":1}");
}

struct faults {
    struct http_reply replies[4];
    int n;
};

/* The planned replies first, then 200. */
static void faulty(void *context, const struct http_asked *q, struct http_reply *r) {
    const struct faults *f = context;
    if (q->number <= f->n)
        *r = f->replies[q->number - 1];
    str_add(&r->body, q->number <= f->n ? "{\"error\":\"planned\"}" : "fine");
}

static void passing_faults_are_asked_again(void **state) {
    (void)state;
    static const int statuses[] = {408, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct faults f = {.replies = {{.status = statuses[i]}, {.status = statuses[i]}}, .n = 2};
        struct seen s = ask(faulty, &f, (struct net_options){0});
        assert_int_equal(s.last_code, 0);
        assert_int_equal(s.last_attempts, 3);
        assert_int_equal(s.again, 2);
        assert_int_equal(s.again_doubt, 0);
        assert_string_equal(s.body, "fine");
    }
}

static void broken_connections_are_in_doubt_and_asked_again(void **state) {
    (void)state;
    static const enum http_how ways[] = {HTTP_RESET, HTTP_HALF, HTTP_STALL};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct faults f = {.replies = {{.how = ways[i]}}, .n = 1};
        struct seen s = ask(faulty, &f, (struct net_options){.answer_ms = 150});
        assert_int_equal(s.last_code, 0);
        assert_int_equal(s.again_doubt, 1);
        assert_string_equal(s.body, "fine");
    }
}

static void final_answers_are_not_asked_again(void **state) {
    (void)state;
    static const int cases[][2] = {{400, ERR_INPUT}, {401, ERR_AUTH},  {403, ERR_AUTH},
                                   {404, ERR_INPUT}, {422, ERR_INPUT}, {301, ERR_NET}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct faults f = {
            .replies = {{.status = cases[i][0], .header = "Location: http://127.0.0.1:1/else"}}, .n = 1};
        struct seen s = ask(faulty, &f, (struct net_options){0});
        assert_int_equal(s.last_code, cases[i][1]);
        assert_int_equal(s.last_status, cases[i][0]);
        assert_int_equal(s.last_attempts, 1);
        assert_string_equal(s.body, "{\"error\":\"planned\"}");
        if (cases[i][0] == 301)
            assert_non_null(strstr(s.problem, "http://127.0.0.1:1/else"));
    }
}

static void attempts_end(void **state) {
    (void)state;
    struct faults f = {.replies = {{.status = 500}, {.status = 500}, {.status = 500}}, .n = 3};
    struct seen s = ask(faulty, &f, (struct net_options){.max_attempts = 3});
    assert_int_equal(s.last_code, ERR_NET);
    assert_int_equal(s.last_status, 500);
    assert_int_equal(s.last_attempts, 3);
}

static void retry_after_is_obeyed_and_the_deadline_holds(void **state) {
    (void)state;
    struct faults f = {.replies = {{.status = 429, .header = "Retry-After: 1"}}, .n = 1};
    double begin = clock_seconds();
    struct seen s = ask(faulty, &f, (struct net_options){0});
    assert_int_equal(s.last_code, 0);
    assert_true(clock_seconds() - begin >= 1.0); /* a lower bound, not a timing */
    f.replies[0].header = "Retry-After: 3600";
    s = ask(faulty, &f, (struct net_options){.deadline_ms = 2000});
    assert_int_equal(s.last_code, ERR_NET);
    assert_int_equal(s.last_status, 429);
}

static void the_owner_may_forbid_another_attempt(void **state) {
    (void)state;
    struct faults f = {.replies = {{.status = 500}}, .n = 1};
    struct http_script *server = http_script_start(faulty, &f);
    struct seen s = {.refuse_again = 1};
    char url[64];
    struct net *n = NULL;
    assert_int_equal(net_open(&n, &(struct net_options){.direct = true, .backoff_ms = 1}, NULL), 0);
    url_of(server, url);
    struct net_request r = {.url = url, .context = &s, .again = before_again, .done = take};
    assert_int_equal(net_submit(n, &r, NULL), 0);
    run(n);
    assert_int_equal(s.last_code, ERR_BUDGET);
    assert_int_equal(http_script_served(server), 1);
    net_close(n);
    http_script_stop(server);
}

static void nobody_listens(void **state) {
    (void)state;
    struct http_script *server = http_script_start(echo, NULL);
    char url[64];
    url_of(server, url);
    http_script_stop(server);
    struct seen s = {0};
    struct net *n = NULL;
    assert_int_equal(
        net_open(&n, &(struct net_options){.direct = true, .backoff_ms = 1, .max_attempts = 2}, NULL), 0);
    struct net_request r = {.url = url, .bearer = "sesame", .context = &s, .done = take};
    assert_int_equal(net_submit(n, &r, NULL), 0);
    run(n);
    assert_int_equal(s.last_code, ERR_NET);
    assert_int_equal(s.last_attempts, 2);
    assert_false(s.maybe_received);
    assert_true(s.problem[0] != 0);
    assert_null(strstr(s.problem, "sesame"));
    r.url = "ftp://127.0.0.1/x";
    assert_int_equal(net_submit(n, &r, NULL), 0);
    run(n);
    assert_int_equal(s.last_code, ERR_NET);
    assert_int_equal(s.last_attempts, 1);
    net_close(n);
}

static void huge(void *context, const struct http_asked *q, struct http_reply *r) {
    (void)context;
    (void)q;
    for (int i = 0; i < 3000; i++)
        str_add(&r->body, "0123456789");
}

static void a_huge_answer_is_cut_off(void **state) {
    (void)state;
    struct seen s = ask(huge, NULL, (struct net_options){.max_answer_bytes = 10000});
    assert_int_equal(s.last_code, ERR_NET);
    assert_int_equal(s.last_attempts, 1);
    assert_true(s.maybe_received);
    assert_non_null(strstr(s.problem, "larger"));
    s = ask(huge, NULL, (struct net_options){.max_answer_bytes = 30000});
    assert_int_equal(s.last_code, 0);
}

/* ---- encodings, proxies ---- */

/* {"packed":true} by gzip and by zlib; 30,000 times "0" by gzip. */
static const unsigned char gzipped[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
                                        0x03, 0xab, 0x56, 0x2a, 0x48, 0x4c, 0xce, 0x4e, 0x4d,
                                        0x51, 0xb2, 0x2a, 0x29, 0x2a, 0x4d, 0xad, 0x05, 0x00,
                                        0x89, 0xe0, 0xb5, 0xdc, 0x0f, 0x00, 0x00, 0x00};
static const unsigned char deflated[] = {0x78, 0x9c, 0xab, 0x56, 0x2a, 0x48, 0x4c, 0xce,
                                         0x4e, 0x4d, 0x51, 0xb2, 0x2a, 0x29, 0x2a, 0x4d,
                                         0xad, 0x05, 0x00, 0x2b, 0x74, 0x05, 0x9f};
static const unsigned char bomb[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed, 0xc1, 0x31, 0x01, 0x00, 0x00, 0x00,
    0xc2, 0xa0, 0x4a, 0xeb, 0x9f, 0xce, 0x12, 0x9e, 0x40, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x7c, 0x0c, 0x52, 0x2e, 0x94, 0x6f, 0x30, 0x75, 0x00, 0x00};

struct coded {
    const void *bytes;
    size_t n;
    const char *header;
};

static void coded(void *context, const struct http_asked *q, struct http_reply *r) {
    const struct coded *c = context;
    (void)q;
    str_add_bytes(&r->body, c->bytes, c->n);
    r->header = c->header;
}

static void answers_come_in_any_encoding(void **state) {
    (void)state;
    static const char chunks[] = "9\r\n{\"packed\"\r\n6\r\n:true}\r\n0\r\n\r\n";
    struct coded cases[] = {{gzipped, sizeof gzipped, "Content-Encoding: gzip"},
                            {deflated, sizeof deflated, "Content-Encoding: deflate"},
                            {chunks, sizeof chunks - 1, "Transfer-Encoding: chunked"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = ask(coded, &cases[i], (struct net_options){0});
        assert_int_equal(s.last_code, 0);
        assert_string_equal(s.body, "{\"packed\":true}");
    }
    struct coded large = {bomb, sizeof bomb,
                          "Content-Encoding: gzip"}; /* its size is that of what comes out */
    struct seen s = ask(coded, &large, (struct net_options){.max_answer_bytes = 10000});
    assert_int_equal(s.last_code, ERR_NET);
    assert_non_null(strstr(s.problem, "larger"));
    struct coded wrong = {"{}", 2, "Content-Encoding: gzip"};
    s = ask(coded, &wrong, (struct net_options){0});
    assert_int_equal(s.last_code, ERR_NET);
    assert_true(s.maybe_received);
}

static struct seen ask_url(const char *url, bool direct) {
    struct seen seen = {0};
    struct net *n = NULL;
    assert_int_equal(net_open(&n, &(struct net_options){.direct = direct, .max_attempts = 1}, NULL), 0);
    struct net_request r = {.url = url, .body = "{}", .bearer = "sesame", .context = &seen, .done = take};
    assert_int_equal(net_submit(n, &r, NULL), 0);
    run(n);
    net_close(n);
    return seen;
}

/* The proxy is asked for the whole address; no_proxy and `direct` go past it. */
static void proxies_are_used_where_they_are_named(void **state) {
    (void)state;
    struct http_script *proxy = http_script_start(echo, NULL), *here = http_script_start(echo, NULL);
    char url[64], address[64];
    url_of(here, url);
    snprintf(address, sizeof address, "http://127.0.0.1:%d", http_script_port(proxy));
    setenv("http_proxy", address, 1);
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    struct seen s = ask_url("http://teacher.invalid/v1/chat", false);
    assert_int_equal(s.last_code, 0);
    assert_string_equal(s.body, "POST http://teacher.invalid/v1/chat Bearer sesame {}");
    assert_int_equal(ask_url(url, false).last_code, 0);
    assert_int_equal(http_script_served(proxy), 2);
    assert_int_equal(ask_url(url, true).last_code, 0);
    setenv("no_proxy", "127.0.0.1", 1);
    assert_int_equal(ask_url(url, false).last_code, 0);
    assert_int_equal(http_script_served(proxy), 2);
    assert_int_equal(http_script_served(here), 2);
    unsetenv("http_proxy");
    unsetenv("no_proxy");
    http_script_stop(proxy);
    http_script_stop(here);
}

/* A key does not travel: the place that a redirect names is not even connected to. */
static void a_redirect_is_not_followed(void **state) {
    (void)state;
    struct http_script *other = http_script_start(echo, NULL);
    char header[96];
    snprintf(header, sizeof header, "Location: http://127.0.0.1:%d/x", http_script_port(other));
    for (int status = 301; status <= 308; status += status == 303 ? 4 : 1) {
        struct faults f = {.replies = {{.status = status, .header = header}}, .n = 1};
        assert_int_equal(ask(faulty, &f, (struct net_options){0}).last_status, status);
    }
    assert_int_equal(http_script_connections(other), 0);
    http_script_stop(other);
}

static void slow(void *context, const struct http_asked *q, struct http_reply *r) {
    (void)context;
    usleep(20 * 1000);
    str_addf(&r->body, "%lld", (long long)q->number);
}

static void many_at_once_over_few_connections(void **state) {
    (void)state;
    struct http_script *server = http_script_start(slow, NULL);
    struct seen s = {0};
    char url[64];
    struct net *n = NULL;
    assert_int_equal(net_open(&n, &(struct net_options){.direct = true, .parallel = 6}, NULL), 0);
    url_of(server, url);
    for (int i = 0; i < 60; i++)
        assert_int_equal(net_submit(n, &(struct net_request){.url = url, .context = &s, .done = take}, NULL),
                         0);
    assert_int_equal(net_pending(n), 60);
    run(n);
    assert_int_equal(s.n, 60);
    assert_int_equal(http_script_served(server), 60);
    assert_true(http_script_most_at_once(server) <= 6);
    assert_true(http_script_most_at_once(server) >= 2);
    assert_true(http_script_connections(server) <= 6);
    net_close(n);
    http_script_stop(server);
}

/* Refuses what comes beyond two at a time, as a low rate tier does. */
static void picky(void *context, const struct http_asked *q, struct http_reply *r) {
    _Atomic int *active = context;
    (void)q;
    if (++*active > 2)
        r->status = 429;
    else
        usleep(5000);
    --*active;
}

/* Seconds that six requests of 100 tokens take, sixteen at once allowed. */
static double seconds_of_six(struct net_options o) {
    struct faults none = {.n = 0};
    struct http_script *server = http_script_start(faulty, &none);
    struct seen s = {0};
    char url[64];
    struct net *n = NULL;
    o.direct = true;
    o.parallel = 16;
    assert_int_equal(net_open(&n, &o, NULL), 0);
    url_of(server, url);
    for (int i = 0; i < 6; i++)
        assert_int_equal(
            net_submit(n, &(struct net_request){.url = url, .tokens = 100, .context = &s, .done = take},
                       NULL),
            0);
    double start_s = clock_seconds();
    run(n);
    double seconds = clock_seconds() - start_s;
    assert_int_equal(s.n, 6);
    net_close(n);
    http_script_stop(server);
    return seconds;
}

/* Whichever of the two allows less: five gaps of 100 ms less the first one's slack of 50, however slow the machine is. */
static void limits_by_the_minute_are_kept(void **state) {
    (void)state;
    assert_true(seconds_of_six((struct net_options){.requests_per_minute = 600}) >= 0.4);
    assert_true(seconds_of_six((struct net_options){.tokens_per_minute = 60000}) >= 0.4);
    assert_true(seconds_of_six(
                    (struct net_options){.requests_per_minute = 100000, .tokens_per_minute = 60000}) >= 0.4);
}

static void a_low_limit_is_found(void **state) {
    (void)state;
    _Atomic int active = 0;
    struct http_script *server = http_script_start(picky, &active);
    struct seen s = {0};
    char url[64];
    struct net *n = NULL;
    struct net_options o = {.direct = true, .parallel = 16, .backoff_ms = 5, .max_attempts = 50};
    assert_int_equal(net_open(&n, &o, NULL), 0);
    url_of(server, url);
    for (int i = 0; i < 80; i++)
        assert_int_equal(net_submit(n, &(struct net_request){.url = url, .context = &s, .done = take}, NULL),
                         0);
    run(n);
    assert_int_equal(s.n, 80);
    assert_int_equal(s.last_code, 0);
    net_close(n);
    http_script_stop(server);
}

static void draining_lets_what_is_under_way_finish(void **state) {
    (void)state;
    struct http_script *server = http_script_start(slow, NULL);
    struct seen s = {0}, later = {0};
    char url[64];
    struct net *n = NULL;
    assert_int_equal(net_open(&n, &(struct net_options){.direct = true, .parallel = 1}, NULL), 0);
    url_of(server, url);
    assert_int_equal(net_submit(n, &(struct net_request){.url = url, .context = &s, .done = take}, NULL), 0);
    assert_int_equal(net_submit(n, &(struct net_request){.url = url, .context = &later, .done = take}, NULL),
                     0);
    assert_int_equal(net_step(n, 1, NULL), 0);
    net_drain(n);
    assert_int_equal(later.n, 1);
    assert_int_equal(later.last_code, ERR_INTERRUPTED);
    run(n);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.last_code, 0);
    assert_int_equal(net_submit(n, &(struct net_request){.url = url, .context = &s, .done = take}, NULL), 0);
    assert_int_equal(net_step(n, 1, NULL), 0);
    net_abort(n);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.last_code, ERR_INTERRUPTED);
    assert_true(s.maybe_received);
    net_close(n);
    http_script_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_arrives_and_its_answer_comes_back),
        cmocka_unit_test(passing_faults_are_asked_again),
        cmocka_unit_test(broken_connections_are_in_doubt_and_asked_again),
        cmocka_unit_test(final_answers_are_not_asked_again),
        cmocka_unit_test(attempts_end),
        cmocka_unit_test(retry_after_is_obeyed_and_the_deadline_holds),
        cmocka_unit_test(the_owner_may_forbid_another_attempt),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_huge_answer_is_cut_off),
        cmocka_unit_test(answers_come_in_any_encoding),
        cmocka_unit_test(proxies_are_used_where_they_are_named),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(many_at_once_over_few_connections),
        cmocka_unit_test(limits_by_the_minute_are_kept),
        cmocka_unit_test(a_low_limit_is_found),
        cmocka_unit_test(draining_lets_what_is_under_way_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
