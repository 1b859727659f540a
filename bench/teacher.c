/* Figures 3.1 to 3.3: asking a teacher within its limits, checking and comparing 100,000 records, and faults.
 *
 * The teacher is a scripted server in a process of its own, so that the client's processor time is the client's alone; it counts in
 * memory that both see which questions it answered in whole, by the hash of the request. An answer is lost when the server sent it
 * whole and usable and the journal does not have it; a question is asked twice when it was answered so more than once.
 * TEACHER_QUESTIONS sets the questions of each planted fault (60), TEACHER_RUNS the repetitions of 3.1's first part (3);
 * TEACHER_ONLY=3.1 (3.1-latency, 3.2, 3.3) measures one part alone and leaves the other figures in the file. */
#include "teacher/teacher.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "bench/chain.h"
#include "bench/figures.h"
#include "bench/teacher_checking.h"
#include "format/json.h"
#include "synth/similar.h"
#include "synth/state.h"
#include "tests/support/chat_script.h"
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the server ---- */

#define FAULTS(X)                                                                                            \
    X(NONE, "none")                                                                                          \
    X(429, "429")                                                                                            \
    X(429_AFTER, "429 with Retry-After")                                                                     \
    X(500, "500")                                                                                            \
    X(503, "503")                                                                                            \
    X(RESET, "connection reset")                                                                             \
    X(STALL, "stall")                                                                                        \
    X(HALF, "half an answer")                                                                                \
    X(WRONG_LABEL, "wrong label")                                                                            \
    X(FENCED, "fenced answer")                                                                               \
    X(EMPTY, "empty body")                                                                                   \
    X(NOT_UTF8, "not UTF-8")                                                                                 \
    X(HUGE, "huge answer")                                                                                   \
    X(REDIRECT, "redirect")                                                                                  \
    X(CONTENT_TYPE, "wrong content type")
enum fault {
#define X(name, text) FAULT_##name,
    FAULTS(X)
#undef X
        N_FAULTS
};
static const char *const fault_names[] = {
#define X(name, text) text,
    FAULTS(X)
#undef X
};

enum { SEEN_MAX = 1 << 16, ANSWER_LIMIT = 64 * 1024 };

/* Seen by client and server. */
struct board {
    atomic_int delay_ms, per_minute; /* per_minute 0: no limit */
    atomic_uint faults;              /* mask; 0: none */
    atomic_int percent;              /* of requests that meet one */
    atomic_int refused;              /* by the limit */
    atomic_int_least64_t n_good, n_twice;
    _Atomic uint64_t seen[SEEN_MAX]; /* hashes of requests that were answered in whole */
    atomic_int_least64_t window_ms[4096];
    atomic_int window_n;
};
static struct board *board;

static bool seen_before(uint64_t hash) {
    hash = hash ? hash : 1;
    for (uint64_t i = hash % SEEN_MAX;; i = (i + 1) % SEEN_MAX) {
        uint64_t empty = 0;
        if (atomic_compare_exchange_strong(&board->seen[i], &empty, hash))
            return false;
        if (empty == hash)
            return true;
    }
}

/* Requests of the last minute; true when this one is one too many. */
static bool over_limit(void) {
    int64_t now = clock_unix_ms();
    int most = board->per_minute, n = 0;
    for (int i = 0; i < board->window_n; i++)
        n += board->window_ms[i] > now - 60000;
    if (most == 0 || n < most) {
        int at = board->window_n++;
        if (at < 4096)
            board->window_ms[at] = now;
        return false;
    }
    board->refused++;
    return true;
}

static void fail_with(struct http_reply *r, int status, const char *header) {
    str_clear(&r->body);
    r->status = status;
    r->header = header;
    str_addf(&r->body, "{\"error\":{\"message\":\"planned %d\"}}", status);
}

