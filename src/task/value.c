/* One value: parsing, normal form, checks. The normal form matters: the model, the rule and the duplicate
 * check see the printed text, so the number kept beside it is the number of that text. */
#include "task/value.h"
#include "task/text.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ORIGIN "record_build"

/* Whole numbers up to here are exact in a double. */
static const double WHOLE_MAX = 9007199254740992.0; /* 2^53 */
enum { NUMBER_TEXT_MAX = 60 };

struct value value_missing(void) {
    return (struct value){.missing = true, .number = NAN, .text = VALUE_MISSING_TEXT};
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory while building a record");
}

static int bad_value(const struct task_field *f, const char *raw, struct err *e, const char *why) {
    return err_set(e, ERR_INPUT, ORIGIN, "field '%s': '%.80s' %s", f->name, raw, why);
}

/* ---- missing ---- */

/* Numbers and dates cannot be "none" or "unknown" either; a text or a category might. */
static bool is_missing_word(const char *text, enum field_type type) {
    static const char *const always[] = {"", "na", "n/a", "nan", "null", VALUE_MISSING_TEXT, NULL};
    static const char *const never_numbers[] = {"none", "nil", "-", "?", NULL};
    for (int i = 0; always[i]; i++)
        if (strcasecmp(text, always[i]) == 0)
            return true;
    if (type == FIELD_TEXT || type == FIELD_CATEGORY)
        return false;
    for (int i = 0; never_numbers[i]; i++)
        if (strcasecmp(text, never_numbers[i]) == 0)
            return true;
    return false;
}

/* ---- numbers ---- */

/* "5 days" where the unit is "days", "0.62" or "1e3", also "0,62" where the field says so: the unit is cut off, then nothing
 * but a number may stand there. */
static bool parse_number(const struct task_field *f, const char *text, double *out) {
    size_t n = strlen(text), unit = f->unit ? strlen(f->unit) : 0;
    char number[NUMBER_TEXT_MAX + 1];
    if (unit && n > unit && strcasecmp(text + n - unit, f->unit) == 0)
        n -= unit;
    while (n && text[n - 1] == ' ')
        n--;
    if (n > NUMBER_TEXT_MAX)
        return false;
    memcpy(number, text, n);
    number[n] = 0;
    char *comma = f->comma ? strchr(number, ',') : NULL;
    if (comma && !strchr(number, '.'))
        *comma = '.';
    const char *start = number[0] == '+' ? number + 1 : number;
    return *start != '-' || start == number ? str_to_double(start, out) : false;
}

bool task_field_allows(const struct task_field *f, const struct value *v) {
    if (v->missing)
        return true;
    if (f->type == FIELD_CATEGORY)
        return v->number >= 0;
    return !f->has_range || (v->number >= f->min && v->number <= f->max);
}

/* Printed with the field's decimals, and read back from there. */
static int print_number(const struct task_field *f, struct arena *a, double number, struct value *out,
                        struct err *e) {
    struct str s = {0};
    text_add_number(&s, number, f->decimals);
    const char *text = arena_strdup(a, str_text(&s));
    bool failed = s.failed || !text;
    str_release(&s);
    if (failed)
        return no_memory(e);
    double printed = number;
    if (!str_to_double(text, &printed))
        return err_set(e, ERR_INPUT, ORIGIN, "field '%s': a number out of range", f->name);
    *out = (struct value){.number = printed, .text = text};
    return 0;
}

static int parse_numeric(const struct task_field *f, struct arena *a, bool strict, const char *text,
                         struct value *out, struct err *e) {
    double number = 0;
    struct value v;
    if (!parse_number(f, text, &number))
        return bad_value(f, text, e, "is not a number");
    if (fabs(number) > WHOLE_MAX)
        return bad_value(f, text, e, "is too large");
    if (f->type == FIELD_INTEGER && number != floor(number))
        return bad_value(f, text, e, "is not a whole number");
    int rc = print_number(f, a, number, &v, e);
    if (rc < 0)
        return rc;
    if (strict && !task_field_allows(f, &v))
        return bad_value(f, text, e, "is out of the field's range");
    *out = v;
    return 0;
}

/* ---- dates ---- */

