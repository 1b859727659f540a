/* `edgestill review`: pages through the records, corrects, drops and restores them, one or all like it, and keeps who changed
 * what. At a terminal it asks record by record; with --set-label, --drop or --restore it does that to what the filters choose. */
#include "base/mem.h"
#include "cmd/records_verbs.h"
#include "format/json.h"
#include "synth/check.h"
#include "task/answer.h"
#include "task/prompt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct option_def options[] = {
    {"status", OPTION_STRING, "NAME", "only accepted, spare, rejected or pending ones", NULL},
    {"label", OPTION_STRING, "TEXT", "only those with this label or answer", NULL},
    {"reason", OPTION_STRING, "TEXT", "only those rejected for this reason", NULL},
    {"disagreement", OPTION_FLAG, NULL, "only those whose votes, or whose asked and given label, disagree",
     NULL},
    {"id", OPTION_LIST, "N", "only this record", NULL},
    {"like", OPTION_INT, "N", "all like record N: of its status, reason and label", NULL},
    {"limit", OPTION_INT, "N", "at most so many (default: 20; record by record, all)", NULL},
    {"all", OPTION_FLAG, NULL, "no limit: all that the filters choose", NULL},
    {"set-label", OPTION_STRING, "TEXT", "give them this label or answer", NULL},
    {"drop", OPTION_FLAG, NULL, "take them out of the data", NULL},
    {"restore", OPTION_FLAG, NULL, "put them back in with the label they have", NULL},
    {"history", OPTION_FLAG, NULL, "show what was changed, by whom", NULL},
    {0},
};

static const char DROPPED[] = "dropped in review";

struct chosen {
    int64_t id, label_call;
    const char *data, *label, *wanted, *reason, *source; /* in the arena */
    enum store_status status;
    enum store_split split;
    double weight;
};

struct reviewing {
    struct cmd_ctx *c;
    struct records_verb r;
    struct arena arena;
    struct chosen *items;
    int64_t n, capacity, limit, n_more, n_changed; /* more: chosen beyond the limit */
    struct chosen like;                            /* what --like names; id 0: nothing */
    bool person;                                   /* record by record at a terminal */
};

static bool alike(const struct chosen *a, const struct chosen *b) {
    return a->status == b->status && str_equal(a->reason, b->reason) && str_equal(a->label, b->label);
}

/* ---- choosing ---- */

static bool disagrees(const struct store_record *r) {
    return r->weight < 0.999 || (r->wanted && r->label && strcmp(r->wanted, r->label) != 0) ||
           str_equal(r->reason, reject_text(REJECT_SPLIT_VOTE)) ||
           str_equal(r->reason, reject_text(REJECT_DISAGREEMENT));
}

static bool named(const struct cmd_ctx *c, int64_t id) {
    const char *const *ids;
    int n = cmd_list(c, "id", &ids);
    for (int i = 0; i < n; i++) {
        int64_t x = 0;
        if (str_to_i64(ids[i], &x) && x == id)
            return true;
    }
    return n == 0;
}

static bool wanted(const struct cmd_ctx *c, const struct store_record *r) {
    const char *status = cmd_string(c, "status"), *label = cmd_string(c, "label"),
               *reason = cmd_string(c, "reason");
    return (!status || strcmp(status, store_status_text(r->status)) == 0) &&
           (!label || str_equal(label, r->label)) && (!reason || str_equal(reason, r->reason)) &&
           (!cmd_flag(c, "disagreement") || disagrees(r)) && named(c, r->id);
}

static struct chosen copy_of(struct reviewing *v, const struct store_record *r) {
    return (struct chosen){.id = r->id,
                           .label_call = r->label_call,
                           .data = arena_strdup(&v->arena, r->data),
                           .label = arena_strdup(&v->arena, r->label),
                           .wanted = arena_strdup(&v->arena, r->wanted),
                           .reason = arena_strdup(&v->arena, r->reason),
                           .source = arena_strdup(&v->arena, r->source),
                           .status = r->status,
                           .split = r->split,
                           .weight = r->weight};
}

static bool is_like(const struct reviewing *v, const struct store_record *r) {
    struct chosen it = {.status = r->status, .reason = r->reason, .label = r->label};
    return v->like.id == 0 || alike(&it, &v->like);
}

static int choose(void *context, const struct store_record *r, struct err *e) {
    struct reviewing *v = context;
    if (!wanted(v->c, r) || !is_like(v, r))
        return 0;
    if (v->n >= v->limit) {
        v->n_more++;
        return 0;
    }
    if (mem_grow((void **)&v->items, &v->capacity, v->n + 1, sizeof *v->items) < 0)
        return err_set(e, ERR_NO_MEMORY, "review", "out of memory");
    v->items[v->n++] = copy_of(v, r);
    return 0;
}

