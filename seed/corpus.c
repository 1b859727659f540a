/* Conversations of the teacher's corpus and the vocabulary: see corpus.h; the base's are in corpus_base.c. */
#include "corpus.h"
#include "corpus_write.h"
#include "words.h"
#include <inttypes.h>
#include <string.h>

/* ---- the vocabulary's words ---- */

/* Words that the protocol and the grammar use over and over: one token, with and without a space before. */
static const char *const common_words[] = {"the",
                                           "is",
                                           "and",
                                           "or",
                                           "when",
                                           "otherwise",
                                           "under",
                                           "below",
                                           "less",
                                           "than",
                                           "over",
                                           "above",
                                           "more",
                                           "greater",
                                           "lower",
                                           "higher",
                                           "at",
                                           "least",
                                           "most",
                                           "not",
                                           "from",
                                           "to",
                                           "between",
                                           "of",
                                           "a",
                                           "an",
                                           "has",
                                           "with",
                                           "it",
                                           "as",
                                           "flag",
                                           "label",
                                           "mark",
                                           "call",
                                           "answer",
                                           "each",
                                           "every",
                                           "comes",
                                           "record",
                                           "records",
                                           "if",
                                           "else",
                                           "yes",
                                           "no",
                                           "integer",
                                           "number",
                                           "one",
                                           "name",
                                           "type",
                                           "category",
                                           "values",
                                           "min",
                                           "max",
                                           "decimals",
                                           "unit",
                                           "definition",
                                           "fields",
                                           "labels",
                                           "labelled",
                                           "refusal",
                                           "Write",
                                           "Draft",
                                           "Label",
                                           "Answer",
                                           "Record",
                                           "Fields",
                                           "Labels",
                                           "Check",
                                           "for",
                                           "task",
                                           "in",
                                           "JSON",
                                           "specification",
                                           "sentence",
                                           "condition",
                                           "then",
                                           "user",
                                           "assistant",
                                           "system",
                                           "Flag",
                                           "Mark",
                                           "It",
                                           "Call",
                                           "Each",
                                           "Every",
                                           "A",
                                           "An",
                                           "outside",
                                           "family",
                                           "documented",
                                           "days",
                                           "hours",
                                           "minutes",
                                           "percent",
                                           "degrees",
                                           "What",
                                           "Which",
                                           "Is",
                                           "Read",
                                           "unknown",
                                           NULL};

/* Fixed punctuation runs; the counts make them whole tokens early. */
static const char *const runs[] = {"{\"",    "\":\"", "\",\"", "\":",   ",\"", "\"},{\"",  "\":[{\"",
                                   "\":[\"", "}]}",   "\"}]}", "},{\"", "\"}", "\"]},{\"", ".\n",
                                   ":\n",    " (",    "),",    ").",    ",\"", "\"],\"",   NULL};

struct word_source {
    struct rng rng;
    int pool, index, n_invented, run, common;
    char buffer[WORD_MAX];
};

static const char *next_word(void *context, int64_t *count) {
    struct word_source *s = context;
    if (runs[s->run] != NULL) {
        *count = 100000;
        return runs[s->run++];
    }
    if (common_words[s->common] != NULL) {
        *count = 60;
        return common_words[s->common++];
    }
    *count = 12;
    while (s->pool < WORDS_FORMAL) { /* those are among the common words */
        const char *word = word_listed((enum word_pool)s->pool, s->index++);
        if (word != NULL)
            return word;
        s->pool++;
        s->index = 0;
    }
    if (s->n_invented++ >= 6000)
        return NULL;
    *count = 1;
    word_pick(&s->rng, WORDS_NOUN, &(struct word_mix){.invented = 1}, s->buffer);
    return s->buffer;
}

int corpus_vocabulary(struct bpe **out, int n_vocab, struct err *e) {
    struct word_source source = {0};
    rng_seed(&source.rng, 2026);
    return bpe_train(out, n_vocab, next_word, &source, common_words, e);
}

