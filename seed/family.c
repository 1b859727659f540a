/* Drawing tasks and records of the family: see family.h. The texts are in family_text.c. */
#include "family.h"
#include "words.h"
#include <stdio.h>
#include <string.h>

enum { EASY_OPERATORS = 4 }; /* the first of the table */

static const int64_t powers_of_ten[] = {1, 10, 100, 1000};

static void draw_name(struct rng *r, const struct word_mix *words, char out[FAMILY_NAME_MAX]) {
    char first[WORD_MAX], second[WORD_MAX];
    word_pick(r, WORDS_NOUN, words, second);
    if (rng_chance(r, 0.4)) {
        strcpy(out, second);
        return;
    }
    word_pick(r, rng_chance(r, 0.5) ? WORDS_ADJECTIVE : WORDS_NOUN, words, first);
    strcpy(out, first);
    strcat(out, " ");
    strcat(out, second);
}

/* Ranges as people write them: 0 to 60, 18 to 99, -20 to 45, 0.00 to 1.00, 20 to 5000. */
static void draw_range(struct rng *r, double difficulty, struct family_field *f) {
    static const int64_t tops[] = {5,    8,    10,   12,   15,   20,   24,   25,   30,   31,  40,  45,
                                   48,   50,   60,   72,   75,   80,   90,   95,   99,   100, 120, 150,
                                   180,  200,  240,  250,  300,  365,  400,  500,  600,  800, 900, 999,
                                   1000, 1200, 1500, 2000, 2500, 3000, 4000, 5000, 8000, 9999};
    int64_t last = difficulty < 0.25  ? 3
                   : difficulty < 0.4 ? 21
                   : difficulty < 0.6 ? 36
                                      : (int64_t)(sizeof tops / sizeof *tops) - 1;
    f->decimals = 0;
    if (f->type == FAMILY_NUMBER) {
        f->decimals = (int)rng_range(r, 1, 2);
        last = rng_chance(r, 0.6) ? 15 : last < 30 ? last : 30;
    }
    int64_t top = rng_chance(r, 0.25) ? rng_range(r, 3, tops[last]) : tops[rng_range(r, 0, last)];
    if (f->type == FAMILY_NUMBER && rng_chance(r, 0.35))
        top = 1;
    int64_t bottom = 0;
    if (rng_chance(r, 0.3))
        bottom = rng_range(r, 0, top / 3);
    else if (difficulty >= 0.5 && rng_chance(r, 0.15))
        bottom = -rng_range(r, 1, top < 60 ? top + 1 : 60);
    else if (rng_chance(r, 0.3) && top > 10)
        bottom = rng_chance(r, 0.5) ? 1 : 10;
    if (bottom >= top)
        bottom = 0;
    f->min = bottom * powers_of_ten[f->decimals];
    f->max = top * powers_of_ten[f->decimals];
}

static bool name_is_taken(const struct family_task *t, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(t->fields[i].name, name) == 0)
            return true;
    return false;
}

/* "outpatient" after "inpatient": the same ending behind another beginning, which a copying head mixes up unless it has met it. */
static void draw_sibling(struct rng *r, const char *elder, char out[FAMILY_NAME_MAX]) {
    static const char *const beginnings[] = {"in",    "out",  "un", "non", "pre", "post", "over",
                                             "under", "semi", "re", "dis", "sub", "mid",  "half"};
    char whole[FAMILY_NAME_MAX + 8];
    const char *beginning =
        beginnings[rng_range(r, 0, (int64_t)(sizeof beginnings / sizeof *beginnings) - 1)];
    const char *rest = elder;
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (strncmp(elder, beginnings[i], strlen(beginnings[i])) == 0 &&
            strlen(elder) > strlen(beginnings[i]) + 2)
            rest = elder + strlen(beginnings[i]);
    snprintf(whole, sizeof whole, "%s%s", beginning, rest);
    whole[WORD_MAX - 1] = '\0';
    strcpy(out, whole);
}

