/* Profiling a file of rows. Each value leaves its hash and, where it is one, its number in its column's arrays; the rest follows
 * from these after the last row. */
#include "synth/profile.h"
#include "base/hash.h"
#include "format/csv.h"
#include "format/jsonl.h"
#include "task/value.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ORIGIN "profile_read"

enum { COMMA_TEXT_MAX = 32 };

struct reading {
    struct profile *p;
    const char *label;
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
}

/* Is `name` the label or one of the names between its commas? */
static bool names_label(const char *label, const char *name) {
    size_t n = strlen(name);
    if (!label)
        return false;
    if (strcmp(label, name) == 0)
        return true;
    for (const char *at = label; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        at += strspn(at, " ");
        size_t length = strcspn(at, ",");
        while (length > 0 && at[length - 1] == ' ')
            length--;
        if (length == n && strncmp(at, name, n) == 0)
            return true;
    }
    return false;
}

/* ---- columns ---- */

static struct profile_column *column_of(struct reading *r, const char *name, bool nested, struct err *e) {
    struct profile *p = r->p;
    for (int i = 0; i < p->n_columns; i++)
        if (p->columns[i].nested == nested && strcmp(p->columns[i].name, name) == 0)
            return &p->columns[i];
    if (p->n_columns == PROFILE_COLUMNS_MAX) {
        err_set(e, ERR_INPUT, ORIGIN, "more than %d columns", (int)PROFILE_COLUMNS_MAX);
        return NULL;
    }
    struct profile_column *c = &p->columns[p->n_columns];
    *c = (struct profile_column){.name = arena_strdup(&p->arena, name),
                                 .nested = nested,
                                 .of_label = nested || names_label(r->label, name),
                                 .min = INFINITY,
                                 .max = -INFINITY,
                                 .rising = true,
                                 .determined = NAN,
                                 .by_threshold = NAN};
    c->values = arena_calloc(&p->arena, PROFILE_VALUES_MAX, sizeof *c->values);
    if (!c->name || !c->values) {
        no_memory(e);
        return NULL;
    }
    p->n_columns++;
    return c;
}

