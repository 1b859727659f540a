/* Filling phrases. */
#include "simulate_phrases.h"
#include "base/rng.h"
#include "format/json.h"
#include <stdio.h>
#include <string.h>

enum { SLOTS_MAX = 16, PHRASES_MAX = 128, VALUE_BYTES = 64 };

struct slot {
    const char *name;
    const struct node *values; /* a list of texts; NULL: whole numbers */
    int64_t min, max;
};

struct phrases {
    const char *input, *output; /* names in the rows */
    bool extract;
    struct slot slots[SLOTS_MAX];
    int n_slots;
    const struct node *phrases[PHRASES_MAX];
    int n_phrases;
};

struct drawn {
    char text[SLOTS_MAX][VALUE_BYTES];
    int64_t number[SLOTS_MAX];
    bool said[SLOTS_MAX];
};

/* ---- loading ---- */

static int load_slots(struct phrases *p, const struct node *map, struct err *e) {
    for (const struct node *n = map->first; n; n = n->next) {
        if (p->n_slots == SLOTS_MAX)
            return node_error(n, e, "phrases", "more than %d slots", (int)SLOTS_MAX);
        struct slot *s = &p->slots[p->n_slots++];
        *s = (struct slot){.name = n->key};
        if (n->type == NODE_LIST && n->n_children > 0) {
            s->values = n;
            continue;
        }
        int rc = node_i64(n, "min", true, &s->min, e);
        if (rc == 0)
            rc = node_i64(n, "max", true, &s->max, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int load(struct phrases *p, const struct node *root, struct err *e) {
    static const char *const known[] = {"format", "kind", "input", "output", "slots", "phrases", NULL};
    const char *kind = NULL;
    struct node *slots = NULL, *list = NULL;
    *p = (struct phrases){.input = "text", .output = "answer"};
    int rc = node_check_keys(root, known, e);
    if (rc < 0 || (rc = node_string(root, "kind", true, &kind, e)) < 0 ||
        (rc = node_string(root, "input", false, &p->input, e)) < 0 ||
        (rc = node_string(root, "output", false, &p->output, e)) < 0 ||
        (rc = node_map(root, "slots", true, &slots, e)) < 0 ||
        (rc = node_list(root, "phrases", true, &list, e)) < 0 || (rc = load_slots(p, slots, e)) < 0)
        return rc;
    p->extract = strcmp(kind, "extract") == 0;
    for (const struct node *n = list->first; n; n = n->next) {
        if (p->n_phrases == PHRASES_MAX || n->type != NODE_MAP)
            return node_error(n, e, "phrases", "at most %d phrases, each a map with 'text'",
                              (int)PHRASES_MAX);
        p->phrases[p->n_phrases++] = n;
    }
    return p->n_phrases > 0 ? 0 : node_error(list, e, "phrases", "there is no phrase");
}

/* ---- drawing ---- */

static void draw(const struct phrases *p, struct rng *r, struct drawn *d) {
    *d = (struct drawn){0};
    for (int i = 0; i < p->n_slots; i++) {
        const struct slot *s = &p->slots[i];
        if (s->values)
            snprintf(d->text[i], VALUE_BYTES, "%s",
                     node_at(s->values, rng_range(r, 0, s->values->n_children - 1))->text);
        else
            snprintf(d->text[i], VALUE_BYTES, "%lld",
                     (long long)(d->number[i] = rng_range(r, s->min, s->max)));
    }
}

static int find_slot(const struct phrases *p, const char *name, size_t n) {
    for (int i = 0; i < p->n_slots; i++)
        if (strlen(p->slots[i].name) == n && strncmp(p->slots[i].name, name, n) == 0)
            return i;
    return -1;
}

/* when: {temperature: [30, 99], zone: north}: all must hold. */
static bool holds(const struct phrases *p, const struct node *phrase, const struct drawn *d) {
    const struct node *when = node_get(phrase, "when");
    for (const struct node *n = when ? when->first : NULL; n; n = n->next) {
        int i = find_slot(p, n->key, strlen(n->key));
        if (i < 0)
            return false;
        if (n->type == NODE_LIST) {
            double low = n->first->number, high = n->last->number;
            if ((double)d->number[i] < low || (double)d->number[i] > high)
                return false;
        } else if (strcmp(n->text, d->text[i]) != 0) {
            return false;
        }
    }
    return true;
}

static int fill(const struct phrases *p, const struct node *phrase, struct drawn *d, struct str *out,
                struct err *e) {
    const char *text = NULL;
    int rc = node_string(phrase, "text", true, &text, e);
    for (const char *at = text; rc == 0 && *at;) {
        if (*at != '{') {
            str_add_char(out, *at++);
            continue;
        }
        size_t n = strcspn(at + 1, "}");
        int i = find_slot(p, at + 1, n);
        if (i < 0 || !at[n + 1])
            return node_error(phrase, e, "phrases", "'{%.*s}' is no slot", (int)n, at + 1);
        str_add(out, d->text[i]);
        d->said[i] = true;
        at += n + 2;
    }
    return rc;
}

/* ---- rows ---- */

static void add_slot(const struct phrases *p, const struct drawn *d, int i, struct str *out) {
    json_text_string(out, p->slots[i].name);
    str_add_char(out, ':');
    if (p->extract && !d->said[i])
        str_add(out, "null");
    else if (p->slots[i].values)
        json_text_string(out, d->text[i]);
    else
        str_add(out, d->text[i]);
}

static void add_slots(const struct phrases *p, const struct drawn *d, struct str *out) {
    for (int i = 0; i < p->n_slots; i++) {
        str_add(out, i ? "," : "");
        add_slot(p, d, i, out);
    }
}

static void add_row(const struct phrases *p, const struct drawn *d, const char *text, struct str *out) {
    str_add_char(out, '{');
    if (p->extract) {
        json_text_string(out, p->input);
        str_add_char(out, ':');
        json_text_string(out, text);
        str_add_char(out, ',');
        json_text_string(out, p->output);
        str_add(out, ":{");
        add_slots(p, d, out);
        str_add(out, "}}\n");
        return;
    }
    add_slots(p, d, out);
    str_add_char(out, ',');
    json_text_string(out, p->output);
    str_add_char(out, ':');
    json_text_string(out, text);
    str_add(out, "}\n");
}

static const struct node *choose(const struct phrases *p, struct rng *r, const struct drawn *d) {
    if (p->extract)
        return p->phrases[rng_range(r, 0, p->n_phrases - 1)];
    for (int i = 0; i < p->n_phrases; i++)
        if (holds(p, p->phrases[i], d))
            return p->phrases[i];
    return NULL;
}

int phrases_rows(const struct node *root, int64_t n, uint64_t seed, struct str *out, struct err *e) {
    struct phrases p;
    struct rng r;
    struct drawn d;
    int rc = load(&p, root, e);
    rng_seed(&r, seed);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        struct str text = {0};
        draw(&p, &r, &d);
        const struct node *phrase = choose(&p, &r, &d);
        rc = phrase ? fill(&p, phrase, &d, &text, e)
                    : node_error(root, e, "phrases", "no phrase holds for row %lld", (long long)i + 1);
        if (rc == 0)
            add_row(&p, &d, str_text(&text), out);
        str_release(&text);
    }
    return rc == 0 ? str_check(out, e) : rc;
}
