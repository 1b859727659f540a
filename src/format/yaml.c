/* YAML through libyaml: see yaml.h. Events become nodes as they come; the open lists and maps are a stack, so that no
 * document can exhaust the program's own. */
#include "format/yaml.h"

#include "base/file.h"
#include "format/json.h"

#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { DEEPEST = 64, MOST_KEYS = 10000 };
#define LARGEST_FILE ((int64_t)16 << 20)

struct build {
    struct arena *arena;
    const char *file;
    struct err *e;
    struct node *open[DEEPEST]; /* lists and maps from the outside in */
    int depth;
    const char *key; /* read, its value still to come */
    int key_line, key_column;
    struct node *root;
    int n_documents;
};

static int fail(struct build *b, const yaml_mark_t *mark, const char *text) {
    return err_set(b->e, ERR_FORMAT, "yaml_node_parse", "%s:%zu:%zu: %s", b->file, mark->line + 1,
                   mark->column + 1, text);
}

static int no_memory(struct build *b) {
    return err_set(b->e, ERR_NO_MEMORY, "yaml_node_parse", "%s: out of memory", b->file);
}

static bool is_one_of(const char *text, const char *const words[]) {
    for (int i = 0; words[i]; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* The core schema's types of an unquoted scalar. */
static void resolve(struct node *n) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    bool is_true = is_one_of(n->text, trues);
    if (is_one_of(n->text, nulls)) {
        n->type = NODE_NULL;
    } else if (is_true || is_one_of(n->text, falses)) {
        n->type = NODE_BOOL;
        n->boolean = is_true;
    } else if (str_to_double(n->text, &n->number)) {
        n->type = NODE_NUMBER;
    }
}

/* Hang a finished or just opened node where it belongs. */
static void place(struct build *b, struct node *n) {
    if (b->depth == 0) {
        b->root = n;
        return;
    }
    struct node *parent = b->open[b->depth - 1];
    if (parent->type == NODE_MAP) {
        n->key = b->key;
        n->key_line = b->key_line;
        n->key_column = b->key_column;
        b->key = NULL;
    }
    node_append(parent, n);
}

static bool wants_key(const struct build *b) {
    return b->depth > 0 && b->open[b->depth - 1]->type == NODE_MAP && !b->key;
}

static int take_key(struct build *b, const char *text, size_t n, const yaml_mark_t *mark) {
    const struct node *map = b->open[b->depth - 1];
    if (strlen(text) != n)
        return fail(b, mark, "a key with a NUL character");
    if (map->n_children >= MOST_KEYS)
        return fail(b, mark, "more keys in one map than are allowed (10000)");
    struct node *before = node_get(map, text);
    if (before)
        return err_set(b->e, ERR_FORMAT, "yaml_node_parse",
                       "%s:%zu:%zu: the key \"%s\" stands here already, on line %d", b->file, mark->line + 1,
                       mark->column + 1, text, before->key_line);
    b->key = arena_strndup(b->arena, text, n);
    b->key_line = (int)mark->line + 1;
    b->key_column = (int)mark->column + 1;
    return b->key ? 0 : no_memory(b);
}

static int take_scalar(struct build *b, const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    size_t n = event->data.scalar.length;
    const yaml_mark_t *mark = &event->start_mark;
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return fail(b, mark, "anchors and tags are not used here");
    if (wants_key(b))
        return take_key(b, text, n, mark);
    if (strlen(text) != n)
        return fail(b, mark, "a value with a NUL character");
    struct node *node = node_new(b->arena, NODE_STRING, b->file, (int)mark->line + 1, (int)mark->column + 1);
    if (!node || !(node->text = arena_strndup(b->arena, text, n)))
        return no_memory(b);
    node->text_len = n;
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        resolve(node);
    place(b, node);
    return 0;
}

static int take_open(struct build *b, enum node_type type, bool decorated, const yaml_mark_t *mark) {
    if (decorated)
        return fail(b, mark, "anchors and tags are not used here");
    if (wants_key(b))
        return fail(b, mark, "a list or map cannot be a key");
    if (b->depth == DEEPEST)
        return fail(b, mark, "nested more than 64 levels deep");
    struct node *node = node_new(b->arena, type, b->file, (int)mark->line + 1, (int)mark->column + 1);
    if (!node)
        return no_memory(b);
    place(b, node);
    b->open[b->depth++] = node;
    return 0;
}

static int take_event(struct build *b, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return b->n_documents++ > 0 ? fail(b, &event->start_mark, "a second document; only one is allowed")
                                    : 0;
    case YAML_SCALAR_EVENT:
        return take_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return take_open(b, NODE_LIST, event->data.sequence_start.anchor || event->data.sequence_start.tag,
                         &event->start_mark);
    case YAML_MAPPING_START_EVENT:
        return take_open(b, NODE_MAP, event->data.mapping_start.anchor || event->data.mapping_start.tag,
                         &event->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return 0;
    case YAML_ALIAS_EVENT:
        return fail(b, &event->start_mark, "aliases are not used here");
    default:
        return 0;
    }
}

static int parser_error(struct build *b, const yaml_parser_t *parser) {
    if (parser->error == YAML_MEMORY_ERROR)
        return no_memory(b);
    const char *problem = parser->problem ? parser->problem : "not valid YAML";
    if (parser->error == YAML_READER_ERROR)
        return err_set(b->e, ERR_FORMAT, "yaml_node_parse", "%s: not valid YAML: byte %zu: %s", b->file,
                       parser->problem_offset, problem);
    int code = err_set(b->e, ERR_FORMAT, "yaml_node_parse", "%s:%zu:%zu: not valid YAML: %s%s%s", b->file,
                       parser->problem_mark.line + 1, parser->problem_mark.column + 1, problem,
                       parser->context ? ", " : "", parser->context ? parser->context : "");
    if (strstr(problem, "mapping values are not allowed"))
        err_hint(b->e, "put text with a colon in quotes");
    else if (strstr(problem, "cannot start any token"))
        err_hint(b->e, "indent with spaces, not tabs, and put text with special characters in quotes");
    return code;
}

static int run_parser(struct build *b, yaml_parser_t *parser) {
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return parser_error(b, parser);
        bool end = event.type == YAML_STREAM_END_EVENT;
        int code = take_event(b, &event);
        yaml_event_delete(&event);
        if (code < 0 || end)
            return code;
    }
}

