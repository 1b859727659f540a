/* Exact and near copies. MinHash: Broder, "On the resemblance and containment of documents", 1997. 48 hash functions in 12
 * bands of 4: a pair of similarity 0.8 shares a band with probability 1 - (1 - 0.8^4)^12 = 0.998, one of 0.3 with 0.09. What
 * shares a band is then compared piece by piece, so chance decides only whether a near copy is missed. */
#include "synth/similar.h"
#include "base/hash.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BANDS = 12, ROWS = 4, PIECE = 5, PIECES_MAX = 4096 };
#define NEAR_SHARE 0.8

/* A multi-set of (key, number), open addressing; a low half of 0 is empty. Bands of texts keep the low half of their keys alone:
 * what only seems to be the same is found out when the texts are compared, and a third of the memory is saved. */
struct table {
    uint32_t *low, *high; /* high is NULL where `narrow` */
    bool narrow;
    int32_t *numbers;
    int64_t n, capacity; /* capacity: a power of two */
};

struct similar {
    const struct task *task;
    bool has_text;
    struct arena arena;
    struct table exact; /* number: 1 held out */
    /* without texts: the near key itself; with texts: one entry a band, number: index of `texts` */
    struct table shapes;
    const char **texts; /* joined texts of each record */
    int64_t n_texts, texts_capacity;
};

/* ---- table ---- */

static void table_release(struct table *t) {
    free(t->low);
    free(t->high);
    free(t->numbers);
}

/* Where a search for a key begins, and what is kept of it: the low half is never 0. */
static int64_t first_place(const struct table *t, uint32_t low) {
    return (int64_t)(low * UINT64_C(0x9E3779B97F4A7C15) >> 20 & (uint64_t)(t->capacity - 1));
}

static uint32_t low_half(uint64_t key) {
    uint32_t low = (uint32_t)key;
    return low ? low : 1;
}

static void table_put(struct table *t, uint32_t low, uint32_t high, int32_t number) {
    int64_t at = first_place(t, low);
    while (t->low[at])
        at = (at + 1) & (t->capacity - 1);
    t->low[at] = low;
    if (t->high)
        t->high[at] = high;
    t->numbers[at] = number;
    t->n++;
}

static int table_grow(struct table *t, struct err *e) {
    struct table larger = {.capacity = t->capacity ? t->capacity * 2 : 1024, .narrow = t->narrow};
    larger.low = calloc((size_t)larger.capacity, sizeof *larger.low);
    larger.high = t->narrow ? NULL : calloc((size_t)larger.capacity, sizeof *larger.high);
    larger.numbers = calloc((size_t)larger.capacity, sizeof *larger.numbers);
    if (!larger.low || (!t->narrow && !larger.high) || !larger.numbers) {
        table_release(&larger);
        return err_set(e, ERR_NO_MEMORY, "similar_add", "out of memory");
    }
    for (int64_t i = 0; i < t->capacity; i++)
        if (t->low[i])
            table_put(&larger, t->low[i], t->high ? t->high[i] : 0, t->numbers[i]);
    table_release(t);
    *t = larger;
    return 0;
}

static int table_add(struct table *t, uint64_t key, int32_t number, struct err *e) {
    int rc = t->n * 3 >= t->capacity * 2 ? table_grow(t, e) : 0;
    if (rc == 0)
        table_put(t, low_half(key), (uint32_t)(key >> 32), number);
    return rc;
}

/* Position of the first entry of `key` at or after `from` (-1: its beginning); -1 when there is none. */
static int64_t table_find(const struct table *t, uint64_t key, int64_t from) {
    if (t->capacity == 0)
        return -1;
    uint32_t low = low_half(key), high = (uint32_t)(key >> 32);
    int64_t at = from < 0 ? first_place(t, low) : from;
    for (; t->low[at]; at = (at + 1) & (t->capacity - 1))
        if (t->low[at] == low && (!t->high || t->high[at] == high))
            return at;
    return -1;
}

