/* The sockets of one curl_multi handle, waited for with epoll.
 *
 * curl_multi_perform looks at every transfer under way in every call and asks the kernel about each one's socket: with 64 questions
 * under way that was 17 calls of poll for each answer, and most of the client's processor time. Here libcurl says which sockets
 * and which moment it waits for, and only those that something happened on are driven, so an answer costs the same whether 4
 * or 256 are under way.
 *
 *     struct sockets w;
 *     sockets_open(&w, multi, &e);
 *     sockets_step(&w, 100, &e);      // then curl_multi_info_read
 *     sockets_close(&w);              // after curl_multi_cleanup, which still reports sockets
 *
 * One thread. Linux. */
#ifndef NET_SOCKETS_H
#define NET_SOCKETS_H

#include "base/err.h"
#include <curl/curl.h>
#include <stdint.h>

struct sockets { /* must not move while open: libcurl keeps its address */
    CURLM *multi;
    int epoll_fd;
    double timer_s; /* when libcurl wants to be called again, by clock_seconds; INFINITY: not at all */
};

int sockets_open(struct sockets *w, CURLM *multi, struct err *e);
void sockets_close(struct sockets *w);

/* Drives what is ready and what is due, waiting at most wait_ms until something is. Ends early, with 0, on a signal. */
int sockets_step(struct sockets *w, int64_t wait_ms, struct err *e);

#endif
