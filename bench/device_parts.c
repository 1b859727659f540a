/* Memory limit, emulation, load, deployment. */
#include "bench/device_parts.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "bench/device_race.h"
#include "bench/serving.h"
#include "deliver/trial.h"
#include "format/json.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The task of 6.1 and 6.3, and a small one. */
static const struct shape_request usual = {.n_prefix = 150, .n_record = 100},
                                  brief = {.n_prefix = 40, .n_record = 20};

int bench_shapes(struct err *e) {
    const struct shape_model *all[] = {&shape_qwen3, &shape_qwen3_trimmed, &shape_tinyllama, &shape_small};
    char path[256];
    int rc = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == 0; i++)
        rc = shape_file(shape_pick(all[i]), NULL, path, e);
    return rc == 0 ? bench_paper_shapes(e) : rc;
}

/* ---- 6.3: a memory limit ---- */

/* A control group of our own; version 2 where the machine has it, else 1. */
struct group {
    char folder[128];
    bool v2;
};

static bool put(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    bool done = f && fputs(text, f) >= 0;
    return f && fclose(f) == 0 && done;
}

static int group_make(struct group *g, int64_t limit_bytes, struct err *e) {
    char text[32];
    g->v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
    snprintf(g->folder, sizeof g->folder, "/sys/fs/cgroup/%sedgestill-bench-%d", g->v2 ? "" : "memory/",
             (int)getpid());
    if (mkdir(g->folder, 0755) != 0)
        return err_set_errno(e, ERR_UNSUPPORTED, "bench", "no control group can be made here");
    snprintf(text, sizeof text, "%lld", (long long)limit_bytes);
    bool set = put(g->folder, g->v2 ? "memory.max" : "memory.limit_in_bytes", text);
    if (g->v2)
        put(g->folder, "memory.swap.max", "0");
    else
        put(g->folder, "memory.swappiness", "0");
    if (set)
        return 0;
    rmdir(g->folder);
    return err_set(e, ERR_UNSUPPORTED, "bench", "the control group takes no memory limit here");
}

/* A page of a file is charged to the group that reads it first: the model leaves the page cache, so that it is read within the limit. */
static int forget_model(const char *bundle, struct err *e) {
    char path[300];
    snprintf(path, sizeof path, "%s/model/student.gguf", bundle);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool gone = fd >= 0 && fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    if (fd >= 0)
        close(fd);
    return gone ? 0 : err_set_errno(e, ERR_IO, "bench", "cannot take %s out of the page cache", path);
}

enum { MOST_DECISIONS = 64, WARM_UP = 3 };

/* A server within the limit (0: none), from a bundle and so a model file of its own: pages that the other one read are not its. */
struct limited {
    const char *folder;
    int64_t limit_bytes;
    struct group group;
    struct serving server;
    double seconds[MOST_DECISIONS], faults_before;
};

static const char *log_of(const struct limited *l) {
    return l->limit_bytes ? "build/bench/device-work/limited.log" : "build/bench/device-work/unlimited.log";
}

static int start_limited(struct limited *l, struct err *e) {
    char command[700], threads[16];
    int port = free_port();
    int rc = l->limit_bytes ? forget_model(l->folder, e) : 0;
    if (rc == 0 && l->limit_bytes)
        rc = group_make(&l->group, l->limit_bytes, e);
    if (rc < 0)
        return rc;
    snprintf(threads, sizeof threads, "%d", bench_threads());
    snprintf(command, sizeof command, "%s%s%sexec %s/run --serve --listen 127.0.0.1:%d --threads %s",
             l->limit_bytes ? "echo $$ >" : "", l->group.folder, l->limit_bytes ? "/cgroup.procs && " : "",
             l->folder, port, threads);
    serving_start(&l->server, (const char *const[]){"/bin/sh", "-c", command, NULL}, port, log_of(l));
    return serving_wait(&l->server, "/health")
               ? 0
               : err_set(e, ERR_FAILED, "bench", "the server does not start; see %s", log_of(l));
}

static void stop_limited(struct limited *l) {
    serving_stop(&l->server);
    if (l->group.folder[0])
        rmdir(l->group.folder);
}

