/* Drafting. A small teacher copies words from the sentence and may slip; so in the plain style every name, value and condition of
 * the draft must stand in the sentence, and every word of the sentence in the draft. A large one may put things in its own
 * words; there the schema is the check. */
#include "synth/draft.h"
#include "format/json.h"
#include "synth/draft_numbers.h"
#include "synth/wording.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "draft_task"

enum { ATTEMPTS = 4 };

#define FAMILY_HINT                                                                                          \
    "the embedded teacher knows sentences such as \"Check parcels. Each parcel has a weight from 0 to 50 "   \
    "kg "                                                                                                    \
    "and a kind (letter or box). Flag it as heavy when the weight is over 20 kg; otherwise it is light.\": " \
    "names of one or two words, two labels, up to three conditions. For others, and for answers in JSON or " \
    "in words, use a larger teacher (edgestill init --teacher URL --teacher-model NAME), rows of your own "  \
    "(edgestill init --data FILE --label COLUMN) or a task.yaml that you write yourself (docs/formats.md)"

struct drafting {
    struct teacher *teacher;
    const char *name, *sentence;
    struct str plain,
        turned; /* what a small teacher is told: the sentence in its own words, from the second attempt on turned */
    uint64_t seed;
    int attempt;
    bool asked;
    struct protocol_request request;
    struct str answer;    /* the latest */
    struct str complaint; /* about it */
    struct task task;     /* once right */
    bool right;
    struct str refusal;
};

/* ---- checks ---- */

static void complain(struct drafting *d, const char *what, const char *text) {
    if (!d->complaint.len)
        str_addf(&d->complaint, "%s '%s' does not stand in the sentence", what, text);
}

static void must_stand(struct drafting *d, const char *what, const char *text) {
    if (!strcasestr(d->sentence, text))
        complain(d, what, text);
}

static void check_copied(struct drafting *d, const struct task *t) {
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        must_stand(d, "the field", f->name);
        for (int k = 0; k < f->n_values; k++)
            must_stand(d, "the value", f->values[k]);
        if (f->unit)
            must_stand(d, "the unit", f->unit);
    }
    for (int i = 0; i < t->n_labels; i++) {
        must_stand(d, "the label", t->labels[i].name);
        if (strcmp(t->labels[i].definition, "otherwise") != 0)
            must_stand(d, "the condition", t->labels[i].definition);
    }
}

static bool is_word_char(char c) {
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == '_';
}

/* Does the word stand in the text by itself, or, `or_begins`, at least begin a word of it? */
static bool stands_in(const char *text, const char *word, size_t n, bool or_begins) {
    for (const char *at = text; *at; at++)
        if (strncasecmp(at, word, n) == 0 && (at == text || !is_word_char(at[-1])) &&
            (or_begins || !is_word_char(at[n])))
            return true;
    return false;
}

/* The same number, however it is written: 1 and 1.00. False when the word is no number. */
static bool number_stands_in(const char *text, const char *word, size_t n) {
    char alone[32], *end; /* "1" of "0 to 1. Flag it", not "1." */
    snprintf(alone, sizeof alone, "%.*s", (int)n, word);
    double wanted = strtod(alone, &end);
    if (n >= sizeof alone || *end)
        return false;
    for (const char *at = text; *at; at++) {
        if ((at > text && is_word_char(at[-1])) || strtod(at, &end) != wanted)
            continue;
        if (end > at && !is_word_char(*end))
            return true;
    }
    return false;
}

/* Words that hold a sentence of the embedded teacher's family together (seed/README.md). */
static bool is_grammar(const char *word, size_t n) {
    static const char grammar[] =
        "a an and answer as between call comes each else every flag from has if is it label mark "
        "not of or otherwise record the to when with";
    return stands_in(grammar, word, n, false);
}

/* ". Each cold room has …": behind what the records are called, which the draft need not say; else `at` as it was. */
static const char *behind_thing(const char *at) {
    static const char *const openings[] = {". Each ", ". Every ", ". A ", ". An "}, *const has[] = {
                                                                                        " has ",
                                                                                        " comes with "};
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
        for (size_t k = 0;
             strncasecmp(at, openings[i], strlen(openings[i])) == 0 && k < sizeof has / sizeof *has; k++) {
            const char *found = strstr(at, has[k]), *stop = strpbrk(at + 2, ".,;");
            if (found && (!stop || found < stop))
                return found;
        }
    return at;
}

