/* YAML through libyaml: text to a node tree with the place of every value.
 *
 * What is taken is YAML 1.2's core schema: maps, lists, scalars; unquoted true/false, null/~ and decimal numbers have
 * those types, everything else is text (so `no`, `on` and `2026-01-31` are text). Refused with ERR_FORMAT and the place:
 * duplicate keys, more than one document, anchors, aliases and tags (nothing here needs them, and aliases let a small file
 * become a huge one), keys that are not scalars, more than 64 levels. */
#ifndef FORMAT_YAML_H
#define FORMAT_YAML_H

#include "format/node.h"
#include <stddef.h>

/* `name` stands in messages and is copied. An empty document is a NODE_NULL. */
int yaml_node_parse(struct arena *a, const char *name, const char *text, size_t n, struct node **out,
                    struct err *e);
int yaml_node_read(struct arena *a, const char *path, struct node **out, struct err *e);

/* Appends `text` as a YAML scalar on one line, quoted where it would read as something else. */
void yaml_text_string(struct str *out, const char *text);

#endif