static bool plant(enum fault f, struct http_reply *r) {
    char *at;
    switch (f) {
    case FAULT_429:
        fail_with(r, 429, NULL);
        return false;
    case FAULT_429_AFTER:
        fail_with(r, 429, "Retry-After: 1");
        return false;
    case FAULT_500:
        fail_with(r, 500, NULL);
        return false;
    case FAULT_503:
        fail_with(r, 503, NULL);
        return false;
    case FAULT_REDIRECT:
        fail_with(r, 307, "Location: http://127.0.0.1:1/v1/chat/completions");
        return false;
    case FAULT_RESET:
        r->how = HTTP_RESET;
        return false;
    case FAULT_STALL:
        r->how = HTTP_STALL;
        return false;
    case FAULT_HALF:
        r->how = HTTP_HALF;
        return false;
    case FAULT_EMPTY:
        str_clear(&r->body);
        return false;
    case FAULT_NOT_UTF8:
        r->body.data[r->body.len / 2] = (char)0xff;
        return false;
    case FAULT_HUGE:
        for (int i = 0; i < 2 * ANSWER_LIMIT; i++)
            str_add_char(&r->body, ' ');
        return false;
    case FAULT_WRONG_LABEL:
        if ((at = strstr(r->body.data, "Answer: ")))
            memcpy(at + 8, "xx", 2);
        return true;
    case FAULT_FENCED:
        if ((at = strstr(r->body.data, "Answer: ")))
            memcpy(at - 2, " `", 2);
        return true;
    case FAULT_CONTENT_TYPE:
        r->content_type = "text/html";
        return true;
    default:
        return true;
    }
}

static void serve(void *context, const struct http_asked *q, struct http_reply *r) {
    struct rng rng;
    rng_seed(&rng, (uint64_t)q->number * 7919 + board->faults);
    if (over_limit()) {
        fail_with(r, 429, "Retry-After: 1");
        return;
    }
    chat_script_serve(context, q, r);
    r->delay_ms = board->delay_ms;
    bool good = r->status == 0;
    if (board->faults && rng_chance(&rng, board->percent / 100.0)) {
        int f;
        do
            f = (int)rng_range(&rng, 1, N_FAULTS - 1);
        while (!(board->faults & 1u << f));
        good = plant((enum fault)f, r) && good;
    }
    if (!good)
        return;
    board->n_good++;
    board->n_twice += seen_before(hash64(q->body, strlen(q->body), 5));
}

static pid_t server_pid;

static int start_server(void) {
    int ends[2], port = 0;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || pipe(ends) != 0)
        return -1;
    server_pid = fork();
    if (server_pid == 0) {
        static struct chat_script script = {.by_body = true};
        struct http_script *s = http_script_start(serve, &script);
        port = s ? http_script_port(s) : 0;
        if (write(ends[1], &port, sizeof port) < 0 || !s)
            _exit(1);
        for (;;)
            pause();
    }
    return read(ends[0], &port, sizeof port) == sizeof port ? port : -1;
}

static void reset_board(int delay_ms, int per_minute, unsigned faults, int percent) {
    memset(board, 0, sizeof *board);
    board->delay_ms = delay_ms;
    board->per_minute = per_minute;
    board->faults = faults;
    board->percent = percent;
}

/* ---- the client ---- */

struct asking {
    const struct task *task;
    int next, n, taken;
    struct protocol_request request;
};

static const char *value_of(void *context, const struct task_field *f) {
    static char text[32];
    int i = *(const int *)context;
    if (strcmp(f->name, "delay") == 0)
        snprintf(text, sizeof text, "%d", i % 61);
    else if (strcmp(f->name, "approved share") == 0)
        snprintf(text, sizeof text, "0.%02d", i / 61 % 100);
    else
        return i / 6100 % 2 ? "emergency" : "routine";
    return text;
}

static int next_question(void *context, struct teacher_question *q, struct err *e) {
    struct asking *a = context;
    struct arena arena;
    struct record r;
    if (a->next == a->n)
        return 0;
    arena_init(&arena);
    int rc = record_build(a->task, &arena, true, value_of, &a->next, &r, e);
    if (rc == 0)
        rc = protocol_label(&a->request, PROTOCOL_PLAIN, a->task, &r, e);
    arena_release(&arena);
    *q = (struct teacher_question){.purpose = "label", .tag = a->next++, .request = &a->request};
    return rc < 0 ? rc : 1;
}

static int take_answer(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)tag, (void)a, (void)e;
    ((struct asking *)context)->taken++;
    return 0;
}

static char records[256];

static struct teacher *open_teacher(struct store *s, int port, struct teacher_config c) {
    char url[64];
    struct teacher *t = NULL;
    struct err e = {0};
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", port);
    c.kind = "openai";
    c.url = url;
    c.model = "scripted";
    c.style = "plain";
    if (teacher_open(&t, &c, s, &e) < 0) {
        log_err(&e);
        exit(1);
    }
    return t;
}

