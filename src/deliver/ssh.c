/* Running ssh. */
#include "deliver/ssh.h"
#include "base/file.h"
#include "base/interrupt.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

extern char **environ;

enum { MOST_WORDS = 40, SSH_FAILED = 255 };

/* ---- opening ---- */

/* Quotes and ~ as in a shell, but no commands: "ssh -o ProxyCommand='ssh -W %h:%p jump'". */
static int split(const char *command, wordexp_t *words) {
    int rc = wordexp(command, words, WRDE_NOCMD);
    if (rc == WRDE_NOSPACE)
        wordfree(words);
    return rc == 0 ? 0 : -1;
}

static int take_command(struct ssh *s, const char *command, struct err *e) {
    wordexp_t words;
    bool fits = strlen(command) < sizeof s->command && split(command, &words) == 0;
    bool any = fits && words.we_wordc > 0;
    if (fits)
        wordfree(&words);
    if (!any) {
        err_set(e, ERR_USAGE, "ssh_open", "\"%.200s\" is no command for ssh", command);
        err_hint(e, "words and options as in a shell, at most 511 bytes: --ssh \"ssh -p 2222\"; what is "
                    "longer belongs in ~/.ssh/config");
        return ERR_USAGE;
    }
    snprintf(s->command, sizeof s->command, "%s", command);
    return 0;
}

int ssh_open(struct ssh *s, const char *host, const char *command, struct err *e) {
    const char *named = command ? command : getenv("EDGESTILL_SSH");
    const char *tmp = getenv("TMPDIR");
    *s = (struct ssh){0};
    bool plain =
        host[0] && host[0] != '-' && strlen(host) < sizeof s->host && !strpbrk(host, " \t\n'\"\\;&|<>$`");
    if (!plain) {
        err_set(e, ERR_USAGE, "ssh_open", "\"%s\" is no host", host);
        err_hint(e, "[USER@]HOST, or a name from ~/.ssh/config");
        return ERR_USAGE;
    }
    snprintf(s->host, sizeof s->host, "%s", host);
    int rc = take_command(s, named && named[0] ? named : "ssh", e);
    if (rc < 0)
        return rc;
    /* A socket's path may have 107 bytes, and ssh adds some 20 while it makes one. */
    snprintf(s->control, sizeof s->control, "%s/edgestill-ssh.XXXXXX",
             tmp && strlen(tmp) < 30 ? tmp : "/tmp");
    if (!mkdtemp(s->control))
        s->control[0] = 0; /* every call then opens a connection of its own */
    return 0;
}

/* ---- one call ---- */

struct call {
    const struct ssh_call *q;
    wordexp_t command; /* its words, where split */
    bool split;
    struct str control, remote;
    char *words[MOST_WORDS + 1];
    int n_words, input, output;
    pid_t pid;
};

static void add_word(struct call *c, const char *word) {
    if (c->n_words < MOST_WORDS)
        c->words[c->n_words++] = (char *)(uintptr_t)word;
}

/* ssh, its options, and where the shared connection's socket is. */
static void add_ssh(struct call *c, const struct ssh *s) {
    c->split = split(s->command, &c->command) == 0;
    for (size_t i = 0; c->split && i < c->command.we_wordc; i++)
        add_word(c, c->command.we_wordv[i]);
    if (!s->control[0])
        return;
    str_addf(&c->control, "ControlPath=%s/s", s->control);
    add_word(c, "-o");
    add_word(c, str_text(&c->control));
}

static int build(struct call *c, const struct ssh *s, struct err *e) {
    add_ssh(c, s);
    if (s->control[0]) {
        add_word(c, "-o");
        add_word(c, "ControlMaster=auto");
        add_word(c, "-o");
        add_word(c, "ControlPersist=60");
    }
    add_word(c, "-T");
    add_word(c, "--");
    add_word(c, s->host);
    str_add(&c->remote, "sh -c ");
    str_add_quoted(&c->remote, c->q->script);
    str_add(&c->remote, " edgestill");
    for (int i = 0; i < SSH_ARGS && c->q->args[i]; i++) {
        str_add_char(&c->remote, ' ');
        str_add_quoted(&c->remote, c->q->args[i]);
    }
    add_word(c, str_text(&c->remote));
    if (!c->split || c->n_words == MOST_WORDS)
        return err_set(e, ERR_NO_MEMORY, "ssh_run", "the ssh command has too many words");
    int rc = str_check(&c->control, e);
    return rc < 0 ? rc : str_check(&c->remote, e);
}