static int find_like(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct reviewing *v = context;
    if (r->id == cmd_int(v->c, "like", 0))
        v->like = copy_of(v, r);
    return 0;
}

/* All that the filters choose, up to the limit. */
static int choose_all(struct reviewing *v) {
    struct err *e = &v->c->err;
    int64_t like = cmd_int(v->c, "like", 0);
    int code = like ? store_status_each(v->r.store, STORE_ALL_STATUSES, find_like, v, e) : 0;
    if (code == 0 && like && v->like.id == 0)
        return err_set(e, ERR_INPUT, "review", "there is no record %lld", (long long)like);
    return code == 0 ? store_status_each(v->r.store, STORE_ALL_STATUSES, choose, v, e) : code;
}

/* Rejected records by reason, so that a mistyped filter is seen as one. */
static int count_reason(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct str *reasons = context;
    char quoted[96];
    snprintf(quoted, sizeof quoted, "%s'%s'", reasons->len ? ", " : "", r->reason ? r->reason : "");
    if (r->reason && !strstr(str_text(reasons), quoted + (reasons->len ? 2 : 0)))
        str_add(reasons, quoted);
    return 0;
}

/* A record that was named and is not there is a mistake; filters that choose nothing may be none. */
static int say_nothing_is_like_that(struct reviewing *v) {
    struct str reasons = {0};
    const char *const *ids;
    if (cmd_list(v->c, "id", &ids) > 0)
        return err_set(
            &v->c->err, ERR_INPUT, "review", "there is no record %s%s", ids[0],
            cmd_list(v->c, "id", &ids) > 1 ? ", nor another of those named, that the filters choose" : "");
    int code = store_status_each(v->r.store, STORE_REJECTED, count_reason, &reasons, &v->c->err);
    if (code == 0) {
        cmd_print(v->c, "no record is like that\n");
        if (cmd_string(v->c, "reason") && reasons.len > 0)
            cmd_print(v->c, "the reasons there are: %s\n", str_text(&reasons));
    }
    str_release(&reasons);
    return code;
}

/* ---- showing ---- */

static void show_one(const struct reviewing *v, const struct chosen *x) {
    cmd_print(v->c, "%lld  %s%s%s  %s  %s%s%s  weight %.2f, %s, %s\n    %s\n", (long long)x->id,
              store_status_text(x->status), x->reason ? ": " : "", x->reason ? x->reason : "",
              x->label ? x->label : "(no label)", x->wanted ? "written as " : "", x->wanted ? x->wanted : "",
              x->wanted ? "," : "", x->weight, store_split_text(x->split), x->source, x->data);
}

static json_t *text_or_null(const char *text) {
    return text ? json_lossy_string(text) : json_null();
}

static void list(struct reviewing *v) {
    json_t *all = json_array();
    for (int64_t i = 0; i < v->n; i++) {
        const struct chosen *x = &v->items[i];
        show_one(v, x);
        json_array_append_new(all, json_pack("{s:I, s:s, s:o, s:o, s:o, s:f, s:s, s:s, s:o}", "id",
                                             (json_int_t)x->id, "status", store_status_text(x->status),
                                             "reason", text_or_null(x->reason), "label",
                                             text_or_null(x->label), "wanted", text_or_null(x->wanted),
                                             "weight", x->weight, "split", store_split_text(x->split),
                                             "source", x->source, "data", json_lossy_string(x->data)));
    }
    json_object_set_new(v->c->result, "records", all);
}

