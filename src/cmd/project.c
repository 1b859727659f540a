/* Opening a project: edgestill.yaml with everything checked, and the accepted task and plan. See project.h. */
#include "cmd/project.h"

#include "base/file.h"
#include "format/yaml.h"
#include "plan/plan.h"
#include "train/optimizer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

enum { DEFAULT_RECORDS = 1000, MOST_RECORDS = 10000000, MOST_PARALLEL = 256 };

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "project", "out of memory");
}

const char *project_path(struct project *p, const char *name) {
    if (name[0] == '/' || strcmp(p->dir, ".") == 0)
        return arena_strdup(&p->arena, name);
    size_t n = strlen(p->dir);
    return arena_printf(&p->arena, n > 0 && p->dir[n - 1] == '/' ? "%s%s" : "%s/%s", p->dir, name);
}

const char *project_command(struct project *p, const char *words) {
    const char *text = strcmp(p->dir, ".") == 0
                           ? arena_printf(&p->arena, "edgestill %s", words)
                           : arena_printf(&p->arena, "edgestill %s -C %s", words, p->dir);
    return text ? text : "edgestill --help";
}

const char *project_accept_command(struct project *p, const char *verb) {
    const char *which = strcmp(verb, "plan") == 0 ? " N" : ""; /* plans are a list to choose from */
    const char *words = arena_printf(&p->arena, "%s --accept%s", verb, which);
    return project_command(p, words ? words : verb);
}

/* A path of edgestill.yaml is relative to the project folder. */
static int resolve(struct project *p, const char **path, struct err *e) {
    if (*path && !(*path = project_path(p, *path)))
        return no_memory(e);
    return 0;
}

static int one_of(const struct node *map, const char *key, const char *value, const char *const allowed[],
                  struct err *e) {
    struct str list = {0};
    for (int i = 0; allowed[i]; i++) {
        if (strcmp(value, allowed[i]) == 0) {
            str_release(&list);
            return 0;
        }
        str_addf(&list, "%s%s", i ? ", " : "", allowed[i]);
    }
    int code = node_error(node_get(map, key), e, "project_open", "\"%s\" must be one of %s, not \"%s\"", key,
                          str_text(&list), value);
    str_release(&list);
    return code;
}

static int in_range(const struct node *map, const char *key, int64_t value, int64_t low, int64_t high,
                    struct err *e) {
    if (value >= low && value <= high)
        return 0;
    return node_error(node_get(map, key), e, "project_open", "\"%s\" must be from %lld to %lld, not %lld",
                      key, (long long)low, (long long)high, (long long)value);
}

static int read_teacher(struct project *p, const struct node *root, struct err *e) {
    static const char *const known[] = {"kind",
                                        "url",
                                        "model",
                                        "key_env",
                                        "key_file",
                                        "style",
                                        "parallel",
                                        "requests_per_minute",
                                        "tokens_per_minute",
                                        "thinking",
                                        "gguf",
                                        NULL};
    static const char *const kinds[] = {"embedded", "gguf", "openai", "none", NULL};
    static const char *const styles[] = {"plain", "full", NULL};
    struct project_teacher *t = &p->teacher;
    struct node *map = NULL;
    bool thinking = true;
    int code = node_map(root, "teacher", false, &map, e);
    t->kind = "embedded";
    if (code == 0 && map) {
        bool read =
            (code = node_check_keys(map, known, e)) == 0 &&
            (code = node_string(map, "kind", true, &t->kind, e)) == 0 &&
            (code = one_of(map, "kind", t->kind, kinds, e)) == 0 &&
            (code = node_string(map, "url", strcmp(t->kind, "openai") == 0, &t->url, e)) == 0 &&
            (code = node_string(map, "model", strcmp(t->kind, "openai") == 0, &t->model, e)) == 0 &&
            (code = node_string(map, "gguf", strcmp(t->kind, "gguf") == 0, &t->gguf, e)) == 0 &&
            (code = node_string(map, "key_env", false, &t->key_env, e)) == 0 &&
            (code = node_string(map, "key_file", false, &t->key_file, e)) == 0 &&
            (code = node_string(map, "style", false, &t->style, e)) == 0 &&
            (code = node_i64(map, "parallel", false, &t->parallel, e)) == 0 &&
            (code = in_range(map, "parallel", t->parallel, 0, MOST_PARALLEL, e)) == 0 &&
            (code = node_i64(map, "requests_per_minute", false, &t->requests_per_minute, e)) == 0 &&
            (code = in_range(map, "requests_per_minute", t->requests_per_minute, 0, 1000000, e)) == 0 &&
            (code = node_i64(map, "tokens_per_minute", false, &t->tokens_per_minute, e)) == 0 &&
            (code = in_range(map, "tokens_per_minute", t->tokens_per_minute, 0, 1000000000, e)) == 0 &&
            (code = node_bool(map, "thinking", false, &thinking, e)) == 0;
        t->no_thinking = !thinking;
        if (read && t->style)
            code = one_of(map, "style", t->style, styles, e);
    }
    if (!t->style && strcmp(t->kind, "gguf") != 0) /* a file says itself what it is */
        t->style = strcmp(t->kind, "embedded") == 0 ? "plain" : "full";
    if (code == 0)
        code = resolve(p, &t->gguf, e);
    return code < 0 ? code : resolve(p, &t->key_file, e);
}

