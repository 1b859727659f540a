/* The grammar of answers lets through exactly the numbers and dates that the schema takes: tried one by one with a matcher of its own for
 * the part of GBNF that it uses, over the rules as they are written. */
#include "base/rng.h"
#include "task/answer.h"
#include "task/value.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A set of positions in the text, a bit each: where matching may stand. */
typedef uint64_t places;

struct match {
    const char *grammar, *text;
    size_t n;
};

static places alternatives(const struct match *m, const char **at, places from);

static void blanks(const char **at) {
    *at += strspn(*at, " ");
}

/* The rule's body: behind "name ::= " at the start of a line. */
static const char *rule(const struct match *m, const char *name, size_t n) {
    for (const char *line = m->grammar; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, name, n) == 0 && strncmp(line + n, " ::= ", 5) == 0)
            return line + n + 5;
    }
    fail_msg("no rule %.*s", (int)n, name);
    return NULL;
}

static places literal(const struct match *m, const char **at, places from) {
    for ((*at)++; **at != '"'; (*at)++) {
        places next = 0;
        *at += **at == '\\';
        for (size_t i = 0; i < m->n; i++)
            next |= from >> i & 1 && m->text[i] == **at ? (places)2 << i : 0;
        from = next;
    }
    (*at)++;
    return from;
}

/* Digits and the like: no escapes, no negation. */
static places class(const struct match *m, const char **at, places from) {
    places next = 0;
    const char *end = strchr(*at, ']');
    for (size_t i = 0; i < m->n; i++) {
        for (const char *c = *at + 1; from >> i & 1 && c < end; c++) {
            bool range = c[1] == '-';
            if (m->text[i] >= c[0] && m->text[i] <= (range ? c[2] : c[0]))
                next |= (places)2 << i;
            c += range ? 2 : 0;
        }
    }
    *at = end + 1;
    return next;
}

static places item(const struct match *m, const char **at, places from) {
    if (**at == '"')
        return literal(m, at, from);
    if (**at == '[')
        return class(m, at, from);
    if (**at == '(') {
        (*at)++;
        places out = alternatives(m, at, from);
        blanks(at);
        assert_int_equal(**at, ')');
        (*at)++;
        return out;
    }
    size_t n = strspn(*at, "abcdefghijklmnopqrstuvwxyz0123456789");
    const char *body = rule(m, *at, n);
    *at += n;
    return alternatives(m, &body, from);
}

static places sequence(const struct match *m, const char **at, places from) {
    for (blanks(at); **at && !strchr("|)\n", **at); blanks(at)) {
        const char *start = *at;
        places out = item(m, at, from);
        int low = 1, high = 1, length = 0;
        if (**at == '?')
            low = 0, (*at)++;
        else if (sscanf(*at, "{%d,%d}%n", &low, &high, &length) == 2 ||
                 sscanf(*at, "{%d}%n", &low, &length) == 1)
            high = high > low ? high : low, *at += length;
        places reached = low == 0 ? from | out : low == 1 ? out : 0, now = out;
        for (int i = 2; i <= high; i++) {
            const char *again = start;
            now = item(m, &again, now);
            reached |= i >= low ? now : 0;
        }
        from = reached;
    }
    return from;
}

static places alternatives(const struct match *m, const char **at, places from) {
    places out = sequence(m, at, from);
    while (**at == '|') {
        (*at)++;
        out |= sequence(m, at, from);
    }
    return out;
}

static bool lets_through(const char *grammar, const char *text) {
    struct match m = {grammar, text, strlen(text)};
    const char *body = rule(&m, "f0", 2);
    return alternatives(&m, &body, 1) >> m.n & 1;
}

static void grammar_of(struct task_field *f, struct str *out) {
    f->name = f->column = "x";
    str_clear(out);
    answer_grammar(&(struct task){.kind = TASK_EXTRACT, .answer = f, .n_answer = 1}, out);
}

static bool takes(const struct task_field *f, struct arena *a, const char *text) {
    struct value v;
    return value_parse(f, a, true, text, &v, NULL) == 0 && strcmp(v.text, text) == 0;
}

