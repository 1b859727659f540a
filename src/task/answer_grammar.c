/* The grammar of an extract answer: it lets through what answer_read takes, so that an answer is valid whatever the model is inclined
 * to. Ranges are spelled out digit by digit, texts are counted, and days are those of their month. The one thing that it cannot know
 * is a text that says nothing ("n/a"). */
#include "format/json.h"
#include "task/answer.h"
#include "task/text.h"
#include <math.h>
#include <string.h>

/* ---- literals ---- */

/* A literal of GBNF, which stands in double quotes itself. */
void answer_grammar_literal(const char *text, struct str *out) {
    str_add_char(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            str_add_char(out, '\\');
        str_add_char(out, *c);
    }
    str_add_char(out, '"');
}

static void add_json_literal(struct str *out, const char *text) {
    struct str json = {0};
    json_text_string(&json, text);
    answer_grammar_literal(str_text(&json), out);
    str_release(&json);
}

/* ---- numbers ---- */

/* Numbers are counted in units of their last decimal: -12.5 with one decimal is -125. Beyond 2^53 a double does not tell them apart. */
static const double UNITS_MAX = 9007199254740992.0;
enum { DIGITS_MAX = 20 };

/* Numbers of `width` digits, the point before the last `decimals` of them; at: the next digit. */
struct digits {
    struct str *out;
    int width, decimals;
};

static void add_point(const struct digits *d, int at) {
    if (d->decimals > 0 && at == d->width - d->decimals)
        str_add(d->out, " \".\"");
}

static void add_digit(const struct digits *d, int at, char low, char high) {
    add_point(d, at);
    str_addf(d->out, low == high ? " \"%c\"" : " [%c-%c]", low, high);
}

/* Any digits from `at` on. */
static void add_any(const struct digits *d, int at) {
    int point = d->width - d->decimals, n = at < point ? point - at : d->width - at;
    if (at >= d->width)
        return;
    add_point(d, at);
    str_addf(d->out, " [0-9]{%d}", n);
    add_any(d, at + n);
}

static bool is_all(const char *digits, char which) {
    return strspn(digits, (const char[]){which, 0}) == strlen(digits);
}

/* From `low` to `high`, two numbers as digits, at their digit `at`: alike, or one branch that is bound below, one that is free, and one
 * that is bound above. */
static void add_between(const struct digits *d, const char *low, const char *high, int at) {
    static const char zeros[DIGITS_MAX + 1] = "00000000000000000000",
                                         nines[DIGITS_MAX + 1] = "99999999999999999999";
    if (at >= d->width)
        return;
    const char *rest_low = low + at + 1, *rest_high = high + at + 1;
    bool from_zero = is_all(rest_low, '0'), to_nine = is_all(rest_high, '9');
    if (low[at] == high[at]) {
        add_digit(d, at, low[at], low[at]);
        add_between(d, low, high, at + 1);
        return;
    }
    const char *separator = "";
    char first = (char)(low[at] + !from_zero), last = (char)(high[at] - !to_nine);
    str_add(d->out, " (");
    if (!from_zero) {
        add_digit(d, at, low[at], low[at]);
        add_between(d, low, nines + DIGITS_MAX - d->width, at + 1);
        separator = " |";
    }
    if (first <= last) {
        str_add(d->out, separator);
        add_digit(d, at, first, last);
        add_any(d, at + 1);
        separator = " |";
    }
    if (!to_nine) {
        str_add(d->out, separator);
        add_digit(d, at, high[at], high[at]);
        add_between(d, zeros + DIGITS_MAX - d->width, high, at + 1);
    }
    str_add(d->out, " )");
}

static void write_digits(char out[DIGITS_MAX + 1], int width, int64_t number) {
    out[width] = 0;
    for (; width > 0; number /= 10)
        out[--width] = (char)('0' + number % 10);
}

/* Whole numbers from low to high, 0 <= low <= high, one alternative for each number of digits. */
static void add_range(struct str *out, int64_t low, int64_t high, int decimals) {
    int64_t smallest = 0, beyond = 1;
    for (int i = 0; i <= decimals; i++)
        beyond *= 10;
    const char *separator = "";
    for (struct digits d = {out, decimals + 1, decimals}; smallest <= high; d.width++) {
        int64_t from = low > smallest ? low : smallest, to = high < beyond ? high : beyond - 1;
        char a[DIGITS_MAX + 1], b[DIGITS_MAX + 1];
        if (from <= to) {
            write_digits(a, d.width, from);
            write_digits(b, d.width, to);
            str_add(out, separator);
            add_between(&d, a, b, 0);
            separator = " |";
        }
        smallest = beyond;
        beyond *= 10;
    }
}

