/* Tokens, merges and the way to each token. */
#include "model/vocab.h"
#include <gguf.h>
#include <stdlib.h>
#include <string.h>

/* llama.cpp's token types that decide here. */
enum { TYPE_NORMAL = 1, TYPE_UNUSED = 5, TYPE_BYTE = 6, N_BYTES = 256, ALIGN_TOKENS = 64 };

struct slot {   /* of the table of texts */
    int32_t id; /* -1: free */
};
struct pair_slot {
    int32_t left, right; /* left -1: free */
    int32_t rank;
};

struct vocab {
    const struct gguf_context *gguf;
    int64_t tokens, merges_key; /* keys; merges -1: none */
    int32_t n;
    bool bpe;
    const int32_t *types;
    const float *scores; /* SentencePiece */
    struct slot *texts;
    size_t n_texts; /* powers of two */
    struct vocab_merge *merges;
    int64_t n_merges;
    struct pair_slot *pairs;
    size_t n_pairs;
    int32_t bytes[N_BYTES]; /* ids */
};

int32_t vocab_size(const struct vocab *v) {
    return v->n;
}

const char *vocab_text(const struct vocab *v, int32_t id) {
    return gguf_get_arr_str(v->gguf, v->tokens, (size_t)id);
}

int64_t vocab_n_merges(const struct vocab *v) {
    return v->n_merges;
}

struct vocab_merge vocab_merge(const struct vocab *v, int64_t i) {
    return v->merges[i];
}

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "vocab", "no memory for the vocabulary");
}

/* ---- tables ---- */

static size_t table_size(int64_t n) {
    size_t size = 16;
    while (size < (size_t)n * 2)
        size *= 2;
    return size;
}

static uint64_t hash_text(const char *text, size_t n) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h ^ (h >> 29);
}

static uint64_t hash_pair(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 31);
}

static int32_t find_bytes(const struct vocab *v, const char *text, size_t n) {
    for (size_t at = hash_text(text, n);; at++) {
        int32_t id = v->texts[at & (v->n_texts - 1)].id;
        if (id < 0)
            return -1;
        const char *known = vocab_text(v, id);
        if (strncmp(known, text, n) == 0 && known[n] == 0)
            return id;
    }
}

int32_t vocab_find(const struct vocab *v, const char *text) {
    return find_bytes(v, text, strlen(text));
}

static int index_texts(struct vocab *v, struct err *e) {
    v->n_texts = table_size(v->n);
    v->texts = malloc(v->n_texts * sizeof *v->texts);
    if (!v->texts)
        return no_memory(e);
    for (size_t i = 0; i < v->n_texts; i++)
        v->texts[i].id = -1;
    for (int32_t id = 0; id < v->n; id++) {
        const char *text = vocab_text(v, id);
        size_t at = hash_text(text, strlen(text));
        while (v->texts[at & (v->n_texts - 1)].id >= 0 &&
               strcmp(vocab_text(v, v->texts[at & (v->n_texts - 1)].id), text) != 0)
            at++;
        v->texts[at & (v->n_texts - 1)].id = id; /* of equal texts the last, as in llama.cpp */
    }
    return 0;
}

static const struct pair_slot *find_pair(const struct vocab *v, int32_t left, int32_t right) {
    for (size_t at = hash_pair(left, right);; at++) {
        const struct pair_slot *p = &v->pairs[at & (v->n_pairs - 1)];
        if (p->left < 0)
            return NULL;
        if (p->left == left && p->right == right)
            return p;
    }
}

static void add_pair(struct vocab *v, int32_t left, int32_t right, int32_t rank) {
    size_t at = hash_pair(left, right);
    while (v->pairs[at & (v->n_pairs - 1)].left >= 0)
        at++;
    v->pairs[at & (v->n_pairs - 1)] = (struct pair_slot){left, right, rank};
}

