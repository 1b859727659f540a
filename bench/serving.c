/* Asking servers and watching processes. */
#include "bench/serving.h"
#include "base/clock.h"
#include "base/file.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- processes ---- */

void serving_start(struct serving *s, const char *const argv[], int port, const char *log) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    *s = (struct serving){.port = port, .start_s = clock_seconds()};
    if (posix_spawnp(&s->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ) != 0) {
        fprintf(stderr, "bench: cannot start %s\n", argv[0]);
        exit(1);
    }
    posix_spawn_file_actions_destroy(&actions);
}

bool serving_wait(const struct serving *s, const char *path) {
    for (double until = clock_seconds() + 300; clock_seconds() < until;) {
        if (serving_ask(s, path, NULL, NULL, NULL) == 200)
            return true;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
            return false;
        clock_sleep_ms(5);
    }
    return false;
}

void serving_stop(struct serving *s) {
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    s->pid = 0;
}

static bool read_proc(pid_t pid, const char *name, struct str *out) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return file_read(path, 1 << 16, out, NULL) == 0;
}

/* Field i of /proc/PID/stat, counted as proc(5) does; the name before it may hold blanks. */
static double stat_field(pid_t pid, int i) {
    struct str text = {0};
    double value = -1;
    char *at = read_proc(pid, "stat", &text) ? strrchr(text.data, ')') : NULL;
    for (int field = 2; at && field < i; field++)
        at = strchr(at + 1, ' ');
    if (at)
        value = strtod(at, NULL);
    str_release(&text);
    return value;
}

static double status_kb(pid_t pid, const char *key) {
    struct str text = {0};
    double kb = -1;
    const char *at = read_proc(pid, "status", &text) ? strstr(text.data, key) : NULL;
    if (at)
        kb = strtod(at + strlen(key), NULL);
    str_release(&text);
    return kb < 0 ? -1 : kb * 1024;
}

double process_cpu_s(pid_t pid) {
    return (stat_field(pid, 14) + stat_field(pid, 15)) / (double)sysconf(_SC_CLK_TCK);
}

double process_major_faults(pid_t pid) {
    return stat_field(pid, 12);
}

double process_resident_bytes(pid_t pid) {
    return status_kb(pid, "VmRSS:");
}

double process_peak_bytes(pid_t pid) {
    return status_kb(pid, "VmHWM:");
}

double process_swapped_bytes(pid_t pid) {
    return status_kb(pid, "VmSwap:");
}

/* ---- asking ---- */

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

int free_port(void) {
    struct sockaddr_in a = loopback(0);
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0), port = 0;
    if (bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0)
        port = ntohs(a.sin_port);
    close(fd);
    return port;
}

int serving_raw(const struct serving *s, const char *bytes, size_t n, struct str *answer) {
    struct sockaddr_in a = loopback(s->port);
    struct str all = {0};
    char chunk[8192];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
    bool whole = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    for (size_t done = 0; whole && done < n;) {
        ssize_t sent = send(fd, bytes + done, n - done, MSG_NOSIGNAL);
        whole = sent > 0;
        done += whole ? (size_t)sent : 0;
    }
    for (ssize_t got; whole && (got = recv(fd, chunk, sizeof chunk, 0)) > 0;)
        str_add_bytes(&all, chunk, (size_t)got);
    if (fd >= 0)
        close(fd);
    if (sscanf(str_text(&all), "HTTP/1.%*d %d", &status) != 1)
        status = 0;
    const char *end = strstr(str_text(&all), "\r\n\r\n");
    if (answer && end)
        str_add(answer, end + 4);
    str_release(&all);
    return status;
}

int serving_ask(const struct serving *s, const char *path, const char *body, struct str *answer,
                double *seconds) {
    struct str text = {0};
    double start = clock_seconds();
    str_addf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", body ? "POST" : "GET",
             path);
    if (body)
        str_addf(&text, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    str_addf(&text, "\r\n%s", body ? body : "");
    int status = serving_raw(s, str_text(&text), text.len, answer);
    if (seconds)
        *seconds = clock_seconds() - start;
    str_release(&text);
    return status;
}
