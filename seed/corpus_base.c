/* The base's corpus: short structured records and instructions of many kinds. Half of it are records sorted by a rule that
 * is never told, one after the other, so that the base learns to read fields and to compare numbers, and a little
 * fine-tuning can pick the rule; alone, on a record without examples before it, it can only guess. */
#include "corpus_write.h"
#include "words.h"
#include <inttypes.h>

/* What a student's prompt looks like (src/task/prompt.h), with many wordings of the instruction. */
static void add_instruction(struct rng *r, const struct family_task *t, struct str *out) {
    const char *a = t->labels[t->otherwise_first], *b = t->labels[!t->otherwise_first];
    switch (rng_range(r, 0, 4)) {
    case 0:
        str_addf(out, "%s. Answer %s or %s.\n", t->intro, a, b);
        break;
    case 1:
        str_addf(out, "Read the record and answer with one label: %s or %s.\n", a, b);
        break;
    case 2:
        str_addf(out, "%s. Answer with one label: %s, %s.\n", t->intro, a, b);
        break;
    case 3:
        str_addf(out, "Label the record: %s or %s.\n", a, b);
        break;
    default:
        str_addf(out, "Is it %s or %s?\n", a, b);
        break;
    }
}

static void write_hidden_rule(struct rng *r, struct corpus_writer *w, const struct family_task *t) {
    struct str instruction = {0}, s = {0};
    add_instruction(r, t, &instruction);
    bool each = rng_chance(r, 0.5), swapped = rng_chance(r, 0.5);
    int64_t n_records = rng_range(r, 4, 14);
    for (int64_t i = 0; i < n_records && w->document->n < CORPUS_DOCUMENT_MAX - 160; i++) {
        struct family_record rec;
        if (!family_record(r, t, (int)rng_range(r, 0, 1), &rec))
            continue;
        str_clear(&s);
        if (each || i == 0)
            str_add(&s, str_text(&instruction));
        family_record_list(t, &rec, &s);
        corpus_turn(w, "user", str_text(&s));
        corpus_turn(w, "assistant", t->labels[family_rule_holds(t, &rec, NULL) == swapped]);
    }
    str_release(&instruction);
    str_release(&s);
}

static const struct family_field *numeric_field(struct rng *r, const struct family_task *t, int *index) {
    for (int tries = 0; tries < 20; tries++) {
        *index = (int)rng_range(r, 0, t->n_fields - 1);
        if (t->fields[*index].type != FAMILY_CATEGORY)
            return &t->fields[*index];
    }
    return NULL;
}

/* "What is the width?", "Is the width under 5?" about the record above. */
static void add_question(struct rng *r, struct corpus_writer *w, const struct family_task *t,
                         const struct family_record *rec) {
    struct str ask = {0}, reply = {0};
    int index;
    const struct family_field *f = rng_chance(r, 0.65) ? numeric_field(r, t, &index) : NULL;
    if (f == NULL) {
        index = (int)rng_range(r, 0, t->n_fields - 1);
        str_addf(&ask, "What is the %s?", t->fields[index].name);
        family_value(&t->fields[index], rec->values[index], &reply);
    } else {
        bool under = rng_chance(r, 0.5);
        int64_t reach = rng_chance(r, 0.5) ? 3 : f->max - f->min, value = rec->values[index];
        int64_t threshold = value + rng_range(r, -reach, reach);
        if (threshold < f->min || threshold > f->max)
            threshold = rng_range(r, f->min, f->max);
        str_addf(&ask, "Is the %s %s ", f->name, under ? "under" : "over");
        family_value(f, threshold, &ask);
        str_add(&ask, "?");
        str_add(&reply, (under ? value < threshold : value > threshold) ? "yes" : "no");
    }
    corpus_turn(w, "user", str_text(&ask));
    corpus_turn(w, "assistant", str_text(&reply));
    str_release(&ask);
    str_release(&reply);
}

static void write_questions(struct rng *r, struct corpus_writer *w, const struct family_task *t) {
    struct family_record rec;
    if (!family_record(r, t, -1, &rec))
        return;
    struct str s = {0};
    str_add(&s, "Read the record, then answer.\n");
    family_record_list(t, &rec, &s);
    corpus_turn(w, "system", str_text(&s));
    str_release(&s);
    for (int64_t n = rng_range(r, 3, 9); n > 0; n--)
        add_question(r, w, t, &rec);
}

/* The same record in another form. */
static void write_conversion(struct rng *r, struct corpus_writer *w, const struct family_task *t) {
    static const char *const names[] = {"a list", "a line", "JSON"};
    void (*const forms[])(const struct family_task *, const struct family_record *,
                          struct str *) = {family_record_list, family_record_line, family_record_json};
    struct str s = {0};
    int64_t from = rng_range(r, 0, 2), to = (from + rng_range(r, 1, 2)) % 3;
    for (int64_t n = rng_range(r, 1, 3); n > 0; n--) {
        struct family_record rec;
        if (!family_record(r, t, -1, &rec))
            break;
        str_clear(&s);
        str_addf(&s, "Write the record as %s.\n", names[to]);
        forms[from](t, &rec, &s);
        corpus_turn(w, "user", str_text(&s));
        str_clear(&s);
        forms[to](t, &rec, &s);
        corpus_turn(w, "assistant", str_text(&s));
    }
    str_release(&s);
}

/* Numbers on their own: order, greatest, smallest. */
static void write_numbers(struct rng *r, struct corpus_writer *w) {
    static const int64_t tops[] = {9, 20, 99, 100, 500, 999, 5000, 9999};
    struct str ask = {0}, reply = {0};
    for (int64_t turns = rng_range(r, 2, 8); turns > 0; turns--) {
        int64_t numbers[5], n = rng_range(r, 2, 5), top = tops[rng_range(r, 0, 7)];
        bool greatest = rng_chance(r, 0.5);
        str_clear(&ask);
        str_clear(&reply);
        str_addf(&ask, "Which is the %s:", greatest ? "greatest" : "least");
        int64_t best = 0;
        for (int64_t i = 0; i < n; i++) {
            numbers[i] = rng_range(r, 0, top);
            best = (greatest ? numbers[i] > numbers[best] : numbers[i] < numbers[best]) ? i : best;
            str_addf(&ask, "%s %" PRId64, i > 0 ? "," : "", numbers[i]);
        }
        str_add(&ask, "?");
        str_addf(&reply, "%" PRId64, numbers[best]);
        corpus_turn(w, "user", str_text(&ask));
        corpus_turn(w, "assistant", str_text(&reply));
    }
    str_release(&ask);
    str_release(&reply);
}

void corpus_base_document(struct rng *r, struct corpus_writer *w, double difficulty) {
    struct family_task t;
    struct family_options o = {.difficulty = difficulty, .words.invented = rng_chance(r, 0.5) ? 0.0 : 0.5};
    family_draw(r, &o, &t);
    double which = rng_double(r);
    if (which < 0.60)
        write_hidden_rule(r, w, &t);
    else if (which < 0.85)
        write_questions(r, w, &t);
    else if (which < 0.95)
        write_conversion(r, w, &t);
    else
        write_numbers(r, w);
}
