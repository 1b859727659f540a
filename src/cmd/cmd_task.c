/* `edgestill task`: from the sentence to task.yaml, drafted by the teacher or made of own rows, shown, edited and accepted by the
 * user. */
#include "base/file.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/project.h"
#include "cmd/task_rows.h"
#include "cmd/teaching.h"
#include "format/json.h"
#include "synth/draft.h"
#include "synth/wording.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct option_def options[] = {
    {"accept", OPTION_FLAG, NULL, "accept task.yaml as it stands: writes task.lock", NULL},
    {"edit", OPTION_FLAG, NULL, "open task.yaml in $VISUAL or $EDITOR, then check it", NULL},
    {"from", OPTION_STRING, "WHAT",
     "rows: infer it from your own; sentence: have it drafted (default: rows where there are any)", NULL},
    {"kind", OPTION_STRING, "KIND", "classify, extract or respond, where the rows do not show it", NULL},
    TEACHING_OPTIONS,
    {0},
};

/* ---- drafting ---- */

/* "Healthcare Claims" -> "healthcare-claims": the folder's name as the task's. */
static void short_name(const struct project *p, char *out, size_t n) {
    char *whole = realpath(p->dir, NULL);
    const char *from = whole ? strrchr(whole, '/') : NULL;
    size_t used = 0;
    for (from = from ? from + 1 : "task"; *from && used + 1 < n && used < 40; from++) {
        unsigned char ch = (unsigned char)tolower((unsigned char)*from);
        bool fits = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9');
        if (fits)
            out[used++] = (char)ch;
        else if (used > 0 && out[used - 1] != '-')
            out[used++] = '-';
    }
    while (used > 0 && out[used - 1] == '-')
        used--;
    out[used] = 0;
    if (used == 0)
        snprintf(out, n, "task");
    free(whole);
}

static int write_task(struct cmd_ctx *c, const char *path, const struct task *t) {
    struct str yaml = {0};
    int code = task_to_yaml(t, &yaml, &c->err);
    if (code == 0)
        code = file_write(path, yaml.data, yaml.len, &c->err);
    str_release(&yaml);
    return code;
}

/* What the user is to look at before accepting. */
static void tell_draft(struct cmd_ctx *c, const struct draft_result *r, const struct task *t,
                       const char *path) {
    json_object_set_new(c->result, "reading", *r->reading ? json_lossy_string(r->reading) : json_null());
    if (c->quiet)
        return;
    if (r->attempts > 1)
        log_info("the draft was right at attempt %d (before: %s)", r->attempts, r->complaint);
    if (r->reworded)
        log_info("the sentence was read as: %s", t->sentence);
    if (*r->reading)
        log_warn("\"and\" and \"or\" without a comma: the rule was read as %s; if it is meant otherwise, say "
                 "it with a comma, "
                 "or write the definitions in %s",
                 r->reading, path);
}

static int draft_with(struct cmd_ctx *c, struct project *p, struct teacher *t, const char *path) {
    struct teaching_quote q = {.what = "drafting the task", .calls = 1};
    int most = 0;
    q.money_high = draft_quote(t, p->sentence, &most);
    q.money = q.money_high / most;
    int code = teaching_consent(c, t, &q);
    if (code < 0)
        return code;
    char name[64];
    struct task task;
    struct draft_result r;
    short_name(p, name, sizeof name);
    code = draft_task(t, name, p->sentence, p->seed, &task, &r, &c->err);
    json_object_set_new(c->result, "attempts", json_integer(r.attempts));
    if (code < 0)
        return code;
    tell_draft(c, &r, &task, path);
    code = write_task(c, path, &task);
    task_release(&task);
    return code;
}

static int draft(struct cmd_ctx *c, struct project *p, const char *path) {
    struct store *s = NULL;
    struct teacher *t = NULL;
    const char *records = project_path(p, PROJECT_RECORDS);
    int code = records ? store_open(&s, records, STORE_WRITE, &c->err)
                       : err_set(&c->err, ERR_NO_MEMORY, "task", "out of memory");
    if (code == 0)
        code = teaching_open(c, p, s, &t);
    if (code == 0)
        code = draft_with(c, p, t, path);
    teacher_close(t);
    store_close(s);
    return code;
}

/* ---- from own rows ---- */

static int infer(struct cmd_ctx *c, struct project *p, const char *path) {
    char name[64];
    struct str yaml = {0};
    short_name(p, name, sizeof name);
    int code = task_from_rows(c, p, name, cmd_string(c, "kind"), &yaml);
    if (code == 0)
        code = str_check(&yaml, &c->err);
    if (code == 0)
        code = file_write(path, yaml.data, yaml.len, &c->err);
    str_release(&yaml);
    return code;
}

/* Own rows know best what a record looks like; a teacher drafts where there are none. */
static int make(struct cmd_ctx *c, struct project *p, const char *path) {
    const char *from = cmd_string(c, "from");
    if (!from)
        from = p->data.path ? "rows" : "sentence";
    if (strcmp(from, "rows") != 0 && strcmp(from, "sentence") != 0)
        return err_set(&c->err, ERR_USAGE, "task", "--from must be rows or sentence, not '%s'", from);
    if (strcmp(from, "sentence") == 0)
        return draft(c, p, path);
    if (p->data.path)
        return infer(c, p, path);
    err_set(&c->err, ERR_INPUT, "task", "this project has no rows of its own");
    return err_hint(&c->err, "name them in edgestill.yaml: data: path:, label:");
}