static int64_t table_next(const struct table *t, int64_t at) {
    return (at + 1) & (t->capacity - 1);
}

/* ---- keys ---- */

static uint64_t exact_key(const struct task *t, const struct record *r) {
    uint64_t h = 1;
    for (int i = 0; i < t->n_declared; i++) {
        const char *text = r->values[i].missing ? "\1" : r->values[i].text;
        h = hash64(text, strlen(text) + 1, h);
    }
    return h;
}

/* The hundredth of the range that a number lies in, or the number in its printed units where those are coarser. */
static int64_t hundredth(const struct task_field *f, double x) {
    double unit = pow(10, -f->decimals), width = f->has_range ? (f->max - f->min) / 100 : unit;
    if (width < unit)
        width = unit;
    return (int64_t)floor((x - (f->has_range ? f->min : 0)) / width + 1e-6);
}

static uint64_t shape_key(const struct task *t, const struct record *r) {
    uint64_t h = 2;
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *f = &t->fields[i];
        const struct value *v = &r->values[i];
        bool number = f->type == FIELD_INTEGER || f->type == FIELD_NUMBER;
        if (v->missing) {
            h = hash64("\1", 2, h);
        } else if (number) {
            int64_t place = hundredth(f, v->number);
            h = hash64(&place, sizeof place, h);
        } else if (f->type != FIELD_TEXT) {
            h = hash64(v->text, strlen(v->text) + 1, h);
        }
    }
    return h;
}

/* ---- texts ---- */

static bool join_texts(const struct similar *s, const struct record *r, struct str *out) {
    for (int i = 0; i < s->task->n_declared; i++)
        if (s->task->fields[i].type == FIELD_TEXT && !r->values[i].missing) {
            str_add(out,
                    out->len ? "\n" : ""); /* between, not after: an end of its own would count as a piece */
            str_add(out, r->values[i].text);
        }
    return !out->failed && out->data;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Hashes of the different pieces of a text, sorted; returns how many. */
static int pieces_of(const char *text, uint64_t pieces[PIECES_MAX]) {
    size_t length = strlen(text);
    int n = 0, unique = 0;
    for (size_t i = 0; i == 0 || (i + PIECE <= length && n < PIECES_MAX); i++)
        pieces[n++] = hash64(text + i, length < PIECE ? length : PIECE, 3);
    qsort(pieces, (size_t)n, sizeof *pieces, compare_u64);
    for (int i = 0; i < n; i++)
        if (i == 0 || pieces[i] != pieces[i - 1])
            pieces[unique++] = pieces[i];
    return unique;
}

static double jaccard(const uint64_t *a, int n_a, const uint64_t *b, int n_b) {
    int both = 0;
    for (int i = 0, j = 0; i < n_a && j < n_b;) {
        both += a[i] == b[j];
        int before = i;
        i += a[i] <= b[j];
        j += b[j] <= a[before];
    }
    return (double)both / (double)(n_a + n_b - both);
}

/* MurmurHash3's last step (Appleby, 2011): every bit of x reaches every bit. */
static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDULL;
    x ^= x >> 33;
    x *= 0xC4CEB9FE1A85EC53ULL;
    return x ^ x >> 33;
}

static void band_keys(const uint64_t *pieces, int n, uint64_t shape, uint64_t keys[BANDS]) {
    for (uint64_t band = 0; band < BANDS; band++) {
        uint64_t least[ROWS + 1];
        for (uint64_t row = 0; row < ROWS; row++) {
            uint64_t salt = mix((band * ROWS + row + 1) * 0xD1B54A32D192ED03ULL), low = UINT64_MAX;
            for (int i = 0; i < n; i++) {
                uint64_t x = mix(pieces[i] ^ salt);
                low = x < low ? x : low;
            }
            least[row] = low;
        }
        least[ROWS] = shape;
        keys[band] = hash64(least, sizeof least, band + 4);
    }
}

