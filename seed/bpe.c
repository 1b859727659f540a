/* Byte-pair training and encoding: see bpe.h. */
#include "bpe.h"
#include "base/hash.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FIRST_BYTE = BPE_N_SPECIAL, FIRST_MERGE = BPE_N_SPECIAL + 256, MEMO_SLOTS = 1 << 15, MEMO_IDS = 10 };

struct merge {
    int32_t left, right; /* makes token FIRST_MERGE + index */
};

struct memo { /* pre-token → ids */
    char text[BPE_PIECE_MAX];
    uint8_t n_bytes, n_ids;
    int16_t ids[MEMO_IDS];
};

struct bpe {
    int n_vocab, n_merges;
    struct merge *merges;
    char (*tokens)[BPE_PIECE_MAX];
    int32_t *rank; /* [n_vocab * n_vocab] → merge index + 1, 0: none */
    struct memo *memos;
};

/* ---- the pre-tokenizer, alternatives in the order of qwen2's expression ---- */

static bool is_letter(char c) {
    return isalpha((unsigned char)c) != 0;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_newline(char c) {
    return c == '\n' || c == '\r';
}

static bool is_punctuation(char c) {
    return !is_space(c) && !is_letter(c) && !isdigit((unsigned char)c);
}

static int64_t match_contraction(const char *s, int64_t n) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int64_t len = (int64_t)strlen(endings[i]);
        if (n >= len && strncasecmp(s, endings[i], (size_t)len) == 0)
            return len;
    }
    return 0;
}

static int64_t match_space(const char *s, int64_t n) {
    int64_t run = 0, newline_end = 0;
    for (; run < n && is_space(s[run]); run++)
        if (is_newline(s[run]))
            newline_end = run + 1;
    if (newline_end > 0)
        return newline_end;
    return run == n || run == 1 ? run : run - 1;
}

int64_t bpe_pretoken(const char *s, int64_t n) {
    int64_t at = match_contraction(s, n);
    if (at > 0)
        return at;
    int64_t lead =
        !is_letter(s[0]) && !isdigit((unsigned char)s[0]) && !is_newline(s[0]) && n > 1 && is_letter(s[1]);
    if (lead == 1 || is_letter(s[0])) {
        for (at = lead; at < n && is_letter(s[at]);)
            at++;
        return at;
    }
    if (isdigit((unsigned char)s[0]))
        return 1;
    lead = s[0] == ' ' && n > 1 && is_punctuation(s[1]);
    if (lead == 1 || is_punctuation(s[0])) {
        for (at = lead; at < n && is_punctuation(s[at]);)
            at++;
        while (at < n && is_newline(s[at]))
            at++;
        return at;
    }
    return match_space(s, n);
}

/* ---- encoding ---- */

static int encode_piece(const struct bpe *b, const char *s, int64_t n, int32_t *ids) {
    int count = (int)n;
    for (int i = 0; i < count; i++)
        ids[i] = FIRST_BYTE + (unsigned char)s[i];
    for (;;) {
        int best = -1, best_rank = b->n_merges + 1;
        for (int i = 0; i + 1 < count; i++) {
            int rank = b->rank[(int64_t)ids[i] * b->n_vocab + ids[i + 1]];
            if (rank > 0 && rank < best_rank) {
                best = i;
                best_rank = rank;
            }
        }
        if (best < 0)
            return count;
        ids[best] = FIRST_MERGE + best_rank - 1;
        memmove(&ids[best + 1], &ids[best + 2], (size_t)(count - best - 2) * sizeof *ids);
        count--;
    }
}

/* Pre-tokens longer than a piece are rare (runs of punctuation): encoded without the memo. */
static int encode_pretoken(struct bpe *b, const char *s, int64_t n, int32_t *ids) {
    if (n >= BPE_PIECE_MAX)
        return encode_piece(b, s, n, ids);
    struct memo *m = &b->memos[hash64(s, (size_t)n, 1) & (MEMO_SLOTS - 1)];
    if (m->n_bytes == n && memcmp(m->text, s, (size_t)n) == 0) {
        for (int i = 0; i < m->n_ids; i++)
            ids[i] = m->ids[i];
        return m->n_ids;
    }
    int count = encode_piece(b, s, n, ids);
    if (count <= MEMO_IDS) {
        memcpy(m->text, s, (size_t)n);
        m->n_bytes = (uint8_t)n;
        m->n_ids = (uint8_t)count;
        for (int i = 0; i < count; i++)
            m->ids[i] = (int16_t)ids[i];
    }
    return count;
}