/* "left right": the blank is the first one after the first byte, as llama.cpp reads it. */
static struct vocab_merge read_merge(const struct vocab *v, const char *text, char *joined) {
    const char *blank = *text ? strchr(text + 1, ' ') : NULL;
    struct vocab_merge m = {-1, -1, -1};
    if (!blank)
        return m;
    size_t n = (size_t)(blank - text);
    memcpy(joined, text, n);
    strcpy(joined + n, blank + 1);
    m.left = find_bytes(v, text, n);
    m.right = vocab_find(v, blank + 1);
    m.result = m.left >= 0 && m.right >= 0 ? vocab_find(v, joined) : -1;
    return m;
}

static int index_merges(struct vocab *v, struct err *e) {
    v->n_merges = v->merges_key >= 0 ? (int64_t)gguf_get_arr_n(v->gguf, v->merges_key) : 0;
    v->n_pairs = table_size(v->n_merges);
    v->pairs = malloc(v->n_pairs * sizeof *v->pairs);
    v->merges = calloc((size_t)v->n_merges + 1, sizeof *v->merges);
    size_t longest = 1;
    for (int64_t i = 0; i < v->n_merges; i++) {
        size_t n = strlen(gguf_get_arr_str(v->gguf, v->merges_key, (size_t)i)) + 1;
        longest = n > longest ? n : longest;
    }
    char *joined = malloc(longest);
    if (!v->pairs || !v->merges || !joined) {
        free(joined);
        return no_memory(e);
    }
    for (size_t i = 0; i < v->n_pairs; i++)
        v->pairs[i].left = -1;
    for (int64_t i = 0; i < v->n_merges; i++) {
        struct vocab_merge m = read_merge(v, gguf_get_arr_str(v->gguf, v->merges_key, (size_t)i), joined);
        v->merges[i] = m;
        if (m.result >= 0 && !find_pair(v, m.left, m.right))
            add_pair(v, m.left, m.right, (int32_t)i);
    }
    free(joined);
    return 0;
}

/* ---- opening ---- */

/* GPT-2's printable stand-in of a byte, as UTF-8: printable bytes of Latin-1 stand for themselves, the n-th other one is
 * U+0100 + n. */
static void stand_in(int byte, char text[3]) {
    int code = byte, others = 0;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte && !printable)
            code = 256 + others;
        others += !printable;
    }
    text[0] = (char)(code < 0x80 ? code : 0xC0 | (code >> 6));
    text[1] = (char)(code < 0x80 ? 0 : 0x80 | (code & 0x3F));
    text[2] = 0;
}

static int find_all_bytes(struct vocab *v, const char *path, struct err *e) {
    static const char hex[] = "0123456789ABCDEF";
    for (int b = 0; b < N_BYTES; b++) {
        char text[8] = "<0x00>";
        text[3] = hex[b >> 4];
        text[4] = hex[b & 15];
        if (v->bpe)
            stand_in(b, text);
        v->bytes[b] = vocab_find(v, text);
        if (v->bytes[b] < 0 || (!v->bpe && v->types[v->bytes[b]] != TYPE_BYTE))
            return err_set(e, ERR_UNSUPPORTED, "vocab_open",
                           "%s has no token for byte %d: some texts cannot be written", path, b);
    }
    return 0;
}

static int64_t array_key(const struct vocab *v, const char *name, enum gguf_type type) {
    int64_t at = gguf_find_key(v->gguf, name);
    bool fits =
        at >= 0 && gguf_get_kv_type(v->gguf, at) == GGUF_TYPE_ARRAY && gguf_get_arr_type(v->gguf, at) == type;
    return fits ? at : -1;
}