static int ask_limited(struct limited *l, const struct shape_task *t, int i, struct err *e) {
    struct str json = {0};
    double seconds = 0;
    if (i == 0)
        l->faults_before = process_major_faults(l->server.pid);
    shape_record(t, i + WARM_UP, &json);
    int status = serving_ask(&l->server, "/v1/decide", str_text(&json), NULL, &seconds);
    str_release(&json);
    if (i >= 0)
        l->seconds[i] = seconds;
    return status == 200
               ? 0
               : err_set(e, ERR_FAILED, "bench", "the server answered %d; see %s", status, log_of(l));
}

static void add_limited(struct figures *f, const char *shape, const struct limited *l,
                        const struct limited *unlimited, int n) {
    char name[160];
    double speed[MOST_DECISIONS];
    struct figure s = {.id = "6.3",
                       .name = "speed within the limit, of the unlimited",
                       .unit = "%",
                       .note = "asked for: 95 or more; both asked in turn, pair by pair"};
    for (int i = 0; i < n; i++)
        speed[i] = 100 * unlimited->seconds[i] / l->seconds[i];
    figures_spread(speed, n, &s);
    pid_t pid = l->server.pid;
    const struct figure all[] = {
        {"6.3", "peak memory", "MB", process_peak_bytes(pid) / 1e6, 1, 0, 0, "resident, of the server"},
        {"6.3", "swapped", "bytes", process_swapped_bytes(pid), 1, 0, 0, "asked for: 0"},
        {"6.3", "major faults after warm-up", "", process_major_faults(pid) - l->faults_before, n, 0, 0,
         "asked for: 0"},
        s};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct figure one = all[i];
        snprintf(name, sizeof name, "%s within %lld MB: %s", shape, (long long)(l->limit_bytes / 1000000),
                 all[i].name);
        one.name = name;
        figures_add(f, &one);
    }
}

/* Both servers are up and asked in turn, the first of a pair in turn, too. */
static int race_limited(struct limited both[2], const struct shape_task *t, int n, struct err *e) {
    int rc = start_limited(&both[0], e);
    if (rc == 0)
        rc = start_limited(&both[1], e);
    for (int i = -WARM_UP; i < n && rc == 0; i++)
        for (int k = 0; k < 2 && rc == 0; k++)
            rc = ask_limited(&both[(i + k + WARM_UP) % 2], t, i, e);
    return rc;
}

static int limit_one(struct figures *f, const struct shape_model *m, int64_t limit_mb, struct err *e) {
    char model[256];
    struct shape_task t;
    struct limited both[2] = {
        {.folder = "build/bench/device-work/unlimited"},
        {.folder = "build/bench/device-work/limited", .limit_bytes = limit_mb * 1000000}};
    int n = (int)chain_setting("DEVICE_RUNS", 9);
    n = n > MOST_DECISIONS ? MOST_DECISIONS : n;
    int rc = shape_file(m, NULL, model, e);
    if (rc == 0)
        rc = shape_task_make(&t, model, &usual, e);
    if (rc < 0)
        return rc;
    for (int k = 0; k < 2 && rc == 0; k++) {
        const struct shape_bundle b = {.arch = "amd64",
                                       .folder = both[k].folder,
                                       .n_threads = bench_threads(),
                                       .memory_bytes = (double)limit_mb * 1e6};
        rc = shape_bundle_make(&t, model, &b, e);
    }
    if (rc == 0)
        rc = race_limited(both, &t, n, e);
    if (rc == 0)
        add_limited(f, m->name, &both[1], &both[0], n);
    stop_limited(&both[1]);
    stop_limited(&both[0]);
    shape_task_release(&t);
    return rc;
}

int bench_memory_limit(struct figures *f, struct err *e) {
    int rc = limit_one(f, shape_pick(&shape_qwen3), 700, e);
    return rc < 0 ? rc : limit_one(f, shape_pick(&shape_qwen3_trimmed), 350, e);
}

/* ---- 6.4: emulated ---- */