/* Scratch of one text comparison: too large for the stack twice. */
struct text_keys {
    uint64_t bands[BANDS], pieces[PIECES_MAX], other[PIECES_MAX];
    int n;
};

static struct text_keys *keys_of(const struct similar *s, const struct record *r, struct str *joined) {
    struct text_keys *k = join_texts(s, r, joined) ? malloc(sizeof *k) : NULL;
    if (k) {
        k->n = pieces_of(joined->data, k->pieces);
        band_keys(k->pieces, k->n, shape_key(s->task, r), k->bands);
    }
    return k;
}

static bool text_is_near(const struct similar *s, const struct record *r) {
    struct str joined = {0};
    struct text_keys *k = keys_of(s, r, &joined);
    bool near = false;
    for (int band = 0; k && band < BANDS && !near; band++) {
        int64_t at = table_find(&s->shapes, k->bands[band], -1);
        while (at >= 0 && !near) {
            int n_other = pieces_of(s->texts[s->shapes.numbers[at]], k->other);
            near = jaccard(k->pieces, k->n, k->other, n_other) >= NEAR_SHARE;
            at = table_find(&s->shapes, k->bands[band], table_next(&s->shapes, at));
        }
    }
    free(k);
    str_release(&joined);
    return near;
}

static int add_text(struct similar *s, const struct record *r, struct err *e) {
    struct str joined = {0};
    struct text_keys *k = keys_of(s, r, &joined);
    int rc = k ? mem_grow((void **)&s->texts, &s->texts_capacity, s->n_texts + 1, sizeof *s->texts)
               : ERR_NO_MEMORY;
    if (rc == 0 && !(s->texts[s->n_texts] = arena_strdup(&s->arena, joined.data)))
        rc = ERR_NO_MEMORY;
    for (int band = 0; band < BANDS && rc == 0; band++)
        rc = table_add(&s->shapes, k->bands[band], (int32_t)s->n_texts, e);
    if (rc == 0)
        s->n_texts++;
    free(k);
    str_release(&joined);
    return rc < 0 ? err_set(e, ERR_NO_MEMORY, "similar_add", "out of memory") : 0;
}

/* ---- the index ---- */

int similar_new(struct similar **out, const struct task *t, struct err *e) {
    struct similar *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NO_MEMORY, "similar_new", "out of memory");
    s->task = t;
    arena_init(&s->arena);
    for (int i = 0; i < t->n_declared; i++)
        s->has_text = s->has_text || t->fields[i].type == FIELD_TEXT;
    s->shapes.narrow = s->has_text;
    *out = s;
    return 0;
}

void similar_free(struct similar *s) {
    if (!s)
        return;
    table_release(&s->exact);
    table_release(&s->shapes);
    free(s->texts);
    arena_release(&s->arena);
    free(s);
}

enum similar_verdict similar_find(const struct similar *s, const struct record *r) {
    int64_t at = table_find(&s->exact, exact_key(s->task, r), -1);
    if (at >= 0)
        return s->exact.numbers[at] ? SIMILAR_HELD_OUT : SIMILAR_EXACT;
    if (s->has_text)
        return text_is_near(s, r) ? SIMILAR_NEAR : SIMILAR_NEW;
    return table_find(&s->shapes, shape_key(s->task, r), -1) >= 0 ? SIMILAR_NEAR : SIMILAR_NEW;
}

/* Held-out rows count as exact copies only: in a small space of values, records that are near one another but not the same
 * are what held-out rows are for. With texts, a near copy of a held-out text is one too. */
int similar_add(struct similar *s, const struct record *r, bool held_out, struct err *e) {
    int rc = table_add(&s->exact, exact_key(s->task, r), held_out, e);
    if (rc < 0 || (held_out && !s->has_text))
        return rc;
    return s->has_text ? add_text(s, r, e) : table_add(&s->shapes, shape_key(s->task, r), 0, e);
}