static void expect_agreement(const struct task_field *f, struct arena *a, const struct str *g, double number,
                             int decimals) {
    char text[40];
    snprintf(text, sizeof text, "%.*f", decimals, number);
    if (lets_through(str_text(g), text) != takes(f, a, text))
        fail_msg("%s of [%g, %g] with %d decimals: the schema says %d, not the grammar:\n%s", text, f->min,
                 f->max, f->decimals, takes(f, a, text), str_text(g));
}

static void ranges_are_met_exactly(void **state) {
    (void)state;
    struct rng rng;
    struct arena a;
    struct str g = {0};
    arena_init(&a);
    rng_seed(&rng, 7);
    for (int trial = 0; trial < 120; trial++) {
        struct task_field f = {.type = trial % 3 ? FIELD_NUMBER : FIELD_INTEGER, .has_range = true};
        f.decimals = f.type == FIELD_NUMBER ? (int)rng_range(&rng, 0, 3) : 0;
        double unit = f.decimals == 0 ? 1 : f.decimals == 1 ? 10 : f.decimals == 2 ? 100 : 1000;
        int64_t from = rng_range(&rng, -1500, 1500), to = from + rng_range(&rng, 1, 2000);
        f.min = (double)from / unit;
        f.max = (double)to / unit;
        grammar_of(&f, &g);
        for (int64_t i = from - 40; i <= to + 40; i++)
            expect_agreement(&f, &a, &g, (double)i / unit, f.decimals);
        arena_reset(&a);
    }
    str_release(&g);
    arena_release(&a);
}

static void odd_ranges_are_met(void **state) {
    (void)state;
    static const struct {
        double min, max;
        int decimals;
        const char *in[3], *out[4];
    } cases[] = {
        {0, 1, 2, {"0.00", "1.00", "0.37"}, {"1.01", "00.50", "0.5", "-0.00"}},
        {-0.5, 0.5, 1, {"-0.5", "0.0", "0.5"}, {"-0.0", "-0.6", "0.6", "+0.1"}},
        {0.7,
         0.75,
         1,
         {"0.7", "0.7", "0.7"},
         {"0.8", "0.6", "1.0", "0"}}, /* 0.7 * 10 is more than 7 in binary */
        {-30, -7, 0, {"-30", "-7", "-10"}, {"-31", "-6", "7", "0"}},
        {0, 1000000, 0, {"0", "1000000", "999999"}, {"1000001", "01", "-1", ""}},
        {98, 1203456789, 0, {"98", "1203456789", "1199999999"}, {"97", "1203456790", "1300000000", "9"}},
    };
    struct str g = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct task_field f = {.type = FIELD_NUMBER,
                               .has_range = true,
                               .min = cases[i].min,
                               .max = cases[i].max,
                               .decimals = cases[i].decimals};
        grammar_of(&f, &g);
        for (int k = 0; k < 3; k++)
            assert_true(lets_through(str_text(&g), cases[i].in[k]));
        for (int k = 0; k < 4; k++)
            assert_false(lets_through(str_text(&g), cases[i].out[k]));
    }
    str_release(&g);
}

static void days_are_those_of_the_calendar(void **state) {
    (void)state;
    static const int years[] = {1000, 1600, 1900, 1996, 2000, 2023, 2024, 2100, 2400, 9999};
    struct task_field f = {.type = FIELD_DATE};
    struct str g = {0};
    grammar_of(&f, &g);
    for (size_t y = 0; y < sizeof years / sizeof *years; y++) {
        for (int month = 0; month <= 13; month++) {
            for (int day = 0; day <= 32; day++) {
                char text[24], quoted[32];
                int64_t days;
                snprintf(text, sizeof text, "%04d-%02d-%02d", years[y], month, day);
                snprintf(quoted, sizeof quoted, "\"%s\"", text);
                if (lets_through(str_text(&g), quoted) != value_date_days(text, &days))
                    fail_msg("%s", text);
            }
        }
    }
    str_release(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_met_exactly),
        cmocka_unit_test(odd_ranges_are_met),
        cmocka_unit_test(days_are_those_of_the_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
