/* Starting a program, giving it something to read and catching what it says: see probe.h. */
#include "cmd/probe.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MOST_OUTPUT = 16384 };

static int start(const char *const argv[], int input, int output, pid_t *pid, struct err *e) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (input >= 0)
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    int failed = posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return err_set(e, ERR_FAILED, "probe_program", "%s cannot be started: %s", argv[0], strerror(failed));
    return 0;
}

/* Reads until the program closes its output; false when the time is over. */
static bool read_output(int input, double deadline, struct str *text) {
    for (;;) {
        double left = deadline - clock_seconds();
        struct pollfd p = {.fd = input, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) == 0)
            return false;
        char chunk[512];
        ssize_t n = read(input, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
        if (text->len < MOST_OUTPUT)
            str_add_bytes(text, chunk, (size_t)n);
    }
}

static void first_line(const struct str *text, char *line, size_t n) {
    const char *t = str_text(text);
    t += strspn(t, " \t\r\n");
    snprintf(line, n, "%.*s", (int)strcspn(t, "\r\n"), t);
}

/* Runs to the end; everything that was said is in `text`, and an error quotes its first line. */
static int run(const char *const argv[], int input, int timeout_ms, struct str *text, struct err *e) {
    int ends[2];
    pid_t pid;
    char line[200];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set_errno(e, ERR_FAILED, "probe_program", "no pipe");
    int code = start(argv, input, ends[1], &pid, e);
    close(ends[1]);
    if (code == 0) {
        int status = 0;
        bool ended = read_output(ends[0], clock_seconds() + timeout_ms / 1000.0, text);
        if (!ended)
            kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        first_line(text, line, sizeof line);
        if (!ended)
            code =
                err_set(e, ERR_FAILED, "probe_program", "%s did not end within %d ms", argv[0], timeout_ms);
        else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            code = err_set(e, ERR_FAILED, "probe_program", "%s fails: %s", argv[0], line);
    }
    close(ends[0]);
    return code;
}

int probe_program(const char *const argv[], int timeout_ms, char *line, size_t n, struct err *e) {
    struct str text = {0};
    int code = run(argv, -1, timeout_ms, &text, e);
    first_line(&text, line, n);
    str_release(&text);
    return code;
}

int probe_script(const char *const argv[], const char *script, int timeout_ms, struct str *out,
                 struct err *e) {
    FILE *file = tmpfile();
    if (file == NULL || fputs(script, file) < 0 || fflush(file) != 0 ||
        lseek(fileno(file), 0, SEEK_SET) != 0) {
        if (file != NULL)
            fclose(file);
        return err_set_errno(e, ERR_IO, "probe_script", "no room for a temporary file");
    }
    int code = run(argv, fileno(file), timeout_ms, out, e);
    fclose(file);
    return code;
}
