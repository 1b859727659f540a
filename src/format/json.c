/* JSON through jansson: see json.h.
 *
 * jansson checks the text and decodes it, but forgets where each value stood. So a second pass walks the very
 * text along jansson's tree, which has kept the order: the text is known to be valid by then, which leaves
 * little to scan. */
#include "format/json.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 128 };
#define LARGEST_FILE ((int64_t)64 << 20)

struct walk {
    struct arena *arena;
    const char *file;
    const char *p, *end;
    int line, column;
    struct err *e;
};

static void step(struct walk *w) {
    char c = *w->p++;
    if (c == '\n') {
        w->line++;
        w->column = 1;
    } else if (((unsigned char)c & 0xc0) != 0x80) {
        w->column++; /* characters, not bytes */
    }
}

static void skip_to_value(struct walk *w) {
    while (w->p < w->end && strchr(" \t\r\n,:", *w->p))
        step(w);
}

static void skip_string(struct walk *w) {
    step(w);
    while (w->p < w->end && *w->p != '"') {
        if (*w->p == '\\')
            step(w);
        step(w);
    }
    step(w);
}

static void skip_word(struct walk *w) {
    while (w->p < w->end && !strchr(" \t\r\n,:]}", *w->p))
        step(w);
}

static int no_memory(struct walk *w) {
    return err_set(w->e, ERR_NO_MEMORY, "json_node_parse", "%s: out of memory", w->file);
}

static int walk_value(struct walk *w, const json_t *value, int depth, struct node **out);

static int walk_list(struct walk *w, const json_t *list, int depth, struct node *node) {
    size_t i;
    const json_t *value;
    json_array_foreach(list, i, value) {
        struct node *child = NULL;
        int code = walk_value(w, value, depth + 1, &child);
        if (code < 0)
            return code;
        node_append(node, child);
    }
    return 0;
}

static int walk_map(struct walk *w, json_t *map, int depth, struct node *node) {
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value) {
        skip_to_value(w);
        int line = w->line, column = w->column;
        skip_string(w);
        struct node *child = NULL;
        int code = walk_value(w, value, depth + 1, &child);
        if (code < 0)
            return code;
        child->key_line = line;
        child->key_column = column;
        child->key = arena_strdup(w->arena, key);
        if (!child->key)
            return no_memory(w);
        node_append(node, child);
    }
    return 0;
}

static enum node_type type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return NODE_MAP;
    case JSON_ARRAY:
        return NODE_LIST;
    case JSON_STRING:
        return NODE_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return NODE_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return NODE_BOOL;
    case JSON_NULL:
        break;
    }
    return NODE_NULL;
}

static int walk_scalar(struct walk *w, const json_t *value, struct node *node) {
    const char *from = w->p;
    if (node->type == NODE_STRING) {
        skip_string(w);
        node->text = arena_strndup(w->arena, json_string_value(value), json_string_length(value));
        node->text_len = json_string_length(value);
    } else {
        skip_word(w);
        node->text_len = (size_t)(w->p - from);
        node->text = arena_strndup(w->arena, from, node->text_len);
    }
    node->number = json_number_value(value);
    node->boolean = json_is_true(value);
    return node->text ? 0 : no_memory(w);
}

static int walk_value(struct walk *w, const json_t *value, int depth, struct node **out) {
    skip_to_value(w);
    if (depth > DEEPEST)
        return err_set(w->e, ERR_FORMAT, "json_node_parse", "%s:%d:%d: nested more than %d levels deep",
                       w->file, w->line, w->column, DEEPEST);
    struct node *node = node_new(w->arena, type_of(value), w->file, w->line, w->column);
    if (!node)
        return no_memory(w);
    *out = node;
    if (node->type != NODE_LIST && node->type != NODE_MAP)
        return walk_scalar(w, value, node);
    step(w); /* the opening bracket */
    int code = node->type == NODE_LIST ? walk_list(w, value, depth, node)
                                       : walk_map(w, (json_t *)value, depth, node);
    if (code < 0)
        return code;
    skip_to_value(w);
    step(w); /* the closing bracket */
    return 0;
}

/* jansson's complaint with our place in front: it counts lines from 1 and columns up to the last character
 * read. */
static int parse_error(const char *name, int first_line, const json_error_t *je, struct err *e) {
    if (json_error_code(je) == json_error_out_of_memory || je->text[0] == '\0')
        return err_set(e, ERR_NO_MEMORY, "json_node_parse", "%s: out of memory", name);
    int line = (je->line > 0 ? je->line : 1) + first_line - 1;
    return err_set(e, ERR_FORMAT, "json_node_parse", "%s:%d:%d: not valid JSON: %s", name, line,
                   je->column > 0 ? je->column : 1, je->text);
}

/* jansson skips NUL bytes between tokens; they are an error here, at the line where they stand. */
static int check_nul(const char *name, int first_line, const char *text, size_t n, struct err *e) {
    const char *nul = n > 0 ? memchr(text, '\0', n) : NULL;
    if (!nul)
        return 0;
    int line = first_line;
    for (const char *p = text; p < nul; p++)
        line += *p == '\n';
    return err_set(e, ERR_FORMAT, "json_node_parse", "%s:%d: not valid JSON: a NUL byte", name, line);
}

static json_t *load(const char *text, size_t n, json_error_t *je) {
    return json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, je);
}