/* A text becomes a file without a name, so that ssh reads it by itself. */
static int open_input(struct call *c, struct err *e) {
    const struct ssh_call *q = c->q;
    if (q->input) {
        FILE *f = tmpfile();
        size_t n = strlen(q->input);
        bool written = f && fwrite(q->input, 1, n, f) == n && fflush(f) == 0;
        c->input = written ? fcntl(fileno(f), F_DUPFD_CLOEXEC, 3) : -1;
        if (f)
            fclose(f);
    } else {
        c->input = open(q->input_path ? q->input_path : "/dev/null", O_RDONLY | O_CLOEXEC);
    }
    bool placed =
        c->input >= 0 &&
        (lseek(c->input, q->input_path ? (off_t)q->input_offset : 0, SEEK_SET) >= 0 || !q->input_path);
    return placed ? 0
                  : err_set_errno(e, ERR_IO, "ssh_run", "cannot read %s",
                                  q->input_path ? q->input_path : "the input");
}

static int start(struct call *c, struct err *e) {
    int from[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(from, O_CLOEXEC) != 0)
        return err_set_errno(e, ERR_FAILED, "ssh_run", "no pipe for ssh");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, c->input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    fflush(stdout);
    int failed = posix_spawnp(&c->pid, c->words[0], &actions, NULL, c->words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(from[1]);
    c->output = from[0];
    if (!failed)
        return 0;
    err_set(e, ERR_UNSUPPORTED, "ssh_run", "%s cannot be started: %s", c->words[0], strerror(failed));
    err_hint(e, "install OpenSSH's client");
    return ERR_UNSUPPORTED;
}

/* Until ssh closes its output. ssh moves the input's place as it reads, and we can see where it is. */
static void listen_to(struct call *c) {
    struct pollfd p = {.fd = c->output, .events = POLLIN};
    char bytes[4096];
    while (true) {
        int n = poll(&p, 1, 200);
        if (c->q->progress)
            progress_update(c->q->progress,
                            c->q->progress_base + (int64_t)lseek(c->input, 0, SEEK_CUR) - c->q->input_offset);
        if (interrupt_requested())
            kill(c->pid, SIGTERM);
        if (n == 0 || (n < 0 && errno == EINTR))
            continue;
        ssize_t got = read(c->output, bytes, sizeof bytes);
        if (got <= 0)
            return;
        if (c->q->out)
            str_add_bytes(c->q->out, bytes, (size_t)got);
        if (c->q->echo)
            fwrite(bytes, 1, (size_t)got, stdout);
    }
}

static int finish(struct call *c, const struct ssh *s, int *status, struct err *e) {
    int wait_status = 0;
    while (waitpid(c->pid, &wait_status, 0) < 0 && errno == EINTR)
        ;
    if (c->q->echo)
        fflush(stdout);
    if (interrupt_requested())
        return interrupt_check(e);
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : SSH_FAILED;
    if (code == SSH_FAILED) {
        err_set(e, ERR_NET, "ssh_run", "the connection to %s failed (ssh says why above)", s->host);
        err_hint(e, "try: %s %s true; what was copied is kept, and the same command goes on from there",
                 s->command, s->host);
        return ERR_NET;
    }
    *status = code;
    return c->q->out ? str_check(c->q->out, e) : 0;
}

int ssh_run(struct ssh *s, const struct ssh_call *q, int *status, struct err *e) {
    struct call c = {.q = q, .input = -1, .output = -1};
    int rc = build(&c, s, e);
    if (rc == 0)
        rc = open_input(&c, e);
    if (rc == 0)
        rc = start(&c, e);
    if (rc == 0) {
        listen_to(&c);
        rc = finish(&c, s, status, e);
    }
    if (c.input >= 0)
        close(c.input);
    if (c.output >= 0)
        close(c.output);
    if (c.split)
        wordfree(&c.command);
    str_release(&c.control);
    str_release(&c.remote);
    return rc;
}

/* Ends the shared connection; there may be none, so nobody minds how that goes. */
static void leave(const struct ssh *s) {
    struct call c = {.output = -1};
    int status = 0;
    posix_spawn_file_actions_t quiet;
    add_ssh(&c, s);
    add_word(&c, "-O");
    add_word(&c, "exit");
    add_word(&c, "--");
    add_word(&c, s->host);
    posix_spawn_file_actions_init(&quiet);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", O_RDWR, 0);
    if (c.words[0] && posix_spawnp(&c.pid, c.words[0], &quiet, NULL, c.words, environ) == 0) {
        while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    posix_spawn_file_actions_destroy(&quiet);
    if (c.split)
        wordfree(&c.command);
    str_release(&c.control);
}

void ssh_close(struct ssh *s) {
    if (s->control[0]) {
        leave(s);
        file_remove_tree(s->control, NULL);
    }
    *s = (struct ssh){0};
}
