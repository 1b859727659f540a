/* The server of a bundle as its clients see it, over sockets: answers, limits, bad input, many at once, a clean end. */
#include "base/clock.h"
#include "base/file.h"
#include "format/json.h"
#include "support/scratch.h"
#include "support/tiny_bundle.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct tiny_bundle t;
static bool possible;

struct server {
    pid_t pid;
    int port;
};

/* ---- a server, a client ---- */

static int read_port(const char *log) {
    for (int i = 0; i < 600; i++) {
        struct str text = {0};
        int port = 0;
        if (file_read(log, 0, &text, NULL) == 0) {
            const char *at = strstr(str_text(&text), "http://127.0.0.1:");
            if (at && strchr(at, '\n'))
                port = atoi(at + strlen("http://127.0.0.1:"));
        }
        str_release(&text);
        if (port)
            return port;
        clock_sleep_ms(100);
    }
    return 0;
}

static struct server start_in(const char *environment, const char *more) {
    char command[512];
    struct server s = {0};
    unlink("server.log");
    snprintf(command, sizeof command,
             "exec env -i %s here/run --serve --listen 127.0.0.1:0 --threads 1 %s >server.log 2>&1",
             environment, more);
    s.pid = fork();
    if (s.pid == 0) {
        unsetenv("LD_LIBRARY_PATH");
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    s.port = read_port("server.log");
    assert_true(s.port > 0);
    return s;
}

static struct server start(const char *more) {
    return start_in("", more);
}

static int end_server(struct server *s) {
    int status = 0;
    kill(s->pid, SIGTERM);
    waitpid(s->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int dial(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends the bytes, reads until the server closes; the status, 0 where there was no answer. The body (may be NULL) is appended. */
static int talk(int port, const char *bytes, size_t n, struct str *body) {
    struct str answer = {0};
    char chunk[4096];
    int fd = dial(port), status = 0;
    if (fd < 0)
        return -1;
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(fd, bytes + done, n - done, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        done += (size_t)sent;
    }
    for (ssize_t got; (got = recv(fd, chunk, sizeof chunk, 0)) > 0;)
        str_add_bytes(&answer, chunk, (size_t)got);
    close(fd);
    sscanf(str_text(&answer), "HTTP/1.%*d %d", &status);
    const char *end = strstr(str_text(&answer), "\r\n\r\n");
    if (body && end)
        str_add(body, end + 4);
    str_release(&answer);
    return status;
}

static int request(int port, const char *method, const char *path, const char *type, const char *content,
                   struct str *body) {
    struct str text = {0};
    str_addf(&text, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", method, path);
    if (type)
        str_addf(&text, "Content-Type: %s\r\n", type);
    if (content)
        str_addf(&text, "Content-Length: %zu\r\n", strlen(content));
    str_addf(&text, "\r\n%s", content ? content : "");
    int status = talk(port, str_text(&text), text.len, body);
    str_release(&text);
    return status;
}

static int post(int port, const char *path, const char *content, struct str *body) {
    return request(port, "POST", path, "application/json", content, body);
}

/* ---- cases ---- */

static int setup(void **state) {
    (void)state;
    possible = tiny_bundle_here(&t);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_bundle_end(&t);
    return 0;
}

static json_t *parsed(struct str *body) {
    json_t *j = json_loads(str_text(body), 0, NULL);
    if (!j)
        fail_msg("no JSON: %s", str_text(body));
    str_clear(body);
    return j;
}

static void expect_answers(int port) {
    struct str body = {0};
    assert_int_equal(post(port, "/v1/decide", "{\"delay\":3,\"visit type\":\"routine\"}", &body), 200);
    json_t *j = parsed(&body);
    char label[64];
    snprintf(label, sizeof label, "%s", json_string_value(json_object_get(j, "label")));
    assert_int_equal(json_object_size(json_object_get(j, "probabilities")), 2);
    json_decref(j);
    static const char chat[] = "{\"model\":\"any\",\"messages\":[{\"role\":\"system\",\"content\":\"x\"},"
                               "{\"role\":\"user\",\"content\":\"- delay: 3\\n- visit type: routine\"}]}";
    assert_int_equal(post(port, "/v1/chat/completions", chat, &body), 200);
    j = parsed(&body);
    json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
    json_t *content = json_object_get(json_object_get(choice, "message"), "content");
    assert_string_equal(json_string_value(content), label); /* the same record, the same answer */
    assert_true(json_integer_value(json_object_get(json_object_get(j, "usage"), "prompt_tokens")) > 10);
    json_decref(j);
    static const char parts[] =
        "{\"n\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"delay: 3\"},"
        "{\"type\":\"text\",\"text\":\"visit type: routine\"}]}]}";
    assert_int_equal(post(port, "/v1/chat/completions", parts, &body), 200);
    assert_null(strstr(str_text(&body), "\"visit type\"")); /* not missing: all parts are the record */
    json_decref(parsed(&body));
    assert_int_equal(request(port, "GET", "/v1/models", NULL, NULL, &body), 200);
    json_decref(parsed(&body));
    assert_int_equal(request(port, "GET", "/health", NULL, NULL, &body), 200);
    j = parsed(&body);
    assert_string_equal(json_string_value(json_object_get(j, "status")), "ok");
    assert_int_equal(json_integer_value(json_object_get(j, "decided")), 3);
    json_decref(j);
    str_release(&body);
}

static void expect_refusals(int port) {
    static const struct {
        const char *method, *path, *type, *content;
        int status;
        const char *says;
    } cases[] = {
        {"POST", "/v1/decide", "application/json", "{\"delay\":", 400, "record:1"},
        {"POST", "/v1/decide", "application/json", "{\"delay\":\"soon\"}", 400, "delay"},
        {"POST", "/v1/decide", "application/json", "{\"dealy\":3}", 400, "they are: delay"},
        {"POST", "/v1/decide", "application/json", "[1]", 400, "JSON object"},
        {"POST", "/v1/decide", "application/json", "", 400, "record"},
        {"POST", "/v1/decide", "text/plain", "{\"delay\":3}", 415, "application/json"},
        {"POST", "/v1/decide", NULL, "{\"delay\":3}", 415, "application/json"},
        {"GET", "/v1/decide", NULL, NULL, 405, "POST"},
        {"DELETE", "/health", NULL, NULL, 405, "GET"},
        {"POST", "/v1/nothing", "application/json", "{}", 404, "/v1/decide"},
        {"POST", "/v1/chat/completions", "application/json", "{\"messages\":[]}", 400, "user message"},
        {"POST", "/v1/chat/completions", "application/json", "{}", 400, "messages"},
        {"POST", "/v1/chat/completions", "application/json",
         "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"delay: 3\"}]}", 400, "stream"},
        {"POST", "/v1/chat/completions", "application/json",
         "{\"n\":2,\"messages\":[{\"role\":\"user\",\"content\":\"delay: 3\"}]}", 400, "one answer"},
        {"POST", "/v1/chat/completions", "application/json",
         "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"delay: 3\"},"
         "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\"}}]}]}",
         400, "no text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str body = {0};
        int status = request(port, cases[i].method, cases[i].path, cases[i].type, cases[i].content, &body);
        if (status != cases[i].status || !strstr(str_text(&body), cases[i].says))
            fail_msg("%s %s %s: %d %s", cases[i].method, cases[i].path, cases[i].content, status,
                     str_text(&body));
        json_decref(parsed(&body));
        str_release(&body);
    }
}

/* What is no HTTP, or never ends, gets a 400 or a closed connection, and the server lives. */
static void expect_robust(int port) {
    static const char *const nonsense[] = {
        "\r\n\r\n\r\n",
        "GARBAGE\r\n\r\n",
        "GET /health HTTP/9.9\r\n\r\n",
        "POST /v1/decide HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/decide HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nBroken Header\r\n\r\n"};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        int fd = dial(port);
        assert_true(fd >= 0);
        assert_true(send(fd, nonsense[i], strlen(nonsense[i]), MSG_NOSIGNAL) > 0);
        shutdown(fd, SHUT_WR);
        char answer[512];
        ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
        answer[n > 0 ? n : 0] = 0;
        assert_null(strstr(answer, " 200 "));
        close(fd);
    }
    int cut = dial(port); /* a client that goes away in the middle */
    static const char half[] = "POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Type: "
                               "application/json\r\nContent-Length: 20\r\n\r\n{\"de";
    assert_true(send(cut, half, sizeof half - 1, MSG_NOSIGNAL) > 0);
    close(cut);
    char *large = malloc(100001);
    memset(large, 'x', 100000);
    large[100000] = 0;
    struct str body = {0};
    assert_int_equal(post(port, "/v1/decide", large, &body), 413);
    assert_non_null(strstr(str_text(&body), "2000"));
    str_release(&body);
    free(large);
    assert_int_equal(post(port, "/v1/decide", "{\"delay\":3}", NULL), 200);
}

struct crowd {
    int port, n_ok, n_busy, n_other;
    pthread_mutex_t lock;
};

static void *ask_often(void *context) {
    struct crowd *c = context;
    for (int i = 0; i < 10; i++) {
        int status = post(c->port, "/v1/decide", i % 5 == 4 ? "{\"delay\":}" : "{\"delay\":3}", NULL);
        pthread_mutex_lock(&c->lock);
        c->n_ok += status == (i % 5 == 4 ? 400 : 200);
        c->n_busy += status == 503;
        c->n_other += status <= 0;
        pthread_mutex_unlock(&c->lock);
    }
    return NULL;
}

/* Every request is answered, and answered rightly. */
static void expect_crowd(int port, bool may_be_busy) {
    enum { CLIENTS = 16 };
    struct crowd c = {.port = port, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&clients[i], NULL, ask_often, &c), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    assert_int_equal(c.n_other, 0);
    assert_int_equal(c.n_ok + c.n_busy, CLIENTS * 10);
    assert_true(may_be_busy || c.n_busy == 0);
}

static void test_serves(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct server s = start("--max-body 2000");
    expect_answers(s.port);
    expect_refusals(s.port);
    expect_robust(s.port);
    expect_crowd(s.port, false);
    struct str body = {0};
    assert_int_equal(
        post(s.port, "/v1/decide", "{\"delay\":99,\"approved share\":1,\"visit type\":\"routine\"}", &body),
        200);
    assert_non_null(strstr(str_text(&body), "\"outside\":[\"delay\"]"));
    str_clear(&body);
    assert_int_equal(request(s.port, "GET", "/metrics", NULL, NULL, &body), 200);
    assert_non_null(strstr(str_text(&body), "edgestill_doubtful_total{reason=\"outside\"} 1\n"));
    assert_null(strstr(str_text(&body), "edgestill_doubtful_total{reason=\"missing\"} 0\n"));
    assert_non_null(strstr(str_text(&body), "edgestill_responses_total{code=\"413\"} 1\n"));
    assert_non_null(strstr(str_text(&body), "edgestill_decision_seconds_bucket{le=\"+Inf\"}"));
    assert_non_null(strstr(str_text(&body), "edgestill_decisions_total{label=\"normal\"}"));
    assert_non_null(strstr(str_text(&body), "edgestill_queue_length 0\n"));
    str_release(&body);
    assert_int_equal(end_server(&s), 0);
}

static void test_short_queue(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct server s = start("--max-queue 1");
    expect_crowd(s.port, true);
    assert_int_equal(post(s.port, "/v1/decide", "{\"delay\":3}", NULL), 200);
    assert_int_equal(end_server(&s), 0);
}

/* One record takes a second, since somebody else is asked: whoever waits longer than the limit is told so. */
static void test_nobody_waits_too_long(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(
        tiny_shell("cp -r here slow && sed -i 's/\"tolerance\"/\"abstain\": {\"threshold\": 1.01}, "
                   "&/' slow/bundle.json"),
        0);
    struct server s = start("--bundle slow --max-wait 200 --on-abstain 'sleep 1; echo ask'");
    static const char whole[] = "POST /v1/decide HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: "
                                "application/json\r\nContent-Length: 11\r\n\r\n{\"delay\":3}";
    struct str body = {0};
    char answer[2048] = "";
    int fd = dial(s.port);
    assert_true(send(fd, whole, sizeof whole - 1, MSG_NOSIGNAL) > 0);
    clock_sleep_ms(100);
    assert_int_equal(post(s.port, "/v1/decide", "{\"delay\":3}", &body), 503);
    assert_non_null(strstr(str_text(&body), "are the limit"));
    assert_true(recv(fd, answer, sizeof answer - 1, 0) > 0 && strstr(answer, " 200 "));
    str_release(&body);
    close(fd);
    assert_int_equal(end_server(&s), 0);
}

/* A request that has arrived when SIGTERM comes is answered: with its decision or with 503, never with silence. */
static void test_end_answers_everybody(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct server s = start("");
    static const char whole[] = "POST /v1/decide HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: "
                                "application/json\r\nContent-Length: 11\r\n\r\n{\"delay\":3}";
    int fds[12];
    for (int i = 0; i < 12; i++) {
        fds[i] = dial(s.port);
        assert_true(send(fds[i], whole, sizeof whole - 1, MSG_NOSIGNAL) > 0);
    }
    /* one of them has been answered, so the server is at work on the others */
    char answer[1024] = "";
    ssize_t n = recv(fds[0], answer, sizeof answer - 1, 0);
    assert_true(n > 0 && strstr(answer, " 200 "));
    kill(s.pid, SIGTERM);
    for (int i = 1; i < 12; i++) {
        n = recv(fds[i], answer, sizeof answer - 1, 0);
        answer[n > 0 ? n : 0] = 0;
        if (!strstr(answer, " 200 ") && !strstr(answer, " 503 "))
            fail_msg("request %d was left without an answer: \"%s\"", i, answer);
    }
    for (int i = 0; i < 12; i++)
        close(fds[i]);
    int status = 0;
    waitpid(s.pid, &status, 0);
    assert_int_equal(status, 0);
}

static void expect_state(int fd, const char *state) {
    char text[64] = "";
    assert_true(recv(fd, text, sizeof text - 1, 0) > 0);
    assert_string_equal(text, state);
}

/* systemd counts a start as done when the program says that it answers, and only then. */
static void test_says_when_it_answers(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "notify"};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    struct timeval patience = {.tv_sec = 60};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(
        tiny_shell("env -i NOTIFY_SOCKET=$PWD/notify here/run --serve --threads 1 --listen 127.0.0.1:0 "
                   "--bundle nowhere"),
        2);
    assert_true(recv(fd, &(char){0}, 1, MSG_DONTWAIT) < 0); /* it never answered, and did not say so */
    struct server s = start_in("NOTIFY_SOCKET=\"$PWD\"/notify", "");
    expect_state(fd, "READY=1");
    assert_int_equal(request(s.port, "GET", "/health", NULL, NULL, NULL), 200);
    assert_int_equal(end_server(&s), 0);
    expect_state(fd, "STOPPING=1");
    close(fd);
    unlink("notify");
}

static void test_address_is_checked(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct server s = start("");
    char command[128];
    snprintf(command, sizeof command, "env -i here/run --serve --threads 1 --listen 127.0.0.1:%d", s.port);
    assert_int_equal(tiny_shell(command), 1); /* taken */
    assert_int_equal(end_server(&s), 0);
    assert_int_equal(tiny_shell("env -i here/run --serve --threads 1 --listen nowhere:x"), 2);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves),
        cmocka_unit_test(test_short_queue),
        cmocka_unit_test(test_nobody_waits_too_long),
        cmocka_unit_test(test_end_answers_everybody),
        cmocka_unit_test(test_says_when_it_answers),
        cmocka_unit_test(test_address_is_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
