/* See sockets.h. */
#include "net/sockets.h"
#include "base/clock.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ORIGIN "net_step"

enum { EVENTS_AT_ONCE = 64 };

/* libcurl may close a socket and open another of the same number without a word in between, and the kernel forgets closed ones by
 * itself: what is watched is asked of the kernel, not remembered here. */
static int watch(CURL *easy, curl_socket_t fd, int what, void *context, void *unused) {
    const struct sockets *w = context;
    struct epoll_event ev = {.data.fd = fd};
    (void)easy, (void)unused;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, &ev);
        return 0;
    }
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0)
        return 0;
    return errno == EEXIST && epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, fd, &ev) == 0 ? 0 : -1;
}

static int set_timer(CURLM *multi, long timeout_ms, void *context) {
    struct sockets *w = context;
    (void)multi;
    w->timer_s = timeout_ms < 0 ? INFINITY : clock_seconds() + (double)timeout_ms / 1000;
    return 0;
}

int sockets_open(struct sockets *w, CURLM *multi, struct err *e) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, ERR_FAILED, "net_open", "cannot wait for sockets");
    *w = (struct sockets){.multi = multi, .epoll_fd = fd, .timer_s = INFINITY};
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, w);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, w);
    return 0;
}

void sockets_close(struct sockets *w) {
    close(w->epoll_fd);
}

static CURLMcode drive(struct sockets *w, const struct epoll_event *events, int n) {
    CURLMcode code = CURLM_OK;
    int running;
    for (int i = 0; i < n && code == CURLM_OK; i++) {
        unsigned got = events[i].events;
        int what = (got & EPOLLIN ? CURL_CSELECT_IN : 0) | (got & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (got & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        code = curl_multi_socket_action(w->multi, events[i].data.fd, what, &running);
    }
    if (code == CURLM_OK && clock_seconds() >= w->timer_s) {
        w->timer_s = INFINITY; /* libcurl sets it anew where there is another moment */
        code = curl_multi_socket_action(w->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    return code;
}

int sockets_step(struct sockets *w, int64_t wait_ms, struct err *e) {
    struct epoll_event events[EVENTS_AT_ONCE];
    double until_timer_ms = ceil((w->timer_s - clock_seconds()) * 1000);
    if (until_timer_ms < (double)wait_ms)
        wait_ms = until_timer_ms > 0 ? (int64_t)until_timer_ms : 0;
    int n = epoll_wait(w->epoll_fd, events, EVENTS_AT_ONCE, (int)wait_ms);
    if (n < 0 && errno != EINTR)
        return err_set_errno(e, ERR_NET, ORIGIN, "cannot wait for answers");
    CURLMcode code = drive(w, events, n);
    return code == CURLM_OK ? 0
                            : err_set(e, ERR_NET, ORIGIN, "libcurl failed: %s", curl_multi_strerror(code));
}
