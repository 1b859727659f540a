/* One thread accepts, one thread serves each connection. */
#include "http_script.h"
#include "base/clock.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPEN_MAX = 512 };

struct http_script {
    http_serve *serve;
    void *context;
    int listener, port;
    pthread_t thread;
    atomic_bool stopping;
    atomic_int connections, active, most, threads;
    atomic_llong asked, served;
    pthread_mutex_t mutex; /* of `open` */
    int open[OPEN_MAX];    /* connections, 0: free; shut down at the end so that no thread waits */
};

struct connection {
    struct http_script *script;
    int fd;
};

static bool send_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Bytes of the head in `in`, 0 while it is not complete. */
static size_t head_length(const struct str *in) {
    const char *end = in->len ? strstr(in->data, "\r\n\r\n") : NULL;
    return end ? (size_t)(end - in->data) + 4 : 0;
}

static const char *header_value(const char *head, const char *name, char *out, size_t n) {
    out[0] = 0;
    const char *at = strcasestr(head, name);
    if (at) {
        at += strlen(name);
        size_t length = strcspn(at, "\r\n");
        snprintf(out, n, "%.*s", (int)length, at);
    }
    return out;
}

const char *http_asked_header(const struct http_asked *q, const char *name, char *out, size_t n) {
    char begin[64];
    snprintf(begin, sizeof begin, "\r\n%s: ", name);
    return header_value(q->head, begin, out, n);
}

/* Reads one whole request into `in`; *head is the length of its head. */
static bool receive(int fd, struct str *in, size_t *head) {
    char buffer[8192], value[64];
    for (;;) {
        *head = head_length(in);
        if (*head) {
            size_t body = strtoul(header_value(in->data, "Content-Length: ", value, sizeof value), NULL, 10);
            if (in->len >= *head + body)
                return true;
        }
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            return false;
        str_add_bytes(in, buffer, (size_t)n);
    }
}

/* To the moment, whatever the naps add up to: a latency that is set is part of what benches measure. */
static void wait_ms(const struct http_script *s, int ms) {
    double end_s = clock_seconds() + ms / 1000.0, left_s;
    while (!s->stopping && (left_s = end_s - clock_seconds()) > 0)
        usleep(left_s > 0.02 ? 20000 : (useconds_t)(left_s * 1e6) + 1);
}

/* False when the connection is to be closed. */
static bool reply(struct http_script *s, int fd, const struct http_reply *r) {
    wait_ms(s, r->delay_ms);
    if (r->how == HTTP_STALL)
        wait_ms(s, 60 * 1000);
    if (r->how == HTTP_RESET || r->how == HTTP_STALL) {
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        return false;
    }
    struct str out = {0};
    str_addf(&out, "HTTP/1.1 %d Scripted\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
             r->status ? r->status : 200, r->content_type ? r->content_type : "application/json", r->body.len,
             r->header ? r->header : "", r->header ? "\r\n" : "");
    str_add_bytes(&out, str_text(&r->body), r->how == HTTP_HALF ? r->body.len / 2 : r->body.len);
    bool whole = r->how == HTTP_WHOLE;
    if (whole)
        s->served++; /* before the client can see the answer and ask how many there were */
    bool sent = send_all(fd, out.data, out.len);
    str_release(&out);
    if (whole && !sent)
        s->served--;
    return sent && whole;
}

static bool serve_one(struct http_script *s, int fd) {
    struct str in = {0};
    size_t head = 0;
    if (!receive(fd, &in, &head)) {
        str_release(&in);
        return false;
    }
    int active = ++s->active;
    for (int most = s->most; active > most && !atomic_compare_exchange_weak(&s->most, &most, active);)
        ;
    char key[512], method[16] = "", path[256] = "";
    in.data[head - 1] = 0;
    sscanf(in.data, "%15s %255s", method, path);
    struct http_asked q = {
        .number = ++s->asked, .method = method, .path = path, .body = in.data + head, .head = in.data};
    q.authorization = header_value(in.data, "Authorization: ", key, sizeof key);
    struct http_reply r = {0};
    s->serve(s->context, &q, &r);
    s->active--;
    bool keep = reply(s, fd, &r);
    str_release(&r.body);
    str_release(&in);
    return keep;
}

/* Puts `to` where `from` is. */
static void replace_open(struct http_script *s, int from, int to) {
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < OPEN_MAX; i++)
        if (s->open[i] == from) {
            s->open[i] = to;
            break;
        }
    pthread_mutex_unlock(&s->mutex);
}

static void *serve_connection(void *context) {
    struct connection c = *(struct connection *)context;
    free(context);
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){60, 0}, sizeof(struct timeval));
    while (!c.script->stopping && serve_one(c.script, c.fd))
        ;
    replace_open(c.script, c.fd, 0);
    close(c.fd);
    c.script->threads--;
    return NULL;
}

static void *accept_all(void *context) {
    struct http_script *s = context;
    for (;;) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0 || s->stopping)
            break;
        s->connections++;
        struct connection *c = malloc(sizeof *c);
        pthread_t thread;
        if (!c)
            break;
        *c = (struct connection){s, fd};
        s->threads++;
        replace_open(s, 0, fd);
        if (pthread_create(&thread, NULL, serve_connection, c) == 0)
            pthread_detach(thread);
        else
            s->threads--;
    }
    return NULL;
}

struct http_script *http_script_start(http_serve *serve, void *context) {
    struct http_script *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->serve = serve;
    s->context = context;
    pthread_mutex_init(&s->mutex, NULL);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&a, sizeof a) != 0 ||
        listen(s->listener, 128) != 0 || getsockname(s->listener, (struct sockaddr *)&a, &n) != 0 ||
        pthread_create(&s->thread, NULL, accept_all, s) != 0) {
        free(s);
        return NULL;
    }
    s->port = ntohs(a.sin_port);
    return s;
}

void http_script_stop(struct http_script *s) {
    if (!s)
        return;
    s->stopping = true;
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < OPEN_MAX; i++)
        if (s->open[i])
            shutdown(s->open[i], SHUT_RDWR);
    pthread_mutex_unlock(&s->mutex);
    while (s->threads > 0)
        usleep(1000);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

int http_script_port(const struct http_script *s) {
    return s->port;
}
int64_t http_script_served(const struct http_script *s) {
    return s->served;
}
int http_script_connections(const struct http_script *s) {
    return s->connections;
}
int http_script_most_at_once(const struct http_script *s) {
    return s->most;
}
