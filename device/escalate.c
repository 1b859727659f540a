/* Running the command, with both directions served at once so that neither side can wait for the other. */
#include "escalate.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct child {
    pid_t pid;
    int in, out; /* our ends; -1: closed */
};

static void close_end(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* In a group of its own, so that what it starts ends with it. */
static int start(struct child *c, const char *command, struct err *e) {
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    /* a socket towards the command: writing to one that has ended is then an error and no signal */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to) != 0 || pipe2(from, O_CLOEXEC) != 0) {
        close_end(&to[0]);
        close_end(&to[1]);
        return err_set_errno(e, ERR_FAILED, "escalate", "no way to talk to the command");
    }
    const char *words[] = {"/bin/sh", "-c", command, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    sigset_t usual; /* a server passes over SIGPIPE; its command's own pipes need it */
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    int failed =
        posix_spawn(&c->pid, words[0], &actions, &attributes, (char *const *)(uintptr_t)words, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close_end(&to[0]);
    close_end(&from[1]);
    c->in = to[1];
    c->out = from[0];
    fcntl(c->in, F_SETFL, O_NONBLOCK);
    return failed ? err_set(e, ERR_FAILED, "escalate", "the command cannot be started: %s", strerror(failed))
                  : 0;
}

/* A command that does not read its input is no error: it may not need it. */
static void feed(struct child *c, const char **text) {
    ssize_t n = send(c->in, *text, strlen(*text), MSG_NOSIGNAL);
    if (n > 0)
        *text += n;
    if ((n < 0 && errno != EAGAIN && errno != EINTR) || **text == 0)
        close_end(&c->in);
}

/* false: its output has ended, or is longer than anybody wants. */
static bool listen_to(struct child *c, struct str *said) {
    char bytes[1024];
    ssize_t n = read(c->out, bytes, sizeof bytes);
    if (n > 0)
        str_add_bytes(said, bytes, (size_t)n);
    return (n > 0 && said->len < ESCALATE_MAX_BYTES) || (n < 0 && errno == EINTR);
}

/* Until its output ends. */
static int talk(struct child *c, const char *text, double until_s, struct str *said, struct err *e) {
    while (true) {
        struct pollfd p[2] = {{.fd = c->out, .events = POLLIN}, {.fd = c->in, .events = POLLOUT}};
        double left_s = until_s - clock_seconds();
        int n = left_s > 0 ? poll(p, c->in >= 0 ? 2 : 1, (int)(left_s * 1e3) + 1) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(e, ERR_FAILED, "escalate", "the command did not answer in time");
        if (c->in >= 0 && p[1].revents)
            feed(c, &text);
        if (p[0].revents && !listen_to(c, said))
            return 0;
    }
}

static bool has_ended(const struct child *c, int *status) {
    pid_t pid = waitpid(c->pid, status, WNOHANG);
    return pid == c->pid || (pid < 0 && errno != EINTR);
}

/* By its exit status. One that goes on after its output has ended is ended at until_s; one that `may_end`, with all that it started, at
 * once. */
static int finish(struct child *c, bool may_end, double until_s, struct err *e) {
    int status = 0;
    bool ended = false;
    close_end(&c->in);
    close_end(&c->out);
    for (int ms = 1; !may_end && !(ended = has_ended(c, &status)) && clock_seconds() < until_s; ms += ms < 20)
        clock_sleep_ms(ms);
    if (!ended) {
        kill(-c->pid, SIGKILL);
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    if (may_end || (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return 0;
    if (!ended)
        return err_set(e, ERR_FAILED, "escalate", "the command did not end in time");
    return err_set(e, ERR_FAILED, "escalate", "the command ended with status %d",
                   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int escalate(const char *command, const char *request, int64_t timeout_ms, struct str *out, struct err *e) {
    struct child c = {.in = -1, .out = -1};
    struct str said = {0};
    double until_s = clock_seconds() + (double)timeout_ms / 1e3;
    int rc = start(&c, command, e);
    if (rc == 0) {
        rc = talk(&c, request, until_s, &said, e);
        /* nobody wants more than its first line, however much it has to say */
        bool enough = said.len >= ESCALATE_MAX_BYTES;
        int ended = finish(&c, rc < 0 || enough, until_s, e);
        rc = rc < 0 ? rc : ended;
    } else {
        close_end(&c.in);
        close_end(&c.out);
    }
    size_t n = strcspn(str_text(&said), "\r\n");
    if (rc == 0 && n >= ESCALATE_MAX_BYTES)
        rc = err_set(e, ERR_FAILED, "escalate", "the command's line is longer than %d bytes",
                     ESCALATE_MAX_BYTES);
    if (rc == 0 && n == 0)
        rc = err_set(e, ERR_FAILED, "escalate", "the command said nothing");
    if (rc == 0)
        str_add_bytes(out, str_text(&said), n);
    str_release(&said);
    return rc;
}
