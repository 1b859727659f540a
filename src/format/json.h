/* JSON through jansson: text to a node tree with the place of every value, and helpers that write JSON.
 *
 *     struct node *root;
 *     if (json_node_read(&arena, "task.json", &root, &e) < 0) ...   // "task.json:3:7: ..." in e
 *     json_text_string(&out, "say \"hi\"");                          // appends "say \"hi\"" quoted and
 * escaped
 *
 * Parsing is strict: one value, valid UTF-8, no duplicate keys, no NUL in strings, at most 128 levels. Errors
 * are ERR_FORMAT with file, line and column. */
#ifndef FORMAT_JSON_H
#define FORMAT_JSON_H

#include "format/node.h"
#include <jansson.h>
#include <stddef.h>

/* `name` stands in messages and is copied. first_line: number of the text's first line (JSON Lines), 0
 * means 1. */
int json_node_parse(struct arena *a, const char *name, int first_line, const char *text, size_t n,
                    struct node **out, struct err *e);
int json_node_read(struct arena *a, const char *path, struct node **out, struct err *e);

/* Appending to a growing text. Bytes that are not UTF-8 become U+FFFD; a double is written as short as it
 * reads back the same, and as null when it is not finite. */
void json_text_string(struct str *out, const char *text);
void json_text_string_n(struct str *out, const char *text, size_t n);
void json_text_number(struct str *out, double x);
void json_text_node(struct str *out,
                    const struct node *n); /* compact, keys in file order, numbers as written */

/* A JSON string of any bytes, with the same replacement; NULL when out of memory. json_string refuses such bytes, and a message
 * may quote them. New reference. */
json_t *json_lossy_string(const char *text);

/* Whole documents. Reading gives a new reference; writing is atomic, indented, keys in order of insertion. */
int json_file_read(const char *path, json_t **out, struct err *e);
int json_file_write(const char *path, const json_t *document, struct err *e);

#endif
