/* Servers under measurement: started, asked over loopback, watched through /proc, ended.
 *
 *     struct serving s;
 *     serving_start(&s, (const char *const[]){"dist/claims-amd64/run", "--serve", "--listen", "127.0.0.1:9001", NULL}, 9001, "s.log");
 *     serving_ask(&s, "/v1/decide", "{\"delay\":5}", &answer, &seconds);      // the HTTP status
 *     serving_cpu_s(&s), serving_peak_bytes(&s) ...
 *     serving_stop(&s); */
#ifndef BENCH_SERVING_H
#define BENCH_SERVING_H

#include "base/str.h"
#include <stdbool.h>
#include <sys/types.h>

struct serving {
    pid_t pid; /* 0: not running */
    int port;
    double start_s; /* clock_seconds() when it was started */
};

/* Starts it; `log` takes what it says. Does not wait. */
void serving_start(struct serving *s, const char *const argv[], int port, const char *log);
/* Asks until the path answers 200, at most 300 s. */
bool serving_wait(const struct serving *s, const char *path);
void serving_stop(struct serving *s); /* SIGTERM, and waits */

/* POST (a body) or GET (NULL) on a connection of its own; the status, 0 when the connection broke. `answer` and `seconds` may be NULL. */
int serving_ask(const struct serving *s, const char *path, const char *body, struct str *answer,
                double *seconds);
/* Sends any bytes and reads what comes; the status, 0 without one. */
int serving_raw(const struct serving *s, const char *bytes, size_t n, struct str *answer);

/* Of a running process; -1 unknown. Processor time of all its threads; resident memory now and at its peak; major faults; swapped. */
double process_cpu_s(pid_t pid);
double process_resident_bytes(pid_t pid);
double process_peak_bytes(pid_t pid);
double process_swapped_bytes(pid_t pid);
double process_major_faults(pid_t pid);

/* A free port on loopback. */
int free_port(void);

#endif
