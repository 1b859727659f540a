/* Starting llama-server, waiting for it, ending it. */
#include "teacher/embedded.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/thread.h"
#include "config.h"
#include "llama/quantize.h"
#include "net/net.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORIGIN "embedded_start"

enum { ARGS_MAX = 48, START_S = 60 };

struct embedded {
    pid_t pid; /* 0: none, or ended */
    int port;
    int output; /* what it prints, a file without a name */
    int narrow; /* the model at 8 bits, a file without a name; -1: the model is served as it is */
    char url[64];
};

/* ---- the process ---- */

/* A port that is free now. Another program may take it before the server does; then starting is tried again. */
static int free_port(int *port, struct err *e) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &n) == 0;
    int rc = ok ? 0 : err_set_errno(e, ERR_NET, ORIGIN, "no free port on 127.0.0.1");
    if (fd >= 0)
        close(fd);
    *port = ntohs(a.sin_port);
    return rc;
}

static int open_output(struct err *e) {
    const char *folder = getenv("TMPDIR");
    char *path = file_join(folder && *folder ? folder : "/tmp", "edgestill-server-XXXXXX");
    int fd = path ? mkostemp(path, O_CLOEXEC) : -1;
    if (fd < 0)
        err_set_errno(e, ERR_IO, ORIGIN, "cannot make a temporary file");
    else
        unlink(path);
    free(path);
    return fd;
}

/* Between fork and exec only calls that are safe in a copy of a program with threads. */
static void become_server(const char *const argv[], int output, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(127);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    static const char text[] = "cannot be executed\n";
    if (write(2, text, sizeof text - 1) < 0)
        _exit(126);
    _exit(127);
}

/* Makes a small model's copy at 8 bits, which answers in two thirds of the time of 16 bits on a CPU (measured on 200 labels of the
 * claims example, 99.0% right at 8 bits and 98.5% at 16). Without it, for whatever reason, the model is served as it is. */
static void make_narrow(struct embedded *s, const char *gguf) {
    if (file_size(gguf) >= EMBEDDED_SMALL_MODEL)
        return;
    const char *folder = getenv("TMPDIR");
    char *path = file_join(folder && *folder ? folder : "/tmp", "edgestill-teacher-XXXXXX");
    int fd = path ? mkostemp(path, O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (quantize_file(gguf, path, &(struct quantize_options){.type = "Q8_0", .n_threads = 1}, NULL) == 0)
            s->narrow = open(path, O_RDONLY); /* the server inherits it */
        unlink(path);
        close(fd);
    }
    free(path);
}

/* A small model computes a token in less time than threads take to meet, and on a busy machine they wait for one another: two
 * threads on two busy cores were 30 times slower than one. */
static int choose_threads(const struct embedded_options *o) {
    if (o->n_threads > 0)
        return o->n_threads;
    return file_size(o->gguf) < EMBEDDED_SMALL_MODEL ? 1 : thread_core_count();
}

static int launch(struct embedded *s, const struct embedded_options *o, struct err *e) {
    static const char *const built_in[] = {EDGESTILL_LLAMA_SERVER};
    const char *argv[ARGS_MAX], *program = o->program ? o->program : getenv("EDGESTILL_LLAMA_SERVER");
    char port[16], slots[16], context[16], threads[16], narrow[32];
    int n = 0, n_slots = o->slots > 0 ? o->slots : 4;
    snprintf(port, sizeof port, "%d", s->port);
    snprintf(slots, sizeof slots, "%d", n_slots);
    snprintf(context, sizeof context, "%d", n_slots * (o->slot_tokens > 0 ? o->slot_tokens : 2048));
    snprintf(threads, sizeof threads, "%d", choose_threads(o));
    snprintf(narrow, sizeof narrow, "/proc/self/fd/%d", s->narrow);
    /* a BLAS that is loaded with the server would keep threads of its own spinning between two products */
    argv[n++] = "env";
    argv[n++] = "OPENBLAS_NUM_THREADS=1";
    if (program && *program)
        argv[n++] = program;
    else
        for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
            argv[n++] = built_in[i];
    /* Plain sampling: a record's diversity comes from it. The cache in RAM would only hold prompts that never return. */
    const char *const rest[] = {"-m",
                                s->narrow >= 0 ? narrow : o->gguf,
                                "--host",
                                "127.0.0.1",
                                "--port",
                                port,
                                "-np",
                                slots,
                                "-c",
                                context,
                                "-t",
                                threads,
                                "-tb",
                                threads,
                                "--no-webui",
                                "--no-slots",
                                "--cache-ram",
                                "0",
                                "--log-verbosity",
                                "2",
                                "--top-k",
                                "0",
                                "--top-p",
                                "1",
                                "--min-p",
                                "0",
                                "--offline"};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        argv[n++] = rest[i];
    argv[n] = NULL;
    pid_t parent = getpid();
    s->pid = fork();
    if (s->pid == 0)
        become_server(argv, s->output, parent);
    if (s->pid < 0) {
        s->pid = 0;
        return err_set_errno(e, ERR_FAILED, ORIGIN, "cannot start llama-server");
    }
    return 0;
}