/* Days from civil: years from March, so that the leap day is a year's last; 400 years are 146,097 days. */
static int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static int digits(const char *text, int n) {
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

bool value_date_days(const char *text, int64_t *days) {
    if (strlen(text) < 10 || text[4] != '-' || text[7] != '-')
        return false;
    int year = digits(text, 4), month = digits(text + 5, 2), day = digits(text + 8, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    if (text[10] &&
        ((text[10] != 'T' && text[10] != ' ') || strspn(text + 11, "0123456789:.+-Z") != strlen(text + 11)))
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

/* "31/12/2026" in the field's order, as YYYY-MM-DD. */
static bool ordered_date(const struct task_field *f, const char *text, char iso[11]) {
    int part[2] = {0}, year;
    const char *at = text;
    for (int i = 0; i < 2; i++) {
        size_t n = strspn(at, "0123456789");
        if (n < 1 || n > 2 || !at[n] || !strchr("/.-", at[n]) || (i > 0 && at[n] != at[-1]))
            return false;
        part[i] = digits(at, (int)n);
        at += n + 1;
    }
    if (f->order == DATE_ISO || strlen(at) != 4 || (year = digits(at, 4)) < 0)
        return false;
    int day = f->order == DATE_DAY_FIRST ? part[0] : part[1],
        month = f->order == DATE_DAY_FIRST ? part[1] : part[0];
    snprintf(iso, 11, "%04u-%02u-%02u", (unsigned)year % 10000u, (unsigned)month % 100u,
             (unsigned)day % 100u);
    return true;
}

static int parse_date(const struct task_field *f, struct arena *a, const char *text, struct value *out,
                      struct err *e) {
    int64_t days = 0;
    char iso[11];
    const char *raw = text;
    if (ordered_date(f, text, iso))
        text = iso;
    if (!value_date_days(text, &days))
        return bad_value(f, raw, e,
                         f->order == DATE_ISO         ? "is not a date of the form YYYY-MM-DD"
                         : f->order == DATE_DAY_FIRST ? "is not a date of the form DD/MM/YYYY"
                                                      : "is not a date of the form MM/DD/YYYY");
    const char *printed = arena_strndup(a, text, 10);
    if (!printed)
        return no_memory(e);
    *out = (struct value){.number = (double)days, .text = printed};
    return 0;
}

/* ---- words ---- */

static int find_category(const struct task_field *f, const char *text) {
    for (int i = 0; i < f->n_values; i++)
        if (strcmp(f->values[i], text) == 0)
            return i;
    for (int i = 0; i < f->n_values; i++)
        if (strcasecmp(f->values[i], text) == 0)
            return i;
    return -1;
}

static int64_t characters(const char *text) {
    int64_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static int parse_words(const struct task_field *f, const char *text, bool strict, struct value *out,
                       struct err *e) {
    if (strlen(text) > TASK_TEXT_MAX || (strict && f->max_chars && characters(text) > f->max_chars))
        return bad_value(f, text, e, "is too long");
    *out = (struct value){.number = 0, .text = text};
    return 0;
}

/* ---- any ---- */

static int parse_missing(const struct task_field *f, bool strict, struct value *out, struct err *e) {
    if (strict && !f->optional)
        return err_set(e, ERR_INPUT, ORIGIN, "field '%s' is missing", f->name);
    *out = value_missing();
    return 0;
}

int value_parse(const struct task_field *f, struct arena *a, bool strict, const char *raw, struct value *out,
                struct err *e) {
    if (!raw)
        return parse_missing(f, strict, out, e);
    if (!str_is_utf8(raw, strlen(raw), NULL))
        return err_set(e, ERR_INPUT, ORIGIN, "field '%s': the value is not UTF-8", f->name);
    const char *text = text_squeeze(a, raw);
    if (!text)
        return no_memory(e);
    int category = f->type == FIELD_CATEGORY ? find_category(f, text) : -1;
    if (category >= 0) { /* before the missing words: "unknown" may be a value that the task lists */
        *out = (struct value){.number = category, .text = f->values[category]};
        return 0;
    }
    if (is_missing_word(text, f->type))
        return parse_missing(f, strict, out, e);
    if (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER)
        return parse_numeric(f, a, strict, text, out, e);
    if (f->type == FIELD_DATE)
        return parse_date(f, a, text, out, e);
    if (f->type == FIELD_CATEGORY && strict)
        return bad_value(f, text, e, "is not one of the field's values");
    struct value v;
    int rc = parse_words(f, text, strict, &v, e);
    if (rc < 0)
        return rc;
    if (f->type == FIELD_CATEGORY)
        v.number = -1;
    *out = v;
    return 0;
}

int value_derive(const struct task_field *f, struct arena *a, const struct value declared[],
                 struct value *out, struct err *e) {
    const struct value *x = &declared[f->a], *y = &declared[f->b];
    if (x->missing || y->missing || (f->op == DERIVED_RATIO && y->number == 0)) {
        *out = value_missing();
        return 0;
    }
    double number = f->op == DERIVED_RATIO        ? x->number / y->number
                    : f->op == DERIVED_DIFFERENCE ? x->number - y->number
                    : f->op == DERIVED_SUM        ? x->number + y->number
                                                  : y->number - x->number;
    return print_number(f, a, number, out, e);
}