static int show_edit(void *context, const struct store_edit *x, struct err *e) {
    (void)e;
    struct reviewing *v = context;
    char when[32] = "";
    time_t s = (time_t)(x->at_unix_ms / 1000);
    struct tm tm;
    if (gmtime_r(&s, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    cmd_print(v->c, "%s  %s  record %lld: %s, from '%s' to '%s'\n", when, x->who, (long long)x->record,
              x->what, x->before, x->after);
    json_array_append_new(json_object_get(v->c->result, "history"),
                          json_pack("{s:s, s:o, s:I, s:s, s:o, s:o}", "at", when, "who",
                                    json_lossy_string(x->who), "record", (json_int_t)x->record, "what",
                                    x->what, "before", json_lossy_string(x->before), "after",
                                    json_lossy_string(x->after)));
    return 0;
}

/* ---- changing ---- */

static const char *who(void) {
    const char *name = project_user();
    return *name ? name : "unknown";
}

static int apply(struct reviewing *v, struct chosen *x, const char *what, struct store_record *to,
                 const char *before, const char *after) {
    struct err *e = &v->c->err;
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    struct store_edit edit = {x->id, now_ms, who(), what, before, after};
    int code = store_begin(v->r.store, e);
    if (code == 0)
        code = store_record_update(v->r.store, to, e);
    if (code == 0)
        code = store_edit_add(v->r.store, &edit, e);
    if (code == 0)
        code = store_commit(v->r.store, e);
    if (code < 0) {
        store_rollback(v->r.store);
        return code;
    }
    v->n_changed++;
    x->status = to->status;
    x->label = arena_strdup(&v->arena, to->label);
    x->reason = arena_strdup(&v->arena, to->reason);
    return 0;
}

static struct store_record as_it_is(const struct chosen *x) {
    return (struct store_record){.id = x->id,
                                 .label = x->label,
                                 .weight = x->weight,
                                 .status = x->status,
                                 .split = x->split,
                                 .reason = x->reason,
                                 .label_call = x->label_call};
}

static int set_label(struct reviewing *v, struct chosen *x, const char *text) {
    const struct task *t = &v->r.task;
    struct str answer = {0};
    int label = t->kind == TASK_CLASSIFY ? prompt_parse_answer(t, text) : -1;
    int code = t->kind != TASK_CLASSIFY ? answer_read(t, text, &answer, &v->c->err) : 0;
    if (t->kind == TASK_CLASSIFY && label < 0)
        code = err_set(&v->c->err, ERR_USAGE, "review", "'%s' is no label of the task", text);
    else if (t->kind == TASK_CLASSIFY)
        str_add(&answer, t->labels[label].name);
    struct store_record to = as_it_is(x);
    to.label = str_text(&answer);
    to.weight = 1; /* a person's word needs no votes */
    to.status = STORE_ACCEPTED;
    to.reason = NULL;
    if (code == 0)
        code = apply(v, x, "label", &to, x->label ? x->label : "", to.label);
    str_release(&answer);
    return code;
}

static int drop(struct reviewing *v, struct chosen *x) {
    struct store_record to = as_it_is(x);
    if (x->status == STORE_REJECTED)
        return 0;
    to.status = STORE_REJECTED;
    to.reason = DROPPED;
    return apply(v, x, "drop", &to, store_status_text(x->status), DROPPED);
}

/* What does not keep to the schema, or has no label, cannot come back: it would stop the training. */
static int restore(struct reviewing *v, struct chosen *x) {
    struct arena a;
    struct node *root = NULL;
    struct record r;
    struct err *e = &v->c->err;
    if (x->status == STORE_ACCEPTED)
        return 0;
    if (!x->label) {
        err_set(e, ERR_INPUT, "review", "record %lld has no label", (long long)x->id);
        return err_hint(e, "give it one with --set-label");
    }
    arena_init(&a);
    int code = json_node_parse(&a, "record", 0, x->data, strlen(x->data), &root, e);
    if (code == 0)
        code = record_from_node(&v->r.task, &a, false, root, &r, e);
    arena_release(&a);
    struct store_record to = as_it_is(x);
    to.status = STORE_ACCEPTED;
    to.reason = NULL;
    return code == 0
               ? apply(v, x, "restore", &to, x->reason ? x->reason : store_status_text(x->status), "accepted")
               : err_context(e, "record %lld", (long long)x->id);
}

static int change_all(struct reviewing *v) {
    const char *label = cmd_string(v->c, "set-label");
    int code = 0;
    for (int64_t i = 0; i < v->n && code == 0; i++)
        code = label                    ? set_label(v, &v->items[i], label)
               : cmd_flag(v->c, "drop") ? drop(v, &v->items[i])
                                        : restore(v, &v->items[i]);
    return code;
}

/* ---- record by record ---- */

static const char KEYS[] =
    "enter: next; l LABEL: correct; d: drop; r: restore; a before it: all like this one from here on; q: end";

static bool is_known(const char *what) {
    return !*what || (strchr("drq", *what) && !what[1]) || (what[0] == 'l' && what[1] == ' ');
}

enum then { NEXT, AGAIN, END };

/* One typed command, for record i, or with a leading 'a' for all from i on that were like it. */
static int obey(struct reviewing *v, int64_t i, const char *line, enum then *then) {
    struct chosen like = v->items[i];
    bool all = line[0] == 'a';
    const char *what = all ? line + 1 + strspn(line + 1, " ") : line;
    int code = 0;
    *then = what[0] == 'q' ? END : NEXT;
    if (!is_known(what)) {
        fprintf(stderr, "'%s' is none of: %s\n", line, KEYS);
        *then = AGAIN;
        return 0;
    }
    for (int64_t k = i; k < (all ? v->n : i + 1) && code == 0; k++) {
        struct chosen *x = &v->items[k];
        if (!alike(x, &like))
            continue;
        if (what[0] == 'd')
            code = drop(v, x);
        else if (what[0] == 'r')
            code = restore(v, x);
        else if (what[0] == 'l' && what[1] == ' ')
            code = set_label(v, x, what + 2);
    }
    if (code == ERR_INPUT || code == ERR_USAGE) {
        fprintf(stderr, "%s\n", v->c->err.message);
        err_clear(&v->c->err);
        *then = AGAIN;
        code = 0;
    }
    return code;
}

static int page(struct reviewing *v) {
    enum then then = NEXT;
    int code = 0;
    fprintf(stderr, "%s\n", KEYS);
    for (int64_t i = 0; i < v->n && code == 0 && then != END; i += then == NEXT) {
        char line[512];
        show_one(v, &v->items[i]);
        fprintf(stderr, "? ");
        fflush(stderr);
        if (!fgets(line, sizeof line, stdin))
            break;
        code = obey(v, i, str_trim(line), &then);
    }
    return code;
}

/* ---- the verb ---- */

static bool is_status(const char *text) {
    static const enum store_status all[] = {STORE_ACCEPTED, STORE_SPARE, STORE_REJECTED, STORE_PENDING};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(text, store_status_text(all[i])) == 0)
            return true;
    return false;
}

static int check(struct cmd_ctx *c, bool *changes) {
    int n = (cmd_string(c, "set-label") != NULL) + cmd_flag(c, "drop") + cmd_flag(c, "restore");
    const char *const *ids, *status = cmd_string(c, "status");
    *changes = n > 0;
    if (status && !is_status(status))
        return err_set(&c->err, ERR_USAGE, "review",
                       "--status must be accepted, spare, rejected or pending, not '%s'", status);
    if (n > 1)
        return err_set(&c->err, ERR_USAGE, "review",
                       "--set-label, --drop and --restore are three different things");
    if (n == 1 && !cmd_string(c, "status") && !cmd_string(c, "label") && !cmd_string(c, "reason") &&
        !cmd_flag(c, "disagreement") && !cmd_int(c, "like", 0) && cmd_list(c, "id", &ids) == 0) {
        err_set(&c->err, ERR_USAGE, "review", "nothing says which records are meant");
        return err_hint(&c->err,
                        "choose them: --id N, --like N, --label, --reason, --status or --disagreement");
    }
    return cmd_int(c, "limit", 20) < 1 ? err_set(&c->err, ERR_USAGE, "review", "--limit must be positive")
                                       : 0;
}

static int review(struct reviewing *v, bool changes) {
    struct cmd_ctx *c = v->c;
    int code = choose_all(v);
    if (code == 0 && cmd_flag(c, "history")) {
        json_object_set_new(c->result, "history", json_array());
        return store_edits_each(v->r.store, 0, show_edit, v, &c->err);
    }
    if (code == 0 && v->n == 0)
        code = say_nothing_is_like_that(v);
    if (code == 0)
        code = changes ? change_all(v) : v->person ? page(v) : 0;
    if (code == 0 && v->n_changed > 0)
        code = records_changed(c, &v->r);
    if (code < 0)
        return code;
    if (!v->person)
        list(v);
    json_object_set_new(c->result, "changed", json_integer(v->n_changed));
    json_object_set_new(c->result, "more", json_integer(v->n_more));
    if (changes || v->person)
        cmd_print(c, "%lld record%s changed\n", (long long)v->n_changed, v->n_changed == 1 ? "" : "s");
    if (v->n_more > 0)
        cmd_print(c, "%lld more are like that: --all takes them, too\n", (long long)v->n_more);
    return 0;
}

static int run_review(struct cmd_ctx *c) {
    bool changes;
    struct reviewing v = {.c = c};
    int code = check(c, &changes);
    if (code < 0)
        return code;
    v.person = !changes && !c->json && !c->quiet && !cmd_flag(c, "history") && isatty(0) && isatty(1);
    if ((code = records_open(c, changes || v.person ? STORE_WRITE : STORE_READ, &v.r)) < 0)
        return code;
    arena_init(&v.arena);
    bool all = cmd_flag(c, "all") || v.person || cmd_int(c, "like", 0);
    v.limit = cmd_flag(c, "all") ? INT64_MAX : cmd_int(c, "limit", all ? INT64_MAX : 20);
    code = review(&v, changes);
    free(v.items);
    arena_release(&v.arena);
    records_close(&v.r);
    return code;
}

const struct verb verb_review = {"review", "show and correct records; keeps who changed what", "[options]",
                                 options, run_review};
