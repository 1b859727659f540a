/* Trees of parsed documents: see node.h. */
#include "format/node.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_BYTES = 60 }; /* of a value in a complaint */

struct node *node_new(struct arena *a, enum node_type type, const char *file, int line, int column) {
    struct node *n = arena_alloc(a, sizeof *n);
    if (n)
        *n = (struct node){.type = type, .file = file, .line = line, .column = column};
    return n;
}

void node_append(struct node *parent, struct node *child) {
    *(parent->last ? &parent->last->next : &parent->first) = child;
    parent->last = child;
    parent->n_children++;
}

struct node *node_get(const struct node *map, const char *key) {
    if (!map || map->type != NODE_MAP)
        return NULL;
    for (struct node *child = map->first; child; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

struct node *node_at(const struct node *list, int64_t index) {
    if (!list || index < 0 || index >= list->n_children)
        return NULL;
    struct node *child = list->first;
    while (index-- > 0)
        child = child->next;
    return child;
}

static int error_at(const struct node *at, int line, int column, struct err *e, const char *origin,
                    const char *text) {
    const char *file = at && at->file ? at->file : "document";
    if (line > 0)
        return err_set(e, ERR_INPUT, origin, "%s:%d:%d: %s", file, line, column, text);
    return err_set(e, ERR_INPUT, origin, "%s: %s", file, text);
}

int node_error(const struct node *at, struct err *e, const char *origin, const char *format, ...) {
    char text[sizeof e->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_at(at, at ? at->line : 0, at ? at->column : 0, e, origin, text);
}

/* What stands there, for a complaint: the value itself, or the kind of thing. */
static const char *describe(const struct node *n, char *buffer, size_t size) {
    if (n->type == NODE_LIST || n->type == NODE_MAP)
        return n->type == NODE_LIST ? "a list" : "a map";
    if (n->type == NODE_NULL)
        return "nothing";
    const char *text = n->text ? n->text : "";
    size_t cut = strlen(text);
    if (cut > SHOWN_BYTES)
        for (cut = SHOWN_BYTES; cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80;)
            cut--;
    snprintf(buffer, size, "\"%.*s%s\"", (int)cut, text, text[cut] ? "…" : "");
    return buffer;
}

static int wrong_type(const struct node *n, const char *key, const char *wanted, struct err *e) {
    char shown[SHOWN_BYTES + 16];
    return node_error(n, e, "node", "\"%s\" must be %s, not %s", key, wanted,
                      describe(n, shown, sizeof shown));
}

/* 1: there is a value in *out; 0: absent and not required; negative: error. */
static int find(const struct node *map, const char *key, bool required, const char *wanted, struct node **out,
                struct err *e) {
    if (map && map->type != NODE_MAP) {
        char shown[SHOWN_BYTES + 16];
        return node_error(map, e, "node", "there must be a map with \"%s\" here, not %s", key,
                          describe(map, shown, sizeof shown));
    }
    struct node *n = node_get(map, key);
    if (n && n->type != NODE_NULL) {
        *out = n;
        return 1;
    }
    if (!required)
        return 0;
    return node_error(n ? n : map, e, "node", "\"%s\" is missing: it must be %s", key, wanted);
}

int node_string(const struct node *map, const char *key, bool required, const char **out, struct err *e) {
    struct node *n = NULL;
    int found = find(map, key, required, "text", &n, e);
    if (found <= 0)
        return found;
    if (!n->text)
        return wrong_type(n, key, "text", e);
    *out = n->text;
    return 0;
}

int node_number(const struct node *map, const char *key, bool required, double *out, struct err *e) {
    struct node *n = NULL;
    int found = find(map, key, required, "a number", &n, e);
    if (found <= 0)
        return found;
    if (n->type != NODE_NUMBER)
        return wrong_type(n, key, "a number", e);
    *out = n->number;
    return 0;
}

/* 12, and also 12.0 and 1e3 as long as a double holds them exactly */
static bool whole_number(const struct node *n, int64_t *out) {
    if (n->type != NODE_NUMBER)
        return false;
    if (n->text && str_to_i64(n->text, out))
        return true;
    if (!(n->number > -0x1p53 && n->number < 0x1p53) || n->number != (double)(int64_t)n->number)
        return false;
    *out = (int64_t)n->number;
    return true;
}

int node_i64(const struct node *map, const char *key, bool required, int64_t *out, struct err *e) {
    struct node *n = NULL;
    int found = find(map, key, required, "a whole number", &n, e);
    if (found <= 0)
        return found;
    int64_t value;
    if (!whole_number(n, &value))
        return wrong_type(n, key, "a whole number", e);
    *out = value;
    return 0;
}

int node_bool(const struct node *map, const char *key, bool required, bool *out, struct err *e) {
    struct node *n = NULL;
    int found = find(map, key, required, "true or false", &n, e);
    if (found <= 0)
        return found;
    if (n->type != NODE_BOOL)
        return wrong_type(n, key, "true or false", e);
    *out = n->boolean;
    return 0;
}

int node_list(const struct node *map, const char *key, bool required, struct node **out, struct err *e) {
    struct node *n = NULL;
    int found = find(map, key, required, "a list", &n, e);
    if (found <= 0)
        return found;
    if (n->type != NODE_LIST)
        return wrong_type(n, key, "a list", e);
    *out = n;
    return 0;
}

int node_map(const struct node *map, const char *key, bool required, struct node **out, struct err *e) {
    struct node *n = NULL;
    int found = find(map, key, required, "a map", &n, e);
    if (found <= 0)
        return found;
    if (n->type != NODE_MAP)
        return wrong_type(n, key, "a map", e);
    *out = n;
    return 0;
}

static bool is_known(const char *key, const char *const known[]) {
    for (int i = 0; known[i]; i++)
        if (strcmp(key, known[i]) == 0)
            return true;
    return false;
}

static void hint_known(const char *key, const char *const known[], struct err *e) {
    const char *near = str_nearest(key, known);
    if (near) {
        err_hint(e, "did you mean \"%s\"?", near);
        return;
    }
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; known[i] && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", known[i]);
    err_hint(e, "known here: %s", list);
}

int node_check_keys(const struct node *map, const char *const known[], struct err *e) {
    if (!map || map->type != NODE_MAP)
        return map ? node_error(map, e, "node_check_keys", "there must be a map here") : 0;
    for (const struct node *child = map->first; child; child = child->next) {
        if (is_known(child->key, known))
            continue;
        char text[SHOWN_BYTES + 64], shown[SHOWN_BYTES + 16];
        struct node key = {.type = NODE_STRING, .text = child->key};
        snprintf(text, sizeof text, "unknown key %s", describe(&key, shown, sizeof shown));
        int code = error_at(map, child->key_line, child->key_column, e, "node_check_keys", text);
        hint_known(child->key, known, e);
        return code;
    }
    return 0;
}
