/* What a teacher is asked: the three requests DRAFT, WRITE and LABEL, their texts, the JSON schema of their answers, and how
 * the answers are read. Built here and nowhere else: the embedded teacher was trained on exactly these texts.
 *
 *     F  fields   "delay: integer 0 to 60 days; approved share: number 0.00 to 1.00; visit type: one of routine, emergency"
 *     L  labels   "suspicious: the delay is under 2 days; normal: otherwise"
 *
 *     DRAFT  system "Draft a task specification for the sentence. Answer in JSON."   user: the sentence
 *     WRITE  system "Write records for the task. Fields: F. Labels: L. Answer in JSON."
 *            user   "Write 4 records labelled suspicious with delay from 2 to 6."
 *     LABEL  system "Label a record of the task. Labels: L. Check each condition, then answer."
 *            user   "Record: delay: 5; approved share: 0.62; visit type: emergency"
 *            answer one line for each condition, then "Answer: suspicious"
 *
 * The style `full`, for large general teachers, appends an explanation to the system text, and WRITE's user text goes on with exemplars:
 * records that are there, one a line as JSON, from which the new ones are to differ. It is also asked for pairs on a boundary. */
#ifndef TEACHER_PROTOCOL_H
#define TEACHER_PROTOCOL_H

#include "base/err.h"
#include "base/str.h"
#include "task/task.h"

enum protocol_style { PROTOCOL_PLAIN, PROTOCOL_FULL };

struct protocol_request {
    struct str system, user;
    struct str schema;       /* JSON schema of the answer; empty: free text */
    const char *schema_name; /* literal */
    /* LABEL: what a teacher in this process scores in place of writing it (local.h); borrowed from the task; NULL: nothing */
    const struct task_label *labels;
    int n_labels;
    int64_t max_tokens; /* no right answer needs more */
};
void protocol_release(struct protocol_request *r); /* a request may be built again without */

/* Narrows what is written to one value of a field or to a range of a numeric field. */
struct protocol_hint {
    int field; /* index of a declared field; -1: no hint */
    int value; /* CATEGORY: index */
    double low, high;
    bool of_answer; /* extract: `field` is one of the answer's */
};

int protocol_draft(struct protocol_request *r, enum protocol_style style, const char *sentence,
                   struct err *e);
/* A draft that was not right: asked again with what was wrong (style full only; a plain teacher is asked the same anew). */
int protocol_draft_repair(struct protocol_request *r, enum protocol_style style, const char *sentence,
                          const char *answer, const char *complaint, struct err *e);
int protocol_write(struct protocol_request *r, enum protocol_style style, const struct task *t, int label,
                   int n_records, const struct protocol_hint *hint, struct err *e);
int protocol_label(struct protocol_request *r, enum protocol_style style, const struct task *t,
                   const struct record *record, struct err *e);

/* WRITE of pairs, full style and classify only: two records that are alike in every field but one, the first of one label and the second
 * of another. They stand one after the other in the answer's `records`, so the place says which label each is to have. */
struct protocol_pairs {
    int n;             /* pairs */
    int first, second; /* labels */
    /* the field that may differ, of a number with the range in which both lie (on either side of the boundary); `value` says
     * nothing; field -1: the teacher chooses one */
    struct protocol_hint at;
};
int protocol_write_pairs(struct protocol_request *r, const struct task *t, const struct protocol_pairs *p,
                         struct err *e);
/* " by visit type", " with delay from 4 to 9" or nothing, appended: part of the text and of the quota cell's name. */
void protocol_pairs_text(const struct task *t, const struct protocol_hint *at, struct str *out);

/* Records that are there already [n], as JSON, are shown at the end of a WRITE request of the full style; none: it stays as it is. */
int protocol_show(struct protocol_request *r, const char *const *records, int n, struct err *e);

/* What asks for a record's right answer: LABEL of a classify task; otherwise
 *     ANSWER system "Answer a record of the task: <sentence> The answer: A. Answer in JSON."   user "Record: ..."
 * whose answer is the JSON object by the task's schema, of respond {"reply":"..."}'s kind with its own field. WRITE of these kinds
 * asks for the records alone, so the answer always comes from a question of its own. ERR_UNSUPPORTED for the plain style: the
 * embedded teacher was never taught them. */
int protocol_judge(struct protocol_request *r, enum protocol_style style, const struct task *t,
                   const struct record *record, struct err *e);
/* The answer in normal form, appended. ERR_TEACHER when it keeps to no schema. */
int protocol_answer_read(const struct task *t, const char *content, struct str *out);

/* " with visit type emergency" or nothing, appended: part of WRITE's text and of a quota cell's name. */
void protocol_hint_text(const struct task *t, const struct protocol_hint *hint, struct str *out);

/* The label that the last line "Answer: x" names; -1 when there is none or it is no label. */
int protocol_label_read(const struct task *t, const char *content);

/* The reasons that stand before an answer: the checks before the line "Answer:", or the text `rationale` that a task with
 * rationale: true has its teacher write before the JSON; where there are none, what it thought (NULL: nothing). Lines without
 * blanks at their ends, appended. */
void protocol_rationale_read(const struct task *t, const char *content, const char *thoughts,
                             struct str *out);

/* The JSON document in an answer, also inside a code fence or between sentences. ERR_TEACHER when there is none. Entries that
 * are null are left out. `name` stands in messages. */
int protocol_json_read(struct arena *a, const char *name, const char *content, struct node **out,
                       struct err *e);

#endif
