/* Running a bundle's self-test. */
#include "deliver/trial.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "base/str.h"
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MOST_WORDS = 24 };

struct command {
    struct arena arena;
    const char *words[MOST_WORDS + 1]; /* ends with NULL */
    const char *emulator;              /* "EDGESTILL_EMULATOR=…"; NULL: none */
    int n;
    bool failed;
};

/* Takes a copy; NULL stands for a text that could not be made. */
static void add(struct command *c, const char *word) {
    const char *copy = word && c->n < MOST_WORDS ? arena_strdup(&c->arena, word) : NULL;
    c->failed = c->failed || !copy;
    if (copy)
        c->words[c->n++] = copy;
}

bool trial_is_emulated(const char *arch) {
    struct utsname u = {0};
    const char *own = uname(&u) < 0                       ? ""
                      : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                      : strcmp(u.machine, "x86_64") == 0  ? "amd64"
                                                          : "";
    return strcmp(arch, own) != 0;
}

/* What `run` puts before the program, for another architecture. */
static const char *emulator(struct arena *a, const struct trial *q, struct err *e) {
    if (strcmp(q->arch, "arm64") != 0 || access(EDGESTILL_QEMU_ARM64, X_OK) != 0) {
        err_set(e, ERR_UNSUPPORTED, "trial_run", "there is no emulator for %s here", q->arch);
        err_hint(e, "that for arm64 comes with the package qemu-user-static");
        return NULL;
    }
    return arena_printf(a, "EDGESTILL_EMULATOR=%s%s%s", EDGESTILL_QEMU_ARM64, q->core ? " -cpu " : "",
                        q->core ? q->core : "");
}

/* The bundle's own `run`, as users start it. */
static int build_command(struct command *c, const struct trial *q, struct err *e) {
    bool emulated = trial_is_emulated(q->arch);
    if (emulated && !(c->emulator = emulator(&c->arena, q, e)))
        return ERR_UNSUPPORTED;
    add(c, arena_printf(&c->arena, "%s/run", q->folder));
    add(c, "--selftest");
    add(c, "--receipt");
    add(c, q->receipt);
    if (emulated)
        add(c, "--emulated");
    if (q->n_rows > 0) {
        add(c, "--rows");
        add(c, arena_printf(&c->arena, "%lld", (long long)q->n_rows));
    }
    if (q->n_threads > 0) {
        add(c, "--threads");
        add(c, arena_printf(&c->arena, "%d", q->n_threads));
    }
    return c->failed ? err_set(e, ERR_NO_MEMORY, "trial_run", "no memory for the command") : 0;
}

/* This process's environment, and the emulator where there is one. */
static const char **environment(struct command *c) {
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    const char **out = arena_calloc(&c->arena, n + 2, sizeof *out);
    for (size_t i = 0; out && i < n; i++)
        if (!str_starts(environ[i], "EDGESTILL_EMULATOR="))
            out[kept++] = environ[i];
    if (out && c->emulator)
        out[kept] = c->emulator;
    return out;
}

static int start(struct command *c, bool quiet, pid_t *pid, struct err *e) {
    posix_spawn_file_actions_t actions;
    const char **variables = environment(c);
    if (!variables)
        return err_set(e, ERR_NO_MEMORY, "trial_run", "no memory for the environment");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (quiet)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    fflush(stdout);
    int failed = posix_spawn(pid, c->words[0], &actions, NULL, (char *const *)(uintptr_t)c->words,
                             (char *const *)(uintptr_t)variables);
    posix_spawn_file_actions_destroy(&actions);
    if (!failed)
        return 0;
    return err_set(e, ERR_FAILED, "trial_run", "%s cannot be started: %s", c->words[0], strerror(failed));
}

static int outcome(int status, const struct trial *q, struct err *e) {
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 0)
        return 0;
    if (interrupt_requested())
        return interrupt_check(e);
    if (code == 1 && file_exists(q->receipt))
        return err_set(e, ERR_MISMATCH, "trial_run", "the bundle's self-test failed; see %s", q->receipt);
    return code >= 0
               ? err_set(e, ERR_FAILED, "trial_run", "the bundle's self-test ended with status %d", code)
               : err_set(e, ERR_FAILED, "trial_run", "the bundle's self-test was ended by signal %d",
                         WTERMSIG(status));
}

int trial_run(const struct trial *q, struct err *e) {
    struct command c = {0};
    pid_t pid;
    int status = 0;
    arena_init(&c.arena);
    int rc = build_command(&c, q, e);
    if (rc == 0) {
        unlink(q->receipt); /* whatever is there afterwards is of this run */
        rc = start(&c, q->quiet, &pid, e);
    }
    if (rc == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        rc = outcome(status, q, e);
    }
    arena_release(&c.arena);
    return rc;
}