/* Columns that the teacher may see of own rows. */
static int read_share_columns(struct project *p, const struct node *map, struct err *e) {
    struct project_data *d = &p->data;
    struct node *list = NULL;
    int code = node_list(map, "share_columns", false, &list, e);
    if (code < 0 || !list)
        return code;
    if (list->n_children == 0)
        return node_error(list, e, "project_open",
                          "\"share_columns\" is empty: name the columns, or set share_rows: false");
    d->share_columns = arena_calloc(&p->arena, (size_t)list->n_children, sizeof *d->share_columns);
    if (!d->share_columns)
        return no_memory(e);
    for (const struct node *n = list->first; n; n = n->next) {
        if (!n->text)
            return node_error(n, e, "project_open", "\"share_columns\" is a list of column names");
        d->share_columns[d->n_share_columns++] = n->text;
    }
    return 0;
}

static int read_data(struct project *p, const struct node *root, struct err *e) {
    static const char *const known[] = {"path", "label",      "eval",          "group",
                                        "time", "share_rows", "share_columns", NULL};
    struct project_data *d = &p->data;
    struct node *map = NULL;
    int code = node_map(root, "data", false, &map, e);
    if (code < 0 || !map)
        return code;
    if ((code = node_check_keys(map, known, e)) < 0 ||
        (code = node_string(map, "path", false, &d->path, e)) < 0 ||
        (code = node_string(map, "label", d->path != NULL, &d->label, e)) < 0 ||
        (code = node_string(map, "eval", false, &d->eval_path, e)) < 0 ||
        (code = node_string(map, "group", false, &d->group, e)) < 0 ||
        (code = node_string(map, "time", false, &d->time, e)) < 0 ||
        (code = node_bool(map, "share_rows", false, &d->share_rows, e)) < 0 ||
        (code = read_share_columns(p, map, e)) < 0)
        return code;
    if (d->group && d->time)
        return node_error(map, e, "project_open", "rows are split by 'group' or by 'time', not by both");
    code = resolve(p, &d->path, e);
    return code < 0 ? code : resolve(p, &d->eval_path, e);
}

bool project_base_is_file(const char *base) {
    return base && (strchr(base, '/') || str_ends(base, ".gguf"));
}

static int resolve_base(struct project *p, struct err *e) {
    return project_base_is_file(p->base) ? resolve(p, &p->base, e) : 0;
}

static int not_empty(const struct node *root, const char *key, const char *text, struct err *e) {
    if (text[strspn(text, " \t\r\n")] != '\0')
        return 0;
    return node_error(node_get(root, key), e, "project_open", "\"%s\" is empty", key);
}