/* ---- editing ---- */

static int edit(struct cmd_ctx *c, const char *path) {
    const char *editor = getenv("VISUAL");
    editor = editor && *editor ? editor : getenv("EDITOR");
    editor = editor && *editor ? editor : "vi";
    pid_t child = fork();
    if (child == 0) {
        /* through the shell, because $EDITOR may hold arguments; the path stays one word */
        execl("/bin/sh", "sh", "-c", "eval \"$0\" '\"$1\"'", editor, path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    err_set(&c->err, ERR_FAILED, "task", "the editor '%s' did not end well", editor);
    return err_hint(&c->err, "set EDITOR, or edit %s by any other means", path);
}

/* ---- showing and accepting ---- */

static int show(struct cmd_ctx *c, const struct task *t) {
    struct str text = {0};
    int code = c->json ? task_to_json(t, &text, &c->err) : task_to_yaml(t, &text, &c->err);
    if (code == 0 && c->json)
        json_object_set_new(c->result, "task", json_loadb(text.data, text.len, 0, NULL));
    else if (code == 0)
        cmd_print(c, "%s", text.data);
    str_release(&text);
    return code;
}

static int finish(struct cmd_ctx *c, struct project *p) {
    struct err gate = {0};
    static const char *const bound_to[] = {"edgestill.yaml#task", NULL};
    int code = cmd_flag(c, "accept") ? project_lock_write(p, "task.yaml", bound_to, &c->err) : 0;
    if (code < 0)
        return code;
    bool accepted = project_lock_check(p, "task.yaml", &gate) == 0;
    json_object_set_new(c->result, "accepted", json_boolean(accepted));
    cmd_print(c, "\n%s: %s\n", accepted ? "Accepted. Next" : "Read it, change what is wrong, then",
              project_command(p, accepted ? "plan" : "task --accept"));
    return 0;
}

/* Equal but for white space, which YAML folds. */
static bool same_words(const char *a, const char *b) {
    static const char blanks[] = " \t\r\n";
    for (;; a++, b++) {
        size_t gap_a = strspn(a, blanks), gap_b = strspn(b, blanks);
        a += gap_a;
        b += gap_b;
        if (*a != *b || (gap_a > 0) != (gap_b > 0))
            return !*a && !*b;
        if (!*a)
            return true;
    }
}

/* The project's sentence, or what the embedded teacher read it as: in its own words, the fields in any order. */
static bool same_sentence(const struct task *t, const char *sentence) {
    struct str plain = {0}, turned = {0};
    bool same = same_words(t->sentence, sentence) || wording_plain(sentence, &plain, NULL) < 0;
    for (int by = 0; by < t->n_declared && !same; by++)
        same = wording_turned(str_text(&plain), by, &turned, NULL) < 0 ||
               same_words(t->sentence, str_text(&turned));
    str_release(&plain);
    str_release(&turned);
    return same;
}

/* A definition that someone wrote into task.yaml is put to the embedded teacher as it stands, which knows a few words alone and
 * takes others for something else without a word. */
static void warn_of_definitions(const struct project *p, const struct task *t) {
    struct str plain = {0};
    if (strcmp(p->teacher.kind, "embedded") != 0)
        return;
    for (int i = 0; i < t->n_labels; i++) {
        const char *d = t->labels[i].definition;
        if (d && wording_condition(d, &plain, NULL) == 0 && strcmp(d, str_text(&plain)) != 0)
            log_warn("label '%s': the embedded teacher may misread \"%s\"; in its words it is \"%s\"",
                     t->labels[i].name, d, str_text(&plain));
    }
    str_release(&plain);
}

static int run_in(struct cmd_ctx *c, struct project *p) {
    const char *path = project_path(p, "task.yaml");
    if (!path)
        return err_set(&c->err, ERR_NO_MEMORY, "task", "out of memory");
    bool there = file_exists(path);
    if (!there && cmd_flag(c, "accept")) {
        err_set(&c->err, ERR_GATE, "task", "%s: there is no task to accept yet", path);
        return err_hint(&c->err, "have it drafted first: %s", project_command(p, "task"));
    }
    int code = project_hold(p, &c->err);
    if (code == 0 && !there)
        code = make(c, p, path);
    if (code == 0 && cmd_flag(c, "edit"))
        code = edit(c, path);
    struct task t;
    if (code == 0)
        code = project_task(p, false, &t, &c->err);
    if (code < 0)
        return code;
    if (*t.sentence && !same_sentence(&t, p->sentence))
        log_warn("%s is about another sentence than edgestill.yaml; move it away to have it drafted anew",
                 path);
    warn_of_definitions(p, &t);
    code = show(c, &t);
    task_release(&t);
    return code == 0 ? finish(c, p) : code;
}

static int run_task(struct cmd_ctx *c) {
    struct project p;
    int code = project_open(&p, c->project_dir, &c->err);
    if (code < 0)
        return code;
    code = run_in(c, &p);
    project_release(&p);
    return code;
}

const struct verb verb_task = {
    "task", "draft the task from the sentence, or infer it from own rows; show, edit and accept it",
    "[options]", options, run_task};
