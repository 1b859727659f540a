/* Spawning the programs under test, and reading what they wrote. */
#include "chain.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "format/json.h"
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *chain_program(const char *name) {
    static char path[1024];
    const char *build = getenv("EDGESTILL_BUILD");
    snprintf(path, sizeof path, "%s/%s", build ? build : "build", name);
    return path;
}

static void show_end_of(const char *log) {
    struct str text = {0};
    if (file_read(log, 0, &text, NULL) == 0) {
        const char *from = str_text(&text) + (text.len > 2000 ? text.len - 2000 : 0);
        fprintf(stderr, "%s\n", from);
    }
    str_release(&text);
}

static void become(const char *log, const char *const argv[]) {
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
    }
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

double chain_run(const struct chain *c, const char *const argv[]) {
    double start_s = clock_seconds();
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become(c->log, argv);
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench: failed:");
        for (int i = 0; argv[i] && i < 12; i++)
            fprintf(stderr, " %.60s", argv[i]);
        fprintf(stderr, "\n");
        show_end_of(c->log);
        exit(1);
    }
    return clock_seconds() - start_s;
}

json_t *chain_json(const char *folder, const char *name) {
    char *path = file_join(folder, name);
    json_t *j = NULL;
    if (path)
        json_file_read(path, &j, NULL);
    free(path);
    return j;
}

double chain_number(const json_t *j, ...) {
    va_list keys;
    va_start(keys, j);
    for (const char *key; (key = va_arg(keys, const char *));)
        j = json_object_get(j, key);
    va_end(keys);
    return json_is_number(j) ? json_number_value(j) : NAN;
}

char *chain_text(const char *path) {
    struct str text = {0};
    struct err e = {0};
    if (file_read(path, 0, &text, &e) < 0) {
        log_err(&e);
        exit(1);
    }
    char *out = str_take(&text);
    size_t n = out ? strlen(out) : 0;
    if (n && out[n - 1] == '\n')
        out[n - 1] = 0;
    return out;
}

int64_t chain_setting(const char *name, int64_t absent) {
    int64_t value = absent;
    const char *text = getenv(name);
    if (text && (!str_to_i64(text, &value) || value < 1)) {
        fprintf(stderr, "bench: %s must be a whole number from 1 on, not '%s'\n", name, text);
        exit(2);
    }
    return value;
}

void chain_mean(const double *values, int n, double *mean, double *half_width) {
    /* 97.5% points of Student's t with 1 to 10 degrees of freedom; beyond, the normal's is near enough */
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    *mean = n ? sum / n : NAN;
    for (int i = 0; i < n; i++)
        squares += (values[i] - *mean) * (values[i] - *mean);
    *half_width = n < 2 ? NAN : (n <= 11 ? t[n - 2] : 1.96) * sqrt(squares / (n - 1) / n);
}