/* The field's range in units: the numbers that, printed, lie in it. False where there are none, or more than can be counted. */
static bool range_units(const struct task_field *f, int decimals, int64_t *low, int64_t *high) {
    double scale = pow(10, decimals), from = round(f->min * scale), to = round(f->max * scale);
    if (!f->has_range || fabs(from) >= UNITS_MAX || fabs(to) >= UNITS_MAX)
        return false;
    *low = (int64_t)from + (from / scale < f->min);
    *high = (int64_t)to - (to / scale > f->max);
    return *low <= *high;
}

void answer_grammar_number(const struct task_field *f, struct str *out) {
    int decimals = f->type == FIELD_NUMBER ? f->decimals : 0;
    int64_t low, high;
    if (!range_units(f, decimals, &low, &high)) {
        str_add(out, f->has_range && f->min >= 0 ? "" : "\"-\"? ");
        str_add(out, "(\"0\" | [1-9] [0-9]{0,14})");
        if (decimals > 0)
            str_addf(out, " \".\" [0-9]{%d}", decimals);
        return;
    }
    if (low < 0) {
        str_add(out, "\"-\" (");
        add_range(out, high < 0 ? -high : 1, -low, decimals); /* there is no -0 */
        str_add(out, high < 0 ? " )" : " ) |");
    }
    if (high >= 0)
        add_range(out, low > 0 ? low : 0, high, decimals);
}

/* ---- the whole ---- */

static void add_value_rule(const struct task_field *f, struct str *out) {
    int n = f->max_chars ? f->max_chars : ANSWER_TEXT_CHARS;
    switch (f->type) {
    case FIELD_INTEGER:
    case FIELD_NUMBER:
        answer_grammar_number(f, out);
        break;
    case FIELD_CATEGORY:
        for (int i = 0; i < f->n_values; i++) {
            str_add(out, i ? " | " : "");
            add_json_literal(out, f->values[i]);
        }
        break;
    case FIELD_DATE:
        str_add(out, "\"\\\"\" date \"\\\"\"");
        break;
    case FIELD_TEXT:
        str_addf(out, n > 1 ? "\"\\\"\" visible character{0,%d} \"\\\"\"" : "\"\\\"\" visible \"\\\"\"",
                 n - 1);
        break;
    }
    if (f->optional)
        str_add(out, " | \"null\"");
}

/* February has 29 days in years that 4 divides, of those that end a century in the ones that 400 divides. */
static const char shared_rules[] =
    "visible ::= [^ \"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" [\"\\\\/]\n"
    "character ::= [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" [\"\\\\/bfnrt]\n"
    "date ::= year \"-\" (\"0\" [13578] | \"1\" [02]) \"-\" (day | \"29\" | \"30\" | \"31\")"
    " | year \"-\" (\"0\" [469] | \"11\") \"-\" (day | \"29\" | \"30\")"
    " | year \"-02-\" day | leap \"-02-29\"\n"
    "day ::= \"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8]\n"
    "year ::= [1-9] [0-9]{3}\n"
    "leap ::= [1-9] [0-9] (\"0\" [48] | four) | four \"00\"\n"
    "four ::= [2468] [048] | [13579] [26]\n";

void answer_grammar(const struct task *t, struct str *out) {
    if (t->kind != TASK_EXTRACT)
        return;
    str_add(out, "root ::= \"{\"");
    for (int i = 0; i < t->n_answer; i++) {
        struct str key = {0};
        json_text_string(&key, t->answer[i].name);
        str_add_char(&key, ':');
        str_add(out, i ? " \",\" " : " ");
        answer_grammar_literal(str_text(&key), out);
        str_addf(out, " f%d", i);
        str_release(&key);
    }
    str_add(out, " \"}\"\n");
    for (int i = 0; i < t->n_answer; i++) {
        str_addf(out, "f%d ::= ", i);
        add_value_rule(&t->answer[i], out);
        str_add_char(out, '\n');
    }
    str_add(out, shared_rules);
}