int64_t bpe_encode(struct bpe *b, const char *text, int32_t *ids, int64_t capacity) {
    int64_t n = (int64_t)strlen(text), count = 0;
    for (int64_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 128)
            return -1;
    while (n > 0) {
        int64_t piece = bpe_pretoken(text, n);
        if (count + piece > capacity)
            return -1;
        count += encode_pretoken(b, text, piece, ids + count);
        text += piece;
        n -= piece;
    }
    return count;
}

/* ---- training ---- */

struct word {
    int32_t ids[BPE_PIECE_MAX];
    int n;
    int64_t count;
};

struct trainer {
    struct bpe *b;
    struct word *words;
    int64_t n_words, capacity;
    int64_t *pair_counts; /* [n_vocab * n_vocab], rebuilt for each merge */
};

static int add_word(struct trainer *t, const char *text, int64_t count) {
    size_t n = strlen(text);
    if (n == 0 || n >= BPE_PIECE_MAX)
        return 0;
    if (t->n_words == t->capacity) {
        int64_t capacity = t->capacity == 0 ? 4096 : t->capacity * 2;
        struct word *grown = realloc(t->words, (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return ERR_NO_MEMORY;
        t->words = grown;
        t->capacity = capacity;
    }
    struct word *w = &t->words[t->n_words++];
    w->n = (int)n;
    w->count = count;
    for (size_t i = 0; i < n; i++)
        w->ids[i] = FIRST_BYTE + (unsigned char)text[i];
    return 0;
}

static void apply_merge(struct trainer *t, int32_t left, int32_t right, int32_t made) {
    for (int64_t w = 0; w < t->n_words; w++) {
        struct word *word = &t->words[w];
        int n = 0;
        for (int i = 0; i < word->n; i++) {
            bool here = i + 1 < word->n && word->ids[i] == left && word->ids[i + 1] == right;
            word->ids[n++] = here ? made : word->ids[i];
            i += here;
        }
        word->n = n;
    }
}

static bool learn_merge(struct trainer *t, int32_t left, int32_t right) {
    struct bpe *b = t->b;
    int32_t made = FIRST_MERGE + b->n_merges;
    if (made >= b->n_vocab || strlen(b->tokens[left]) + strlen(b->tokens[right]) >= BPE_PIECE_MAX)
        return false;
    b->merges[b->n_merges++] = (struct merge){left, right};
    b->rank[(int64_t)left * b->n_vocab + right] = b->n_merges;
    size_t n_left = strlen(b->tokens[left]);
    memcpy(b->tokens[made], b->tokens[left], n_left);
    memcpy(b->tokens[made] + n_left, b->tokens[right], strlen(b->tokens[right]));
    apply_merge(t, left, right, made);
    return true;
}

/* The most frequent pair of neighbours; ties go to the lower ids, so that the vocabulary is reproducible. */
static bool learn_frequent_merge(struct trainer *t) {
    int64_t n_vocab = t->b->n_vocab, best = 0;
    int32_t left = 0, right = 0;
    memset(t->pair_counts, 0, (size_t)(n_vocab * n_vocab) * sizeof *t->pair_counts);
    for (int64_t w = 0; w < t->n_words; w++)
        for (int i = 0; i + 1 < t->words[w].n; i++)
            t->pair_counts[t->words[w].ids[i] * n_vocab + t->words[w].ids[i + 1]] += t->words[w].count;
    for (int64_t w = 0; w < t->n_words; w++)
        for (int i = 0; i + 1 < t->words[w].n; i++) {
            int32_t l = t->words[w].ids[i], r = t->words[w].ids[i + 1];
            int64_t count = t->pair_counts[l * n_vocab + r];
            if (count > best || (count == best && (l < left || (l == left && r < right)))) {
                best = count;
                left = l;
                right = r;
            }
        }
    return best > 0 && learn_merge(t, left, right);
}

/* Merge what is left of a word until it is one token. */
static bool make_whole(struct trainer *t, const char *text, int32_t *id) {
    int32_t ids[BPE_PIECE_MAX];
    int n = encode_piece(t->b, text, (int64_t)strlen(text), ids);
    while (n > 1) {
        if (!learn_merge(t, ids[0], ids[1]))
            return false;
        n = encode_piece(t->b, text, (int64_t)strlen(text), ids);
    }
    *id = ids[0];
    return true;
}

static struct bpe *bpe_new(int n_vocab) {
    struct bpe *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->n_vocab = n_vocab;
    b->merges = calloc((size_t)n_vocab, sizeof *b->merges);
    b->tokens = calloc((size_t)n_vocab, sizeof *b->tokens);
    b->rank = calloc((size_t)n_vocab * (size_t)n_vocab, sizeof *b->rank);
    b->memos = calloc(MEMO_SLOTS, sizeof *b->memos);
    if (b->merges == NULL || b->tokens == NULL || b->rank == NULL || b->memos == NULL) {
        bpe_free(b);
        return NULL;
    }
    strcpy(b->tokens[BPE_END_OF_TEXT], "<|endoftext|>");
    strcpy(b->tokens[BPE_IM_START], "<|im_start|>");
    strcpy(b->tokens[BPE_IM_END], "<|im_end|>");
    for (int i = 0; i < 256; i++)
        b->tokens[FIRST_BYTE + i][0] = (char)i;
    return b;
}

int bpe_train(struct bpe **out, int n_vocab, const char *(*next)(void *context, int64_t *count),
              void *context, const char *const common[], struct err *e) {
    struct trainer t = {.b = bpe_new(n_vocab)};
    t.pair_counts = calloc((size_t)n_vocab * (size_t)n_vocab, sizeof *t.pair_counts);
    int n_common = 0, code = t.b == NULL || t.pair_counts == NULL ? ERR_NO_MEMORY : 0;
    while (common[n_common] != NULL)
        n_common++;
    int64_t count = 0;
    for (const char *word; code == 0 && (word = next(context, &count)) != NULL;)
        code = add_word(&t, word, count);
    /* room is kept for the common words: at most two tokens each beside their parts */
    while (code == 0 && FIRST_MERGE + t.b->n_merges < n_vocab - 2 * n_common - n_common / 2 &&
           learn_frequent_merge(&t)) {
    }
    for (int pass = 0; code == 0 && pass < 2; pass++)
        for (int i = 0; code == 0 && i < n_common; i++) {
            int32_t id;
            if (!make_whole(&t, common[i], &id) || (pass == 1 && !learn_merge(&t, FIRST_BYTE + ' ', id)))
                code = ERR_FAILED;
        }
    while (code == 0 && FIRST_MERGE + t.b->n_merges < n_vocab && learn_frequent_merge(&t)) {
    }
    free(t.words);
    free(t.pair_counts);
    if (code != 0) {
        bpe_free(t.b);
        return err_set(e, code, "bpe_train", "no vocabulary of %d tokens can be made of these words",
                       n_vocab);
    }
    t.b->n_vocab = n_vocab;
    *out = t.b;
    return 0;
}

void bpe_free(struct bpe *b) {
    if (b == NULL)
        return;
    free(b->merges);
    free(b->tokens);
    free(b->rank);
    free(b->memos);
    free(b);
}

int bpe_n_vocab(const struct bpe *b) {
    return FIRST_MERGE + b->n_merges;
}

int bpe_n_merges(const struct bpe *b) {
    return b->n_merges;
}

const char *bpe_token(const struct bpe *b, int32_t id) {
    return b->tokens[id];
}

/* ---- GPT-2's printable alphabet: printable bytes stand for themselves, the others for U+0100 and up in order ---- */

static bool is_printable(int byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

static char *add_printable(char *to, unsigned char byte) {
    int code = byte;
    if (!is_printable(byte)) {
        code = 256;
        for (int i = 0; i < byte; i++)
            code += !is_printable(i);
    }
    if (code < 128) {
        *to++ = (char)code;
    } else {
        *to++ = (char)(0xC0 | (code >> 6));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    *to = '\0';
    return to;
}

char *bpe_token_printable(const struct bpe *b, int32_t id, char buffer[BPE_PRINTABLE_MAX]) {
    char *to = buffer;
    if (id < BPE_N_SPECIAL)
        return strcpy(buffer, b->tokens[id]);
    if (id < FIRST_MERGE) { /* the byte 0 too */
        add_printable(to, (unsigned char)(id - FIRST_BYTE));
        return buffer;
    }
    for (const char *from = b->tokens[id]; *from != '\0'; from++)
        to = add_printable(to, (unsigned char)*from);
    return buffer;
}

char *bpe_merge_printable(const struct bpe *b, int merge, char buffer[2 * BPE_PRINTABLE_MAX]) {
    char right[BPE_PRINTABLE_MAX];
    bpe_token_printable(b, b->merges[merge].left, buffer);
    strcat(buffer, " ");
    return strcat(buffer, bpe_token_printable(b, b->merges[merge].right, right));
}