/* Nothing may be left out: after the first sentence, which says what the records are, each word is grammar or in the draft. */
static void check_complete(struct drafting *d, const struct task *t) {
    struct str said = {0}; /* the draft, and the units as they were settled */
    str_add(&said, str_text(&d->answer));
    for (int i = 0; i < t->n_declared; i++)
        str_addf(&said, " %s", t->fields[i].unit ? t->fields[i].unit : "");
    const char *end = strstr(d->sentence, ". "), *at = end ? behind_thing(end) : NULL;
    char intro[256];
    snprintf(intro, sizeof intro, "%.*s", end ? (int)(end - d->sentence) : 0, d->sentence);
    while (at && *at && !d->complaint.len) {
        size_t n = 0;
        while (*at && !is_word_char(*at))
            at++;
        while (is_word_char(at[n]))
            n++;
        size_t bare = n;
        while (bare > 0 && at[bare - 1] == '.')
            bare--;
        if (bare > 0 && !is_grammar(at, bare) && !stands_in(str_text(&said), at, bare, false) &&
            !number_stands_in(str_text(&said), at, bare) && !stands_in(intro, at, bare, true))
            str_addf(&d->complaint, "'%.*s' of the sentence is left out", (int)bare, at);
        at += n;
    }
    str_release(&said);
}

/* A small teacher's draft against the sentence; what it writes of numbers and units becomes what the sentence has. */
static int check_plain(struct drafting *d, struct task *t, struct err *e) {
    int rc = draft_settle_numbers(t, d->sentence, &d->complaint, e);
    if (rc == 0) {
        check_copied(d, t);
        check_complete(d, t);
    }
    return rc == 0 && !d->complaint.len ? draft_check_numbers(t, e) : rc;
}

/* Part of a specification, and said: an empty list stands where it does not apply. */
static bool is_part(const struct node *n) {
    static const char *const parts[] = {"kind", "fields", "labels", "answer"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(n->key, parts[i]) == 0)
            return n->type != NODE_LIST || n->n_children > 0;
    return false;
}

static int check_draft(struct drafting *d, const struct node *root, struct err *e) {
    const struct node *refusal = node_get(root, "refusal"), *fields = node_get(root, "fields");
    if (refusal && refusal->type == NODE_STRING && refusal->text_len > 0 &&
        (!fields || fields->n_children == 0)) {
        str_add(&d->refusal, refusal->text);
        return 0;
    }
    struct node specification = *root; /* without the refusal, which the task does not know */
    struct node pair[4];
    int n = 0;
    for (const struct node *c = root->first; c; c = c->next)
        if (n < 4 && is_part(c))
            pair[n++] = *c;
    for (int i = 0; i < n; i++)
        pair[i].next = i + 1 < n ? &pair[i + 1] : NULL;
    specification.first = n ? &pair[0] : NULL;
    specification.last = n ? &pair[n - 1] : NULL;
    specification.n_children = n;
    struct err fault = {0};
    struct task t;
    int rc = task_from_draft(&t, d->name, d->sentence, &specification, &fault);
    if (rc == ERR_NO_MEMORY)
        return err_set(e, rc, ORIGIN, "%s", fault.message);
    if (rc < 0) {
        str_add(&d->complaint, fault.message);
        return 0;
    }
    if (teacher_style(d->teacher) == PROTOCOL_PLAIN) {
        rc = check_plain(d, &t, e);
        if (rc < 0) {
            task_release(&t);
            return rc;
        }
    }
    if (d->complaint.len) {
        task_release(&t);
        return 0;
    }
    d->task = t;
    d->right = true;
    return 0;
}

/* ---- asking ---- */

static int next_question(void *context, struct teacher_question *q, struct err *e) {
    struct drafting *d = context;
    if (d->asked)
        return 0;
    enum protocol_style style = teacher_style(d->teacher);
    bool plain =
        style == PROTOCOL_PLAIN; /* a small teacher does not understand what is wrong with its draft */
    int rc = d->attempt == 0 || plain
                 ? protocol_draft(&d->request, style, d->sentence, e)
                 : protocol_draft_repair(&d->request, style, d->sentence, str_text(&d->answer),
                                         str_text(&d->complaint), e);
    if (rc < 0)
        return rc;
    *q = (struct teacher_question){.purpose = "draft",
                                   .repeat = d->attempt,
                                   .request = &d->request,
                                   .temperature = d->attempt == 0 ? 0 : 0.5,
                                   .seed = d->seed + (uint64_t)d->attempt};
    d->asked = true;
    return 1;
}