/* Line and column of an offset, counted in characters. */
static yaml_mark_t mark_of(const char *text, size_t offset) {
    yaml_mark_t mark = {.index = offset};
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static int check_encoding(struct build *b, const char *text, size_t n) {
    size_t bad;
    if (str_is_utf8(text, n, &bad))
        return 0;
    yaml_mark_t mark = mark_of(text, bad);
    int code = err_set(b->e, ERR_FORMAT, "yaml_node_parse", "%s:%zu:%zu: byte 0x%02x is not UTF-8 text",
                       b->file, mark.line + 1, mark.column + 1, (unsigned char)text[bad]);
    err_hint(b->e, "save the file as UTF-8");
    return code;
}

int yaml_node_parse(struct arena *a, const char *name, const char *text, size_t n, struct node **out,
                    struct err *e) {
    struct build b = {.arena = a, .file = arena_strdup(a, name), .e = e};
    if (!b.file)
        return err_set(e, ERR_NO_MEMORY, "yaml_node_parse", "%s: out of memory", name);
    int code = check_encoding(&b, text, n);
    if (code < 0)
        return code;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return no_memory(&b);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    code = run_parser(&b, &parser);
    yaml_parser_delete(&parser);
    if (code == 0 && !b.root && !(b.root = node_new(a, NODE_NULL, b.file, 1, 1)))
        code = no_memory(&b);
    if (code == 0)
        *out = b.root;
    return code;
}

int yaml_node_read(struct arena *a, const char *path, struct node **out, struct err *e) {
    struct str text = {0};
    int code = file_read(path, LARGEST_FILE, &text, e);
    if (code == 0)
        code = yaml_node_parse(a, path, text.data, text.len, out, e);
    str_release(&text);
    return code;
}

/* Words and numbers with blanks, dots, dashes and such between them need no quotes, unless they read as another type. */
static bool is_plain(const char *text) {
    static const char inner[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _./+()=<>%;-";
    static const char *const other_types[] = {"y",   "n",    "yes",   "no",   "on",
                                              "off", "true", "false", "null", NULL};
    size_t n = strlen(text);
    struct node probe = {.type = NODE_STRING, .text = text};
    if (n == 0 || !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/_", text[0]) ||
        text[n - 1] == ' ' || strspn(text, inner) != n)
        return false;
    for (int i = 0; other_types[i]; i++) /* some of them are booleans to YAML 1.1 readers */
        if (strcasecmp(text, other_types[i]) == 0)
            return false;
    resolve(&probe);
    return probe.type == NODE_STRING;
}

/* Code points that JSON takes as they are but YAML refuses or reads as line ends. */
static bool needs_escape(unsigned c) {
    return (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

void yaml_text_string(struct str *out, const char *text) {
    if (is_plain(text)) {
        str_add(out, text);
        return;
    }
    struct str quoted = {0}; /* a JSON string is a YAML double-quoted scalar, but for a few code points */
    json_text_string(&quoted, text);
    out->failed = out->failed || quoted.failed;
    const unsigned char *s = (const unsigned char *)str_text(&quoted);
    while (*s) {
        size_t n = *s < 0x80 ? 1 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
        unsigned c = *s;
        if (n == 2)
            c = (c & 0x1fu) << 6 | (s[1] & 0x3fu);
        else if (n == 3)
            c = (c & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
        if (n < 4 && needs_escape(c))
            str_addf(out, "\\u%04x", c);
        else
            str_add_bytes(out, s, n);
        s += n;
    }
    str_release(&quoted);
}