static void draw_values(struct rng *r, const struct word_mix *words, struct family_field *f) {
    f->n_values = (int)rng_range(r, 2, FAMILY_VALUES_MAX);
    bool siblings = words->pieces != NULL && rng_chance(r, 0.25);
    for (int i = 0; i < f->n_values;) {
        enum word_pool pool = rng_chance(r, 0.4)   ? WORDS_PLACE
                              : rng_chance(r, 0.7) ? WORDS_NOUN
                                                   : WORDS_ADJECTIVE;
        if (siblings && i > 0 && rng_chance(r, 0.6))
            draw_sibling(r, f->values[rng_range(r, 0, i - 1)], f->values[i]);
        else
            word_pick(r, pool, words, f->values[i]);
        bool fresh = true;
        for (int j = 0; j < i; j++)
            fresh = fresh && strcmp(f->values[i], f->values[j]) != 0;
        i += fresh;
    }
    f->min = 0;
    f->max = f->n_values - 1;
}

/* "claimed amount" after "paid amount", "door width" after "door height". */
static void share_word(struct rng *r, const struct family_task *t, int index, char name[FAMILY_NAME_MAX]) {
    const char *elder = t->fields[rng_range(r, 0, index - 1)].name, *space = strchr(elder, ' ');
    char *own = strchr(name, ' '), shared[2 * FAMILY_NAME_MAX];
    if (space == NULL || own == NULL)
        return;
    if (rng_chance(r, 0.6))
        snprintf(shared, sizeof shared, "%.*s%s", (int)(own - name), name, space);
    else
        snprintf(shared, sizeof shared, "%.*s%s", (int)(space - elder), elder, own);
    shared[FAMILY_NAME_MAX - 1] = '\0';
    strcpy(name, shared);
}

static void draw_field(struct rng *r, const struct family_options *o, struct family_task *t, int index) {
    struct family_field *f = &t->fields[index];
    memset(f, 0, sizeof *f);
    do {
        draw_name(r, &o->words, f->name);
        if (o->words.pieces != NULL && index > 0 && rng_chance(r, 0.2))
            share_word(r, t, index, f->name);
    } while (name_is_taken(t, index, f->name));
    double kind = rng_double(r);
    f->type = kind < (o->difficulty < 0.4 ? 0.78 : 0.5) ? FAMILY_INTEGER
              : kind < 0.78                             ? FAMILY_NUMBER
                                                        : FAMILY_CATEGORY;
    if (f->type == FAMILY_CATEGORY) {
        draw_values(r, &o->words, f);
        return;
    }
    draw_range(r, o->difficulty, f);
    if (rng_chance(r, f->type == FAMILY_INTEGER ? 0.45 : 0.25))
        word_pick(r, WORDS_UNIT, &o->words, f->unit);
}

int family_n_conditions(enum family_form form) {
    static const int n[FORMS] = {1, 2, 2, 3, 3, 3, 3};
    return n[form];
}

/* Easy rules know one direction alone: which of two numbers is less must be learned before what a word makes of it. */
static void draw_operator(struct rng *r, double difficulty, const struct family_field *f,
                          struct family_condition *c) {
    static const struct {
        enum family_operator op;
        const char *text;
    } comparisons[] = {
        {FAMILY_BELOW, "under"},      {FAMILY_BELOW, "below"},        {FAMILY_BELOW, "less than"},
        {FAMILY_BELOW, "lower than"}, {FAMILY_ABOVE, "over"},         {FAMILY_ABOVE, "above"},
        {FAMILY_ABOVE, "more than"},  {FAMILY_ABOVE, "greater than"}, {FAMILY_AT_LEAST, "at least"},
        {FAMILY_AT_MOST, "at most"},  {FAMILY_AT_LEAST, "at least"},  {FAMILY_AT_MOST, "at most"},
        {FAMILY_ABOVE, "higher than"}};
    if (f->type == FAMILY_CATEGORY) {
        bool is = rng_chance(r, 0.85);
        c->op = is ? FAMILY_IS : FAMILY_IS_NOT;
        c->op_text = is ? "" : "not";
        c->threshold = rng_range(r, 0, f->n_values - 1);
        return;
    }
    int64_t which = rng_range(r, 0,
                              difficulty < 0.7 ? EASY_OPERATORS - 1
                                               : (int64_t)(sizeof comparisons / sizeof *comparisons) - 1);
    c->op = comparisons[which].op;
    c->op_text = comparisons[which].text;
}

