/* A parsed document: what YAML and JSON files become, each value with the line and column where it stands, so
 * that a complaint can point at it. Nodes live in the caller's arena. Parsers: yaml.h, json.h. */
#ifndef FORMAT_NODE_H
#define FORMAT_NODE_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

enum node_type { NODE_NULL, NODE_BOOL, NODE_NUMBER, NODE_STRING, NODE_LIST, NODE_MAP };

struct node {
    enum node_type type;
    int line, column;         /* from 1; 0: made by the program */
    const char *file;         /* name for messages, borrowed from the arena */
    const char *key;          /* in a map: this entry's key */
    int key_line, key_column; /* where the key stands */
    const char *text;         /* scalars: as written (numbers too); NULL for lists and maps */
    size_t text_len;          /* bytes in text */
    double number;            /* NODE_NUMBER */
    bool boolean;             /* NODE_BOOL */
    struct node *first;       /* children of a list or map, in file order */
    struct node *last;
    struct node *next; /* sibling */
    int64_t n_children;
};

struct node *node_get(const struct node *map, const char *key); /* NULL when absent or not a map */
struct node *node_at(const struct node *list, int64_t index);   /* O(index) */

/* Trees are made by the parsers; a program may make one too. NULL when out of memory; the child must not have
 * a parent yet. */
struct node *node_new(struct arena *a, enum node_type type, const char *file, int line, int column);
void node_append(struct node *parent, struct node *child);

/* Typed access. Absent optional values leave *out as it is and return 0; a wrong type is ERR_INPUT that names
 * file, line, column, key and value. `required` makes absence an error too. Strings are borrowed from the
 * arena; node_string takes any scalar as written, so that `model: 4` needs no quotes. null counts as absent.
 */
int node_string(const struct node *map, const char *key, bool required, const char **out, struct err *e);
int node_number(const struct node *map, const char *key, bool required, double *out, struct err *e);
int node_i64(const struct node *map, const char *key, bool required, int64_t *out, struct err *e);
int node_bool(const struct node *map, const char *key, bool required, bool *out, struct err *e);
int node_list(const struct node *map, const char *key, bool required, struct node **out, struct err *e);
int node_map(const struct node *map, const char *key, bool required, struct node **out, struct err *e);

/* ERR_INPUT naming any key of the map that is not in `known` (NULL-terminated), with the nearest known one as
 * hint. */
int node_check_keys(const struct node *map, const char *const known[], struct err *e);

/* An error that points at a node: "task.yaml:12:5: <message>". */
int node_error(const struct node *at, struct err *e, const char *origin, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