int bench_emulated(struct figures *f, struct err *e) {
    static const char *const cores[] = {"cortex-a76", "cortex-a35"};
    char model[256], name[160];
    struct shape_task t;
    const struct shape_bundle b = {
        .arch = "arm64", .folder = "build/bench/device-work/arm64", .n_threads = 2};
    int rc = shape_file(&shape_small, NULL, model, e);
    if (rc == 0)
        rc = shape_task_make(&t, model, &brief, e);
    if (rc == 0)
        rc = shape_bundle_make(&t, model, &b, e);
    for (size_t i = 0; i < sizeof cores / sizeof *cores && rc == 0; i++) {
        json_t *receipt = NULL;
        struct trial q = {.folder = b.folder,
                          .arch = "arm64",
                          .core = cores[i],
                          .receipt = "build/bench/device-work/emulated.json",
                          .n_threads = 1,
                          .quiet = true};
        rc = trial_run(&q, e);
        if (rc < 0 || (rc = json_file_read(q.receipt, &receipt, e)) < 0)
            break;
        const json_t *test = json_object_get(receipt, "selftest");
        snprintf(name, sizeof name, "self-test, emulated %s: golden rows answered as here", cores[i]);
        figures_add(f, &(struct figure){"6.4", name, "%",
                                        100 * json_number_value(json_object_get(test, "agreeing_rows")) /
                                            json_number_value(json_object_get(test, "rows")),
                                        (int64_t)json_integer_value(json_object_get(test, "rows")), 0, 0,
                                        "emulated: it runs there, and how right, never how fast"});
        snprintf(name, sizeof name, "self-test, emulated %s: largest difference of a probability", cores[i]);
        figures_add(f, &(struct figure){"6.4", name, "",
                                        json_number_value(json_object_get(test, "largest_difference")), 1, 0,
                                        0, NULL});
        json_decref(receipt);
    }
    shape_task_release(&t);
    return rc;
}

/* ---- 6.5: load ---- */

enum { CLIENTS = 64, MOST_TIMES = 1 << 20 };

struct load {
    const struct serving *server;
    const struct shape_task *task;
    double until_s;
    double *seconds; /* MOST_TIMES, of answered decisions */
    atomic_llong n_times, n_lost, n_wrong, n_busy, n_malformed;
};

/* What every fifth request is instead: no HTTP, no JSON, no record, too long. */
static bool send_nonsense(struct load *l, int kind) {
    static const char *const bodies[] = {"{\"first\":", "[]", "{\"nobody\":1}", ""};
    static const char garbage[] = "BREW /pot HTCPCP/1.0\r\nContent-Length: 9999999\r\n\r\n";
    if (kind == 4)
        return serving_raw(l->server, garbage, sizeof garbage - 1, NULL) < 500;
    int status = serving_ask(l->server, "/v1/decide", bodies[kind], NULL, NULL);
    return status == 400 || status == 503;
}