static int read_keys(struct vocab *v, const struct model_file *f, struct err *e) {
    const struct gguf_context *g = v->gguf;
    int64_t kind = gguf_find_key(g, "tokenizer.ggml.model");
    const char *name =
        kind >= 0 && gguf_get_kv_type(g, kind) == GGUF_TYPE_STRING ? gguf_get_val_str(g, kind) : "";
    v->bpe = strcmp(name, "gpt2") == 0;
    if (!v->bpe && strcmp(name, "llama") != 0)
        return err_set(e, ERR_UNSUPPORTED, "vocab_open",
                       "%s has a tokenizer of the kind \"%s\"; only gpt2 and llama can be trimmed",
                       model_file_path(f), name);
    v->tokens = array_key(v, "tokenizer.ggml.tokens", GGUF_TYPE_STRING);
    v->merges_key = v->bpe ? array_key(v, "tokenizer.ggml.merges", GGUF_TYPE_STRING) : -1;
    int64_t types = array_key(v, "tokenizer.ggml.token_type", GGUF_TYPE_INT32),
            scores = array_key(v, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32);
    int64_t n = v->tokens >= 0 ? (int64_t)gguf_get_arr_n(g, v->tokens) : 0;
    bool whole = n > 0 && n <= 1 << 24 && types >= 0 && (int64_t)gguf_get_arr_n(g, types) == n;
    if (whole && !v->bpe)
        whole = scores >= 0 && (int64_t)gguf_get_arr_n(g, scores) == n;
    if (!whole || (v->bpe && v->merges_key < 0))
        return err_set(e, ERR_FORMAT, "vocab_open", "%s does not list its vocabulary completely",
                       model_file_path(f));
    v->n = (int32_t)n;
    v->types = gguf_get_arr_data(g, types);
    v->scores = v->bpe ? NULL : gguf_get_arr_data(g, scores);
    return 0;
}

int vocab_open(struct vocab **out, const struct model_file *f, struct err *e) {
    struct vocab *v = calloc(1, sizeof *v);
    if (!v)
        return no_memory(e);
    v->gguf = model_file_gguf(f);
    int rc = read_keys(v, f, e);
    if (rc == 0)
        rc = index_texts(v, e);
    if (rc == 0)
        rc = index_merges(v, e);
    if (rc == 0)
        rc = find_all_bytes(v, model_file_path(f), e);
    if (rc < 0)
        vocab_close(v);
    else
        *out = v;
    return rc;
}

void vocab_close(struct vocab *v) {
    if (!v)
        return;
    free(v->texts);
    free(v->pairs);
    free(v->merges);
    free(v);
}

/* ---- the way to a token ---- */

static size_t utf8_length(const char *text) {
    unsigned char c = (unsigned char)*text;
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4, have = 0;
    while (have < n && text[have])
        have++;
    return have;
}

struct piece {
    size_t at, n; /* bytes of the token's text */
    int32_t id;   /* -1: no token */
};

/* The better the lower; negative: the two do not join. */
static double join_rank(const struct vocab *v, const char *text, const struct piece *a, const struct piece *b,
                        int32_t *result) {
    if (v->bpe) {
        const struct pair_slot *p = a->id >= 0 && b->id >= 0 ? find_pair(v, a->id, b->id) : NULL;
        *result = p ? v->merges[p->rank].result : -1;
        return p ? (double)p->rank : -1;
    }
    *result = find_bytes(v, text + a->at, a->n + b->n);
    return *result >= 0 ? 1e9 - (double)v->scores[*result] : -1;
}

/* Joins as the tokenizer would in the token's own text, marking what it passes. */
static void walk(const struct vocab *v, const char *text, struct piece *pieces, int64_t n, bool *keep) {
    for (;;) {
        int64_t best = -1;
        int32_t best_id = -1;
        double best_rank = 0;
        for (int64_t i = 0; i + 1 < n; i++) {
            int32_t id;
            double rank = join_rank(v, text, &pieces[i], &pieces[i + 1], &id);
            if (rank >= 0 && (best < 0 || rank < best_rank)) {
                best = i;
                best_rank = rank;
                best_id = id;
            }
        }
        if (best < 0)
            return;
        pieces[best].n += pieces[best + 1].n;
        pieces[best].id = best_id;
        keep[best_id] = true;
        memmove(&pieces[best + 1], &pieces[best + 2], (size_t)(n - best - 2) * sizeof *pieces);
        n--;
    }
}

static int keep_way(const struct vocab *v, int32_t id, bool *keep, struct err *e) {
    const char *text = vocab_text(v, id);
    size_t length = strlen(text);
    struct piece few[64], *pieces = length <= 64 ? few : malloc(length * sizeof *pieces);
    int64_t n = 0;
    if (!pieces)
        return no_memory(e);
    for (size_t at = 0; at < length;) {
        size_t step = utf8_length(text + at);
        int32_t part = find_bytes(v, text + at, step);
        pieces[n++] = (struct piece){at, step, part};
        if (part >= 0)
            keep[part] = true;
        at += step;
    }
    walk(v, text, pieces, n, keep);
    if (pieces != few)
        free(pieces);
    return 0;
}