/* A threshold inside the range, often a round one. */
static void draw_threshold(struct rng *r, const struct family_field *f, struct family_condition *c) {
    c->decimals = f->decimals;
    int64_t span = f->max - f->min;
    int64_t margin = span > 20 ? span / 20 : 0;
    c->threshold = rng_range(r, f->min + margin + 1,
                             f->max - margin > f->min + margin + 1 ? f->max - margin : f->min + margin + 1);
    int64_t step = span > 2000 ? 100 : span > 400 ? 50 : span > 150 ? 10 : span > 40 ? 5 : 1;
    if (rng_chance(r, 0.5)) {
        int64_t round = c->threshold / step * step;
        if (round > f->min && round < f->max)
            c->threshold = round;
    }
    while (c->decimals > 0 && c->threshold % powers_of_ten[f->decimals - c->decimals + 1] == 0 &&
           rng_chance(r, 0.5))
        c->decimals--;
}

static void draw_condition(struct rng *r, double difficulty, struct family_task *t, int index) {
    struct family_condition *c = &t->conditions[index];
    memset(c, 0, sizeof *c);
    bool same =
        index > 0 && rng_chance(r, 0.35) && t->fields[t->conditions[index - 1].field].type != FAMILY_CATEGORY;
    c->field = same ? t->conditions[index - 1].field : (int)rng_range(r, 0, t->n_fields - 1);
    const struct family_field *f = &t->fields[c->field];
    draw_operator(r, difficulty, f, c);
    if (f->type != FAMILY_CATEGORY) {
        draw_threshold(r, f, c);
        /* "under 2 days, or under 7 days and ...": the same comparison again, as people write it */
        if (same && rng_chance(r, 0.6)) {
            c->op = t->conditions[index - 1].op;
            c->op_text = t->conditions[index - 1].op_text;
        }
    }
    c->elided = index > 0 && c->field == t->conditions[index - 1].field && rng_chance(r, 0.5);
}

/* Both labels must be reachable, and neither so rare that a hundred tries miss it. */
static bool rule_is_sensible(struct rng *r, const struct family_task *t) {
    for (int i = 1; i < t->n_conditions; i++)
        for (int j = 0; j < i; j++)
            if (t->conditions[i].field == t->conditions[j].field &&
                t->conditions[i].threshold == t->conditions[j].threshold)
                return false;
    struct family_record rec;
    return family_record(r, t, 0, &rec) && family_record(r, t, 1, &rec);
}

static void draw_labels(struct rng *r, const struct word_mix *words, struct family_task *t) {
    enum word_pool pool = rng_chance(r, 0.7) ? WORDS_LABEL : WORDS_ADJECTIVE;
    do {
        word_pick(r, pool, words, t->labels[0]);
        word_pick(r, pool, words, t->labels[1]);
        if (words->pieces != NULL && rng_chance(r, 0.15))
            draw_sibling(r, t->labels[0], t->labels[1]);
    } while (strcmp(t->labels[0], t->labels[1]) == 0);
    t->otherwise_first = rng_chance(r, 0.2);
}

static void draw_intro(struct rng *r, const struct word_mix *words, struct family_task *t) {
    char verb[WORD_MAX], first[WORD_MAX], second[WORD_MAX];
    word_pick(r, WORDS_VERB, words, verb);
    word_pick(r, rng_chance(r, 0.5) ? WORDS_NOUN : WORDS_ADJECTIVE, words, first);
    word_pick(r, WORDS_NOUN, words, second);
    strcpy(t->thing, second);
    strcpy(t->intro, verb);
    strcat(t->intro, " ");
    if (rng_chance(r, 0.6)) {
        strcat(t->intro, first);
        strcat(t->intro, " ");
    }
    strcat(t->intro, second);
    strcat(t->intro, "s");
    if (rng_chance(r, 0.2)) {
        word_pick(r, WORDS_NOUN, words, first);
        strcat(t->intro, rng_chance(r, 0.5) ? " for the " : " in a ");
        strcat(t->intro, first);
    }
}

