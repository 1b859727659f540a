/* Downloads from a scripted server that knows ranges: whole, broken off, killed, changed, damaged, refused, redirected. The
 * server counts the bytes that it was asked for, which is how the tests know that nothing was fetched twice. */
#include "../support/http_script.h"
#include "../support/scratch.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "net/download.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 300000 };

struct shop {
    char bytes[SIZE];
    const char *etag;      /* with quotes; NULL: none */
    atomic_bool no_ranges; /* answers 200 whatever is asked */
    atomic_int n_halves;   /* of the answers to come break off in the middle */
    atomic_int n_busy;     /* of them are 503 */
    bool slow_half;        /* sends half, then nothing */
    const char *moved;     /* redirect /old to this */
    atomic_llong offered_bytes;
    atomic_int n_ranges, n_keys;
    char sha256[SHA256_HEX];
};

static void serve_file(struct shop *s, const struct http_asked *q, struct http_reply *r) {
    static char header[4][256];
    char range[64], if_range[64];
    long long from = 0;
    char *text = header[q->number % 4];
    http_asked_header(q, "Range", range, sizeof range);
    http_asked_header(q, "If-Range", if_range, sizeof if_range);
    bool part = !s->no_ranges && sscanf(range, "bytes=%lld-", &from) == 1 && s->etag != NULL &&
                strcmp(if_range, s->etag) == 0;
    s->n_ranges += part;
    from = part ? from : 0;
    r->status = part ? 206 : 200;
    snprintf(text, sizeof header[0], "Accept-Ranges: bytes%s%s", s->etag ? "\r\nETag: " : "",
             s->etag ? s->etag : "");
    if (part)
        snprintf(text + strlen(text), sizeof header[0] - strlen(text), "\r\nContent-Range: bytes %lld-%d/%d",
                 from, SIZE - 1, SIZE);
    r->header = text;
    r->content_type = "application/octet-stream";
    str_add_bytes(&r->body, s->bytes + from, (size_t)(SIZE - from));
    bool half = s->n_halves > 0;
    s->n_halves -= half;
    r->how = half ? HTTP_HALF : HTTP_WHOLE;
    s->offered_bytes += half ? (SIZE - from) / 2 : SIZE - from;
}

static void serve(void *context, const struct http_asked *q, struct http_reply *r) {
    struct shop *s = context;
    static char location[256];
    s->n_keys += strcmp(q->authorization, "Bearer secret") == 0;
    if (strcmp(q->path, "/old") == 0) {
        snprintf(location, sizeof location, "Location: %s\r\nX-Linked-ETag: \"%s\"", s->moved, s->sha256);
        r->status = 302;
        r->header = location;
    } else if (strcmp(q->path, "/gone") == 0) {
        r->status = 404;
    } else if (strcmp(q->path, "/private") == 0) {
        r->status = 403;
    } else if (s->n_busy > 0) {
        s->n_busy--;
        r->status = 503;
    } else {
        serve_file(s, q, r);
    }
}

static struct shop *open_shop(void) {
    struct shop *s = calloc(1, sizeof *s);
    assert_non_null(s);
    for (int i = 0; i < SIZE; i++)
        s->bytes[i] = (char)(i * 31 + i / 251);
    s->etag = "\"one\"";
    sha256_bytes(s->bytes, SIZE, s->sha256);
    return s;
}

struct visit {
    struct http_script *server;
    struct shop *shop;
    char url[128], path[64];
    struct net_downloaded got;
    struct err e;
};

static void begin(struct visit *v, const char *path) {
    *v = (struct visit){.shop = open_shop()};
    v->server = http_script_start(serve, v->shop);
    assert_non_null(v->server);
    snprintf(v->url, sizeof v->url, "http://127.0.0.1:%d%s", http_script_port(v->server), path);
    snprintf(v->path, sizeof v->path, "base.gguf");
}

static void end(struct visit *v) {
    http_script_stop(v->server);
    free(v->shop);
    unlink(v->path);
    unlink("base.gguf.part");
    unlink("base.gguf.part.json");
}

static int fetch(struct visit *v, const char *sha256, const char *key) {
    v->e = (struct err){0};
    return net_download(&(struct net_download){.url = v->url,
                                               .path = v->path,
                                               .sha256 = sha256,
                                               .bearer = key,
                                               .max_attempts = 3,
                                               .backoff_ms = 1,
                                               .stall_ms = 2000},
                        &v->got, &v->e);
}

static void assert_whole(const struct visit *v) {
    char hex[SHA256_HEX];
    assert_int_equal(file_size(v->path), SIZE);
    assert_int_equal(sha256_file(v->path, hex, NULL), 0);
    assert_string_equal(hex, v->shop->sha256);
    assert_string_equal(v->got.sha256, v->shop->sha256);
    assert_false(file_exists("base.gguf.part"));
    assert_false(file_exists("base.gguf.part.json"));
}

static void test_whole(void **state) {
    (void)state;
    struct visit v;
    begin(&v, "/base.gguf");
    assert_int_equal(fetch(&v, v.shop->sha256, NULL), 0);
    assert_whole(&v);
    assert_true(v.got.checked);
    assert_int_equal(v.got.bytes, SIZE);
    assert_int_equal(v.got.received_bytes, SIZE);
    end(&v);
}

