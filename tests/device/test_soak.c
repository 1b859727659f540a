/* A pipe that runs for weeks, in short: every record is answered in order and the memory stays what it was. 2,000 records; 100,000 in
 * `make soak`. */
#include "base/file.h"
#include "support/scratch.h"
#include "support/tiny_bundle.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct tiny_bundle t;
static bool possible;

struct pipe_run {
    pid_t pid;
    FILE *in, *out;
    int64_t n;
};

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

static void start(struct pipe_run *p) {
    int to[2], from[2];
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    p->pid = fork();
    if (p->pid == 0) {
        unsetenv("LD_LIBRARY_PATH");
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        execl("here/run", "run", "--threads", "1", (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    p->in = fdopen(to[1], "w");
    p->out = fdopen(from[0], "r");
}

/* Records of varying length; every hundredth line is none. */
static void *feed(void *context) {
    struct pipe_run *p = context;
    for (int64_t i = 0; i < p->n; i++) {
        if (i % 100 == 99)
            fprintf(p->in, "{\"delay\":%*d\n", (int)(i % 700), 1);
        else
            fprintf(p->in, "{\"id\":\"%lld\",\"delay\":%d,\"visit type\":\"%s\"}\n", (long long)i,
                    (int)(i % 20), i % 3 ? "routine" : "emergency");
    }
    fclose(p->in);
    return NULL;
}

static int64_t resident_kb(pid_t pid) {
    char path[64];
    struct str text = {0};
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    assert_int_equal(file_read(path, 1 << 16, &text, NULL), 0);
    const char *at = strstr(str_text(&text), "VmRSS:");
    int64_t kb = at ? atoll(at + 6) : 0;
    str_release(&text);
    return kb;
}

static void test_memory_stays(void **state) {
    (void)state;
    if (!possible)
        skip();
    struct pipe_run p = {.n = getenv("EDGESTILL_SOAK") ? 100000 : 2000};
    pthread_t feeder;
    char line[4096], id[64];
    int64_t early_kb = 0, late_kb = 0, n = 0;
    start(&p);
    assert_int_equal(pthread_create(&feeder, NULL, feed, &p), 0);
    for (; fgets(line, sizeof line, p.out); n++) {
        snprintf(id, sizeof id, "{\"id\":\"%lld\",", (long long)n);
        if (n % 100 == 99 ? !strstr(line, "\"error\"") : strncmp(line, id, strlen(id)) != 0)
            fail_msg("answer %lld: %s", (long long)n, line);
        if (n == p.n / 4)
            early_kb = resident_kb(p.pid);
        if (n == p.n - 100) /* it may end once the last record is read */
            late_kb = resident_kb(p.pid);
    }
    pthread_join(feeder, NULL);
    int status = 0;
    waitpid(p.pid, &status, 0);
    fclose(p.out);
    assert_int_equal(n, p.n);
    assert_int_equal(WEXITSTATUS(status), 2); /* there were lines that could not be used */
    assert_true(early_kb > 0 && late_kb > 0);
    print_message("# %lld records: %lld kB after a quarter, %lld kB at the end\n", (long long)n,
                  (long long)early_kb, (long long)late_kb);
    assert_true(
        late_kb - early_kb <=
        256); /* pages that the allocator touches late; a leak of 4 bytes a record shows in the soak */
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_stays)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