/* The last lines that the process printed. */
static void last_words(const struct embedded *s, char *out, size_t n) {
    off_t size = lseek(s->output, 0, SEEK_END);
    off_t from = size > (off_t)n - 1 ? size - (off_t)(n - 1) : 0;
    ssize_t got = pread(s->output, out, n - 1, from);
    out[got > 0 ? got : 0] = 0;
    char *end = out + strlen(out);
    while (end > out && (end[-1] == '\n' || end[-1] == ' '))
        *--end = 0;
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
}

int embedded_check(struct embedded *s, struct err *e) {
    int status = 0;
    if (s->pid && waitpid(s->pid, &status, WNOHANG) != s->pid)
        return 0;
    s->pid = 0;
    char said[200];
    last_words(s, said, sizeof said);
    if (WIFSIGNALED(status))
        err_set(e, ERR_TEACHER, "embedded", "llama-server was ended by signal %d", WTERMSIG(status));
    else
        err_set(e, ERR_TEACHER, "embedded", "llama-server ended with status %d: %s", WEXITSTATUS(status),
                said);
    return err_hint(e, "edgestill doctor checks llama.cpp; run the same command again to go on");
}

/* ---- until it answers ---- */

static void take_health(void *context, const struct net_answer *a) {
    *(bool *)context = a->code == 0;
}

static int wait_ready(struct embedded *s, struct err *e) {
    struct net *n = NULL;
    char health[64];
    snprintf(health, sizeof health, "http://127.0.0.1:%d/health", s->port);
    int rc = net_open(
        &n, &(struct net_options){.parallel = 1, .max_attempts = 1, .answer_ms = 2000, .direct = true}, e);
    double end_s = clock_seconds() + START_S;
    bool ready = false;
    while (rc == 0 && !ready) {
        rc = net_submit(n, &(struct net_request){.url = health, .context = &ready, .done = take_health}, e);
        while (rc == 0 && net_pending(n) > 0)
            rc = net_step(n, 100, e);
        if (rc == 0)
            rc = embedded_check(s, e);
        if (rc == 0)
            rc = interrupt_check(e);
        if (rc == 0 && !ready && clock_seconds() > end_s) {
            err_set(e, ERR_TEACHER, ORIGIN, "llama-server did not become ready in %d s", START_S);
            rc = err_hint(e, "is the machine overloaded? run the same command again");
        }
        if (rc == 0 && !ready)
            clock_sleep_ms(50);
    }
    net_close(n);
    return rc;
}

int embedded_start(struct embedded **out, const struct embedded_options *o, struct err *e) {
    enum { TRIES = 3 };
    if (!file_exists(o->gguf)) {
        err_set(e, ERR_NOT_FOUND, ORIGIN, "there is no teacher model %s", o->gguf);
        return err_hint(e, "seed/README.md says how it is made; or choose another teacher in edgestill.yaml");
    }
    struct embedded *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    int rc = 0;
    s->narrow = -1;
    make_narrow(s, o->gguf);
    for (int i = 0; i < TRIES; i++) {
        err_clear(e);
        s->output = open_output(e);
        rc = s->output < 0 ? ERR_IO : free_port(&s->port, e);
        if (rc == 0)
            rc = launch(s, o, e);
        if (rc == 0)
            rc = wait_ready(s, e);
        if (rc == 0 || s->pid || rc != ERR_TEACHER) /* ended by itself: perhaps the port was taken */
            break;
        close(s->output);
        s->output = -1;
    }
    if (rc < 0) {
        embedded_stop(s);
        return rc;
    }
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/v1", s->port);
    *out = s;
    return 0;
}

const char *embedded_url(const struct embedded *s) {
    return s->url;
}

int64_t embedded_pid(const struct embedded *s) {
    return s->pid;
}

void embedded_stop(struct embedded *s) {
    if (!s)
        return;
    if (s->pid) {
        kill(s->pid, SIGTERM);
        for (int i = 0; i < 60 && waitpid(s->pid, NULL, WNOHANG) == 0; i++) {
            if (i == 40)
                kill(s->pid, SIGKILL);
            clock_sleep_ms(50);
        }
    }
    if (s->output >= 0)
        close(s->output);
    if (s->narrow >= 0)
        close(s->narrow);
    free(s);
}