/* Four connections break in the middle of what is left; each next one asks for the rest alone. */
static void test_broken_connections(void **state) {
    (void)state;
    struct visit v;
    begin(&v, "/base.gguf");
    v.shop->n_halves = 4;
    v.shop->n_busy = 1;
    assert_int_equal(fetch(&v, NULL, NULL), 0);
    assert_whole(&v);
    assert_false(v.got.checked);
    assert_int_equal(v.shop->n_ranges, 4);
    assert_int_equal(v.shop->offered_bytes, SIZE); /* not a byte twice */
    end(&v);
}

/* The process is killed with half of the file here; another day's call fetches the other half. */
static void test_killed(void **state) {
    (void)state;
    struct visit v;
    begin(&v, "/base.gguf");
    v.shop->n_halves = 1000;
    pid_t child = fork();
    if (child == 0) {
        struct net_downloaded got;
        net_download(
            &(struct net_download){.url = v.url, .path = v.path, .max_attempts = 1000, .backoff_ms = 60000},
            &got, NULL);
        _exit(1);
    }
    for (double until = clock_seconds() + 20;
         net_download_part_bytes(v.path) < SIZE / 2 && clock_seconds() < until;)
        usleep(1000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    int64_t before = net_download_part_bytes(v.path);
    assert_true(before >= SIZE / 2 && before < SIZE);
    assert_false(file_exists(v.path));
    v.shop->n_halves = 0;
    v.shop->offered_bytes = 0;
    assert_int_equal(fetch(&v, v.shop->sha256, NULL), 0);
    assert_whole(&v);
    assert_int_equal(v.shop->offered_bytes, SIZE - before);
    assert_int_equal(v.got.received_bytes, SIZE - before);
    end(&v);
}

/* Half of an older file is here: it must not become the head of the newer one. */
static void test_changed_file(void **state) {
    (void)state;
    struct visit v;
    begin(&v, "/base.gguf");
    file_write("base.gguf.part", "old bytes", 9, NULL);
    struct str notes = {0};
    str_addf(&notes, "{\"url\":\"%s\",\"etag\":\"\\\"zero\\\"\",\"sha256\":\"\",\"bytes\":%d}", v.url, SIZE);
    file_write("base.gguf.part.json", notes.data, notes.len, NULL);
    str_release(&notes);
    assert_int_equal(fetch(&v, NULL, NULL), 0);
    assert_whole(&v);
    end(&v);
}

static void test_no_ranges(void **state) {
    (void)state;
    struct visit v;
    begin(&v, "/base.gguf");
    v.shop->no_ranges = true;
    v.shop->n_halves = 1;
    assert_int_equal(fetch(&v, NULL, NULL), 0);
    assert_whole(&v);
    assert_int_equal(v.got.received_bytes, SIZE / 2 + SIZE);
    end(&v);
}

static void test_wrong_checksum(void **state) {
    (void)state;
    static const char other[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct visit v;
    begin(&v, "/base.gguf");
    assert_int_equal(fetch(&v, other, NULL), ERR_MISMATCH);
    assert_non_null(strstr(v.e.message, v.shop->sha256));
    assert_false(file_exists(v.path));
    assert_false(file_exists("base.gguf.part"));
    end(&v);
}

static void test_refusals(void **state) {
    (void)state;
    struct visit v;
    begin(&v, "/gone");
    assert_int_equal(fetch(&v, NULL, NULL), ERR_NOT_FOUND);
    assert_int_equal(v.got.attempts, 0);
    end(&v);
    begin(&v, "/private");
    assert_int_equal(fetch(&v, NULL, NULL), ERR_AUTH);
    assert_non_null(strstr(v.e.hint, "HF_TOKEN"));
    assert_false(file_exists("base.gguf.part")); /* an error page is no part of it */
    end(&v);
    begin(&v, "/base.gguf");
    v.shop->n_busy = 1000;
    assert_int_equal(fetch(&v, NULL, NULL), ERR_NET);
    assert_int_equal(v.shop->n_busy, 1000 - 3);
    end(&v);
}

/* A hub answers with a redirect that states the checksum; the key stays with the hub. */
static void test_redirect(void **state) {
    (void)state;
    struct visit hub, store;
    begin(&store, "/base.gguf");
    begin(&hub, "/old");
    hub.shop->moved = store.url;
    assert_int_equal(fetch(&hub, NULL, "secret"), 0);
    assert_int_equal(hub.shop->n_keys, 1);
    assert_int_equal(store.shop->n_keys, 0); /* another port is another server */
    assert_true(hub.got.checked);
    assert_whole(&hub);
    unlink(hub.path);
    snprintf(hub.shop->sha256, sizeof hub.shop->sha256, "%064d", 7);
    assert_int_equal(fetch(&hub, NULL, NULL), ERR_MISMATCH);
    end(&store);
    end(&hub);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),     cmocka_unit_test(test_broken_connections),
        cmocka_unit_test(test_killed),    cmocka_unit_test(test_changed_file),
        cmocka_unit_test(test_no_ranges), cmocka_unit_test(test_wrong_checksum),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_redirect),
    };
    setenv("no_proxy", "127.0.0.1", 1);
    scratch_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