static enum family_form draw_form(struct rng *r, const struct family_options *o) {
    for (;;) {
        enum family_form form = (enum family_form)rng_range(r, 0, FORMS - 1);
        int n = family_n_conditions(form);
        if (o->n_conditions != 0 ? n == o->n_conditions
                                 : o->difficulty >= 0.5 || n <= (o->difficulty < 0.25 ? 1 : 2))
            return form;
    }
}

void family_draw(struct rng *r, const struct family_options *o, struct family_task *t) {
    for (;;) {
        memset(t, 0, sizeof *t);
        draw_intro(r, &o->words, t);
        t->n_fields =
            (int)rng_range(r, o->difficulty < 0.3 ? 2 : 3, o->difficulty < 0.3 ? 4 : FAMILY_FIELDS_MAX);
        for (int i = 0; i < t->n_fields; i++)
            draw_field(r, o, t, i);
        t->form = draw_form(r, o);
        t->n_conditions = family_n_conditions(t->form);
        for (int i = 0; i < t->n_conditions; i++)
            draw_condition(r, o->difficulty, t, i);
        t->comma_or = rng_chance(r, 0.6);
        t->or_when = rng_chance(r, 0.25);
        draw_labels(r, &o->words, t);
        if (rule_is_sensible(r, t))
            return;
    }
}

static bool condition_holds(const struct family_condition *c, int64_t value) {
    switch (c->op) {
    case FAMILY_BELOW:
        return value < c->threshold;
    case FAMILY_ABOVE:
        return value > c->threshold;
    case FAMILY_AT_LEAST:
        return value >= c->threshold;
    case FAMILY_AT_MOST:
        return value <= c->threshold;
    case FAMILY_IS:
        return value == c->threshold;
    case FAMILY_IS_NOT:
        return value != c->threshold;
    }
    return false;
}

bool family_rule_holds(const struct family_task *t, const struct family_record *rec, bool *outcomes) {
    bool o[FAMILY_CONDITIONS_MAX] = {false, false, false};
    for (int i = 0; i < t->n_conditions; i++)
        o[i] = condition_holds(&t->conditions[i], rec->values[t->conditions[i].field]);
    if (outcomes != NULL)
        memcpy(outcomes, o, (size_t)t->n_conditions * sizeof *o);
    switch (t->form) {
    case FORM_A:
        return o[0];
    case FORM_A_AND_B:
        return o[0] && o[1];
    case FORM_A_OR_B:
        return o[0] || o[1];
    case FORM_A_OR_BC:
        return o[0] || (o[1] && o[2]);
    case FORM_AB_OR_C:
        return (o[0] && o[1]) || o[2];
    case FORM_ABC:
        return o[0] && o[1] && o[2];
    case FORM_A_OR_B_OR_C:
        return o[0] || o[1] || o[2];
    case FORMS:
        break;
    }
    return false;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* Uniform, or close to a threshold on this field: the pairs that a student learns the boundary from. */
static int64_t draw_value(struct rng *r, const struct family_task *t, int field) {
    const struct family_field *f = &t->fields[field];
    int64_t value = rng_range(r, f->min, f->max);
    if (f->type == FAMILY_CATEGORY || rng_chance(r, 0.5))
        return value;
    for (int i = 0, start = (int)rng_range(r, 0, t->n_conditions - 1); i < t->n_conditions; i++) {
        const struct family_condition *c = &t->conditions[(start + i) % t->n_conditions];
        if (c->field != field)
            continue;
        int64_t reach = rng_chance(r, 0.5) ? 2 : (f->max - f->min) / 8 + 1;
        return clamp(c->threshold + rng_range(r, -reach, reach), f->min, f->max);
    }
    return value;
}

bool family_record(struct rng *r, const struct family_task *t, int label, struct family_record *out) {
    for (int tries = 0; tries < 300; tries++) {
        struct family_record rec;
        for (int i = 0; i < t->n_fields; i++)
            rec.values[i] = draw_value(r, t, i);
        if (label >= 0 && family_rule_holds(t, &rec, NULL) != (label == 0))
            continue;
        *out = rec;
        return true;
    }
    return false;
}
