/* The family of tasks that the embedded teacher knows: random record schemas and decision rules, the sentence that states
 * them, records, and the right answers with the reasoning that leads there. seed/README.md has the grammar.
 *
 * Numbers are integers scaled by 10^decimals, so that every comparison is exact. */
#ifndef SEED_FAMILY_H
#define SEED_FAMILY_H

#include "base/rng.h"
#include "base/str.h"
#include "words.h"
#include <stdbool.h>
#include <stdint.h>

enum { FAMILY_FIELDS_MAX = 6, FAMILY_VALUES_MAX = 4, FAMILY_CONDITIONS_MAX = 3, FAMILY_NAME_MAX = 56 };

enum family_type { FAMILY_INTEGER, FAMILY_NUMBER, FAMILY_CATEGORY };

struct family_field {
    char name[FAMILY_NAME_MAX];
    char unit[24]; /* "" for none */
    enum family_type type;
    int64_t min, max; /* scaled */
    int decimals;
    char values[FAMILY_VALUES_MAX][FAMILY_NAME_MAX];
    int n_values;
};

enum family_operator {
    FAMILY_BELOW,
    FAMILY_ABOVE,
    FAMILY_AT_LEAST,
    FAMILY_AT_MOST,
    FAMILY_IS,
    FAMILY_IS_NOT
};

struct family_condition {
    int field;
    enum family_operator op;
    const char *op_text; /* as the rule says it: "under", "more than", ... */
    int64_t threshold;   /* scaled as the field; category: index of the value */
    int decimals;        /* printed digits of the threshold; at most the field's */
    bool elided;         /* the field's name is left out, since the condition before has the same field */
};

/* The rule's shape over conditions a, b, c. */
enum family_form {
    FORM_A,
    FORM_A_AND_B,
    FORM_A_OR_B,
    FORM_A_OR_BC,
    FORM_AB_OR_C,
    FORM_ABC,
    FORM_A_OR_B_OR_C,
    FORMS
};

struct family_task {
    char intro[96];
    char thing[FAMILY_NAME_MAX];
    struct family_field fields[FAMILY_FIELDS_MAX];
    int n_fields;
    enum family_form form;
    struct family_condition conditions[FAMILY_CONDITIONS_MAX];
    int n_conditions;
    bool comma_or, or_when;          /* ", or" against " or"; "or when" */
    char labels[2][FAMILY_NAME_MAX]; /* [0] where the rule holds, [1] otherwise */
    bool otherwise_first;            /* the order of the labels in specification and prompts */
};

struct family_record {
    int64_t values[FAMILY_FIELDS_MAX]; /* scaled; category: index */
};

/* How hard: 0 easiest (one condition, short numbers) to 1 (everything). */
struct family_options {
    double difficulty;
    struct word_mix words;
    int n_conditions; /* 0: any; otherwise exactly so many */
};

void family_draw(struct rng *r, const struct family_options *o, struct family_task *t);
int family_n_conditions(enum family_form form);

/* A record; label 0 or 1, or -1 for any. False when none was found in some hundred tries. */
bool family_record(struct rng *r, const struct family_task *t, int label, struct family_record *out);
/* Is `rule` true of the record? outcomes [n_conditions] may be NULL. */
bool family_rule_holds(const struct family_task *t, const struct family_record *rec, bool *outcomes);

/* Texts, appended. */
void family_sentence(struct rng *r, const struct family_task *t, struct str *out);
void family_rule(const struct family_task *t, struct str *out);          /* the clause after "when" */
void family_specification(const struct family_task *t, struct str *out); /* DRAFT's answer, compact JSON */
void family_fields_line(const struct family_task *t, struct str *out);   /* F */
void family_labels_line(const struct family_task *t, struct str *out);   /* L */
void family_value(const struct family_field *f, int64_t value, struct str *out); /* as records print it */
void family_record_json(const struct family_task *t, const struct family_record *rec, struct str *out);
void family_record_line(const struct family_task *t, const struct family_record *rec, struct str *out);
void family_record_list(const struct family_task *t, const struct family_record *rec,
                        struct str *out); /* "- a: 1\n" */
/* One condition restated with the record's value, up to where its outcome stands: "- delay: 5 under 2:". */
void family_condition_line(const struct family_task *t, int index, const struct family_record *rec,
                           struct str *out);
/* Then its outcome: digits side by side, how the value stands to the threshold, and the verdict: " 11 52 more: no". */
void family_condition_outcome(const struct family_task *t, int index, const struct family_record *rec,
                              struct str *out);
void family_reasoning(const struct family_task *t, const struct family_record *rec, struct str *out);
void family_outside_sentence(struct rng *r, struct str *out); /* one that the teacher must refuse */

#endif