int json_node_parse(struct arena *a, const char *name, int first_line, const char *text, size_t n,
                    struct node **out, struct err *e) {
    if (first_line <= 0)
        first_line = 1;
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3; /* a byte order mark */
        n -= 3;
    }
    int code = check_nul(name, first_line, text, n, e);
    if (code < 0)
        return code;
    json_error_t je;
    json_t *value = load(text, n, &je);
    if (!value)
        return parse_error(name, first_line, &je, e);
    struct walk w = {a, arena_strdup(a, name), text, text + n, first_line, 1, e};
    struct node *root = NULL;
    code = w.file ? walk_value(&w, value, 0, &root)
                  : err_set(e, ERR_NO_MEMORY, "json_node_parse", "%s: out of memory", name);
    json_decref(value);
    if (code == 0)
        *out = root;
    return code;
}

int json_node_read(struct arena *a, const char *path, struct node **out, struct err *e) {
    struct str text = {0};
    int code = file_read(path, LARGEST_FILE, &text, e);
    if (code == 0)
        code = json_node_parse(a, path, 1, text.data, text.len, out, e);
    str_release(&text);
    return code;
}

static void add_escaped(struct str *out, unsigned char c) {
    static const char short_forms[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (c == '"' || c == '\\')
        str_addf(out, "\\%c", c);
    else if (c < sizeof short_forms && short_forms[c])
        str_addf(out, "\\%c", short_forms[c]);
    else
        str_addf(out, "\\u%04x", c);
}

void json_text_string_n(struct str *out, const char *text, size_t n) {
    str_add_char(out, '"');
    size_t i = 0;
    while (i < n) {
        size_t good = n - i, bad_offset;
        if (!str_is_utf8(text + i, n - i, &bad_offset))
            good = bad_offset;
        for (size_t stop = i + good; i < stop; i++) {
            unsigned char c = (unsigned char)text[i];
            if (c < 0x20 || c == '"' || c == '\\')
                add_escaped(out, c);
            else
                str_add_char(out, (char)c);
        }
        if (i < n) {
            str_add(out, "\xef\xbf\xbd");
            i++;
        }
    }
    str_add_char(out, '"');
}

void json_text_string(struct str *out, const char *text) {
    json_text_string_n(out, text, strlen(text));
}

json_t *json_lossy_string(const char *text) {
    struct str quoted = {0};
    json_text_string(&quoted, text);
    json_t *value = quoted.failed ? NULL : json_loadb(quoted.data, quoted.len, JSON_DECODE_ANY, NULL);
    str_release(&quoted);
    return value;
}

void json_text_number(struct str *out, double x) {
    char buffer[40];
    if (!isfinite(x)) {
        str_add(out, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buffer, sizeof buffer, "%.*g", digits, x);
        if (strtod(buffer, NULL) == x)
            break;
    }
    str_add(out, buffer);
}

static void add_children(struct str *out, const struct node *n) {
    bool map = n->type == NODE_MAP;
    str_add_char(out, map ? '{' : '[');
    for (const struct node *child = n->first; child; child = child->next) {
        if (child != n->first)
            str_add_char(out, ',');
        if (map) {
            json_text_string(out, child->key);
            str_add_char(out, ':');
        }
        json_text_node(out, child);
    }
    str_add_char(out, map ? '}' : ']');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* May a number stand in JSON as it was written? "+1", ".5", "1." and "007" come from YAML, and a whole number must fit. */
static bool is_json_number(const char *text) {
    const char *t = text + (text[0] == '-');
    int64_t whole;
    if (!is_digit(t[0]) || (t[0] == '0' && is_digit(t[1])))
        return false;
    const char *point = strchr(t, '.');
    if (point && !is_digit(point[1]))
        return false;
    return strcspn(t, ".eE") != strlen(t) || str_to_i64(text, &whole);
}

static void add_number(struct str *out, const struct node *n) {
    if (n->text && is_json_number(n->text))
        str_add(out, n->text);
    else
        json_text_number(out, n->number);
}

void json_text_node(struct str *out, const struct node *n) {
    switch (n->type) {
    case NODE_NULL:
        str_add(out, "null");
        break;
    case NODE_BOOL:
        str_add(out, n->boolean ? "true" : "false");
        break;
    case NODE_NUMBER:
        add_number(out, n);
        break;
    case NODE_STRING:
        json_text_string_n(out, n->text, n->text_len);
        break;
    case NODE_LIST:
    case NODE_MAP:
        add_children(out, n);
        break;
    }
}

int json_file_read(const char *path, json_t **out, struct err *e) {
    struct str text = {0};
    int code = file_read(path, LARGEST_FILE, &text, e);
    if (code == 0)
        code = check_nul(path, 1, text.data, text.len, e);
    if (code == 0) {
        json_error_t je;
        json_t *value = load(text.data, text.len, &je);
        if (value)
            *out = value;
        else
            code = parse_error(path, 1, &je, e);
    }
    str_release(&text);
    return code;
}

/* Always "written": what did not fit is remembered by the text. jansson does not look at the result everywhere (2.14: for the
 * keys of an object), so stopping it half-way could leave out a key and go on. */
static int add_dumped(const char *bytes, size_t n, void *text) {
    str_add_bytes(text, bytes, n);
    return 0;
}

int json_file_write(const char *path, const json_t *document, struct err *e) {
    struct str text = {0};
    bool dumped = json_dump_callback(document, add_dumped, &text, JSON_INDENT(2) | JSON_ENCODE_ANY) == 0;
    str_add_char(&text, '\n');
    int code = dumped && str_check(&text, NULL) == 0
                   ? file_write(path, text.data, text.len, e)
                   : err_set(e, ERR_NO_MEMORY, "json_file_write", "%s: out of memory", path);
    str_release(&text);
    return code;
}