static struct store *fresh_store(void) {
    struct store *s = NULL;
    struct err e = {0};
    char name[300];
    static const char *const ends[] = {"", "-wal", "-shm", "-writer"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", records, ends[i]);
        unlink(name);
    }
    if (store_open(&s, records, STORE_WRITE, &e) < 0) {
        log_err(&e);
        exit(1);
    }
    return s;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* ---- 3.1 ---- */

struct speed {
    double seconds, cpu;
    int taken;
};

static struct speed ask_all(const struct task *task, int port, int n, struct teacher_config c) {
    struct store *s = fresh_store();
    struct teacher *t = open_teacher(s, port, c);
    struct asking a = {.task = task, .n = n};
    struct err e = {0};
    double begin = clock_seconds(), cpu = cpu_seconds();
    if (teacher_run(t, &(struct teacher_job){next_question, take_answer, &a}, &e) < 0)
        log_err(&e);
    struct speed v = {clock_seconds() - begin, cpu_seconds() - cpu, a.taken};
    protocol_release(&a.request);
    teacher_close(t);
    store_close(s);
    return v;
}

static void at_once(struct figures *f, const struct task *task, int port) {
    enum { N = 1920, AT_ONCE = 64, RUNS_MAX = 99 };
    double share[RUNS_MAX], cpu[RUNS_MAX], limit = N / (double)AT_ONCE * 0.5;
    int runs = (int)chain_setting("TEACHER_RUNS", 3);
    runs = runs < RUNS_MAX ? runs : RUNS_MAX;
    for (int i = 0; i < runs; i++) {
        reset_board(500, 0, 0, 0);
        struct speed v = ask_all(task, port, N, (struct teacher_config){.parallel = AT_ONCE});
        share[i] = v.taken == N ? limit / v.seconds : 0;
        cpu[i] = v.cpu / v.seconds;
    }
    struct figure a = {
        "3.1",
        "throughput, latency 0.5 s, 64 at once",
        "share of the limit",
        0,
        0,
        0,
        0,
        "1,920 questions a run; 128 answers a second would be all; at least 0.95 is asked for"};
    struct figure b = {"3.1", "client's processor time, the same runs",   "share of a core", 0, 0, 0,
                       0,     "journal included; below 0.05 is asked for"};
    figures_spread(share, runs, &a);
    figures_spread(cpu, runs, &b);
    figures_add(f, &a);
    figures_add(f, &b);
}

static void a_minute(struct figures *f, const struct task *task, int port) {
    enum { PER_MINUTE = 60, MINUTE_N = 60 };
    reset_board(50, PER_MINUTE, 0, 0);
    struct speed v = ask_all(task, port, MINUTE_N,
                             (struct teacher_config){.parallel = 8, .requests_per_minute = PER_MINUTE});
    double limit = 60.0 * (MINUTE_N - 1) / PER_MINUTE;
    figures_add(f, &(struct figure){"3.1", "throughput, 60 requests a minute", "share of the limit",
                                    limit / v.seconds, v.taken, 0, 0,
                                    "59 s from the first to the sixtieth would be all"});
    figures_add(
        f, &(struct figure){"3.1", "requests refused on the way", "", board->refused, v.taken, 0, 0, NULL});
}

/* ---- 3.3 ---- */

struct damage {
    int64_t lost, twice;
    double passed; /* money over the budget */
    int finished, stops;
    char reason[200];
};

static void run_fault(const struct task *task, int port, unsigned faults, int percent, int n,
                      struct damage *d) {
    struct store *s = fresh_store();
    struct store_ledger l = {0};
    *d = (struct damage){0};
    reset_board(0, 0, faults, percent);
    struct teacher_config c = {.parallel = 8,
                               .price_in = 1,
                               .price_out = 1,
                               .has_budget = true,
                               .budget = 5,
                               .net = {.answer_ms = 4000,
                                       /* a busy machine must not look like a stall */ .backoff_ms = 10,
                                       .max_attempts = 4,
                                       .max_answer_bytes = ANSWER_LIMIT}};
    for (int i = 0; i < 60 && !d->finished; i++) { /* each stop says why; the same command goes on */
        struct teacher *t = open_teacher(s, port, c);
        struct asking a = {.task = task, .n = n};
        struct err e = {0};
        d->finished = teacher_run(t, &(struct teacher_job){next_question, take_answer, &a}, &e) == 0;
        d->stops += !d->finished;
        if (!d->finished)
            snprintf(d->reason, sizeof d->reason, "%.190s", e.message);
        protocol_release(&a.request);
        teacher_close(t);
    }
    store_ledger(s, NULL, &l, NULL);
    d->lost = board->n_good - l.n_answered;
    d->twice = board->n_twice;
    d->passed = fmax(l.used.money + l.reserved.money - c.budget, 0);
    store_close(s);
}

static void faults(struct figures *f, const struct task *task, int port) {
    int n = (int)chain_setting("TEACHER_QUESTIONS", 60);
    struct damage d, all = {0};
    unsigned every = 0;
    int n_ended = 0;
    for (int i = 1; i <= N_FAULTS; i++) {
        bool mixed = i == N_FAULTS;
        run_fault(task, port, mixed ? every : 1u << i, 30, n, &d);
        every |= mixed ? 0 : 1u << i;
        all.lost += d.lost;
        all.twice += d.twice;
        all.passed += d.passed;
        n_ended += d.finished || d.reason[0];
        printf("%-24s lost %lld, asked twice %lld, %s after %d stops%s%s\n",
               mixed ? "all of them" : fault_names[i], (long long)d.lost, (long long)d.twice,
               d.finished ? "finished" : "not finished", d.stops, d.reason[0] ? ": " : "", d.reason);
    }
    const char *note = "faults one by one and mixed, in 30% of the requests; answers sent whole and usable";
    figures_add(
        f, &(struct figure){"3.3", "answers lost", "", (double)all.lost, (int64_t)n * N_FAULTS, 0, 0, note});
    figures_add(f, &(struct figure){"3.3", "questions answered twice", "", (double)all.twice,
                                    (int64_t)n * N_FAULTS, 0, 0, note});
    figures_add(f, &(struct figure){"3.3", "money over the budget", "USD", all.passed, (int64_t)n * N_FAULTS,
                                    0, 0, note});
    figures_add(
        f, &(struct figure){"3.3", "runs that finished or said why not", "", n_ended, N_FAULTS, 0, 0, NULL});
    figures_skip(f, "3.3", "clock jump",
                 "pauses and deadlines use the monotonic clock, which none can set; not planted");
}

/* A disk that is full: no file may grow any more. What had arrived stays, the rest is asked when there is room again. */
static void full_disk(struct figures *f, const struct task *task, int port) {
    struct store *s = fresh_store();
    struct rlimit limit, before;
    struct err e = {0};
    struct store_ledger l = {0};
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 256 * 1024;
    reset_board(0, 0, 0, 0);
    struct teacher *t = open_teacher(s, port, (struct teacher_config){.parallel = 8});
    struct asking a = {.task = task, .n = 400};
    setrlimit(RLIMIT_FSIZE, &limit);
    int rc = teacher_run(t, &(struct teacher_job){next_question, take_answer, &a}, &e);
    setrlimit(RLIMIT_FSIZE, &before);
    teacher_close(t);
    store_close(s);
    int64_t good = board->n_good;
    store_open(&s, records, STORE_WRITE, NULL);
    store_ledger(s, NULL, &l, NULL);
    printf("%-24s %s\n", "full disk", rc < 0 ? e.message : "not noticed");
    figures_add(f,
                &(struct figure){
                    "3.3", "full disk: answers neither kept nor in doubt", "",
                    fmax((double)(good - l.n_answered - l.n_doubt), 0), a.n, 0, 0,
                    "what arrives when nothing can be written is in doubt, and counted against the budget"});
    figures_add(f, &(struct figure){"3.3", "full disk: stopped with a reason", "", rc < 0 && e.message[0], 1,
                                    0, 0, NULL});
    store_close(s);
    protocol_release(&a.request);
}

static bool wanted(const char *id) {
    const char *only = getenv("TEACHER_ONLY");
    return !only || strncmp(only, id, strlen(only)) == 0;
}

int main(void) {
    struct task task;
    struct figures *f = figures_new("teacher");
    if (getenv("TEACHER_ONLY"))
        figures_update(f);
    snprintf(records, sizeof records, "/tmp/edgestill-bench-%ld.sqlite", (long)getpid());
    if (wanted("3.2"))
        teacher_checking(f); /* first: a process that is forked has its parent's memory */
    int port = start_server();
    if (port <= 0 || chat_script_task(&task, NULL) < 0) {
        fprintf(stderr, "bench: the scripted server does not start\n");
        return 1;
    }
    if (wanted("3.1-latency"))
        at_once(f, &task, port);
    if (wanted("3.1-minute"))
        a_minute(f, &task, port);
    if (wanted("3.3")) {
        faults(f, &task, port);
        full_disk(f, &task, port);
    }
    figures_skip(f, "3.4", "student accuracy by number of records", "see `make bench-records`");
    kill(server_pid, SIGTERM);
    waitpid(server_pid, NULL, 0);
    store_close(fresh_store());
    unlink(records);
    task_release(&task);
    return figures_finish(f);
}