/* Specials are found whole, not joined. */
static bool is_joined(const struct vocab *v, int32_t id) {
    return v->types[id] == TYPE_NORMAL;
}

int vocab_keep_closure(const struct vocab *v, bool *keep, struct err *e) {
    int rc = 0;
    for (int32_t id = 0; id < v->n && rc == 0; id++)
        if (keep[id] && is_joined(v, id))
            rc = keep_way(v, id, keep, e);
    return rc;
}

/* ---- what is kept ---- */

static void keep_named(const struct vocab *v, bool *keep) {
    for (int64_t k = 0; k < gguf_get_n_kv(v->gguf); k++) {
        const char *key = gguf_get_key(v->gguf, k);
        size_t n = strlen(key), tail = strlen("_token_id");
        if (strncmp(key, "tokenizer.ggml.", 15) != 0 || n < tail ||
            strcmp(key + n - tail, "_token_id") != 0 || gguf_get_kv_type(v->gguf, k) != GGUF_TYPE_UINT32)
            continue;
        uint32_t id = gguf_get_val_u32(v->gguf, k);
        if (id < (uint32_t)v->n)
            keep[id] = true;
    }
}

void vocab_keep_essential(const struct vocab *v, bool *keep) {
    for (int b = 0; b < N_BYTES; b++)
        keep[v->bytes[b]] = true;
    for (int32_t id = 0; id < v->n; id++)
        if (v->types[id] != TYPE_NORMAL && v->types[id] != TYPE_UNUSED)
            keep[id] = true;
    keep_named(v, keep);
    /* SentencePiece writes a blank as U+2581: as bytes it would come back as that. */
    int32_t blank = v->bpe ? -1 : vocab_find(v, "\xE2\x96\x81");
    if (blank >= 0)
        keep[blank] = true;
}

bool vocab_is_digits(const struct vocab *v, int32_t id) {
    const char *text = vocab_text(v, id);
    size_t n = strspn(text, "0123456789");
    return n >= 1 && n <= 3 && text[n] == 0;
}

static int32_t count_kept(const struct vocab *v, const bool *keep) {
    int32_t n = 0;
    for (int32_t id = 0; id < v->n; id++)
        n += keep[id];
    return n;
}

struct ranked {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->id < y->id ? -1 : x->id > y->id;
}

/* Tokens in falling order of frequency; returns how many. */
static int64_t order(const struct vocab *v, struct ranked *out) {
    int64_t n = 0;
    if (v->bpe) {
        for (int64_t i = 0; i < v->n_merges; i++)
            if (v->merges[i].result >= 0)
                out[n++] = (struct ranked){0, v->merges[i].result};
        return n;
    }
    for (int32_t id = 0; id < v->n; id++)
        if (v->types[id] == TYPE_NORMAL)
            out[n++] = (struct ranked){v->scores[id], id};
    qsort(out, (size_t)n, sizeof *out, by_score);
    return n;
}

int vocab_keep_reserve(const struct vocab *v, bool *keep, int32_t n, struct err *e) {
    int64_t most = v->bpe ? v->n_merges : v->n;
    struct ranked *list = malloc((size_t)(most + 1) * sizeof *list);
    if (!list)
        return no_memory(e);
    int64_t length = order(v, list);
    int32_t kept = count_kept(v, keep);
    int rc = 0;
    for (int64_t i = 0; i < length && rc == 0 && (kept < n || kept % ALIGN_TOKENS != 0); i++) {
        if (keep[list[i].id])
            continue;
        keep[list[i].id] = true;
        rc = keep_way(v, list[i].id, keep, e);
        /* The way of a frequent token is more frequent still, so it is mostly there already. */
        kept = kept < n && kept + 1 < n ? kept + 1 : count_kept(v, keep);
    }
    free(list);
    return rc;
}