static void *client(void *context) {
    struct load *l = context;
    struct rng r;
    rng_seed(&r, (uint64_t)(uintptr_t)&r);
    while (clock_seconds() < l->until_s) {
        if (rng_range(&r, 0, 4) == 0) {
            l->n_malformed++;
            l->n_wrong += !send_nonsense(l, (int)rng_range(&r, 0, 4));
            continue;
        }
        struct str json = {0}, answer = {0};
        double seconds = 0;
        shape_record(l->task, rng_range(&r, 0, 23), &json);
        int status = serving_ask(l->server, "/v1/decide", str_text(&json), &answer, &seconds);
        l->n_lost += status == 0;
        l->n_busy += status == 503;
        l->n_wrong +=
            status != 0 && status != 503 && (status != 200 || !strstr(str_text(&answer), "\"label\""));
        long long at = status == 200 ? l->n_times++ : MOST_TIMES;
        if (at < MOST_TIMES)
            l->seconds[at] = seconds;
        str_release(&json);
        str_release(&answer);
    }
    return NULL;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_clients(struct load *l, double seconds) {
    pthread_t threads[CLIENTS];
    l->until_s = clock_seconds() + seconds;
    for (int i = 0; i < CLIENTS; i++)
        pthread_create(&threads[i], NULL, client, l);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
}

static void add_load(struct figures *f, struct load *l, double before, double after, double seconds) {
    int64_t n = l->n_times < MOST_TIMES ? l->n_times : MOST_TIMES;
    qsort(l->seconds, (size_t)n, sizeof *l->seconds, by_size);
    double p50 = n ? l->seconds[n / 2] : NAN, p99 = n ? l->seconds[(n * 99) / 100] : NAN;
    const struct figure figures[] = {
        {"6.5", "64 connections: decisions", "a second", (double)n / seconds, n, 0, 0,
         "a small model: the server is measured"},
        {"6.5", "64 connections: requests without an answer", "", (double)l->n_lost, n, 0, 0, "asked for: 0"},
        {"6.5", "64 connections: wrong answers", "", (double)l->n_wrong, n, 0, 0, "asked for: 0"},
        {"6.5", "64 connections: told to come again (503)", "", (double)l->n_busy, n, 0, 0,
         "the queue holds 64"},
        {"6.5", "64 connections: malformed requests mixed in", "", (double)l->n_malformed, l->n_malformed, 0,
         0, NULL},
        {"6.5", "64 connections: median", "s", p50, n, 0, 0, NULL},
        {"6.5", "64 connections: 99th percentile", "s", p99, n, 0, 0, NULL},
        {"6.5", "64 connections: growth of memory", "kB", (after - before) / 1024, 1, 0, 0,
         "resident, from a sixth of the time on"}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        figures_add(f, &figures[i]);
}

int bench_load(struct figures *f, struct err *e) {
    char model[256], listen[32];
    struct shape_task t;
    struct serving s;
    double seconds = (double)chain_setting("DEVICE_LOAD_S", 60);
    const struct shape_bundle b = {.arch = "amd64", .folder = "build/bench/device-work/load", .n_threads = 1};
    struct load l = {.server = &s, .task = &t, .seconds = calloc(MOST_TIMES, sizeof(double))};
    int port = free_port(), rc = l.seconds ? shape_file(&shape_small, NULL, model, e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = shape_task_make(&t, model, &brief, e);
    if (rc == 0)
        rc = shape_bundle_make(&t, model, &b, e);
    if (rc < 0)
        return rc;
    snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
    serving_start(&s,
                  (const char *const[]){"build/bench/device-work/load/run", "--serve", "--threads", "1",
                                        "--listen", listen, NULL},
                  port, "build/bench/device-work/load.log");
    if (!serving_wait(&s, "/health"))
        return err_set(e, ERR_FAILED, "bench",
                       "the server does not start; see build/bench/device-work/load.log");
    run_clients(&l, seconds / 6); /* warms up: buffers take their size */
    double before = process_resident_bytes(s.pid);
    l.n_times = 0;
    run_clients(&l, seconds);
    add_load(f, &l, before, process_resident_bytes(s.pid), seconds);
    serving_stop(&s);
    shape_task_release(&t);
    free(l.seconds);
    return 0;
}

/* ---- 6.6: deployment ---- */

int bench_deployment(struct figures *f, struct err *e) {
    char line[512], reason[256] = "";
    int64_t n_ok = 0, n_failed = 0;
    FILE *test = popen("bash tests/deliver/test_deploy.sh 2>/dev/null </dev/null", "r");
    while (test && fgets(line, sizeof line, test)) {
        n_ok += strncmp(line, "ok ", 3) == 0;
        n_failed += strncmp(line, "not ok ", 7) == 0;
        if (strncmp(line, "skip ", 5) == 0)
            snprintf(reason, sizeof reason, "%.250s", line + 5);
    }
    if (test)
        pclose(test);
    reason[strcspn(reason, "\n")] = 0;
    if (n_ok == 0)
        return err_set(e, ERR_UNSUPPORTED, "bench", "%s",
                       reason[0] ? reason : "tests/deliver/test_deploy.sh does not run");
    figures_add(f, &(struct figure){"6.6", "a real sshd on loopback: checks that hold", "%",
                                    100.0 * (double)n_ok / (double)(n_ok + n_failed), n_ok + n_failed, 0, 0,
                                    "fresh, unchanged, changed, killed at random points, disk full, failing "
                                    "self-test (tests/deliver/test_deploy.sh)"});
    return 0;
}