static int read_root(struct project *p, const struct node *root, struct err *e) {
    static const char *const known[] = {"format",  "task", "device", "base",     "teacher", "data",
                                        "records", "seed", "form",   "schedule", NULL};
    const char *format = NULL;
    struct prompt_form form;
    int64_t seed = 1;
    p->n_records = DEFAULT_RECORDS;
    int code;
    if ((code = node_string(root, "format", true, &format, e)) < 0)
        return code;
    if (strcmp(format, PROJECT_FORMAT) != 0)
        return node_error(node_get(root, "format"), e, "project_open",
                          "this program reads " PROJECT_FORMAT ", not \"%s\"", format);
    if ((code = node_check_keys(root, known, e)) < 0 ||
        (code = node_string(root, "task", true, &p->sentence, e)) < 0 ||
        (code = not_empty(root, "task", p->sentence, e)) < 0 ||
        (code = node_string(root, "device", true, &p->device, e)) < 0 ||
        (code = not_empty(root, "device", p->device, e)) < 0 ||
        (code = node_string(root, "base", false, &p->base, e)) < 0 || (code = resolve_base(p, e)) < 0 ||
        (code = node_i64(root, "records", false, &p->n_records, e)) < 0 ||
        (code = in_range(root, "records", p->n_records, 1, MOST_RECORDS, e)) < 0 ||
        (code = node_i64(root, "seed", false, &seed, e)) < 0 ||
        (code = in_range(root, "seed", seed, 0, INT64_MAX, e)) < 0 ||
        (code = node_string(root, "form", false, &p->form, e)) < 0 ||
        (code = node_string(root, "schedule", false, &p->schedule, e)) < 0)
        return code;
    p->seed = (uint64_t)seed;
    if (p->form && strcmp(p->form, "auto") != 0 && !prompt_form_parse(p->form, &form))
        return node_error(node_get(root, "form"), e, "project_open",
                          "\"form\" is auto, or full, short or none, then labelled or compact "
                          "(\"none-compact\"), not \"%s\"",
                          p->form);
    if (p->schedule && schedule_find(p->schedule) < 0)
        return node_error(node_get(root, "schedule"), e, "project_open",
                          "\"schedule\" is cosine, linear or constant, not \"%s\"", p->schedule);
    code = read_teacher(p, root, e);
    return code < 0 ? code : read_data(p, root, e);
}

int project_open(struct project *p, const char *dir, struct err *e) {
    *p = (struct project){0};
    p->dir = arena_strdup(&p->arena, dir);
    const char *path = p->dir ? project_path(p, "edgestill.yaml") : NULL;
    if (!path) {
        project_release(p);
        return no_memory(e);
    }
    struct node *root = NULL;
    int code;
    if (!file_exists(path)) {
        code = err_set(e, ERR_NOT_FOUND, "project_open", "there is no project here: no %s", path);
        err_hint(
            e,
            "make one with: edgestill init DIR --task \"…\" --device NAME; name another folder with -C DIR");
    } else if ((code = yaml_node_read(&p->arena, path, &root, e)) == 0) {
        code = read_root(p, root, e);
    }
    if (code < 0)
        project_release(p);
    return code;
}

void project_release(struct project *p) {
    if (p->hold_fd > 0)
        close(p->hold_fd - 1);
    arena_release(&p->arena);
    *p = (struct project){0};
}

int project_hold(struct project *p, struct err *e) {
    if (p->hold_fd > 0)
        return 0;
    int fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, ERR_IO, "project_hold", "%s: cannot open the folder", p->dir);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        int code = err_set(e, ERR_FAILED, "project_hold", "%s: another edgestill is at work in this project",
                           p->dir);
        err_hint(e, "wait until it is done, or end it; nothing is lost when it is started again");
        return code;
    }
    p->hold_fd = fd + 1; /* a file system without locks: go on without */
    return 0;
}

int project_task(struct project *p, bool accepted, struct task *out, struct err *e) {
    const char *path = project_path(p, "task.yaml");
    if (!path)
        return no_memory(e);
    if (!file_exists(path)) {
        int code = err_set(e, ERR_GATE, "project_task", "%s: there is no task yet", path);
        err_hint(e, "make one with: %s", project_command(p, "task"));
        return code;
    }
    int code = accepted ? project_lock_check(p, "task.yaml", e) : 0;
    struct arena scratch = {0};
    struct node *root = NULL;
    if (code == 0)
        code = yaml_node_read(&scratch, path, &root, e);
    if (code == 0)
        code = task_from_node(out, root, e);
    arena_release(&scratch);
    return code;
}

int project_plan(struct project *p, struct plan *out, struct err *e) {
    int code = project_lock_check(p, "plan.yaml", e);
    const char *path = project_path(p, "plan.yaml");
    if (code < 0 || !path)
        return code < 0 ? code : no_memory(e);
    struct arena scratch = {0};
    struct node *root = NULL;
    code = yaml_node_read(&scratch, path, &root, e);
    if (code == 0)
        code = plan_from_node(out, root, e);
    arena_release(&scratch);
    if (code == 0 && strcasecmp(out->device, p->device) != 0) {
        code = err_set(e, ERR_GATE, "project_plan", "%s is for the device %s, the project is now for %s",
                       path, out->device, p->device);
        err_hint(e, "plan again: %s", project_command(p, "plan"));
        plan_release(out);
    }
    return code;
}
