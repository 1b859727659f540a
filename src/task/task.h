/* The task: what the model must do. Fields in; out comes one of the labels (classify), a JSON object by schema (extract) or a
 * short text (respond).
 *
 * A task is loaded from task.yaml (host; node tree from format/yaml.h) or task.json (bundle; format/json.h)
 * into an arena that it owns; everything in it is immutable afterwards and may be read from several threads.
 * A record is an array of values in the order of the task's fields: declared fields first, then derived ones.
 */
#ifndef TASK_TASK_H
#define TASK_TASK_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/node.h"
#include <stdbool.h>
#include <stdint.h>

#define TASK_FORMAT "edgestill.task/1"

enum {
    TASK_FIELDS_MAX = 256,
    TASK_LABELS_MAX = 256,
    TASK_VALUES_MAX = 4096,
    TASK_DECIMALS_MAX = 6,
    TASK_TEXT_MAX = 4000
};

#define TASK_KINDS(X) X(CLASSIFY, "classify") X(EXTRACT, "extract") X(RESPOND, "respond")
enum task_kind {
#define X(name, text) TASK_##name,
    TASK_KINDS(X)
#undef X
};

#define FIELD_TYPES(X)                                                                                       \
    X(INTEGER, "integer") X(NUMBER, "number") X(CATEGORY, "category") X(TEXT, "text") X(DATE, "date")
enum field_type {
#define X(name, text) FIELD_##name,
    FIELD_TYPES(X)
#undef X
};

/* How dates of own rows are written where they are not YYYY-MM-DD: 31/12/2026, or 12/31/2026; also with '.' and '-'. Prompts
 * and stored records always have YYYY-MM-DD. */
#define DATE_ORDERS(X) X(ISO, "ymd") X(DAY_FIRST, "dmy") X(MONTH_FIRST, "mdy")
enum date_order {
#define X(name, text) DATE_##name,
    DATE_ORDERS(X)
#undef X
};

/* Operations of derived fields over two declared fields a and b: a / b, a - b, a + b, and the days from date
 * a to date b. A missing operand, or b == 0 in a ratio, makes the derived value missing. */
#define DERIVED_OPS(X)                                                                                       \
    X(RATIO, "ratio") X(DIFFERENCE, "difference") X(SUM, "sum") X(DAYS_BETWEEN, "days_between")
enum derived_op {
#define X(name, text) DERIVED_##name,
    DERIVED_OPS(X)
#undef X
};

struct task_field {
    const char *name; /* as in records and prompts; also the CSV column unless `column` says otherwise */
    const char *column;
    enum field_type type;
    const char *unit; /* NULL: none */
    bool has_range;
    double min, max;     /* INTEGER, NUMBER */
    int decimals;        /* NUMBER: digits printed after the point, at most TASK_DECIMALS_MAX */
    const char **values; /* CATEGORY */
    int n_values;
    enum date_order order; /* DATE */
    bool comma;            /* NUMBER: own rows may write 4,5 for 4.5 */
    int max_chars;         /* TEXT: characters at most; 0: as long as a value may be */
    bool optional;         /* may be missing; other declared fields must be there in a strict record */
    bool in_prompt;        /* false: only feeds derived fields */
    bool derived;
    enum derived_op op; /* derived fields: name = a op b */
    int a, b;           /* indices of the declared fields */
};

struct task_label {
    const char *name;
    const char *definition; /* "the delay is under 2 days"; "otherwise" */
};

struct task {
    struct arena arena;
    enum task_kind kind;
    const char *name;        /* short, for files and services: [a-z0-9-]+ */
    const char *sentence;    /* the user's own */
    const char *instruction; /* what the student is told, one or two lines */
    struct task_field *fields;
    int n_fields, n_declared;
    struct task_label *labels;
    int n_labels; /* classify: 2 or more; otherwise 0 */
    /* classify: the label of interest for F1 and PR-AUC, default the first; otherwise NULL */
    const char *positive;
    struct task_field *answer; /* extract: the fields of the JSON answer; respond: one text (task/answer.h) */
    int n_answer;
    /* the teacher's reasons are learned beside the answers; the student never writes them unasked */
    bool rationale;
};

/* One value: text as it will be printed ("unknown" where missing), plus the number for numeric types (dates:
 * days since 1970-01-01; categories: index, -1 for one that the task does not list). The number is that of
 * the printed text, so that a rule, a derived field and the model see the same value. */
struct value {
    bool missing;
    double number;
    const char *text;
};

struct record {
    const struct value *values; /* n_fields of the task */
    int label;                  /* classify: index, or -1 where unknown; otherwise -1 */
    const char *answer;         /* extract, respond: the right answer in normal form; NULL where unknown */
};

/* Check and copy a parsed task (docs/formats.md, edgestill.task/1). On failure nothing is left behind.
 * Release with task_release. Absent: kind is classify, instruction and positive have defaults. */
int task_from_node(struct task *t, const struct node *root, struct err *e);

/* The same from what a teacher drafts: {"fields":[...],"labels":[...]}; name and sentence are the project's.
 */
int task_from_draft(struct task *t, const char *name, const char *sentence, const struct node *draft,
                    struct err *e);
void task_release(struct task *t);

/* The task as JSON (compact, keys in a fixed order: the canonical text that locks and bundles hash) and as
 * YAML for people (with comments). Appended to out. */
int task_to_json(const struct task *t, struct str *out, struct err *e);
int task_to_yaml(const struct task *t, struct str *out, struct err *e);

/* Is it within the range, and one of the values, that the field declares? A missing value is. */
bool task_field_allows(const struct task_field *f, const struct value *v);

int task_field_index(const struct task *t, const char *name); /* -1 when there is none */
int task_label_index(const struct task *t, const char *name);
const char *task_type_name(enum field_type type);   /* "integer" */
const char *task_op_name(enum derived_op op);       /* "ratio" */
const char *task_order_name(enum date_order order); /* "ymd" */
const char *task_kind_name(enum task_kind kind);    /* "classify" */
int task_kind_find(const char *name);               /* -1 when there is none */

/* A record from declared fields by name. `get` returns the raw text of a declared field or NULL where
 * missing; "", "NA", "N/A", "NaN" and "null" count as missing too. Values are normalised (numbers reprinted
 * with the field's decimals, white space and control characters made single spaces, categories spelled as
 * declared), checked against type, range and categories, derived fields computed; all in `a`. Building from
 * what a record prints gives the same record again. `strict` (generated data): out of range, an unlisted
 * category or a missing field that is not optional is an error; otherwise only what cannot be parsed is. The
 * label is -1. Errors: ERR_INPUT naming field and value. */
int record_build(const struct task *t, struct arena *a, bool strict,
                 const char *(*get)(void *context, const struct task_field *f), void *context,
                 struct record *out, struct err *e);

/* From a JSON object's node: keys are field names (or columns). Unknown keys are errors when strict. */
int record_from_node(const struct task *t, struct arena *a, bool strict, const struct node *object,
                     struct record *out, struct err *e);

/* Declared fields as a compact JSON object in field order, appended: the stored and exchanged form. */
int record_to_json(const struct task *t, const struct record *r, struct str *out);

/* "delay: 5; approved share: 0.62": the in-prompt fields as the teacher reads them, appended. */
int record_to_line(const struct task *t, const struct record *r, struct str *out);

#endif
