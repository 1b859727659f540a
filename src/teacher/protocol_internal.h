/* Inside src/teacher/ only: what the requests of all kinds are built from. */
#ifndef TEACHER_PROTOCOL_INTERNAL_H
#define TEACHER_PROTOCOL_INTERNAL_H

#include "teacher/protocol.h"

void protocol_begin(struct protocol_request *r);
int protocol_finish(struct protocol_request *r, enum protocol_style style, int64_t answer_tokens,
                    struct err *e);

void protocol_fields_line(const struct task *t, struct str *out); /* F */
void protocol_fields_schema(const struct task *t, const struct protocol_hint *hint, struct str *out);
void protocol_write_schema(const struct task *t, int n_records, const struct protocol_hint *hint,
                           struct str *out);
#define PROTOCOL_ANSWER "Answer:" /* begins the line that names the label */
/* What stands after it in the last line that it begins (in any case, behind "**" and its like); NULL: there is none. */
const char *protocol_answer_after(const char *content);
void protocol_drop_key(struct node *map, const char *key); /* where it is there */
int64_t protocol_record_bytes(const struct task *t);       /* no record's JSON is longer */

/* protocol_write of extract and respond. */
int protocol_compose(struct protocol_request *r, enum protocol_style style, const struct task *t,
                     int n_records, const struct protocol_hint *hint, struct err *e);

#endif