static bool is_missing(const char *text) {
    static const char *const words[] = {"", "na", "n/a", "nan", "null", "unknown", NULL};
    for (int i = 0; words[i]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    return false;
}

/* A row's place in the arrays, the rows before it without this column filled with "missing". */
static int make_room(struct profile_column *c, int64_t row, struct err *e) {
    int64_t hashes = c->hash_capacity, numbers = c->number_capacity;
    if (mem_grow((void **)&c->hash, &c->hash_capacity, row + 1, sizeof *c->hash) < 0 ||
        mem_grow((void **)&c->number, &c->number_capacity, row + 1, sizeof *c->number) < 0)
        return no_memory(e);
    for (int64_t i = hashes; i < c->hash_capacity; i++)
        c->hash[i] = 0;
    for (int64_t i = numbers; i < c->number_capacity; i++)
        c->number[i] = NAN;
    return 0;
}

/* ---- one value ---- */

static bool two_digits(const char **at, int least, int most, int *out) {
    int n = 0, digits = 0;
    while (**at >= '0' && **at <= '9' && digits < 2) {
        n = n * 10 + *(*at)++ - '0';
        digits++;
    }
    *out = n;
    return digits > 0 && n >= least && n <= most;
}

/* "31/12/2026", "31.12.2026" or "31-12-2026", in either order: could the first number be a day, a month? */
static void slashed_date(const char *text, bool *day_first, bool *month_first) {
    int first = 0, second = 0;
    const char *at = text;
    *day_first = *month_first = false;
    if (!two_digits(&at, 1, 31, &first) || !*at || !strchr("/.-", *at))
        return;
    char mark = *at++;
    if (!two_digits(&at, 1, 31, &second) || *at++ != mark || strlen(at) != 4 || strspn(at, "0123456789") != 4)
        return;
    *day_first = second <= 12;
    *month_first = first <= 12;
}

static int decimals_in(const char *text) {
    const char *point = strchr(text, '.');
    int n = point ? (int)strspn(point + 1, "0123456789") : 0;
    return n < TASK_DECIMALS_MAX ? n : TASK_DECIMALS_MAX;
}

/* "4,5" as "4.5"; false when it is no such number. */
static bool decimal_comma(const char *text, char out[COMMA_TEXT_MAX], bool *three) {
    size_t n = strlen(text), whole = strcspn(text, ",");
    if (whole == n || n >= COMMA_TEXT_MAX || strspn(text, "0123456789,-") != n ||
        strchr(text + whole + 1, ',') || !text[whole + 1] || whole == 0)
        return false;
    memcpy(out, text, n + 1);
    out[whole] = '.';
    *three = n - whole - 1 == 3 && whole <= 3 + (size_t)(text[0] == '-') && text[text[0] == '-'] != '0';
    return true;
}

/* Digits with no letters but a mark or two around them: "$5.50", "12%", "1,234.5". */
static bool looks_like_number(const char *text) {
    size_t n = strlen(text), digits = 0;
    for (size_t i = 0; i < n; i++)
        digits += text[i] >= '0' && text[i] <= '9';
    size_t at = strcspn(text, "0123456789");
    size_t run = strspn(text + at, "0123456789.,'");
    return digits > 0 && n < COMMA_TEXT_MAX && at <= 3 && n - at - run <= 3 && !memchr(text, '-', n) &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#_/") == 0;
}

static void see_number(struct profile_column *c, const char *text, double x) {
    if (c->n_as_number > 0 && x <= c->max)
        c->rising = false;
    c->n_as_number++;
    c->n_as_integer += x == floor(x) && !strpbrk(text, ".eE");
    c->min = fmin(c->min, x);
    c->max = fmax(c->max, x);
    int decimals = decimals_in(text);
    c->decimals = decimals > c->decimals ? decimals : c->decimals;
}

static void see_words(struct profile_column *c, const char *text) {
    int64_t characters = 0, words = 0;
    bool gap = true;
    for (const char *at = text; *at; at++) {
        characters += ((unsigned char)*at & 0xC0) != 0x80;
        words += gap && *at != ' ';
        gap = *at == ' ';
    }
    c->longest = characters > c->longest ? characters : c->longest;
    c->sum_words += words;
}

static int keep_value(struct profile *p, struct profile_column *c, const char *text, uint64_t hash,
                      struct err *e) {
    for (int i = 0; i < c->n_values; i++)
        if (c->values[i].hash == hash) {
            c->values[i].n++;
            return 0;
        }
    if (c->n_values == PROFILE_VALUES_MAX)
        return 0;
    struct profile_value *v = &c->values[c->n_values++];
    *v = (struct profile_value){.text = arena_strdup(&p->arena, text), .hash = hash, .n = 1};
    return v->text ? 0 : no_memory(e);
}

static int see(struct reading *r, struct profile_column *c, const char *text, struct err *e) {
    struct profile *p = r->p;
    int64_t days;
    double x;
    char with_point[COMMA_TEXT_MAX];
    bool day_first, month_first, iso, three = false;
    int rc = make_room(c, p->n_rows, e);
    if (rc < 0)
        return rc;
    text = text ? text + strspn(text, " \t") : "";
    if (is_missing(text))
        return 0;
    uint64_t hash = hash64(text, strlen(text), 11);
    hash = hash ? hash : 1;
    c->n++;
    c->hash[p->n_rows] = hash;
    bool comma = decimal_comma(text, with_point, &three);
    const char *number = comma ? with_point : text;
    if (str_to_double(number, &x)) {
        see_number(c, number, x);
        c->number[p->n_rows] = x;
        c->n_comma += comma;
        c->n_three += three;
        c->n_point += !comma && strchr(text, '.') != NULL;
    }
    slashed_date(text, &day_first, &month_first);
    iso = value_date_days(text, &days);
    c->n_as_iso += iso;
    c->n_dated += iso || day_first || month_first;
    c->n_near += looks_like_number(text);
    c->n_day_first += day_first;
    c->n_month_first += month_first;
    see_words(c, text);
    return keep_value(p, c, text, hash, e);
}

/* ---- the files ---- */

static int end_row(struct reading *r, bool *more, struct err *e) {
    struct profile *p = r->p;
    for (int i = 0; i < p->n_columns; i++)
        if (make_room(&p->columns[i], p->n_rows, e) < 0)
            return ERR_NO_MEMORY;
    p->n_rows++;
    p->cut = *more && p->n_rows == PROFILE_ROWS_MAX;
    *more = !p->cut;
    return 0;
}

static int read_csv(struct reading *r, const char *path, struct err *e) {
    struct csv_reader *csv;
    bool more = true;
    int rc = csv_reader_open(&csv, path, NULL, e);
    if (rc < 0)
        return rc;
    r->p->encoding = csv_reader_encoding(csv);
    while (more && (rc = csv_reader_next(csv, e)) > 0) {
        for (int i = 0; i < csv_reader_n_columns(csv) && rc >= 0; i++) {
            struct profile_column *c = column_of(r, csv_reader_name(csv, i), false, e);
            rc = c ? see(r, c, csv_reader_field(csv, i), e) : ERR_INPUT;
        }
        if (rc < 0 || (rc = end_row(r, &more, e)) < 0)
            break;
    }
    csv_reader_close(csv);
    return rc < 0 ? rc : 0;
}

static int see_node(struct reading *r, const struct node *n, bool nested, struct err *e) {
    struct profile_column *c = column_of(r, n->key, nested, e);
    if (!c)
        return ERR_INPUT;
    if (n->type == NODE_LIST || n->type == NODE_MAP) {
        c->structured = true;
        return 0;
    }
    return see(r, c, n->type == NODE_NULL ? NULL : n->text, e);
}

static int see_object(struct reading *r, const struct node *row, struct err *e) {
    int rc = 0;
    for (const struct node *n = row->first; n && rc == 0; n = n->next) {
        bool nested = n->type == NODE_MAP && r->label && strcmp(n->key, r->label) == 0;
        r->p->nested_label = r->p->nested_label || nested;
        if (!nested)
            rc = see_node(r, n, false, e);
        for (const struct node *k = nested ? n->first : NULL; k && rc == 0; k = k->next)
            rc = see_node(r, k, true, e);
    }
    return rc;
}

static int read_jsonl(struct reading *r, const char *path, struct err *e) {
    struct jsonl_reader *lines;
    struct arena scratch;
    struct node *row = NULL;
    bool more = true;
    int rc = jsonl_reader_open(&lines, path, e);
    if (rc < 0)
        return rc;
    r->p->encoding = jsonl_reader_encoding(lines);
    arena_init(&scratch);
    while (more && (rc = jsonl_reader_next(lines, &scratch, &row, e)) > 0) {
        if (row->type != NODE_MAP)
            rc = node_error(row, e, ORIGIN, "a row must be a map of field names to values");
        else if ((rc = see_object(r, row, e)) == 0)
            rc = end_row(r, &more, e);
        arena_reset(&scratch);
        if (rc < 0)
            break;
    }
    arena_release(&scratch);
    jsonl_reader_close(lines);
    return rc < 0 ? rc : 0;
}

/* ---- what follows from all rows ---- */

static void decide_type(struct profile_column *c) {
    c->words = c->n ? (double)c->sum_words / (double)c->n : 0;
    c->rising = c->rising && c->n_as_number == c->n && c->n > 1;
    c->type = FIELD_TEXT;
    if (c->n == 0)
        return;
    c->comma = c->n_comma > 0 && c->n_point == 0 && c->n_three < c->n_comma;
    if (c->n_comma > 0 && !c->comma) {
        c->near_number = c->n_near == c->n;
        return;
    }
    if (c->n_as_integer == c->n && fabs(c->min) < 1e15 && fabs(c->max) < 1e15)
        c->type = FIELD_INTEGER;
    else if (c->n_as_number == c->n)
        c->type = FIELD_NUMBER;
    bool day = c->n_day_first == c->n, month = c->n_month_first == c->n;
    c->dates = c->n_as_iso == c->n ? DATES_ISO
               : day && month      ? DATES_EITHER
               : day               ? DATES_DAY_FIRST
               : month             ? DATES_MONTH_FIRST
                                   : DATES_NONE;
    if (c->dates != DATES_NONE)
        c->type = FIELD_DATE;
    c->near_date = c->type == FIELD_TEXT && c->n_dated == c->n;
    c->near_number = c->type == FIELD_TEXT && !c->near_date && c->n_near == c->n;
}

struct pair {
    uint64_t value, label;
    double number;
};

static int by_value(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->label < y->label ? -1 : x->label > y->label;
}

static int by_number(const void *a, const void *b) {
    double x = ((const struct pair *)a)->number, y = ((const struct pair *)b)->number;
    return (x > y) - (x < y);
}

/* Rows whose label is the commonest one among rows of the same value; *distinct values. */
static int64_t count_determined(const struct pair *pairs, int64_t n, int64_t *distinct) {
    int64_t right = 0;
    *distinct = 0;
    for (int64_t i = 0; i < n;) {
        int64_t most = 0, k = i;
        while (k < n && pairs[k].value == pairs[i].value) {
            int64_t run = k;
            while (k < n && pairs[k].value == pairs[i].value && pairs[k].label == pairs[run].label)
                k++;
            most = k - run > most ? k - run : most;
        }
        right += most;
        ++*distinct;
        i = k;
    }
    return right;
}

/* Most rows that a threshold puts right: one label below it, the other from it on. */
static int64_t count_separated(struct pair *pairs, int64_t n) {
    int64_t first = 0, best = 0, below = 0;
    if (n == 0)
        return 0;
    qsort(pairs, (size_t)n, sizeof *pairs, by_number);
    uint64_t label = pairs[0].label;
    for (int64_t i = 0; i < n; i++)
        first += pairs[i].label == label;
    for (int64_t i = 0; i <= n; i++) {
        if (i == 0 || i == n || pairs[i].number > pairs[i - 1].number) {
            int64_t right = below + (n - i) - (first - below);
            best = right > best ? right : best;
            best = n - right > best ? n - right : best;
        }
        if (i < n)
            below += pairs[i].label == label;
    }
    return best;
}

static void relate(struct profile_column *c, const struct profile_column *label, struct pair *pairs,
                   int64_t n_rows) {
    int64_t n = 0, distinct = 0;
    for (int64_t i = 0; i < n_rows; i++)
        if (c->hash[i])
            pairs[n++] = (struct pair){c->hash[i], label ? label->hash[i] : 0, c->number[i]};
    qsort(pairs, (size_t)n, sizeof *pairs, by_value);
    int64_t right = count_determined(pairs, n, &distinct);
    c->n_distinct = distinct;
    if (!label || c == label || n == 0)
        return;
    c->determined = (double)right / (double)n;
    if (label->n_distinct == 2 && (c->type == FIELD_INTEGER || c->type == FIELD_NUMBER))
        c->by_threshold = (double)count_separated(pairs, n) / (double)n;
}

static int finish(struct reading *r, const char *path, struct err *e) {
    struct profile *p = r->p;
    struct profile_column *label = NULL;
    int n_label = 0;
    if (p->n_rows == 0)
        return err_set(e, ERR_INPUT, ORIGIN, "%s has no rows", path);
    struct pair *pairs = malloc((size_t)p->n_rows * sizeof *pairs);
    if (!pairs)
        return no_memory(e);
    for (int i = 0; i < p->n_columns; i++) {
        decide_type(&p->columns[i]);
        if (p->columns[i].of_label) {
            label = &p->columns[i];
            n_label++;
        }
    }
    label = n_label == 1 && !p->nested_label ? label : NULL;
    p->majority = NAN;
    if (label) {
        relate(label, NULL, pairs, p->n_rows);
        int64_t most = 0;
        for (int i = 0; i < label->n_values; i++)
            most = label->values[i].n > most ? label->values[i].n : most;
        p->majority = label->n ? (double)most / (double)label->n : NAN;
        p->n_unlabelled = p->n_rows - label->n;
    }
    for (int i = 0; i < p->n_columns; i++) {
        p->columns[i].n_missing = p->n_rows - p->columns[i].n;
        if (&p->columns[i] != label)
            relate(&p->columns[i], label, pairs, p->n_rows);
    }
    free(pairs);
    return 0;
}

int profile_read(struct profile *out, const char *path, const char *label, struct err *e) {
    struct profile p = {0};
    struct reading r = {.p = &p, .label = label};
    arena_init(&p.arena);
    p.columns = arena_calloc(&p.arena, PROFILE_COLUMNS_MAX, sizeof *p.columns);
    int rc = p.columns ? 0 : no_memory(e);
    if (rc == 0)
        rc = str_ends(path, ".jsonl") || str_ends(path, ".ndjson") ? read_jsonl(&r, path, e)
                                                                   : read_csv(&r, path, e);
    if (rc == 0)
        rc = finish(&r, path, e);
    if (rc < 0) {
        profile_release(&p);
        return rc;
    }
    *out = p;
    return 0;
}

void profile_release(struct profile *p) {
    for (int i = 0; i < p->n_columns; i++) {
        free(p->columns[i].hash);
        free(p->columns[i].number);
    }
    arena_release(&p->arena);
    *p = (struct profile){0};
}

int profile_contradictions(const struct profile *p, const bool *use, int64_t *n, struct err *e) {
    struct pair *pairs = calloc((size_t)p->n_rows + 1, sizeof *pairs);
    int64_t distinct;
    if (!pairs)
        return no_memory(e);
    for (int64_t i = 0; i < p->n_rows; i++)
        for (int k = 0; k < p->n_columns; k++) {
            const struct profile_column *c = &p->columns[k];
            if (c->of_label)
                pairs[i].label = hash64(&c->hash[i], sizeof c->hash[i], pairs[i].label);
            else if (use[k])
                pairs[i].value = hash64(&c->hash[i], sizeof c->hash[i], pairs[i].value);
        }
    qsort(pairs, (size_t)p->n_rows, sizeof *pairs, by_value);
    *n = p->n_rows - count_determined(pairs, p->n_rows, &distinct);
    free(pairs);
    return 0;
}