/* ---- writing a conversation ---- */

static void add_ids(struct corpus_writer *w, const char *text, float weight) {
    struct corpus_document *d = w->document;
    int64_t n = bpe_encode(w->bpe, text, d->ids + d->n, CORPUS_DOCUMENT_MAX - d->n);
    if (n < 0) {
        w->full = true;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        d->weights[d->n + i] = weight;
    d->n += n;
}

static void add_special(struct corpus_writer *w, int32_t id, float weight) {
    struct corpus_document *d = w->document;
    if (d->n >= CORPUS_DOCUMENT_MAX) {
        w->full = true;
        return;
    }
    d->ids[d->n] = id;
    d->weights[d->n++] = weight;
}

void corpus_turn(struct corpus_writer *w, const char *role, const char *text) {
    bool assistant = strcmp(role, "assistant") == 0;
    struct str s = {0};
    str_addf(&s, "%s\n", role);
    add_special(w, BPE_IM_START, 0);
    if (assistant) {
        add_ids(w, str_text(&s), 0);
        w->answer = w->document->n;
        add_ids(w, text, 1);
        add_special(w, BPE_IM_END, 1);
    } else {
        str_add(&s, text);
        add_ids(w, str_text(&s), 0);
        add_special(w, BPE_IM_END, 0);
    }
    add_ids(w, "\n", 0);
    str_release(&s);
}

void corpus_writer_begin(struct corpus_writer *w, struct bpe *b, struct corpus_document *d) {
    *w = (struct corpus_writer){.bpe = b, .document = d};
    d->n = 0;
}

/* ---- the teacher's three requests, in the words of src/teacher's protocol ---- */

const char corpus_draft_system[] = "Draft a task specification for the sentence. Answer in JSON.";

void corpus_label_system(const struct family_task *t, struct str *out) {
    str_add(out, "Label a record of the task. Labels: ");
    family_labels_line(t, out);
    str_add(out, ". Check each condition, then answer.");
}

void corpus_write_system(const struct family_task *t, struct str *out) {
    str_add(out, "Write records for the task. Fields: ");
    family_fields_line(t, out);
    str_add(out, ". Labels: ");
    family_labels_line(t, out);
    str_add(out, ". Answer in JSON.");
}

static void add_system(struct corpus_writer *w, const struct family_task *t,
                       void (*text)(const struct family_task *t, struct str *out)) {
    struct str s = {0};
    text(t, &s);
    corpus_turn(w, "system", str_text(&s));
    str_release(&s);
}

static void add_label_turn(struct corpus_writer *w, const struct family_task *t,
                           const struct family_record *rec) {
    struct str s = {0};
    str_add(&s, "Record: ");
    family_record_line(t, rec, &s);
    corpus_turn(w, "user", str_text(&s));
    str_clear(&s);
    family_reasoning(t, rec, &s);
    corpus_turn(w, "assistant", str_text(&s));
    str_release(&s);
}

static void write_label(struct rng *r, struct corpus_writer *w, const struct family_task *t) {
    int64_t n_records = rng_chance(r, 0.35) ? 1 : rng_range(r, 2, 6);
    add_system(w, t, corpus_label_system);
    for (int64_t i = 0; i < n_records && !w->full; i++) {
        struct family_record rec;
        if (family_record(r, t, rng_chance(r, 0.8) ? (int)rng_range(r, 0, 1) : -1, &rec))
            add_label_turn(w, t, &rec);
    }
}

/* "with visit type emergency", "with delay from 2 to 6": what the quota grid asks for. */
struct hint {
    int field; /* -1: none */
    int64_t low, high;
};

static struct hint draw_hint(struct rng *r, const struct family_task *t) {
    struct hint h = {.field = -1};
    if (rng_chance(r, 0.35))
        return h;
    h.field = (int)rng_range(r, 0, t->n_fields - 1);
    const struct family_field *f = &t->fields[h.field];
    if (f->type == FAMILY_CATEGORY) {
        h.low = h.high = rng_range(r, 0, f->n_values - 1);
        return h;
    }
    if (rng_chance(r, 0.5)) { /* thirds */
        int64_t third = rng_range(r, 0, 2), span = f->max - f->min;
        h.low = f->min + span * third / 3;
        h.high = f->min + span * (third + 1) / 3;
        return h;
    }
    h.low = rng_range(r, f->min, f->max);
    h.high = rng_range(r, h.low, f->max);
    return h;
}

static void add_hint(const struct family_task *t, const struct hint *h, struct str *out) {
    if (h->field < 0)
        return;
    const struct family_field *f = &t->fields[h->field];
    str_addf(out, " with %s ", f->name);
    if (f->type != FAMILY_CATEGORY) {
        str_add(out, "from ");
        family_value(f, h->low, out);
        str_add(out, " to ");
    }
    family_value(f, h->high, out);
}

static bool hinted_record(struct rng *r, const struct family_task *t, int label, const struct hint *h,
                          struct family_record *rec) {
    for (int tries = 0; tries < 400; tries++) {
        if (!family_record(r, t, -1, rec))
            return false;
        if (h->field >= 0 && (rec->values[h->field] < h->low || rec->values[h->field] > h->high))
            rec->values[h->field] = rng_range(r, h->low, h->high);
        if (family_rule_holds(t, rec, NULL) == (label == 0))
            return true;
    }
    return false;
}

static bool add_write_turn(struct rng *r, struct corpus_writer *w, const struct family_task *t) {
    int label = (int)rng_range(r, 0, 1);
    int64_t n_records = rng_range(r, 1, 6);
    struct hint hint = draw_hint(r, t);
    struct str ask = {0}, reply = {0};
    str_addf(&ask, "Write %" PRId64 " records labelled %s", n_records, t->labels[label]);
    add_hint(t, &hint, &ask);
    str_add(&ask, ".");
    str_add(&reply, "{\"records\":[");
    bool found = true;
    for (int64_t i = 0; i < n_records && found; i++) {
        struct family_record rec;
        found = hinted_record(r, t, label, &hint, &rec);
        if (found) {
            str_add(&reply, i > 0 ? "," : "");
            family_record_json(t, &rec, &reply);
        }
    }
    str_add(&reply, "]}");
    if (found) {
        corpus_turn(w, "user", str_text(&ask));
        corpus_turn(w, "assistant", str_text(&reply));
    }
    str_release(&ask);
    str_release(&reply);
    return found;
}

static void write_write(struct rng *r, struct corpus_writer *w, const struct family_task *t) {
    add_system(w, t, corpus_write_system);
    int64_t n_turns = rng_chance(r, 0.6) ? 1 : 2, done = 0;
    for (int tries = 0; done < n_turns && tries < 8; tries++)
        done += add_write_turn(r, w, t);
}

static void write_draft(struct rng *r, struct corpus_writer *w, const struct family_task *t, bool refuse) {
    struct str s = {0};
    corpus_turn(w, "system", corpus_draft_system);
    if (refuse)
        family_outside_sentence(r, &s);
    else
        family_sentence(r, t, &s);
    corpus_turn(w, "user", str_text(&s));
    str_clear(&s);
    if (refuse)
        str_add(&s, "{\"refusal\":\"outside the documented family\"}");
    else {
        struct family_task ordered =
            *t; /* the sentence does not tell the order: the label that has the rule comes first */
        ordered.otherwise_first = false;
        family_specification(&ordered, &s);
    }
    corpus_turn(w, "assistant", str_text(&s));
    str_release(&s);
}

/* A drill in comparing: conditions restated for many values, close together; only the outcomes count. */
static void write_comparisons(struct rng *r, struct corpus_writer *w, double difficulty) {
    struct str line = {0};
    corpus_turn(w, "user", "Check each condition.");
    add_special(w, BPE_IM_START, 0);
    add_ids(w, "assistant\n", 0);
    while (w->document->n < CORPUS_DOCUMENT_MAX / 2) {
        struct family_task t;
        family_draw(r, &(struct family_options){.difficulty = difficulty, .words = {0.2, w->bpe}}, &t);
        for (int64_t n = rng_range(r, 2, 5); n > 0; n--) {
            struct family_record rec;
            int index = (int)rng_range(r, 0, t.n_conditions - 1);
            if (!family_record(r, &t, -1, &rec))
                continue;
            str_clear(&line);
            family_condition_line(&t, index, &rec, &line);
            add_ids(w, str_text(&line), 0);
            str_clear(&line);
            family_condition_outcome(&t, index, &rec, &line);
            add_ids(w, str_text(&line), 1);
            add_ids(w, "\n", 0);
        }
    }
    str_release(&line);
}

static void teacher_document(struct rng *r, struct corpus_writer *w, double difficulty, bool drill) {
    struct family_task t;
    struct family_options o = {.difficulty = difficulty, .words = {rng_chance(r, 0.5) ? 0.0 : 0.5, w->bpe}};
    family_draw(r, &o, &t);
    double which = rng_double(r);
    if (which < 0.15 && drill)
        write_comparisons(r, w, difficulty);
    else if (which < 0.55)
        write_label(r, w, &t);
    else if (which < 0.72)
        write_write(r, w, &t);
    else
        write_draft(r, w, &t, which > 0.97);
}

static struct rng document_rng(uint64_t seed, int64_t index) {
    struct rng r;
    rng_seed(&r, seed * 0x9E3779B97F4A7C15ULL + (uint64_t)index);
    return r;
}

void corpus_document(struct bpe *b, enum corpus_kind kind, uint64_t seed, int64_t index, double difficulty,
                     struct corpus_document *out) {
    struct rng r = document_rng(seed, index);
    struct corpus_writer w;
    do {
        corpus_writer_begin(&w, b, out);
        if (kind == CORPUS_DRILL && rng_chance(&r, 0.75))
            write_comparisons(&r, &w, difficulty);
        else if (kind == CORPUS_DRILL)
            teacher_document(&r, &w, 1, true);
        else if (kind == CORPUS_TEACHER || (kind == CORPUS_BOTH && rng_chance(&r, 0.65)))
            teacher_document(&r, &w, difficulty, kind == CORPUS_TEACHER);
        else
            corpus_base_document(&r, &w, difficulty);
    } while (w.full || out->n == 0);
}

void corpus_examination(struct bpe *b, uint64_t seed, int64_t index, int n_conditions,
                        struct corpus_document *out, int64_t *answer) {
    struct rng r = document_rng(seed, index);
    struct corpus_writer w;
    do {
        struct family_task t;
        struct family_record rec;
        corpus_writer_begin(&w, b, out);
        family_draw(
            &r,
            &(struct family_options){.difficulty = 1, .words.invented = 0.3, .n_conditions = n_conditions},
            &t);
        if (!family_record(&r, &t, (int)(index & 1), &rec))
            continue;
        add_system(&w, &t, corpus_label_system);
        add_label_turn(&w, &t, &rec);
    } while (w.full || out->n == 0);
    *answer = w.answer;
}

void corpus_draft_examination(struct bpe *b, uint64_t seed, int64_t index, int kind,
                              struct corpus_document *out, int64_t *answer) {
    struct rng r = document_rng(seed, index);
    struct corpus_writer w;
    do {
        struct family_task t;
        corpus_writer_begin(&w, b, out);
        family_draw(&r, &(struct family_options){.difficulty = 1, .words.invented = 0.3}, &t);
        write_draft(&r, &w, &t, kind == 1);
    } while (w.full);
    *answer = w.answer;
}