static int take_answer(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)tag;
    struct drafting *d = context;
    str_clear(&d->answer);
    str_clear(&d->complaint);
    str_add(&d->answer, a->content);
    if (a->truncated) {
        str_add(&d->complaint, "the answer was cut off");
        return 0;
    }
    struct arena arena;
    struct node *root = NULL;
    struct err fault = {0};
    arena_init(&arena);
    int rc = protocol_json_read(&arena, "draft", a->content, &root, &fault);
    if (rc == ERR_TEACHER) {
        str_add(&d->complaint, fault.message);
        rc = 0;
    } else {
        rc = rc == 0 ? check_draft(d, root, e) : err_set(e, rc, ORIGIN, "%s", fault.message);
    }
    arena_release(&arena);
    return rc;
}

static int refused(const struct drafting *d, struct err *e) {
    err_set(e, ERR_UNSUPPORTED, ORIGIN, "the teacher declines to draft a task from this sentence: %s",
            str_text(&d->refusal));
    if (teacher_is_embedded(d->teacher))
        return err_hint(e, FAMILY_HINT);
    return err_hint(
        e,
        "say in the sentence what a record holds and when it gets which label, or write task.yaml yourself");
}

/* A comma before "or", or "or when", says that what stands behind belongs together; without either, "a or b and c" may be meant both
 * ways. The teacher takes "and" to bind more closely. */
static void read_rule(const char *rule, char *reading, size_t room) {
    const char *either = strstr(rule, " or ");
    bool mixed = either && strstr(rule, " and ") && either > rule && either[-1] != ',' &&
                 !str_starts(either, " or when ");
    if (mixed)
        snprintf(reading, room, "either \"%.*s\", or \"%s\"", (int)(either - rule), rule,
                 either + strlen(" or "));
}

/* What this attempt says to a small teacher: its own words, then the fields in another order each time. */
static int put_into_words(struct drafting *d, struct err *e) {
    if (d->plain.len == 0)
        return 0;
    int rc = wording_turned(str_text(&d->plain), d->attempt, &d->turned, e);
    d->sentence = str_text(&d->turned);
    return rc;
}

/* Asks until a draft is right, the teacher refuses, or it had its attempts. */
static int ask(struct drafting *d, struct draft_result *result, struct err *e) {
    int rc = 0;
    while (rc == 0 && !d->right && !d->refusal.len && d->attempt < ATTEMPTS) {
        if (d->complaint.len)
            snprintf(result->complaint, sizeof result->complaint, "%s", d->complaint.data);
        d->asked = false;
        if ((rc = put_into_words(d, e)) == 0)
            rc = teacher_run(d->teacher, &(struct teacher_job){next_question, take_answer, d}, e);
        d->attempt++;
    }
    result->attempts = d->attempt;
    return rc;
}

static int unusable(const struct drafting *d, struct err *e) {
    err_set(e, ERR_TEACHER, ORIGIN, "%d drafts of %s could not be used; the last one: %s", d->attempt,
            teacher_name(d->teacher), str_text(&d->complaint));
    if (teacher_is_embedded(d->teacher))
        return err_hint(e, FAMILY_HINT);
    return err_hint(
        e, "say it more plainly, use another teacher, or write task.yaml yourself (docs/formats.md)");
}

int draft_task(struct teacher *t, const char *name, const char *sentence, uint64_t seed, struct task *out,
               struct draft_result *result, struct err *e) {
    struct drafting d = {.teacher = t, .name = name, .sentence = sentence, .seed = seed};
    *result = (struct draft_result){0};
    int rc = teacher_style(t) == PROTOCOL_PLAIN ? wording_plain(sentence, &d.plain, e) : 0;
    if (rc == 0)
        rc = ask(&d, result, e);
    result->reworded = strcmp(d.sentence, sentence) != 0;
    if (rc == 0 && d.refusal.len)
        rc = refused(&d, e);
    else if (rc == 0 && !d.right)
        rc = unusable(&d, e);
    for (int i = 0; rc == 0 && teacher_style(t) == PROTOCOL_PLAIN && i < d.task.n_labels; i++)
        read_rule(d.task.labels[i].definition, result->reading, sizeof result->reading);
    if (rc == 0)
        *out = d.task;
    protocol_release(&d.request);
    str_release(&d.answer);
    str_release(&d.complaint);
    str_release(&d.refusal);
    str_release(&d.plain);
    str_release(&d.turned);
    return rc;
}

double draft_quote(const struct teacher *t, const char *sentence, int *calls) {
    struct protocol_request r = {0};
    struct teacher_price price = teacher_price(t);
    double money = 0;
    *calls = ATTEMPTS;
    if (protocol_draft(&r, teacher_style(t), sentence, NULL) == 0)
        money = ((double)(r.system.len + r.user.len + r.schema.len) * price.in +
                 (double)r.max_tokens * price.out) /
                1e6;
    protocol_release(&r);
    return money * ATTEMPTS;
}
