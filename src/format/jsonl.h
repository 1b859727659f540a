/* JSON Lines: one JSON value a line, read line by line; empty lines are skipped. Each node knows its line in the file.
 *
 *     struct jsonl_reader *r;
 *     jsonl_reader_open(&r, "rows.jsonl", &e);
 *     while ((code = jsonl_reader_next(r, &arena, &node, &e)) > 0) { ...; arena_reset(&arena); }
 *     jsonl_reader_close(r);
 *
 * Errors name file, line and column. A last line without its line end was being written when its writer died: it is
 * read when it is whole, else jsonl_reader_next ends with ERR_FORMAT and jsonl_reader_cut_off says that it was the last. */
#ifndef FORMAT_JSONL_H
#define FORMAT_JSONL_H

#include "format/node.h"

struct jsonl_reader; /* opaque */

int jsonl_reader_open(struct jsonl_reader **out, const char *path, struct err *e);
void jsonl_reader_close(struct jsonl_reader *r); /* NULL is fine */

/* 1: *out is the next value, in `a`; 0: no more; negative: error, and the next call goes on with the line after. */
int jsonl_reader_next(struct jsonl_reader *r, struct arena *a, struct node **out, struct err *e);
const char *jsonl_reader_encoding(const struct jsonl_reader *r); /* of the file (text_file.h); NULL: UTF-8 */
int64_t jsonl_reader_line(const struct jsonl_reader *r);         /* of the latest value */
bool jsonl_reader_cut_off(const struct jsonl_reader *r);         /* the latest line had no line end */

#endif
